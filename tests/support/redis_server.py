"""A Valkey or Redis of the test run's own, where one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.ports import free_port, listening
from support.wait import wait_until


def find_server() -> str | None:
    """Return the path of a server program: `TETRAD_TEST_REDIS`, else what the machine has."""
    given = os.environ.get("TETRAD_TEST_REDIS", "")
    return given or shutil.which("valkey-server") or shutil.which("redis-server")


@contextmanager
def running_redis(folder: Path, *arguments: str) -> Iterator[str]:
    """Start a server that keeps nothing on disk; lend its URL."""
    program = find_server()
    assert program is not None
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    try:
        wait_until(lambda: listening(port), what="the Redis")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()
