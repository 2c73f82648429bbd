"""A seeded run of requests and faults through a real gateway, and the books of everybody compared at its end.

    python -m support.fault_run [--requests 1000000] [--seed 1] [--connections 64]

The upstream, the clients and the gateway are processes of their own; control is a thread that grants leases of a budget
and adds spans up. `Books` is what they said; `check` raises `AssertionError` where they contradict each other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from support import gateway as g
from support.fake_control import FakeControl
from support.fault_client import FAILED, GONE, TORN, WHOLE
from support.fault_plan import FAULTS, PRICE, plan
from support.gateway import GatewayProcess, prepare_home
from support.limits import MemoryStore, rule, stored
from support.wait import wait_until
from tetrad.kernel import SystemClock
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._model import cost_units
from tetrad.serving import KeyEntry, ModelEntry, ModelRoute, Price, RouteTable, Upstream
from tetrad.traces import Span

TESTS = Path(__file__).parents[1]
CANCELLED_WITHIN_S = 0.5
"""How soon an upstream must be told that nobody waits for its answer any more."""
STALL_S = 3.0
"""How long an upstream may say nothing: longer than a busy machine keeps a process from its turn."""
SPARE_FILES = 2
"""So many files may be open more or less: a segment that is shipped, a lease that is told of just now."""
BUDGET, AT_ONCE = rule("money", 1_000_000, period="total"), rule("concurrency", 4_000)
_WARM_UP = 500


class Spans:
    """What the spans of a run say, added up by number as they come."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed = seed
        self.roots = bytearray(count)
        self.exact = bytearray(count)
        self.estimated = bytearray(count)
        self.units = 0
        self.wrong: list[str] = []

    def __call__(self, spans: list[Span]) -> None:
        """Take some in."""
        for span in spans:
            number = int(span.trace_id[16:], 16) - 1
            if span.kind == "SERVER":
                self.roots[number] += 1
                continue
            units = 0 if span.cost is None else cost_units(span.cost)
            self.units += units
            if span.usage is not None:
                self.exact[number] += 1
                if units != plan(self._seed, number).cost_units:
                    self.wrong.append(f"request {number} cost {units} by its span: {span.usage}")
            elif span.cost is not None:
                self.estimated[number] += 1


@dataclass
class State:
    """What a gateway holds at one moment; `files` are those that are no connections to its upstream or to control."""

    files: int
    tasks: int
    in_flight: int
    calls: int
    idle: int


@dataclass
class Books:
    """Everybody's account of a run; times are seconds, memory is MB of proportional set size."""

    seed: int
    count: int
    seconds: float
    outcomes: bytes
    counts: dict[str, int]
    wrong: list[str]
    wrongs: int
    gone_ns: dict[int, int]
    lost_ns: dict[int, int]
    calls: bytes
    served: bytes
    spans: Spans
    spent_units: int
    uncertain_units: int
    unknown_calls: int
    at_once_left: int
    before: State
    after: State
    upstream_open: int
    memory: list[tuple[int, float]] = field(default_factory=list)
    gateway_log: str = ""

    @property
    def faults(self) -> Counter[str]:
        """How many requests met each fault."""
        return Counter(asked.fault for number in range(self.count) if (asked := plan(self.seed, number)).fault)

    @property
    def lags_s(self) -> list[float]:
        """How long after their client each of the calls that were given up ended, the longest last."""
        return sorted(
            (ns - self.gone_ns[number]) / 1e9 for number, ns in self.lost_ns.items() if number in self.gone_ns
        )

    @property
    def warm_mb(self) -> float:
        """What the gateway weighed after its first tenth."""
        return next(mb for done, mb in self.memory if done >= self.count // 10)

    @property
    def end_mb(self) -> float:
        """What it weighed at the end."""
        return self.memory[-1][1]

    def summary(self) -> dict[str, Any]:
        """Return the numbers for people."""
        lags = self.lags_s
        return {
            "requests": self.count, "seed": self.seed, "seconds": round(self.seconds, 1),
            "per_s": round(self.count / self.seconds), "faults": dict(sorted(self.faults.items())),
            "outcomes": dict(sorted(self.counts.items())), "wrong_answers": self.wrongs,
            "spans_usd": str(Decimal(self.spans.units).scaleb(-12)),
            "budget_usd": str(Decimal(self.spent_units).scaleb(-12)),
            "cancelled": len(lags), "cancel_p50_ms": round(lags[len(lags) // 2] * 1000, 1),
            "cancel_longest_ms": round(lags[-1] * 1000, 1), "before": str(self.before), "after": str(self.after),
            "warm_mb": round(self.warm_mb, 1), "end_mb": round(self.end_mb, 1),
        }  # fmt: skip


def table(port: int) -> RouteTable:
    """Return a table of one upstream under three names: at fault by plan, always well, and at a host that is not."""
    base = f"http://127.0.0.1:{port}/v1"
    bounds = {"provider": "fake", "first_byte_timeout_s": STALL_S, "idle_timeout_s": STALL_S}
    price = Price(PRICE["input"], PRICE["output"], cache_read=PRICE["cache_read"])
    spec = {
        "project": "default", "targets": [{"model": "fake/flaky"}, {"model": "fake/good"}],
        "retry": {"retries": 1, "first_pause_s": 0.005}, "breaker": {"consecutive": 1000, "ratio": 1.0},
    }  # fmt: skip
    return RouteTable(
        version=1,
        made_ns=time.time_ns(),
        keys={g.key_hash(g.KEY): KeyEntry("key_run", "default", ("data",))},
        upstreams={
            "up": Upstream("up", base, secret=g.SECRET, **bounds),
            "nowhere": Upstream("nowhere", "http://nowhere.invalid/v1", **bounds),
        },
        models={
            f"fake/{name}": ModelEntry(f"fake/{name}", "nowhere" if name == "nowhere" else "up", name, price=price)
            for name in ("flaky", "good", "nowhere")
        },
        # a storm has a route of its own, as it keeps its target from being asked for seconds
        routes={
            f"default/{name}": msgspec.convert({"name": name, **spec}, ModelRoute) for name in ("steady", "stormy")
        },
        limits=(BUDGET, AT_ONCE),
    )


def fault_run(folder: Path, *, count: int, seed: int, connections: int = 64) -> Books:
    """Run, and return the books of everybody."""
    store, clock, spans = MemoryStore(stored(BUDGET), stored(AT_ONCE)), SystemClock(), Spans(seed, count)
    with upstream(seed, count, folder) as (ending, port):
        prepare_home(folder / "home", table(port))
        control = FakeControl(keeper=LeaseKeeper(store, clock), take=spans)
        with control, GatewayProcess(folder / "home", control_url=control.url) as gateway:
            clients(gateway, seed, 0, _WARM_UP, folder, connections)
            before = settled(gateway, control)
            first = json.loads((folder / "client.json").read_text())
            outcomes = (folder / "outcomes").read_bytes()
            memory = clients(gateway, seed, _WARM_UP, count, folder, connections)
            after = settled(gateway, control)
            memory.append((count, pss_mb(gateway)))
            still_open = asked_of(port)
            assert gateway.stop() == 0, gateway.log()
            log = gateway.log()
        ending()
    told = json.loads((folder / "client.json").read_text())
    account = store.account(BUDGET.id, "key_run", "total")
    assert account is not None, f"nothing was spent: {told}"
    return Books(
        seed=seed, count=count, seconds=told["seconds"],
        outcomes=outcomes + (folder / "outcomes").read_bytes()[_WARM_UP:],
        counts=dict(Counter(first["counts"]) + Counter(told["counts"])),
        wrong=first["wrong"] + told["wrong"], wrongs=first["wrongs"] + told["wrongs"],
        gone_ns=_by_number(first["gone"]) | _by_number(told["gone"]),
        lost_ns=_by_number(json.loads((folder / "lost.json").read_text())),
        calls=(folder / "calls").read_bytes(), served=(folder / "served").read_bytes(), spans=spans,
        spent_units=account.spent, uncertain_units=account.uncertain, unknown_calls=account.unknown,
        at_once_left=sum(held.reserved for _, _, _, held in store.open.values()),
        before=before, after=after, upstream_open=still_open, memory=memory, gateway_log=log,
    )  # fmt: skip


@contextmanager
def upstream(seed: int, count: int, folder: Path) -> Iterator[tuple[Any, int]]:
    """Run the upstream; yield what ends it, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.faulty_upstream", str(seed), str(count), str(folder)],
        cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    def end() -> None:
        process.stdin.close()
        assert process.wait(60) == 0

    try:
        yield end, int(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stdin.close()


def clients(
    gateway: GatewayProcess, seed: int, first: int, past: int, folder: Path, connections: int
) -> list[tuple[int, float]]:
    """Ask the requests from `first` to `past`; return what the gateway weighed, and after how many."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "support.fault_client", str(gateway.port), g.KEY, str(seed), str(first), str(past),
            str(folder), str(connections),
        ],
        cwd=TESTS,
    )  # fmt: skip
    weighed: list[tuple[int, float]] = []
    try:
        while True:
            try:
                assert process.wait(1) == 0, "the clients failed"
                return weighed
            except subprocess.TimeoutExpired:
                assert gateway.alive()
                weighed.append((int(gateway.metric("tetrad_gateway_seconds_count")), pss_mb(gateway)))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def pss_mb(gateway: GatewayProcess) -> float:
    """Return a gateway's proportional memory, in MB."""
    assert gateway.process is not None
    lines = Path(f"/proc/{gateway.process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def settled(gateway: GatewayProcess, control: FakeControl) -> State:
    """Return what a gateway holds once nothing is under way any more."""
    assert gateway.process is not None
    files = Path(f"/proc/{gateway.process.pid}/fd")

    def now() -> State:
        samples = dict(
            line.replace('worker="0",', "").replace('{worker="0"}', "").rsplit(" ", 1)
            for line in gateway.get("/metrics")[1].decode().splitlines()
            if line.startswith("tetrad_gateway")
        )
        opened, idle = (
            int(samples[f'tetrad_gateway_upstream_connections{{state="{state}"}}']) for state in ("open", "idle")
        )
        return State(
            files=len(list(files.iterdir())) - opened - control.open_connections,
            tasks=int(samples["tetrad_gateway_tasks"]),
            in_flight=int(samples["tetrad_gateway_in_flight"]),
            calls=opened - idle,
            idle=idle,
        )

    def still() -> State | None:
        one, two = now(), now()
        return two if one == two and not two.in_flight and not two.calls else None

    found = wait_until(still, timeout_s=30, what="the gateway to settle")
    assert found is not None
    return found


def asked_of(port: int) -> int:
    """Return how many connections the upstream has, without the one that asks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return int(connection.getresponse().read()) - 1
    finally:
        connection.close()


def _by_number(found: dict[str, int]) -> dict[int, int]:
    return {int(number): ns for number, ns in found.items()}


def check(books: Books) -> None:
    """Raise `AssertionError` for any promise that was broken."""
    spans = books.spans
    assert not books.wrongs, f"{books.wrongs} wrong answers, such as\n" + "\n".join(books.wrong[:5])
    for number in range(books.count):
        asked, outcome = plan(books.seed, number), books.outcomes[number]
        where = f"{asked}: outcome {outcome}"
        assert outcome in (WHOLE, FAILED, TORN, GONE), f"{where}: no answer"
        assert spans.roots[number] == 1, f"{where}: {spans.roots[number]} records of one request"
        exact, served = spans.exact[number], books.served[number]
        if outcome == WHOLE:
            assert served == exact == 1, f"{where}: served {served} times, recorded {exact} times"
        else:
            assert not served, f"{where}: served {served} times"
            assert not exact, f"{where}: recorded {exact} times"
        assert books.calls[number] >= served, where
        assert bool(books.calls[number]) == (asked.fault != "dns") or outcome == GONE, f"{where}: nobody was asked"
    assert not spans.wrong, spans.wrong[:5]
    assert spans.units == books.spent_units, "spans and budget tell of different money"
    assert (books.uncertain_units, books.unknown_calls, books.at_once_left) == (0, 0, 0)
    served_units = sum(plan(books.seed, number).cost_units for number in range(books.count) if books.served[number])
    estimated = spans.units - served_units
    assert estimated >= 0, "less was recorded than was served"
    assert books.upstream_open == books.after.idle, f"{books.upstream_open} upstream connections, {books.after}"
    assert books.after.files <= books.before.files + SPARE_FILES, f"files leak: {books.before} {books.after}"
    assert books.after.tasks <= books.before.tasks, f"tasks leak: {books.before} {books.after}"
    lags = books.lags_s
    assert len(lags) == sum(
        bool(books.calls[number]) for number in range(books.count) if books.outcomes[number] == GONE
    ), "calls whose client left were not given up"
    late = sum(lag > CANCELLED_WITHIN_S for lag in lags)
    # a machine that is busy may hold anything up for a moment
    assert late <= len(lags) // 50, (
        f"{late} of {len(lags)} calls ended more than {CANCELLED_WITHIN_S} s after their client had left"
    )
    assert set(books.faults) == set(FAULTS)
    assert "Traceback" not in books.gateway_log, books.gateway_log[-3000:]


def main() -> None:
    """Run and check from the command line."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--requests", type=int, default=1_000_000)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--connections", type=int, default=64)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="fault-run-") as folder:
        books = fault_run(Path(folder), count=given.requests, seed=given.seed, connections=given.connections)
    print(json.dumps(books.summary(), indent=1))
    check(books)


if __name__ == "__main__":
    main()
