"""The API of apps and releases, below `/api/v1/projects/{project}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from tetrad.kernel import InvalidInput, Principal, parse_digest
from tetrad.kit.http import CurrentPrincipal, Expected, Page, PageParams, cut_page, decode_cursor, requires, unquoted
from tetrad.registry import Ref
from tetrad.releases._compare import SHOWN_FILES, SHOWN_ROWS
from tetrad.releases._diff_views import (
    AnnouncedCodeView,
    DeriveBody,
    PreviewBody,
    PreviewView,
    ReleaseDiffView,
    RollbackBody,
    RolledBackView,
    RunningCodeView,
)
from tetrad.releases._kept import Composed
from tetrad.releases._model import App
from tetrad.releases._rebuild import Stalenesses
from tetrad.releases._service import Releases
from tetrad.releases._stale_views import StalenessRunBody, StalenessRunView, StalenessView, check_subject
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
from tetrad.releases.ports import CodeSightings

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


def router(releases: Releases, sightings: CodeSightings | None = None) -> APIRouter:
    """Return the routes; they bring their prefix with them. Without `sightings` no code is known to run anywhere."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["releases"], dependencies=[requires("control")])
    _app_routes(routes, releases)
    _ref_routes(routes, releases)
    _release_routes(routes, releases)
    _change_routes(routes, releases)
    _rollback_routes(routes, releases, sightings)
    return routes


def staleness_router(stalenesses: Stalenesses) -> APIRouter:
    """Return the routes that tell what is out of date and mend it; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["staleness"], dependencies=[requires("control")])

    @routes.get("/staleness", operation_id="get_staleness")
    def get_staleness(
        project: Project,
        app: Annotated[str, Query(max_length=63, description="Only the refs of this app")] = "",
        ref: Annotated[str, Query(max_length=63, description="Only this ref of the app")] = "",
        artifact: Annotated[str, Query(max_length=71, description="One artifact instead, by its digest")] = "",
    ) -> StalenessView:
        """Say what is out of date and why, and the steps that mend it, in order. Computed now; nothing is stored."""
        check_subject(app, ref, artifact)
        return StalenessView.of(stalenesses.look(project, app=app, ref=ref, digest=artifact))

    @routes.post("/staleness/run", operation_id="run_staleness")
    def run_staleness(project: Project, body: StalenessRunBody, actor: CurrentPrincipal) -> StalenessRunView:
        """Carry out the steps that have an executor, in order, for at most `seconds`; ask again while some are left.

        What was made stays, so that a run that ends early is gone on with by the next. No ref moves.
        """
        check_subject(body.app, body.ref, body.artifact)
        done = stalenesses.run(
            project, actor=actor, app=body.app, ref=body.ref, digest=body.artifact, reason=body.reason,
            expected_outcome=body.expected_outcome, skip=frozenset(body.skip), seconds=body.seconds,
        )  # fmt: skip
        return StalenessRunView.of(done)

    return routes


def _app_routes(routes: APIRouter, releases: Releases) -> None:
    @routes.get("/apps", operation_id="list_apps")
    def list_apps(project: Project, page: PageParams) -> Page[AppView]:
        """List the apps of a project with their refs, in the order of names."""
        listing = f"apps {project}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        found = [_app_view(releases, each.app) for each in releases.apps(project, limit=page.limit + 1, after=after)]
        return cut_page(listing, page, found, lambda view: view.name)

    @routes.get("/apps/{app}", operation_id="get_app")
    def get_app(project: Project, app: AppName) -> AppDetailView:
        """Show an app: where its refs point and how they got there."""
        view = _app_view(releases, releases.app(project, app))
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
        seen: Expected,
    ) -> AppRefView:
        """Point a ref to a release, if it still points where the caller saw it (409 with the current digest else)."""
        moved = releases.move_ref(
            project, app, ref, body.digest, expected=seen.digest, create=seen.create, actor=actor,
            reason=body.reason,
        )  # fmt: skip
        response.headers["etag"] = f'"{moved.digest}"'
        return AppRefView.of(moved)

    @routes.get("/apps/{app}/refs/{ref}", operation_id="get_ref")
    def get_ref(project: Project, app: AppName, ref: RefName, response: Response) -> AppRefView:
        """Show where a ref points; the ETag is what a move needs as If-Match."""
        found = releases.ref(project, app, ref)
        response.headers["etag"] = f'"{found.digest}"'
        return AppRefView.of(found, releases.revoked(project, [found.digest]))


def _release_routes(routes: APIRouter, releases: Releases) -> None:
    @routes.get("/apps/{app}/releases", operation_id="list_releases")
    def list_releases(project: Project, app: AppName, page: PageParams) -> Page[ReleaseListed]:
        """List the releases of an app, newest first, with the refs that name them."""
        listing = f"releases {project} {app}"
        refs = releases.refs(project, app)
        found = releases.releases(project, app, limit=page.limit + 1, before=_number(listing, page.cursor))
        listed = [ReleaseListed.of(each, refs, dirty=releases.is_dirty(project, each.digest)) for each in found]
        return cut_page(listing, page, listed, lambda view: view.sequence)

    @routes.get("/releases/{digest}", operation_id="get_release")
    def get_release(
        project: Project,
        digest: DigestPath,
        rows: Annotated[int, Query(ge=0, le=200, description="How many rows of each dataset")] = 20,
    ) -> ReleaseView:
        """Show a release: its manifest, and every part that it pins."""
        parts = releases.parts(project, parse_digest(digest), rows=rows)
        return ReleaseView.of(parts, releases.revoked(project, [digest]))

    @routes.post("/releases", operation_id="compose_release", status_code=201)
    def compose_release(
        project: Project, body: ReleaseBody, actor: CurrentPrincipal, response: Response
    ) -> ComposedView:
        """Compose a release from the files of an app's folder; 200 where the same release was there already.

        Everything is checked before anything is kept. With `ref` the ref moves too, if it is still as `expected`.
        """
        source, git = unpack(body, releases.limits)
        _check_move(body)
        composed = releases.compose(
            project, source, git=git, actor=actor, reason=body.reason, expected_outcome=body.expected_outcome,
            locked=body.locked,
        )  # fmt: skip
        response.status_code = 201 if composed.new else 200
        return ComposedView.of(composed, _move(releases, composed, body, actor))


def _change_routes(routes: APIRouter, releases: Releases) -> None:
    @routes.post("/releases/derive", operation_id="derive_release", status_code=201)
    def derive_release(project: Project, body: DeriveBody, actor: CurrentPrincipal, response: Response) -> ComposedView:
        """Make the next release from one that is there and other parts; 200 where the same was there already.

        No checkout is needed: the code stays as it is. Everything is checked before anything is kept.
        """
        _check_move(body)
        base = releases.find(project, body.base)
        made = releases.derivations.derive(
            project, base, body.patches, actor=actor, reason=body.reason, expected_outcome=body.expected_outcome
        )
        response.status_code = 201 if made.new else 200
        return ComposedView.of(made, _move(releases, made, body, actor))

    @routes.post(
        "/releases/derive/preview",
        operation_id="preview_release",
        dependencies=[requires("control", readers=True)],
    )
    def preview_release(project: Project, body: PreviewBody, actor: CurrentPrincipal) -> PreviewView:
        """Say what a derived release would be and how it differs from the one it comes from; nothing is kept."""
        base = releases.find(project, body.base)
        planned = releases.derivations.plan(project, base, body.patches)
        before = releases.parts(project, base, rows=0)
        after = releases.planned_parts(project, planned.manifest, planned.drafts, actor=actor)
        return PreviewView(
            digest=planned.digest,
            notes=list(planned.notes),
            diff=ReleaseDiffView.of(releases.comparisons.diff_parts(before, after)),
        )

    @routes.get("/release-diff", operation_id="diff_releases")
    def diff_releases(
        project: Project,
        old: Annotated[str, Query(alias="from", max_length=256, description="A digest, APP/REF, APP/REF@3")],
        new: Annotated[str, Query(alias="to", max_length=256, description="The same; or first digits, with app")],
        app: Annotated[str, Query(max_length=63, description="Whose releases first digits are looked for in")] = "",
        rows: Annotated[int, Query(ge=0, le=500, description="How many rows of each dataset")] = SHOWN_ROWS,
        files: Annotated[int, Query(ge=0, le=2_000, description="How many files")] = SHOWN_FILES,
    ) -> ReleaseDiffView:
        """Say what changed between two releases: prompts by message and word, data by row, model, code, sampling."""
        named = app or next((text.partition("/")[0] for text in (old, new) if "/" in text), "")
        digests = [releases.find(project, text, app=named) for text in (old, new)]
        return ReleaseDiffView.of(releases.comparisons.diff(project, *digests, rows=rows, files=files))


def _rollback_routes(routes: APIRouter, releases: Releases, sightings: CodeSightings | None) -> None:
    @routes.post("/apps/{app}/refs/{ref}/rollback", operation_id="roll_back_ref")
    def roll_back_ref(
        project: Project, app: AppName, ref: RefName, body: RollbackBody, actor: CurrentPrincipal, response: Response
    ) -> RolledBackView:
        """Point a ref to the release that it had before, whole and at once; 409 where it moved meanwhile."""
        target = releases.find(project, body.to, app=app) if body.to else None
        done = releases.rollbacks.roll_back(
            project, app, ref, actor=actor, to=target, expected=unquoted(body.expected), reason=body.reason,
            force=body.force,
        )  # fmt: skip
        response.headers["etag"] = f'"{done.new}"'
        return RolledBackView.of(done)

    @routes.get("/apps/{app}/refs/{ref}/code", operation_id="get_running_code")
    def get_running_code(
        project: Project,
        app: AppName,
        ref: RefName,
        window_s: Annotated[int, Query(ge=60, le=86_400, description="How far to look back")] = 900,
    ) -> RunningCodeView:
        """Say which code callers of an app announced lately, and whether it is that of the ref's release."""
        digest = releases.ref(project, app, ref).digest
        resolved = releases.resolve(project, digest)
        seen = sightings.announced(project, app, last_s=window_s) if sightings else ()
        return RunningCodeView(
            release=digest,
            tree=resolved.code_digest,
            dirty=resolved.code_dirty,
            window_s=window_s,
            announced=[AnnouncedCodeView.of(each, resolved.code_digest) for each in seen],
        )


def _app_view(releases: Releases, app: App) -> AppView:
    refs = releases.refs(app.project, app.name)
    return AppView.of(app, refs, releases.revoked(app.project, [ref.digest for ref in refs]))


def _check_move(body: ReleaseBody | DeriveBody) -> None:
    if body.ref is not None and body.expected is None:
        raise InvalidInput("say where the ref points now", hint="send `expected`: its digest, or absent")
    if body.expected and body.expected != ABSENT:
        parse_digest(body.expected)


def _move(releases: Releases, made: Composed, body: ReleaseBody | DeriveBody, actor: Principal) -> Ref | None:
    """Move the ref that was asked for to the release that was made."""
    if body.ref is None:
        return None
    create = body.expected == ABSENT
    return releases.move_ref(
        made.project, made.app, body.ref, made.digest, expected=None if create else body.expected, create=create,
        actor=actor, reason=body.reason,
    )  # fmt: skip


def _number(listing: str, cursor: str | None) -> int | None:
    if cursor is None:
        return None
    value = decode_cursor(listing, cursor, [int])[0]
    return value if isinstance(value, int) else None
