"""Releases: code, data, model and prompt of an app as one immutable manifest, and the refs that name it."""

from tetrad.releases._declaration import (
    CodePart,
    DataPart,
    Declaration,
    ModelPart,
    PromptPart,
    parse_declaration,
)
from tetrad.releases._model import (
    App,
    Message,
    ResolvedRelease,
    ResolvedVariable,
    build_manifest,
    examples_of,
)
from tetrad.releases._prompts import RegistryPrompts, version_floor
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
from tetrad.releases.errors import (
    AppNotFound,
    BadDeclaration,
    BadPart,
    DeclarationError,
    ReleaseNotFound,
    UploadTooLarge,
    WrongApp,
)

__all__ = [
    "SETTINGS",
    "App",
    "AppNotFound",
    "AppRefs",
    "BadDeclaration",
    "BadPart",
    "CodePart",
    "Composed",
    "DataPart",
    "Declaration",
    "DeclarationError",
    "Ensured",
    "Message",
    "ModelPart",
    "PromptPart",
    "RegistryPrompts",
    "Release",
    "ReleaseLimits",
    "ReleaseNotFound",
    "ReleaseParts",
    "Releases",
    "ResolvedRelease",
    "ResolvedVariable",
    "UploadTooLarge",
    "WrongApp",
    "build_manifest",
    "examples_of",
    "limits_from",
    "parse_declaration",
    "ref_name",
    "version_floor",
]
