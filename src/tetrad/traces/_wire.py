"""Traces as the API shows them. The console's types are made from these models."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from tetrad.kernel import nests_deeper
from tetrad.traces._model import CodeMatch
from tetrad.traces._service import WindowName
from tetrad.traces._views import (
    Cost,
    Measures,
    Overview,
    SpanContent,
    SpanRow,
    Tokens,
    Top,
    TraceDetail,
    TraceSummary,
)

DEFAULT_CURRENCY = "USD"
Status = Literal["unset", "ok", "error"]
ContentForm = Literal["none", "json", "text", "base64"]


class CostOut(BaseModel):
    """An amount as exact decimal text, and its ISO 4217 currency."""

    amount: str
    currency: str


class UsageOut(BaseModel):
    """Tokens in buckets that do not overlap; `total` is their sum."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    total: int


class TraceItem(BaseModel):
    """A trace in a list: the span that stands for it, and the sums of all its spans.

    `cost` is exact decimal text in `currency`, null where no price is known. Not in it are `unpriced_calls` model
    calls, which cost what nobody knows (those that failed and used nothing are none of them), and what was spent in
    `other_costs`' currencies.
    """

    trace_id: str
    span_id: str
    name: str
    kind: str
    status: Status
    status_message: str
    start: str = Field(description="RFC 3339, UTC, nanoseconds")
    start_ns: str = Field(description="nanoseconds since the epoch")
    end_ns: str
    duration_ms: float
    first_token_ms: float | None
    app: str
    ref: str
    release: str
    variant: str
    model: str = Field(description="the model that answered; the first of `models`")
    models: list[str]
    session: str
    user: str
    key_id: str
    http_status: int
    error_type: str
    stream: bool
    spans: int
    errors: int
    calls: int
    unpriced_calls: int
    usage: UsageOut
    cost: str | None
    currency: str
    other_costs: list[CostOut]
    code_match: CodeMatch
    input_preview: str
    output_preview: str


class SpanOut(BaseModel):
    """A span; its contents by preview and size. What was cut is named in the attribute `tetrad.cut`."""

    trace_id: str
    span_id: str
    parent_id: str = Field(description="empty for a root")
    name: str
    kind: str
    status: Status
    status_message: str
    start: str
    start_ns: str
    end_ns: str
    duration_ms: float
    first_chunk_ns: str = Field(description="when the first piece of the answer came; 0 where none did")
    first_token_ms: float | None
    operation: str
    provider: str
    request_model: str
    response_model: str
    response_id: str
    finish_reasons: list[str]
    usage: UsageOut | None
    cost: str | None
    currency: str
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
    code_match: CodeMatch
    session: str
    user: str
    unit: str
    key_id: str
    service: str
    input_preview: str
    input_bytes: int
    output_preview: str
    output_bytes: int
    attributes: dict[str, str]


class TraceOut(BaseModel):
    """A trace and its spans in the order of their start; where `next_cursor` is set, more follow."""

    trace: TraceItem
    start_ns: str = Field(description="when its first span began")
    end_ns: str = Field(description="when its last span ended")
    spans: list[SpanOut]
    truncated: bool
    next_cursor: str | None


class SpanContentOut(SpanOut):
    """A span with its whole input and output.

    A content is a JSON value, text, or base64 of other bytes, as its form says; null for `none`. It is `cut` where
    only its beginning was kept, or nothing is left.
    """

    input: Any
    input_form: ContentForm
    input_cut: bool
    output: Any
    output_form: ContentForm
    output_cut: bool


class MeasuresOut(BaseModel):
    """What happened in a stretch of time.

    Latencies are null where nothing was measured, `cost` is null where no price is known. `unpriced_calls` model calls
    are not in it; those that failed and used nothing are none of them.
    """

    requests: int
    errors: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    calls: int
    unpriced_calls: int
    input_tokens: int
    output_tokens: int
    usage: UsageOut
    cost: str | None
    other_costs: list[CostOut]


class PointOut(MeasuresOut):
    """One bucket of the series, from `at`."""

    at: str


class TopOut(MeasuresOut):
    """What one model, release or app had of the whole; `app` is the app of a release."""

    name: str
    app: str


class OverviewOut(BaseModel):
    """A window beside the one before it, as a series of buckets, and who had the most. Costs are in `currency`."""

    window: WindowName
    from_: str = Field(serialization_alias="from")
    to: str
    bucket_s: int
    currency: str
    totals: MeasuresOut
    previous: MeasuresOut
    series: list[PointOut]
    top_models: list[TopOut]
    top_releases: list[TopOut]
    top_apps: list[TopOut]


class ReceiptOut(BaseModel):
    """What became of a piece of spool; go on at `next_offset`."""

    next_offset: int
    spans: int
    refused: int
    damaged: int
    duplicate: bool


class RetentionIn(BaseModel):
    """How many days to keep; null for the setting's number."""

    keep_days: int | None = Field(default=None, ge=1, le=3650)


class DroppedOut(BaseModel):
    """The days that were forgotten, and how many spans."""

    days: list[str]
    rows: int


def rfc3339(ns: int) -> str:
    """Write a time with all nine digits."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _usage(tokens: Tokens) -> UsageOut:
    return UsageOut(
        input=tokens.input,
        cache_read=tokens.cache_read,
        cache_write=tokens.cache_write,
        output=tokens.output,
        reasoning=tokens.reasoning,
        total=tokens.total,
    )


def _split(costs: Sequence[Cost], currency: str) -> tuple[str | None, list[CostOut]]:
    """Return the amount in one currency, and the other amounts."""
    mine = next((cost.amount for cost in costs if cost.currency == currency), None)
    return mine, [CostOut(amount=cost.amount, currency=cost.currency) for cost in costs if cost.currency != currency]


def _main_currency(costs: Sequence[Cost]) -> str:
    """The currency that amounts are told in: US dollars where there are any, else the first."""
    known = [cost.currency for cost in costs]
    return DEFAULT_CURRENCY if DEFAULT_CURRENCY in known or not known else known[0]


def _ms(ns: int) -> float | None:
    return ns / 1e6 if ns else None


def _times(start_ns: int, end_ns: int) -> dict[str, Any]:
    return {
        "start": rfc3339(start_ns),
        "start_ns": str(start_ns),
        "end_ns": str(end_ns),
        "duration_ms": (end_ns - start_ns) / 1e6,
    }


_SAME_IN_ITEM = tuple(
    name for name in TraceItem.model_fields if name in SpanRow.__struct_fields__ and name not in ("start_ns", "cost")
)
_SAME_IN_SPAN = tuple(
    name
    for name in SpanOut.model_fields
    if name in SpanRow.__struct_fields__ and name not in ("start_ns", "cost", "finish_reasons")
)


def trace_item(summary: TraceSummary) -> TraceItem:
    """Render a trace for a list."""
    head, sums = summary.head, summary.sums
    currency = _main_currency(sums.costs)
    cost, others = _split(sums.costs, currency)
    models = list(sums.models)
    return TraceItem(
        **_times(head.start_ns, head.start_ns + head.duration_ns),
        **{name: getattr(head, name) for name in _SAME_IN_ITEM},
        first_token_ms=_ms(head.first_token_ns or sums.first_token_ns),
        model=models[0] if models else head.response_model or head.request_model,
        models=models,
        spans=sums.spans,
        errors=sums.errors,
        calls=sums.calls,
        unpriced_calls=sums.answers_without_cost,
        usage=_usage(sums.tokens),
        cost=cost,
        currency=currency,
        other_costs=others,
    )


def _span_fields(span: SpanRow) -> dict[str, Any]:
    return {
        **{name: getattr(span, name) for name in _SAME_IN_SPAN},
        **_times(span.start_ns, span.start_ns + span.duration_ns),
        "first_chunk_ns": str(span.start_ns + span.first_token_ns) if span.first_token_ns else "0",
        "first_token_ms": _ms(span.first_token_ns),
        "finish_reasons": list(span.finish_reasons),
        "usage": None if span.tokens is None else _usage(span.tokens),
        "cost": None if span.cost is None else span.cost.amount,
        "currency": DEFAULT_CURRENCY if span.cost is None else span.cost.currency,
    }


def trace_out(trace: TraceDetail, next_cursor: str | None) -> TraceOut:
    """Render a trace with a page of its spans."""
    return TraceOut(
        trace=trace_item(TraceSummary(trace.head, trace.sums)),
        start_ns=str(trace.start_ns),
        end_ns=str(trace.end_ns),
        spans=[SpanOut(**_span_fields(span)) for span in trace.spans],
        truncated=next_cursor is not None,
        next_cursor=next_cursor,
    )


def content_json(content: SpanContent) -> bytes:
    """Render a span with its contents; recorded JSON goes through as it is, however deep or wide it may be."""
    span = content.span
    given, given_form = _content(content.input, span.input_bytes)
    gave, gave_form = _content(content.output, span.output_bytes)
    return msgspec.json.encode(
        {
            **SpanOut(**_span_fields(span)).model_dump(mode="json"),
            "input": given,
            "input_form": given_form,
            "input_cut": len(content.input) < span.input_bytes,
            "output": gave,
            "output_form": gave_form,
            "output_cut": len(content.output) < span.output_bytes,
        }
    )


def _content(data: bytes, size: int) -> tuple[object, ContentForm]:
    if not data:
        return None, "none"
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # not JSON, or too deep to be sure: shown as text
    else:
        if not nests_deeper(data):  # or who asked could not read the answer
            return msgspec.Raw(data), "json"
    try:
        return data.decode("utf-8"), "text"
    except UnicodeDecodeError as error:
        # a content that was cut in the middle of a character is a text all the same
        if len(data) < size and error.start >= len(data) - 3:
            return data[: error.start].decode("utf-8"), "text"
        return base64.b64encode(data).decode("ascii"), "base64"


def _measures(measures: Measures, currency: str) -> dict[str, Any]:
    cost, others = _split(measures.costs, currency)
    return {
        "requests": measures.requests,
        "errors": measures.errors,
        "latency_p50_ms": measures.latency_p50_ms,
        "latency_p95_ms": measures.latency_p95_ms,
        "first_token_p50_ms": measures.first_token_p50_ms,
        "first_token_p95_ms": measures.first_token_p95_ms,
        "calls": measures.calls,
        "unpriced_calls": measures.answers_without_cost,
        "input_tokens": measures.tokens.input + measures.tokens.cache_read + measures.tokens.cache_write,
        "output_tokens": measures.tokens.output + measures.tokens.reasoning,
        "usage": _usage(measures.tokens),
        "cost": cost,
        "other_costs": others,
    }


def overview_out(name: WindowName, overview: Overview) -> OverviewOut:
    """Render an overview."""
    currency = _main_currency(overview.now.costs)

    def tops(found: Sequence[Top]) -> list[TopOut]:
        return [TopOut(name=top.name, app=top.app, **_measures(top.measures, currency)) for top in found]

    return OverviewOut(
        window=name,
        from_=rfc3339(overview.window.from_ns),
        to=rfc3339(overview.window.to_ns),
        bucket_s=overview.bucket_s,
        currency=currency,
        totals=MeasuresOut(**_measures(overview.now, currency)),
        previous=MeasuresOut(**_measures(overview.before, currency)),
        series=[
            PointOut(at=rfc3339(point.start_ns), **_measures(point.measures, currency)) for point in overview.series
        ],
        top_models=tops(overview.models),
        top_releases=tops(overview.releases),
        top_apps=tops(overview.apps),
    )
