"""The telemetry store's process dies while it stores: nothing acknowledged is lost, nothing counts twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.spans import an_exchange, kept_traces, spool

PIECES = 60
EXCHANGES = 20
TOKENS = 175
_CHILD = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from support.spans import kept_traces
folder = Path(sys.argv[1])
with kept_traces(folder) as kept:
    print("ready", flush=True)
    for line in sys.stdin:
        number = int(line)
        data = (folder / f"{{number}}.piece").read_bytes()
        receipt = kept.traces.ingest("0", "segment", number * 10_000_000, data)
        assert receipt.spans == {spans}, receipt
        print(number, flush=True)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    code = _CHILD.format(path=sys.path, spans=2 * EXCHANGES)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_a_killed_store_loses_no_acknowledged_span_and_counts_none_twice(tmp_path: Path) -> None:
    traces = []
    for number in range(PIECES):
        spans = [span for _ in range(EXCHANGES) for span in an_exchange()]
        traces += [span.trace_id for span in spans[::2]]
        (tmp_path / f"{number}.piece").write_bytes(spool(spans))
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    acknowledged, kills = 0, 0
    while acknowledged < PIECES:
        child = start(tmp_path)
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            for number in range(acknowledged, PIECES):
                child.stdin.write(f"{number}\n")
                if kills < 3 and number >= (kills + 1) * PIECES // 5:
                    # anywhere between before the insert and after the acknowledgement
                    time.sleep(chance.uniform(0, 0.03))
                    child.send_signal(signal.SIGKILL)
                    kills += 1
                    acknowledged += len(child.stdout.read().split())
                    break
                assert child.stdout.readline() == f"{number}\n"
                acknowledged = number + 1
            else:
                child.stdin.close()
        finally:
            child.wait(30)
            child.stdin.close()
            child.stdout.close()
    assert kills == 3, seed
    with kept_traces(tmp_path) as kept:
        overview = kept.traces.overview("default", "15m").now
        assert overview.requests == overview.calls == PIECES * EXCHANGES, seed
        assert overview.tokens.total == PIECES * EXCHANGES * TOKENS, seed
        # a sender that never heard of its acknowledgements sends everything once more
        for number in range(PIECES):
            kept.traces.ingest("0", "segment", number * 10_000_000, (tmp_path / f"{number}.piece").read_bytes())
        again = kept.traces.overview("default", "15m").now
        assert (again.requests, again.tokens.total) == (overview.requests, overview.tokens.total), seed
        for trace_id in traces[:: len(traces) // 5]:
            trace = kept.traces.show("default", trace_id)
            assert (len(trace.spans), trace.sums.tokens.total) == (2, TOKENS)
            content = kept.traces.span("default", trace_id, trace.spans[0].span_id)
            assert json.loads(content.input)["messages"]


def test_a_second_process_cannot_open_a_store_in_use(tmp_path: Path) -> None:
    child = start(tmp_path)
    try:
        code = (
            "import sys; from tetrad.kit.telemetry_db import open_telemetry; from tetrad.kernel import TetradError\n"
            "try: open_telemetry(sys.argv[1])\n"
            "except TetradError as error: print(error.code)\n"
            "else: print('opened')\n"
        )
        address = (tmp_path / "telemetry").as_uri().replace("file:", "chdb:", 1)
        done = subprocess.run(
            [sys.executable, "-c", code, address], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.strip() == "telemetry_unavailable", done.stderr
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(30)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        child.stdout.close()
