"""Prompts: typed, versioned message templates that render the same way everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetrad.prompts._chain import ChainSpec, ChainStep, check_chain
from tetrad.prompts._compile import CompiledPrompt, compile_prompt
from tetrad.prompts._file import format_prompt_file, parse_prompt_file, read_prompt_file
from tetrad.prompts._includes import Composition, Included, compose_prompt
from tetrad.prompts._model import (
    CLIENT_MESSAGES,
    PLACEHOLDER,
    ROLES,
    PromptMessage,
    PromptSpec,
    PromptType,
    Syntax,
    prompt_from_document,
)
from tetrad.prompts._reference import Reference, first_allowed, parse_reference
from tetrad.prompts._variables import REQUIRED, VARIABLE_TYPES, VariableSpec, VariableType
from tetrad.prompts.errors import (
    LoweringForbidden,
    PolicyRefused,
    PromptError,
    PromptMoved,
    PromptNotFound,
    VersionTooLow,
)

if TYPE_CHECKING:
    from tetrad.prompts._diff import PromptDiff, diff_prompts
    from tetrad.prompts._floor import Floor, contract_floor
    from tetrad.prompts._merge import Merged, merge_texts
    from tetrad.prompts._policy import PromptPolicy
    from tetrad.prompts._service import Committed, KeptPrompt, Prompts
    from tetrad.prompts._settings import SETTINGS, policy_from

__all__ = [
    "CLIENT_MESSAGES",
    "PLACEHOLDER",
    "REQUIRED",
    "ROLES",
    "SETTINGS",
    "VARIABLE_TYPES",
    "ChainSpec",
    "ChainStep",
    "Committed",
    "CompiledPrompt",
    "Composition",
    "Floor",
    "Included",
    "KeptPrompt",
    "LoweringForbidden",
    "Merged",
    "PolicyRefused",
    "PromptDiff",
    "PromptError",
    "PromptMessage",
    "PromptMoved",
    "PromptNotFound",
    "PromptPolicy",
    "PromptSpec",
    "PromptType",
    "Prompts",
    "Reference",
    "Syntax",
    "VariableSpec",
    "VariableType",
    "VersionTooLow",
    "check_chain",
    "compile_prompt",
    "compose_prompt",
    "contract_floor",
    "diff_prompts",
    "first_allowed",
    "format_prompt_file",
    "merge_texts",
    "parse_prompt_file",
    "parse_reference",
    "policy_from",
    "prompt_from_document",
    "read_prompt_file",
]

_LATER = {
    "SETTINGS": "_settings",
    "Committed": "_service",
    "Floor": "_floor",
    "KeptPrompt": "_service",
    "Merged": "_merge",
    "PromptDiff": "_diff",
    "PromptPolicy": "_policy",
    "Prompts": "_service",
    "contract_floor": "_floor",
    "diff_prompts": "_diff",
    "merge_texts": "_merge",
    "policy_from": "_settings",
}
"""What the gateway, which imports this to render, has no need of: it is loaded by those who name it."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
