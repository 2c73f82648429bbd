"""What to do about what is out of date, in order: rebuild, revalidate, reevaluate. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from tetrad.releases._staleness import Graph, Input, Node, Pair, Standing, Way, best_way, unproven_pairs

Action = Literal["rebuild", "revalidate", "reevaluate"]
ACTIONS: tuple[Action, ...] = ("rebuild", "revalidate", "reevaluate")
MAX_WAITS = 5
MAX_REASONS = 20


class Step(msgspec.Struct, frozen=True):
    """One thing to do. `work` names who could do it (`dataset.filter`, `release.derive`), `executor` who will.

    `executor` is empty where there is none, and `lacks` says then why; `waits_for` names the steps without an executor
    that have to be done before (the first few). `after` are the places, from 0, of the steps that come before it.
    """

    action: Action
    id: str
    digest: str
    kind: str
    name: str
    version: str
    work: str
    executor: str = ""
    lacks: str = ""
    after: tuple[int, ...] = ()
    waits_for: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    model: str = ""
    label: str = ""

    @property
    def runnable(self) -> bool:
        """Tell whether it can be done now, given that the steps before it are."""
        return bool(self.executor) and not self.waits_for


class _Draft:
    """A step that is being planned, with the keys of those it comes after."""

    def __init__(self, action: Action, node: Node, work: str, *, label: str, because: Sequence[str] = ()) -> None:
        self.action, self.node, self.work, self.label = action, node, work, label
        self.because = tuple(because)
        self.model = ""
        self.lacks = ""
        self.after: set[str] = set()


def plan(
    graph: Graph, standings: Mapping[str, Standing], roots: Sequence[str], executors: Collection[str]
) -> tuple[Step, ...]:
    """Return the steps that would make all of `roots` (ids) fresh, each once, in an order in which they can be done.

    What has a fresh successor is not made again. A step whose input cannot be made (no executor, a circle of names)
    waits for it: nothing is ever made half of today's inputs and half of yesterday's.
    """
    drafts = _drafts(graph, standings, roots)
    order, circular = _ordered(drafts)
    place = {key: number for number, key in enumerate(order)}
    steps: list[Step] = []
    for key in order:
        draft = drafts[key]
        before = sorted(place[each] for each in draft.after if each in place)
        lacks = draft.lacks or ("its inputs are made of each other in a circle" if key in circular else "")
        executor = draft.work if draft.work in executors and not lacks else ""
        waits = {label for each in before if each < place[key] for label in _holds_up(steps[each])}
        node = draft.node
        steps.append(
            Step(
                draft.action, node.id, node.digest, node.kind, node.name, node.version, draft.work, executor,
                "" if executor else lacks or f"nothing is installed that does {draft.work}", tuple(before),
                tuple(sorted(waits)[:MAX_WAITS]), draft.because[:MAX_REASONS], draft.model, draft.label,
            )
        )  # fmt: skip
    return tuple(steps)


def _holds_up(step: Step) -> tuple[str, ...]:
    return step.waits_for or (() if step.executor else (f"{step.action} {step.label}",))


def latest(graph: Graph, name: str) -> str:
    """Return what has taken an artifact's place, or itself."""
    seen = {name}
    while (node := graph.nodes.get(name)) is not None and node.successor and node.successor not in seen:
        if node.successor not in graph.nodes:
            break
        name = node.successor
        seen.add(name)
    return name


def _drafts(graph: Graph, standings: Mapping[str, Standing], roots: Sequence[str]) -> dict[str, _Draft]:
    unsettled = {name for name, standing in standings.items() if standing.remake}
    broken = {name for name, standing in standings.items() if any(cause.state == "BROKEN" for cause in standing.causes)}
    drafts: dict[str, _Draft] = {}
    seen: set[str] = set()
    todo = [latest(graph, root) for root in reversed(roots)]
    while todo:
        node = graph.nodes.get(name := todo.pop())
        if node is None or name in seen:
            continue
        seen.add(name)
        way = best_way(node, broken, unsettled)
        inputs = [each for each in way.inputs if each.policy != "none"] if way is not None else []
        todo += [each.head for each in reversed(inputs) if not each.own and not each.exact]
        if name in unsettled and way is not None:
            drafts[f"rebuild {name}"] = _rebuild(graph, standings, node, way, unsettled, broken)
        looks = [each for each in standings[name].causes if each.policy == "revalidate" and each.what != "unproven"]
        moved = [each for each in looks if any(each.about == there.id for there in inputs)]
        if moved:
            draft = drafts[f"revalidate {name}"] = _Draft(
                "revalidate", node, f"{node.kind}.revalidate", label=node.label, because=[each.said for each in moved]
            )
            draft.after = {f"rebuild {each}" for each in (name, *(there.head for there in inputs))}
    for root in roots:
        _evidence_steps(graph, standings, latest(graph, root), drafts)
    for draft in drafts.values():
        draft.after &= drafts.keys()
    return drafts


def _rebuild(
    graph: Graph, standings: Mapping[str, Standing], node: Node, way: Way, unsettled: Collection[str],
    broken: Collection[str],
) -> _Draft:  # fmt: skip
    because = [cause.said for cause in standings[node.id].causes if cause.state in ("STALE", "BROKEN")]
    draft = _Draft("rebuild", node, f"{node.kind}.{way.kind}", label=node.label, because=because)
    for each in way.inputs:
        if not each.remakes:
            continue
        draft.lacks = draft.lacks or _lacks(graph, each, unsettled, broken)
        if not each.own and not each.exact and each.head in unsettled:
            draft.after.add(f"rebuild {each.head}")
    return draft


def _lacks(graph: Graph, each: Input, unsettled: Collection[str], broken: Collection[str]) -> str:
    """Say why another making would be no better, because of one input; nothing where it would be."""
    head = graph.nodes.get(each.head)
    label = head.label if head is not None else each.head
    if each.exact:
        return f"it asks for {label} by its number, which cannot be used; name another" if each.id in broken else ""
    if each.own:
        bad = each.head in unsettled or each.id in broken
        return f"it was made upon its earlier version {each.version}, which is out of date itself" if bad else ""
    if each.head in unsettled:
        return "" if each.newest else f"{label}, of which it was made, has no name to find a newer one by"
    if head is not None and (head.revoked or head.erased):
        gone = "revoked" if head.revoked else "erased"
        return f"{label} was {gone}, and there is no newer version; make one without it"
    return ""


def _evidence_steps(graph: Graph, standings: Mapping[str, Standing], name: str, drafts: dict[str, _Draft]) -> None:
    """Plan what has to be proven of a release: its pairs of prompt and model, then the whole."""
    node, need = graph.nodes.get(name), graph.needs.get(name)
    if node is None or need is None or node.revoked or node.erased:
        return
    remade = f"rebuild {name}" in drafts
    causes = [cause.said for cause in standings[name].causes if cause.what not in ("newer", "pending", "broken")]
    if not remade and not causes:
        return
    last = _Draft("reevaluate", node, f"{node.kind}.reevaluate", label=node.label, because=causes)
    last.after.add(f"rebuild {name}")
    for pair, said in unproven_pairs(node, need, standings):
        key = f"revalidate {pair.prompt} {pair.model}"
        if key not in drafts:
            prompt = graph.nodes.get(pair.prompt) or Node(pair.prompt, pair.prompt, "prompt")
            drafts[key] = _Draft("revalidate", prompt, "prompt.revalidate", label=_said(pair), because=(said,))
            drafts[key].model = pair.model
        # What is validated is what the parts are by then.
        drafts[key].after |= {f"rebuild {latest(graph, each)}" for each in (pair.prompt, pair.model)}
        last.after.add(key)
    for way in node.ways:
        last.after |= {f"revalidate {each.head}" for each in way.inputs}
    drafts[f"reevaluate {name}"] = last


def _said(pair: Pair) -> str:
    return f"{pair.prompt_label or pair.prompt} with {pair.model_label or pair.model}"


def _ordered(drafts: Mapping[str, _Draft]) -> tuple[list[str], set[str]]:
    """Order by what comes before what; of what is free, first by action, then as it was found. Circles come last."""
    number = {key: place for place, key in enumerate(drafts)}
    left = {key: len(draft.after) for key, draft in drafts.items()}
    follows: dict[str, list[str]] = {key: [] for key in drafts}
    for key, draft in drafts.items():
        for each in draft.after:
            follows[each].append(key)

    def rank(key: str) -> tuple[int, int, str]:
        return ACTIONS.index(drafts[key].action), -number[key], key

    order: list[str] = []

    def take(free: list[tuple[int, int, str]]) -> None:
        heapq.heapify(free)
        while free:
            key = heapq.heappop(free)[2]
            order.append(key)
            for each in follows[key]:
                left[each] -= 1
                if not left[each]:
                    heapq.heappush(free, rank(each))

    take([rank(key) for key, count in left.items() if not count])
    circular = _circular(drafts, follows, [key for key in drafts if left[key]])
    order += sorted(circular, key=rank)
    for key in circular:  # what stands behind a circle comes after it
        for each in follows[key]:
            left[each] -= 1
    done = set(order)
    take([rank(key) for key, count in left.items() if not count and key not in done])
    return order, circular


def _circular(drafts: Mapping[str, _Draft], follows: Mapping[str, Sequence[str]], rest: Sequence[str]) -> set[str]:
    """Of what could not be ordered, return what stands in a circle; what only stands behind one is peeled off."""
    inside = set(rest)
    behind = {key: sum(each in inside for each in follows[key]) for key in rest}
    peeled = [key for key, count in behind.items() if not count]
    while peeled:
        key = peeled.pop()
        inside.discard(key)
        for each in drafts[key].after:
            if each in inside:
                behind[each] -= 1
                if not behind[each]:
                    peeled.append(each)
    return inside
