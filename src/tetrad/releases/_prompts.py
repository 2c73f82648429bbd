"""Prompt files as artifacts and versions of the registry: the port `Prompts` over `tetrad.prompts`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tetrad.kernel import NotFound, Principal
from tetrad.prompts import PromptError, PromptSpec, parse_prompt_file, prompt_from_document
from tetrad.registry import Bump, Registry, Version, VersionNotFound
from tetrad.releases._model import Message, ResolvedVariable
from tetrad.releases.ports import PromptVersion

KIND = "prompt"


class RegistryPrompts:
    """Prompts of all projects, kept in the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def check(self, name: str, data: bytes, *, where: str) -> PromptVersion:
        return _pinned(_read(name, data, where), "")

    def put(
        self, project: str, name: str, data: bytes, *, actor: Principal, where: str, reason: str, expected_outcome: str
    ) -> PromptVersion:
        spec = _read(name, data, where)
        before = self._registry.versions(project, KIND, spec.name, limit=1)
        bump: Bump = "minor"
        if before:
            bump = version_floor(self._spec(project, before[0].name, before[0].digest), spec)
        artifact = self._registry.put_document(project, KIND, spec.document(), actor=actor)
        version = self._registry.add_version(
            project, KIND, spec.name, artifact.digest, actor=actor, bump=bump, reason=reason,
            expected_outcome=expected_outcome, meta={"contract": spec.contract_digest},
        )  # fmt: skip
        return _pinned(spec, version.semver)

    def version(self, project: str, name: str, semver: str | None) -> PromptVersion:
        try:
            version = self._registry.version(project, KIND, name, semver)
        except VersionNotFound as error:
            raise NotFound(error.message, hint=error.hint, code="prompt_not_found") from None
        return _pinned(self._spec(project, name, version.digest), version.semver, declared=semver or "")

    def get(self, project: str, digest: str, name: str) -> PromptVersion:
        spec = self._spec(project, name, digest)
        return _pinned(spec, self._named(project, name, digest).semver)

    def _named(self, project: str, name: str, digest: str) -> Version:
        for version in self._registry.versions_of(project, digest):
            if version.kind == KIND and version.name == name:
                return version
        raise NotFound(
            f"the project {project!r} has no prompt {name!r} with the digest {digest}", code="prompt_not_found"
        )

    def _spec(self, project: str, name: str, digest: str) -> PromptSpec:
        return prompt_from_document(name, self._registry.document(project, digest))


def version_floor(old: PromptSpec, new: PromptSpec) -> Bump:
    """Say what the next version must at least be called, from what callers and readers of the answer rely on.

    A variable that went, changed its type or became required, another output schema, tool, role, type or syntax is
    major; a new optional variable and other defaults of the request are minor; text is a patch.
    """
    before, after = old.contract_document(), new.contract_document()
    was = {variable["name"]: variable for variable in before.pop("variables")}
    now = {variable["name"]: variable for variable in after.pop("variables")}
    if before != after or any(name not in now or now[name]["type"] != was[name]["type"] for name in was):
        return "major"
    if any(
        variable["required"] and not was.get(name, {"required": False})["required"] for name, variable in now.items()
    ):
        return "major"
    if now != was or dict(old.params) != dict(new.params):
        return "minor"
    return "patch"


def _read(name: str, data: bytes, where: str) -> PromptSpec:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PromptError(f"{where}:{line}: the file is not UTF-8: {error.reason}", hint="save it as UTF-8") from None
    spec = parse_prompt_file(text, where)
    return spec if spec.name == name else replace(spec, name=name)


def _pinned(spec: PromptSpec, semver: str, *, declared: str = "") -> PromptVersion:
    return PromptVersion(
        name=spec.name,
        digest=spec.digest,
        contract=spec.contract_digest,
        semver=declared,
        version=semver,
        syntax=spec.syntax,
        messages=tuple(Message(message.role, message.text) for message in spec.messages),
        variables=tuple(
            ResolvedVariable(
                variable.name,
                variable.type,
                variable.required,
                None if variable.required else variable.default,
                variable.description,
            )
            for variable in spec.variables
        ),
        params=dict(spec.params),
        request=_request(spec),
        description=spec.description,
    )


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
