"""Prompts: typed, versioned message templates that render the same way everywhere."""

from tetrad.prompts._compile import CompiledPrompt, compile_prompt
from tetrad.prompts._file import format_prompt_file, parse_prompt_file
from tetrad.prompts._model import ROLES, PromptMessage, PromptSpec, PromptType, Syntax, prompt_from_document
from tetrad.prompts._variables import REQUIRED, VARIABLE_TYPES, VariableSpec, VariableType
from tetrad.prompts.errors import PromptError

__all__ = [
    "REQUIRED",
    "ROLES",
    "VARIABLE_TYPES",
    "CompiledPrompt",
    "PromptError",
    "PromptMessage",
    "PromptSpec",
    "PromptType",
    "Syntax",
    "VariableSpec",
    "VariableType",
    "compile_prompt",
    "format_prompt_file",
    "parse_prompt_file",
    "prompt_from_document",
]
