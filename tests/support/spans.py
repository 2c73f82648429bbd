"""Spans as gateways write them, and a store to put them into."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.kernel import SystemClock, Usage, new_span_id, new_trace_id
from tetrad.traces import Quarantine, Span, TraceLimits, Traces, encode_frame

SECOND_NS = 1_000_000_000
_segments = itertools.count(1)


def a_span(**given: Any) -> Span:
    """Return a root span that began a minute ago, with whatever is given."""
    start = given.pop("start_ns", time.time_ns() - 60 * SECOND_NS)
    values: dict[str, Any] = {
        "project": "default",
        "trace_id": new_trace_id(),
        "span_id": new_span_id(),
        "name": "chat",
        "kind": "SERVER",
        "status": "ok",
        "start_ns": start,
        "end_ns": start + SECOND_NS,
    }
    return Span(**{**values, **given})


def an_exchange(**given: Any) -> list[Span]:
    """Return the two spans of one request: the server's and its model call, which has tokens and a cost."""
    asked = given.pop("asked", "What is a tetrad?")
    said = given.pop("said", "Code, data, model and prompt.")
    usage, cost = given.pop("usage", Usage(100, 20, 0, 50, 5)), given.pop("cost", "0.0015")
    model, currency = given.pop("model", "local/smollm2-135m"), given.pop("currency", "USD")
    root = a_span(
        request_model="app:assistant",
        input=json.dumps({"messages": [{"role": "user", "content": asked}]}).encode(),
        output=json.dumps([{"role": "assistant", "content": said}]).encode(),
        **given,
    )
    call = a_span(
        **{
            **given,
            "trace_id": root.trace_id,
            "span_id": new_span_id(),
            "parent_id": root.span_id,
            "name": f"chat {model}",
            "kind": "CLIENT",
            "operation": "chat",
            "start_ns": root.start_ns + SECOND_NS // 100,
            "end_ns": root.end_ns,
            "first_chunk_ns": root.start_ns + SECOND_NS // 5,
            "request_model": model,
            "provider": "tetrad",
            "usage": usage,
            "cost": cost,
            "currency": currency,
            "input": root.input,
            "output": root.output,
        }
    )
    return [root, call]


def spool(spans: Iterable[Span]) -> bytes:
    """Return spans as a gateway spools them."""
    return b"".join(encode_frame(span) for span in spans)


@dataclass
class Kept:
    """Running traces over a real embedded store."""

    traces: Traces
    store: Any
    quarantine: Path

    def ship(self, spans: Iterable[Span], *, segment: str = "") -> None:
        """Store spans and wait until they are durable."""
        self.traces.ingest("0", segment or f"segment{next(_segments)}", 0, spool(spans))


@contextmanager
def kept_traces(folder: Path, limits: TraceLimits | None = None) -> Iterator[Kept]:
    """Open a store in a folder, lend the traces over it, and stop. One process can have one store open at a time."""
    from tetrad.traces._store import open_column_store

    store = open_column_store((folder / "telemetry").as_uri().replace("file:", "chdb:", 1))
    traces = Traces(store, SystemClock(), Quarantine(folder / "quarantine"), limits)
    traces.start()
    try:
        yield Kept(traces, store, folder / "quarantine")
    finally:
        traces.stop()
        store.close()
