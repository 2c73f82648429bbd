"""Authorisation that can be read from the routes: every route states a scope, or is on the list of public ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import RouteContext, iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.concurrency import run_in_threadpool

from tetrad.kernel import Forbidden, Principal, Unauthenticated
from tetrad.kit.http._facts import RequestFacts, facts_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SCOPES = frozenset({"data", "control", "admin", "review", "internal", "pin"})
PUBLIC: frozenset[tuple[str, str]] = frozenset(
    {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("POST", "/api/v1/session"),
    }
)
"""Every operation that answers strangers, besides the console's files. What is marked `public()` must be here."""


class Gate(SecurityBase):
    """The check that `requires` puts before a route; a walk over the routes reads `scope` from it."""

    def __init__(self, scope: str, *, everywhere: bool, readers: bool) -> None:
        if scope not in SCOPES:
            raise ValueError(f"{scope!r} is no scope; known are {', '.join(sorted(SCOPES))}")
        self.scope = scope
        self.everywhere = everywhere
        self.readers = readers
        self.scheme_name = "key"
        self.model = HTTPBearer(
            description="An API key `tetrad_…`; browsers use the cookie that `POST /api/v1/session` sets."
        )

    async def __call__(self, request: Request) -> Principal:
        facts = facts_of(request.scope)
        actor = await identify(facts)
        project = request.path_params.get("project")
        if project is not None:
            assert facts.authenticator is not None  # noqa: S101 - identify() raised otherwise
            actor = await run_in_threadpool(facts.authenticator.in_project, actor, str(project))
            facts.principal = actor
        self.check(actor, request.method)
        return actor

    def check(self, actor: Principal, method: str) -> None:
        """Refuse with `Forbidden` an actor who may not do this."""
        if self.scope not in actor.scopes:
            raise Forbidden(
                f"this needs the scope {self.scope!r}; {actor.name!r} has {', '.join(sorted(actor.scopes)) or 'none'}",
                hint=_WHO_HAS.get(self.scope, "use a key that has it"),
                code="scope_missing",
            )
        if self.everywhere and actor.projects is not None:
            raise Forbidden(
                f"this concerns the whole installation; {actor.name!r} belongs to single projects",
                hint="use a key or a person that belongs to all projects",
                code="scope_missing",
            )
        if actor.read_only and not self.readers and method not in SAFE_METHODS:
            raise Forbidden(f"{actor.name!r} may read only", hint="ask an admin for the role editor", code="read_only")


_WHO_HAS = {
    "admin": "use the admin key in $TETRAD_HOME/keys/admin.key, or ask an admin",
    "control": "use a key with the scope control; keys with the scope data call models only",
    "internal": "only Tetrad's own processes may call this",
}


async def identify(facts: RequestFacts) -> Principal:
    """Return who calls, asking the authenticator once per request; raise `Unauthenticated` for strangers."""
    if facts.principal is not None:
        return facts.principal
    if facts.credential is None or facts.authenticator is None:
        raise Unauthenticated(
            "this needs a key or a signed-in session",
            hint="send `Authorization: Bearer <key>`, or sign in with the link that `tetrad login` prints",
        )
    facts.caller = facts.principal = await run_in_threadpool(facts.authenticator.authenticate, facts.credential)
    return facts.principal


def requires(scope: str, *, everywhere: bool = False, readers: bool = False) -> Any:
    """Demand a scope: `dependencies=[requires("control")]`.

    Where the path has `{project}`, the caller must belong to it (404 otherwise, as for a project that is not there).
    Actors that may read only are refused on unsafe methods, unless `readers`. `everywhere` demands an actor of the
    whole installation.
    """
    return Security(Gate(scope, everywhere=everywhere, readers=readers), scopes=[scope])


def _open() -> None:
    """Mark a route as public."""


def public() -> Any:
    """Say that a route answers strangers; it must be listed in `PUBLIC` as well, so that one list shows all."""
    return Depends(_open)


async def current_principal(request: Request) -> Principal:
    """Return the actor of this request, as it stands in the project of the path."""
    return await identify(facts_of(request.scope))


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
"""Annotate a handler's argument with this to receive who calls; the route states its scope with `requires`."""


async def administers_all(request: Request) -> bool:
    """Tell whether the actor is an admin of the whole installation, whatever it is in the project of the path."""
    facts = facts_of(request.scope)
    await identify(facts)
    caller = facts.caller
    return caller is not None and caller.projects is None and "admin" in caller.scopes and not caller.read_only


AdministersAll = Annotated[bool, Depends(administers_all)]
"""Annotate a handler's argument with this to show some fields to admins of the installation only."""


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """One operation, and what it states about who may call it."""

    method: str
    path: str
    name: str
    scope: str | None
    everywhere: bool
    readers: bool
    public: bool

    @property
    def in_project(self) -> bool:
        """Whether the path names a project."""
        return "{project}" in self.path


def walk_routes(app: FastAPI) -> tuple[RouteFacts, ...]:
    """Return every operation of an app, included routers' too, in order. Static folders and mounts say method `*`."""
    return tuple(fact for context in iter_route_contexts(app.routes) for fact in _facts(context))


def unguarded_routes(app: FastAPI, *, allow: Iterable[str] = ()) -> list[str]:
    """Return what is wrong with the routes' statements, in sentences; empty when every route states one.

    `allow` lists the paths of static folders and mounts that may answer strangers (the console).
    """
    allowed, wrong = set(allow), []
    for route in walk_routes(app):
        label, listed = f"{route.method} {route.path}", (route.method, route.path) in PUBLIC
        if route.method == "*" and route.path in allowed:
            continue
        if route.scope is None and not listed:
            wrong.append(f"{label} states no scope: add dependencies=[requires(…)]")
        elif route.scope is not None and (listed or route.public):
            wrong.append(f"{label} states the scope {route.scope!r} and is public as well")
    return wrong


def _facts(context: RouteContext) -> Iterator[RouteFacts]:
    gates, marked = _stated(getattr(context, "dependant", None))
    methods = context.methods
    for method in sorted(methods - {"HEAD"} if len(methods) > 1 else methods) if methods else ["*"]:
        yield RouteFacts(
            method=method,
            path=context.path or _static_paths(context),
            name=context.name or "",
            scope=gates[0].scope if gates else None,
            everywhere=any(gate.everywhere for gate in gates),
            readers=all(gate.readers for gate in gates),
            public=marked,
        )


def _static_paths(context: RouteContext) -> str:
    folders = getattr(context.original_route, "routes", None) or []
    return ", ".join(str(getattr(folder, "path", folder)) for folder in folders) or getattr(
        context.original_route, "path", repr(context.original_route)
    )


def _stated(dependant: Any) -> tuple[list[Gate], bool]:
    calls = [child.call for child in getattr(dependant, "dependencies", ())]
    return [call for call in calls if isinstance(call, Gate)], any(call is _open for call in calls)
