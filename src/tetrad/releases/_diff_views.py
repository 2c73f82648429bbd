"""What the API shows of differences between releases, of derived ones, and of rollbacks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tetrad.releases._diff import ReleaseDiff
from tetrad.releases._rollback import RolledBack
from tetrad.releases._summary import summarise
from tetrad.releases._views import AppRefView
from tetrad.releases.ports import CodeSighting

Change = Literal["added", "removed", "changed"]


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ValueChangeView(_Shown):
    """A value that came, went or changed; `path` is a JSON pointer or a name. Long values are cut, as texts."""

    path: str
    change: Change
    old: Any = None
    new: Any = None


class WordsView(_Shown):
    """A piece of text that both have (`equal`), or that only the old (`delete`) or the new (`insert`) one has."""

    op: Literal["equal", "delete", "insert"]
    text: str


class HunkView(_Shown):
    """Lines that were replaced, line numbers from 1; `words` is the same word by word, where it is known."""

    old_start: int
    new_start: int
    old: list[str]
    new: list[str]
    words: list[WordsView]


class ReleaseMessageChangeView(_Shown):
    """A message that came, went or changed; places count from 1, 0 where a side has none."""

    change: Change
    role: str
    old_role: str
    old_place: int
    new_place: int
    hunks: list[HunkView]


class PartSideView(_Shown):
    """A part as one of the two releases pins it."""

    name: str
    digest: str
    version: str
    contract: str
    order: str
    expected_outcome: str


class ReleasePromptDiffView(_Shown):
    """A prompt that differs; `floor` is what the contract's change asks of the version, `verdict` if it is kept."""

    role: str
    change: Change
    old: PartSideView | None
    new: PartSideView | None
    contract_changed: bool
    floor: Literal["major", "minor", "patch", "none"]
    verdict: Literal["kept", "too-low", "unknown"]
    messages: list[ReleaseMessageChangeView]
    variables: list[ValueChangeView]
    params: list[ValueChangeView]
    other: list[ValueChangeView]


class RowDiffView(_Shown):
    """A row that differs: a changed one with its fields, one that came or went with its content."""

    key: str
    change: Literal["added", "removed", "changed", "moved"]
    fields: list[ValueChangeView]
    content: Any


class DataDiffView(_Shown):
    """A dataset that differs: counts of all rows, and the first of them (`more`: there are others)."""

    role: str
    change: Change
    old: PartSideView | None
    new: PartSideView | None
    old_rows: int
    new_rows: int
    added: int
    removed: int
    changed: int
    moved: int
    rows: list[RowDiffView]
    more: bool
    compared: bool


class ModelDiffView(_Shown):
    """A model that differs, and in what: weights digest, quantisation, licence, derivation and the like."""

    role: str
    change: Change
    old: PartSideView | None
    new: PartSideView | None
    facts: list[ValueChangeView]


class FileChangeView(_Shown):
    """A file of the code that came, went or changed; `mode_only`: only its execute bit did."""

    path: str
    change: Change
    old_digest: str
    new_digest: str
    old_size: int
    new_size: int
    mode_only: bool


class CodeSideView(_Shown):
    """The code of one release; `dirty` code holds changes that are in no commit."""

    digest: str
    tree: str
    commit: str
    dirty: bool
    lock: str
    files: int


class CodeDiffView(_Shown):
    """Code that differs: counts of all files, and the first of them (`more`: there are others)."""

    old: CodeSideView
    new: CodeSideView
    added: int
    removed: int
    changed: int
    files: list[FileChangeView]
    more: bool
    lock_changed: bool
    runtime: list[ValueChangeView]


class ReleaseSideView(_Shown):
    """One of the two releases; `dirty` says that its code is in no commit."""

    digest: str
    app: str
    sequence: int
    created_at: datetime
    created_by: str
    reason: str
    dirty: bool
    expected_outcome: str


class SuiteSideView(_Shown):
    """The newest signed result of a suite on a release; `evidence` names the statement, `suite` the suite that ran."""

    result: str
    cases: int
    signed_by: str
    key_id: str
    received_at: datetime
    evidence: str
    suite: str
    expires_at: datetime | None
    expired: bool


class MetricDeltaView(_Shown):
    """A metric in its own unit; `delta` is new less old, null where a side has no value."""

    metric: str
    old: float | None
    new: float | None
    delta: float | None


class SuiteDeltaView(_Shown):
    """A suite on both releases; `same_suite` is null where it is not known whether the same suite ran."""

    suite: str
    old: SuiteSideView | None
    new: SuiteSideView | None
    metrics: list[MetricDeltaView]
    same_suite: bool | None


class ReleaseDiffView(_Shown):
    """What changed from one release to another, part by part; `summary` says it in a line each.

    `evaluated` says which of the two have signed test results: `unknown` where neither has.
    """

    old: ReleaseSideView
    new: ReleaseSideView
    same: bool
    summary: list[str]
    prompt: list[ReleasePromptDiffView]
    model: list[ModelDiffView]
    data: list[DataDiffView]
    code: CodeDiffView | None
    sampling: list[ValueChangeView]
    config: list[ValueChangeView]
    evaluated: Literal["both", "old", "new", "unknown"]
    evaluations: list[SuiteDeltaView]

    @classmethod
    def of(cls, diff: ReleaseDiff) -> ReleaseDiffView:
        names = [name for name in cls.model_fields if name != "summary"]
        return cls.model_validate(
            {**{name: getattr(diff, name) for name in names}, "summary": list(summarise(diff))}, from_attributes=True
        )


class DeriveBody(BaseModel):
    """The next release of an app, from one that is there and other parts.

    `from` is a digest, `APP/REF` or `APP/REF@3`. `set` maps parts to what they become: `prompt.system`,
    `model.primary`, `data.fewshot` (or `data.fewshot/NAME`) to `NAME@VERSION`, `NAME@sha256:…` or `NAME`;
    `sampling.temperature` and the like to a value. Null takes a part away. With `ref` that ref moves to the release, if
    it still points to `expected` (a digest, or `absent`).
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    base: Annotated[str, Field(alias="from", max_length=256)]
    patches: Annotated[dict[str, Any], Field(alias="set", max_length=100)]
    reason: Annotated[str, Field(max_length=4000)] = ""
    expected_outcome: Annotated[str, Field(max_length=4000)] = ""
    ref: Annotated[str | None, Field(max_length=63)] = None
    expected: Annotated[str | None, Field(max_length=71)] = None


class PreviewBody(BaseModel):
    """What `DeriveBody` says of a release and its parts, to see what would come of it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    base: Annotated[str, Field(alias="from", max_length=256)]
    patches: Annotated[dict[str, Any], Field(alias="set", max_length=100)]


class PreviewView(BaseModel):
    """The digest that a derived release would have, what is to be known of it, and what it changes."""

    digest: str
    notes: list[str]
    diff: ReleaseDiffView


class RollbackBody(BaseModel):
    """Where to go back to: the release before the present one, or `to` (a digest, its first digits, `APP/REF@3`).

    `expected` is where the ref was seen; `force` allows a release that the ref never had, with a reason.
    """

    model_config = ConfigDict(extra="forbid")

    to: Annotated[str | None, Field(max_length=256)] = None
    expected: Annotated[str | None, Field(max_length=71)] = None
    reason: Annotated[str, Field(max_length=3900)] = ""
    force: bool = False


class RolledBackView(BaseModel):
    """A ref that was moved back, from what to what; `took_ms` is the time until the move was durable.

    `tree` is the code that callers should announce now, `dirty` says that it is in no commit.
    """

    model_config = ConfigDict(populate_by_name=True)

    app: str
    ref: AppRefView
    old: Annotated[str, Field(alias="from")]
    new: Annotated[str, Field(alias="to")]
    forced: bool
    reason: str
    took_ms: float
    tree: str
    dirty: bool

    @classmethod
    def of(cls, done: RolledBack) -> RolledBackView:
        return cls(
            app=done.app,
            ref=AppRefView.of(done.ref),
            old=done.old,
            new=done.new,
            forced=done.forced,
            reason=done.reason,
            took_ms=round(done.took_ms, 3),
            tree=done.tree,
            dirty=done.dirty,
        )


class AnnouncedCodeView(BaseModel):
    """Code that callers announced; `matches` says whether it is the code of the release that the ref points to."""

    tree: str
    matches: bool
    key_id: str
    service: str
    requests: int
    last_seen: datetime

    @classmethod
    def of(cls, seen: CodeSighting, wanted: str) -> AnnouncedCodeView:
        return cls(
            tree=seen.tree,
            matches=seen.tree == wanted,
            key_id=seen.key_id,
            service=seen.service,
            requests=seen.requests,
            last_seen=seen.last_seen,
        )


class RunningCodeView(BaseModel):
    """The code of the release that a ref points to, and what callers announced in the last `window_s` seconds."""

    release: str
    tree: str
    dirty: bool
    window_s: int
    announced: list[AnnouncedCodeView]
