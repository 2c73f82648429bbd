"""Walk from artifact to artifact along parts and lineage, breadth first: pure, the edges are handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tetrad.kernel import Digest

Step = Callable[[Sequence[Digest]], Iterable[tuple[Digest, Digest]]]


class Walk:
    """What was reached from some digests, each by a shortest path. `complete` is false where the limit ended it."""

    def __init__(self, came_from: dict[Digest, Digest | None], complete: bool) -> None:
        self._came_from = came_from
        self.complete = complete

    @property
    def reached(self) -> list[Digest]:
        """Every digest that was reached, the nearest first, those it began with included."""
        return list(self._came_from)

    def __contains__(self, digest: str) -> bool:
        return digest in self._came_from

    def path(self, digest: Digest) -> tuple[Digest, ...]:
        """Return how a digest was reached, from where the walk began to the digest itself."""
        found = [digest]
        while (before := self._came_from[found[-1]]) is not None:
            found.append(before)
        return tuple(reversed(found))


def walk(start: Iterable[Digest], step: Step, *, limit: int) -> Walk:
    """Go on from `start` until nothing new is found, or more than `limit` digests are.

    `step` takes digests and yields (one of them, its neighbour). The same edges in any order reach the same digests.
    """
    came_from: dict[Digest, Digest | None] = dict.fromkeys(start)
    frontier = list(came_from)
    while frontier:
        if len(came_from) > limit:
            return Walk(came_from, False)
        reached: list[Digest] = []
        for source, neighbour in sorted(step(frontier)):
            if neighbour not in came_from:
                came_from[neighbour] = source
                reached.append(neighbour)
        frontier = reached
    return Walk(came_from, True)
