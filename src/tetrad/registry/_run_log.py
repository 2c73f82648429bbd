"""Start runs, watch them, end them, set them side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from tetrad.kernel import Clock, InvalidInput, Principal, digest_json, new_id, parse_digest
from tetrad.registry._model import INVALIDATIONS, Activity, Edge, check_simple_name
from tetrad.registry._runs import (
    INPUT_POLICIES,
    MAX_PARAMS,
    MAX_TAGS,
    RUN_KINDS,
    EndState,
    Experiment,
    MetricPoint,
    Run,
    RunInput,
    RunKind,
    Series,
    check_label,
    check_points,
    check_values,
    merged_params,
    thinned,
)
from tetrad.registry.errors import ArtifactNotFound, RunConflict, RunNotFound, RunTooLarge
from tetrad.registry.ports import RegistryStore, RunStore

MAX_COMPARED = 20
MAX_EDGES = 1_000
MAX_ERROR_CHARS = 4_000
MAX_ENVIRONMENT_BYTES = 64 << 10
DEFAULT_EXPERIMENT = "default"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What is refused as too much, and after how long without a heartbeat a run counts as lost."""

    max_points: int = 1_000_000
    max_metrics: int = 1_000
    heartbeat_s: int = 600


class Runs:
    """The runs of all projects: activities with parameters, metrics and a heartbeat. Safe to use from many threads.

    Every write may be sent again: a start with its idempotency key, points with their step and time, an end.
    """

    def __init__(
        self, store: RunStore, artifacts: RegistryStore, clock: Clock, *, limits: RunLimits | None = None
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self.limits = limits or RunLimits()

    # -- writing ------------------------------------------------------------------------------------------------

    def start(
        self,
        project: str,
        kind: RunKind,
        *,
        actor: Principal,
        experiment: str = DEFAULT_EXPERIMENT,
        name: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        environment: Mapping[str, Any] | None = None,
        inputs: Iterable[RunInput] = (),
        idempotency_key: str | None = None,
    ) -> Run:
        """Begin a run; with the same `idempotency_key` it is the run that began then.

        `inputs` are artifacts of the project. Without a policy of their own a change of them asks for what the kind
        says: to rebuild what the run makes, or to evaluate it again. Another start with a key that is taken raises
        `RunConflict`.
        """
        if kind not in RUN_KINDS:
            raise InvalidInput(f"{kind[:40]!r} is no kind of run", hint=f"one of {', '.join(RUN_KINDS)}")
        check_simple_name(experiment, "name of an experiment")
        if idempotency_key is not None:
            check_label(idempotency_key, "idempotency key")
        given = check_values(params or {}, "parameter", most=MAX_PARAMS)
        named = _tags(tags or {})
        around = dict(environment or {})
        if len(msgspec.json.encode(around)) > MAX_ENVIRONMENT_BYTES:
            raise RunTooLarge("the environment of a run", hint=f"at most {MAX_ENVIRONMENT_BYTES} bytes of JSON")
        edges = self._edges(project, inputs, "in", kind)
        now = self._clock.now()
        activity = Activity(project, new_id("act"), kind, actor.id, now, None, "running", given, around, edges)
        asked = {
            "kind": kind, "experiment": experiment, "name": name, "params": given, "tags": named,
            "environment": around, "inputs": [[edge.digest, edge.role, edge.policy] for edge in edges],
        }  # fmt: skip
        run = Run(
            activity, experiment, check_label(name, "name of a run") if name else activity.id[-8:], now, named, "",
            actor.name, digest_json(asked),
        )  # fmt: skip
        found = self._store.start(run, idempotency_key)
        if found.request != run.request:
            raise RunConflict(
                f"the idempotency key {idempotency_key!r} began another run, {found.id}",
                hint="send what was sent then, or choose another key",
            )
        return found

    def log(self, project: str, run: str, points: Sequence[MetricPoint]) -> tuple[Run, int]:
        """Keep a batch of points and return the run and how many were new; it counts as a heartbeat.

        A point is known by metric, step and time: sending it again changes nothing, sending it with another value
        corrects it. Raises `RunConflict` for a run that has ended, `RunTooLarge` past the limits; then nothing is kept.
        """
        kept = check_points(points)

        def decide(found: Run, new_points: int, new_metrics: int) -> Run:
            if new_points:
                self._open(found)
            if len(found.metrics) + new_metrics > self.limits.max_metrics:
                raise RunTooLarge(f"the run {run!r} has too many metrics", hint=f"at most {self.limits.max_metrics}")
            if sum(metric.points for metric in found.metrics) + new_points > self.limits.max_points:
                raise RunTooLarge(
                    f"the run {run!r} has too many points",
                    hint=f"at most {self.limits.max_points}; log every tenth step, or raise run_max_points",
                )
            if found.activity.state != "running":
                return found
            return msgspec.structs.replace(found, heartbeat_at=self._clock.now())

        done = self._store.log(project, run, kept, decide)
        if done is None:
            raise _not_found(project, run)
        return done

    def describe(
        self,
        project: str,
        run: str,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str | None] | None = None,
        name: str | None = None,
    ) -> Run:
        """Add parameters to a run that goes on, set tags (None takes one away) or its name at any time.

        A parameter is said once: another value for one that is known raises `RunConflict`.
        """
        given = check_values(params or {}, "parameter", most=MAX_PARAMS)
        changed_tags = dict(tags or {})

        def decide(found: Run) -> Run:
            activity = found.activity
            merged, changed = merged_params(activity.params, given)
            if changed:
                raise RunConflict(
                    f"the run {run!r} has another value for {', '.join(changed[:5])}",
                    hint="a parameter is said once; begin another run for other values",
                )
            if merged != activity.params:
                self._open(found)
                check_values(merged, "parameter", most=MAX_PARAMS)
                activity = msgspec.structs.replace(activity, params=merged)
            kept = {**found.tags, **changed_tags}
            return msgspec.structs.replace(
                found,
                activity=activity,
                tags=_tags({key: value for key, value in kept.items() if value is not None}),
                name=check_label(name, "name of a run") if name is not None else found.name,
            )

        return self._changed(project, run, decide)

    def beat(self, project: str, run: str) -> Run:
        """Say that a run still goes on."""

        def decide(found: Run) -> Run:
            self._open(found)
            return msgspec.structs.replace(found, heartbeat_at=self._clock.now())

        return self._changed(project, run, decide)

    def finish(
        self, project: str, run: str, state: EndState, *, outputs: Iterable[RunInput] = (), error: str = ""
    ) -> Run:
        """End a run and name the artifacts that came out of it. The same end again changes nothing; another refuses."""
        if state not in ("done", "failed"):
            raise InvalidInput(f"{state[:40]!r} is no end of a run", hint="done or failed")
        if len(error) > MAX_ERROR_CHARS:
            raise InvalidInput(f"an error of {len(error)} characters", hint=f"at most {MAX_ERROR_CHARS}")
        edges = self._edges(project, outputs, "out", "")

        def decide(found: Run) -> Run:
            activity = found.activity
            if activity.state != "running":
                if activity.state == state and found.error == error and set(edges) <= set(activity.edges):
                    return found
                raise RunConflict(f"the run {run!r} is {activity.state} already", hint="begin another run")
            now = self._clock.now()
            ended = msgspec.structs.replace(
                activity, state=state, ended_at=now, edges=tuple(dict.fromkeys((*activity.edges, *edges)))
            )
            return msgspec.structs.replace(found, activity=ended, error=error, heartbeat_at=now)

        return self._changed(project, run, decide)

    def _changed(self, project: str, run: str, decide: Callable[[Run], Run]) -> Run:
        found = self._store.change(project, run, decide)
        if found is None:
            raise _not_found(project, run)
        return found

    @staticmethod
    def _open(run: Run) -> None:
        if run.activity.state != "running":
            raise RunConflict(f"the run {run.id!r} is {run.activity.state} already", hint="begin another run")

    def _edges(self, project: str, named: Iterable[RunInput], direction: str, kind: str) -> tuple[Edge, ...]:
        edges = tuple(
            Edge(
                parse_digest(each.digest),
                "in" if direction == "in" else "out",
                check_label(each.role, "role", longest=64) if each.role else "",
                each.policy or INPUT_POLICIES.get(kind, "none"),
            )
            for each in named
        )
        if len(edges) > MAX_EDGES:
            raise RunTooLarge(f"a run with {len(edges)} artifacts", hint=f"at most {MAX_EDGES}")
        for edge in edges:
            if edge.policy not in INVALIDATIONS:
                raise InvalidInput(f"{edge.policy[:40]!r} is no policy", hint=", ".join(INVALIDATIONS))
        missing = {edge.digest for edge in edges} - self._artifacts.visible(project, [edge.digest for edge in edges])
        if missing:
            raise ArtifactNotFound(f"the project {project!r} has no artifact {min(missing)}", hint="register it first")
        return edges

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, project: str, run: str) -> Run:
        """Return a run of the project, or raise `RunNotFound`."""
        found = self._store.get(project, run)
        if found is None:
            raise _not_found(project, run)
        return found

    def newest(
        self,
        project: str,
        *,
        experiment: str | None = None,
        kind: str | None = None,
        state: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Run]:
        """Return runs, newest first; `before` is the id to go on from."""
        return self._store.newest(project, experiment=experiment, kind=kind, state=state, limit=limit, before=before)

    def experiments(self, project: str, *, limit: int = 50, after: str = "") -> Sequence[Experiment]:
        """Return the names that runs share, in the order of names."""
        return self._store.experiments(project, limit=limit, after=after)

    def is_lost(self, run: Run) -> bool:
        """Tell whether a run that goes on has given no sign for too long: whoever ran it may be gone."""
        silent = self._clock.now() - run.heartbeat_at
        return run.activity.state == "running" and silent > timedelta(seconds=self.limits.heartbeat_s)

    def series(self, project: str, run: str, metric: str, *, points: int = 500) -> Series:
        """Return a metric over its steps in at most `points` points; peaks stay."""
        return self._series(project, self.get(project, run), metric, points)

    def _series(self, project: str, run: Run, metric: str, points: int) -> Series:
        known = next((each for each in run.metrics if each.metric == metric), None)
        if known is None:
            return Series(run.id, metric, (), 0)
        kept = thinned(
            self._store.points(project, run.id, metric), first=known.first_step, last=known.last_step, most=points
        )
        return Series(run.id, metric, kept, known.points)

    def compared(self, project: str, runs: Sequence[str]) -> list[Run]:
        """Return several runs in the order in which they were named."""
        wanted = list(dict.fromkeys(runs))
        if not 1 <= len(wanted) <= MAX_COMPARED:
            raise InvalidInput(f"{len(wanted)} runs to compare", hint=f"1 to {MAX_COMPARED}")
        return [self.get(project, run) for run in wanted]

    def series_of(self, project: str, runs: Sequence[Run], metrics: Sequence[str], *, points: int) -> list[Series]:
        """Return the series of several runs and metrics, those without points left out."""
        found = [self._series(project, run, metric, points) for metric in metrics for run in runs]
        return [series for series in found if series.total]


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in check_values(tags, "tag", most=MAX_TAGS).items()}


def _not_found(project: str, run: str) -> RunNotFound:
    return RunNotFound(f"the project {project!r} has no run {run[:80]!r}", hint="`tetrad run list` names them")
