"""Move a ref back to a release that it had, whole and at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tetrad.kernel import Digest, InvalidInput, Principal, parse_digest, short
from tetrad.registry import Ref, RefNotFound, RefStep, had_before
from tetrad.releases._names import listed
from tetrad.releases.errors import NeverHad, NothingToRollBack

if TYPE_CHECKING:
    from tetrad.releases._service import Releases


LOOKED_BACK = 10_000
"""How many moves of a ref are replayed to find the release before the present one: all, as far as people go.

Each costs microseconds, so that a rollback stays within its 100 ms after any number of moves."""


class RolledBack(msgspec.Struct, frozen=True):
    """A ref that was moved back. `took_ms` is the time from the call until the move was durable and announced.

    `tree` is the code that callers should run now; `dirty` says that it is in no commit.
    """

    app: str
    ref: Ref
    old: Digest
    new: Digest
    forced: bool
    reason: str
    took_ms: float
    tree: str
    dirty: bool


class Rollbacks:
    """Moves refs back. Safe to use from many threads."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases

    def roll_back(
        self,
        project: str,
        app: str,
        ref: str,
        *,
        actor: Principal,
        to: str | None = None,
        expected: str | None = None,
        reason: str = "",
        force: bool = False,
    ) -> RolledBack:
        """Point a ref to the release that it had before, or to an earlier one by digest, in one compare-and-swap.

        The move is in the ref's hash-chained log with its reason. A release that the ref never had is refused with
        `NeverHad`; `force` allows it, but not without a reason. `expected` is where the caller saw the ref; where it
        points elsewhere, or moves meanwhile, nothing happens and `RefMoved` (409) tells. The ref's gates are asked.
        """
        began = time.perf_counter()
        moves = self._releases.path(project, app, ref, limit=LOOKED_BACK)
        if not moves or moves[-1].new is None:
            raise RefNotFound(
                f"the project {project!r} has no ref {app}/{ref}", hint=f"`tetrad app show {app}` lists them"
            )
        seen = parse_digest(expected) if expected else moves[-1].new
        had = had_before(moves)
        target = self._target(app, ref, seen, had, to)
        forced = not self._had(project, app, ref, target, moves)
        if forced and not force:
            raise NeverHad(
                f"{app}/{ref} never had the release {short(target)}",
                hint=f"it had {listed(had)}; --force with --reason moves it all the same",
            )
        if forced and not reason.strip():
            raise InvalidInput(
                f"{app}/{ref} never had the release {short(target)}; forcing it needs a reason", hint="give --reason"
            )
        words = f"{'forced rollback' if forced else 'rollback'}{f': {reason}' if reason else ''}"
        moved = self._releases.move_ref(project, app, ref, target, expected=seen, actor=actor, reason=words)
        took_ms = (time.perf_counter() - began) * 1e3
        resolved = self._releases.resolve(project, target)
        return RolledBack(app, moved, seen, target, forced, words, took_ms, resolved.code_digest, resolved.code_dirty)

    def _target(self, app: str, ref: str, current: Digest, had: Sequence[Digest], to: str | None) -> Digest:
        if to is None:
            if not had:
                raise NothingToRollBack(
                    f"{app}/{ref} has no earlier release", hint=f"name one: --to DIGEST (`tetrad release list {app}`)"
                )
            return had[0]
        target = parse_digest(to)
        if target == current:
            raise NothingToRollBack(f"{app}/{ref} points to {short(target)} already", hint="nothing was moved")
        return target

    def _had(self, project: str, app: str, ref: str, target: Digest, newest: Sequence[RefStep]) -> bool:
        """Tell whether the ref ever pointed to a release: the newest moves are known, older ones are asked for."""
        if any(target in (step.new, step.old) for step in newest):
            return True
        return self._releases.had(project, app, ref, target)
