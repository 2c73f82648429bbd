"""Releases: code, data, model and prompt of an app as one immutable manifest, and the refs that name it."""

from tetrad.releases._compare import Comparisons
from tetrad.releases._declaration import (
    CodePart,
    DataPart,
    Declaration,
    ModelPart,
    PromptPart,
    parse_declaration,
)
from tetrad.releases._derive import Derivations
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
from tetrad.releases._rebuild import Stalenesses, StalenessLimits, StalenessRun
from tetrad.releases._rebuilders import known_rebuilders
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
from tetrad.releases._settings import SETTINGS, limits_from, staleness_limits_from
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
    NotRebuilt,
    ReleaseNotFound,
    StalenessTooLarge,
    UploadTooLarge,
    WrongApp,
)

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
    "NotRebuilt",
    "NothingToRollBack",
    "PromptPart",
    "RegistryPrompts",
    "Release",
    "ReleaseDiff",
    "ReleaseLimits",
    "ReleaseNotFound",
    "ReleaseParts",
    "Releases",
    "ResolvedRelease",
    "ResolvedVariable",
    "Rollbacks",
    "RolledBack",
    "StalenessLimits",
    "StalenessRun",
    "StalenessTooLarge",
    "Stalenesses",
    "UploadTooLarge",
    "WrongApp",
    "build_manifest",
    "examples_of",
    "known_rebuilders",
    "limits_from",
    "parse_declaration",
    "ref_name",
    "staleness_limits_from",
    "summarise",
    "version_floor",
]
