"""Releases: code, data, model and prompt of an app as one immutable manifest, and the refs that name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetrad.releases._compare import Comparisons
from tetrad.releases._compose import ReleaseLimits
from tetrad.releases._declaration import (
    AdapterPart,
    CodePart,
    DataPart,
    Declaration,
    ModelPart,
    PromptPart,
    parse_declaration,
)
from tetrad.releases._derive import Derivations, Planned, PromptText
from tetrad.releases._diff import ReleaseDiff
from tetrad.releases._engine_requirement import EngineRequirement
from tetrad.releases._kept import AppRefs, Composed, Ensured, Release, ReleaseParts, ref_name
from tetrad.releases._model import (
    App,
    Message,
    ResolvedRelease,
    ResolvedStep,
    ResolvedVariable,
    build_manifest,
    examples_of,
    refuse_unservable,
)
from tetrad.releases._prompts import RegistryPrompts, version_floor
from tetrad.releases._rebuild import Stalenesses, StalenessLimits, StalenessRun
from tetrad.releases._rebuilders import known_rebuilders
from tetrad.releases._refetch import Pin, Refetch
from tetrad.releases._reproduction import (
    Answered,
    EngineFacts,
    Input,
    LevelResult,
    PartCheck,
    RecordedRequest,
    Recording,
    Replay,
    Replayed,
    Report,
    Reproduction,
    answer_of,
    compare_answers,
    compare_engines,
    conclude,
)
from tetrad.releases._reproductions import (
    Isolated,
    Outcome,
    Plan,
    ReproductionLimits,
    Reproductions,
    engine_problems,
)
from tetrad.releases._rollback import Rollbacks, RolledBack
from tetrad.releases._service import Releases
from tetrad.releases._settings import SETTINGS, limits_from, reproduction_limits_from, staleness_limits_from
from tetrad.releases._summary import summarise
from tetrad.releases.errors import (
    AppNotFound,
    BadDeclaration,
    BadLock,
    BadPart,
    DeclarationError,
    LockDrift,
    NeverHad,
    NothingToRecord,
    NothingToRollBack,
    NotRebuilt,
    RecordingNotFound,
    ReleaseNotFound,
    ReproductionNotFound,
    StalenessTooLarge,
    TooManyReproductions,
    Unservable,
    UploadTooLarge,
    WrongApp,
)

if TYPE_CHECKING:
    from tetrad.releases._diff_text import render_diff
    from tetrad.releases._diff_views import ReleaseDiffView

__all__ = [
    "SETTINGS",
    "AdapterPart",
    "Answered",
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
    "EngineFacts",
    "EngineRequirement",
    "Ensured",
    "Input",
    "Isolated",
    "LevelResult",
    "LockDrift",
    "Message",
    "ModelPart",
    "NeverHad",
    "NotRebuilt",
    "NothingToRecord",
    "NothingToRollBack",
    "Outcome",
    "PartCheck",
    "Pin",
    "Plan",
    "Planned",
    "PromptPart",
    "PromptText",
    "RecordedRequest",
    "Recording",
    "RecordingNotFound",
    "Refetch",
    "RegistryPrompts",
    "Release",
    "ReleaseDiff",
    "ReleaseDiffView",
    "ReleaseLimits",
    "ReleaseNotFound",
    "ReleaseParts",
    "Releases",
    "Replay",
    "Replayed",
    "Report",
    "Reproduction",
    "ReproductionLimits",
    "ReproductionNotFound",
    "Reproductions",
    "ResolvedRelease",
    "ResolvedStep",
    "ResolvedVariable",
    "Rollbacks",
    "RolledBack",
    "StalenessLimits",
    "StalenessRun",
    "StalenessTooLarge",
    "Stalenesses",
    "TooManyReproductions",
    "Unservable",
    "UploadTooLarge",
    "WrongApp",
    "answer_of",
    "build_manifest",
    "compare_answers",
    "compare_engines",
    "conclude",
    "engine_problems",
    "examples_of",
    "known_rebuilders",
    "limits_from",
    "parse_declaration",
    "ref_name",
    "refuse_unservable",
    "render_diff",
    "reproduction_limits_from",
    "staleness_limits_from",
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
