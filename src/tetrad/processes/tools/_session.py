"""One session with a program that speaks MCP over stdio: one process, from its first message to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tetrad.kernel import Unavailable
from tetrad.kit import _launch
from tetrad.kit.children import RotatingFile
from tetrad.tools import BadMessage, Message, error_message, read_message, same_id

log = logging.getLogger(__name__)

QUEUED = 256
"""Messages that wait for a client that reads slowly; more are dropped, but no answers."""
_STOP_S = 3.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "LOGNAME", "SSL_CERT_FILE", "NO_PROXY")
_LOG_BYTES = 1_000_000
_PIECE = 65_536


class SessionEnded(Unavailable):
    """The program ended, or was ended, before it answered."""

    code = "tool_server_ended"
    status = 502


class Waiting:
    """Where the messages of one stream arrive; None is its end."""

    def __init__(self, identity: msgspec.Raw | None = None, token: bytes = b"") -> None:
        self.identity = identity
        self.token = token
        self.messages: asyncio.Queue[Message | None] = asyncio.Queue()

    def put(self, message: Message | None) -> None:
        """Hand a message over; what is no answer is dropped where too many wait."""
        if message is None or message.kind == "response" or self.messages.qsize() < QUEUED:
            self.messages.put_nowait(message)


class StdioSession:
    """A running program. `on_end` is called once it has ended, however that came about."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        name: str,
        log_path: Path,
        redact: tuple[str, ...],
        line_bytes: int,
        on_end: Callable[[StdioSession], None],
    ) -> None:
        self.name = name
        self.ended = ""
        self.wanted = False
        """Whether it was we who ended it, with nothing wrong."""
        self.used_at = asyncio.get_running_loop().time()
        self._process = process
        self._line_bytes = line_bytes
        self._redact = [each.encode() for each in redact if each]
        self._on_end = on_end
        self._pending: list[Waiting] = []
        self._listener: Waiting | None = None
        self._log = RotatingFile(log_path, _LOG_BYTES, 2)
        self._writing = asyncio.Lock()
        self._reading = asyncio.create_task(self._read(), name=f"messages of {name}")
        self._logging = asyncio.create_task(self._keep_log(), name=f"log of {name}")

    @classmethod
    async def start(cls, command: tuple[str, ...], env: Mapping[str, str], **options: Any) -> StdioSession:
        """Run a program; it knows nothing of our variables, and dies with us, with all that it started."""
        launch = (sys.executable, "-I", "-S", str(_launch.__file__), str(os.getpid()), str(int(signal.SIGKILL)))
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                *launch,
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**kept, **env},
                process_group=0,
                limit=_PIECE,
            )
        except OSError as error:
            raise Unavailable(
                f"the program of the MCP server cannot be started: {error.strerror}",
                hint="check the limits on processes and memory",
                code="tool_server_ended",
            ) from None
        return cls(process, **options)

    @property
    def busy(self) -> bool:
        """Whether somebody waits for it."""
        return bool(self._pending) or self._listener is not None

    async def ask(self, message: Message, token: bytes) -> Waiting:
        """Send a request; its answer, and what belongs to it, arrive where this returns. `forget` it afterwards."""
        for each in self._pending:
            if each.identity is not None and same_id(each.identity, message.id):
                raise BadMessage("a request of that id is under way", hint="every request has an id of its own")
        waiting = Waiting(message.id, token)
        self._pending.append(waiting)
        try:
            await self.tell(message)
        except BaseException:
            self.forget(waiting)
            raise
        return waiting

    async def tell(self, message: Message) -> None:
        """Send what needs no answer; raises `SessionEnded`."""
        stdin = self._process.stdin
        if self.ended or stdin is None:
            raise self._gone()
        self.used_at = asyncio.get_running_loop().time()
        line = message.encoded()
        if b"\n" in line:  # JSON says a line break in a text otherwise; between values it means nothing
            line = line.replace(b"\n", b" ").replace(b"\r", b" ")
        async with self._writing:
            try:
                stdin.write(line + b"\n")
                await stdin.drain()
            except (ConnectionError, RuntimeError):
                raise self._gone() from None

    def listen(self) -> Waiting:
        """Return where messages arrive that belong to no request; who listened before listens no more."""
        if self._listener is not None:
            self._listener.put(None)
        self._listener = Waiting()
        if self.ended:
            self._listener.put(None)
        return self._listener

    def forget(self, waiting: Waiting) -> None:
        """Wait no longer; what still comes is dropped."""
        self.used_at = asyncio.get_running_loop().time()
        if waiting is self._listener:
            self._listener = None
        elif waiting in self._pending:
            self._pending.remove(waiting)

    async def end(self, why: str) -> None:
        """End the program: its input first, and after a while a signal that it cannot refuse, to all it started."""
        self.wanted = True
        self._over(why)
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        self.kill()
        await asyncio.gather(self._reading, self._logging, return_exceptions=True)
        self._log.close()

    def kill(self) -> None:
        """End the program and what it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _gone(self) -> SessionEnded:
        return SessionEnded(
            f"the program of the MCP server {self.name!r} has ended: {self.ended or 'it reads no more'}",
            hint="begin a new session; its log tells more",
        )

    def _over(self, why: str) -> None:
        if self.ended:
            return
        self.ended = why
        for waiting in self._pending:
            if waiting.identity is not None:
                waiting.put(read_message(error_message(self._gone(), waiting.identity)))
        if self._listener is not None:
            self._listener.put(None)
        self._on_end(self)

    async def _read(self) -> None:
        stdout = self._process.stdout
        if stdout is None:
            return
        buffer = bytearray()
        why = ""
        while piece := await stdout.read(_PIECE):
            buffer += piece
            while (end := buffer.find(b"\n")) >= 0:
                line = bytes(buffer[:end]).strip()
                del buffer[: end + 1]
                if line:
                    self._take(line)
            if len(buffer) > self._line_bytes:
                why = f"it sent a message of more than {self._line_bytes:,} bytes"
                self.kill()
                break
        code = await self._process.wait()
        self._over(why or (f"it was killed by signal {-code}" if code < 0 else f"it exited with code {code}"))

    def _take(self, line: bytes) -> None:
        try:
            message = read_message(line)
        except BadMessage:
            self._log.write(b"not MCP: " + self._clean(line[:500]) + b"\n")
            return
        if message.kind == "response":
            for waiting in self._pending:
                if waiting.identity is not None and same_id(waiting.identity, message.id):
                    waiting.put(message)
                    return
            return
        place = self._place_of(message)
        if place is not None:
            place.put(message)

    def _place_of(self, message: Message) -> Waiting | None:
        """Return whose a message is: of the request that its token names, else of who listens, else of the oldest."""
        token = bytes((message.params or {}).get("progressToken", b""))
        if token:
            return next((each for each in self._pending if each.token == token), None)
        return self._listener or (self._pending[0] if self._pending else None)

    async def _keep_log(self) -> None:
        stderr = self._process.stderr
        while stderr is not None and (piece := await stderr.read(_PIECE)):
            self._log.write(self._clean(piece))

    def _clean(self, piece: bytes) -> bytes:
        for secret in self._redact:
            piece = piece.replace(secret, b"[redacted]")
        return piece
