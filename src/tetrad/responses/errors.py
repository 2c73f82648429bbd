"""What keeping responses refuses."""

from __future__ import annotations

from tetrad.kernel import Conflict, Forbidden, InvalidInput, NotFound, Overloaded, TooLarge


class ResponseNotFound(NotFound):
    """No response of that id is kept in the project: deleted, expired, never stored, or of another project."""

    code = "response_not_found"


class ConversationNotFound(NotFound):
    """No conversation, or no item of it, is kept in the project under that id."""

    code = "conversation_not_found"


class BadResponse(InvalidInput):
    """What should be kept is no response."""

    code = "bad_response"


class ResponseTooLarge(TooLarge):
    """A response, or the conversation that it goes on with, is past its limit."""

    code = "response_too_large"


class TooManyResponses(Overloaded):
    """The project keeps as many responses as it may."""

    code = "too_many_responses"


class ResponseNotComplete(InvalidInput):
    """A response in the background has no answer to go on from: not yet, or never."""

    code = "response_not_complete"


class BegunBefore(Conflict):
    """A response was begun by the same idempotency key."""

    code = "idempotency_key_in_use"


class IdempotencyKeyReused(InvalidInput):
    """An idempotency key came again with another request."""

    code = "idempotency_key_reused"
    status = 422


class NotStreamed(InvalidInput):
    """The events of a response cannot be had: there never were any, or they are kept no longer."""

    code = "response_not_streamed"


class NoSuchEvent(InvalidInput):
    """A response has no event of the number after which it was asked for."""

    code = "no_such_event"


class NotInBackground(InvalidInput):
    """A response that was answered at once cannot be cancelled."""

    code = "not_in_background"


class TooManyInBackground(Overloaded):
    """The project has as many responses under way in the background as it may."""

    code = "too_many_in_background"


class ResponseKeyGone(Forbidden):
    """The key that asked for a response in the background was revoked, or has expired."""

    code = "response_key_gone"
