"""Stored responses: what clients of OpenAI's Responses come back to."""

from tetrad.responses._background import Background
from tetrad.responses._model import (
    BackgroundAnswer,
    BackgroundCall,
    BackgroundRequest,
    BackgroundWork,
    Conversation,
    EventBatch,
    EventPage,
    ItemPage,
    KeptConversation,
    KeptResponse,
    ResponseLimits,
)
from tetrad.responses._records import Records
from tetrad.responses._service import Responses
from tetrad.responses._settings import SETTINGS, limits_from
from tetrad.responses.errors import (
    BadResponse,
    BegunBefore,
    ConversationNotFound,
    IdempotencyKeyReused,
    NoSuchEvent,
    NotInBackground,
    NotStreamed,
    ResponseKeyGone,
    ResponseNotComplete,
    ResponseNotFound,
    ResponseTooLarge,
    TooManyInBackground,
    TooManyResponses,
)

__all__ = [
    "SETTINGS",
    "Background",
    "BackgroundAnswer",
    "BackgroundCall",
    "BackgroundRequest",
    "BackgroundWork",
    "BadResponse",
    "BegunBefore",
    "Conversation",
    "ConversationNotFound",
    "EventBatch",
    "EventPage",
    "IdempotencyKeyReused",
    "ItemPage",
    "KeptConversation",
    "KeptResponse",
    "NoSuchEvent",
    "NotInBackground",
    "NotStreamed",
    "Records",
    "ResponseKeyGone",
    "ResponseLimits",
    "ResponseNotComplete",
    "ResponseNotFound",
    "ResponseTooLarge",
    "Responses",
    "TooManyInBackground",
    "TooManyResponses",
    "limits_from",
]
