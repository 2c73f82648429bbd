"""What can be wrong with a prompt."""

from __future__ import annotations

from tetrad.kernel import InvalidInput


class PromptError(InvalidInput):
    """A prompt, or the values given to it, cannot be right.

    `code` is one of `prompt_syntax` (the template or the file), `prompt_variables` (a value is unknown, missing or of
    another type) and `prompt_limit` (too large, too deep, too much work).
    """

    code = "prompt_syntax"


def bad_variables(message: str, hint: str = "") -> PromptError:
    """Say that a value is unknown, missing or of another type."""
    return PromptError(message, hint=hint, code="prompt_variables")


def past_limit(message: str, hint: str = "") -> PromptError:
    """Say which limit was passed."""
    return PromptError(message, hint=hint, code="prompt_limit")
