"""Control's knowledge of engines: what is wanted (stored), what the worker reports (secrets in memory only)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from tetrad.kernel import Clock
from tetrad.serving._engines import (
    SERVING_STATES,
    EngineEndpoint,
    EngineReport,
    EngineSpec,
    check_spec,
)
from tetrad.serving._model import ModelEntry, RouteTable, Upstream
from tetrad.serving.errors import BadEngineSpec, EngineNotFound

MAX_ENGINES = 256
SILENCE = timedelta(seconds=30)
_FIRST_BYTE_S = 300.0  # a prompt of the whole context on a slow machine


class StoredEngine(msgspec.Struct, frozen=True):
    """A row: the spec, since when, and the last report without its secret."""

    spec: EngineSpec
    changed_at: datetime
    report: EngineReport | None = None
    reported_at: datetime | None = None


class EngineStore(Protocol):
    """Keeps desired engines and their last reports."""

    def all(self) -> list[StoredEngine]:
        """Return every desired engine, by name."""
        ...

    def put(self, spec: EngineSpec, at: datetime) -> None:
        """Insert or overwrite a spec; the last report stays."""
        ...

    def drop(self, name: str) -> bool:
        """Remove; tell whether it was there."""
        ...

    def note(self, report: EngineReport, at: datetime) -> None:
        """Keep a report; it holds no secret."""
        ...


class FixedEngine(msgspec.Struct, frozen=True):
    """A server that is always there and that nobody reports, such as the inference process."""

    upstream: Upstream
    models: tuple[ModelEntry, ...]


class EngineStatus(msgspec.Struct, frozen=True):
    """An engine as people see it."""

    spec: EngineSpec
    report: EngineReport
    reported_at: datetime | None
    silent: bool


class EngineDirectory:
    """Which engines should run, and which do.

    Safe to use from many threads. `on_change` is called after every change that routing must know of; `epoch` differs
    in every life of control, so that the worker notices when its reports are forgotten.
    """

    def __init__(
        self,
        store: EngineStore,
        clock: Clock,
        *,
        on_change: Callable[[], Any] = lambda: None,
        fixed: Iterable[FixedEngine] = (),
    ) -> None:
        self.epoch = secrets.token_hex(8)
        self._store, self._clock, self._on_change = store, clock, on_change
        self._fixed = tuple(fixed)
        self._lock = threading.Lock()
        self._wanted = {row.spec.name: row for row in store.all()}
        self._reports: dict[str, tuple[EngineReport, datetime]] = {}

    def restore(self, table: RouteTable) -> None:
        """Trust the endpoints of the last route table until the worker reports: engines outlive control."""
        with self._lock:
            for name, row in self._wanted.items():
                known = table.upstreams.get(name)
                if name in self._reports or known is None or known.state not in SERVING_STATES or not known.base_url:
                    continue
                served = tuple(model.upstream_model for model in table.models.values() if model.upstream == name)
                if row.spec.served_name not in served:
                    continue
                report = EngineReport(
                    name=name,
                    spec_digest=row.spec.digest,
                    state="ready",
                    reason="as last known",
                    endpoint=EngineEndpoint(known.base_url, known.secret),
                    served=served,
                )
                self._reports[name] = (report, self._clock.now())

    def desired(self) -> list[EngineSpec]:
        """Return what should run, by name."""
        with self._lock:
            return [self._wanted[name].spec for name in sorted(self._wanted)]

    def want(self, spec: EngineSpec) -> EngineSpec:
        """Ask for an engine, or for another shape of it; the same spec again changes nothing."""
        check_spec(spec)
        now = self._clock.now()
        with self._lock:
            before = self._wanted.get(spec.name)
            if before is not None and before.spec == spec:
                return spec
            if before is None and len(self._wanted) >= MAX_ENGINES:
                raise BadEngineSpec(f"there are {MAX_ENGINES} engines already", hint="remove one first")
            self._check_served(spec)
            self._store.put(spec, now)
            self._wanted[spec.name] = StoredEngine(spec, now, before.report if before else None)
        self._on_change()
        return spec

    def unwant(self, name: str) -> None:
        """Let an engine be drained and stopped."""
        with self._lock:
            if self._wanted.pop(name, None) is None:
                raise _unknown(name)
            self._store.drop(name)
            self._reports.pop(name, None)
        self._on_change()

    def note(self, report: EngineReport) -> None:
        """Take a report of the worker; raises `EngineNotFound` for engines that nobody wants."""
        now = self._clock.now()
        bare = msgspec.structs.replace(report, endpoint=None, metrics=None)
        with self._lock:
            row = self._wanted.get(report.name)
            if row is None:
                raise _unknown(report.name)
            before = self._reports.get(report.name)
            self._reports[report.name] = (report, now)
            if before is None or _lasting(before[0]) != _lasting(report):
                self._store.note(bare, now)
            changed = before is None or _routing(before[0]) != _routing(report)
        if changed:
            self._on_change()

    def engines(self) -> list[EngineStatus]:
        """Return all engines as they are known now."""
        now = self._clock.now()
        with self._lock:
            return [self._status(name, now) for name in sorted(self._wanted)]

    def engine(self, name: str) -> EngineStatus:
        """Return one engine."""
        with self._lock:
            if name not in self._wanted:
                raise _unknown(name)
            return self._status(name, self._clock.now())

    def upstreams(self) -> dict[str, Upstream]:
        """Return the upstreams for the route table."""
        found = {fixed.upstream.name: fixed.upstream for fixed in self._fixed}
        with self._lock:
            for name, row in self._wanted.items():
                report = self._current(name)
                endpoint = report.endpoint if report.serving else None
                found[name] = Upstream(
                    name=name,
                    base_url=endpoint.base_url if endpoint else "",
                    provider=row.spec.kind.replace("_", "."),
                    secret=endpoint.secret if endpoint else "",
                    state=report.state if report.serving or report.state not in SERVING_STATES else "planned",
                    first_byte_timeout_s=_FIRST_BYTE_S,
                    max_connections=row.spec.slots + row.spec.max_queue,
                )
        return found

    def models(self) -> dict[str, ModelEntry]:
        """Return the models for the route table."""
        found = {model.name: model for fixed in self._fixed for model in fixed.models}
        with self._lock:
            for name, row in self._wanted.items():
                found[row.spec.served_name] = ModelEntry(
                    name=row.spec.served_name,
                    upstream=name,
                    upstream_model=row.spec.served_name,
                    kinds=row.spec.kinds,
                    digest=row.spec.model,
                    created_s=int(row.changed_at.timestamp()),
                )
        return found

    def fixed(self) -> tuple[FixedEngine, ...]:
        """Return the servers that nobody reports."""
        return self._fixed

    def _current(self, name: str) -> EngineReport:
        row, known = self._wanted[name], self._reports.get(name)
        if known is not None and known[0].spec_digest == row.spec.digest:
            return known[0]
        return EngineReport(name=name, spec_digest=row.spec.digest, state="planned", reason="not reported yet")

    def _status(self, name: str, now: datetime) -> EngineStatus:
        known = self._reports.get(name)
        at = known[1] if known else None
        return EngineStatus(self._wanted[name].spec, self._current(name), at, at is None or now - at > SILENCE)

    def _check_served(self, spec: EngineSpec) -> None:
        taken = {row.spec.served_name for row in self._wanted.values() if row.spec.name != spec.name}
        taken |= {model.name for fixed in self._fixed for model in fixed.models}
        upstreams = {fixed.upstream.name for fixed in self._fixed}
        if spec.served_name in taken or spec.name in upstreams:
            raise BadEngineSpec(
                f"another engine is called {spec.name!r} or serves {spec.served_name!r}", hint="choose another name"
            )


def _lasting(report: EngineReport) -> Mapping[str, Any]:
    """What of a report is worth a write: not the numbers that change all the time."""
    return {
        "state": report.state,
        "reason": report.reason,
        "spec": report.spec_digest,
        "identity": report.identity,
        "restarts": report.restarts,
        "pid": report.pid,
    }


def _routing(report: EngineReport) -> tuple[object, ...]:
    endpoint = report.endpoint
    return (
        report.state,
        report.spec_digest,
        report.served,
        (endpoint.base_url, endpoint.secret) if endpoint else None,
    )


def _unknown(name: str) -> EngineNotFound:
    return EngineNotFound(f"there is no engine {name[:80]!r}", hint="`tetrad engine list` shows them")
