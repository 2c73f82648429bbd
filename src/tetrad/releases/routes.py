"""The API of apps and releases, below `/api/v1/projects/{project}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from tetrad.kernel import InvalidInput, parse_digest
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, cut_page, decode_cursor, requires
from tetrad.registry import Ref
from tetrad.releases._service import Releases
from tetrad.releases._upload import ABSENT, ReleaseBody, unpack
from tetrad.releases._views import (
    AppDetailView,
    AppRefView,
    AppView,
    ComposedView,
    RefMoveView,
    ReleaseListed,
    ReleaseView,
)

Project = Annotated[str, Path(max_length=63)]
AppName = Annotated[str, Path(max_length=63)]
RefName = Annotated[str, Path(max_length=63)]
DigestPath = Annotated[str, Path(max_length=71, description="`sha256:` and 64 hex digits")]
HISTORY = 50


class MoveBody(BaseModel):
    """Where a ref is to point, and why."""

    model_config = ConfigDict(extra="forbid")

    digest: Annotated[str, Field(max_length=71)]
    reason: Annotated[str, Field(max_length=4000)] = ""


def router(releases: Releases) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["releases"], dependencies=[requires("control")])
    _app_routes(routes, releases)
    _ref_routes(routes, releases)
    _release_routes(routes, releases)
    return routes


def _app_routes(routes: APIRouter, releases: Releases) -> None:
    @routes.get("/apps", operation_id="list_apps")
    def list_apps(project: Project, page: PageParams) -> Page[AppView]:
        """List the apps of a project with their refs, in the order of names."""
        listing = f"apps {project}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        found = [
            AppView.of(each.app, releases.refs(project, each.app.name))
            for each in releases.apps(project, limit=page.limit + 1, after=after)
        ]
        return cut_page(listing, page, found, lambda view: view.name)

    @routes.get("/apps/{app}", operation_id="get_app")
    def get_app(project: Project, app: AppName) -> AppDetailView:
        """Show an app: where its refs point and how they got there."""
        view = AppView.of(releases.app(project, app), releases.refs(project, app))
        history = [RefMoveView.of(entry) for entry in releases.history(project, app, limit=HISTORY)]
        return AppDetailView(**view.model_dump(exclude={"refs"}), refs=view.refs, history=history)

    @routes.get("/apps/{app}/history", operation_id="list_app_history")
    def list_app_history(
        project: Project, app: AppName, page: PageParams, ref: Annotated[str | None, Query(max_length=63)] = None
    ) -> Page[RefMoveView]:
        """List the moves of an app's refs, or of one of them, newest first."""
        listing = f"history {project} {app} {ref}"
        found = releases.history(project, app, ref, limit=page.limit + 1, before=_number(listing, page.cursor))
        return cut_page(listing, page, [RefMoveView.of(entry) for entry in found], lambda view: view.sequence)


def _ref_routes(routes: APIRouter, releases: Releases) -> None:
    @routes.put("/apps/{app}/refs/{ref}", operation_id="move_ref")
    def move_ref(
        project: Project,
        app: AppName,
        ref: RefName,
        body: MoveBody,
        actor: CurrentPrincipal,
        response: Response,
        if_match: Annotated[str | None, Header(max_length=80, description="Where the ref points now")] = None,
        if_none_match: Annotated[str | None, Header(max_length=80, description="`*` for a new ref")] = None,
    ) -> AppRefView:
        """Point a ref to a release, if it still points where the caller saw it (409 with the current digest else)."""
        if if_none_match not in (None, "*"):
            raise InvalidInput("If-None-Match is `*` or absent", hint="send If-None-Match: * for a new ref")
        moved = releases.move_ref(
            project, app, ref, body.digest, expected=_unquoted(if_match), create=if_none_match == "*", actor=actor,
            reason=body.reason,
        )  # fmt: skip
        response.headers["etag"] = f'"{moved.digest}"'
        return AppRefView.of(moved)

    @routes.get("/apps/{app}/refs/{ref}", operation_id="get_ref")
    def get_ref(project: Project, app: AppName, ref: RefName, response: Response) -> AppRefView:
        """Show where a ref points; the ETag is what a move needs as If-Match."""
        found = releases.ref(project, app, ref)
        response.headers["etag"] = f'"{found.digest}"'
        return AppRefView.of(found)


def _release_routes(routes: APIRouter, releases: Releases) -> None:
    @routes.get("/apps/{app}/releases", operation_id="list_releases")
    def list_releases(project: Project, app: AppName, page: PageParams) -> Page[ReleaseListed]:
        """List the releases of an app, newest first, with the refs that name them."""
        listing = f"releases {project} {app}"
        refs = releases.refs(project, app)
        found = releases.releases(project, app, limit=page.limit + 1, before=_number(listing, page.cursor))
        return cut_page(listing, page, [ReleaseListed.of(each, refs) for each in found], lambda view: view.sequence)

    @routes.get("/releases/{digest}", operation_id="get_release")
    def get_release(
        project: Project,
        digest: DigestPath,
        rows: Annotated[int, Query(ge=0, le=200, description="How many rows of each dataset")] = 20,
    ) -> ReleaseView:
        """Show a release: its manifest, and every part that it pins."""
        return ReleaseView.of(releases.parts(project, parse_digest(digest), rows=rows))

    @routes.post("/releases", operation_id="compose_release", status_code=201)
    def compose_release(
        project: Project, body: ReleaseBody, actor: CurrentPrincipal, response: Response
    ) -> ComposedView:
        """Compose a release from the files of an app's folder; 200 where the same release was there already.

        Everything is checked before anything is kept. With `ref` the ref moves too, if it is still as `expected`.
        """
        source, git = unpack(body, releases.limits)
        create = body.expected == ABSENT
        expected = parse_digest(body.expected) if body.expected and not create else None
        if body.ref is not None and body.expected is None:
            raise InvalidInput("say where the ref points now", hint="send `expected`: its digest, or absent")
        composed = releases.compose(
            project, source, git=git, actor=actor, reason=body.reason, expected_outcome=body.expected_outcome
        )
        ref: Ref | None = None
        if body.ref is not None:
            ref = releases.move_ref(
                project, composed.app, body.ref, composed.digest, expected=expected, create=create, actor=actor,
                reason=body.reason,
            )  # fmt: skip
        response.status_code = 201 if composed.new else 200
        return ComposedView.of(composed, ref)


def _number(listing: str, cursor: str | None) -> int | None:
    if cursor is None:
        return None
    value = decode_cursor(listing, cursor, [int])[0]
    return value if isinstance(value, int) else None


def _unquoted(etag: str | None) -> str | None:
    return None if etag is None else parse_digest(etag.strip().removeprefix("W/").strip('"'))
