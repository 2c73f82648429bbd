"""What the API takes and shows of bindings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tetrad.bindings._diff import BindingChange
from tetrad.bindings._environments import place_of
from tetrad.bindings._model import SECTIONS
from tetrad.bindings._service import BindingBack, BoundRef, KeptBinding, PutBinding
from tetrad.bindings.errors import Problem
from tetrad.registry import RefEntry, Version

Reason = Annotated[str, Field(max_length=4000)]


class BindingBody(BaseModel):
    """A binding as JSON, of schema `tetrad.binding/1`, and why it is to hold."""

    model_config = ConfigDict(extra="forbid")

    binding: dict[str, Any]
    reason: Reason = ""
    expected_outcome: Reason = ""


class BindingCheckBody(BaseModel):
    """A binding that is to be checked, and not kept."""

    model_config = ConfigDict(extra="forbid")

    binding: dict[str, Any]


class BindingRollbackBody(BaseModel):
    """Where to go back to: the binding before the present one, or `to` (a digest, or `ENV@1.2.0`).

    `expected` is where the ref was seen.
    """

    model_config = ConfigDict(extra="forbid")

    to: Annotated[str | None, Field(max_length=256)] = None
    expected: Annotated[str | None, Field(max_length=71)] = None
    reason: Annotated[str, Field(max_length=3900)] = ""


class BindingProblemView(BaseModel):
    """A name that does not resolve (`error`), or what looks unwise (`warning`), and where it stands."""

    loc: list[str]
    severity: str
    message: str

    @classmethod
    def of(cls, problem: Problem) -> BindingProblemView:
        return cls(loc=list(problem.path), severity=problem.severity, message=problem.message)


class BindingListed(BaseModel):
    """A binding in force, by its environment, or by the app that has its own; counts are of what it binds.

    `problem` says why it cannot be read; then nothing is counted.
    """

    ref: str
    env: str
    app: str
    digest: str
    version: str
    revision: int
    moved_at: datetime
    moved_by: str
    governed: bool
    inherit: bool
    counts: dict[str, int]
    problem: str

    @classmethod
    def of(cls, bound: BoundRef) -> BindingListed:
        return cls(**_facts(bound))


class BindingView(BindingListed):
    """A binding in force, whole: its document is the artifact that the digest names."""

    reason: str
    document: dict[str, Any] | None

    @classmethod
    def of(cls, bound: BoundRef) -> BindingView:
        kept = bound.kept
        return cls(
            **_facts(bound),
            reason=kept.version.reason if kept and kept.version else "",
            document=kept.binding.document() if kept else None,
        )


class BindingPutView(BaseModel):
    """What was put in force; `moved` is false where it was in force already."""

    binding: BindingView
    moved: bool
    warnings: list[BindingProblemView]

    @classmethod
    def of(cls, done: PutBinding) -> BindingPutView:
        return cls(
            binding=BindingView.of(done.bound),
            moved=done.moved,
            warnings=[BindingProblemView.of(problem) for problem in done.warnings],
        )


class BindingBackView(BaseModel):
    """What was rolled back, and what is in force now."""

    model_config = ConfigDict(populate_by_name=True)

    binding: BindingView
    old: Annotated[str, Field(alias="from")]
    new: Annotated[str, Field(alias="to")]
    reason: str

    @classmethod
    def of(cls, done: BindingBack) -> BindingBackView:
        return cls(binding=BindingView.of(done.bound), old=done.old, new=done.new, reason=done.reason)


class BindingMoveView(BaseModel):
    """One move of a binding's ref, and the version that it put in force; `sequence` is its place in the log."""

    model_config = ConfigDict(populate_by_name=True)

    sequence: int
    ref: str
    old: Annotated[str | None, Field(alias="from")]
    new: Annotated[str | None, Field(alias="to")]
    version: str
    at: datetime
    by: str
    reason: str

    @classmethod
    def of(cls, entry: RefEntry, version: Version | None) -> BindingMoveView:
        return cls(
            sequence=entry.seq,
            ref=entry.ref,
            old=entry.old,
            new=entry.new,
            version=version.semver if version else "",
            at=entry.at,
            by=entry.actor_name or entry.actor,
            reason=entry.reason,
        )


class BindingCheckView(BaseModel):
    """Whether every name of a binding resolves now; `ref` and `digest` are empty for one that is not kept."""

    ref: str
    digest: str
    ok: bool
    problems: list[BindingProblemView]

    @classmethod
    def of(cls, problems: Sequence[Problem], *, ref: str = "", digest: str = "") -> BindingCheckView:
        return cls(
            ref=ref,
            digest=digest,
            ok=not any(problem.severity == "error" for problem in problems),
            problems=[BindingProblemView.of(problem) for problem in problems],
        )


class BindingChangeView(BaseModel):
    """One thing that changed about a logical name."""

    model_config = ConfigDict(populate_by_name=True)

    section: str
    name: str
    kind: str
    field: str
    old: Annotated[Any, Field(alias="from")]
    new: Annotated[Any, Field(alias="to")]
    text: str

    @classmethod
    def of(cls, change: BindingChange) -> BindingChangeView:
        return cls(
            section=change.section, name=change.name, kind=change.kind, field=change.field, old=change.old,
            new=change.new, text=change.text,
        )  # fmt: skip


class BindingDiffView(BaseModel):
    """What changed between two bindings; no changes where they are one."""

    model_config = ConfigDict(populate_by_name=True)

    old: Annotated[str, Field(alias="from")]
    new: Annotated[str, Field(alias="to")]
    changes: list[BindingChangeView]

    @classmethod
    def of(cls, old: KeptBinding, new: KeptBinding, changes: Sequence[BindingChange]) -> BindingDiffView:
        return cls(old=old.digest, new=new.digest, changes=[BindingChangeView.of(change) for change in changes])


def _facts(bound: BoundRef) -> dict[str, Any]:
    ref, kept = bound.ref, bound.kept
    env, app = place_of(ref.name)
    return {
        "ref": ref.name,
        "env": env,
        "app": app,
        "digest": ref.digest,
        "version": kept.version.semver if kept and kept.version else "",
        "revision": ref.revision,
        "moved_at": ref.moved_at,
        "moved_by": ref.moved_by_name or ref.moved_by,
        "governed": ref.governed,
        "inherit": kept.binding.inherit if kept else False,
        "counts": {section: len(getattr(kept.binding, section)) for section in SECTIONS} if kept else {},
        "problem": bound.problem,
    }
