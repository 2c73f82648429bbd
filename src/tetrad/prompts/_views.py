"""What the API shows of prompts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tetrad.prompts._chain import ChainSpec
from tetrad.prompts._diff import PromptDiff
from tetrad.prompts._file import format_prompt_file
from tetrad.prompts._floor import Floor
from tetrad.prompts._model import PromptSpec
from tetrad.prompts._service import Checked, Committed, KeptPrompt
from tetrad.prompts._variables import VariableSpec
from tetrad.registry import Ref, Version


class PromptVersionView(BaseModel):
    """A version of a prompt, without its text. `lowered` says why its number is less than the change asks for."""

    name: str
    sequence: int
    semver: str
    digest: str
    contract: str
    created_at: datetime
    created_by: str
    reason: str
    expected_outcome: str
    parent: str | None
    lowered: dict[str, str] | None

    @classmethod
    def of(cls, version: Version) -> PromptVersionView:
        return cls(
            name=version.name,
            sequence=version.seq,
            semver=version.semver,
            digest=version.digest,
            contract=str(version.meta.get("contract", "")),
            created_at=version.created_at,
            created_by=version.author_name or version.author,
            reason=version.reason,
            expected_outcome=version.expected_outcome,
            parent=version.parent,
            lowered=version.meta.get("lowered"),
        )


class PromptMessageView(BaseModel):
    """One message of a prompt: a template, or with the role `placeholder` the name of what stands there."""

    role: str
    content: str


class PromptVariableView(BaseModel):
    """A variable that callers may give, and must where it is required."""

    name: str
    type: str
    required: bool
    default: Any
    description: str

    @classmethod
    def of(cls, variable: VariableSpec) -> PromptVariableView:
        return cls(
            name=variable.name,
            type=variable.type,
            required=variable.required,
            default=None if variable.required else variable.default,
            description=variable.description,
        )


class ChainStepView(BaseModel):
    """A step of a chain: a prompt, and where the values of its variables come from."""

    name: str
    prompt: str
    digest: str | None
    inputs: dict[str, str]


class IncludedView(BaseModel):
    """A prompt that was put into this one; `path` is how, from the outermost inwards."""

    name: str
    ref: str
    digest: str
    path: list[str]


class PromptView(BaseModel):
    """A version of a prompt. `variables` are those of the whole, includes too; `text` is its file.

    `source_digest` is the digest of what the file alone says, before its includes were resolved.
    """

    version: PromptVersionView
    type: str
    syntax: str
    description: str
    messages: list[PromptMessageView]
    variables: list[PromptVariableView]
    output_schema: dict[str, Any] | None
    tools: list[dict[str, Any]]
    params: dict[str, Any]
    examples: str
    metadata: dict[str, Any]
    steps: list[ChainStepView]
    includes: list[IncludedView]
    closure: list[str]
    contract: str
    source_digest: str
    text: str

    @classmethod
    def of(cls, kept: KeptPrompt) -> PromptView:
        spec = kept.spec
        prompt = spec if isinstance(spec, PromptSpec) else None
        whole = kept.composition.spec if kept.composition else None
        return cls(
            version=PromptVersionView.of(kept.version),
            type=prompt.type if prompt else "chain",
            syntax=prompt.syntax if prompt else "",
            description=spec.description,
            messages=[PromptMessageView(role=m.role, content=m.text) for m in prompt.messages] if prompt else [],
            variables=[PromptVariableView.of(each) for each in (whole.variables if whole else spec.variables)],
            output_schema=dict(prompt.output_schema) if prompt and prompt.output_schema is not None else None,
            tools=[dict(tool) for tool in prompt.tools] if prompt else [],
            params=dict(prompt.params) if prompt else {},
            examples=prompt.examples if prompt else "",
            metadata=dict(spec.metadata),
            steps=[
                ChainStepView(name=step.name, prompt=step.prompt, digest=step.digest, inputs=dict(step.inputs))
                for step in (spec.steps if isinstance(spec, ChainSpec) else ())
            ],
            includes=[
                IncludedView(name=each.name, ref=each.ref, digest=each.digest, path=list(each.path))
                for each in (kept.composition.closure if kept.composition else ())
            ],
            closure=list(kept.closure),
            contract=kept.contract,
            source_digest=spec.source.digest,
            text=format_prompt_file(spec),
        )


class PromptListed(BaseModel):
    """A prompt by its newest version."""

    version: PromptVersionView
    type: str
    description: str
    source_digest: str

    @classmethod
    def of(cls, kept: KeptPrompt) -> PromptListed:
        return cls(
            version=PromptVersionView.of(kept.version),
            type="chain" if isinstance(kept.spec, ChainSpec) else kept.spec.type,
            description=kept.spec.description,
            source_digest=kept.spec.source.digest,
        )


class ContractChangeView(BaseModel):
    """One difference that counts for the version number, in words."""

    level: str
    what: str


class FloorView(BaseModel):
    """The least that a version must be called, and why."""

    level: str
    changes: list[ContractChangeView]

    @classmethod
    def of(cls, floor: Floor) -> FloorView:
        return cls(level=floor.level, changes=[ContractChangeView(level=c.level, what=c.what) for c in floor.changes])


class LineView(BaseModel):
    """A line: `mark` is a space, `-` (before only) or `+` (after only)."""

    mark: str
    text: str


class MessageChangeView(BaseModel):
    """A message before, after, or both, by its place from 0; `change` is same, changed, added or removed."""

    change: str
    role: str
    old: int | None
    new: int | None
    lines: list[LineView]


class FieldChangeView(BaseModel):
    """Anything but a message, by its path, such as `variables.tone` or `params.temperature`."""

    path: str
    change: str
    old: Any
    new: Any


class PromptDiffView(BaseModel):
    """Two versions told apart, message by message."""

    same: bool
    floor: FloorView
    messages: list[MessageChangeView]
    fields: list[FieldChangeView]

    @classmethod
    def of(cls, diff: PromptDiff) -> PromptDiffView:
        return cls(
            same=diff.same,
            floor=FloorView.of(diff.floor),
            messages=[MessageChangeView.model_validate(asdict(each)) for each in diff.messages],
            fields=[FieldChangeView.model_validate(asdict(each)) for each in diff.fields],
        )


class CheckedView(BaseModel):
    """What a commit of a text would do: the least number, the difference to the newest version, warnings."""

    name: str
    least: str
    floor: FloorView | None
    diff: PromptDiffView | None
    source_digest: str
    contract: str
    variables: list[PromptVariableView]
    warnings: list[str]

    @classmethod
    def of(cls, checked: Checked, diff: PromptDiff | None) -> CheckedView:
        whole = checked.composition.spec if checked.composition else checked.spec
        return cls(
            name=checked.spec.name,
            least=checked.least,
            floor=FloorView.of(checked.floor) if checked.floor else None,
            diff=PromptDiffView.of(diff) if diff else None,
            source_digest=checked.spec.source.digest,
            contract=checked.contract,
            variables=[PromptVariableView.of(each) for each in whole.variables],
            warnings=list(checked.warnings),
        )


class CommittedView(BaseModel):
    """A version that was made, or, where `new` is false, was the newest already."""

    prompt: PromptView
    new: bool
    floor: FloorView | None
    warnings: list[str]

    @classmethod
    def of(cls, done: Committed) -> CommittedView:
        return cls(
            prompt=PromptView.of(done.kept),
            new=done.new,
            floor=FloorView.of(done.floor) if done.floor else None,
            warnings=list(done.warnings),
        )


class PromptLabelView(BaseModel):
    """A label of a prompt, and the digest that it points to."""

    label: str
    digest: str
    revision: int
    moved_at: datetime
    moved_by: str
    governed: bool

    @classmethod
    def of(cls, ref: Ref) -> PromptLabelView:
        return cls(
            label=ref.name.rsplit("/", 1)[-1],
            digest=ref.digest,
            revision=ref.revision,
            moved_at=ref.moved_at,
            moved_by=ref.moved_by_name or ref.moved_by,
            governed=ref.governed,
        )


class RenderedView(BaseModel):
    """The messages that a model would be sent; few-shot examples are a release's and are not among them."""

    messages: list[dict[str, Any]]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CommitBody(_Body):
    """A prompt file to be made a version. `expected` is the digest of the newest version seen, empty for none."""

    text: str = Field(max_length=1 << 20)
    semver: str | None = Field(None, max_length=64)
    reason: str = Field("", max_length=4000)
    expected_outcome: str = Field("", max_length=4000)
    expected: str | None = Field(None, max_length=71)
    lower_reason: str = Field(
        "", max_length=4000, description="Why the number may be less than the change asks for; needs scope `review`"
    )


class CheckBody(_Body):
    """A prompt file to be looked at."""

    text: str = Field(max_length=1 << 20)


class RenderBody(_Body):
    """Values for the variables, and the messages of a request; `text` is an edited file to render instead."""

    variables: dict[str, Any] = Field(default_factory=dict)
    messages: list[dict[str, Any]] = Field(default_factory=list, max_length=1000)
    text: str | None = Field(None, max_length=1 << 20)


class LabelBody(_Body):
    """Which version a label is to point to: a number or a range; the newest where it is empty."""

    version: str = Field("", max_length=64)
    reason: str = Field("", max_length=4000)
