"""What bindings refuse."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tetrad.kernel import Conflict, InvalidInput, NotFound


class Problem(msgspec.Struct, frozen=True):
    """Something that is wrong in a binding: where (`providers`, `openai`, `secret`), and what to write instead."""

    path: tuple[str, ...]
    message: str
    severity: str = "error"

    def label(self) -> str:
        """Name the place for people; what comes first is the file itself where the path is empty."""
        return ".".join(self.path) or "the binding"


class BadBinding(InvalidInput):
    """A binding that cannot be used; `problems` names every place."""

    code = "bad_binding"
    status = 422

    def __init__(self, problems: Sequence[Problem], *, lines: Sequence[str] = (), hint: str = "") -> None:
        told = list(lines) or [f"{problem.label()}: {problem.message}" for problem in problems]
        super().__init__("\n".join(told), hint=hint or "correct the binding; nothing was kept or moved")
        self.problems = tuple(problems)
        self.details = tuple((problem.path, problem.message) for problem in problems)


class BindingNotFound(NotFound):
    """The environment has no binding in the project."""

    code = "binding_not_found"


class NotABinding(BindingNotFound):
    """The digest is something else's."""


class BindingUnreadable(InvalidInput):
    """What the ref of a binding points to is no binding that this version can read."""

    code = "binding_unreadable"
    status = 422


class TooManyBindings(Conflict):
    """The project has as many bindings as are allowed."""

    code = "too_many_bindings"


class NothingToRollBack(Conflict):
    """The binding has no earlier version, or is that one already."""

    code = "nothing_to_roll_back"


class NeverBound(Conflict):
    """The environment never had the binding that it is to be rolled back to."""

    code = "never_bound"
