"""The API of the traces."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from tetrad.kernel import InvalidInput
from tetrad.kit.http import Page, PageParams, bad_cursor, decode_cursor, encode_cursor, parse_sort, requires
from tetrad.traces._service import Traces, WindowName, check_filter
from tetrad.traces._views import SORTS, Position, SortField, TraceFilter, TraceSummary, matches
from tetrad.traces._wire import (
    DroppedOut,
    OverviewOut,
    ReceiptOut,
    RetentionIn,
    SpanContentOut,
    TraceItem,
    TraceOut,
    content_json,
    overview_out,
    trace_item,
    trace_out,
)
from tetrad.traces.errors import BadWindow, ChunkTooLarge

HEARTBEAT_S = 15.0
_EVENT_ID = re.compile(r"([0-9]{1,19})-([0-9a-f]{32})")
_NANOSECONDS = re.compile(r"[0-9]{1,19}")
_COST = re.compile(r"-1|[0-9]{1,20}(\.[0-9]{1,12})?")
_SORTS: dict[str, SortField] = {name: name for name in SORTS}
_SORT_HELP = "start, duration, cost, tokens or first_token; with `-` before it, the largest first"
_BYTES = {"type": "string", "format": "binary"}
_Text = Annotated[str, Query(max_length=500)]
_Time = Annotated[str | None, Query(max_length=40, description="RFC 3339, or nanoseconds since the epoch")]


def _is_value(field: str, value: str) -> bool:
    """Tell whether traces can be compared with this, which a cursor told, in a sort."""
    if field == "cost":
        return _COST.fullmatch(value) is not None
    return _NANOSECONDS.fullmatch(value) is not None and int(value) < 2**63 - 1


def parse_time(text: str | None, name: str) -> int | None:
    """Read RFC 3339 or nanoseconds since the epoch, as nanoseconds; a time without a zone is UTC."""
    if not text:
        return None
    if _NANOSECONDS.fullmatch(text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadWindow(
            f"{name!r} is {text!r}, which is no time", hint="2026-01-31T12:00:00Z, or nanoseconds since the epoch"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def _filter(
    app: _Text = "",
    release: _Text = "",
    binding: _Text = "",
    ref: _Text = "",
    model: _Text = "",
    status: Literal["", "ok", "error", "unset"] = "",
    session: _Text = "",
    user: _Text = "",
    key: Annotated[str, Query(max_length=500, description="The id of the key that asked")] = "",
    name: Annotated[str, Query(max_length=500, description="A part of the name")] = "",
    q: Annotated[
        str, Query(max_length=500, description="Words in the beginning of an input, an output or an error")
    ] = "",
    min_duration_ms: Annotated[float, Query(ge=0, le=1e10)] = 0,
    min_cost: Annotated[str, Query(max_length=30)] = "",
    currency: Annotated[str, Query(pattern="^[A-Z]{3}$", description="Of min_cost and of the order by cost")] = "USD",
) -> TraceFilter:
    least_ns = int(min_duration_ms * 1e6)
    return check_filter(
        TraceFilter(
            app, release, ref, model, status, session, user, key, name, q, least_ns, min_cost, currency, binding
        )
    )


_Filter = Annotated[TraceFilter, Depends(_filter)]


def router(service: Traces, *, heartbeat_s: float = HEARTBEAT_S) -> APIRouter:
    """Return the routes of the traces, and of the spool that gateways ship."""
    api = APIRouter(tags=["traces"])
    project = "/api/v1/projects/{project}"

    @api.get(
        f"{project}/traces",
        dependencies=[requires("control")],
        operation_id="list_traces",
        response_model=Page[TraceItem],
    )
    def list_traces(
        project: str,
        page: PageParams,
        only: _Filter,
        from_: Annotated[_Time, Query(alias="from")] = None,
        to: _Time = None,
        sort: Annotated[str | None, Query(max_length=20, description=_SORT_HELP)] = None,
    ) -> Page[TraceItem]:
        """List traces that began in a window (by default the last day), newest first."""
        field, descending = parse_sort(sort, _SORTS, "-start")
        listing = f"{project}\n{field}\n{descending}\n{only}\n{from_}\n{to}"
        if page.cursor:
            # the window is the first page's: "until now" would let new traces push old ones across pages
            begin, end, value, trace_id = decode_cursor(listing, page.cursor, (int, int, str, str))
            assert isinstance(begin, int)  # noqa: S101 - decode_cursor checked the types
            assert isinstance(end, int)  # noqa: S101
            if not _is_value(field, str(value)):
                raise bad_cursor()
            window, after = service.window(begin, end), Position(str(value), str(trace_id))
        else:
            window, after = service.window(parse_time(from_, "from"), parse_time(to, "to")), None
        found = service.find(
            project, window, only, sort=_SORTS[field], descending=descending, after=after, limit=page.limit
        )
        cursor = (
            None
            if found.next is None
            else encode_cursor(listing, (window.from_ns, window.to_ns, found.next.value, found.next.trace_id))
        )
        return Page(items=[trace_item(item) for item in found.items], next_cursor=cursor)

    @api.get(
        f"{project}/traces/stream",
        dependencies=[requires("control")],
        operation_id="stream_traces",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "events `trace` (a TraceItem) and `gap`"}
        },
    )
    async def stream_traces(
        project: str, only: _Filter, last_event_id: Annotated[str, Header(max_length=80)] = ""
    ) -> StreamingResponse:
        """Follow traces as they arrive. With `Last-Event-ID`, begin with what arrived since."""
        seen = _EVENT_ID.fullmatch(last_event_id)
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        follower = service.follow(project, lambda: _wake(loop, arrived))

        async def events() -> AsyncIterator[bytes]:
            try:
                yield b"retry: 2000\n\n"
                if seen is not None:
                    earlier = await run_in_threadpool(service.arrived_after, project, int(seen[1]), seen[2])
                    for item in earlier:
                        if matches(item, only):
                            yield _event(item)
                while not service.stopping:
                    try:
                        async with asyncio.timeout(heartbeat_s):
                            await arrived.wait()
                    except TimeoutError:
                        yield b": still here\n\n"
                        continue
                    arrived.clear()
                    items, missed = follower.take()
                    if missed:
                        yield b'event: gap\ndata: {"missed":%d}\n\n' % missed
                    for item in items:
                        if matches(item, only):
                            yield _event(item)
            finally:
                service.unfollow(follower)

        return StreamingResponse(
            events(),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @api.get(
        f"{project}/traces/{{trace_id}}",
        dependencies=[requires("control")],
        operation_id="get_trace",
        response_model=TraceOut,
    )
    def get_trace(
        project: str,
        trace_id: str,
        limit: Annotated[int | None, Query(ge=1, le=10_000, description="Spans at most")] = None,
        cursor: Annotated[str | None, Query(max_length=1024)] = None,
        at: Annotated[str | None, Query(max_length=40, description="About when it began: spares a search")] = None,
    ) -> TraceOut:
        """Show a trace: its sums, and its spans in the order of their start, a page at a time."""
        listing, after = f"{project}\n{trace_id}", None
        if cursor:
            start, span_id = decode_cursor(listing, cursor, (int, str))
            assert isinstance(start, int)  # noqa: S101 - decode_cursor checked the types
            after = (start, str(span_id))
        trace = service.show(project, trace_id, after=after, limit=limit, hint_ns=parse_time(at, "at"))
        return trace_out(trace, None if trace.next is None else encode_cursor(listing, trace.next))

    @api.get(
        f"{project}/traces/{{trace_id}}/spans/{{span_id}}",
        dependencies=[requires("control")],
        operation_id="get_span",
        response_model=SpanContentOut,
    )
    def get_span(
        project: str, trace_id: str, span_id: str, at: Annotated[str | None, Query(max_length=40)] = None
    ) -> Response:
        """Show a span with its whole input and output."""
        content = service.span(project, trace_id, span_id, hint_ns=parse_time(at, "at"))
        return Response(content_json(content), media_type="application/json")

    @api.get(
        f"{project}/overview",
        dependencies=[requires("control")],
        operation_id="get_overview",
        response_model=OverviewOut,
    )
    def get_overview(project: str, window: WindowName = "24h", app: _Text = "") -> OverviewOut:
        """Add a window up: requests, errors, latency, tokens, cost; beside the window before, and bucket by bucket."""
        return overview_out(window, service.overview(project, window, app=app))

    @api.post(
        "/internal/v1/spool/{worker}/{segment}",
        dependencies=[requires("internal")],
        operation_id="ship_spool",
        response_model=ReceiptOut,
        openapi_extra={"requestBody": {"content": {"application/octet-stream": {"schema": _BYTES}}}},
    )
    async def ship_spool(
        request: Request,
        worker: str,
        segment: str,
        offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        final: Annotated[bool, Query(description="Nothing follows in this segment")] = False,
    ) -> ReceiptOut:
        """Take a piece of a gateway's spool; the answer means that its spans are durable."""
        data = await _body(request, service.limits.ingest.chunk_bytes)
        receipt = await run_in_threadpool(service.ingest, worker, segment, offset, data, final=final)
        return ReceiptOut(
            next_offset=receipt.next_offset,
            spans=receipt.spans,
            refused=receipt.refused,
            damaged=receipt.damaged,
            duplicate=receipt.duplicate,
        )

    @api.post(
        "/internal/v1/traces/retention",
        dependencies=[requires("internal")],
        operation_id="retain_traces",
        response_model=DroppedOut,
    )
    def retain_traces(wanted: RetentionIn) -> DroppedOut:
        """Forget traces that began before the days to keep."""
        dropped = service.retain(wanted.keep_days)
        return DroppedOut(days=list(dropped.days), rows=dropped.rows)

    return api


def _wake(loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
    # the server may close the loop between a look at it and the call
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(arrived.set)


def _event(summary: TraceSummary) -> bytes:
    data = trace_item(summary).model_dump_json().encode()
    return b"event: trace\nid: %d-%s\ndata: %s\n\n" % (summary.head.ingested_ns, summary.head.trace_id.encode(), data)


async def _body(request: Request, most: int) -> bytes:
    """Read a body, but not past the limit: a length that is stated is refused at once, others when they get there."""
    stated = request.headers.get("content-length", "")
    if stated and not stated.isdecimal():
        raise InvalidInput("the content-length is no number")
    body = bytearray()
    if not stated or int(stated) <= most:
        async for part in request.stream():
            body += part
            if len(body) > most:
                break
        else:
            return bytes(body)
    raise ChunkTooLarge(f"the piece has more than {most} bytes", hint="send smaller pieces, cut between frames")
