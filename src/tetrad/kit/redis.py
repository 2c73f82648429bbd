"""As much of the Redis protocol (RESP2) as leases and cached answers need: one connection, commands in a pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from tetrad.kernel import InvalidInput, TetradError, Unavailable
from tetrad.kit.plain_text import plain

Value: TypeAlias = "int | bytes | list[Value] | None"
_MOST_ITEMS = 100_000
_MOST_BYTES = 16 * 1024 * 1024
_DEPTH = 8


class RedisUnreachable(Unavailable):
    """The server does not answer, or not in its protocol."""

    code = "redis_unreachable"


class RedisRefused(TetradError):
    """The server refuses a command."""

    code = "redis_refused"
    status = 503


class Connection:
    """One connection to `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS; made when needed.

    Certificates are checked against the machine's authorities (`SSL_CERT_FILE` names others). One value of an answer
    has at most `most_bytes`. `setting` is the variable that the URL came from, for errors. Not for use by two tasks at
    once.
    """

    def __init__(self, url: str, *, setting: str, timeout_s: float, most_bytes: int = _MOST_BYTES) -> None:
        parts, port, database = _parts(url, setting)
        self._setting = setting
        self._most_bytes = most_bytes
        self._host, self._port, self._tls = parts.hostname, port, parts.scheme == "rediss"
        self._greeting: list[list[bytes]] = []
        if parts.password:
            names = [unquote(parts.username).encode()] if parts.username else []
            self._greeting.append([b"AUTH", *names, unquote(parts.password).encode()])
        if database != "0":
            self._greeting.append([b"SELECT", database.encode()])
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether there is a connection, as far as is known: the server may have ended it."""
        return self._streams is not None

    async def ask(self, commands: Sequence[Sequence[bytes]]) -> list[Value]:
        """Send commands at once and return their answers; any fault closes the connection."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._streams is None:
                    tls = _believed() if self._tls else None
                    self._streams = await asyncio.open_connection(self._host, self._port, ssl=tls)
                    if self._greeting:
                        await self._exchange(self._greeting)
                return await self._exchange(commands)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise RedisUnreachable(
                f"the Redis at {self._host}:{self._port} does not answer: {str(error) or type(error).__name__}",
                hint=f"is it running, and is {self._setting} right?",
            ) from None
        except BaseException:
            self.close()  # an answer may be under way that nobody waits for
            raise

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, commands: Sequence[Sequence[bytes]]) -> list[Value]:
        if self._streams is None:
            raise ConnectionResetError("the connection is closed")
        reader, writer = self._streams
        for command in commands:
            writer.write(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in command))
        await writer.drain()
        return [await _value(reader, _DEPTH, self._most_bytes) for _ in commands]


def _parts(url: str, setting: str) -> tuple[SplitResult, int, str]:
    """Return a URL in pieces, its port and the number of the database; errors tell nothing of it, for its password."""
    with contextlib.suppress(ValueError):  # a port that is none, or brackets outside a host's address
        parts = urlsplit(url)
        port = parts.port or 6379
        database = parts.path.strip("/") or "0"
        if parts.scheme in ("redis", "rediss") and parts.hostname and database.isascii() and database.isdecimal():
            return parts, port, database
    raise InvalidInput(
        f"{setting} is no address of a Redis",
        hint="such as redis://host:6379/0; in a password, write [ as %5B, ] as %5D, / as %2F, # as %23 and @ as %40",
    )


@functools.cache
def _believed() -> ssl.SSLContext:
    return ssl.create_default_context()  # reading the authorities takes longer than most answers


async def _value(reader: asyncio.StreamReader, depth: int, most_bytes: int) -> Value:
    line = await reader.readuntil(b"\r\n")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        why = plain(rest[:300].decode("utf-8", "replace"))
        raise RedisRefused(f"Redis refuses: {why}", hint="see its log and its rights")
    if kind == b"+":
        return rest
    number = int(rest)
    if kind == b":":
        return number
    if kind == b"$" and number <= most_bytes:
        return None if number < 0 else (await reader.readexactly(number + 2))[:-2]
    if kind == b"*" and number <= _MOST_ITEMS and depth:
        return None if number < 0 else [await _value(reader, depth - 1, most_bytes) for _ in range(number)]
    raise ValueError(f"it sent {line[:40]!r}, which is no answer")
