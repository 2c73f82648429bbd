"""Load on one HTTP endpoint: closed loop by `wrk`, open loop (Poisson arrivals) by a small asyncio client.

Open-loop latency counts from the scheduled time of a request, so that a stall is charged to every request behind it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, always the same."""

    url: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """What a closed loop reached."""

    per_s: float
    errors: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the scheduled time to the last byte."""

    p50_ms: float
    p99_ms: float
    count: int
    errors: int


def closed_loop(request: Request, *, connections: int, seconds: int, cpu: int) -> Closed:
    """Run `wrk` with one thread, pinned to a processor."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        headers = "\n".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in request.headers.items())
        script.write(f'wrk.method = "POST"\nwrk.body = {json.dumps(request.body.decode())}\n{headers}\n')
        script.flush()
        text = subprocess.run(
            [
                "taskset",
                "-c",
                str(cpu),
                wrk,
                "-t1",
                f"-c{connections}",
                f"-d{seconds}s",
                "-s",
                script.name,
                request.url,
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
        ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = int(bad.group(1)) if bad else 0
    errors += sum(int(n) for n in socket_errors.groups()) if socket_errors else 0
    return Closed(float(rate.group(1)) if rate else 0.0, errors)


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.done: asyncio.Future[int] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, data: bytes) -> asyncio.Future[int]:
        assert self.transport is not None
        self.parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self.done

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(self.parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.done is not None and not self.done.done():
            self.done.set_exception(error or ConnectionError("closed"))


async def _open_loop(request: Request, per_s: float, seconds: float, seed: int) -> Latency:
    parts = urlsplit(request.url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    wire = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {host}:{port}\r\n{head}Content-Length: {len(request.body)}\r\n\r\n"
    ).encode() + request.body
    loop, rng = asyncio.get_running_loop(), random.Random(seed)
    free: list[_Client] = []
    latencies: list[float] = []
    errors = 0

    async def one(at: float) -> None:
        nonlocal errors
        client = free.pop() if free else (await loop.create_connection(_Client, host, port))[1]
        try:
            status = await asyncio.wait_for(client.send(wire), 30)
        except (OSError, TimeoutError):
            errors += 1
            return
        latencies.append((loop.time() - at) * 1000)
        errors += status != 200
        if client.transport is not None:
            free.append(client)

    tasks: set[asyncio.Task[None]] = set()
    at = loop.time()
    end = at + seconds
    while (at := at + rng.expovariate(per_s)) < end:
        await asyncio.sleep(max(0.0, at - loop.time()))
        task = asyncio.create_task(one(at))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for client in free:
        if client.transport is not None:
            client.transport.close()
    cuts = statistics.quantiles(latencies, n=100)
    return Latency(cuts[49], cuts[98], len(latencies), errors)


def open_loop(request: Request, *, per_s: float, seconds: float, seed: int = 1) -> Latency:
    """Send at a fixed mean rate and return the latency seen."""
    import uvloop

    return uvloop.run(_open_loop(request, per_s, seconds, seed))


def pss_mb(pid: int) -> float:
    """Return the proportional memory of a process and all its children, in MB."""
    total = 0
    for path in [Path(f"/proc/{pid}/smaps_rollup"), *(Path(f"/proc/{child}/smaps_rollup") for child in _children(pid))]:
        try:
            text = path.read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1000


def _children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def wait_port(url: str, timeout_s: float, process: subprocess.Popen[bytes]) -> float:
    """Wait until something listens at a URL's port; return how long it took."""
    import socket

    parts, began = urlsplit(url), time.monotonic()
    while time.monotonic() - began < timeout_s:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with code {process.returncode}")
        try:
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return time.monotonic() - began
    raise SystemExit(f"nothing listens at {url} after {timeout_s:g} s")
