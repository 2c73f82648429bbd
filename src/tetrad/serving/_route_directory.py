"""Routes of projects, as control keeps them, and how their targets do, as gateways tell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol

import msgspec

from tetrad.kernel import Clock, TooLarge
from tetrad.serving._route_plan import MAX_REPORTED, GatewayHealth, TargetHealth
from tetrad.serving._route_spec import ModelRoute, check_route
from tetrad.serving._tool_server_rests import RestSummary, summaries
from tetrad.serving.errors import RouteNotFound

MAX_ROUTES = 1000
MAX_GATEWAYS = 4096
FRESH_S = 30.0


class RouteStore(Protocol):
    """Keep routes, by project and name."""

    def put(self, route: ModelRoute, *, most: int) -> None:
        """Insert or overwrite; raises `BadRoute` (409) where another route of the project has one of its names.

        Raises it too where the project would have more than `most`.
        """
        ...

    def drop(self, project: str, name: str) -> bool:
        """Remove; tell whether it was there."""
        ...

    def all(self, project: str | None = None) -> list[ModelRoute]:
        """Return the routes of a project, or of all, by name."""
        ...


class RouteDirectory:
    """Routes of all projects; `on_change` hears of every change after it is stored."""

    def __init__(self, store: RouteStore, on_change: Callable[[], Any] = lambda: None) -> None:
        self._store = store
        self._on_change = on_change

    def put(self, route: ModelRoute) -> ModelRoute:
        """Add a route or change it. Its models need not be there yet; what is not there is passed over."""
        self._store.put(check_route(route), most=MAX_ROUTES)
        self._on_change()
        return route

    def get(self, project: str, name: str) -> ModelRoute:
        """Return a route of a project; raises `RouteNotFound`."""
        for route in self._store.all(project):
            if route.name == name:
                return route
        raise _not_found(project, name)

    def drop(self, project: str, name: str) -> None:
        """Remove a route; calls in flight end as they would have."""
        if not self._store.drop(project, name):
            raise _not_found(project, name)
        self._on_change()

    def all(self, project: str | None = None) -> list[ModelRoute]:
        """Return the routes of a project, or of all."""
        return self._store.all(project)


def _not_found(project: str, name: str) -> RouteNotFound:
    return RouteNotFound(f"the project {project!r} has no route {name[:80]!r}", hint="`tetrad route list` shows them")


class TargetSummary(msgspec.Struct, frozen=True):
    """How a target does, over all gateway workers that told lately.

    `open`, `half_open` and `cooling` count workers. `first_token_s` is the largest of their medians. `outcomes` adds
    up by kind since each worker began.
    """

    route: str
    model: str
    workers: int
    open: int
    half_open: int
    cooling: int
    in_flight: int
    first_token_s: float | None
    outcomes: dict[str, int]


class ProviderHealth(msgspec.Struct, frozen=True):
    """How a provider does, over the `workers` that told of it lately; all 0 where it has one key and no limit.

    Keys are those of the worker where the fewest are ready; the rest adds up over workers.
    """

    workers: int
    keys_ready: int
    keys_cooling: int
    keys_retired: int
    limit: float
    in_flight: int
    waiting: int
    refused: int


class AnswersHealth(msgspec.Struct, frozen=True):
    """How the server of shared answers does, over the `workers` that told of it lately: their worst state, and why.

    Counts add up over these workers, since each began; see `AnswersState`.
    """

    workers: int = 0
    state: Literal["none", "untried", "up", "read_only", "down"] = "none"
    why: str = ""
    counts: dict[str, int] = {}


_WORST_FIRST = ("down", "read_only", "up", "untried")


class RouteHealth:
    """The newest report of every gateway worker, in memory: a control plane that starts anew knows in seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reports: dict[str, tuple[float, GatewayHealth]] = {}
        self._lock = threading.Lock()

    def note(self, worker: str, report: GatewayHealth) -> None:
        """Take a worker's report in place of its last one."""
        for what in ("targets", "keys", "rests"):
            if (count := len(getattr(report, what))) > MAX_REPORTED:
                raise TooLarge(f"a report of {count:,} {what}", hint=f"at most {MAX_REPORTED:,}")
        if report.answers is not None and (len(report.answers.counts) > 100 or len(report.answers.why) > 1000):
            raise TooLarge("a report of a server of shared answers", hint="at most 100 counts and 1,000 characters")
        report = msgspec.structs.replace(report, uses={})
        now = self._clock.monotonic()
        with self._lock:
            self._reports = {name: each for name, each in self._reports.items() if now - each[0] < FRESH_S}
            if worker not in self._reports and len(self._reports) >= MAX_GATEWAYS:
                raise TooLarge(f"{MAX_GATEWAYS} gateway workers report already")
            self._reports[worker] = now, report

    def of(self, project: str) -> list[TargetSummary]:
        """Return how the targets of a project's routes do, by route and model."""
        found: dict[tuple[str, str], list[TargetHealth]] = {}
        for report in self._fresh():
            for each in report.targets:
                owner, _, route = each.route.partition("/")
                if owner == project:
                    found.setdefault((route, each.model), []).append(each)
        return [_summary(route, model, reports) for (route, model), reports in sorted(found.items())]

    def provider(self, upstream: str) -> ProviderHealth:
        """Return how a provider does: its keys where they are worst, its gate over all workers."""
        reports = self._fresh()
        keys = [report.keys[upstream] for report in reports if upstream in report.keys]
        gates = [report.gates[upstream] for report in reports if upstream in report.gates]
        worst = min(keys, key=lambda counts: counts.get("ready", 0), default={})
        return ProviderHealth(
            workers=max(len(keys), len(gates)),
            keys_ready=worst.get("ready", 0),
            keys_cooling=worst.get("cooling", 0),
            keys_retired=worst.get("retired", 0),
            limit=sum(gate.get("limit", 0.0) for gate in gates),
            in_flight=int(sum(gate.get("in_flight", 0) for gate in gates)),
            waiting=int(sum(gate.get("waiting", 0) for gate in gates)),
            refused=int(sum(gate.get("refused", 0) for gate in gates)),
        )

    def answers(self) -> AnswersHealth:
        """Return how the server that gateways share answers in does; `none` where no gateway tells of one."""
        told = [report.answers for report in self._fresh() if report.answers is not None]
        if not told:
            return AnswersHealth()
        worst = min(told, key=lambda each: _WORST_FIRST.index(each.state))
        counts: dict[str, int] = {}
        for each in told:
            for name, count in each.counts.items():
                counts[name] = counts.get(name, 0) + count
        return AnswersHealth(len(told), worst.state, worst.why, counts)

    def rests(self, project: str) -> dict[str, tuple[RestSummary, ...]]:
        """Return which MCP servers of a project rest at gateways, by name, and what each of them does not answer."""
        present, now = self._clock.now(), self._clock.monotonic()
        with self._lock:
            reports = [(at, report) for at, report in self._reports.values() if now - at < FRESH_S]
        return summaries(
            present,
            (
                (present - timedelta(seconds=now - at), each)
                for at, report in reports
                for each in report.rests
                if each.project == project
            ),
        )

    def _fresh(self) -> list[GatewayHealth]:
        now = self._clock.monotonic()
        with self._lock:
            return [report for at, report in self._reports.values() if now - at < FRESH_S]


def _summary(route: str, model: str, reports: Sequence[TargetHealth]) -> TargetSummary:
    outcomes: dict[str, int] = {}
    for each in reports:
        for kind, count in each.counts.items():
            outcomes[kind] = outcomes.get(kind, 0) + count
    return TargetSummary(
        route=route,
        model=model,
        workers=len(reports),
        open=sum(each.state == "open" for each in reports),
        half_open=sum(each.state == "half_open" for each in reports),
        cooling=sum(each.cooling for each in reports),
        in_flight=sum(each.in_flight for each in reports),
        first_token_s=max((each.first_token_s for each in reports if each.first_token_s is not None), default=None),
        outcomes=outcomes,
    )
