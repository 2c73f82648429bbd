"""Walk from artifact to artifact along parts and lineage, breadth first: pure, the edges are handed in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from tetrad.kernel import Digest
from tetrad.registry._model import Link

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

    def cut(self) -> Walk:
        """Return the same walk, said to be incomplete."""
        return Walk(self._came_from, False)

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


def tainted(links: Iterable[Link], revoked: Collection[Digest]) -> set[Digest]:
    """Return the artifacts that rest on something revoked; `links` must hold all that lead up from any of them.

    An artifact is sound when it was not revoked, all that it contains is sound, and, where it is known what it was made
    from, one done activity made it of sound inputs only: an OR over activities, an AND over the inputs of each. Where
    no activity can prove anything, the inputs of all must be sound. The origin must be proven from the ground up: two
    artifacts made from one another do not vouch for each other.
    """
    below: dict[Digest, set[Digest]] = {}
    parts: dict[Digest, set[Digest]] = {}
    ways: dict[Digest, dict[str, set[Digest]]] = {}
    proving: set[tuple[Digest, str]] = set()
    for link in links:
        below.setdefault(link.above, set()).add(link.below)
        if not link.activity:
            parts.setdefault(link.below, set()).add(link.above)
            continue
        ways.setdefault(link.below, {}).setdefault(link.activity, set()).add(link.above)
        if link.remakes:
            proving.add((link.below, link.activity))
    suspects = set(revoked)
    todo = list(suspects)
    while todo:
        found = below.get(todo.pop(), set()) - suspects
        suspects |= found
        todo += found
    bad = set(suspects)

    def sound(digest: Digest) -> bool:
        if digest in revoked or not parts.get(digest, set()).isdisjoint(bad):
            return False
        made = {activity: inputs for activity, inputs in ways.get(digest, {}).items() if inputs != {digest}}
        good = {activity for activity, inputs in made.items() if inputs.isdisjoint(bad)}
        return len(good) == len(made) or any((digest, activity) in proving for activity in good)

    todo = list(suspects)
    while todo:
        digest = todo.pop()
        if digest in bad and sound(digest):
            bad.discard(digest)
            todo += below.get(digest, set()) & bad
    return bad
