"""Staleness against a model that looks at every path, plans that can be carried out, and runs that end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tetrad.registry import Invalidation
from tetrad.releases._stale_plan import ACTIONS, Step, latest, plan
from tetrad.releases._staleness import Graph, Input, Node, Standing, Way, best_way, decide, root_causes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USUAL: tuple[Invalidation, ...] = ("rebuild", "rebuild", "rebuild", "reevaluate", "revalidate", "none")
KINDS = ("filter", "train", "compose")


@st.composite
def graphs(draw: st.DrawFn, *, circles: bool = False) -> Graph:
    """Names with versions, made in one or several ways of versions of other names, some of which were revoked.

    An artifact is made of what was there before it, so that artifacts form a DAG; names may not, with `circles`.
    """
    names = draw(st.integers(2, 5))
    count = draw(st.integers(3, 14))
    versions: dict[int, list[str]] = {}
    nodes: dict[str, Node] = {}
    made: list[tuple[int, str, list[tuple[str, list[tuple[int, str, Invalidation, bool]]]]]] = []
    for number in range(count):
        name = draw(st.integers(0, names - 1)) if number >= names else number  # every name has a version at least
        key = f"n{name}v{number}"
        ways = []
        for _ in range(draw(st.sampled_from([1, 1, 2, 0]))):
            old = draw(st.booleans())
            there = [(other, each) for other, found in versions.items() for each in (found if old else found[-1:])]
            if not circles:
                there = [(other, each) for other, each in there if other < name]
            there = [(other, each) for other, each in there if other != name]
            picked = draw(st.lists(st.sampled_from(there), min_size=1, max_size=3, unique=True)) if there else []
            inputs = [
                (other, each, draw(st.sampled_from(USUAL)), draw(st.sampled_from([False, False, False, True])))
                for other, each in picked
            ]
            ways.append((draw(st.sampled_from(KINDS)), inputs))
        versions.setdefault(name, []).append(key)
        made.append((name, key, ways))
    for name, key, ways in made:
        head = versions[name][-1]
        nodes[key] = Node(
            key, key, "dataset", f"n{name}", key,
            tuple(
                Way(
                    kind,
                    tuple(
                        Input(
                            each, policy, "", "dataset", f"n{other}", each, None if exact else versions[other][-1],
                            exact=exact,
                        )
                        for other, each, policy, exact in inputs
                    ),
                )
                for kind, inputs in ways
            ),
            "bad" if draw(st.integers(0, 9)) == 9 else "", False, head if head != key else None,
        )  # fmt: skip
    return Graph(nodes)


def brute_force(graph: Graph) -> dict[str, str]:
    """Say how artifacts stand by going round until nothing changes, with no regard to cost."""
    remakes = ("rebuild", "reevaluate")
    broken: set[str] = set()
    stale: set[str] = set()
    for _ in range(2 * len(graph.nodes) + 2):
        for key, node in graph.nodes.items():
            ways = [[each for each in way.inputs if each.policy in remakes] for way in node.ways]
            if node.revoked or (ways and all(any(each.id in broken for each in way) for way in ways)):
                broken.add(key)
    for _ in range(2 * len(graph.nodes) + 2):
        for key, node in graph.nodes.items():
            ways = [[each for each in way.inputs if each.policy in remakes] for way in node.ways]

            def bad(each: Input) -> bool:
                moved = each.newest is not None and each.newest != each.id
                follows = not each.exact and (each.newest or each.id) in stale
                return each.id in broken or moved or follows

            if ways and all(any(bad(each) for each in way) for way in ways):
                stale.add(key)
    return {key: "BROKEN" if key in broken else "STALE" if key in stale else "" for key in graph.nodes}


@given(graphs() | graphs(circles=True))
def test_every_artifact_stands_as_a_look_at_every_path_says(graph: Graph) -> None:
    expected = brute_force(graph)
    found = decide(graph, NOW)
    for key, standing in found.items():
        assert standing.state in ((expected[key],) if expected[key] else ("FRESH", "UNVALIDATED"))
        assert (standing.state == "FRESH") is (standing.causes == ())
        assert list(standing.causes) == sorted(standing.causes, key=lambda cause: -STATE[cause.state])


STATE = {"FRESH": 0, "UNVALIDATED": 1, "EXPIRED": 2, "STALE": 3, "BROKEN": 4}


@given(graphs())
def test_unvalidated_is_what_a_revalidate_input_that_lags_makes_of_what_is_else_fresh(graph: Graph) -> None:
    found = decide(graph, NOW)
    broken = {key for key, expected in brute_force(graph).items() if expected == "BROKEN"}
    remake = {key for key, standing in found.items() if standing.remake}
    for key, node in graph.nodes.items():
        if found[key].state not in ("FRESH", "UNVALIDATED"):
            continue
        way = best_way(node, broken, remake)
        looks = [each for each in way.inputs if each.policy == "revalidate"] if way else []
        lagging = any(each.id in broken or each.lags(remake) for each in looks)
        assert (found[key].state == "UNVALIDATED") is lagging


@given(graphs() | graphs(circles=True))
def test_every_stale_artifact_has_a_root_cause(graph: Graph) -> None:
    found = decide(graph, NOW)
    for key, standing in found.items():
        roots = root_causes(graph, found, key)
        assert bool(roots) is (standing.state != "FRESH")
        assert all(cause.what not in ("pending", "broken") for cause in roots)


def reached(graph: Graph, found: Mapping[str, Standing], roots: list[str]) -> set[str]:
    """Return what a plan for some roots is about: today's versions of all that they are made of."""
    broken = {key for key, expected in brute_force(graph).items() if expected == "BROKEN"}
    remake = {key for key, standing in found.items() if standing.remake}
    seen: set[str] = set()
    todo = [latest(graph, root) for root in roots]
    while todo:
        key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        way = best_way(graph.nodes[key], broken, remake)
        todo += [each.head for each in way.inputs if each.policy != "none" and not each.exact] if way else []
    return seen


@given(graphs() | graphs(circles=True), st.data())
def test_a_plan_holds_each_stale_artifact_once_and_after_what_it_is_made_of(graph: Graph, data: Any) -> None:
    found = decide(graph, NOW)
    roots = data.draw(st.lists(st.sampled_from(sorted(graph.nodes)), min_size=1, max_size=3, unique=True))
    installed = data.draw(st.sets(st.sampled_from([f"dataset.{kind}" for kind in KINDS])))
    steps = plan(graph, found, roots, installed)
    rebuilt = [step.id for step in steps if step.action == "rebuild"]
    assert len(set(rebuilt)) == len(rebuilt)
    assert set(rebuilt) == {key for key in reached(graph, found, roots) if found[key].remake}
    circular = {number for number in range(len(steps)) if number in behind(steps, number)}
    before_one = {each for number in circular for each in behind(steps, number)}
    between = {number for number in before_one if circular & behind(steps, number)}  # circles, and what joins two
    for number, step in enumerate(steps):
        assert all(each < number for each in step.after) or number in between
        assert bool(step.executor) is not bool(step.lacks)
        assert step.executor in (*installed, "")
        if number in circular:
            assert not step.executor
        held_up = any(not steps[each].executor or steps[each].waits_for for each in step.after if each < number)
        assert bool(step.waits_for) is held_up
    order = [ACTIONS.index(step.action) for step in steps if step.runnable]
    assert order == sorted(order)


def behind(steps: Sequence[Step], number: int) -> set[int]:
    """Return all that comes before a step, itself where it stands in a circle."""
    seen: set[int] = set()
    todo = list(steps[number].after)
    while todo:
        each = todo.pop()
        if each not in seen:
            seen.add(each)
            todo += steps[each].after
    return seen


@given(graphs())
def test_names_that_are_no_circle_plan_no_circle(graph: Graph) -> None:
    found = decide(graph, NOW)
    assert not any("circle" in step.lacks for step in plan(graph, found, sorted(graph.nodes), ()))


class World:
    """Names, their versions and how they were made; a stand-in for what executors do to a registry."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made = 0

    def rebuild(self, step: Step, *, same: bool) -> None:
        """Make the newest version of a name again, of the newest of its inputs: the same or a new artifact."""
        nodes = dict(self.graph.nodes)
        node = nodes[step.id]
        found = decide(self.graph, NOW)
        remake = {key for key, standing in found.items() if standing.remake}
        broken = {key for key, each in found.items() if any(cause.state == "BROKEN" for cause in each.causes)}
        old = best_way(node, broken, remake)
        assert old is not None
        assert step.executor == f"dataset.{old.kind}"
        inputs = tuple(
            each if each.exact else Input(each.head, each.policy, "", each.kind, each.name, each.head, each.head)
            for each in old.inputs
        )
        way = Way(old.kind, inputs)
        if same and not node.revoked:
            nodes[step.id] = msgspec.structs.replace(node, ways=(*node.ways, way))
        else:
            self.made += 1
            key = f"{node.name}r{self.made}"
            nodes[key] = Node(key, key, node.kind, node.name, key, (way,))
            for other, each in list(nodes.items()):
                successor = key if each.name == node.name and other != key else each.successor
                moved = tuple(
                    Way(
                        way.kind,
                        tuple(
                            Input(
                                i.id, i.policy, "", i.kind, i.name, i.version,
                                key if i.newest is not None and i.name == node.name else i.newest, exact=i.exact,
                            )
                            for i in way.inputs
                        ),
                    )
                    for way in each.ways
                )  # fmt: skip
                nodes[other] = Node(
                    each.id,
                    each.digest,
                    each.kind,
                    each.name,
                    each.version,
                    moved,
                    each.revoked,
                    each.erased,
                    successor,
                )
        self.graph = Graph(nodes)


@given(graphs(), st.data())
def test_carrying_out_plans_makes_all_that_has_an_executor_fresh_and_then_nothing_more(graph: Graph, data: Any) -> None:
    world = World(graph)
    roots = sorted(graph.nodes)
    every = [f"dataset.{kind}" for kind in KINDS]
    installed = data.draw(st.just(set(every)) | st.sets(st.sampled_from(every)))
    for step in plan(graph, decide(graph, NOW), roots, installed):
        if step.action == "rebuild" and step.runnable:
            world.rebuild(step, same=data.draw(st.booleans()))
    found = decide(world.graph, NOW)
    left = [step for step in plan(world.graph, found, roots, installed) if step.action == "rebuild"]
    assert [step.id for step in left if step.runnable] == []
    if installed == set(every):  # what is left then rests on something that was revoked and has no newer version
        for step in left:
            assert step.lacks or step.waits_for
            assert found[step.id].remake
    fresh = {key for key, standing in found.items() if not standing.remake}
    assert {latest(world.graph, root) for root in roots} <= fresh | {step.id for step in left}
