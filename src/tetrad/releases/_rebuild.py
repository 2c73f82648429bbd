"""Say what is out of date and why, and carry out what mends it: a thin shell around pure decisions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from tetrad.kernel import Clock, Principal, TetradError, canonical_json
from tetrad.registry import Evidence, Registry, Version
from tetrad.releases._rebuilders import patches_of
from tetrad.releases._stale_graph import RELEASE, Loaded, Slot, StaleGraphs
from tetrad.releases._stale_plan import Step, latest, plan
from tetrad.releases._staleness import Cause, Node, Standing, State, decide, root_causes, seen_from
from tetrad.releases.ports import Current, Rebuilder, RebuildOrder

if TYPE_CHECKING:
    from tetrad.releases._service import Releases

MAX_ROOTS = 2_000
MAX_SHOWN_CAUSES = 50
NEEDS_NEWER = "make a version without it first"
_PAGE = 200

Outcome = Literal["made", "same", "failed", "waiting", "no-executor", "left"]


@dataclass(frozen=True, slots=True)
class StalenessLimits:
    """How much is looked at, and for how long one call goes on beginning steps."""

    max_artifacts: int = 50_000
    run_s: float = 30.0


class Stale(msgspec.Struct, frozen=True):
    """How a ref's release, or an artifact, stands. `roots` are where its causes began, across all that lies between.

    `causes` are the first of `all_causes`. `successor` is the release that holds today's parts already: what is left is
    to move the ref there, which is for people and gates to do.
    """

    digest: str
    label: str
    state: State
    causes: tuple[Cause, ...]
    all_causes: int
    roots: tuple[Cause, ...]
    ref: str = ""
    successor: str = ""


class Staleness(msgspec.Struct, frozen=True):
    """What was looked at, how it stands, and the steps that would mend it, in order."""

    items: tuple[Stale, ...]
    steps: tuple[Step, ...]
    artifacts: int

    @property
    def fresh(self) -> bool:
        """Tell whether nothing is out of date."""
        return all(item.state == "FRESH" for item in self.items)


class StepDone(msgspec.Struct, frozen=True):
    """What became of a step. `same` made nothing new; `left` was not begun in this call and waits for the next."""

    step: Step
    outcome: Outcome
    digest: str = ""
    version: str = ""
    problem: str = ""
    hint: str = ""


class StalenessRun(msgspec.Struct, frozen=True):
    """What one call has done, step by step in their order."""

    done: tuple[StepDone, ...]

    @property
    def left(self) -> int:
        """How many steps could be done and were not begun."""
        return sum(each.outcome == "left" for each in self.done)


class Stalenesses:
    """What is out of date in a project, computed anew whenever it is asked. Safe to use from many threads.

    `rebuilders` are executors by the work that they do: `dataset.filter`, `prompt.compose`, `release.derive`. Work that
    nobody does is named in the plan, never faked. `revoked` returns a project's revoked digests with the reasons.
    """

    def __init__(
        self,
        releases: Releases,
        registry: Registry,
        clock: Clock,
        *,
        evidence: Evidence | None = None,
        revoked: Callable[[str], Mapping[str, str]] = lambda _: {},
        rebuilders: Mapping[str, Rebuilder] | None = None,
        limits: StalenessLimits | None = None,
    ) -> None:
        self._releases = releases
        self._registry = registry
        self._clock = clock
        self._revoked = revoked
        self._rebuilders = dict(rebuilders or {})
        self._limits = limits or StalenessLimits()
        self._graphs = StaleGraphs(
            registry, evidence, revoked=revoked, planned=self._planned, max_artifacts=self._limits.max_artifacts
        )

    @property
    def work(self) -> Collection[str]:
        """The work that somebody does."""
        return self._rebuilders.keys()

    # -- looking ------------------------------------------------------------------------------------------------

    def look(self, project: str, *, app: str = "", ref: str = "", digest: str = "") -> Staleness:
        """Say how refs stand: one of an app, all of an app, all of the project; or one artifact, by its digest.

        Raises `StalenessTooLarge` where too much would have to be looked at.
        """
        return self._look(project, app, ref, digest)[0]

    def _look(self, project: str, app: str, ref: str, digest: str) -> tuple[Staleness, Loaded]:
        roots = self._roots(project, app, ref, digest)
        by_digest: dict[str, list[str]] = {}
        for name, slot in roots:
            if name:
                by_digest.setdefault(slot.digest, []).append(name)
        loaded = self._graphs.load(project, [slot for _, slot in roots], by_digest)
        graph = loaded.graph
        standings = decide(graph, self._clock.now())
        items = []
        for name, slot in roots:
            standing = seen_from(standings[slot.id], name) if name else standings[slot.id]
            items.append(self._item(loaded, {**standings, slot.id: standing}, name, slot))
        steps = plan(graph, standings, list(dict.fromkeys(loaded.roots)), self._rebuilders.keys())
        return Staleness(tuple(items), steps, len(graph.nodes)), loaded

    def _item(self, loaded: Loaded, standings: Mapping[str, Standing], ref: str, slot: Slot) -> Stale:
        standing = standings[slot.id]
        after = latest(loaded.graph, slot.id)
        successor = ""
        if after != slot.id and not standings[after].remake:
            successor = loaded.graph.nodes[after].digest
        return Stale(
            slot.digest, loaded.graph.nodes[slot.id].label, standing.state, standing.causes[:MAX_SHOWN_CAUSES],
            len(standing.causes), root_causes(loaded.graph, standings, slot.id), ref, successor,
        )  # fmt: skip

    def _roots(self, project: str, app: str, ref: str, digest: str) -> list[tuple[str, Slot]]:
        if digest:
            return [("", self._graphs.slot_of(project, digest))]
        if app:
            found = [self._releases.ref(project, app, ref)] if ref else self._releases.refs(project, app)
        else:
            found = []
            after = ""
            while len(found) < MAX_ROOTS and (page := self._releases.apps(project, limit=_PAGE, after=after)):
                for each in page:
                    found += self._releases.refs(project, each.app.name)
                after = page[-1].app.name
        named = self._registry.naming(project, [each.digest for each in found])
        versions: dict[str, Version] = {each.digest: each for each in named if each.kind == RELEASE}
        return [
            (each.name, Slot(RELEASE, versions[each.digest].name, each.digest, versions[each.digest].semver))
            for each in found[:MAX_ROOTS]
            if each.digest in versions
        ]

    def _planned(self, project: str, node: Node) -> str | None:
        """Return the digest of the release with today's parts; None where it cannot be told, as a part is not there."""
        try:
            manifest = self._releases.release(project, node.digest).manifest
            return self._releases.derivations.plan(project, node.digest, patches_of(manifest, _inputs(node))).digest
        except TetradError:
            return None  # the plan still holds the step; whoever carries it out is told what is wrong

    # -- mending ------------------------------------------------------------------------------------------------

    def run(
        self, project: str, *, actor: Principal, app: str = "", ref: str = "", digest: str = "", reason: str = "",
        expected_outcome: str = "", skip: Collection[str] = (), seconds: float | None = None,
    ) -> StalenessRun:  # fmt: skip
        """Carry out every step that has an executor, in order; what waits for a step that failed or has none is left.

        After `seconds` (at most, and by default, the limit) no further step is begun: call again for the rest. A run
        that was killed is gone on with in the same way. `skip` holds ids of steps not to try. Refs stay where they are.
        """
        canonical_json([reason, expected_outcome])
        budget = self._limits.run_s if seconds is None else min(seconds, self._limits.run_s)
        until = self._clock.monotonic() + budget
        looked, loaded = self._look(project, app, ref, digest)
        done: list[StepDone] = []
        begun = 0
        for step in looked.steps:
            if not step.executor:
                done.append(StepDone(step, "no-executor", problem=step.lacks))
            elif step.waits_for or any(
                done[each].outcome in ("failed", "waiting", "no-executor") for each in step.after
            ):
                done.append(StepDone(step, "waiting", problem=f"waits for {_blocker(step, done)}"))
            elif step.id in skip:
                done.append(StepDone(step, "failed", problem="it failed before"))
            elif (begun and self._clock.monotonic() >= until) or any(
                done[each].outcome == "left" for each in step.after
            ):
                done.append(StepDone(step, "left"))
            else:
                begun += 1
                done.append(self._do(project, step, loaded.slots[step.id], actor, reason, expected_outcome))
        return StalenessRun(tuple(done))

    def _do(
        self, project: str, step: Step, slot: Slot, actor: Principal, reason: str, expected_outcome: str
    ) -> StepDone:
        node = self._graphs.level(project, slot)
        inputs = _inputs(node)
        revoked = self._revoked(project)
        if bad := next((each for each in inputs if each.digest in revoked), None):
            said = f"{bad.kind} {bad.name} {bad.version}".strip()
            return StepDone(step, "failed", problem=f"{said} was revoked: {revoked[bad.digest]}", hint=NEEDS_NEWER)
        words = reason or f"rebuilt: {step.because[0] if step.because else 'out of date'}"
        order = RebuildOrder(
            project, step.work, step.kind, step.name, step.digest, step.version, inputs, words[:4000],
            expected_outcome,
        )  # fmt: skip
        try:
            made = self._rebuilders[step.executor].rebuild(order, actor=actor)
        except TetradError as error:
            return StepDone(step, "failed", problem=error.message, hint=error.hint)
        return StepDone(step, "made" if made.new else "same", made.digest, made.version)


def _blocker(step: Step, done: Sequence[StepDone]) -> str:
    if step.waits_for:
        return ", ".join(step.waits_for)
    held = [done[each].step for each in step.after if done[each].outcome in ("failed", "waiting", "no-executor")]
    return ", ".join(f"{each.action} {each.label}" for each in held[:5])


def _inputs(node: Node) -> tuple[Current, ...]:
    """Return what an artifact would be made of today, by the newest way that it was made in."""
    way = node.ways[-1] if node.ways else None
    return tuple(
        Current(
            each.kind, each.role, each.name, each.newest_version if each.moved else each.version,
            each.newest_digest if each.moved else each.digest, each.digest, each.moved,
        )
        for each in (way.inputs if way is not None else ())
        if each.remakes
    )  # fmt: skip
