"""What a release asks of the engine that serves its weights; in the manifest only where it was declared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tetrad.kit.package_index import allows

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
MAX_VERSION_CHARS = 100
MIN_CONTEXT, MAX_CONTEXT = 128, 10_000_000
_CLAUSE = re.compile(r"\s*(?:===|==|~=|!=|<=|>=|<|>)?\s*\d[0-9A-Za-z.*+!-]*\s*")


class EngineRequirement(msgspec.Struct, frozen=True):
    """A kind of engine, such as `llama_cpp`, the versions that will do (PEP 440: `>=2026.10,<2027`), tokens of context.

    An empty version is any; context 0 is whatever the engine is given.
    """

    name: str
    version: str = ""
    context: int = 0

    def part(self) -> dict[str, Any]:
        """Return what the manifest says; what is not declared is absent."""
        found: dict[str, Any] = {"name": self.name}
        if self.version:
            found["version"] = self.version
        if self.context:
            found["context"] = self.context
        return found


def requirement_of(part: Mapping[str, Any]) -> EngineRequirement | None:
    """Return what a model part of a manifest asks for, None where it asks for nothing."""
    found = part.get("engine")
    return msgspec.convert(found, EngineRequirement) if found else None


def is_version_requirement(text: str) -> bool:
    """Tell whether a text says which versions will do."""
    return len(text) <= MAX_VERSION_CHARS and all(_CLAUSE.fullmatch(clause) for clause in text.split(","))


def unmet(wanted: EngineRequirement | None, *, kind: str, version: str, context: int) -> tuple[str, ...]:
    """Say in what an engine is not what a release asks for; nothing where it is."""
    if wanted is None:
        return ()
    found: list[str] = []
    if wanted.name != kind:
        found.append(f"the release asks for the engine {wanted.name}, here is {kind}")
    elif wanted.version and not allows(wanted.version, version):
        found.append(f"the release asks for {wanted.name} {wanted.version}, here is {version}")
    if wanted.context and wanted.context != context:
        found.append(f"the release asks for {wanted.context} tokens of context, here are {context}")
    return tuple(found)
