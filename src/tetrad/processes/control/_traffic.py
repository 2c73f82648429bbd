"""How providers and engines answer, and what the cache saves, as the spans of a project tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tetrad.kit.http import requires
from tetrad.processes.control._usage import SpentView
from tetrad.traces import CallFailure, Traces, UpstreamTraffic, WindowName
from tetrad.traces._views import CachedBy

FAILURES_SHOWN = 5
_MESSAGE_CHARS = 500
_Window = Annotated[WindowName, Query(description="The last 15 minutes, hour, day or week")]


class CallFailureView(BaseModel):
    """A call that failed; its message is empty where the caller's key keeps no content."""

    at: datetime
    model: str
    error_type: str
    message: str
    http_status: int = Field(description="0: there was no answer")
    trace_id: str

    @classmethod
    def of(cls, failure: CallFailure) -> CallFailureView:
        """Render a failure."""
        return cls(
            at=_time(failure.at_ns), model=failure.model, error_type=failure.error_type,
            message=failure.message[:_MESSAGE_CHARS], http_status=failure.http_status, trace_id=failure.trace_id,
        )  # fmt: skip


class CallPointView(BaseModel):
    """Calls that began in one bucket."""

    at: datetime
    calls: int
    errors: int


class UpstreamTrafficView(BaseModel):
    """How the calls of one provider or engine went; answers from the cache are not among them."""

    name: str
    calls: int
    errors: int
    cancelled: int = Field(description="Given up by their clients; these are no errors")
    calls_per_minute: float
    error_rate: float | None = Field(description="Errors of the calls that were not given up; a share of 1")
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    failures: list[CallFailureView] = Field(description="The newest five")
    series: list[CallPointView]

    @classmethod
    def of(cls, traffic: UpstreamTraffic, minutes: float) -> UpstreamTrafficView:
        """Render the traffic of an upstream in a window of so many minutes."""
        ended = traffic.calls - traffic.cancelled
        return cls(
            name=traffic.name,
            calls=traffic.calls,
            errors=traffic.errors,
            cancelled=traffic.cancelled,
            calls_per_minute=round(traffic.calls / minutes, 3),
            error_rate=traffic.errors / ended if ended else None,
            latency_p50_ms=traffic.latency_p50_ms,
            latency_p95_ms=traffic.latency_p95_ms,
            first_token_p50_ms=traffic.first_token_p50_ms,
            first_token_p95_ms=traffic.first_token_p95_ms,
            failures=[CallFailureView.of(each) for each in traffic.failures],
            series=[
                CallPointView(at=_time(each.start_ns), calls=each.calls, errors=each.errors) for each in traffic.series
            ],
        )


class TrafficView(BaseModel):
    """A window and what each upstream did in it; those with most calls first."""

    window: WindowName
    from_: datetime = Field(alias="from")
    to: datetime
    bucket_s: int
    items: list[UpstreamTrafficView]


class CachedByView(BaseModel):
    """What the cache did for one app; for calls of no app where `app` is empty.

    `saved` is what the answers had cost when they were made; that of `unpriced_hits` is not known.
    """

    app: str
    hits: int
    similar_hits: int
    shared_hits: int = Field(description="Hits that were found in the Valkey or Redis that gateways share")
    misses: int
    refreshes: int
    hit_rate: float | None = Field(description="Hits of hits and misses; a share of 1")
    unpriced_hits: int
    saved_tokens: int
    saved_ms: int
    saved: list[SpentView]

    @classmethod
    def of(cls, found: CachedBy) -> CachedByView:
        """Render what the cache did."""
        looked_up = found.hits + found.misses
        return cls(
            app=found.app,
            hits=found.hits,
            similar_hits=found.similar_hits,
            shared_hits=found.shared_hits,
            misses=found.misses,
            refreshes=found.refreshes,
            hit_rate=found.hits / looked_up if looked_up else None,
            unpriced_hits=found.unpriced_hits,
            saved_tokens=found.saved_tokens,
            saved_ms=found.saved_ms,
            saved=[SpentView(amount=cost.amount, currency=cost.currency) for cost in found.saved],
        )


class CachePointView(BaseModel):
    """What the cache did with calls that began in one bucket; refreshes count as misses."""

    at: datetime
    hits: int
    misses: int


class CacheUseView(BaseModel):
    """A window, and what the cache did in it, by app and over time."""

    window: WindowName
    from_: datetime = Field(alias="from")
    to: datetime
    bucket_s: int
    items: list[CachedByView]
    series: list[CachePointView]


def traffic_router(traces: Traces) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["serving"])

    @routes.get("/provider-traffic", dependencies=[requires("control")], operation_id="get_provider_traffic")
    def get_provider_traffic(project: str, window: _Window = "15m") -> TrafficView:
        """Tell how the project's calls of each provider and engine went: rates, errors, latencies, newest failures."""
        found = traces.traffic(project, window, failures=FAILURES_SHOWN)
        minutes = found.window.length_ns / 60e9
        return TrafficView(
            window=window,
            **{"from": _time(found.window.from_ns)},
            to=_time(found.window.to_ns),
            bucket_s=found.bucket_s,
            items=[UpstreamTrafficView.of(each, minutes) for each in found.upstreams],
        )

    @routes.get("/cache-use", dependencies=[requires("control")], operation_id="get_cache_use")
    def get_cache_use(project: str, window: _Window = "24h") -> CacheUseView:
        """Tell how many calls the cache answered, and the tokens, time and money that this saved."""
        found = traces.cache_use(project, window)
        return CacheUseView(
            window=window,
            **{"from": _time(found.window.from_ns)},
            to=_time(found.window.to_ns),
            bucket_s=found.bucket_s,
            items=[CachedByView.of(each) for each in found.apps],
            series=[
                CachePointView(at=_time(each.start_ns), hits=each.hits, misses=each.misses) for each in found.series
            ],
        )

    return routes


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC)
