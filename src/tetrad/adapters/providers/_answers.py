"""Answers on their way from an upstream to a client, in the upstream's own protocol."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Protocol

from tetrad.kernel import Clock, InvalidInput, Usage
from tetrad.kit.upstream import BrokenAnswer, UpstreamFailure
from tetrad.serving import StreamBroken
from tetrad.serving.ports import Outcome

MAX_EVENT = 4 * 1024 * 1024
MAX_ERROR = 1024 * 1024
TAIL_BYTES = 65_536
DRAIN_S = 1.0
LONGEST_PAUSE_S = 86_400
"""A day: quotas are counted by the day, and hardly any by more."""
_PAUSES = {b"retry-after": 1, b"retry-after-ms": 1000}
_LONGEST_WORD = 64
_BOM = b"\xef\xbb\xbf"
"""What a stream of events may begin with, and means nothing (WHATWG HTML 9.2.6)."""


class CredentialRefused(UpstreamFailure):
    """The upstream does not accept our secret: our operator's problem, not the client's."""

    code = "upstream_credential_refused"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """What the client is told besides."""


class Coming(Protocol):
    """An upstream's answer that is being read: a `Response`, or what takes one out of its frames."""

    status: int

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers, their names in lower case."""
        ...

    @property
    def complete(self) -> bool:
        """Tell whether everything has come."""
        ...

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end; raises `UpstreamFailure`."""
        ...

    async def flow(self, listener: Callable[[bytes], bool]) -> None:
        """Hand pieces to a listener as they come, until it returns False; see `tetrad.kit.upstream.Response`."""
        ...

    async def read_all(self, limit: int) -> bytes:
        """Return everything; past `limit` bytes raise `BrokenAnswer`."""
        ...

    def close(self) -> None:
        """Give up. Harmless when called again."""
        ...


class Collected(Protocol):
    """What puts the events of a stream together again."""

    id: str
    model: str
    error_type: str
    error_message: str
    unread: int
    units: dict[str, Decimal]
    """What of `usage` is no text, by the names of `tetrad.serving.UNITS`."""

    def feed(self, events: bytes, *, torn: bool = False) -> None:
        """Read whole events; where the front is `torn`, what cannot be read there does not count."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What the call consumed, as far as it was told."""
        ...

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why the answer ended; empty while it has not."""
        ...

    @property
    def messages(self) -> bytes:
        """The messages, as a JSON array; b"" where there was none."""
        ...


class Drainer:
    """Reads what follows the end of streams, so that their connections can be used again."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def drain(self, response: Coming) -> None:
        """Read the rest of a response that is as good as over."""
        task = asyncio.get_running_loop().create_task(_drain(response))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Give up on what is being drained."""
        for task in list(self._tasks):
            task.cancel()


class Whole:
    """An answer that is there."""

    stream = False
    done = True

    def __init__(
        self,
        status: int,
        body: bytes,
        outcome: Outcome,
        received_ns: int,
        headers: list[tuple[bytes, bytes]],
        dropped: tuple[str, ...] = (),
        content_type: bytes = b"application/json",
    ) -> None:
        self.dropped = dropped
        self.status = status
        self.headers = [(b"content-type", content_type), *headers]
        self.received_ns = received_ns
        self._body = body
        self._outcome = outcome

    async def read(self) -> bytes:
        return self._body

    def outcome(self) -> Outcome:
        return self._outcome

    def close(self) -> None:
        """Nothing is held."""


class Retold(Whole):
    """A whole answer, as the events by which it would have come: for clients that wait for a stream."""

    stream = True

    def __init__(self, whole: Whole, events: bytes) -> None:
        self.dropped = whole.dropped
        self.status = whole.status
        self.headers = [each for each in whole.headers if each[0] != b"content-type"]
        self.received_ns = whole.received_ns
        self.done = False
        self._body = events
        self._outcome = whole.outcome()

    async def read(self) -> bytes:
        self.done = True
        return self._body


class EventStream:
    """Server-sent events on their way through; a protocol says how one ends and what of it the client sees.

    Pieces end where events end, so that events can be taken out whole, and the end is seen before the client sees it.
    Of the events at most `keep_bytes` are kept for the record.
    """

    stream = True
    dropped: tuple[str, ...] = ()
    secrets: tuple[bytes, ...] = ()
    """What is taken out of the events, should the upstream echo it."""

    def __init__(
        self,
        response: Coming,
        *,
        clock: Clock,
        drainer: Drainer,
        keep_bytes: int,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.status = response.status
        self.headers: list[tuple[bytes, bytes]] = headers or []
        self.done = False
        self.received_ns = clock.now_ns()
        self._clock = clock
        self._drainer = drainer
        self._keep_bytes = keep_bytes
        self._response = response
        self._pending = b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._first_ns = 0
        self._marked = False
        self._last = b""
        self._fault: UpstreamFailure | None = None
        self._gathered: Collected | None = None

    def _end(self, events: bytes) -> int | None:
        """Return where the last event of the protocol ends; None where it is absent."""
        raise NotImplementedError

    def _shown(self, events: bytes) -> bytes:
        """Return what of the events the client sees."""
        return events

    def _reader(self) -> Collected:
        """Return what puts the events together again."""
        raise NotImplementedError

    async def read(self) -> bytes:
        while True:
            if self._fault is not None:
                raise self._fault
            if self.done:  # its last piece came while it flowed
                last, self._last = self._last, b""
                return last
            piece = await self._response.read()
            if not piece:
                return self._over()
            data = self._step(piece)
            if data or self.done:
                return data

    async def pump(self, put: Callable[[bytes], bool]) -> None:
        """Hand pieces to `put` as they come, all but the last, until it returns False; `read` then goes on.

        It spares the task that waits for the answer being woken for every piece.
        """

        def take(piece: bytes) -> bool:
            try:
                data = self._step(piece)
            except UpstreamFailure as error:
                self._fault = error
                return False
            if self.done:
                self._last = data
                return False
            return put(data) if data else True

        await self._response.flow(take)

    def _step(self, piece: bytes) -> bytes:
        """Return what of a piece of the stream the client sees now."""
        if not self._first_ns:
            self._first_ns = self._clock.now_ns()
            piece = piece.removeprefix(_BOM)
        data = self._pending + piece if self._pending else piece
        cut = len(data) if data.endswith(b"\n\n") else end_of_events(data)
        if cut < len(data):
            self._pending = data[cut:]
            if len(self._pending) > MAX_EVENT:
                raise BrokenAnswer(f"an event of the upstream is larger than {MAX_EVENT:,} bytes")
            if not cut:
                return b""
            data = data[:cut]
        else:
            self._pending = b""
        data = self._uncovered(data)
        end = self._end(data)
        if end is not None:
            self.done = self._marked = True
            data = data[:end]
        self._keep(data)
        return self._shown(data)

    def _over(self) -> bytes:
        """Return what came behind the last whole event; raises `StreamBroken` where the answer is not over."""
        last = self._uncovered(self._pending)
        self.done = True
        self._keep(last)
        reader = self._collected()
        if reader.finish_reasons or reader.error_type:
            return last
        reader.error_type, reader.error_message = StreamBroken.code, "the stream ended without finish or marker"
        raise StreamBroken("the upstream's stream ended before its answer did", hint="try again")

    def _uncovered(self, data: bytes) -> bytes:
        for secret in self.secrets:
            if data.find(secret) >= 0:
                data = data.replace(secret, b"[secret]")
        return data

    def _collected(self) -> Collected:
        """Return what was put together of the events until now."""
        reader = self._gathered
        if reader is None:
            reader = self._reader()
            reader.feed(b"".join(self._kept))
            if self._tail:
                reader.feed(b"".join(self._tail), torn=True)
            if self.done:
                self._gathered = reader
        return reader

    def outcome(self) -> Outcome:
        reader = self._collected()
        return Outcome(
            usage=reader.usage,
            response_model=reader.model,
            response_id=reader.id,
            finish_reasons=reader.finish_reasons,
            output=reader.messages,
            first_chunk_ns=self._first_ns,
            error_type=reader.error_type,
            error_message=reader.error_message,
            truncated=bool(self._tail),
            attributes={"stream.unread_events": str(reader.unread)} if reader.unread else {},
            priced=not reader.units,
            units=reader.units,
            events=getattr(reader, "events", 0),
        )

    def close(self) -> None:
        if not self.done:
            self._response.close()
        elif not self._response.complete:
            self._drainer.drain(self._response)

    def _keep(self, data: bytes) -> None:
        if not self._tail and self._kept_bytes + len(data) <= self._keep_bytes:
            self._kept.append(data)
            self._kept_bytes += len(data)
            return
        # past the limit only the end matters: finish reasons and usage
        self._tail.append(data)
        self._tail_bytes += len(data)
        while len(self._tail) > 2 and self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())


async def _drain(response: Coming) -> None:
    try:
        async with asyncio.timeout(DRAIN_S):
            with contextlib.suppress(UpstreamFailure):
                await response.read_all(TAIL_BYTES)
    except TimeoutError:
        response.close()


def passed(response: Coming, names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """Return those headers of an upstream's answer that its client should see."""
    found = [(name, value) for name, value in response.headers if name in names]
    return sane(found) if found else found


def sane(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers of an upstream as a client may be told them: no pause without end, and each pause said once.

    Clients that heed a pause wait for it, some of them in a loop that nobody ends: what is no number of seconds, and no
    date to come (RFC 9110 10.2.3), is left out, and what is longer than `LONGEST_PAUSE_S` is cut.
    """
    found: dict[bytes, bytes] = {}
    others: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name in _PAUSES:
            if name not in found and (pause := _pause(value, _PAUSES[name])) is not None:
                found[name] = pause
        elif name != b"x-should-retry" or value in (b"true", b"false"):
            others.append((name, value))
    return [*found.items(), *others]


def _pause(value: bytes, unit: int) -> bytes | None:
    """Return a pause as whole units, of which a second has so many; None where there is none to be read."""
    if len(value) > _LONGEST_WORD:
        return None
    text = value.decode("latin-1").strip()
    try:
        pause = float(text)
    except ValueError:
        pause = _until(text) * unit
    if not math.isfinite(pause) or pause < 0:
        return None
    return b"%d" % math.ceil(min(pause, LONGEST_PAUSE_S * unit))


def _until(text: str) -> float:
    """Return the seconds until a date of HTTP's; less than none where it is past, or none."""
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return -1.0


def covered(error: InvalidInput, secret: str) -> InvalidInput:
    """Return the error without the secret that it may quote."""
    message = error.message.replace(secret, "[secret]") if secret else error.message
    return InvalidInput(message, hint=error.hint, code=error.code)


def end_of_events(data: bytes) -> int:
    """Return how many bytes at the front are whole server-sent events."""
    newline, carriage = data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n")
    return max(newline + 2 if newline >= 0 else 0, carriage + 4 if carriage >= 0 else 0)
