"""What the benchmarks ask, and how big a process is while it is asked."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, always the same."""

    url: str
    headers: dict[str, str]
    body: bytes


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
