"""Prompt files as artifacts and versions of the registry: the port `Prompts` over `tetrad.prompts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tetrad.kernel import Digest, Principal
from tetrad.prompts import (
    ChainSpec,
    KeptPrompt,
    PromptError,
    Prompts,
    PromptSpec,
    VariableSpec,
    contract_floor,
    parse_reference,
    read_prompt_file,
)
from tetrad.registry import Bump, Registry
from tetrad.releases._model import Message, ResolvedVariable
from tetrad.releases.ports import PromptStep, PromptVersion


class RegistryPrompts:
    """Prompts of all projects, kept in the registry."""

    def __init__(self, registry: Registry, prompts: Prompts | None = None) -> None:
        self._prompts = prompts or Prompts(registry)

    def check(
        self, project: str, name: str, data: bytes, *, where: str, reason: str = "", expected_outcome: str = ""
    ) -> PromptVersion:
        spec = _read(name, data, where)
        checked = self._prompts.check(project, spec, reason=reason, expected_outcome=expected_outcome)
        if isinstance(checked.spec, ChainSpec):
            return self._chain(project, checked.spec, checked.contract, "", checked.spec.digest)
        assert checked.composition is not None  # noqa: S101 - only chains have none
        pinned = _pinned(checked.composition.spec, "", digest=checked.spec.digest)
        return msgspec.structs.replace(pinned, closure=checked.composition.digests)

    def put(
        self, project: str, name: str, data: bytes, *, actor: Principal, where: str, reason: str, expected_outcome: str
    ) -> PromptVersion:
        done = self._prompts.commit(
            project, _read(name, data, where), actor=actor, reason=reason, expected_outcome=expected_outcome, reuse=True
        )
        return self._kept(project, done.kept)

    def version(self, project: str, name: str, semver: str | None) -> PromptVersion:
        return self._kept(project, self._prompts.find(project, name, version=semver or ""), declared=semver or "")

    def get(self, project: str, digest: str, name: str) -> PromptVersion:
        return self._kept(project, self._prompts.by_digest(project, digest, name))

    def _kept(self, project: str, kept: KeptPrompt, *, declared: str = "") -> PromptVersion:
        version = kept.version
        if isinstance(kept.spec, ChainSpec):
            return self._chain(project, kept.spec, kept.contract, version.semver, version.digest, declared=declared)
        assert kept.composition is not None  # noqa: S101 - only chains have none
        pinned = _pinned(kept.composition.spec, version.semver, digest=version.digest, declared=declared)
        return msgspec.structs.replace(pinned, closure=kept.closure)

    def _chain(
        self, project: str, spec: ChainSpec, contract: Digest, semver: str, digest: Digest, *, declared: str = ""
    ) -> PromptVersion:
        steps = []
        for step in spec.steps:
            if step.digest is None:
                raise PromptError(f"the step {step.name!r} of {spec.name!r} pins no prompt", hint="commit the chain")
            name = parse_reference(step.prompt).name
            steps.append(PromptStep(step.name, dict(step.inputs), self.get(project, step.digest, name)))
        last = steps[-1].prompt
        return PromptVersion(
            name=spec.name,
            digest=digest,
            contract=contract,
            semver=declared,
            version=semver,
            syntax=last.syntax,
            messages=(),
            variables=_variables(spec.variables),
            closure=tuple(sorted({each for step in steps for each in (step.prompt.digest, *step.prompt.closure)})),
            description=spec.description,
            steps=tuple(steps),
        )


def version_floor(old: PromptSpec, new: PromptSpec) -> Bump:
    """Say what the next version must at least be called; `tetrad.prompts.contract_floor` says why as well."""
    return contract_floor(old, new).level


def _read(name: str, data: bytes, where: str) -> PromptSpec | ChainSpec:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PromptError(f"{where}:{line}: the file is not UTF-8: {error.reason}", hint="save it as UTF-8") from None
    spec = read_prompt_file(text, where)
    return spec if spec.name == name else replace(spec, name=name)


def _pinned(spec: PromptSpec, semver: str, *, digest: Digest, declared: str = "") -> PromptVersion:
    on_violation, repair = _output_policy(spec)
    return PromptVersion(
        name=spec.name,
        digest=digest,
        contract=spec.contract_digest,
        semver=declared,
        version=semver,
        syntax=spec.syntax,
        messages=tuple(Message(message.role, message.text) for message in spec.messages),
        variables=_variables(spec.variables),
        params=dict(spec.params),
        request=_request(spec),
        description=spec.description,
        examples=spec.examples,
        on_violation=on_violation,
        repair=repair,
    )


def _variables(specs: Iterable[VariableSpec]) -> tuple[ResolvedVariable, ...]:
    return tuple(
        ResolvedVariable(
            variable.name,
            variable.type,
            variable.required,
            None if variable.required else variable.default,
            variable.description,
        )
        for variable in specs
    )


def _output_policy(spec: PromptSpec) -> tuple[str, bool]:
    """Return what `metadata.output` says of answers that do not fit: what happens, and if there is a second try."""
    said = spec.metadata.get("output")
    if not isinstance(said, Mapping) or said.keys().isdisjoint(("on_violation", "repair")):
        return "error", False
    on_violation, repair = said.get("on_violation", "error"), said.get("repair", False)
    if on_violation not in ("error", "report", "off") or not isinstance(repair, bool):
        raise PromptError(
            f"the prompt {spec.name!r}: metadata.output is not understood",
            hint="write `output: {on_violation: error, repair: true}`; on_violation is error, report or off",
        )
    return on_violation, repair


def _request(spec: PromptSpec) -> Mapping[str, Any]:
    """Return what the prompt's tools and output schema add to a request, in the words of the OpenAI protocol."""
    found: dict[str, Any] = {}
    if spec.tools:
        found["tools"] = [{"type": "function", "function": dict(tool)} for tool in spec.tools]
    if spec.output_schema is not None:
        found["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": dict(spec.output_schema)},
        }
    return found
