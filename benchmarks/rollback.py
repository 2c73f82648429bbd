"""How long a rollback takes: in the control plane, and from the command to the last gateway worker that serves it.

    python benchmarks/rollback.py [--rounds 200] [--cli-rounds 20] [--workers 2] [--releases 50] [--json FILE]

The real product runs with an app that has `--releases` releases. Every round moves a ref forward, waits until all
gateway workers serve it, rolls it back, and watches each worker over a connection of its own until its answers name the
old release. The requests are refused for a wrong variable after they were routed, so that no model is in the way.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from product import Running, tetrad_up

APP, REF = "assistant", "bench"
BASE = "/api/v1/projects/default"
CONTROL_LIMIT_MS, SERVED_LIMIT_MS = 100.0, 250.0
POLL_S = 0.001


class Control:
    """The control plane's API over one connection, as admin."""

    def __init__(self, running: Running) -> None:
        self._address = urlsplit(running.control_url).netloc
        self._key = (running.home / "keys" / "admin.key").read_text().strip()

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection.request(method, BASE + path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {found}")
        return dict(found)


class Worker:
    """A connection that one gateway worker accepted."""

    def __init__(self, address: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=10)
        self._key = key
        self._body = json.dumps(
            {
                "model": f"app:{APP}@{REF}",
                "messages": [{"role": "user", "content": "Hi"}],
                "tetrad": {"variables": {"max_sentences": "not a number"}},
            }
        )
        self.release()

    def port(self) -> int:
        """Our end of it."""
        return int(self._connection.sock.getsockname()[1])  # type: ignore[union-attr]

    def release(self) -> str:
        """Ask which release would answer."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        self._connection.request("POST", "/v1/chat/completions", self._body, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        found = answer.headers.get("x-tetrad-release", "")
        if answer.status != 400 or not found:
            raise SystemExit(f"the gateway answered {answer.status} without a release: {said[:300]!r}")
        return found


def connect(running: Running, workers: int) -> list[Worker]:
    """Open connections until every worker has accepted one."""
    import psutil

    pids = [pid for name, pid in running.processes().items() if name.startswith("gateway")]
    pids += [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    found: dict[int, Worker] = {}
    for _ in range(500):
        made = Worker(urlsplit(running.gateway_url).netloc, running.key)
        for pid in pids:
            ports = {each.raddr.port for each in psutil.Process(pid).net_connections("tcp") if each.raddr}
            if made.port() in ports:
                found.setdefault(pid, made)
        if len(found) == workers:
            return list(found.values())
    raise SystemExit(f"connections reached {len(found)} of {workers} gateway workers")


def served(workers: list[Worker], digest: str, timeout_s: float = 20.0) -> float:
    """Return when the last worker served a release."""
    waiting = list(workers)
    deadline = time.perf_counter() + timeout_s
    while waiting:
        waiting = [worker for worker in waiting if worker.release() != digest]
        if time.perf_counter() > deadline:
            raise SystemExit(f"{len(waiting)} workers do not serve {digest} after {timeout_s:g} s")
        if waiting:
            time.sleep(POLL_S)
    return time.perf_counter()


def prepare(control: Control, releases: int) -> tuple[str, str]:
    """Make releases of the example app, and a ref on the newest; return the last two."""
    digests = [
        control.call(
            "POST", "/releases/derive", {"from": f"{APP}/production", "set": {"sampling.seed": 1000 + number}}
        )["digest"]
        for number in range(max(releases, 2))
    ]
    body = {"from": digests[-2], "set": {}, "ref": REF, "expected": "absent"}
    control.call("POST", "/releases/derive", body)
    return digests[-2], digests[-1]


def one_round(
    control: Control, workers: list[Worker], old: str, new: str, command: Callable[[], float | None]
) -> tuple[float, float | None]:
    """Roll back once; return the milliseconds until the last worker served it, and what control said it took."""
    control.call(
        "POST", "/releases/derive", {"from": new, "set": {}, "ref": REF, "expected": old, "reason": "benchmark"}
    )
    served(workers, new)
    took: list[float | None] = []
    thread = threading.Thread(target=lambda: took.append(command()))
    began = time.perf_counter()
    thread.start()
    ended = served(workers, old)
    thread.join(60)
    return (ended - began) * 1e3, took[0] if took else None


def told(name: str, values: list[float], limit_ms: float | None = None) -> dict[str, Any]:
    """Print one line of numbers."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    found = {"n": len(ordered), "p50": statistics.median(ordered), "p99": p99, "max": ordered[-1]}
    verdict = "" if limit_ms is None else f"   limit {limit_ms:.0f}: {'met' if p99 < limit_ms else 'MISSED'}"
    print(f"{name:<46} n={found['n']:<4} p50 {found['p50']:7.1f}  p99 {p99:7.1f}  max {found['max']:7.1f} ms{verdict}")
    return {name: {key: round(value, 2) for key, value in found.items()}}


def main() -> int:
    """Run it; 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--cli-rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--releases", type=int, default=50)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tetrad_up(gateway_workers=chosen.workers) as running:
        control = Control(running)
        old, new = prepare(control, chosen.releases)
        deadline = time.monotonic() + 20
        while True:  # the ref is new: gateways need a moment to know it at all
            try:
                workers = connect(running, chosen.workers)
                break
            except SystemExit:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

        def by_api() -> float:
            return float(control.call("POST", f"/apps/{APP}/refs/{REF}/rollback", {"reason": "benchmark"})["took_ms"])

        def by_cli() -> None:
            subprocess.run(
                [sys.executable, "-m", "tetrad", "rollback", f"{APP}/{REF}", "-m", "benchmark"],
                env=running.environment, check=True, capture_output=True, timeout=60,
            )  # fmt: skip

        for _ in range(5):
            one_round(control, workers, old, new, by_api)
        rounds = [one_round(control, workers, old, new, by_api) for _ in range(chosen.rounds)]
        cli = [one_round(control, workers, old, new, by_cli)[0] for _ in range(chosen.cli_rounds)]
    took = [each for _, each in rounds if each is not None]
    load = os.getloadavg()[0]
    print(
        f"{chosen.workers} gateway workers, {chosen.releases} releases in the table; "
        f"load {load:.1f} on {os.cpu_count()} cores (ours and others')"
    )
    results = told("rollback in the control plane", took, CONTROL_LIMIT_MS)
    results |= told("API call → last gateway worker serves it", [ms for ms, _ in rounds], SERVED_LIMIT_MS)
    if cli:
        results |= told("`tetrad rollback` typed → last worker serves it", cli)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    p99 = [results[name]["p99"] for name in list(results)[:2]]
    return 0 if p99[0] < CONTROL_LIMIT_MS and p99[1] < SERVED_LIMIT_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
