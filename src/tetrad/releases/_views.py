"""What the API shows of apps and releases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tetrad.code import CodeSnapshot
from tetrad.datasets import DatasetVersion, Row
from tetrad.models import ModelVersion
from tetrad.registry import Ref, RefEntry, Version
from tetrad.releases._kept import Composed, ReleaseParts
from tetrad.releases._lock import lock_of
from tetrad.releases._model import App
from tetrad.releases.ports import PromptVersion

MAX_SHOWN_FILES = 2_000
Revoked = Mapping[str, list[str]]


class AppRefView(BaseModel):
    """A ref of an app, by its own name (`production`). `revoked` says why what it points to is broken, if it is."""

    name: str
    digest: str
    revision: int
    moved_at: datetime
    moved_by: str
    governed: bool
    revoked: list[str] = Field(default_factory=list)

    @classmethod
    def of(cls, ref: Ref, revoked: Revoked | None = None) -> AppRefView:
        return cls(
            name=ref.name.partition("/")[2],
            digest=ref.digest,
            revision=ref.revision,
            moved_at=ref.moved_at,
            moved_by=ref.moved_by_name or ref.moved_by,
            governed=ref.governed,
            revoked=(revoked or {}).get(ref.digest, []),
        )


class RefMoveView(BaseModel):
    """One move of a ref; `sequence` is its place in the project's log. A new ref came from null."""

    model_config = ConfigDict(populate_by_name=True)

    ref: str
    old: Annotated[str | None, Field(alias="from")]
    new: Annotated[str | None, Field(alias="to")]
    at: datetime
    by: str
    by_id: str
    reason: str
    sequence: int

    @classmethod
    def of(cls, entry: RefEntry) -> RefMoveView:
        return cls(
            ref=entry.ref.partition("/")[2],
            old=entry.old,
            new=entry.new,
            at=entry.at,
            by=entry.actor_name or entry.actor,
            by_id=entry.actor,
            reason=entry.reason,
            sequence=entry.seq,
        )


class AppView(BaseModel):
    """An app and where its refs point."""

    name: str
    description: str
    default_ref: str
    created_at: datetime
    refs: list[AppRefView]

    @classmethod
    def of(cls, app: App, refs: list[Ref], revoked: Revoked) -> AppView:
        return cls(
            name=app.name,
            description=app.description,
            default_ref=app.default_ref,
            created_at=app.created_at,
            refs=[AppRefView.of(ref, revoked) for ref in refs],
        )


class AppDetailView(AppView):
    """An app, where its refs point, and how they got there (the newest moves)."""

    history: list[RefMoveView]


class ReleaseListed(BaseModel):
    """A release of an app; `dirty` says that its code holds changes that are in no commit."""

    digest: str
    app: str
    sequence: int
    created_at: datetime
    created_by: str
    reason: str
    expected_outcome: str
    refs: list[str]
    dirty: bool

    @classmethod
    def of(cls, version: Version, refs: list[Ref], *, dirty: bool) -> ReleaseListed:
        return cls(
            digest=version.digest,
            app=version.name,
            sequence=version.seq,
            created_at=version.created_at,
            created_by=version.author_name or version.author,
            reason=version.reason,
            expected_outcome=version.expected_outcome,
            refs=[ref.name.partition("/")[2] for ref in refs if ref.digest == version.digest],
            dirty=dirty,
        )


class ReleaseFileView(BaseModel):
    """One file of the code."""

    path: str
    size: int
    digest: str
    executable: bool


class CodePartView(BaseModel):
    """The code of a release. `tree` is what a running program announces; `files` are the first of `file_count`."""

    role: str
    digest: str
    tree: str
    commit: str
    dirty: bool
    patch: str | None
    lock: str | None
    runtime: dict[str, str]
    size: int
    file_count: int
    files: list[ReleaseFileView]

    @classmethod
    def of(cls, code: CodeSnapshot) -> CodePartView:
        return cls(
            role="app",
            digest=code.digest,
            tree=code.tree,
            commit=code.commit,
            dirty=code.dirty,
            patch=code.patch,
            lock=code.lock,
            runtime=dict(code.runtime),
            size=code.size,
            file_count=len(code.files),
            files=[
                ReleaseFileView(path=file.path, size=file.size, digest=file.digest, executable=file.executable)
                for file in code.files[:MAX_SHOWN_FILES]
            ],
        )


class DataPartView(BaseModel):
    """A dataset of a release, with its first rows."""

    role: str
    name: str
    version: str
    digest: str
    order: str
    rows: int
    size: int
    preview: list[dict[str, Any]]

    @classmethod
    def of(cls, role: str, version: DatasetVersion, rows: tuple[Row, ...]) -> DataPartView:
        return cls(
            role=role,
            name=version.name,
            version=version.semver,
            digest=version.digest,
            order=version.order,
            rows=version.rows,
            size=version.size,
            preview=[dict(row.value) for row in rows],
        )


class AdapterPinView(BaseModel):
    """An adapter that a model of a release is loaded with, and how strongly it counts."""

    digest: str
    scale: float


class ModelPartView(BaseModel):
    """A model of a release. `reproduction_cap` is the best level at which answers can be had again, null for no cap."""

    role: str
    name: str
    version: str
    kind: str
    digest: str
    size_bytes: int | None
    format: str
    architecture: str
    parameters: int
    quantisation: str
    context_length: int
    licence: str
    provider: str
    provider_model: str
    snapshot: str
    immutable: bool
    base: str | None
    derivation: str
    engine: str
    adapters: list[AdapterPinView]
    reproduction_cap: str | None
    wants_canary: bool

    @classmethod
    def of(cls, role: str, version: ModelVersion, pinned: Mapping[str, Any]) -> ModelPartView:
        record, facts = version.record, version.record.facts
        return cls(
            role=role,
            name=version.name,
            version=version.semver,
            kind=record.kind,
            digest=record.digest,
            size_bytes=None if record.kind == "provider" else record.size,
            format=facts.format,
            architecture=facts.architecture,
            parameters=facts.parameters,
            quantisation=facts.quantisation,
            context_length=facts.context_length,
            licence=version.licence,
            provider=record.provider,
            provider_model=record.provider_model,
            snapshot=record.snapshot,
            immutable=record.immutable,
            base=record.base,
            derivation=record.derivation,
            engine=str(pinned.get("engine", "")),
            adapters=[
                AdapterPinView(digest=each["digest"], scale=each["scale"]) for each in pinned.get("adapters", ())
            ],
            reproduction_cap=record.reproduction_cap or None,
            wants_canary=record.wants_canary,
        )


class MessageView(BaseModel):
    """One message: a template in a prompt, a literal in an example."""

    role: str
    text: str


class VariableView(BaseModel):
    """A variable of a prompt; required where it has no default."""

    name: str
    type: str
    default: Any
    required: bool
    description: str


class PromptPartView(BaseModel):
    """A prompt of a release."""

    role: str
    name: str
    version: str
    digest: str
    contract: str
    description: str
    syntax: str
    messages: list[MessageView]
    variables: list[VariableView]

    @classmethod
    def of(cls, role: str, prompt: PromptVersion) -> PromptPartView:
        return cls(
            role=role,
            name=prompt.name,
            version=prompt.version,
            digest=prompt.digest,
            contract=prompt.contract,
            description=prompt.description,
            syntax=prompt.syntax,
            messages=[MessageView(role=message.role, text=message.text) for message in prompt.messages],
            variables=[
                VariableView(
                    name=variable.name,
                    type=variable.type,
                    default=variable.default,
                    required=variable.required,
                    description=variable.description,
                )
                for variable in prompt.variables
            ],
        )


class ReleaseView(BaseModel):
    """A release with everything that it pins, and who made it when and why; `dirty`: of code that is in no commit.

    `revoked` says in sentences which revocations reach it: then it is broken, and no ref moves to it.
    """

    digest: str
    app: str
    sequence: int
    created_at: datetime
    created_by: str
    reason: str
    expected_outcome: str
    refs: list[str]
    dirty: bool
    revoked: list[str]
    manifest: dict[str, Any]
    params: dict[str, Any]
    examples: list[MessageView]
    code: list[CodePartView]
    data: list[DataPartView]
    model: list[ModelPartView]
    prompt: list[PromptPartView]

    @classmethod
    def of(cls, parts: ReleaseParts, revoked: Revoked) -> ReleaseView:
        release = parts.release
        pinned = {(part["role"], part["name"]): part for part in release.manifest["model"]}
        return cls(
            digest=release.digest,
            app=release.app,
            sequence=release.version.seq,
            created_at=release.version.created_at,
            created_by=release.version.author_name or release.version.author,
            reason=release.version.reason,
            expected_outcome=release.version.expected_outcome,
            refs=[name.partition("/")[2] for name in release.refs],
            dirty=parts.code.dirty,
            revoked=revoked.get(release.digest, []),
            manifest=dict(release.manifest),
            params=dict(parts.resolved.params),
            examples=[MessageView(role=message.role, text=message.text) for message in parts.resolved.examples],
            code=[CodePartView.of(parts.code)],
            data=[DataPartView.of(role, version, rows) for role, version, rows in parts.data],
            model=[ModelPartView.of(role, version, pinned[role, version.name]) for role, version in parts.models],
            prompt=[PromptPartView.of(role, prompt) for role, prompt in parts.prompts],
        )


class ComposedView(BaseModel):
    """A release that was made; `new` is false where it was there already. `ref` is set where one was moved.

    `lock` is the content of `tetrad.lock`; `dirty` says that the code holds changes that are in no commit.
    """

    digest: str
    app: str
    sequence: int
    new: bool
    dirty: bool
    notes: list[str]
    manifest: dict[str, Any]
    lock: dict[str, Any]
    ref: AppRefView | None

    @classmethod
    def of(cls, composed: Composed, ref: Ref | None) -> ComposedView:
        return cls(
            digest=composed.digest,
            app=composed.app,
            sequence=composed.version.seq,
            new=composed.new,
            dirty=composed.dirty,
            notes=list(composed.notes),
            manifest=dict(composed.manifest),
            lock=lock_of(composed.manifest),
            ref=None if ref is None else AppRefView.of(ref),
        )
