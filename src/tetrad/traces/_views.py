"""What is read back: questions about traces and their answers. Frozen values."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

SortField = Literal["start", "duration", "cost", "tokens", "first_token"]
SORTS: tuple[SortField, ...] = ("start", "duration", "cost", "tokens", "first_token")


class Window(msgspec.Struct, frozen=True):
    """A half-open stretch of time in nanoseconds since the epoch: from `from_ns`, up to but without `to_ns`."""

    from_ns: int
    to_ns: int

    @property
    def length_ns(self) -> int:
        """How long it is."""
        return self.to_ns - self.from_ns

    def before(self) -> Window:
        """The window of the same length that ends where this one begins."""
        return Window(self.from_ns - self.length_ns, self.from_ns)


class TraceFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which traces; what is empty does not filter.

    All concern the span that stands for the trace, except `model` (any model call in the trace, asked for or
    answering) and `text` (words in the preview of any of its spans' inputs, outputs or errors).
    """

    app: str = ""
    release: str = ""
    ref: str = ""
    model: str = ""
    status: str = ""
    session: str = ""
    user: str = ""
    key: str = ""
    name: str = ""
    text: str = ""
    min_duration_ns: int = 0
    min_cost: str = ""
    currency: str = "USD"
    binding: str = ""


class Position(msgspec.Struct, frozen=True):
    """Where a page of traces ended: the sort value as text, and the trace."""

    value: str
    trace_id: str


class Cost(msgspec.Struct, frozen=True):
    """An amount as exact decimal text, and its currency."""

    amount: str
    currency: str


class Tokens(msgspec.Struct, frozen=True):
    """Tokens in disjoint buckets."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    total: int = 0


class TraceSums(msgspec.Struct, frozen=True):
    """What the spans of one trace add up to.

    Nobody knows what `answers_without_cost` cost, of which some broke off; the others of `calls_without_cost` failed
    and told of nothing that they used.
    """

    spans: int = 0
    errors: int = 0
    calls: int = 0
    calls_without_cost: int = 0
    tokens: Tokens = Tokens()
    costs: tuple[Cost, ...] = ()
    models: tuple[str, ...] = ()
    first_token_ns: int = 0
    answers_without_cost: int = 0


class SpanRow(msgspec.Struct, frozen=True):
    """A span without its contents, which it knows by preview, digest and size."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    status: str
    status_message: str
    start_ns: int
    duration_ns: int
    first_token_ns: int
    operation: str
    provider: str
    request_model: str
    response_model: str
    response_id: str
    finish_reasons: tuple[str, ...]
    tokens: Tokens | None
    cost: Cost | None
    stream: bool
    attempt: int
    http_status: int
    error_type: str
    app: str
    ref: str
    release: str
    binding: str
    variant: str
    prompt_name: str
    prompt_version: str
    code_digest: str
    code_match: str
    session: str
    user: str
    unit: str
    key_id: str
    service: str
    input_preview: str
    input_digest: str
    input_bytes: int
    output_preview: str
    output_digest: str
    output_bytes: int
    attributes: dict[str, str]
    ingested_ns: int


class TraceSummary(msgspec.Struct, frozen=True):
    """A trace in a list: the span that stands for it, and the sums of all its spans."""

    head: SpanRow
    sums: TraceSums


class TracePage(msgspec.Struct, frozen=True):
    """A page of a list; `next` is None on the last one."""

    items: tuple[TraceSummary, ...]
    next: Position | None


class TraceDetail(msgspec.Struct, frozen=True):
    """A trace: the span that stands for it, its sums, and a stretch of its spans in the order of their start.

    `next` is where to go on.
    """

    trace_id: str
    head: SpanRow
    sums: TraceSums
    start_ns: int
    end_ns: int
    spans: tuple[SpanRow, ...]
    next: tuple[int, str] | None


class SpanContent(msgspec.Struct, frozen=True):
    """A span with what it was given and what it gave, as far as they were recorded and kept."""

    span: SpanRow
    input: bytes
    output: bytes


class Measures(msgspec.Struct, frozen=True):
    """What happened in a stretch of time. Latencies are None where nothing was measured."""

    requests: int = 0
    errors: int = 0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    first_token_p50_ms: float | None = None
    first_token_p95_ms: float | None = None
    calls: int = 0
    calls_without_cost: int = 0
    tokens: Tokens = Tokens()
    costs: tuple[Cost, ...] = ()
    answers_without_cost: int = 0


UsedBy = Literal["key", "app", "model", "user", "release"]


class Used(msgspec.Struct, frozen=True):
    """What one key, app, model, user or release used of models, in calls.

    Nobody knows what `answers_without_cost` cost, of which some broke off; the others of `calls_without_cost` failed
    and told of nothing that they used.
    """

    name: str
    calls: int
    errors: int
    calls_without_cost: int
    tokens: Tokens
    costs: tuple[Cost, ...]
    answers_without_cost: int


class CallFailure(msgspec.Struct, frozen=True):
    """A call of a model that failed, as far as its key's policy let it be recorded."""

    at_ns: int
    model: str
    error_type: str
    message: str
    http_status: int
    trace_id: str


class CallPoint(msgspec.Struct, frozen=True):
    """Calls in one bucket of a series, and how many of them failed."""

    start_ns: int
    calls: int = 0
    errors: int = 0


class UpstreamTraffic(msgspec.Struct, frozen=True):
    """How calls of one upstream went. Answers from the cache are none of its calls.

    Calls that their clients gave up are `cancelled` and no errors. Latencies are those of calls that did not fail,
    None where there are none. `failures` are the newest.
    """

    name: str
    calls: int
    errors: int
    cancelled: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    failures: tuple[CallFailure, ...] = ()
    series: tuple[CallPoint, ...] = ()


class Traffic(msgspec.Struct, frozen=True):
    """A window, bucket by bucket, and how each upstream did in it; those with most calls first."""

    window: Window
    bucket_s: int
    upstreams: tuple[UpstreamTraffic, ...]


class CachedBy(msgspec.Struct, frozen=True):
    """What the cache did for the calls of one app, those of no app where `app` is empty.

    `shared_hits` were found in the server that gateways share: mostly what another one paid for. `misses` were answered
    by a model, and kept where they could be; `refreshes` asked for that. `saved` adds up what
    the answers had cost when they were made; that of `unpriced_hits` is not known.
    """

    app: str
    hits: int
    similar_hits: int
    shared_hits: int
    misses: int
    refreshes: int
    unpriced_hits: int
    saved_tokens: int
    saved_ms: int
    saved: tuple[Cost, ...]


class CachePoint(msgspec.Struct, frozen=True):
    """What the cache did in one bucket of a series."""

    start_ns: int
    hits: int = 0
    misses: int = 0


class CacheUse(msgspec.Struct, frozen=True):
    """What the cache did in a window: by app, and bucket by bucket."""

    window: Window
    bucket_s: int
    apps: tuple[CachedBy, ...]
    series: tuple[CachePoint, ...]


class Point(msgspec.Struct, frozen=True):
    """One bucket of a series."""

    start_ns: int
    measures: Measures


class Top(msgspec.Struct, frozen=True):
    """What one model, release or app had of the whole; `app` is the app of a release."""

    name: str
    measures: Measures
    app: str = ""


class Overview(msgspec.Struct, frozen=True):
    """A window, the one before it, a series of buckets, and who had the most."""

    window: Window
    bucket_s: int
    now: Measures
    before: Measures
    series: tuple[Point, ...]
    models: tuple[Top, ...]
    releases: tuple[Top, ...]
    apps: tuple[Top, ...]


class Dropped(msgspec.Struct, frozen=True):
    """What a retention run removed: days by name, rows by number."""

    days: tuple[str, ...]
    rows: int


class StoreSize(msgspec.Struct, frozen=True):
    """How much is kept, over all projects; `damaged_parts` were found damaged at a start and are not shown."""

    spans: int
    bytes_on_disk: int
    oldest_day: str
    damaged_parts: int = 0


def matches(summary: TraceSummary, only: TraceFilter) -> bool:
    """Tell whether a trace passes a filter, as far as a list's row can tell: `text` looks at its own previews."""
    head, sums = summary.head, summary.sums
    wanted = (
        (only.app, head.app),
        (only.release, head.release),
        (only.binding, head.binding),
        (only.ref, head.ref),
        (only.status, head.status),
        (only.session, head.session),
        (only.user, head.user),
        (only.key, head.key_id),
    )
    if any(want and want != have for want, have in wanted):
        return False
    if only.model and only.model not in (*sums.models, head.request_model, head.response_model):
        return False
    if only.name and only.name.lower() not in head.name.lower():
        return False
    if head.duration_ns < only.min_duration_ns:
        return False
    if only.min_cost:
        spent = sum((Decimal(cost.amount) for cost in sums.costs if cost.currency == only.currency), Decimal(0))
        if spent < Decimal(only.min_cost):
            return False
    text = only.text.lower()
    return not text or any(
        text in place.lower() for place in (head.input_preview, head.output_preview, head.status_message)
    )


class Announced(msgspec.Struct, frozen=True):
    """Code that callers of an app said they run: whose key, which service, how many requests, the last of them."""

    code: str
    key_id: str
    service: str
    requests: int
    last_ns: int
