"""What rests on something revoked, against every choice of origins and against what staleness says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from tetrad.kernel import Digest
from tetrad.registry import Invalidation
from tetrad.registry._model import REMADE, Link
from tetrad.registry._walk import tainted
from tetrad.releases._staleness import Graph, Input, Node, Way, decide

MOST = 7
NAMES = [Digest(f"sha256:{number:064x}") for number in range(MOST)]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Inputs = tuple[tuple[int, Invalidation], ...]


class History:
    """Artifacts by number, each made of those before it: `ways[n]` are (done, inputs), `parts[n]` what n contains."""

    def __init__(
        self, ways: list[tuple[tuple[bool, Inputs], ...]], parts: list[frozenset[int]], revoked: frozenset[int]
    ) -> None:
        self.ways, self.parts, self.revoked = ways, parts, revoked

    def __repr__(self) -> str:
        return f"History({self.ways!r}, {self.parts!r}, {self.revoked!r})"

    def links(self) -> Iterator[Link]:
        for below, ways in enumerate(self.ways):
            for part in self.parts[below]:
                yield Link(name(part), name(below), "part")
            for number, (done, inputs) in enumerate(ways):
                for above, policy in inputs:
                    if policy != "none":
                        remakes = done and policy in REMADE
                        yield Link(name(above), name(below), "make", f"act-{below}-{number}", remakes)

    def tainted(self) -> set[int]:
        reached = tainted(self.links(), set(map(name, self.revoked)))
        assert reached <= set(NAMES)
        return {number for number, each in enumerate(NAMES) if each in reached}


def name(number: int) -> Digest:
    return NAMES[number]


def histories(
    policies: tuple[Invalidation, ...], *, parts: bool = True, pending: bool = True
) -> st.SearchStrategy[History]:
    proves = st.sampled_from([True, True, False]) if pending else st.just(True)
    made: list[st.SearchStrategy[list[tuple[bool, Inputs]]]] = [st.just([])]
    holds: list[st.SearchStrategy[frozenset[int]]] = [st.just(frozenset())]
    for number in range(1, MOST):  # made once: in each example again they cost more than all that is drawn of them
        before = st.integers(0, number - 1)
        inputs = st.lists(
            st.tuples(before, st.sampled_from(policies)), min_size=1, max_size=2, unique_by=lambda each: each[0]
        ).map(tuple)
        made.append(st.lists(st.tuples(proves, inputs), max_size=2))
        holds.append(st.frozensets(before, max_size=1) if parts else st.just(frozenset()))
    bad = st.frozensets(st.integers(0, MOST - 1), max_size=2)

    @st.composite
    def drawn(draw: st.DrawFn) -> History:
        ways, contained = [], []
        for number in range(MOST):
            ways.append(tuple(draw(made[number])))
            contained.append(draw(holds[number]))
        return History(ways, contained, draw(bad))

    return drawn()


def by_every_choice(history: History) -> set[int]:
    """Return what is reached by a revocation whichever of its origins each artifact is said to have."""

    def origins(number: int) -> list[frozenset[int]]:
        told = [
            (
                done and any(policy in REMADE for _, policy in inputs),
                {each for each, policy in inputs if policy != "none"},
            )
            for done, inputs in history.ways[number]
        ]
        told = [(proves, inputs) for proves, inputs in told if inputs]
        proving = [frozenset(inputs) for proves, inputs in told if proves]
        # Where no activity proves anything, all that was ever said to have gone in counts.
        return proving or [frozenset().union(*(inputs for _, inputs in told))]

    found = set(range(MOST))
    for choice in itertools.product(*(origins(number) for number in range(MOST))):
        reached: set[int] = set()
        for number in range(MOST):  # each is made of what comes before it
            if number in history.revoked or (choice[number] | history.parts[number]) & reached:
                reached.add(number)
        found &= reached
    return found


@settings(max_examples=300)
@given(histories(("rebuild", "reevaluate", "revalidate", "none")))
def test_a_revocation_reaches_what_has_no_origin_that_is_sound_throughout(history: History) -> None:
    assert history.tainted() == by_every_choice(history)


@given(histories(("rebuild", "reevaluate"), parts=False, pending=False))
def test_what_moves_of_refs_are_refused_for_is_what_staleness_calls_broken(history: History) -> None:
    nodes = {
        name(number): Node(
            name(number), name(number), "dataset", f"n{number}", "1.0.0",
            tuple(
                Way("make", tuple(Input(name(each), policy, exact=True) for each, policy in inputs))
                for _, inputs in history.ways[number]
            ),
            "bad" if number in history.revoked else "",
        )
        for number in range(MOST)
    }  # fmt: skip
    standings = decide(Graph(nodes), NOW)
    broken = {number for number in range(MOST) if standings[name(number)].state == "BROKEN"}
    assert history.tainted() == broken


@given(histories(("rebuild", "reevaluate", "revalidate", "none")), st.integers(0, MOST - 1))
def test_revoking_more_never_makes_anything_sound(history: History, another: int) -> None:
    more = History(history.ways, history.parts, history.revoked | {another})
    assert history.tainted() <= more.tainted()


def test_what_proves_nothing_does_not_spoil_what_is_sound() -> None:
    bad, good, twice, looked = map(name, range(4))
    links = [
        Link(bad, twice, "train", "a", True),
        Link(good, twice, "train", "b", True),
        Link(twice, looked, "merge", "c", False),
    ]
    assert tainted(links, {bad}) == {bad}
    assert tainted(links, {good, bad}) == {good, bad, twice, looked}


def test_two_artifacts_made_from_one_another_do_not_vouch_for_each_other() -> None:
    bad, one, two = map(name, range(3))
    links = [
        Link(bad, one, "train", "a", True),
        Link(two, one, "filter", "b", True),
        Link(one, two, "filter", "c", True),
        Link(one, one, "filter", "d", True),
    ]
    assert tainted(links, {bad}) == {bad, one, two}
    assert tainted(links, set()) == set()
