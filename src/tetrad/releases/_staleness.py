"""What is out of date, and why: a view over lineage that is computed and never stored. Frozen values, pure rules.

An artifact is out of date when nothing that it was ever made of is what it would be made of today. That it was made
again of today's inputs with the same digest is enough: a wave of changes stops there (early cut-off).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from tetrad.kernel import short
from tetrad.registry import Invalidation

State = Literal["FRESH", "UNVALIDATED", "EXPIRED", "STALE", "BROKEN"]
What = Literal["newer", "pending", "revoked", "erased", "broken", "unproven", "failed", "expired", "suite", "policy"]
STATES: tuple[State, ...] = ("FRESH", "UNVALIDATED", "EXPIRED", "STALE", "BROKEN")
"""From good to bad: an artifact's state is the worst of its causes."""
REMADE: tuple[Invalidation, ...] = ("rebuild", "reevaluate")
MAX_ROOTS = 50
PASSED = "PASSED"


class Input(msgspec.Struct, frozen=True):
    """Something that an artifact was made of, under the name by which it is followed.

    `id` is that of its node. `newest` is the node that the name means today; None where nothing newer can take its
    place. `own` is an earlier version of the artifact itself; `exact` one that was asked for by its number, so that it
    matters only whether it was revoked or erased.
    """

    id: str
    policy: Invalidation
    role: str = ""
    kind: str = ""
    name: str = ""
    version: str = ""
    newest: str | None = None
    newest_version: str = ""
    own: bool = False
    exact: bool = False
    digest: str = ""
    newest_digest: str = ""

    @property
    def moved(self) -> bool:
        """Tell whether the name means something else by now."""
        return self.newest is not None and self.newest != self.id

    @property
    def head(self) -> str:
        """What would be used today."""
        return self.newest or self.id

    def lags(self, unsettled: Collection[str]) -> bool:
        """Tell whether it has moved, or will, as it is to be made again itself."""
        return self.moved or (not self.exact and self.head in unsettled)

    @property
    def remakes(self) -> bool:
        """Tell whether a change of it asks for another artifact, not only for another look at this one."""
        return self.policy in REMADE


class Way(msgspec.Struct, frozen=True):
    """One way in which an artifact was made: an activity and what went in."""

    kind: str
    inputs: tuple[Input, ...] = ()
    activity: str = ""


class Node(msgspec.Struct, frozen=True):
    """An artifact under one of its names. `ways` are in the order of time; `successor` takes its place already.

    Its `id` says which name is meant: a filter that takes nothing away makes the same digest under another name.
    """

    id: str
    digest: str
    kind: str
    name: str = ""
    version: str = ""
    ways: tuple[Way, ...] = ()
    revoked: str = ""
    erased: bool = False
    successor: str | None = None

    @property
    def label(self) -> str:
        """How people call it."""
        if self.kind == "release" or not self.name:
            return f"{self.kind} {self.name} {short(self.digest)}".replace("  ", " ")
        return f"{self.kind} {self.name} {self.version}".rstrip()


class Result(msgspec.Struct, frozen=True):
    """A signed test result that counts, the signature checked. `newest_suite` is what the suite's name means today."""

    subjects: frozenset[str]
    suite: str
    result: str
    at: datetime
    suite_digest: str = ""
    expires_at: datetime | None = None
    newest_suite: str = ""
    newest_suite_version: str = ""


class Pair(msgspec.Struct, frozen=True):
    """A prompt and the model that it is used with, by node; `digests` are theirs, `holders` releases that pin both."""

    prompt: str
    model: str
    digests: frozenset[str] = frozenset()
    prompt_label: str = ""
    model_label: str = ""
    holders: frozenset[str] = frozenset()


class Asked(msgspec.Struct, frozen=True):
    """A suite that a gate asks for."""

    suite: str
    max_age: timedelta | None = None


class Passed(msgspec.Struct, frozen=True):
    """A verdict of a gate: the policy that let a release pass, and until when that holds."""

    policy: str
    until: datetime | None
    at: datetime


class Governed(msgspec.Struct, frozen=True):
    """A gate that governs a ref: its policy, what that asks for, and its verdicts about an artifact by time."""

    ref: str
    policy: str
    asked: tuple[Asked, ...] = ()
    verdicts: tuple[Passed, ...] = ()


class Need(msgspec.Struct, frozen=True):
    """What must be proven of an artifact, and what is there to prove it; `required` asks for a result of any suite."""

    results: tuple[Result, ...] = ()
    pairs: tuple[Pair, ...] = ()
    gates: tuple[Governed, ...] = ()
    required: bool = True


class Graph(msgspec.Struct, frozen=True):
    """Artifacts by id, and what must be proven of some of them."""

    nodes: Mapping[str, Node]
    needs: Mapping[str, Need] = {}


class Cause(msgspec.Struct, frozen=True):
    """One reason for a state, in a sentence. `about` is the node that is meant, `newest` the one that it is today.

    `ref` is set where it holds for that ref alone, as its gate asks for it.
    """

    state: State
    what: What
    said: str
    about: str = ""
    kind: str = ""
    name: str = ""
    version: str = ""
    newest: str = ""
    newest_version: str = ""
    role: str = ""
    policy: Invalidation = "none"
    ref: str = ""
    digest: str = ""
    newest_digest: str = ""


class Standing(msgspec.Struct, frozen=True):
    """How an artifact stands, with its direct causes, the worst first. `remake` says that it must be made again."""

    id: str
    state: State
    causes: tuple[Cause, ...] = ()
    remake: bool = False


FRESH: State = "FRESH"


def decide(graph: Graph, now: datetime) -> dict[str, Standing]:
    """Say of every artifact of a graph how it stands.

    A way of making is good when none of its inputs is broken, has moved, or is to be made again itself; an artifact
    with no good way is STALE, or BROKEN where all its ways hold something revoked or erased. `revalidate` inputs that
    moved leave the artifact as it is, UNVALIDATED; `none` says nothing. Linear in nodes and edges, and cycles of names
    (a of b, the next b of a) are no trouble: the least fixed point is taken.
    """
    broken = _least(
        graph, lambda node: bool(node.revoked) or node.erased, lambda _: False, lambda each: each.id, _proving
    )  # fmt: skip
    unsettled = _least(
        graph,
        lambda _: False,
        lambda each: each.id in broken or each.moved,
        lambda each: "" if each.exact else each.head,
    )
    return {name: _standing(graph, node, broken, unsettled, now) for name, node in graph.nodes.items()}


def _least(
    graph: Graph,
    itself: Callable[[Node], bool],
    seeds: Callable[[Input], bool],
    through: Callable[[Input], str],
    counted: Callable[[Node], Sequence[Way]] = lambda node: node.ways,
) -> set[str]:
    """Return the least set of artifacts that are in it themselves, or whose every way has a bad input.

    An input is bad where `seeds` says so, or where what it leads to by `through` (empty: nothing) is in the set. Of an
    artifact's ways those that are `counted` matter.
    """
    found: set[str] = set()
    good: dict[str, int] = {}
    waiting: dict[str, list[tuple[str, int]]] = defaultdict(list)
    bad: set[tuple[str, int]] = set()
    todo: list[str] = []

    def spoil(name: str, number: int) -> None:
        if (name, number) in bad:
            return
        bad.add((name, number))
        good[name] -= 1
        if not good[name] and name not in found:
            found.add(name)
            todo.append(name)

    for name, node in graph.nodes.items():
        good[name] = len(counted(node))
        if itself(node):
            found.add(name)
            todo.append(name)
        for number, way in enumerate(counted(node)):
            for each in way.inputs:
                if each.remakes:
                    waiting[through(each)].append((name, number))
    for name, node in graph.nodes.items():
        for number, way in enumerate(counted(node)):
            if any(each.remakes and seeds(each) for each in way.inputs):
                spoil(name, number)
    while todo:
        for name, number in waiting[todo.pop()]:
            spoil(name, number)
    return found


def _standing(graph: Graph, node: Node, broken: set[str], unsettled: set[str], now: datetime) -> Standing:
    causes: list[Cause] = []
    if node.revoked:
        causes.append(Cause("BROKEN", "revoked", f"{node.label} was revoked: {node.revoked}", node.id, node.kind))
    if node.erased:
        causes.append(Cause("BROKEN", "erased", f"{node.label} was erased", node.id, node.kind))
    way = best_way(node, broken, unsettled)
    if way is not None:
        causes += _causes(graph, node, way, broken, unsettled)
    need = graph.needs.get(node.id)
    if need is not None:
        causes += unproven(node, need, now)
    causes.sort(key=lambda cause: -STATES.index(cause.state))
    state = causes[0].state if causes else FRESH
    return Standing(node.id, state, tuple(causes), node.id in unsettled)


def best_way(node: Node, broken: set[str], unsettled: set[str]) -> Way | None:
    """Return the way that says least against an artifact; of several the newest."""

    def badness(way: Way) -> int:
        found = [_bad(each, broken, unsettled) for each in way.inputs if each.remakes]
        return max(found, default=0)

    ways = _proving(node) if node.id in broken else node.ways
    return min(reversed(ways), key=badness, default=None)


def _proving(node: Node) -> Sequence[Way]:
    """Return the ways that can prove an artifact sound: not those in which its own bytes went in, if there are others.

    A filter that takes nothing away makes the same digest under another name, which proves nothing of where it is from.
    """
    return [
        way for way in node.ways if not any(each.remakes and each.digest == node.digest for each in way.inputs)
    ] or node.ways


def _bad(each: Input, broken: set[str], unsettled: set[str]) -> int:
    if each.id in broken:
        return 2
    return 1 if each.lags(unsettled) else 0


def _causes(graph: Graph, node: Node, way: Way, broken: set[str], unsettled: set[str]) -> list[Cause]:
    found: list[Cause] = []
    for each in way.inputs:
        if each.policy == "none":
            continue
        there = graph.nodes.get(each.id)
        label = f"{each.kind} {each.name} {each.version}".strip() or (there.label if there else each.id)
        state: State = "STALE" if each.remakes else "UNVALIDATED"
        if each.id in broken:
            what: What = "broken"
            why = "holds something that was revoked or erased"
            if there is not None and (there.revoked or there.erased):
                what = "revoked" if there.revoked else "erased"
                why = f"was revoked: {there.revoked}" if there.revoked else "was erased"
            said = f"{label}, of which {node.label} was made, {why}"
            found.append(_cause(each, "BROKEN" if each.remakes else state, what, said))
        if each.moved:
            found.append(_cause(each, state, "newer", _newer(node, each)))
        elif each.lags(unsettled):
            found.append(_cause(each, state, "pending", f"{label} is out of date itself"))
    return found


def _newer(node: Node, each: Input) -> str:
    if each.kind == "code":
        return f"code {each.newest_version} is newer than {each.version} of {node.label}"
    newest, older = each.newest_version or "another", each.version or "the one"
    done = "that {label} pins" if node.kind in ("release", "prompt") else "that {label} was made of"
    done = done.format(label=node.label)
    return f"{each.kind} {each.name} {newest} is newer than {older} {done}".replace("  ", " ")


def _cause(each: Input, state: State, what: What, said: str) -> Cause:
    return Cause(
        state, what, said, each.id, each.kind, each.name, each.version, each.newest or "", each.newest_version,
        each.role, each.policy, "", each.digest, each.newest_digest,
    )  # fmt: skip


# -- evidence -------------------------------------------------------------------------------------------------------


def unproven(node: Node, need: Need, now: datetime) -> list[Cause]:
    """Say what of the evidence that an artifact needs is missing, has failed, has expired, or is of another suite."""
    found: list[Cause] = []
    newest = _by_suite(each for each in need.results if node.digest in each.subjects)
    if not newest and need.required:
        found.append(Cause("UNVALIDATED", "unproven", f"no signed test result of {node.label} is there"))
    for suite, result in sorted(newest.items()):
        cause = _result(suite, result, now)
        if cause is not None:
            found.append(cause)
    for pair in need.pairs:
        cause = _pair(pair, need.results, now)
        if cause is not None:
            found.append(cause)
    for gate in need.gates:
        found += _gate(node, gate, newest, now)
    return found


def _by_suite(results: Iterable[Result]) -> dict[str, Result]:
    return {each.suite: each for each in sorted(results, key=lambda each: each.at)}


def _result(suite: str, result: Result, now: datetime) -> Cause | None:
    if result.expires_at is not None and now >= result.expires_at:
        said = f"the result of the suite {suite} expired on {result.expires_at:%Y-%m-%d %H:%M} UTC"
        return Cause("EXPIRED", "expired", said, name=suite)
    if result.result != PASSED:
        return Cause("UNVALIDATED", "failed", f"the newest result of the suite {suite} is {result.result}", name=suite)
    if result.suite_digest and result.newest_suite and result.newest_suite != result.suite_digest:
        said = f"suite {suite} {result.newest_suite_version} is newer than the one that was run"
        return Cause(
            "STALE", "suite", said, result.suite_digest, "suite", suite, "", result.newest_suite,
            result.newest_suite_version, policy="reevaluate",
        )  # fmt: skip
    return None


def _pair(pair: Pair, results: Sequence[Result], now: datetime) -> Cause | None:
    about = [
        each
        for each in results
        if each.subjects & pair.holders or (bool(pair.digests) and pair.digests <= each.subjects)
    ]
    who = f"{pair.prompt_label or pair.prompt} with {pair.model_label or pair.model}"
    if not about:
        return Cause(
            "UNVALIDATED", "unproven", f"no signed test result says how {who} does", pair.prompt, "prompt",
            newest=pair.model, policy="revalidate",
        )  # fmt: skip
    passed = [each for each in about if each.result == PASSED]
    if any(each.expires_at is None or now < each.expires_at for each in passed):
        return None
    state: State = "EXPIRED" if passed else "UNVALIDATED"
    what: What = "expired" if passed else "failed"
    why = "has expired" if passed else "was passed by no suite"
    said = f"the validation of {who} {why}" if passed else f"{who} {why}"
    return Cause(state, what, said, pair.prompt, "prompt", newest=pair.model, policy="revalidate")


def unproven_pairs(node: Node, need: Need, standings: Mapping[str, Standing]) -> list[tuple[Pair, str]]:
    """Return the pairs of a release that are to be validated, and why: not proven, or not what they will be."""
    causes = standings[node.id].causes
    moving = {each.about: each.said for each in causes if each.what in ("newer", "pending", "broken")}
    unproven_of = {(each.about, each.newest): each.said for each in causes if each.policy == "revalidate"}
    found = []
    for pair in need.pairs:
        said = moving.get(pair.model) or moving.get(pair.prompt) or unproven_of.get((pair.prompt, pair.model))
        if said is not None:
            found.append((pair, said))
    return found


def _gate(node: Node, gate: Governed, results: Mapping[str, Result], now: datetime) -> list[Cause]:
    found: list[Cause] = []
    for asked in gate.asked:
        result = results.get(asked.suite)
        if result is None:
            said = f"the gate of {gate.ref} asks for the suite {asked.suite}, and {node.label} has no result of it"
            found.append(Cause("UNVALIDATED", "unproven", said, name=asked.suite, ref=gate.ref))
        elif asked.max_age is not None and now - result.at > asked.max_age:
            said = f"the result of the suite {asked.suite} is older than the gate of {gate.ref} allows"
            found.append(Cause("EXPIRED", "expired", said, name=asked.suite, ref=gate.ref))
    same = [each for each in gate.verdicts if each.policy == gate.policy]
    if any(each.until is None or now < each.until for each in same):
        return found
    if same:
        said = f"the verdict of the gate of {gate.ref} on {node.label} has expired"
        found.append(Cause("EXPIRED", "expired", said, ref=gate.ref))
    elif gate.verdicts:
        said = f"the gate of {gate.ref} has another policy than the one that let {node.label} pass"
        found.append(Cause("STALE", "policy", said, newest=gate.policy, policy="reevaluate", ref=gate.ref))
    else:
        said = f"{node.label} has not passed the gate of {gate.ref}"
        found.append(Cause("UNVALIDATED", "unproven", said, ref=gate.ref))
    return found


def seen_from(standing: Standing, ref: str) -> Standing:
    """Return how an artifact stands for one ref: what the gates of other refs ask for is left out."""
    causes = tuple(cause for cause in standing.causes if cause.ref in ("", ref))
    return Standing(standing.id, causes[0].state if causes else FRESH, causes, standing.remake)


# -- where it began -------------------------------------------------------------------------------------------------


def root_causes(graph: Graph, standings: Mapping[str, Standing], name: str) -> tuple[Cause, ...]:
    """Return where the causes of an artifact's state began: what is newer, revoked, or unproven, not what follows.

    Each once (what moved, whoever used it), nearest first, at most `MAX_ROOTS`. Walks each artifact once.
    """
    found: dict[str, Cause] = {}
    seen, frontier = {name}, [name]
    while frontier and len(found) < MAX_ROOTS:
        following: list[str] = []
        for each in frontier:
            standing = standings.get(each)
            for cause in standing.causes if standing else ():
                leads_to = cause.newest or cause.about
                if cause.what not in ("pending", "broken"):
                    same = (cause.what, cause.about, cause.newest) if cause.about else (cause.said,)
                    found.setdefault(" ".join(same), cause)
                targets = {cause.about} if cause.what == "broken" else set()
                if cause.what in ("newer", "pending"):
                    targets.add(leads_to)
                following += [target for target in sorted(targets) if target not in seen and target in graph.nodes]
                seen |= targets
        frontier = following
    return tuple(list(found.values())[:MAX_ROOTS])
