"""A Valkey or Redis of the test run's own, where one is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.ports import free_port, listening
from support.wait import wait_until


def find_server() -> str | None:
    """Return the path of a server program: `TETRAD_TEST_REDIS`, else what the machine has."""
    given = os.environ.get("TETRAD_TEST_REDIS", "")
    return given or shutil.which("valkey-server") or shutil.which("redis-server")


def skip_without_server(what: str) -> None:
    """Skip where no server is installed, and say so aloud."""
    if find_server() is None:
        missing = f"no Redis is installed (apt-get install redis-server, or set TETRAD_TEST_REDIS): {what} NOT TESTED"
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(missing, UserWarning, stacklevel=1)
        pytest.skip(missing)


class RedisServer:
    """A server that keeps nothing on disk; it may be killed, stopped for a while, and started again on its port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder, self._arguments = folder, arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = find_server()
        assert program is not None
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             *self._arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder,
        )  # fmt: skip
        wait_until(lambda: listening(self.port), what="the Redis")

    def pause(self) -> None:
        """Neither dead nor alive: connections are taken, and nothing is said."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def say(self, *command: bytes | str) -> bytes:
        """Send one command and return what comes back first, at most 1 MiB: a client that is not the product's."""
        parts = [part.encode() if isinstance(part, str) else part for part in command]
        told = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(told + b"*1\r\n$4\r\nPING\r\n")
            found = b""
            while not found.endswith(b"+PONG\r\n") and len(found) < 1 << 20:
                piece = connection.recv(65_536)
                if not piece:
                    break
                found += piece
            return found.removesuffix(b"+PONG\r\n")

    def names(self) -> list[bytes]:
        """Return the name of everything that is kept."""
        return self.say("KEYS", "*").split(b"\r\n")[2::2]


@contextmanager
def lent_redis(folder: Path, *arguments: str) -> Iterator[RedisServer]:
    """Start a server and lend it."""
    server = RedisServer(folder, *arguments)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def running_redis(folder: Path, *arguments: str) -> Iterator[str]:
    """Start a server that keeps nothing on disk; lend its URL."""
    with lent_redis(folder, *arguments) as server:
        yield server.url
