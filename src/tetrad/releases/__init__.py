"""Releases: code, data, model and prompt of an app as one immutable manifest, and the refs that name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetrad.releases._compare import Comparisons
from tetrad.releases._declaration import (
    CodePart,
    DataPart,
    Declaration,
    ModelPart,
    PromptPart,
    parse_declaration,
)
from tetrad.releases._derive import Derivations, Planned, PromptText
from tetrad.releases._diff import ReleaseDiff
from tetrad.releases._model import (
    App,
    Message,
    ResolvedRelease,
    ResolvedVariable,
    build_manifest,
    examples_of,
)
from tetrad.releases._prompts import RegistryPrompts, version_floor
from tetrad.releases._rollback import Rollbacks, RolledBack
from tetrad.releases._service import (
    AppRefs,
    Composed,
    Ensured,
    Release,
    ReleaseLimits,
    ReleaseParts,
    Releases,
    ref_name,
)
from tetrad.releases._settings import SETTINGS, limits_from
from tetrad.releases._summary import summarise
from tetrad.releases.errors import (
    AppNotFound,
    BadDeclaration,
    BadLock,
    BadPart,
    DeclarationError,
    LockDrift,
    NeverHad,
    NothingToRollBack,
    ReleaseNotFound,
    UploadTooLarge,
    WrongApp,
)

if TYPE_CHECKING:
    from tetrad.releases._diff_text import render_diff
    from tetrad.releases._diff_views import ReleaseDiffView

__all__ = [
    "SETTINGS",
    "App",
    "AppNotFound",
    "AppRefs",
    "BadDeclaration",
    "BadLock",
    "BadPart",
    "CodePart",
    "Comparisons",
    "Composed",
    "DataPart",
    "Declaration",
    "DeclarationError",
    "Derivations",
    "Ensured",
    "LockDrift",
    "Message",
    "ModelPart",
    "NeverHad",
    "NothingToRollBack",
    "Planned",
    "PromptPart",
    "PromptText",
    "RegistryPrompts",
    "Release",
    "ReleaseDiff",
    "ReleaseDiffView",
    "ReleaseLimits",
    "ReleaseNotFound",
    "ReleaseParts",
    "Releases",
    "ResolvedRelease",
    "ResolvedVariable",
    "Rollbacks",
    "RolledBack",
    "UploadTooLarge",
    "WrongApp",
    "build_manifest",
    "examples_of",
    "limits_from",
    "parse_declaration",
    "ref_name",
    "render_diff",
    "summarise",
    "version_floor",
]


_LATER = {"ReleaseDiffView": "_diff_views", "render_diff": "_diff_text"}
"""What shows differences is loaded by those who name it: the first of it needs a web framework's types."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
