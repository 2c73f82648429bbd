"""A release as it is kept: who made it when and why, what it pins, and the refs that name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tetrad.code import CodeSnapshot
from tetrad.datasets import DatasetVersion, Row
from tetrad.kernel import Digest
from tetrad.models import ModelVersion
from tetrad.registry import BadName, Ref, Version, check_simple_name
from tetrad.releases._model import App, ResolvedRelease
from tetrad.releases.ports import PromptVersion

KIND = "release"


class Composed(msgspec.Struct, frozen=True):
    """A release that was composed; `new` tells whether it was not there before. `notes` are for the author."""

    project: str
    app: str
    digest: Digest
    version: Version
    manifest: Mapping[str, Any]
    new: bool
    notes: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether its code holds changes that are in no commit."""
        return self.manifest["code"]["patch"] is not None


class Ensured(msgspec.Struct, frozen=True):
    """What `ensure_app` found or made; `moved` tells whether it moved the ref."""

    release: Composed
    ref: Ref
    moved: bool


class AppRefs(msgspec.Struct, frozen=True):
    """An app and where its refs point, without the app's name: `{"production": digest}`."""

    app: App
    refs: Mapping[str, Digest]


class Release(msgspec.Struct, frozen=True):
    """A release with who made it when and why."""

    project: str
    app: str
    digest: Digest
    manifest: Mapping[str, Any]
    version: Version
    refs: tuple[str, ...]


class ReleaseParts(msgspec.Struct, frozen=True):
    """Everything that a release pins, resolved for people."""

    release: Release
    resolved: ResolvedRelease
    code: CodeSnapshot
    data: tuple[tuple[str, DatasetVersion, tuple[Row, ...]], ...]
    models: tuple[tuple[str, ModelVersion], ...]
    prompts: tuple[tuple[str, PromptVersion], ...]


def ref_name(app: str, ref: str) -> str:
    """Return the registry's name of an app's ref: `assistant/production`."""
    if "/" in ref:
        raise BadName(f"{ref[:80]!r} is no ref of an app", hint="name the ref alone, such as production")
    return f"{app}/{check_simple_name(ref, 'name of a ref')}"
