"""What the guard learned about a request, carried in its ASGI scope, and the values it is told by."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tetrad.kernel import Principal

_KEY = "tetrad.http"
_request_id: ContextVar[str] = ContextVar("tetrad_request_id", default="")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a caller shows: a key in a header, or the token of a session in a cookie."""

    kind: Literal["bearer", "session"]
    secret: str

    def __repr__(self) -> str:
        return f"Credential({self.kind})"


class Authenticator(Protocol):
    """Turn credentials into actors. Both methods may block: they are called in threads."""

    def authenticate(self, credential: Credential) -> Principal:
        """Return who shows this credential, or raise `Unauthenticated`, the same for unknown, expired and revoked."""
        ...

    def in_project(self, principal: Principal, project: str) -> Principal:
        """Return the actor with the scopes it has in a project.

        Raises `NotFound`, in the same words, for a project that is not there and for one that the actor may not enter.
        """
        ...


@dataclass(slots=True)
class RequestFacts:
    """One per request; `principal` is set once somebody asked who calls, and `caller` is that one outside of projects.

    A person may be more in the project of the path than in all.
    """

    request_id: str = ""
    credential: Credential | None = None
    authenticator: Authenticator | None = None
    principal: Principal | None = None
    caller: Principal | None = None


def facts_of(scope: MutableMapping[str, Any]) -> RequestFacts:
    """Return what the guard noted; empty facts where no guard stands before the app."""
    found = scope.get(_KEY)
    return found if isinstance(found, RequestFacts) else RequestFacts()


def note_facts(scope: MutableMapping[str, Any], facts: RequestFacts) -> None:
    """Attach facts to a request."""
    scope[_KEY] = facts
    _request_id.set(facts.request_id)


def current_request_id() -> str:
    """Return the id of the request that this code works for, or an empty text; for log lines."""
    return _request_id.get()
