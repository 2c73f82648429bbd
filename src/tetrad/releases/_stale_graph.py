"""Load what is needed to say what is out of date: lineage, names, revocations and evidence, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from tetrad.kernel import InvalidInput, short
from tetrad.prompts import first_allowed, parse_reference
from tetrad.registry import (
    GATE,
    TEST_RESULT,
    VERDICT,
    Activity,
    Artifact,
    Counted,
    Evidence,
    Invalidation,
    Registry,
    Summary,
    TestResult,
    Version,
    glob_matches,
    read_policy,
    read_predicate,
)
from tetrad.releases._staleness import REMADE, Asked, Governed, Graph, Input, Need, Node, Pair, Passed, Result, Way
from tetrad.releases.errors import StalenessTooLarge

RELEASE, CODE, PROMPT, DATASET, SUITE = "release", "code", "prompt", "dataset", "suite"
KINDS: Mapping[str, str] = {"data": DATASET, "model": "model", "prompt": PROMPT}
SECTIONS: Mapping[str, str] = {kind: section for section, kind in KINDS.items()}
MAX_VERSIONS = 2_000
MAX_HOLDERS = 200
_PAGE = 200


class Slot(msgspec.Struct, frozen=True):
    """A digest under one name. `order` tells apart versions of a dataset that hold the same rows."""

    kind: str
    name: str
    digest: str
    version: str = ""
    order: str = ""

    @property
    def id(self) -> str:
        """Its name in the graph."""
        return " ".join(filter(None, (self.kind, self.name, self.digest, self.order)))


class _Pin(msgspec.Struct, frozen=True):
    """What an artifact pins: a slot, and by which words it would be looked up today (None: not at all)."""

    slot: Slot
    policy: Invalidation
    role: str = ""
    constraint: str | None = ""
    own: bool = False


@dataclass
class Loaded:
    """A graph, where the roots stand in it, and how to make the successor of each release."""

    graph: Graph
    roots: list[str]
    slots: dict[str, Slot]


@dataclass
class _Load:
    """What one load has found so far."""

    project: str
    revoked: Mapping[str, str]
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    named: dict[str, list[Version]] = field(default_factory=dict)
    made: dict[str, list[Activity]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    newest: dict[tuple[str, str], Version | None] = field(default_factory=dict)
    ranged: dict[tuple[str, str], Slot | None] = field(default_factory=dict)
    code: dict[str, Slot | None] = field(default_factory=dict)
    composed: dict[str, Slot | None] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    spoilt: dict[str, list[str]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    slots: dict[str, Slot] = field(default_factory=dict)


class StaleGraphs:
    """Loads graphs of one project at a time. Queries are batched; at most `max_artifacts` are looked at."""

    def __init__(
        self,
        registry: Registry,
        evidence: Evidence | None,
        *,
        revoked: Callable[[str], Mapping[str, str]],
        planned: Callable[[str, Node], str | None],
        max_artifacts: int,
    ) -> None:
        self._registry = registry
        self._evidence = evidence
        self._revoked = revoked
        self._planned = planned
        self._max = max_artifacts

    def load(self, project: str, roots: Sequence[Slot], refs: Mapping[str, Sequence[str]]) -> Loaded:
        """Load everything that `roots` were made of, and what their names mean today, and so on.

        `refs` names the refs that point to a release, by its digest. Raises `StalenessTooLarge` past the limit.
        """
        load = _Load(project, self._revoked(project))
        self._expand(load, roots)
        heads = [load.newest.get((root.kind, root.name)) for root in roots]
        self._expand(load, [_slot(head) for head in heads if head is not None])
        self._succeed(load)
        needs = self._needs(load, refs)
        return Loaded(Graph(load.nodes, needs), [root.id for root in roots], load.slots)

    def level(self, project: str, slot: Slot) -> Node:
        """Return one artifact with its inputs as they are now, without what is behind them."""
        load = _Load(project, self._revoked(project))
        self._fetch(load, [slot], deep=False)
        return self._nodes(load, [slot], deep=False)[0][0]

    def newest(self, project: str, kind: str, name: str) -> Slot | None:
        """Return what a name means today: its newest version that was neither revoked nor erased, if there is one."""
        load = _Load(project, self._revoked(project))
        self._heads(load, {(kind, name)})
        version = load.newest[(kind, name)]
        return _slot(version) if version is not None else None

    def slot_of(self, project: str, digest: str) -> Slot:
        """Return an artifact under the name that it got last; raise `ArtifactNotFound`."""
        artifact = self._registry.artifact(project, digest)
        named = [each for each in self._registry.versions_of(project, digest) if each.kind == artifact.kind]
        if not named:
            return Slot(artifact.kind, "", artifact.digest)
        return _slot(max(named, key=lambda each: (each.created_at, each.name, each.seq)))

    # -- the graph ----------------------------------------------------------------------------------------------

    def _expand(self, load: _Load, slots: Sequence[Slot]) -> None:
        frontier = [slot for slot in dict.fromkeys(slots) if slot.id not in load.slots]
        while frontier:
            load.slots.update((slot.id, slot) for slot in frontier)
            if len(load.slots) > self._max:
                raise StalenessTooLarge(
                    f"more than {self._max} artifacts would have to be looked at",
                    hint="name one app or ref, or raise staleness_max_artifacts",
                )
            self._fetch(load, frontier)
            following: dict[Slot, None] = {}
            for node, reached in self._nodes(load, frontier):
                load.nodes[node.id] = node
                following.update(dict.fromkeys(reached))
            frontier = [slot for slot in following if slot.id not in load.slots]

    def _fetch(self, load: _Load, slots: Sequence[Slot], *, deep: bool = True) -> None:
        """Load rows for slots, and at once for all that they were made of: long chains cost few queries."""
        wanted = {slot.digest for slot in slots} - load.known
        if wanted:
            behind = self._registry.ancestors(load.project, wanted, limit=self._max + 1) if deep else []
            wanted |= set(behind) - load.known
            load.known |= wanted
            self._rows(load, wanted)
        described = [slot.digest for slot in slots if self._is_described(load, slot)]
        load.documents.update(
            self._registry.documents(load.project, [each for each in described if each not in load.documents])
        )

    def _rows(self, load: _Load, digests: set[str]) -> None:
        load.artifacts.update((each.digest, each) for each in self._registry.artifacts(load.project, digests))
        for version in self._registry.naming(load.project, digests):
            load.named.setdefault(version.digest, []).append(version)
        if load.revoked:
            for holder, part in self._registry.holding(load.project, load.revoked, limit=self._max):
                spoilt = load.spoilt.setdefault(holder, [])
                if part not in spoilt:
                    spoilt.append(part)
        for activity in self._registry.makers(load.project, digests):
            if activity.state != "done":
                continue
            for edge in activity.edges:
                if edge.direction == "out" and edge.digest in digests:
                    load.made.setdefault(edge.digest, []).append(activity)
                elif edge.direction == "in" and edge.digest not in load.named:
                    load.named.setdefault(edge.digest, [])
        unnamed = [
            edge.digest
            for digest in digests
            for activity in load.made.get(digest, ())
            for edge in activity.edges
            if edge.direction == "in" and edge.digest not in load.known and not load.named.get(edge.digest)
        ]
        for version in self._registry.naming(load.project, unnamed) if unnamed else ():
            load.named.setdefault(version.digest, []).append(version)

    @staticmethod
    def _is_described(load: _Load, slot: Slot) -> bool:
        """Tell whether an artifact's own document says by which words it pins what it is made of."""
        if slot.kind == RELEASE:
            return True
        return slot.kind == PROMPT and any(version.meta.get("closure") for version in load.named.get(slot.digest, ()))

    def _nodes(self, load: _Load, slots: Sequence[Slot], *, deep: bool = True) -> list[tuple[Node, list[Slot]]]:
        ways = {slot.id: self._ways(load, slot) for slot in slots}
        looked_up = {
            (pin.slot.kind, pin.slot.name)
            for found in ways.values()
            for _, _, pins in found
            for pin in pins
            if pin.slot.name and pin.slot.kind not in (CODE, RELEASE)
        }
        looked_up |= {(slot.kind, slot.name) for slot in slots if slot.name and slot.kind not in (CODE, RELEASE)}
        self._heads(load, looked_up)
        made = []
        for slot in slots:
            reached: list[Slot] = []
            done = []
            for kind, activity, pins in ways[slot.id]:
                inputs = [self._input(load, pin) for pin in pins]
                for pin, (_, head) in zip(pins, inputs, strict=True):
                    reached += [pin.slot, *([head] if head is not None and head != pin.slot else [])]
                done.append(Way(kind, tuple(each for each, _ in inputs), activity))
            made.append((self._node(load, slot, tuple(done)), reached if deep else []))
        return made

    def _node(self, load: _Load, slot: Slot, ways: tuple[Way, ...]) -> Node:
        artifact = load.artifacts.get(slot.digest)
        head = load.newest.get((slot.kind, slot.name))
        successor = _slot(head).id if head is not None else None
        return Node(
            slot.id, slot.digest, artifact.kind if artifact and not slot.kind else slot.kind, slot.name, slot.version,
            ways, load.revoked.get(slot.digest, ""), artifact is not None and artifact.erased_at is not None,
            successor if successor != slot.id else None,
        )  # fmt: skip

    def _ways(self, load: _Load, slot: Slot) -> list[tuple[str, str, list[_Pin]]]:
        """Return how an artifact was made: (kind, activity, what it pins)."""
        spoilt = [_Pin(Slot("part", "", part), "rebuild", "part", None) for part in load.spoilt.get(slot.digest, ())]
        document = load.documents.get(slot.digest)
        if slot.kind == RELEASE and document is not None:
            return [("derive", "", _with(self._manifest_pins(load, document), spoilt))]
        if document is not None and self._is_described(load, slot):
            return [("compose", "", _with(_prompt_pins(load, document), spoilt))]
        made = [each for each in load.made.get(slot.digest, ()) if _is_of(each, slot)]
        found = [(each.kind, each.id, [*self._edge_pins(load, slot, each), *spoilt]) for each in made]
        # That bytes came in from outside says nothing of what they were made of, where something else does.
        found = [way for way in found if any(pin.policy in REMADE for pin in way[2])] or found
        return found or ([("", "", spoilt)] if spoilt else [])

    def _edge_pins(self, load: _Load, slot: Slot, activity: Activity) -> list[_Pin]:
        found = []
        whence = activity.params.get("from")
        for edge in activity.edges:
            if edge.direction != "in" or edge.policy == "none":
                continue
            told = whence if isinstance(whence, dict) and whence.get("digest") == edge.digest else {}
            pinned = self._named_slot(load, edge.digest, str(told.get("name", "")), str(told.get("order", "")))
            own = bool(slot.name) and (pinned.kind, pinned.name) == (slot.kind, slot.name)
            found.append(_Pin(pinned, edge.policy, edge.role, None if own else "", own))
        return found

    def _named_slot(self, load: _Load, digest: str, name: str = "", order: str = "", kind: str = "") -> Slot:
        """Return a digest under the name that is told, else under the one that it got last."""
        named = load.named.get(digest, [])
        for wanted in (
            lambda each: each.name == name and (not order or each.meta.get("order") == order),
            lambda each: each.name == name,
            lambda _: not name,
        ):
            found = [each for each in named if wanted(each) and (not kind or each.kind == kind)]
            if found:
                return _slot(max(found, key=lambda each: (each.created_at, each.name, each.seq)))
        artifact = load.artifacts.get(digest)
        return Slot(kind or (artifact.kind if artifact else "artifact"), name, digest, "", order)

    def _manifest_pins(self, load: _Load, manifest: Mapping[str, Any]) -> list[_Pin]:
        code, app = manifest["code"], str(manifest["app"])
        parts = [part for section in KINDS for part in manifest[section]]
        adapters = [(str(part["role"]), each) for part in manifest["model"] for each in part.get("adapters", ())]
        told = [str(each["digest"]) for each in [*parts, *(each for _, each in adapters)]]
        missing = [digest for digest in told if digest not in load.named]
        for version in self._registry.naming(load.project, missing) if missing else ():
            load.named.setdefault(version.digest, []).append(version)
        pins = [_Pin(Slot(CODE, app, str(code["digest"]), short(str(code.get("tree", "")))), "reevaluate", CODE)]
        for section, kind in KINDS.items():
            for part in manifest[section]:
                pinned = self._named_slot(
                    load, str(part["digest"]), str(part["name"]), str(part.get("order", "")), kind
                )
                pins.append(_Pin(pinned, "reevaluate", str(part["role"])))
        for role, each in adapters:
            # By its digest: which adapter is meant is a choice of its own, so that a newer one replaces none.
            pins.append(_Pin(self._named_slot(load, str(each["digest"])), "reevaluate", f"adapter:{role}", None))
        for section, values in manifest.get("config", {}).items():
            for value in values:
                digest = value.get("digest") if isinstance(value, dict) else value
                if isinstance(digest, str) and digest.startswith("sha256:"):
                    pins.append(_Pin(self._named_slot(load, digest), "reevaluate", section))
        return pins

    def _input(self, load: _Load, pin: _Pin) -> tuple[Input, Slot | None]:
        head = self._head(load, pin)
        return Input(
            pin.slot.id, pin.policy, pin.role, pin.slot.kind, pin.slot.name, pin.slot.version,
            head.id if head is not None else None, head.version if head is not None else "",
            pin.own, pin.constraint is None and not pin.own, pin.slot.digest, head.digest if head is not None else "",
        ), head  # fmt: skip

    def _head(self, load: _Load, pin: _Pin) -> Slot | None:
        kind, name = pin.slot.kind, pin.slot.name
        if pin.constraint is None or not name:
            return None
        if kind == CODE:
            return self._newest_code(load, name) or pin.slot
        if pin.constraint:
            return self._in_range(load, pin)
        version = load.newest.get((kind, name))
        return _slot(version) if version is not None else None

    # -- what names mean today ----------------------------------------------------------------------------------

    def _heads(self, load: _Load, names: Iterable[tuple[str, str]]) -> None:
        by_kind: dict[str, list[str]] = {}
        for kind, name in set(names) - load.newest.keys():
            load.newest[(kind, name)] = None
            by_kind.setdefault(kind, []).append(name)
        for kind, wanted in sorted(by_kind.items()):
            found = self._registry.newest(load.project, kind, wanted)
            erased = {
                each.digest
                for each in self._registry.artifacts(load.project, [version.digest for version in found])
                if each.erased_at is not None
            }
            for version in found:
                gone = version.digest in load.revoked or version.digest in erased
                load.newest[(kind, version.name)] = self._newest_sound(load, version) if gone else version

    def _newest_sound(self, load: _Load, newest: Version) -> Version:
        """Return the newest version that was neither revoked nor erased, or the newest where all were."""
        before: int | None = None
        for _ in range(MAX_VERSIONS // _PAGE):
            page = self._registry.versions(load.project, newest.kind, newest.name, limit=_PAGE, before=before)
            there = {
                each.digest: each for each in self._registry.artifacts(load.project, [each.digest for each in page])
            }
            for version in page:
                artifact = there.get(version.digest)
                if version.digest not in load.revoked and artifact is not None and artifact.erased_at is None:
                    return version
            if len(page) < _PAGE:
                break
            before = page[-1].seq
        return newest

    def _in_range(self, load: _Load, pin: _Pin) -> Slot | None:
        reference = parse_reference(f"{pin.slot.name}@{pin.constraint}")
        key = (pin.slot.kind, str(reference))
        if key not in load.ranged:
            before: int | None = None
            every: list[Version] = []
            for _ in range(MAX_VERSIONS // _PAGE):
                page = self._registry.versions(load.project, pin.slot.kind, pin.slot.name, limit=_PAGE, before=before)
                every += [version for version in page if version.digest not in load.revoked]
                if len(page) < _PAGE:
                    break
                before = page[-1].seq
            found = first_allowed(reference, [(each.semver, each) for each in every])
            load.ranged[key] = _slot(found) if found is not None else None
        return load.ranged[key]

    def _newest_code(self, load: _Load, app: str) -> Slot | None:
        """Return the code of the app's newest release that was composed: only composing takes code in."""
        if app not in load.code:
            composed = self._newest_composed(load, app)
            load.composed[app] = composed
            load.code[app] = None
            if composed is not None:
                manifest = self._registry.documents(load.project, [composed.digest]).get(composed.digest)
                if manifest is not None:
                    load.documents[composed.digest] = manifest
                    code = manifest["code"]
                    load.code[app] = Slot(CODE, app, str(code["digest"]), short(str(code.get("tree", ""))))
        return load.code[app]

    def _newest_composed(self, load: _Load, app: str) -> Slot | None:
        before: int | None = None
        for _ in range(MAX_VERSIONS // _PAGE):
            page = self._registry.versions(load.project, RELEASE, app, limit=_PAGE, before=before)
            composed = {
                edge.digest
                for activity in self._registry.makers(load.project, [version.digest for version in page])
                if activity.kind == "compose"
                for edge in activity.edges
                if edge.direction == "out"
            }
            for version in page:
                if version.digest in composed and version.digest not in load.revoked:
                    return _slot(version)
            if len(page) < _PAGE:
                break
            before = page[-1].seq
        return None

    # -- releases -----------------------------------------------------------------------------------------------

    def _succeed(self, load: _Load) -> None:
        """Find what takes the place of releases already: the one with newer code, or with the newest of each part."""
        looked: set[str] = set()
        while todo := [node for node in load.nodes.values() if node.kind == RELEASE and node.id not in looked]:
            for node in todo:
                looked.add(node.id)
                successor = self._successor(load, node)
                if successor is None or successor.digest == node.digest:
                    continue
                self._expand(load, [successor])
                load.nodes[node.id] = msgspec.structs.replace(node, successor=successor.id)

    def _successor(self, load: _Load, node: Node) -> Slot | None:
        moved = [each for way in node.ways for each in way.inputs if each.moved]
        if any(each.kind == CODE for each in moved):
            return load.composed.get(node.name)
        if not moved:
            return None
        digest = self._planned(load.project, node)
        if digest is None or digest == node.digest:
            return None
        named = [each for each in self._registry.versions_of(load.project, digest) if each.kind == RELEASE]
        return next((_slot(each) for each in named if each.name == node.name), None)

    # -- evidence -----------------------------------------------------------------------------------------------

    def _needs(self, load: _Load, refs: Mapping[str, Sequence[str]]) -> dict[str, Need]:
        if self._evidence is None:
            return {}
        found = [node for node in load.nodes.values() if node.kind == RELEASE]
        if not found:
            return {}
        pairs = {node.id: self._pairs(load, node) for node in found}
        about = {node.digest for node in found}
        for each in pairs.values():
            for pair in each:
                about |= pair.holders | pair.digests
        counted, _ = self._evidence.counted(load.project, about)
        results = self._results(load, counted)
        return {
            node.id: Need(
                tuple(each for each in results if _is_about(each, node, pairs[node.id])),
                pairs[node.id],
                tuple(self._gates(load, node, refs.get(node.digest, ()), counted)),
            )
            for node in found
        }

    def _pairs(self, load: _Load, node: Node) -> tuple[Pair, ...]:
        manifest = load.documents.get(node.digest)
        if manifest is None:
            return ()
        inputs = {(each.kind, each.name): each for way in node.ways for each in way.inputs}
        found: dict[tuple[str, str], Pair] = {}
        for step in manifest["graph"]:
            prompt, model = inputs.get((PROMPT, step.get("prompt", ""))), inputs.get(("model", step.get("model", "")))
            if prompt is None or model is None or (prompt.id, model.id) in found:
                continue
            digests = [load.slots[prompt.id].digest, load.slots[model.id].digest]
            holders = self._registry.holders(load.project, digests, limit=MAX_HOLDERS)
            found[(prompt.id, model.id)] = Pair(
                prompt.id, model.id, frozenset(digests), f"prompt {prompt.name} {prompt.version}".rstrip(),
                f"model {model.name} {model.version}".rstrip(), frozenset({*holders, node.digest}),
            )  # fmt: skip
        return tuple(found.values())

    def _results(self, load: _Load, counted: Sequence[Counted]) -> list[Result]:
        read = [(each, read_predicate(each.type, each.predicate)) for each in counted if each.type == TEST_RESULT]
        names = {found.suite.name for _, found in read if isinstance(found, TestResult) and found.suite.digest}
        newest = {each.name: each for each in self._registry.newest(load.project, SUITE, names)} if names else {}
        results = []
        for each, found in read:
            if not isinstance(found, TestResult):
                continue
            suite = newest.get(found.suite.name)
            results.append(
                Result(
                    each.subjects, found.suite.name, found.result, found.fresh_from(each.received_at),
                    found.suite.digest, each.expires_at, suite.digest if suite else "", suite.semver if suite else "",
                )
            )  # fmt: skip
        return results

    def _gates(self, load: _Load, node: Node, refs: Sequence[str], counted: Sequence[Counted]) -> Iterable[Governed]:
        rules = self._registry.rules(load.project) if refs else []
        verdicts = [(each, read_predicate(VERDICT, each.predicate)) for each in counted if each.type == VERDICT]
        for ref in refs:
            for rule in rules:
                if rule.gate != GATE or rule.policy is None or not glob_matches(rule.pattern, ref):
                    continue
                document = self._registry.documents(load.project, [rule.policy]).get(rule.policy)
                try:
                    policy = read_policy(document)
                except InvalidInput:  # the gate refuses every move by it, and says so; nothing can be asked by it here
                    continue
                asked = tuple(
                    Asked(each.suite, timedelta(days=each.max_age_days) if each.max_age_days else None)
                    for each in policy.suites
                )
                passed = tuple(
                    Passed(said.policy_digest, each.expires_at, each.received_at)
                    for each, said in verdicts
                    if isinstance(said, Summary)
                    and node.digest in each.subjects
                    and said.verificationResult == "PASSED"
                    and said.tetrad.ref == ref
                )
                yield Governed(ref, rule.policy, asked, passed)


def _is_about(result: Result, node: Node, pairs: Iterable[Pair]) -> bool:
    if node.digest in result.subjects:
        return True
    return any(result.subjects & pair.holders or pair.digests <= result.subjects for pair in pairs)


def _is_of(activity: Activity, slot: Slot) -> bool:
    """Tell whether an activity made the artifact under this name: datasets with equal rows share a digest."""
    name, order = activity.params.get("name"), activity.params.get("order")
    if slot.kind != DATASET or not slot.name or name is None:
        return True
    return name == slot.name and (not slot.order or order is None or order == slot.order)


def _with(pins: Sequence[_Pin], more: Sequence[_Pin]) -> list[_Pin]:
    """Return pins, and of the others those of what is not pinned yet."""
    held = {pin.slot.digest for pin in pins}
    return [*pins, *(pin for pin in more if pin.slot.digest not in held)]


def _slot(version: Version) -> Slot:
    return Slot(version.kind, version.name, version.digest, version.semver, str(version.meta.get("order", "")))


def _prompt_pins(load: _Load, document: Mapping[str, Any]) -> list[_Pin]:
    """Return what a prompt or chain pins. What is pinned by machine is pinned anew by machine: a `rebuild`."""
    told = [(str(each["ref"]), str(each["digest"]), "include") for each in document.get("includes", ())]
    told += [
        (str(each["prompt"]), str(each["digest"]), "step") for each in document.get("steps", ()) if each.get("digest")
    ]
    found: dict[str, _Pin] = {}
    for text, digest, role in told:
        reference = parse_reference(text)
        named = [each for each in load.named.get(digest, ()) if (each.kind, each.name) == (PROMPT, reference.name)]
        slot = _slot(named[-1]) if named else Slot(PROMPT, reference.name, digest)
        found.setdefault(
            f"{slot.id} {text}", _Pin(slot, "rebuild", role, None if reference.is_exact else reference.constraint)
        )
    return list(found.values())
