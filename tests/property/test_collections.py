"""Nothing that is reached from a ref, a deployment or an open change request is ever taken; all else is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.collecting import Holding, wire_collector
from support.databases import SqliteTemplate, opened
from support.tetrads import ALICE, SYSTEM, Tetrads, wire
from tetrad.kernel import Digest
from tetrad.registry import ArtifactErased, CollectLimits, Edge, Live
from tetrad.registry._model import INVALIDATIONS
from tetrad.registry._walk import walk

MOST = 8
KEPT_MOVES = 2
places = st.integers(0, MOST - 1)
_numbers = itertools.count()


@dataclass(frozen=True)
class Graph:
    """A small project: artifacts by number, what they contain, what was made from what, and what names them."""

    parts: frozenset[tuple[int, int]]  # (whole, part), the part made first
    made: tuple[tuple[int, int, str], ...]  # (source, out, policy)
    moves: tuple[tuple[str, int], ...]
    versions: tuple[tuple[str, int], ...]
    deployed: frozenset[int]
    proposed: frozenset[int]
    young: frozenset[int]
    old_versions_go: bool

    def reached(self) -> set[int]:
        """Return what must stay, by rules written anew: a slow fixpoint over everything."""
        kept = set(self.deployed | self.proposed | self.young)
        for ref in {ref for ref, _ in self.moves}:
            there: list[int] = []
            for moved, place in self.moves:
                if moved == ref and (not there or there[-1] != place):
                    there.append(place)
            kept.update(there[-KEPT_MOVES - 1 :])  # the newest moves, and where the first of them came from
        names = {name for name, _ in self.versions}
        for name in names:
            named = [place for each, place in self.versions if each == name]
            kept.update([self.newest(named)] if self.old_versions_go else named)
        while True:
            more = {part for whole, part in self.parts if whole in kept}
            more |= {source for source, out, policy in self.made if out in kept and policy != "none"}
            if more <= kept:
                return kept
            kept |= more

    @staticmethod
    def newest(named: list[int]) -> int:
        """The same digest again is the version that it has, so that the newest is the last that came first."""
        return list(dict.fromkeys(named))[-1]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    pairs = draw(st.sets(st.tuples(places, places), max_size=8))
    return Graph(
        frozenset((max(pair), min(pair)) for pair in pairs if pair[0] != pair[1]),
        tuple(draw(st.lists(st.tuples(places, places, st.sampled_from(INVALIDATIONS)), max_size=5))),
        tuple(draw(st.lists(st.tuples(st.sampled_from(["a/x", "a/y"]), places), max_size=6))),
        tuple(draw(st.lists(st.tuples(st.sampled_from(["n", "m"]), places), max_size=4))),
        draw(st.frozensets(places, max_size=1)),
        draw(st.frozensets(places, max_size=1)),
        draw(st.frozensets(places, max_size=1)),
        draw(st.booleans()),
    )


@pytest.fixture(scope="module")
def tetrads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tetrads]:
    folder: Path = tmp_path_factory.mktemp("collections")
    url = SqliteTemplate(folder).copy(folder / "one.db")
    with opened(url, waits_for_disk=False) as database:
        yield wire(database)


def build(tetrads: Tetrads, project: str, graph: Graph) -> list[Digest]:
    registry = tetrads.registry
    made: list[Digest] = []

    def put(place: int) -> Digest:
        parts = [(made[part], "part") for whole, part in sorted(graph.parts) if whole == place]
        content = {"project": project, "place": place}
        return registry.put_document(project, "note", content, actor=ALICE, parts=parts).digest

    for place in range(MOST):
        made.append(put(place))  # noqa: PERF401 - `put` looks at those before
    for source, out, policy in graph.made:
        registry.record(project, "make", [Edge(made[source], "in", "", policy), Edge(made[out], "out")], actor=ALICE)
    for ref, place in graph.moves:
        registry.move_ref(project, ref, made[place], expected=None, actor=ALICE)
    for name, place in graph.versions:
        registry.add_version(project, "note", name, made[place], actor=ALICE)
    tetrads.clock.advance(timedelta(days=40))
    for place in graph.young:
        put(place)
    return made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(graphs())
def test_exactly_what_nothing_reaches_is_taken(tetrads: Tetrads, graph: Graph) -> None:
    number = next(_numbers)
    project = f"p{number}"
    made = build(tetrads, project, graph)
    holding = Holding()
    holding.deployed = [Live("a", "x", made[place]) for place in graph.deployed]
    holding.held = [made[place] for place in graph.proposed]
    collector = wire_collector(tetrads, holding, limits=CollectLimits(kept_moves=KEPT_MOVES))
    age = timedelta(days=30) if graph.old_versions_go else None
    looked = collector.collect(project, actor=SYSTEM, versions_older_than=age)
    reached = graph.reached()
    assert {made.index(digest) for digest in looked.digests} == set(range(MOST)) - reached
    done = collector.collect(project, actor=SYSTEM, run=True, versions_older_than=age)
    assert done.digests == looked.digests
    if number % 10 == 0:  # files are swept over all projects; each time would be slow
        collector.collect_all(actor=SYSTEM, run=True)
    for place, digest in enumerate(made):
        if place in reached:
            assert tetrads.registry.document(project, digest)["place"] == place
            explained = collector.explain(project, digest)
            assert explained.kept == bool(explained.holders)
        else:
            with pytest.raises(ArtifactErased):
                tetrads.registry.read(project, digest)
    assert collector.collect(project, actor=SYSTEM, run=True, versions_older_than=age).digests == ()


@given(st.sets(st.tuples(places, places), max_size=20), st.sets(places, min_size=1, max_size=3))
def test_a_walk_reaches_what_a_closure_does_by_paths_that_exist(edges: set[tuple[int, int]], start: set[int]) -> None:
    names = [Digest(f"sha256:{place:064x}") for place in range(MOST)]
    linked = {(names[one], names[other]) for one, other in edges}
    found = walk(
        [names[place] for place in sorted(start)],
        lambda digests: [pair for pair in linked if pair[0] in digests],
        limit=1000,
    )
    closure = {names[place] for place in start}
    while more := {other for one, other in linked if one in closure} - closure:
        closure |= more
    assert set(found.reached) == closure
    for digest in closure:
        path = found.path(digest)
        assert path[-1] == digest
        assert path[0] in {names[place] for place in start}
        assert all(pair in linked for pair in itertools.pairwise(path))
