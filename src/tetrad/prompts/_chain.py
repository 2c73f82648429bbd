"""Chains: a named list of steps, each a prompt, whose answers feed the variables of later ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from tetrad.kernel import Digest, NotCanonical, canonical_json, digest_json
from tetrad.prompts._limits import MAX_STEPS
from tetrad.prompts._model import MAX_NAME_CHARS, NAME, PromptSpec, variable_document
from tetrad.prompts._reference import parse_reference
from tetrad.prompts._variables import REQUIRED, VariableSpec
from tetrad.prompts.errors import PromptError, past_limit

CHAIN_SCHEMA: Final = "tetrad.prompt.chain/1"
CHAIN_CONTRACT_SCHEMA: Final = "tetrad.prompt.chain.contract/1"
_STEP = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SOURCE = re.compile(
    r"(?:variables\.(?P<variable>[A-Za-z]\w{0,63})|"
    r"(?P<step>[a-z][a-z0-9_]{0,31})\.(?P<what>text|output)(?P<path>(?:\.[A-Za-z_]\w{0,63}){0,8}))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ChainStep:
    """One step: a prompt, and where the values of its variables come from.

    A source is `variables.NAME` (of the chain), `STEP.text` (an earlier answer) or `STEP.output.FIELD` (a field of an
    earlier answer whose prompt has an output schema). `digest` is the prompt's once the chain is committed.
    """

    name: str
    prompt: str
    inputs: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """A chain of prompts, immutable; what it answers is what its last step answers."""

    name: str
    steps: tuple[ChainStep, ...]
    variables: tuple[VariableSpec, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    description: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or len(self.name) > MAX_NAME_CHARS:
            raise PromptError(f"{self.name!r} is no name for a chain", hint="write a name such as `support-answer`")
        if not self.steps:
            raise PromptError(f"the chain {self.name!r} has no step", hint="write `steps:` with at least one")
        if len(self.steps) > MAX_STEPS:
            raise past_limit(f"a chain of {len(self.steps)} steps", hint=f"at most {MAX_STEPS}")
        known = {variable.name: variable for variable in self.variables}
        if len(known) != len(self.variables):
            raise PromptError(f"the chain {self.name!r} declares a variable twice", hint="keep one of them")
        before: set[str] = set()
        for step in self.steps:
            _check_step(step, known, before)
            before.add(step.name)
        try:
            canonical_json(self.document())
        except NotCanonical as error:
            raise PromptError(f"the chain {self.name!r} has no canonical form: {error.message}") from None

    def document(self) -> dict[str, Any]:
        """Return the JSON document whose canonical bytes are the chain's artifact."""
        steps = []
        for step in self.steps:
            entry: dict[str, Any] = {"name": step.name, "prompt": step.prompt, "inputs": dict(step.inputs)}
            steps.append(entry | ({"digest": step.digest} if step.digest else {}))
        optional: dict[str, Any] = {
            "variables": [variable_document(each) for each in sorted(self.variables, key=lambda each: each.name)],
            "metadata": dict(self.metadata),
            "description": self.description,
        }
        document: dict[str, Any] = {"schema": CHAIN_SCHEMA, "type": "chain", "steps": steps}
        return document | {name: value for name, value in optional.items() if value}

    @property
    def digest(self) -> Digest:
        """Its identity: the digest of `document()`."""
        return digest_json(self.document())

    @property
    def source(self) -> ChainSpec:
        """The chain as its file says it: without the digests of its steps' prompts."""
        return replace(self, steps=tuple(replace(step, digest=None) for step in self.steps))


def chain_contract(chain: ChainSpec, load: Callable[[ChainStep], PromptSpec]) -> dict[str, Any]:
    """Return what callers of a chain rely on: its variables, and the output schema of its last step."""
    return {
        "schema": CHAIN_CONTRACT_SCHEMA,
        "variables": [
            {"name": variable.name, "type": variable.type, "required": variable.required}
            for variable in sorted(chain.variables, key=lambda each: each.name)
        ],
        "output_schema": load(chain.steps[-1]).output_schema,
    }


def check_chain(chain: ChainSpec, prompts: Mapping[str, PromptSpec]) -> None:
    """Refuse a chain whose answers do not feed its variables; `prompts` are those of the steps, composed, by step.

    Every variable that a prompt demands has a source; every source is there and has the type of the variable.
    """
    variables = {variable.name: variable for variable in chain.variables}
    for step in chain.steps:
        accepts = {variable.name: variable for variable in prompts[step.name].variables}
        for name in sorted(step.inputs.keys() - accepts.keys()):
            raise PromptError(
                f"the step {step.name!r} feeds {name!r}, which {step.prompt!r} does not take",
                hint=f"its variables are {', '.join(sorted(accepts)) or 'none'}",
            )
        for name, variable in accepts.items():
            if name in step.inputs:
                _check_source(step, variable, variables, prompts)
            elif variable.required:
                raise PromptError(
                    f"nothing feeds {name!r} of the step {step.name!r}",
                    hint=f"write `{name}: variables.…`, or `{name}: STEP.text` of an earlier step, below its inputs",
                )


def _check_step(step: ChainStep, variables: Mapping[str, VariableSpec], before: set[str]) -> None:
    if not _STEP.fullmatch(step.name) or step.name == "variables":
        raise PromptError(f"{step.name!r} is no name for a step", hint="lower-case letters, digits and underscores")
    if step.name in before:
        raise PromptError(f"two steps are named {step.name!r}", hint="name them apart")
    parse_reference(step.prompt)
    for name, source in step.inputs.items():
        found = _SOURCE.fullmatch(source)
        if found is None or (found["what"] == "text" and found["path"]):
            raise PromptError(
                f"the step {step.name!r}: {source!r} is no source of {name!r}",
                hint="write variables.NAME, STEP.text or STEP.output.FIELD",
            )
        if found["variable"] and found["variable"] not in variables:
            raise PromptError(
                f"the step {step.name!r}: the chain has no variable {found['variable']!r}",
                hint=f"its variables are {', '.join(sorted(variables)) or 'none'}",
            )
        if found["step"] and found["step"] not in before:
            raise PromptError(
                f"the step {step.name!r} takes from {found['step']!r}, which is no earlier step",
                hint=f"earlier steps are {', '.join(sorted(before)) or 'none'}",
            )


def _check_source(
    step: ChainStep,
    variable: VariableSpec,
    variables: Mapping[str, VariableSpec],
    prompts: Mapping[str, PromptSpec],
) -> None:
    source = step.inputs[variable.name]
    found = _SOURCE.fullmatch(source)
    assert found is not None  # noqa: S101 - the chain was checked when it was made
    place = f"the step {step.name!r}: {source!r}"
    if found["variable"]:
        given = variables[found["variable"]]
        if variable.required and given.default is None:
            raise PromptError(f"{place} may be absent, and {variable.name!r} must be given", hint="give it a default")
        types: tuple[str, ...] = (given.type,)
    elif found["what"] == "text":
        types = ("string",)
    else:
        types = _output_types(place, prompts[found["step"]], [part for part in found["path"].split(".") if part])
    fits = variable.type in types or (variable.type == "number" and "integer" in types)
    if not fits:
        raise PromptError(
            f"{place} is {' or '.join(types)}, and {variable.name!r} is {variable.type}",
            hint="take another source, or change the type",
        )


def _output_types(place: str, prompt: PromptSpec, path: Sequence[str]) -> tuple[str, ...]:
    schema: Any = prompt.output_schema
    if schema is None:
        raise PromptError(
            f"{place}: the prompt {prompt.name!r} has no output schema", hint="give it one, or take .text"
        )
    for part in path:
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        if not isinstance(properties, Mapping) or part not in properties:
            raise PromptError(f"{place}: the output of {prompt.name!r} has no field {part!r}", hint="see its schema")
        if part not in (schema.get("required") or ()):
            raise PromptError(f"{place}: the field {part!r} may be missing", hint="list it in `required` of the schema")
        schema = properties[part]
    stated = schema.get("type", "object" if not path else None) if isinstance(schema, Mapping) else None
    if stated is None:
        raise PromptError(f"{place}: the schema does not say its type", hint="add `type`")
    return (stated,) if isinstance(stated, str) else tuple(map(str, stated))


def chain_from_document(name: str, document: Mapping[str, Any]) -> ChainSpec:
    """Return the chain that a stored document holds; the inverse of `ChainSpec.document`."""
    if document.get("schema") != CHAIN_SCHEMA:
        raise PromptError(
            f"the chain {name!r} has the schema {document.get('schema')!r}", hint=f"expected {CHAIN_SCHEMA}"
        )
    return ChainSpec(
        name=name,
        steps=tuple(
            ChainStep(
                step["name"], step["prompt"], step["inputs"], Digest(step["digest"]) if "digest" in step else None
            )
            for step in document["steps"]
        ),
        variables=tuple(
            VariableSpec(each["name"], each["type"], each.get("default", REQUIRED), each.get("description", ""))
            for each in document.get("variables", ())
        ),
        metadata=document.get("metadata", {}),
        description=document.get("description", ""),
    )
