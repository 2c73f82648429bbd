"""What a manifest says of each of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tetrad.datasets import DatasetVersion
from tetrad.models import ModelVersion
from tetrad.releases.errors import BadPart
from tetrad.releases.ports import PromptVersion


def data_part(role: str, version: DatasetVersion) -> dict[str, Any]:
    """Return what a manifest says of a dataset."""
    return {
        "role": role,
        "name": version.name,
        "digest": version.digest,
        "order": version.order,
        "schema": version.schema_digest,
        "rows": version.rows,
    }


def model_part(role: str, version: ModelVersion, engine: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a manifest says of a model.

    `engine` is what the author declared that must serve it. Without a declaration nothing is said: the engine that a
    machine happens to have is no part of a release.
    """
    record = version.record
    part: dict[str, Any] = {
        "role": role,
        "name": version.name,
        "kind": record.kind,
        "digest": record.digest,
        "immutable": record.immutable,
    }
    if record.kind == "provider":
        part["provider"] = {"name": record.provider, "model": record.provider_model}
        if record.snapshot:
            part["provider"]["snapshot"] = record.snapshot
        if engine:
            raise BadPart(f"{record.provider} hosts {version.name}; it has no engine", hint="leave engine out")
        return part
    if engine:
        part["engine"] = dict(engine)
    part["derivation"] = record.derivation
    pinned = {"base": record.base, "tokenizer": record.facts.tokenizer, "chat_template": record.facts.chat_template}
    return part | {name: digest for name, digest in pinned.items() if digest}


def prompt_part(role: str, prompt: PromptVersion) -> dict[str, Any]:
    """Return what a manifest says of a prompt."""
    part: dict[str, Any] = {
        "role": role,
        "name": prompt.name,
        "digest": prompt.digest,
        "contract": prompt.contract,
        "closure": sorted(prompt.closure),
    }
    if prompt.semver:  # only what the author declared: a number that a registry gave depends on its history
        part["semver"] = prompt.semver
    return part
