"""Traces: taken in, listed, shown, followed, added up, forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from tetrad.kernel import Clock, InvalidInput, Money
from tetrad.traces._follow import Feed, Follower
from tetrad.traces._ingest import Ingest, IngestLimits, Receipt
from tetrad.traces._quarantine import Quarantine
from tetrad.traces._rows import DAY_NS, MAX_FUTURE_NS, RowLimits
from tetrad.traces._views import (
    SORTS,
    Announced,
    CachePoint,
    CacheUse,
    CallPoint,
    Dropped,
    Measures,
    Overview,
    Point,
    Position,
    SortField,
    SpanContent,
    StoreSize,
    TraceDetail,
    TraceFilter,
    TracePage,
    TraceSummary,
    TraceSums,
    Traffic,
    Used,
    UsedBy,
    Window,
)
from tetrad.traces.errors import BadWindow, SpanNotFound, TraceNotFound
from tetrad.traces.ports import SpanStore

_SECOND_NS = 1_000_000_000
WindowName = Literal["15m", "1h", "24h", "7d"]
WINDOWS: dict[WindowName, tuple[int, int]] = {
    "15m": (15 * 60, 15),
    "1h": (3600, 60),
    "24h": (86_400, 1800),
    "7d": (7 * 86_400, 3 * 3600),
}
"""Names of the overview's windows: length and bucket in seconds."""
STATUSES = ("ok", "error", "unset")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")
_LONGEST_FILTER = 500


@dataclass(frozen=True, slots=True)
class TraceLimits:
    """Bounds of what one question may ask, and of how long answers are kept."""

    keep_days: int = 90
    default_window_s: int = 86_400
    page_spans: int = 1000
    catch_up: int = 200
    followers: int = 64
    rows: RowLimits = field(default_factory=RowLimits)
    ingest: IngestLimits = field(default_factory=IngestLimits)


class Traces:
    """Everything that can be done with traces. Every question names its project; thread-safe.

    `start` begins two threads (one stores, one tells followers), `stop` stores what waits and ends them.
    """

    def __init__(
        self, store: SpanStore, clock: Clock, quarantine: Quarantine, limits: TraceLimits | None = None
    ) -> None:
        self.limits = limits or TraceLimits()
        self._store = store
        self._clock = clock
        self._feed = Feed(store.summaries, most_followers=self.limits.followers)
        self._ingest = Ingest(
            store, clock, quarantine, self._feed.announce, limits=self.limits.ingest, rows=self.limits.rows
        )

    def start(self) -> None:
        """Begin to take spans in."""
        self._feed.start()
        self._ingest.start()

    def stop(self) -> None:
        """Store what waits, let followers go, end the threads."""
        self._ingest.stop()
        self._feed.stop()

    @property
    def stopping(self) -> bool:
        """Whether followers should leave."""
        return self._feed.stopping

    def ingest(self, worker: str, segment: str, offset: int, data: bytes, *, final: bool = False) -> Receipt:
        """Store a piece of a gateway's spool; returns once it is durable. Sent again, it counts once all the same.

        Damaged frames and impossible spans are set aside and counted, the rest is stored. Raises `IngestBusy` where
        the sender should keep it and come again.
        """
        return self._ingest.take(worker, segment, offset, data, final=final)

    def metrics(self) -> dict[str, int]:
        """Return counters and gauges by name, for /metrics."""
        return {
            **{f"traces_{name}_total": value for name, value in self._ingest.counters.shown().items()},
            "traces_queue_pieces": self._ingest.queued_pieces,
            "traces_queue_bytes": self._ingest.queued_bytes,
        }

    def window(self, from_ns: int | None, to_ns: int | None) -> Window:
        """Return a checked window; what is not given is the default length, until now.

        "Until now" includes spans of machines whose clock runs up to a minute ahead.
        """
        to = self._clock.now_ns() + 60 * _SECOND_NS if to_ns is None else to_ns
        begin = to - self.limits.default_window_s * _SECOND_NS if from_ns is None else from_ns
        if begin >= to:
            raise BadWindow("the window ends before it begins", hint="`from` must be earlier than `to`")
        latest = self._clock.now_ns() + 2 * MAX_FUTURE_NS
        oldest = self._clock.now_ns() - self.limits.rows.keep_days * DAY_NS
        return Window(min(max(begin, oldest), latest - 1), max(min(to, latest), oldest + 1))

    def find(
        self,
        project: str,
        window: Window,
        only: TraceFilter,
        *,
        sort: SortField = "start",
        descending: bool = True,
        after: Position | None = None,
        limit: int = 50,
    ) -> TracePage:
        """Return a page of traces. Going on from `next` neither repeats nor skips what was there at the first page."""
        if sort not in SORTS:
            raise InvalidInput(f"traces cannot be sorted by {sort!r}", hint=f"one of {', '.join(SORTS)}")
        return self._store.traces(project, window, check_filter(only), sort, descending, after, limit)

    def show(
        self,
        project: str,
        trace_id: str,
        *,
        after: tuple[int, str] | None = None,
        limit: int | None = None,
        hint_ns: int | None = None,
    ) -> TraceDetail:
        """Return a trace with its spans in the order of their start, at most `page_spans` at once.

        `hint_ns` is about when it began: it spares the search in older days.
        """
        found = self._store.locate(project, _id(trace_id, _TRACE_ID, "trace"), hint_ns)
        if found is None:
            raise TraceNotFound(
                f"there is no trace {trace_id!r} in this project",
                hint=f"traces are kept for {self.limits.keep_days} days; a new one takes a moment to arrive",
            )
        stretch, sums = found
        most = min(limit or self.limits.page_spans, self.limits.page_spans)
        spans = self._store.spans(project, trace_id, stretch, after, most + 1)
        more = len(spans) > most
        spans = spans[:most]
        listed = self._store.summaries(project, [trace_id], stretch)
        first = listed[0].head if listed else self._store.spans(project, trace_id, stretch, None, 1)[0]
        return TraceDetail(
            trace_id,
            first,
            sums,
            stretch.from_ns,
            stretch.to_ns,
            tuple(spans),
            (spans[-1].start_ns, spans[-1].span_id) if more else None,
        )

    def span(self, project: str, trace_id: str, span_id: str, *, hint_ns: int | None = None) -> SpanContent:
        """Return a span with its whole input and output."""
        _id(span_id, _SPAN_ID, "span")
        found = self._store.locate(project, _id(trace_id, _TRACE_ID, "trace"), hint_ns)
        content = None if found is None else self._store.content(project, trace_id, span_id, found[0])
        if content is None:
            raise SpanNotFound(f"there is no span {span_id!r} in the trace {trace_id!r} of this project")
        return content

    def overview(self, project: str, name: WindowName, *, app: str = "") -> Overview:
        """Add the last 15 minutes, hour, day or week up, beside the time before. Every bucket is there, also empty."""
        window, bucket_s = self._named(name)
        found = self._store.overview(project, window, bucket_s, app)
        points = {point.start_ns: point for point in found.series}
        series = tuple(points.get(at, Point(at, Measures())) for at in _buckets(window, bucket_s))
        return msgspec.structs.replace(found, series=series)

    def traffic(self, project: str, name: WindowName = "15m", *, failures: int = 5) -> Traffic:
        """Tell how each upstream that a project called did in one of the overview's windows. Every bucket is there."""
        window, bucket_s = self._named(name)
        found = self._store.traffic(project, window, bucket_s, failures)
        upstreams = []
        for each in found.upstreams:
            points = {point.start_ns: point for point in each.series}
            series = tuple(points.get(at, CallPoint(at)) for at in _buckets(window, bucket_s))
            upstreams.append(msgspec.structs.replace(each, series=series))
        return msgspec.structs.replace(found, upstreams=tuple(upstreams))

    def cache_use(self, project: str, name: WindowName = "24h") -> CacheUse:
        """Tell what the cache did for a project in one of the overview's windows. Every bucket is there."""
        window, bucket_s = self._named(name)
        found = self._store.cache_use(project, window, bucket_s)
        points = {point.start_ns: point for point in found.series}
        series = tuple(points.get(at, CachePoint(at)) for at in _buckets(window, bucket_s))
        return msgspec.structs.replace(found, series=series)

    def _named(self, name: WindowName) -> tuple[Window, int]:
        """Return the window of that name that ends with the present bucket, and the seconds of a bucket."""
        if name not in WINDOWS:
            raise BadWindow(f"{name!r} is no window of the overview", hint=f"one of {', '.join(WINDOWS)}")
        length_s, bucket_s = WINDOWS[name]
        bucket_ns = bucket_s * _SECOND_NS
        end = -(-self._clock.now_ns() // bucket_ns) * bucket_ns
        return Window(end - length_s * _SECOND_NS, end), bucket_s

    def announced(self, project: str, app: str, *, last_s: int, limit: int = 100) -> list[Announced]:
        """Return the code that requests of an app announced in the last seconds, by key and service, newest first."""
        now_ns = self._clock.now_ns()
        window = self.window(now_ns - last_s * _SECOND_NS, now_ns + 60 * _SECOND_NS)
        return self._store.announced(project, window, app, limit)

    def used(self, project: str, window: Window, by: UsedBy, *, limit: int = 1000) -> list[Used]:
        """Add up the calls of models in a window, by who or what made them; those with most calls first."""
        return self._store.used(project, window, by, limit)

    def batch_sums(self, project: str, batch: str, key: str, window: Window) -> TraceSums:
        """Add up what the calls of a batch's lines used and cost, of those in a window; the key made the batch."""
        return self._store.batch_sums(project, batch, key, window)

    def follow(self, project: str, wake: Callable[[], None]) -> Follower:
        """Return a mailbox of traces that arrive from now on; `wake` is called from another thread."""
        return self._feed.join(project, wake)

    def unfollow(self, follower: Follower) -> None:
        """Give a mailbox back."""
        self._feed.leave(follower)

    def arrived_after(self, project: str, ingested_ns: int, trace_id: str) -> list[TraceSummary]:
        """Return what arrived behind a trace that a follower saw last, oldest first, at most `catch_up` of them."""
        return self._store.arrived_after(project, ingested_ns, trace_id, self.limits.catch_up)

    def retain(self, keep_days: int | None = None) -> Dropped:
        """Forget what began more than `keep_days` days ago (the setting's number where none is given), day by day."""
        days = self.limits.keep_days if keep_days is None else keep_days
        if days < 1:
            raise InvalidInput(f"{days} days cannot be kept", hint="at least 1")
        return self._store.drop_before(self._clock.now_ns() // DAY_NS - days)

    def size(self) -> StoreSize:
        """Tell how much is kept, over all projects."""
        return self._store.size()


def _buckets(window: Window, bucket_s: int) -> range:
    """Return when each bucket of a window begins."""
    return range(window.from_ns, window.to_ns, bucket_s * _SECOND_NS)


def check_filter(only: TraceFilter) -> TraceFilter:
    """Return a filter that can be asked, or refuse it with `InvalidInput`."""
    for name in ("app", "release", "binding", "ref", "model", "session", "user", "key", "name", "text"):
        if len(getattr(only, name)) > _LONGEST_FILTER:
            raise InvalidInput(f"the filter {name!r} has more than {_LONGEST_FILTER} characters")
    if only.status and only.status not in STATUSES:
        raise InvalidInput(f"{only.status[:60]!r} is no status", hint=f"one of {', '.join(STATUSES)}")
    if only.min_cost:
        Money.parse(only.min_cost, only.currency)
    return only


def _id(text: str, form: re.Pattern[str], what: str) -> str:
    if not form.fullmatch(text):
        length = 32 if what == "trace" else 16
        raise InvalidInput(f"{text[:60]!r} is no {what} id", hint=f"{length} lower-case hex digits", code="bad_id")
    return text
