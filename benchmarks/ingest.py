"""How fast spans become durable and how fast they are found again.

    python benchmarks/ingest.py [--spans 100000] [--json FILE]

One process, no HTTP: frames as a gateway spools them go through the same service as in production, and what it answers
is durable. Each exchange is two spans with 1 KB in and 1 KB out of random words (which compress badly). Reported are
spans per second, bytes on disk per span with and without contents, memory of the process, and the latency of the
questions that the console asks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PIECE_SPANS = 500
SECOND_NS = 1_000_000_000


def memory_mb() -> dict[str, int]:
    status = Path("/proc/self/status").read_text("ascii")
    values = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in status.splitlines() if "kB" in line}
    return {"rss": values["VmRSS"], "anonymous": values["RssAnon"], "files": values["RssFile"]}


def measured(question: Callable[[], object], times: int = 15) -> dict[str, float]:
    question()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        question()
        took.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": round(statistics.median(took), 1), "max_ms": round(max(took), 1)}


def pieces(spans: int, span_of_ns: int) -> list[bytes]:
    from tetrad.kernel import Usage, new_span_id, new_trace_id
    from tetrad.traces import Span, encode_frame

    words = [f"{random.choice('bcdfghklm')}{number:x}" for number in range(20_000)]
    text = lambda: " ".join(random.choices(words, k=170))  # noqa: E731
    start = time.time_ns() - span_of_ns
    made: list[bytes] = []
    frames = bytearray()
    for number in range(spans // 2):
        begin = start + number * (span_of_ns // max(1, spans // 2))
        trace_id, root = new_trace_id(), new_span_id()
        shared = {
            "project": "default", "trace_id": trace_id, "app": "assistant", "ref": "production", "status": "ok",
            "release": "sha256:" + "ab" * 32, "session": f"s{number % 997}", "user": f"u{number % 4999}",
            "input": json.dumps({"messages": [{"role": "user", "content": text()}]}).encode(),
            "output": json.dumps([{"role": "assistant", "content": text()}]).encode(), "http_status": 200,
            "attributes": {"gateway.table_version": "17", "upstream": "engine"},
        }  # fmt: skip
        frames += encode_frame(
            Span(span_id=root, name="chat app:assistant", kind="SERVER", start_ns=begin, end_ns=begin + SECOND_NS,
                 request_model="app:assistant", **shared)
        )  # fmt: skip
        frames += encode_frame(
            Span(span_id=new_span_id(), parent_id=root, name="chat smollm2", kind="CLIENT", operation="chat",
                 start_ns=begin + 1_000_000, end_ns=begin + SECOND_NS, first_chunk_ns=begin + SECOND_NS // 10,
                 request_model="smollm2", usage=Usage(input=120, output=60), cost="0.000123", attempt=1, **shared)
        )  # fmt: skip
        if (number + 1) * 2 % PIECE_SPANS == 0:
            made.append(bytes(frames))
            frames.clear()
    return [*made, bytes(frames)] if frames else made


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--spans", type=int, default=100_000)
    options.add_argument("--json", type=Path)
    options.add_argument("--senders", type=int, default=4, help="pieces that are under way at the same time")
    given = options.parse_args()
    from concurrent.futures import ThreadPoolExecutor

    from tetrad.kernel import SystemClock
    from tetrad.traces import Quarantine, TraceFilter, Traces
    from tetrad.traces._store import open_column_store

    folder = Path(tempfile.mkdtemp(prefix="tetrad-bench-"))
    before = memory_mb()
    began = time.perf_counter()
    store = open_column_store((folder / "telemetry").as_uri().replace("file:", "chdb:", 1))
    traces = Traces(store, SystemClock(), Quarantine(folder / "quarantine"))
    traces.start()
    opened_s, opened = time.perf_counter() - began, memory_mb()
    few = pieces(10, SECOND_NS)
    began = time.perf_counter()
    traces.ingest("first", "first", 0, few[0])
    first_s, first = time.perf_counter() - began, memory_mb()

    def send(number: int, piece: bytes) -> float:
        begun = time.perf_counter()
        traces.ingest(str(number % given.senders), "bench", number * 100_000_000, piece)
        return time.perf_counter() - begun

    latencies: list[float] = []
    stored, stored_s, cpu_s, peak = 0, 0.0, 0.0, first["rss"]
    with ThreadPoolExecutor(given.senders) as pool:
        while stored < given.spans:
            # made a batch at a time, outside the measurement: the generator must not be what is measured
            batch = pieces(min(20_000, given.spans - stored), 6 * 3600 * SECOND_NS)
            offset = stored
            cpu, began = time.process_time(), time.perf_counter()
            latencies += pool.map(lambda one, at=offset: send(at + one[0], one[1]), enumerate(batch))
            stored_s += time.perf_counter() - began
            cpu_s += time.process_time() - cpu
            stored += min(20_000, given.spans - stored)
            peak = max(peak, memory_mb()["rss"])
    after = memory_mb()
    window = traces.window(None, None)
    newest = traces.find("default", window, TraceFilter(), limit=50)
    trace_id = newest.items[-1].head.trace_id
    questions: dict[str, Callable[[], object]] = {
        "newest 50 traces": lambda: traces.find("default", window, TraceFilter(), limit=50),
        "newest 50 of one session": lambda: traces.find("default", window, TraceFilter(session="s5"), limit=50),
        "newest 50 with two words": lambda: traces.find("default", window, TraceFilter(text="b1 c2"), limit=50),
        "dearest 50 traces": lambda: traces.find("default", window, TraceFilter(), sort="cost", limit=50),
        "one trace": lambda: traces.show("default", trace_id),
        "overview of a day": lambda: traces.overview("default", "24h"),
    }
    answers = {name: measured(question) for name, question in questions.items()}
    sizes = {
        row[0]: (int(row[1]), int(row[2]))
        for row in store._db.select(
            "SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts "
            "WHERE active AND database = currentDatabase() "
            "GROUP BY table"
        )
    }
    latencies.sort()
    report = {
        "spans": stored,
        "spans_per_s": round(stored / stored_s),
        "cpu_s_per_1000_spans": round(cpu_s / stored * 1000, 3),
        "acknowledged_p50_ms": round(latencies[len(latencies) // 2] * 1000, 1),
        "acknowledged_p95_ms": round(latencies[int(len(latencies) * 0.95)] * 1000, 1),
        "row_bytes_per_span": round(sizes["spans"][0] / stored),
        "content_bytes_per_span": round(sizes["payloads"][0] / stored),
        "open_s": round(opened_s, 2),
        "first_insert_s": round(first_s, 3),
        "memory_mb": {
            "before": before["rss"], "open": opened, "after first insert": first, "peak": peak,
            "after load": after, "after queries": memory_mb(),
        },
        "questions": answers,
        "cores": os.cpu_count(),
    }  # fmt: skip
    traces.stop()
    store.close()
    import shutil

    shutil.rmtree(folder)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    for name, value in report.items():
        print(f"{name:24} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
