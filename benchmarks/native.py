"""The two small C programs of the benchmarks: an upstream and a load generator that are never the bottleneck.

They are compiled on first use with the machine's C compiler; a generator in Python would measure itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from loadgen import Request, wait_port

SOURCES = Path(__file__).with_name("native")
BUILT = Path(__file__).resolve().parents[1] / "bench-results" / "native"


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of the generator saw.

    `first_*` is the first byte of a body; times are milliseconds. `held` answers had begun and not ended at the end.
    """

    count: int
    errors: int
    per_s: float
    events_per_s: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    first_p99_ms: float
    held: int


def built(name: str) -> Path:
    """Return a compiled program, compiling it where its source is newer."""
    source, program = SOURCES / f"{name}.c", BUILT / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit("a C compiler is missing: apt-get install gcc libc6-dev")
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(program), str(source), "-lm"], check=True)
    return program


@cache
def at_once() -> tuple[str, ...]:
    """Return what lets a program run whenever it has something to do, before all that shares its core, where we may.

    The core of the load carries what stores the spans as well: who waits for it would measure the scheduler.
    """
    ahead = ("chrt", "--fifo", "1")
    try:
        return ahead if not subprocess.run([*ahead, "true"], check=False, capture_output=True).returncode else ()
    except FileNotFoundError:
        return ()


@contextmanager
def mock_upstream(port: int, cpu: int) -> Iterator[str]:
    """Run the upstream; yield its base URL."""
    process = subprocess.Popen([*at_once(), "taskset", "-c", str(cpu), str(built("mock")), str(port)])
    try:
        wait_port(f"http://127.0.0.1:{port}", 10, process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(10)


def load(request: Request, mode: str, number: float, *, seconds: float, cpu: int, seed: int = 1) -> Load:
    """Run the generator: `closed`, `stream` or `hold` with so many connections, or `open` with so many a second."""
    parts = urlsplit(request.url)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{head}Content-Length: {len(request.body)}\r\n\r\n"
    with tempfile.NamedTemporaryFile("wb", suffix=".http") as file:
        file.write(head.encode())
        file.write(request.body)
        file.flush()
        command = [*at_once(), "taskset", "-c", str(cpu), str(built("load")), parts.hostname or "", str(parts.port)]
        command += [file.name, str(seconds), mode, str(number), str(seed)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        raise SystemExit(f"the load generator failed at {request.url}: {done.stderr.strip()}")
    return Load(**json.loads(done.stdout))
