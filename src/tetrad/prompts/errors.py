"""What can be wrong with a prompt."""

from __future__ import annotations

from tetrad.kernel import Conflict, Forbidden, InvalidInput, NotFound, short


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


class PolicyRefused(PromptError):
    """The name or the documentation is not as this installation wants it."""

    code = "prompt_policy"
    status = 422


class PromptNotFound(NotFound):
    """No such prompt, version or label in the project."""

    code = "prompt_not_found"


class PromptMoved(Conflict):
    """Somebody else made a version since the caller looked; `current` is the digest of the newest."""

    code = "prompt_moved"

    def __init__(self, name: str, current: str | None) -> None:
        now = f"the newest version is {short(current)}" if current else "there is no version"
        super().__init__(
            f"the prompt {name!r} is not as you saw it: {now}", hint="look at the difference, then commit again"
        )
        self.current = current


class VersionTooLow(InvalidInput):
    """The number asked for promises more to callers than the change keeps."""

    code = "version_too_low"
    status = 422


class LoweringForbidden(Forbidden):
    """Calling a change less than it is needs a reviewer."""

    code = "lowering_forbidden"
