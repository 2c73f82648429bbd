"""What the API takes and shows of change requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from tetrad.changes._checks import Checks
from tetrad.changes._comments import Thread
from tetrad.changes._model import (
    Anchor,
    ChangedPart,
    ChangeRequest,
    Comment,
    Happening,
    Merge,
    PartPatch,
    Place,
    Review,
    Revision,
    coverage,
    judgements,
)
from tetrad.changes._reader import Looked
from tetrad.changes._rebase import RebasePlan
from tetrad.changes.errors import BadChange
from tetrad.changes.ports import Counts
from tetrad.kernel import Digest

State = Literal["draft", "open", "approved", "changes_requested", "merged", "closed"]
Text = Annotated[str, Field(max_length=20_000)]
MAX_CONTENT_CHARS = 256 << 10


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


# -- what is sent ---------------------------------------------------------------------------------------------------


class ChangePartBody(_Body):
    """One part and what it becomes; exactly one of `value`, `content` and `remove` is given.

    `part` is `prompt.system`, `model.primary`, `data.fewshot` (or `data.fewshot/NAME`), `sampling.temperature`.
    `value` is `NAME@VERSION`, `NAME@sha256:...` or `NAME`, for sampling a JSON value. `content` is the text of a prompt
    file; `name` is what that prompt is called (without it: as the prompt that it replaces).
    """

    part: Annotated[str, Field(min_length=1, max_length=256)]
    value: Any = None
    content: Annotated[str | None, Field(max_length=MAX_CONTENT_CHARS)] = None
    name: Annotated[str, Field(max_length=128)] = ""
    remove: bool = False

    def patch(self) -> PartPatch:
        """Return it as the service takes it; refuse what says two things or none."""
        if (self.content is not None) + (self.value is not None) + self.remove != 1:
            raise BadChange(f"{self.part[:80]!r} is given one of value, content and remove", hint="give one of them")
        return PartPatch(self.part, self.value, self.content, self.name)


Parts = Annotated[list[ChangePartBody], Field(max_length=100)]


class OpenChangeBody(_Body):
    """A change for a ref. A draft keeps nothing in the registry until it is proposed.

    `key` makes sending it again safe: the same key is the same change request.
    """

    app: Annotated[str, Field(min_length=1, max_length=63)]
    ref: Annotated[str, Field(min_length=1, max_length=63)] = "production"
    title: Annotated[str, Field(min_length=1, max_length=200)]
    description: Text = ""
    expected_outcome: Annotated[str, Field(max_length=4_000)] = ""
    parts: Annotated[list[ChangePartBody], Field(min_length=1, max_length=100)]
    draft: bool = False
    key: Annotated[str, Field(max_length=128)] = ""


class EditChangeBody(_Body):
    """What to say anew of a change request; null leaves it as it is."""

    title: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    description: Text | None = None
    expected_outcome: Annotated[str | None, Field(max_length=4_000)] = None


class PushChangeBody(_Body):
    """The whole patch anew: parts that are not named stay as the base has them.

    `expected_revision` is the revision that the caller saw; with another one nothing happens (409).
    """

    parts: Annotated[list[ChangePartBody], Field(min_length=1, max_length=100)]
    note: Annotated[str, Field(max_length=500)] = ""
    expected_revision: Annotated[int, Field(ge=1)]


class ReviewChangeBody(_Body):
    """A judgement of what revision `revision` changes, or of those of its parts that `parts` names by label."""

    decision: Literal["approve", "request_changes"]
    revision: Annotated[int, Field(ge=1)]
    parts: Annotated[list[Annotated[str, Field(max_length=400)]], Field(max_length=200)] = []
    comment: Annotated[str, Field(max_length=4_000)] = ""


class RebaseChangeBody(_Body):
    """Put the patch on the release that the ref points to now; `resolutions` say what parts in conflict become."""

    expected_revision: Annotated[int, Field(ge=1)]
    resolutions: Parts = []


class MergeChangeBody(_Body):
    """Move the ref to the candidate that the caller saw, through its gates.

    `break_glass` is the reason to pass gates that name the caller as somebody who may; it goes into the audit log.
    """

    expected_candidate: Annotated[str, Field(max_length=71)]
    reason: Annotated[str, Field(max_length=3_500)] = ""
    break_glass: Annotated[str, Field(max_length=3_500)] = ""


class CloseChangeBody(_Body):
    """Why a change request ends without a merge."""

    reason: Annotated[str, Field(max_length=4_000)] = ""


class AnchorBody(_Body):
    """What a comment is about: a line of a prompt, or a row of a dataset. Places and lines count from 1.

    For a prompt: `part`, `digest` (as the base or the candidate pins it), `message`, `line`; for data: `part`,
    `digest`, `row` (its key).
    """

    part: Annotated[str, Field(min_length=1, max_length=256)]
    digest: Annotated[str, Field(max_length=71)]
    message: Annotated[int | None, Field(ge=1, le=1_000)] = None
    line: Annotated[int | None, Field(ge=1, le=100_000)] = None
    row: Annotated[str | None, Field(max_length=512)] = None

    def anchor(self) -> Anchor:
        """Return it as the service takes it; refuse what is no place."""
        if self.row is not None and self.message is None and self.line is None:
            return Anchor("row", self.part, Digest(self.digest), row=self.row)
        if self.row is None and self.message is not None and self.line is not None:
            return Anchor("prompt", self.part, Digest(self.digest), self.message, self.line)
        raise BadChange("an anchor is a message and a line, or a row", hint="give one of them")


class ChangeCommentBody(_Body):
    """A comment; with `reply_to` (a thread's id) an answer, with `anchor` about one place, else about the whole.

    Text is kept and returned as it was given; whoever shows it treats it as text. `key` makes sending it again safe.
    """

    body: Annotated[str, Field(min_length=1, max_length=10_000)]
    anchor: AnchorBody | None = None
    reply_to: Annotated[str, Field(max_length=64)] = ""
    key: Annotated[str, Field(max_length=128)] = ""


class EditCommentBody(_Body):
    """A comment's new text; the old one stays in its history."""

    body: Annotated[str, Field(min_length=1, max_length=10_000)]


class ResolveThreadBody(_Body):
    """Whether a thread is settled."""

    resolved: bool = True


# -- what is shown --------------------------------------------------------------------------------------------------


class ChangePartView(BaseModel):
    """One part of the patch. `content` is the text of a prompt file that was given inline; `name` what it is called."""

    part: str
    value: Any = None
    content: str | None = None
    name: str = ""
    remove: bool = False

    @classmethod
    def of(cls, patch: PartPatch) -> ChangePartView:
        remove = patch.content is None and patch.value is None
        return cls(part=patch.part, value=patch.value, content=patch.content, name=patch.name, remove=remove)


class ChangedPartView(BaseModel):
    """A part of the candidate that the base does not have, and who judged exactly this. `label` names it in a review.

    `approved_by` and `rejected_by` hold only judgements that count: of people who did not push to this request.
    """

    kind: str
    role: str
    name: str
    label: str
    seal: str
    approved_by: list[str]
    rejected_by: list[str]

    @classmethod
    def of(cls, part: ChangedPart, held: Mapping[tuple[str, str], Review]) -> ChangedPartView:
        about = [review for (seal, _), review in held.items() if seal == part.seal]
        by = {
            decision: [each.actor_name or each.actor for each in about if each.decision == decision]
            for decision in ("approve", "request_changes")
        }
        return cls(
            kind=part.kind, role=part.role, name=part.name, label=part.label, seal=part.seal,
            approved_by=by["approve"], rejected_by=by["request_changes"],
        )  # fmt: skip


class ChangeRevisionView(BaseModel):
    """One push or rebase: on which base, which candidate came of it, and what it changes."""

    revision: int
    kind: Literal["push", "rebase"]
    base: str
    candidate: str
    at: datetime
    by: str
    by_id: str
    note: str
    parts: list[str]

    @classmethod
    def of(cls, revision: Revision) -> ChangeRevisionView:
        return cls(
            revision=revision.number,
            kind=revision.kind,
            base=revision.base,
            candidate=revision.candidate,
            at=revision.at,
            by=revision.by_name or revision.by,
            by_id=revision.by,
            note=revision.note,
            parts=list(revision.parts),
        )


class ChangeReviewView(BaseModel):
    """A judgement. `standing` says whether it is about what the candidate holds now, for how many of its parts.

    `evidence` is the digest of the signed statement; `problem` says why that does not count (revoked, expired, ...).
    """

    sequence: int
    decision: Literal["approve", "request_changes"]
    by: str
    by_id: str
    role: str
    comment: str
    revision: int
    at: datetime
    parts: list[str]
    standing: Literal["all", "some", "none"]
    evidence: str
    problem: str

    @classmethod
    def of(cls, review: Review, seals: Collection[str], problem: str) -> ChangeReviewView:
        return cls(
            sequence=review.sequence,
            decision=review.decision,
            by=review.actor_name or review.actor,
            by_id=review.actor,
            role=review.role,
            comment=review.comment,
            revision=review.revision,
            at=review.at,
            parts=list(review.parts),
            standing=coverage(review, seals),
            evidence=review.evidence,
            problem=problem,
        )


class ChangeMergeView(BaseModel):
    """How it was merged: which release the ref had before, and which it has since."""

    model_config = ConfigDict(populate_by_name=True)

    at: datetime
    by: str
    by_id: str
    old: Annotated[str, Field(alias="from")]
    new: Annotated[str, Field(alias="to")]
    reason: str
    broke_glass: bool

    @classmethod
    def of(cls, merge: Merge) -> ChangeMergeView:
        return cls(
            at=merge.at,
            by=merge.by_name or merge.by,
            by_id=merge.by,
            old=merge.old,
            new=merge.new,
            reason=merge.reason,
            broke_glass=merge.broke_glass,
        )


class ChangeListed(BaseModel):
    """A change request in a list. `behind`: its ref has moved since the patch was put on `base`."""

    number: int
    app: str
    ref: str
    title: str
    state: State
    author: str
    author_id: str
    created_at: datetime
    updated_at: datetime
    revision: int
    base: str
    candidate: str
    parts: list[str]
    comments: int
    unresolved_threads: int
    behind: bool

    @classmethod
    def listed(cls, request: ChangeRequest, counts: Counts, *, behind: bool) -> ChangeListed:
        return ChangeListed(**_listed(request, counts, behind=behind))


class ChangeView(ChangeListed):
    """A change request. `candidate` answers as `release:DIGEST` while it is not closed, drafts too.

    `ref_digest` is where the ref points now; `allowed` says what the caller may do now, of edit, push, propose,
    comment, approve, request_changes, rebase, merge, withdraw and close.
    """

    description: str
    expected_outcome: str
    patch: list[ChangePartView]
    changed: list[ChangedPartView]
    revisions: list[ChangeRevisionView]
    reviews: list[ChangeReviewView]
    authors: list[str]
    notes: list[str]
    ref_digest: str | None
    merged: ChangeMergeView | None
    closed_reason: str
    allowed: list[str]

    @classmethod
    def of(cls, looked: Looked) -> ChangeView:
        request, newest = looked.request, looked.newest
        counted = [review for review in looked.reviews if review.sequence not in looked.problems]
        held = judgements(counted, request.authors)
        seals = [part.seal for part in newest.changed]
        return cls(
            **_listed(request, looked.counts, behind=looked.behind),
            description=request.description,
            expected_outcome=request.expected_outcome,
            patch=[ChangePartView.of(each) for each in newest.patch],
            changed=[ChangedPartView.of(part, held) for part in newest.changed],
            revisions=[ChangeRevisionView.of(each) for each in looked.revisions],
            reviews=[
                ChangeReviewView.of(each, seals, looked.problems.get(each.sequence, "")) for each in looked.reviews
            ],
            authors=list(request.authors),
            notes=list(newest.notes),
            ref_digest=looked.ref_digest,
            merged=None if request.merge is None else ChangeMergeView.of(request.merge),
            closed_reason=request.closed_reason,
            allowed=list(looked.allowed),
        )


class RequirementView(BaseModel):
    """One thing that a merge needs. `missing` says what is to be done, `who` who could do it."""

    kind: Literal[
        "state", "base", "suite", "approval", "licence", "revoked", "verdict", "break-glass", "policy", "other"
    ]
    name: str
    pattern: str
    passed: bool
    reason: str
    missing: str
    who: list[str]


class ChangeChecksView(BaseModel):
    """What a merge would need now, all of it; `governed`: a gate governs the ref. Nothing is moved or recorded."""

    number: int
    ref: str
    candidate: str
    governed: bool
    mergeable: bool
    can_break_glass: bool
    requirements: list[RequirementView]

    @classmethod
    def of(cls, checks: Checks) -> ChangeChecksView:
        return cls(
            number=checks.request.number,
            ref=checks.request.ref_name,
            candidate=checks.request.candidate,
            governed=checks.governed,
            mergeable=checks.mergeable,
            can_break_glass=checks.can_break_glass,
            requirements=[RequirementView(**msgspec.to_builtins(each)) for each in checks.requirements],
        )


class RebasedPartView(BaseModel):
    """A part of the patch on the ref's new release.

    `clean`: the ref left the part alone. `merged`: both changed the text in different places. `same`: both changed it
    alike. `conflict`: both changed it otherwise; for a prompt `text` holds both sides between markers.
    """

    part: str
    outcome: Literal["clean", "merged", "same", "conflict"]
    base: str
    ours: str
    theirs: str
    text: str | None


class RebasePlanView(BaseModel):
    """What a rebase would do; `conflicts` need resolutions."""

    needed: bool
    old_base: str
    new_base: str
    parts: list[RebasedPartView]
    conflicts: list[str]

    @classmethod
    def of(cls, plan: RebasePlan) -> RebasePlanView:
        names = RebasedPartView.model_fields
        return cls(
            needed=plan.needed,
            old_base=plan.old_base,
            new_base=plan.new_base,
            parts=[RebasedPartView(**{name: getattr(part, name) for name in names}) for part in plan.parts],
            conflicts=list(plan.conflicts),
        )


class AnchorView(BaseModel):
    """What a thread is about. `place` says where that is in the present candidate.

    `current`: there, at `message` and `line`, or in `row`; `moved`: the same line, now at `message` and `line`;
    `outdated`: it changed or is gone, and `quote` is what it said.
    """

    kind: Literal["prompt", "row"]
    part: str
    digest: str
    place: Literal["current", "moved", "outdated"]
    message: int | None
    line: int | None
    row: str | None
    quote: str

    @classmethod
    def of(cls, anchor: Anchor, place: Place) -> AnchorView:
        prompt = anchor.kind == "prompt"
        here = place.state != "outdated"
        return cls(
            kind=anchor.kind,
            part=anchor.part,
            digest=anchor.digest,
            place=place.state,
            message=(place.message if here else anchor.message) if prompt else None,
            line=(place.line if here else anchor.line) if prompt else None,
            row=None if prompt else anchor.row,
            quote=anchor.quote,
        )


class EarlierTextView(BaseModel):
    """What a comment said before it was edited, until when."""

    body: str
    until: datetime


class ChangeCommentView(BaseModel):
    """A comment; `body` is text, never markup."""

    id: str
    by: str
    by_id: str
    at: datetime
    edited_at: datetime | None
    body: str
    history: list[EarlierTextView]

    @classmethod
    def of(cls, comment: Comment) -> ChangeCommentView:
        return cls(
            id=comment.id,
            by=comment.author_name or comment.author,
            by_id=comment.author,
            at=comment.at,
            edited_at=comment.edited_at,
            body=comment.body,
            history=[EarlierTextView(body=each.body, until=each.until) for each in comment.history],
        )


class ChangeThreadView(BaseModel):
    """A comment with its answers, oldest first. `id` is its first comment's, `revision` the one that was made on."""

    id: str
    revision: int
    anchor: AnchorView | None
    resolved: bool
    resolved_by: str
    resolved_at: datetime | None
    comments: list[ChangeCommentView]

    @classmethod
    def of(cls, thread: Thread) -> ChangeThreadView:
        first = thread.first
        placed = first.anchor is not None and thread.place is not None
        return cls(
            id=first.id,
            revision=first.revision,
            anchor=AnchorView.of(first.anchor, thread.place) if placed else None,  # type: ignore[arg-type] # `placed`
            resolved=first.resolved_at is not None,
            resolved_by=first.resolved_by_name or first.resolved_by,
            resolved_at=first.resolved_at,
            comments=[ChangeCommentView.of(each) for each in thread.comments],
        )


class ChangeThreadsView(BaseModel):
    """All threads of a change request, oldest first."""

    items: list[ChangeThreadView]


class ChangeEventView(BaseModel):
    """Something that happened to a change request; `detail` depends on `kind`."""

    sequence: int
    at: datetime
    by: str
    by_id: str
    kind: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, happening: Happening) -> ChangeEventView:
        return cls(
            sequence=happening.sequence,
            at=happening.at,
            by=happening.actor_name or happening.actor,
            by_id=happening.actor,
            kind=happening.kind,
            detail=dict(happening.detail),
        )


def _listed(request: ChangeRequest, counts: Counts, *, behind: bool) -> dict[str, Any]:
    return {
        "number": request.number,
        "app": request.app,
        "ref": request.ref,
        "title": request.title,
        "state": request.state,
        "author": request.author_name or request.author,
        "author_id": request.author,
        "created_at": request.created_at,
        "updated_at": request.updated_at,
        "revision": request.revision,
        "base": request.base,
        "candidate": request.candidate,
        "parts": list(request.parts),
        "comments": counts.comments,
        "unresolved_threads": counts.unresolved,
        "behind": behind,
    }
