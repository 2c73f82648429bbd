"""What identity refuses."""

from __future__ import annotations

from tetrad.kernel import Conflict, InvalidInput, NotFound, TetradError, Unauthenticated


class BadName(InvalidInput):
    """A name, slug, address or text is malformed or too long."""

    code = "bad_name"


class BadKeyRequest(InvalidInput):
    """A key cannot be made as asked."""

    code = "bad_key_request"


class KeyRefused(Unauthenticated):
    """Nobody issued this key, or it has ended; the same words for all of these."""

    code = "key_refused"


class SessionEnded(Unauthenticated):
    """The cookie belongs to no session that is still open."""

    code = "session_ended"


class LinkUsed(Unauthenticated):
    """The sign-in link was used, has expired, or never was."""

    code = "link_used"


class ProjectNotFound(NotFound):
    """No such project, or none that the caller may enter; the same words for both."""

    code = "project_not_found"


class KeyNotFound(NotFound):
    """No such key in this project."""

    code = "key_not_found"


class TeamNotFound(NotFound):
    """No such team in this project."""

    code = "team_not_found"


class TeamInUse(Conflict):
    """Working keys belong to the team."""

    code = "team_in_use"


class SecretNotFound(NotFound):
    """No such secret in this project."""

    code = "secret_not_found"


class PersonNotFound(NotFound):
    """Nobody with this address has a role here."""

    code = "person_not_found"


class NameTaken(Conflict):
    """The name is in use."""

    code = "name_taken"


class KeyEnded(Conflict):
    """The key was revoked or has expired."""

    code = "key_ended"


class LimitReached(Conflict):
    """As many as allowed exist already."""

    code = "limit_reached"


class KeyFileUnusable(TetradError):
    """A file in the folder `keys` cannot be used as it is."""

    code = "key_file_unusable"
