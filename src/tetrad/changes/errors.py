"""What change requests refuse."""

from __future__ import annotations

from collections.abc import Sequence

from tetrad.kernel import Conflict, Forbidden, InvalidInput, NotFound, Overloaded, short


class ChangeNotFound(NotFound):
    """No such change request in the project."""

    code = "change_not_found"


class CommentNotFound(NotFound):
    """No such comment or thread on the change request."""

    code = "comment_not_found"


class BadChange(InvalidInput):
    """A patch, anchor or text that cannot be of a change request."""

    code = "bad_change"
    status = 422


class NothingChanges(Conflict):
    """The patch makes the release that the ref has already."""

    code = "nothing_changes"


class WrongState(Conflict):
    """The change request is not in a state that allows this."""

    code = "wrong_state"


class ChangeMoved(Conflict):
    """Somebody pushed or rebased since the caller looked; `current` is the newest revision."""

    code = "change_moved"

    def __init__(self, number: int, seen: object, current: int, candidate: str) -> None:
        super().__init__(
            f"change request #{number} is at revision {current} ({short(candidate)}), not at {str(seen)[:80]}",
            hint="look at it again, then decide",
        )
        self.current = current


class ChangeBehind(Conflict):
    """The ref moved since the patch was put on its release; `current` is where it points now."""

    code = "change_behind"

    def __init__(self, number: int, ref: str, base: str, current: str | None) -> None:
        now = current or "nothing"
        super().__init__(
            f"{ref} points to {now}; change request #{number} is based on {short(base)}",
            hint=f"`tetrad change rebase {number}`, then merge",
        )
        self.current = current


class RebaseConflict(Conflict):
    """The same parts changed on both sides; `details` name them, and nothing was changed."""

    code = "rebase_conflict"

    def __init__(self, number: int, parts: Sequence[tuple[str, str]]) -> None:
        names = ", ".join(part for part, _ in parts)
        super().__init__(
            f"change request #{number} and its ref both changed {names}",
            hint=f"`tetrad change rebase {number} --plan` shows both sides; say what each part becomes",
        )
        self.details = tuple(((part,), why) for part, why in parts)


class OwnWork(Forbidden):
    """Nobody approves what they pushed themselves, unless the ref's policy says so."""

    code = "self_approval"


class NotYours(Forbidden):
    """Only its authors and editors of the project may do this."""

    code = "not_yours"


class KeyTaken(Conflict):
    """The key opened another change request."""

    code = "key_taken"


class TooManyChanges(Overloaded):
    """The project, or the change request, has as many as the limit allows."""

    code = "too_many_changes"
    status = 409


def full(project: str, most: int) -> TooManyChanges:
    """Say that a project has as many unfinished change requests as it may."""
    return TooManyChanges(
        f"the project {project!r} has {most} change requests that are not merged or closed",
        hint="close some, or raise TETRAD_CHANGE_MAX_OPEN",
    )
