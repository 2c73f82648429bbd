"""Counts of one worker, and of all workers of a machine together, as Prometheus reads them."""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from tetrad.kit.spool import SpoolWriter
from tetrad.processes.gateway._shedding import Shedder
from tetrad.serving import AnswersState, Cache, Exchange, GatewayHealth, ServerRest
from tetrad.tools import Absences, ToolExchange

log = logging.getLogger(__name__)
_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_FRESH_S = 30.0
_TOOL_METHODS = frozenset(
    ("initialize", "server/discover", "ping", "tools/list", "tools/call", "prompts/list", "prompts/get",
     "resources/list", "resources/templates/list", "resources/read", "completion/complete")
)  # fmt: skip
_BREAKERS = {"closed": 0, "half_open": 1, "open": 2}
_HELP = {
    "tetrad_gateway_requests_total": ("counter", "Requests answered, by operation and status."),
    "tetrad_gateway_errors_total": ("counter", "Requests that failed, by error code."),
    "tetrad_gateway_unpriced_calls_total": ("counter", "Calls whose cost is not known, by model."),
    "tetrad_gateway_in_flight": ("gauge", "Requests being worked on."),
    "tetrad_gateway_loop_lag_seconds": ("gauge", "How late the worker's loop is."),
    "tetrad_gateway_shed_total": ("counter", "Requests turned away by their priority, and why."),
    "tetrad_gateway_seconds": ("histogram", "Seconds from a request's head to the end of its answer."),
    "tetrad_gateway_unrecorded_total": ("counter", "Requests whose spans could not be encoded."),
    "tetrad_gateway_spool_bytes": ("gauge", "Bytes of spans on disk, shipped or not."),
    "tetrad_gateway_spool_refused_total": ("counter", "Records lost because the disk took none."),
    "tetrad_gateway_spool_dropped_segments_total": ("counter", "Segments dropped because the spool was full."),
    "tetrad_gateway_spool_shipped_bytes_total": ("counter", "Bytes of spans that control has stored."),
    "tetrad_gateway_table_version": ("gauge", "Version of the route table in force, 0 before the first."),
    "tetrad_gateway_control_connected": ("gauge", "1 while control streams route tables to this worker."),
    "tetrad_gateway_upstream_connections": ("gauge", "Open connections to upstreams, by state."),
    "tetrad_gateway_target_calls_total": ("counter", "Calls of a route's target, by how they went."),
    "tetrad_gateway_target_in_flight": ("gauge", "Calls of a route's target under way."),
    "tetrad_gateway_target_state": ("gauge", "Breaker of a route's target: 0 closed, 1 half open, 2 open."),
    "tetrad_gateway_provider_keys": ("gauge", "Keys of a provider that has several, by state."),
    "tetrad_gateway_provider_limit": ("gauge", "Calls that a provider gets at once now."),
    "tetrad_gateway_provider_in_flight": ("gauge", "Calls of a provider under way, where they are limited."),
    "tetrad_gateway_provider_waiting": ("gauge", "Calls that wait for their turn at a provider."),
    "tetrad_gateway_provider_refused_total": ("counter", "Calls refused because too many waited at a provider."),
    "tetrad_gateway_cache_requests_total": ("counter", "Requests of which the cache was asked, by what came of it."),
    "tetrad_gateway_cache_found_total": ("counter", "Answers from the cache, by where they lay."),
    "tetrad_gateway_cache_server_up": ("gauge", "Whether the server of shared answers answered when last asked."),
    "tetrad_gateway_cache_server_writable": ("gauge", "Whether the server of shared answers took the last one."),
    "tetrad_gateway_cache_server_total": ("counter", "Reads and writes of the server of shared answers, by outcome."),
    "tetrad_gateway_cache_stored_total": ("counter", "Answers that were cached."),
    "tetrad_gateway_cache_evicted_total": ("counter", "Cached answers that had to make room."),
    "tetrad_gateway_cache_failures_total": ("counter", "Cached answers that the disk failed to give or to take."),
    "tetrad_gateway_cache_dropped_total": (
        "counter",
        "Writes of the cache left out because 64 to the same place were under way: disk, server, questions.",
    ),
    "tetrad_gateway_cache_similar_failures_total": ("counter", "Searches for similar questions that failed."),
    "tetrad_gateway_cache_saved_tokens_total": ("counter", "Tokens that no model had to read or write."),
    "tetrad_gateway_cache_entries": ("gauge", "Answers in the worker's memory."),
    "tetrad_gateway_cache_bytes": ("gauge", "Bytes of answers in the worker's memory."),
    "tetrad_gateway_tool_requests_total": ("counter", "Requests of MCP servers, by server, method and outcome."),
    "tetrad_gateway_tool_seconds_total": ("counter", "Seconds that calls of tools took, by server."),
    "tetrad_gateway_tool_server_left_out": ("gauge", "1 while answers for all MCP servers have to do without one."),
    "tetrad_gateway_tool_server_left_out_total": (
        "counter",
        "Answers for all MCP servers in which one was left out, by reason.",
    ),
    "tetrad_gateway_tool_server_rests": (
        "gauge",
        "1 while an MCP server is let rest since it did not answer a method.",
    ),
    "tetrad_gateway_tool_streams": ("gauge", "Streams of MCP servers that clients hold open."),
    "tetrad_gateway_tasks": ("gauge", "Tasks that the worker's loop runs: its own few, and one per request under way."),
    "tetrad_gateway_resident_bytes": ("gauge", "Memory of the worker."),
}


class Snapshot(msgspec.Struct, frozen=True):
    """One worker's samples at one moment: (metric, labels, value)."""

    worker: str
    at_s: float
    samples: list[tuple[str, str, float]]


class Metrics:
    """What one worker counts."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.in_flight = 0
        self.unrecorded = 0
        self.shipped_bytes = 0
        self.table_version = 0
        self.connected = False
        self.routes: Callable[[], GatewayHealth] = GatewayHealth
        self.cache: Cache | None = None
        self.answers: Callable[[], AnswersState | None] = lambda: None
        self.tool_streams: Callable[[], int] = int
        self.tool_absences: Absences | None = None
        self.tool_rests: Callable[[], Iterable[ServerRest]] = tuple
        self._tools: dict[tuple[str, str, str], int] = {}
        self._tool_seconds: dict[str, float] = {}
        self.tasks: Callable[[], int] = lambda: 0
        self.shedder: Shedder | None = None
        self._requests: dict[tuple[str, int], int] = {}
        self._errors: dict[str, int] = {}
        self.unpriced: dict[str, int] = {}
        self._buckets = [0] * (len(_BUCKETS_S) + 1)
        self._seconds = 0.0

    def tool_finished(self, exchange: ToolExchange) -> None:
        """Count a finished exchange with an MCP server; how long a stream was open says nothing of anybody's speed."""
        self._count(exchange)
        server = exchange.server or "unknown"
        method = exchange.rpc if exchange.rpc in _TOOL_METHODS else "stream" if exchange.is_stream else "other"
        place = (server, method, "error" if exchange.error_type else "ok")
        if place not in self._tools and len(self._tools) >= 600:
            place = ("other", "other", place[2])
        self._tools[place] = self._tools.get(place, 0) + 1
        if exchange.tool:
            server = place[0]
            took = (exchange.end_ns - exchange.start_ns) / 1e9
            self._tool_seconds[server] = self._tool_seconds.get(server, 0.0) + took

    def _count(self, exchange: Exchange) -> None:
        key = (exchange.kind, exchange.status)
        self._requests[key] = self._requests.get(key, 0) + 1
        code = exchange.error_type
        if code:
            if code not in self._errors and len(self._errors) >= 200:
                code = "other"  # upstreams invent codes; a metric has a bounded number of series
            self._errors[code] = self._errors.get(code, 0) + 1

    def finished(self, exchange: Exchange) -> None:
        """Count a finished exchange."""
        self._count(exchange)
        for made in exchange.attempts:
            if made.cost is None and made.outcome is not None and made.outcome.usage is not None:
                self._count_unpriced(made.model.name)
        seconds = (exchange.end_ns - exchange.start_ns) / 1e9
        self._seconds += seconds
        self._buckets[bisect_left(_BUCKETS_S, seconds)] += 1

    def _count_unpriced(self, model: str) -> None:
        if model not in self.unpriced:
            if len(self.unpriced) >= 200:
                model = "other"
            else:
                log.warning("the price of the model %r is not known: its calls cost nobody knows what", model)
        self.unpriced[model] = self.unpriced.get(model, 0) + 1

    def snapshot(self, spool: SpoolWriter, connections: dict[str, tuple[int, int, int]]) -> Snapshot:
        """Return all samples now."""
        return Snapshot(self.worker, time.time(), list(self._samples(spool, connections)))

    def _samples(
        self, spool: SpoolWriter, connections: dict[str, tuple[int, int, int]]
    ) -> Iterator[tuple[str, str, float]]:
        for (kind, status), count in sorted(self._requests.items()):
            yield "tetrad_gateway_requests_total", f'operation="{kind}",status="{status}"', count
        for code, count in sorted(self._errors.items()):
            yield "tetrad_gateway_errors_total", f'code="{_label(code)}"', count
        for model, count in sorted(self.unpriced.items()):
            yield "tetrad_gateway_unpriced_calls_total", f'model="{_label(model)}"', count
        yield "tetrad_gateway_in_flight", "", self.in_flight
        if self.shedder is not None:
            yield "tetrad_gateway_loop_lag_seconds", "", self.shedder.lag_s
            for (priority, reason), count in sorted(self.shedder.shed.items()):
                yield "tetrad_gateway_shed_total", f'priority="{priority}",reason="{reason}"', count
        total = 0
        for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), self._buckets, strict=True):
            total += count
            yield "tetrad_gateway_seconds_bucket", f'le="{bound}"', total
        yield "tetrad_gateway_seconds_sum", "", self._seconds
        yield "tetrad_gateway_seconds_count", "", total
        yield "tetrad_gateway_unrecorded_total", "", self.unrecorded
        yield "tetrad_gateway_spool_bytes", "", spool.folder.bytes
        yield "tetrad_gateway_spool_refused_total", "", spool.refused
        yield "tetrad_gateway_spool_dropped_segments_total", "", spool.dropped_segments
        yield "tetrad_gateway_spool_shipped_bytes_total", "", self.shipped_bytes
        yield "tetrad_gateway_table_version", "", self.table_version
        yield "tetrad_gateway_control_connected", "", int(self.connected)
        yield "tetrad_gateway_upstream_connections", 'state="open"', sum(c[0] for c in connections.values())
        yield "tetrad_gateway_upstream_connections", 'state="idle"', sum(c[1] for c in connections.values())
        yield "tetrad_gateway_upstream_connections", 'state="waiting"', sum(c[2] for c in connections.values())
        for (server, method, outcome), count in sorted(self._tools.items()):
            labels = f'server="{_label(server)}",method="{method}",outcome="{outcome}"'
            yield "tetrad_gateway_tool_requests_total", labels, count
        for server, seconds in sorted(self._tool_seconds.items()):
            yield "tetrad_gateway_tool_seconds_total", f'server="{_label(server)}"', seconds
        if self.tool_absences is not None:
            yield from _absence_samples(self.tool_absences)
        yield from _rest_samples(self.tool_rests())
        yield "tetrad_gateway_tool_streams", "", self.tool_streams()
        yield from _route_samples(self.routes())
        if self.cache is not None:
            yield from _cache_samples(self.cache)
            answers = self.answers()
            if answers is not None:
                yield "tetrad_gateway_cache_server_up", "", int(answers.state in ("up", "read_only"))
                yield "tetrad_gateway_cache_server_writable", "", int(answers.state == "up")
                for outcome, count in answers.counts.items():
                    yield "tetrad_gateway_cache_server_total", f'outcome="{outcome}"', count
        yield "tetrad_gateway_tasks", "", self.tasks()
        yield "tetrad_gateway_resident_bytes", "", _resident_bytes()


def _route_samples(health: GatewayHealth) -> Iterator[tuple[str, str, float]]:
    for target in health.targets:
        labels = f'route="{_label(target.route)}",model="{_label(target.model)}"'
        for kind, count in sorted(target.counts.items()):
            yield "tetrad_gateway_target_calls_total", f'{labels},outcome="{kind}"', count
        yield "tetrad_gateway_target_in_flight", labels, target.in_flight
        yield "tetrad_gateway_target_state", labels, _BREAKERS[target.state]
    for upstream, gate in health.gates.items():
        for name, value in gate.items():
            family = "refused_total" if name == "refused" else name
            yield f"tetrad_gateway_provider_{family}", f'upstream="{_label(upstream)}"', value
    for upstream, counts in health.keys.items():
        for state, count in counts.items():
            yield "tetrad_gateway_provider_keys", f'upstream="{_label(upstream)}",state="{state}"', count


def _absence_samples(absences: Absences) -> Iterator[tuple[str, str, float]]:
    for project, server, out in absences.now():
        labels = f'project="{_label(project)}",server="{_label(server)}"'
        yield "tetrad_gateway_tool_server_left_out", labels, int(out)
    for project, server, code, count in absences.counts():
        labels = f'project="{_label(project)}",server="{_label(server)}",code="{_label(code)}"'
        yield "tetrad_gateway_tool_server_left_out_total", labels, count


def _rest_samples(rests: Iterable[ServerRest]) -> Iterator[tuple[str, str, float]]:
    for rest in rests:
        labels = f'project="{_label(rest.project)}",server="{_label(rest.server)}",method="{_label(rest.method)}"'
        yield "tetrad_gateway_tool_server_rests", labels, int(rest.state != "due")


def _cache_samples(cache: Cache) -> Iterator[tuple[str, str, float]]:
    counts = cache.counts
    for result, count in counts.results.items():
        yield "tetrad_gateway_cache_requests_total", f'result="{result}"', count
    for level, count in counts.found.items():
        yield "tetrad_gateway_cache_found_total", f'level="{level}"', count
    yield "tetrad_gateway_cache_stored_total", "", counts.stored
    yield "tetrad_gateway_cache_evicted_total", "", cache.memory.evicted
    yield "tetrad_gateway_cache_failures_total", "", counts.store_failures
    for level, count in counts.dropped.items():
        yield "tetrad_gateway_cache_dropped_total", f'level="{level}"', count
    yield "tetrad_gateway_cache_similar_failures_total", "", cache.similar_failures
    yield "tetrad_gateway_cache_saved_tokens_total", "", counts.saved_tokens
    yield "tetrad_gateway_cache_entries", "", len(cache.memory)
    yield "tetrad_gateway_cache_bytes", "", cache.memory.bytes


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Leave a snapshot where the other workers of this machine find it."""
    path = folder / f"gateway-{snapshot.worker}.metrics"
    draft = path.with_suffix(".tmp")
    draft.write_bytes(msgspec.msgpack.encode(snapshot))
    draft.replace(path)


def read_snapshots(folder: Path, own: Snapshot) -> list[Snapshot]:
    """Return this worker's snapshot and those of its living siblings."""
    found = [own]
    for path in folder.glob("gateway-*.metrics"):
        try:
            snapshot = msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
        except (OSError, msgspec.MsgspecError):
            continue
        if snapshot.worker != own.worker and own.at_s - snapshot.at_s < _FRESH_S:
            found.append(snapshot)
    return sorted(found, key=lambda snapshot: snapshot.worker)


def render(snapshots: list[Snapshot]) -> bytes:
    """Write the Prometheus text format, version 0.0.4; every sample says which worker it is of."""
    lines: list[str] = []
    for family, (kind, text) in _HELP.items():
        lines += [f"# HELP {family} {text}", f"# TYPE {family} {kind}"]
        names = (
            {family, *(f"{family}_{part}" for part in ("bucket", "sum", "count"))} if kind == "histogram" else {family}
        )
        for snapshot in snapshots:
            for name, labels, value in snapshot.samples:
                if name in names:
                    shown = f'worker="{_label(snapshot.worker)}"' + (f",{labels}" if labels else "")
                    lines.append(f"{name}{{{shown}}} {int(value) if float(value).is_integer() else value!r}")
    return ("\n".join(lines) + "\n").encode()


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident_bytes() -> int:
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
