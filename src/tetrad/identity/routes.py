"""Identity's part of the API, below `/api/v1`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AwareDatetime, Field

from tetrad import __version__
from tetrad.identity._chain import AuditFilter
from tetrad.identity._model import KEY_SORTS, KeyPlace, KeySearch, KeyState, Project
from tetrad.identity._service import Identity
from tetrad.identity._views import (
    AuditCheckView,
    AuditView,
    IssuedKeyView,
    KeyBody,
    KeyChangeBody,
    KeyView,
    MemberView,
    ProjectBody,
    ProjectView,
    RoleBody,
    RotationBody,
    SecretBody,
    SecretView,
    SessionView,
    SignInBody,
    SignInLinkBody,
    SignInLinkView,
    TeamBody,
    TeamMemberView,
    TeamView,
)
from tetrad.kernel import Principal
from tetrad.kit.http import (
    CurrentPrincipal,
    Page,
    PageParams,
    PageQuery,
    cursor_time,
    decode_cursor,
    encode_cursor,
    parse_sort,
    public,
    requires,
)

PROJECT = "/projects/{project}"
KeyId = Annotated[str, Path(max_length=64)]
Name = Annotated[str, Path(max_length=128)]
Email = Annotated[str, Path(max_length=254)]
_MAX_SHOWN_PROJECTS = 1000


def _audit_filter(
    actor: Annotated[str, Query(max_length=64, description="Only what this one did, by id")] = "",
    action: Annotated[str, Query(max_length=64, description="Only what begins so, such as `key.`")] = "",
    target: Annotated[str, Query(max_length=300, description="Only what was done to what is named so")] = "",
    since: Annotated[AwareDatetime | None, Query(description="Only from then on, with a time zone")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only before then, with a time zone")] = None,
) -> AuditFilter:
    return AuditFilter(actor, action, target, since, until)


Wanted = Annotated[AuditFilter, Depends(_audit_filter)]
T = TypeVar("T")


def router(identity: Identity) -> APIRouter:
    """Return the routes; they bring the prefix `/api/v1` with them."""
    routes = APIRouter(prefix="/api/v1", tags=["identity"])
    _session_routes(routes, identity)
    _project_routes(routes, identity)
    _key_routes(routes, identity)
    _team_routes(routes, identity)
    _secret_routes(routes, identity)
    _people_routes(routes, identity)
    _audit_routes(routes, identity)
    return routes


def _session_routes(routes: APIRouter, identity: Identity) -> None:
    def shown(actor: Principal) -> list[tuple[Project, Principal]]:
        found = identity.projects.of(actor, limit=_MAX_SHOWN_PROJECTS)
        return list(zip(found, identity.people.standings(actor, [each.name for each in found]), strict=True))

    cookie = identity.policy.cookie_name

    @routes.post("/session", dependencies=[public()], operation_id="sign_in")
    def sign_in(body: SignInBody, request: Request, response: Response) -> SessionView:
        """Open a session with the token of a sign-in link; the session's cookie comes with the answer."""
        signed_in = identity.people.sign_in(body.token)
        response.set_cookie(
            cookie,
            signed_in.token,
            max_age=int(identity.policy.session_max.total_seconds()),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            path="/",
        )
        actor = identity.people.actor(signed_in.person)
        return SessionView.of(actor, shown(actor), __version__, signed_in.session.expires_at)

    @routes.get("/session", dependencies=[requires("control")], operation_id="get_session")
    def get_session(request: Request, actor: CurrentPrincipal) -> SessionView:
        """Tell who calls, what they may do, and in which projects."""
        token = request.cookies.get(cookie, "")
        expires_at = identity.people.recognise(token)[0].expires_at if actor.kind == "person" else None
        return SessionView.of(actor, shown(actor), __version__, expires_at)

    @routes.delete(
        "/session", dependencies=[requires("control", readers=True)], operation_id="sign_out", status_code=204
    )
    def sign_out(request: Request) -> Response:
        """End the session of the cookie."""
        identity.people.sign_out(request.cookies.get(cookie, ""))
        ended = Response(status_code=204)
        ended.delete_cookie(cookie, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return ended

    @routes.post(
        "/sign-in-links",
        dependencies=[requires("admin", everywhere=True)],
        operation_id="create_sign_in_link",
        status_code=201,
    )
    def create_sign_in_link(actor: CurrentPrincipal, body: SignInLinkBody | None = None) -> SignInLinkView:
        """Make a link that signs one person in, once, soon. Without a body it is for the local administrator."""
        asked = body or SignInLinkBody()
        link = identity.people.create_link(
            actor, email=asked.email, name=asked.name, role=asked.role, project=asked.project
        )
        return SignInLinkView(url=link.url, expires_at=link.expires_at)


def _project_routes(routes: APIRouter, identity: Identity) -> None:
    @routes.get("/projects", dependencies=[requires("control")], operation_id="list_projects")
    def list_projects(actor: CurrentPrincipal, page: PageParams) -> Page[ProjectView]:
        """List the projects that the caller belongs to."""
        after = _after_name("projects", page)
        found = identity.projects.of(actor, after=after, limit=page.limit + 1)
        return _page("projects", page, [ProjectView.of(each) for each in found], lambda each: each.name)

    @routes.post(
        "/projects", dependencies=[requires("admin", everywhere=True)], operation_id="create_project", status_code=201
    )
    def create_project(body: ProjectBody, actor: CurrentPrincipal) -> ProjectView:
        """Make a project."""
        return ProjectView.of(identity.projects.create(actor, body.name, body.title))


_FindKey = Annotated[
    str,
    Query(max_length=100, description="Only keys whose name holds this, whose secret ends so, or whose id begins so"),
]
_KeyIds = Annotated[
    list[Annotated[str, Field(max_length=64)]] | None,
    Query(alias="id", max_length=100, description="Only keys with these ids"),
]
_InKeyState = Annotated[KeyState | None, Query(description="Only keys in this state")]
_KeyOrder = Annotated[
    str | None, Query(max_length=16, description="`created`, `name`, `last_used` or `expires`, `-` for the reverse")
]


def _key_place(listing: str, page: PageQuery, search: KeySearch) -> KeyPlace | None:
    if page.cursor is None:
        return None
    value, key_id = (str(each) for each in decode_cursor(listing, page.cursor, [str, str]))
    if search.sort == "name":
        return value, key_id
    return cursor_time(value), key_id


def _key_routes(routes: APIRouter, identity: Identity) -> None:
    def listed(
        project: str | None, page: PageQuery, q: str, id_: list[str] | None, state: KeyState | None, sort: str | None
    ) -> Page[KeyView]:
        field, descending = parse_sort(sort, KEY_SORTS, "-created")
        ids = tuple(sorted(set(id_ or ())))
        search = KeySearch(q, ids, state, next(each for each in KEY_SORTS if each == field), descending)
        of_ids = f" {ids}" if ids else ""
        listing, now = f"keys {project} {q!r} {state} {field} {descending}{of_ids}", datetime.now(UTC)
        found = identity.keys.find(project, search, after=_key_place(listing, page, search), limit=page.limit + 1)
        items = list(found[: page.limit])
        more = len(found) > page.limit
        value, key_id = search.place(items[-1]) if more else ("", "")
        place = [value if isinstance(value, str) else value.isoformat(), key_id]
        return Page(
            items=[KeyView.of(each, now) for each in items], next_cursor=encode_cursor(listing, place) if more else None
        )

    def created(project: str | None, body: KeyBody, actor: CurrentPrincipal) -> IssuedKeyView:
        issued = identity.keys.create(
            actor, project, body.name, body.scopes,
            expires_at=body.expires_at, content=body.content, read_only=body.read_only,
            team=body.team or "", models=body.models or (), labels=body.labels or {},
        )  # fmt: skip
        return IssuedKeyView.of(issued, datetime.now(UTC))

    def rotated(project: str | None, key_id: str, body: RotationBody | None, actor: CurrentPrincipal) -> IssuedKeyView:
        grace_s = None if body is None else body.grace_s
        grace = None if grace_s is None else timedelta(seconds=grace_s)
        issued, file = identity.rotate_key(actor, project, key_id, grace=grace)
        return IssuedKeyView.of(issued, datetime.now(UTC), None if file is None else str(file))

    @routes.get(f"{PROJECT}/keys", dependencies=[requires("admin")], operation_id="list_keys")
    def list_keys(
        project: str,
        page: PageParams,
        q: _FindKey = "",
        id_: _KeyIds = None,
        state: _InKeyState = None,
        sort: _KeyOrder = None,
    ) -> Page[KeyView]:
        """List the keys of a project, ended ones too, the newest first without `sort`."""
        return listed(project, page, q, id_, state, sort)

    @routes.post(f"{PROJECT}/keys", dependencies=[requires("admin")], operation_id="create_key", status_code=201)
    def create_key(project: str, body: KeyBody, actor: CurrentPrincipal) -> IssuedKeyView:
        """Make a key. Its secret is in this answer and nowhere else."""
        return created(project, body, actor)

    @routes.post(f"{PROJECT}/keys/{{key_id}}/rotate", dependencies=[requires("admin")], operation_id="rotate_key")
    def rotate_key(
        project: str, key_id: KeyId, actor: CurrentPrincipal, body: RotationBody | None = None
    ) -> IssuedKeyView:
        """Give a key a new secret; the old one works until the grace ends."""
        return rotated(project, key_id, body, actor)

    @routes.patch(f"{PROJECT}/keys/{{key_id}}", dependencies=[requires("admin")], operation_id="change_key")
    def change_key(project: str, key_id: KeyId, body: KeyChangeBody, actor: CurrentPrincipal) -> KeyView:
        """Change a key's team, what it may call, or its labels; its secret stays."""
        changed = identity.keys.change(actor, project, key_id, team=body.team, models=body.models, labels=body.labels)
        return KeyView.of(changed, datetime.now(UTC))

    @routes.delete(f"{PROJECT}/keys/{{key_id}}", dependencies=[requires("admin")], operation_id="revoke_key")
    def revoke_key(project: str, key_id: KeyId, actor: CurrentPrincipal) -> KeyView:
        """End a key at once, for good."""
        return KeyView.of(identity.keys.revoke(actor, project, key_id), datetime.now(UTC))

    everywhere = [requires("admin", everywhere=True)]

    @routes.get("/keys", dependencies=everywhere, operation_id="list_installation_keys")
    def list_installation_keys(
        page: PageParams, q: _FindKey = "", state: _InKeyState = None, sort: _KeyOrder = None
    ) -> Page[KeyView]:
        """List the keys of the whole installation, ended ones too, the newest first without `sort`."""
        return listed(None, page, q, None, state, sort)

    @routes.post("/keys", dependencies=everywhere, operation_id="create_installation_key", status_code=201)
    def create_installation_key(body: KeyBody, actor: CurrentPrincipal) -> IssuedKeyView:
        """Make a key of all projects; it must have the scope admin."""
        return created(None, body, actor)

    @routes.post("/keys/{key_id}/rotate", dependencies=everywhere, operation_id="rotate_installation_key")
    def rotate_installation_key(
        key_id: KeyId, actor: CurrentPrincipal, body: RotationBody | None = None
    ) -> IssuedKeyView:
        """Rotate a key of the whole installation."""
        return rotated(None, key_id, body, actor)

    @routes.delete("/keys/{key_id}", dependencies=everywhere, operation_id="revoke_installation_key")
    def revoke_installation_key(key_id: KeyId, actor: CurrentPrincipal) -> KeyView:
        """Revoke a key of the whole installation."""
        return KeyView.of(identity.keys.revoke(actor, None, key_id), datetime.now(UTC))


def _team_routes(routes: APIRouter, identity: Identity) -> None:
    team, admin = f"{PROJECT}/teams/{{name}}", [requires("admin")]

    @routes.get(f"{PROJECT}/teams", dependencies=[requires("control")], operation_id="list_teams")
    def list_teams(project: str, page: PageParams) -> Page[TeamView]:
        """List the teams of a project."""
        listing = f"teams {project}"
        found = identity.teams.list(project, after=_after_name(listing, page), limit=page.limit + 1)
        return _page(listing, page, [TeamView.of(each) for each in found], lambda each: each.name)

    @routes.get(team, dependencies=[requires("control")], operation_id="get_team")
    def get_team(project: str, name: Name) -> TeamView:
        """Show a team."""
        return TeamView.of(identity.teams.get(project, name))

    @routes.put(team, dependencies=admin, operation_id="put_team")
    def put_team(project: str, name: Name, body: TeamBody, actor: CurrentPrincipal) -> TeamView:
        """Make a team, or change it."""
        made = identity.teams.put(actor, project, name, title=body.title, models=body.models, labels=body.labels)
        return TeamView.of(made)

    @routes.delete(team, dependencies=admin, operation_id="delete_team", status_code=204)
    def delete_team(project: str, name: Name, actor: CurrentPrincipal) -> None:
        """Remove a team to which no working key belongs."""
        identity.teams.drop(actor, project, name)

    @routes.get(f"{team}/members", dependencies=[requires("control")], operation_id="list_team_members")
    def list_team_members(project: str, name: Name) -> Page[TeamMemberView]:
        """List the people of a team."""
        return Page(items=[TeamMemberView.of(each) for each in identity.teams.members(project, name)])

    @routes.put(f"{team}/members/{{email}}", dependencies=admin, operation_id="put_team_member")
    def put_team_member(project: str, name: Name, email: Email, actor: CurrentPrincipal) -> TeamMemberView:
        """Put somebody who has a role in the project into a team."""
        return TeamMemberView.of(identity.teams.add(actor, project, name, email))

    @routes.delete(f"{team}/members/{{email}}", dependencies=admin, operation_id="delete_team_member", status_code=204)
    def delete_team_member(project: str, name: Name, email: Email, actor: CurrentPrincipal) -> None:
        """Take somebody out of a team."""
        identity.teams.remove(actor, project, name, email)


def _secret_routes(routes: APIRouter, identity: Identity) -> None:
    @routes.get(f"{PROJECT}/secrets", dependencies=[requires("control")], operation_id="list_secrets")
    def list_secrets(project: str, page: PageParams) -> Page[SecretView]:
        """List the names of a project's provider secrets."""
        listing = f"secrets {project}"
        found = identity.secrets.list(project, after=_after_name(listing, page), limit=page.limit + 1)
        return _page(listing, page, [SecretView.of(each) for each in found], lambda each: each.name)

    @routes.get(f"{PROJECT}/secrets/{{name}}", dependencies=[requires("control")], operation_id="get_secret")
    def get_secret(project: str, name: Name) -> SecretView:
        """Tell about a provider secret; never its value."""
        return SecretView.of(identity.secrets.get(project, name))

    @routes.put(f"{PROJECT}/secrets/{{name}}", dependencies=[requires("admin")], operation_id="set_secret")
    def set_secret(project: str, name: Name, body: SecretBody, actor: CurrentPrincipal) -> SecretView:
        """Keep a value, sealed, under a name."""
        return SecretView.of(identity.secrets.put(actor, project, name, body.value))

    @routes.delete(
        f"{PROJECT}/secrets/{{name}}", dependencies=[requires("admin")], operation_id="delete_secret", status_code=204
    )
    def delete_secret(project: str, name: Name, actor: CurrentPrincipal) -> Response:
        """Forget a value."""
        identity.secrets.delete(actor, project, name)
        return Response(status_code=204)


def _people_routes(routes: APIRouter, identity: Identity) -> None:
    @routes.get(f"{PROJECT}/people", dependencies=[requires("admin")], operation_id="list_people")
    def list_people(project: str) -> Page[MemberView]:
        """List who has a role in a project itself; whoever has one in all projects is listed by `/people`."""
        return Page(items=[MemberView.of(person, role) for person, role in identity.people.members(project)])

    @routes.put(
        f"{PROJECT}/people/{{email}}", dependencies=[requires("admin")], operation_id="set_role", status_code=204
    )
    def set_role(project: str, email: Email, body: RoleBody, actor: CurrentPrincipal) -> Response:
        """Give a known person a role in a project."""
        identity.people.set_role(actor, email, body.role, project)
        return Response(status_code=204)

    @routes.delete(
        f"{PROJECT}/people/{{email}}", dependencies=[requires("admin")], operation_id="remove_role", status_code=204
    )
    def remove_role(project: str, email: Email, actor: CurrentPrincipal) -> Response:
        """Take a person's role in a project away, from their next request on."""
        identity.people.set_role(actor, email, None, project)
        return Response(status_code=204)

    everywhere = [requires("admin", everywhere=True)]

    @routes.get("/people", dependencies=everywhere, operation_id="list_installation_people")
    def list_installation_people() -> Page[MemberView]:
        """List who has a role in all projects."""
        return Page(items=[MemberView.of(person, role) for person, role in identity.people.members(None)])

    @routes.delete("/people/{email}", dependencies=everywhere, operation_id="remove_installation_role", status_code=204)
    def remove_installation_role(email: Email, actor: CurrentPrincipal) -> Response:
        """Take a person's role in all projects away."""
        identity.people.set_role(actor, email, None, None)
        return Response(status_code=204)


def _audit_routes(routes: APIRouter, identity: Identity) -> None:
    def listed(project: str | None, page: PageQuery, only: AuditFilter) -> Page[AuditView]:
        listing = f"audit {project} {only}"
        before = int(decode_cursor(listing, page.cursor, [int])[0] or 0) if page.cursor else None
        found = identity.audit.list(project, before=before, limit=page.limit + 1, only=only)
        return _page(listing, page, [AuditView.of(each) for each in found], lambda each: each.seq)

    @routes.get(f"{PROJECT}/audit", dependencies=[requires("admin")], operation_id="list_audit")
    def list_audit(project: str, page: PageParams, only: Wanted) -> Page[AuditView]:
        """List what was done in a project, the newest first."""
        return listed(project, page, only)

    @routes.get(f"{PROJECT}/audit/verification", dependencies=[requires("admin")], operation_id="verify_audit")
    def verify_audit(project: str) -> AuditCheckView:
        """Go through a project's whole audit log and tell whether it is as it was written."""
        return AuditCheckView.of(identity.audit.check(project))

    everywhere = [requires("admin", everywhere=True)]

    @routes.get("/audit", dependencies=everywhere, operation_id="list_installation_audit")
    def list_installation_audit(page: PageParams, only: Wanted) -> Page[AuditView]:
        """List what was done to the installation itself."""
        return listed(None, page, only)

    @routes.get("/audit/verification", dependencies=everywhere, operation_id="verify_installation_audit")
    def verify_installation_audit() -> AuditCheckView:
        """Verify the installation's own audit log."""
        return AuditCheckView.of(identity.audit.check(None))


def _after_name(listing: str, page: PageQuery) -> str:
    return str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""


def _page(listing: str, page: PageQuery, found: list[T], position: Callable[[T], str | int]) -> Page[T]:
    """Cut what was found, one more than the page holds, to the page."""
    items = found[: page.limit]
    more = len(found) > page.limit
    return Page(items=items, next_cursor=encode_cursor(listing, [position(items[-1])]) if more else None)
