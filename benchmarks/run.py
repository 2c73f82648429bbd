"""`make bench`: how fast, how big and how quick to start we are, beside peers measured in the same run.

Ratios count, absolute numbers belong to this machine. One processor carries the proxy under test, the other the
upstream and the load. Rounds are interleaved, so that a slow minute hits everyone; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import peers
from loadgen import Closed, Latency, closed_loop, open_loop, pss_mb
from peers import Target
from product import Running, free_port, tetrad_up

RESULTS = Path(__file__).resolve().parents[1] / "bench-results"
PROXY_CPU, LOAD_CPU = 0, 1
LIMIT_TOTAL_MB, LIMIT_WORKER_MB, LIMIT_START_S = 900, 90, 5.0


def pin(running: Running, cpu: int) -> int:
    """Pin the gateway to one processor and everything else of ours to the other; return the gateway's pid."""
    processes = running.processes()
    # Control stores spans beside the load generator, which must not starve for it: the spool waits, the load does not.
    os.setpriority(os.PRIO_PROCESS, processes["control"], 19)
    for name, pid in processes.items():
        subprocess.run(
            ["taskset", "-acp", str(cpu if name.startswith("gateway") else LOAD_CPU), str(pid)],
            check=True,
            capture_output=True,
        )
    return processes["gateway-0"]


def bench_gateway(rounds: int, seconds: int, *, with_litellm: bool) -> dict[str, object]:
    """Requests per second of one core, and latency added over a direct call, for us and the peers."""
    mock, proxy = free_port(), free_port()
    with ExitStack() as stack:
        upstream = stack.enter_context(peers.mock_upstream(mock, LOAD_CPU))
        running = stack.enter_context(tetrad_up())
        running.cli("provider", "set", "mock", "--base-url", upstream, "--model", "mock")
        gateway_pid = pin(running, PROXY_CPU)
        targets = [
            Target("Tetrad gateway", peers.request(running.gateway_url, "mock/mock", running.key), gateway_pid),
            stack.enter_context(peers.nginx_proxy(proxy, mock, PROXY_CPU)),
        ]
        if with_litellm:
            targets.append(stack.enter_context(peers.litellm(free_port(), upstream, PROXY_CPU, RESULTS / "litellm")))
        direct = Target("direct", peers.request(upstream, "mock"), 0)
        rates: dict[str, list[Closed]] = {t.name: [] for t in targets}
        latencies: dict[str, list[Latency]] = {t.name: [] for t in (*targets, direct)}
        for target in targets:  # warm
            closed_loop(target.request, connections=16, seconds=2, cpu=LOAD_CPU)
        os.sched_setaffinity(0, {LOAD_CPU})
        for number in range(rounds):
            for target in (*targets, direct):
                slow = target.name.startswith("LiteLLM")
                per_s = 20 if slow else 200
                latencies[target.name].append(open_loop(target.request, per_s=per_s, seconds=seconds, seed=number))
                if target is not direct:
                    rates[target.name].append(
                        closed_loop(target.request, connections=64, seconds=seconds, cpu=LOAD_CPU)
                    )
        weights = {target.name: pss_mb(target.pid) for target in targets}
    return _gateway_table(rates, latencies, weights)


def _gateway_table(
    rates: dict[str, list[Closed]], latencies: dict[str, list[Latency]], weights: dict[str, float]
) -> dict[str, object]:
    base50, base99 = (
        statistics.median(getattr(x, field) for x in latencies["direct"]) for field in ("p50_ms", "p99_ms")
    )
    ours = statistics.median(x.per_s for x in rates["Tetrad gateway"])
    rows = []
    for name, runs in rates.items():
        rate = statistics.median(x.per_s for x in runs)
        p50 = statistics.median(x.p50_ms for x in latencies[name])
        p99 = statistics.median(x.p99_ms for x in latencies[name])
        errors = sum(x.errors for x in runs) + sum(x.errors for x in latencies[name])
        rows.append(
            {
                "target": name,
                "requests_per_s": round(rate),
                "tetrad_ratio": round(ours / rate, 2) if rate else None,
                "added_p50_ms": round(p50 - base50, 2),
                "added_p99_ms": round(p99 - base99, 2),
                "errors": errors,
                "pss_mb": round(weights[name]),
            }
        )
    print(f"\nGateway, one core, 64 connections; latency at 200 requests/s (LiteLLM 20), direct {base50:.2f} ms")
    print(f"{'':16}{'requests/s':>12}{'Tetrad is':>12}{'+p50 ms':>10}{'+p99 ms':>10}{'errors':>8}{'MB':>7}")
    for row in rows:
        print(
            f"{row['target']:16}{row['requests_per_s']:>12,}{row['tetrad_ratio']!s:>11}x{row['added_p50_ms']:>10}"
            f"{row['added_p99_ms']:>10}{row['errors']:>8}{row['pss_mb']:>7}"
        )
    return {"rows": rows, "direct_p50_ms": base50, "direct_p99_ms": base99}


def bench_installation() -> dict[str, object]:
    """Memory of every idle process, and the time of a first and a second start to the first answer accepted."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="bench-tetrad-"))
    try:
        with tetrad_up(folder / "home") as first:
            first_s = first.ready_s
        starts = []
        for _ in range(3):
            with tetrad_up(folder / "home") as again:
                starts.append(again.ready_s)
                memory = {name: round(pss_mb_alone(pid)) for name, pid in again.processes().items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    second_s, total = statistics.median(starts), sum(memory.values())
    gateway = max(mb for name, mb in memory.items() if name.startswith("gateway"))
    print("\nIdle processes, MB (proportional set size), the model loaded")
    for name, mb in memory.items():
        print(f"  {name.split(' ')[0]:14}{mb:>6}")
    print(f"  {'together':14}{total:>6}   limit {LIMIT_TOTAL_MB} {_verdict(total <= LIMIT_TOTAL_MB)}")
    print(f"  {'gateway':14}{gateway:>6}   limit {LIMIT_WORKER_MB} {_verdict(gateway <= LIMIT_WORKER_MB)}")
    print("\nFrom the command to the first answer accepted, seconds")
    print(f"  first start   {first_s:6.1f}   (weights in the cache)")
    print(f"  second start  {second_s:6.1f}   limit {LIMIT_START_S:g} {_verdict(second_s <= LIMIT_START_S)}")
    return {"memory_mb": memory, "together_mb": total, "first_start_s": first_s, "second_start_s": second_s}


def pss_mb_alone(pid: int) -> float:
    """Return the proportional memory of one process, in MB, without its children."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1000


def _verdict(good: bool) -> str:
    return "ok" if good else "MISSED"


SCRIPTS = ("datasets", "registry", "rollback", "ingest")
"""Benchmarks that stand alone."""


def main() -> None:
    """Run the benchmarks that were named, or all, and keep their results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = ("installation", "gateway", *SCRIPTS)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"which of {', '.join(known)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--no-litellm", action="store_true", help="leave LiteLLM out (it installs 700 MB)")
    options = parser.parse_args()
    if wrong := set(options.only) - set(known):
        parser.error(f"there is no benchmark {min(wrong)!r}; there are {', '.join(known)}")
    wanted = options.only or known
    RESULTS.mkdir(exist_ok=True)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    results: dict[str, object] = {"python": sys.version, "machine": platform.platform()}
    if "installation" in wanted:
        results["installation"] = bench_installation()
    if "gateway" in wanted:
        results["gateway"] = bench_gateway(options.rounds, options.seconds, with_litellm=not options.no_litellm)
    for name in SCRIPTS:
        if name in wanted:
            subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=True)
    (RESULTS / "results.json").write_text(json.dumps(results, indent=2))
    print(f"\nkept in {RESULTS / 'results.json'}")


if __name__ == "__main__":
    main()
