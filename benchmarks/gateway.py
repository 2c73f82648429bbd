"""How fast one gateway worker on one core is, beside nginx, TensorZero, Portkey and LiteLLM in the same run.

    python benchmarks/gateway.py [--rounds 3] [--seconds 5] [--only Tetrad,nginx] [--json FILE]

One processor carries the proxy under test, the other the upstream and the load. Every round visits every target, so
that a slow minute hits everyone; medians are printed, and ratios count. Tetrad is measured with its whole request
path: key, app, release, a prompt rendered from variables, both spans with content on disk before the answer is out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import peers
from loadgen import Request, pss_mb
from native import Load, load, mock_upstream
from peers import Target
from product import Running, free_port, tetrad_up
from registry import Api
from report import REQUEST_GOALS

RESULTS = Path(__file__).resolve().parents[1] / "bench-results"
PROXY_CPU, LOAD_CPU = 0, 1
STREAM = "mock-d5-i10-n20"
DECLARATION = """app: bench
code: {path: code}
model: [{role: primary, name: mock/mock}]
prompt: [{role: system, name: bench-system, file: system.md}]
sampling: {temperature: 0.7}
"""
PROMPT = """---
variables:
  product: {type: string}
  tone: {type: string, default: calm}
  rules: {type: array, default: [be brief, be honest]}
---
# system

You are the assistant of {{product}}. Your tone is {{tone}}.
{{#rules}}
- {{.}}
{{/rules}}
"""


def pin(running: Running, cpu: int) -> int:
    """Pin the gateway to one processor and everything else of ours to the other; return the gateway's pid."""
    processes = running.processes()
    for name, pid in processes.items():
        where = cpu if name.startswith("gateway") else LOAD_CPU
        subprocess.run(["taskset", "-acp", str(where), str(pid)], check=True, capture_output=True)
        if where == LOAD_CPU:
            give_way(pid)
    return processes["gateway-0"]


def give_way(pid: int) -> None:
    """Let the load, which must not starve, go before a process on its core: the spool waits, the load does not.

    Where Linux groups the processes of a session for its scheduler, niceness counts only within a group.
    """
    os.setpriority(os.PRIO_PROCESS, pid, 19)
    group = Path(f"/proc/{pid}/autogroup")
    with suppress(OSError):  # not every Linux groups them
        if group.read_text().split()[0] != Path("/proc/self/autogroup").read_text().split()[0]:
            group.write_text("19")


def serve_app(running: Running, upstream: str) -> None:
    """Register the upstream and an app whose prompt has variables, and wait until the gateway knows it."""
    admin = Api(running.control_url, (running.home / "keys" / "admin.key").read_text().strip())
    models = [{"name": name} for name in ("mock", STREAM, "mock-d600000")]
    spec = {"base_url": upstream, "models": models, "max_connections": 4_096, "total_timeout_s": 3_600}
    admin.call("PUT", "/api/v1/projects/default/providers/mock", spec)
    for name in ("mock", STREAM):
        admin.call(
            "POST", "/api/v1/projects/default/models", {"name": f"mock/{name}", "provider": "mock", "model": name}
        )
        folder = Path(tempfile.mkdtemp(prefix="bench-app-"))
        (folder / "code").mkdir()
        (folder / "code" / "app.py").write_text("# an app\n")
        app = "bench" if name == "mock" else "bench-stream"
        (folder / "tetrad.yaml").write_text(
            DECLARATION.replace("app: bench", f"app: {app}").replace("mock/mock", f"mock/{name}")
        )
        (folder / "system.md").write_text(PROMPT)
        running.cli("release", "compose", str(folder), "--ref", "production")
    deadline = time.monotonic() + 60
    for app in ("bench", "bench-stream"):
        asked = app_request(running, app)
        while (seen := load(asked, "closed", 1, seconds=0.5, cpu=LOAD_CPU)).errors or not seen.count:
            if time.monotonic() > deadline:
                raise SystemExit(f"the gateway does not serve the app {app!r}: {seen}")
            time.sleep(0.5)


def app_request(running: Running, app: str, *, stream: bool = False, size: int = 0) -> Request:
    """Return a request to the app, with variables; `size` bytes of prompt where it is to be long."""
    asked = peers.request(running.gateway_url, f"app:{app}", running.key)
    body = json.loads(asked.body)
    del body["temperature"]
    body["tetrad"] = {"variables": {"product": "Tetrad"}, "session": "s-1"}
    return dataclasses.replace(asked, body=_shaped(body, stream=stream, size=size))


def plain_request(target: Target, model: str, *, stream: bool = False, size: int = 0) -> Request:
    """Return the target's request, of another model or length."""
    body = json.loads(target.request.body)
    if stream:
        body["model"] = body["model"].replace("mock", model) if "::" in body["model"] else model
    return dataclasses.replace(target.request, body=_shaped(body, stream=stream, size=size))


def _shaped(body: dict[str, Any], *, stream: bool, size: int) -> bytes:
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if size:
        body["messages"].insert(0, {"role": "user", "content": "The fox said nothing new. " * (size // 26)})
    return json.dumps(body).encode()


def cpu_s(pid: int) -> float:
    """Return the processor seconds of a process and its children."""
    import psutil

    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


@contextmanager
def targets(only: set[str]) -> Iterator[tuple[Running, list[tuple[Target, Request, Request]], Target]]:
    """Start everything; yield the product, (target, streaming request, long request) each, and the upstream itself."""
    mock = free_port()
    with ExitStack() as stack:
        upstream = stack.enter_context(mock_upstream(mock, LOAD_CPU))
        running = stack.enter_context(tetrad_up(gateway_max_in_flight=4_096))
        serve_app(running, upstream)
        gateway = pin(running, PROXY_CPU)
        found: list[tuple[Target, Request, Request]] = [
            (
                Target("Tetrad", app_request(running, "bench"), gateway),
                app_request(running, "bench-stream", stream=True),
                app_request(running, "bench", size=37_000),
            )
        ]
        starts: dict[str, Callable[[], Any]] = {
            "nginx": lambda: peers.nginx_proxy(
                "nginx proxy", peers.packaged_nginx(RESULTS / "nginx"), free_port(), mock, PROXY_CPU
            ),
            "TensorZero": lambda: peers.tensorzero(upstream, PROXY_CPU, RESULTS / "tensorzero", (STREAM,)),
            "Portkey": lambda: peers.portkey(free_port(), upstream, PROXY_CPU, RESULTS / "portkey"),
            "LiteLLM": lambda: peers.litellm(free_port(), upstream, PROXY_CPU, RESULTS / "litellm", (STREAM,)),
        }
        installed = peers.distribution_nginx()
        if installed is not None:
            named = "nginx proxy of the distribution"
            starts["distribution"] = lambda: peers.nginx_proxy(named, installed, free_port(), mock, PROXY_CPU)
        for name, start in starts.items():
            if name in only:
                target = stack.enter_context(start())
                found.append(
                    (target, plain_request(target, STREAM, stream=True), plain_request(target, "", size=37_000))
                )
        yield running, found, Target("direct", peers.request(upstream, "mock"), 0)


def main() -> None:
    """Measure, print, and keep the numbers as JSON."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--seconds", type=float, default=5)
    asked.add_argument(
        "--only", default="nginx,distribution,TensorZero,Portkey,LiteLLM", help="peers to measure beside us"
    )
    asked.add_argument("--json", type=Path, default=RESULTS / "gateway.json")
    given = asked.parse_args()
    RESULTS.mkdir(exist_ok=True)
    with targets(set(given.only.split(","))) as (running, found, direct):
        measured = measure(running, found, direct, given.rounds, given.seconds)
        settle(running)
        measured["sweep"] = sweep(running, found[0][0], given.seconds)
        measured["sweeps"] = {
            target.name: sweep(running, target, given.seconds)
            for target, _, _ in found
            if target.name in ("nginx proxy", "TensorZero")
        }
        measured["held"] = hold(running, found[0][0], 2_000)
        measured["versions"] = {target.name: target.version for target, _, _ in found if target.version}
    measured["method"] = {"rounds": given.rounds, "seconds": given.seconds}
    report(measured)
    given.json.write_text(json.dumps(measured, indent=1) + "\n")
    print(f"\nkept in {given.json}")


def measure(
    running: Running,
    found: list[tuple[Target, Request, Request]],
    direct: Target,
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """Visit every target in every round."""
    runs: dict[str, dict[str, list[Any]]] = {}
    base = dataclasses.replace(
        direct.request, body=_shaped(json.loads(direct.request.body) | {"model": STREAM}, stream=True, size=0)
    )
    mute: set[str] = set()  # peers that do not stream as they are installed
    for target, stream, long in list(found):
        for each in (target.request, stream, long):
            warm = load(each, "stream" if each is stream else "closed", 8, seconds=1, cpu=LOAD_CPU)
            if not warm.errors and warm.count:
                continue
            if target.name == "Tetrad":
                raise SystemExit(f"{target.name} answers wrongly: {warm}")
            if each is not stream:
                print(f"{target.name} is left out, as it answers wrongly or not at all: {warm}")
                found = [other for other in found if other[0] is not target]
                break
            mute.add(target.name)
            print(f"{target.name} does not stream: {warm.errors} of {warm.count} streams were wrong")
    for number in range(rounds):
        for target, stream, long in [*found, (direct, base, None)]:
            into = runs.setdefault(target.name, {})

            def note(what: str, value: Load | float, into: dict[str, list[Any]] = into) -> None:
                into.setdefault(what, []).append(value)

            slow = target.name.startswith("LiteLLM")
            note(
                "quiet",
                load(target.request, "open", 20 if slow else 200, seconds=seconds, cpu=LOAD_CPU, seed=number + 1),
            )
            if target.name not in mute:
                note("first", load(stream, "stream", 1, seconds=seconds, cpu=LOAD_CPU))
            if long is None:
                continue
            before = cpu_s(target.pid)
            full = load(target.request, "closed", 64, seconds=seconds, cpu=LOAD_CPU)
            note("closed", full)
            note("cpu_us", (cpu_s(target.pid) - before) / max(full.count, 1) * 1e6)
            note("long", load(long, "closed", 32, seconds=seconds, cpu=LOAD_CPU))
            if target.name not in mute:
                before = cpu_s(target.pid)
                flow = load(stream, "stream", 128 if slow else 512, seconds=seconds, cpu=LOAD_CPU)
                note("flow", flow)
                note("chunk_us", (cpu_s(target.pid) - before) / max(flow.events_per_s * seconds, 1) * 1e6)
            if target.pid == found[0][0].pid:
                settle(running)
    weights = {target.name: pss_mb(target.pid) for target, _, _ in found}
    return {
        "rows": [
            _row(name, kept, runs[direct.name], weights.get(name, 0)) for name, kept in runs.items() if "closed" in kept
        ]
    }


def _row(name: str, kept: dict[str, list[Any]], direct: dict[str, list[Any]], mb: float) -> dict[str, Any]:
    def middle(what: str, field: str = "", of: dict[str, list[Any]] = kept) -> float:
        found = [getattr(each, field) if field else each for each in of.get(what, ())]
        return statistics.median(found) if found else 0.0

    def added(what: str, field: str) -> float:
        return round(middle(what, field) - middle(what, field, direct), 3) if what in kept else 0.0

    return {
        "target": name,
        "requests_per_s": round(middle("closed", "per_s")),
        "cpu_us": round(middle("cpu_us"), 1),
        "added_p50_ms": added("quiet", "p50_ms"),
        "added_p99_ms": added("quiet", "p99_ms"),
        "events_per_s": round(middle("flow", "events_per_s")),
        "chunk_us": round(middle("chunk_us"), 1),
        "first_p50_ms": added("first", "first_p50_ms"),
        "long_per_s": round(middle("long", "per_s")),
        "errors": sum(
            each.errors for what in ("quiet", "first", "closed", "flow", "long") for each in kept.get(what, ())
        ),
        "mb": round(mb),
    }


def settle(running: Running, most_s: float = 240.0) -> None:
    """Wait until the spans of a load are stored: storing them takes the cores from whoever is measured next."""
    control, end = running.processes()["control"], time.monotonic() + most_s
    while time.monotonic() < end:
        before = cpu_s(control)
        time.sleep(2)
        if cpu_s(control) - before < 0.1:
            return
    print(f"the spans of the last load are not stored after {most_s:g} s: what follows shares the cores with them")


def sweep(running: Running, target: Target, seconds: float) -> dict[str, float]:
    """Return the highest rate of Poisson arrivals whose 99th percentile stays under 10 ms.

    A rate may be tried three times: on a machine that others share, a whole core stands still for longer now and then.
    """
    best = {"per_s": 0.0, "p99_ms": 0.0}
    for rate in range(1_000, 24_001, 1_000):
        for seed in range(1, 4):
            found = load(target.request, "open", rate, seconds=seconds, cpu=LOAD_CPU, seed=seed)
            if target.name == "Tetrad":
                settle(running)
            good = found.p99_ms < 10 and not found.errors and found.per_s >= rate * 0.95
            if good:
                best = {"per_s": float(rate), "p99_ms": found.p99_ms}
                break
        if not good:
            break
    return best


def waiting(running: Running) -> int:
    """Return how many calls the gateway says it has at its upstreams."""
    with urllib.request.urlopen(running.gateway_url.removesuffix("/v1") + "/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    counts = {
        state: sum(
            int(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("tetrad_gateway_upstream_connections{") and f'state="{state}"' in line
        )
        for state in ("open", "idle")
    }
    return counts["open"] - counts["idle"]


def hold(running: Running, target: Target, streams: int) -> dict[str, float]:
    """Return what so many streams that wait for their first word add to the gateway's memory, in MB."""
    asked = peers.request(running.gateway_url, "mock/mock-d600000", running.key)
    body = json.loads(asked.body) | {"stream": True}
    asked = dataclasses.replace(asked, body=json.dumps(body).encode())
    before = pss_mb(target.pid)
    for seconds in (3, 10, 30):  # until all of them are open; a busy machine takes longer
        peak, under_way, over = [before], [0], threading.Event()

        def watch(peak: list[float] = peak, under_way: list[int] = under_way, over: threading.Event = over) -> None:
            while not over.wait(0.1):
                peak.append(pss_mb(target.pid))
                under_way.append(waiting(running))

        watcher = threading.Thread(target=watch)
        watcher.start()
        seen = load(asked, "hold", streams, seconds=seconds, cpu=LOAD_CPU)
        over.set()
        watcher.join()
        if seen.held == streams <= max(under_way):
            return {"streams": streams, "added_mb": round(max(peak) - before, 1), "together_mb": round(max(peak), 1)}
    raise SystemExit(f"{seen.held} streams were held and {max(under_way)} under way, not {streams}: {seen}")


def report(measured: dict[str, Any]) -> None:
    """Print the table and how it stands to the goals."""
    rows = measured["rows"]
    columns = list(rows[0])
    print("\nOne core; + is added over a direct call; chunks: 512 streams of 20 events; long: prompts of 37 KB")
    print(f"{'':15}" + "".join(f"{name.replace('_', ' '):>16}" for name in columns[1:]))
    for row in rows:
        print(f"{row['target']:15}" + "".join(f"{row[name]:>16,}" for name in columns[1:]))
    ours = rows[0]
    for row in rows[1:]:
        goal = REQUEST_GOALS.get(row["target"])
        ratio = ours["requests_per_s"] / max(row["requests_per_s"], 1)
        flow, long = ours["events_per_s"] / max(row["events_per_s"], 1), ours["long_per_s"] / max(row["long_per_s"], 1)
        wanted = f" (goal {goal:g})" if goal else ""
        print(
            f"  beside {row['target']:14} {ratio:7.2f}x requests{wanted}, {flow:.2f}x chunks, {long:.2f}x long prompts"
        )
    beside = "".join(f"; {name} {each['per_s']:,.0f}/s" for name, each in measured["sweeps"].items())
    print(f"  open loop under 10 ms p99: {measured['sweep']['per_s']:,.0f}/s (goal 9,000){beside}")
    held = measured["held"]
    print(
        f"  {held['streams']:,} waiting streams: +{held['added_mb']} MB, {held['together_mb']} MB together (goal 150)"
    )


if __name__ == "__main__":
    main()
