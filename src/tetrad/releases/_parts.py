"""What a manifest says of each of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def model_part(
    role: str,
    version: ModelVersion,
    engine: Mapping[str, Any] | None = None,
    adapters: Iterable[tuple[ModelVersion, float]] = (),
) -> dict[str, Any]:
    """Return what a manifest says of a model and of the adapters, with their scales, that it is loaded with.

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
    part |= {name: digest for name, digest in pinned.items() if digest}
    loaded = [{"digest": adapter.digest, "scale": scale} for adapter, scale in adapters]
    return part | ({"adapters": sorted(loaded, key=lambda each: str(each["digest"]))} if loaded else {})


def check_adapter(model: ModelVersion, adapter: ModelVersion) -> None:
    """Refuse with `BadPart` what is no adapter of a model: an adapter is tied to its base's digest."""
    if adapter.record.kind != "adapter":
        raise BadPart(f"{adapter.name}@{adapter.semver} is no adapter", hint="`tetrad model add-adapter` makes one")
    if adapter.record.base != model.digest:
        raise BadPart(
            f"{adapter.name}@{adapter.semver} is an adapter of another model than {model.name}@{model.semver}",
            hint=f"its base is {adapter.record.base}; pin that version, or train the adapter again",
        )


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
