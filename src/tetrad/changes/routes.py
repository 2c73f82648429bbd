"""The API of change requests, below `/api/v1/projects/{project}/change-requests`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from tetrad.changes._model import PartPatch, State
from tetrad.changes._service import Changes
from tetrad.changes._views import (
    ChangeChecksView,
    ChangeCommentBody,
    ChangeEventView,
    ChangeListed,
    ChangePartBody,
    ChangeThreadsView,
    ChangeThreadView,
    ChangeView,
    CloseChangeBody,
    EditChangeBody,
    EditCommentBody,
    MergeChangeBody,
    OpenChangeBody,
    PushChangeBody,
    RebaseChangeBody,
    RebasePlanView,
    ResolveThreadBody,
    ReviewChangeBody,
)
from tetrad.kernel import Principal
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, cut_page, decode_cursor, requires
from tetrad.releases import ReleaseDiffView

Project = Annotated[str, Path(max_length=63)]
Number = Annotated[int, Path(ge=1, le=2_147_483_647)]
CommentId = Annotated[str, Path(max_length=64)]
PROPOSES = [requires("review", readers=True)]
"""Reviewers propose, comment and judge, though they may not move a ref: the experts of what an app says."""
READS = [requires("control")]
MERGES = [requires("control")]


def router(changes: Changes) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}/change-requests", tags=["changes"])
    _reading(routes, changes)
    _pushing(routes, changes)
    _judging(routes, changes)
    _talking(routes, changes)
    return routes


def _reading(routes: APIRouter, changes: Changes) -> None:
    @routes.get("", operation_id="list_change_requests", dependencies=READS)
    def list_change_requests(
        project: Project,
        page: PageParams,
        app: Annotated[str | None, Query(max_length=63)] = None,
        ref: Annotated[str | None, Query(max_length=63)] = None,
        state: Annotated[list[State] | None, Query(max_length=6, description="Any of these; all without it")] = None,
    ) -> Page[ChangeListed]:
        """List change requests, newest first. A state is what the reviews came to at the last event."""
        states = sorted(set(state or ()))
        listing = f"changes {project} {app} {ref} {states}"
        found = changes.find(
            project, app=app, ref=ref, states=states, limit=page.limit + 1, before=_number(listing, page.cursor)
        )
        views = [ChangeListed.listed(request, counts, behind=behind) for request, counts, behind in found]
        return cut_page(listing, page, views, lambda view: view.number)

    @routes.get("/{number}", operation_id="get_change_request", dependencies=READS)
    def get_change_request(project: Project, number: Number, actor: CurrentPrincipal) -> ChangeView:
        """Show a change request: its patch, its revisions, its reviews, what the caller may do."""
        return _shown(changes, project, number, actor)

    @routes.get("/{number}/diff", operation_id="diff_change_request", dependencies=READS)
    def diff_change_request(
        project: Project,
        number: Number,
        rows: Annotated[int, Query(ge=0, le=500, description="How many rows of each dataset")] = 20,
        files: Annotated[int, Query(ge=0, le=2_000, description="How many files")] = 200,
    ) -> ReleaseDiffView:
        """Say what the candidate changes on its base, part by part; of a draft too."""
        return ReleaseDiffView.of(changes.diff(project, number, rows=rows, files=files))

    @routes.get("/{number}/checks", operation_id="check_change_request", dependencies=READS)
    def check_change_request(project: Project, number: Number, actor: CurrentPrincipal) -> ChangeChecksView:
        """Say what a merge needs now, what of it holds, and who could supply the rest; nothing is recorded."""
        return ChangeChecksView.of(changes.checks(project, number, actor=actor))

    @routes.get("/{number}/events", operation_id="list_change_events", dependencies=READS)
    def list_change_events(project: Project, number: Number, page: PageParams) -> Page[ChangeEventView]:
        """List what happened to a change request, newest first."""
        listing = f"change events {project} {number}"
        found = changes.events(project, number, limit=page.limit + 1, before=_number(listing, page.cursor))
        return cut_page(listing, page, [ChangeEventView.of(each) for each in found], lambda view: view.sequence)


def _pushing(routes: APIRouter, changes: Changes) -> None:
    @routes.post("", operation_id="open_change_request", status_code=201, dependencies=PROPOSES)
    def open_change_request(project: Project, body: OpenChangeBody, actor: CurrentPrincipal) -> ChangeView:
        """Propose other parts for a ref, or draft them; the same `key` again is the request that it opened."""
        made = changes.open(
            project, body.app, body.ref, title=body.title, patch=_patch(body.parts), actor=actor,
            description=body.description, expected_outcome=body.expected_outcome, draft=body.draft, key=body.key,
        )  # fmt: skip
        return _shown(changes, project, made.number, actor)

    @routes.patch("/{number}", operation_id="edit_change_request", dependencies=PROPOSES)
    def edit_change_request(
        project: Project, number: Number, body: EditChangeBody, actor: CurrentPrincipal
    ) -> ChangeView:
        """Say title, description or expected outcome anew."""
        changes.edit(
            project, number, actor=actor, title=body.title, description=body.description,
            expected_outcome=body.expected_outcome,
        )  # fmt: skip
        return _shown(changes, project, number, actor)

    @routes.post("/{number}/push", operation_id="push_change_request", dependencies=PROPOSES)
    def push_change_request(
        project: Project, number: Number, body: PushChangeBody, actor: CurrentPrincipal
    ) -> ChangeView:
        """Put a new patch in the place of the old one: a new revision with a new candidate; 409 past a newer one."""
        changes.push(
            project, number, _patch(body.parts), actor=actor, expected_revision=body.expected_revision, note=body.note
        )
        return _shown(changes, project, number, actor)

    @routes.post("/{number}/propose", operation_id="propose_change_request", dependencies=PROPOSES)
    def propose_change_request(project: Project, number: Number, actor: CurrentPrincipal) -> ChangeView:
        """Make a draft an open change request; its texts become versions, its candidate a release."""
        changes.propose(project, number, actor=actor)
        return _shown(changes, project, number, actor)

    @routes.post("/{number}/withdraw", operation_id="withdraw_change_request", dependencies=PROPOSES)
    def withdraw_change_request(project: Project, number: Number, actor: CurrentPrincipal) -> ChangeView:
        """Make an open change request a draft again."""
        changes.withdraw(project, number, actor=actor)
        return _shown(changes, project, number, actor)

    @routes.post("/{number}/close", operation_id="close_change_request", dependencies=PROPOSES)
    def close_change_request(
        project: Project, number: Number, body: CloseChangeBody, actor: CurrentPrincipal
    ) -> ChangeView:
        """End a change request without a merge."""
        changes.close(project, number, actor=actor, reason=body.reason)
        return _shown(changes, project, number, actor)

    @routes.get("/{number}/rebase", operation_id="plan_change_rebase", dependencies=READS)
    def plan_change_rebase(project: Project, number: Number) -> RebasePlanView:
        """Say what putting the patch on the ref's present release would do, with both sides of each conflict."""
        return RebasePlanView.of(changes.plan_rebase(project, number))

    @routes.post("/{number}/rebase", operation_id="rebase_change_request", dependencies=PROPOSES)
    def rebase_change_request(
        project: Project, number: Number, body: RebaseChangeBody, actor: CurrentPrincipal
    ) -> ChangeView:
        """Put the patch on the ref's present release; 409 where parts in conflict have no resolution."""
        changes.rebase(
            project, number, actor=actor, expected_revision=body.expected_revision,
            resolutions=_patch(body.resolutions),
        )  # fmt: skip
        return _shown(changes, project, number, actor)


def _judging(routes: APIRouter, changes: Changes) -> None:
    @routes.post("/{number}/reviews", operation_id="review_change_request", dependencies=PROPOSES)
    def review_change_request(
        project: Project, number: Number, body: ReviewChangeBody, actor: CurrentPrincipal
    ) -> ChangeView:
        """Approve what a revision changes, or ask for changes, as the caller; signed, and bound to the parts."""
        changes.review(
            project, number, body.decision, actor=actor, revision=body.revision, parts=body.parts, comment=body.comment
        )
        return _shown(changes, project, number, actor)

    @routes.post("/{number}/merge", operation_id="merge_change_request", dependencies=MERGES)
    def merge_change_request(
        project: Project, number: Number, body: MergeChangeBody, actor: CurrentPrincipal, response: Response
    ) -> ChangeView:
        """Move the ref to the candidate through its gates; 403 says what is missing, 409 where the ref is now."""
        done = changes.merge(
            project, number, actor=actor, expected_candidate=body.expected_candidate, reason=body.reason,
            break_glass=body.break_glass,
        )  # fmt: skip
        response.headers["etag"] = f'"{done.candidate}"'
        return _shown(changes, project, number, actor)


def _talking(routes: APIRouter, changes: Changes) -> None:
    @routes.get("/{number}/comments", operation_id="list_change_comments", dependencies=READS)
    def list_change_comments(project: Project, number: Number) -> ChangeThreadsView:
        """List all threads, oldest first, each with where its line or row is in the present candidate."""
        return ChangeThreadsView(
            items=[ChangeThreadView.of(each) for each in changes.comments.threads(project, number)]
        )

    @routes.post("/{number}/comments", operation_id="comment_on_change", status_code=201, dependencies=PROPOSES)
    def comment_on_change(
        project: Project, number: Number, body: ChangeCommentBody, actor: CurrentPrincipal
    ) -> ChangeThreadView:
        """Comment on a line of a prompt, a row of data or the whole, or answer in a thread."""
        return ChangeThreadView.of(
            changes.comments.add(
                project, number, body.body, actor=actor, anchor=body.anchor.anchor() if body.anchor else None,
                reply_to=body.reply_to, key=body.key,
            )
        )  # fmt: skip

    @routes.put("/{number}/comments/{comment}", operation_id="edit_change_comment", dependencies=PROPOSES)
    def edit_change_comment(
        project: Project, number: Number, comment: CommentId, body: EditCommentBody, actor: CurrentPrincipal
    ) -> ChangeThreadView:
        """Say one's own comment anew; what it said stays in its history."""
        return ChangeThreadView.of(changes.comments.edit(project, number, comment, body.body, actor=actor))

    @routes.put("/{number}/threads/{thread}", operation_id="resolve_change_thread", dependencies=PROPOSES)
    def resolve_change_thread(
        project: Project, number: Number, thread: CommentId, body: ResolveThreadBody, actor: CurrentPrincipal
    ) -> ChangeThreadView:
        """Say that a thread is settled, or that it is not."""
        return ChangeThreadView.of(
            changes.comments.resolve(project, number, thread, actor=actor, resolved=body.resolved)
        )


def _shown(changes: Changes, project: str, number: int, actor: Principal) -> ChangeView:
    return ChangeView.of(changes.look(project, number, actor=actor))


def _patch(parts: Sequence[ChangePartBody]) -> list[PartPatch]:
    return [part.patch() for part in parts]


def _number(listing: str, cursor: str | None) -> int | None:
    if cursor is None:
        return None
    value = decode_cursor(listing, cursor, [int])[0]
    return value if isinstance(value, int) else None
