"""One connection: writes a request, reads its answer, knows whether it may be used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol, cast

import httptools

from tetrad.kernel import TetradError
from tetrad.kit.upstream._errors import BrokenAnswer, ConnectionLost, TimedOut, UpstreamFailure
from tetrad.kit.upstream._limits import Limits, Timeouts
from tetrad.kit.upstream._usual import Glimpse, headers_of, whole_answer

Headers = list[tuple[bytes, bytes]]
_BODILESS = frozenset((204, 304))
_JOINED_BYTES = 16_384
"""A body up to this size is copied behind its head: cheaper than a write of two pieces."""


class Response:
    """An answer that is being read; whoever holds it reads it to its end or closes it."""

    __slots__ = (
        "_buffered",
        "_chunks",
        "_connection",
        "_error",
        "_head",
        "_headers",
        "_listener",
        "_waiter",
        "complete",
        "glimpsed",
        "status",
    )

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.complete = False
        self.glimpsed: Glimpse | None = None
        """What was seen of the head of an answer that came as a whole, without taking it apart."""
        self._head = b""
        self._headers: Headers | None = None
        self._connection: Connection | None = connection
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._error: UpstreamFailure | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._listener: Callable[[bytes], bool] | None = None

    @property
    def headers(self) -> Headers:
        """The headers, their names in lower case."""
        headers = self._headers
        if headers is None:
            headers = self._headers = headers_of(self._head)
        return headers

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header (lower-case name), None where it is absent."""
        glimpsed = self.glimpsed
        if glimpsed is not None:
            at = glimpsed.head.find(b"\r\n%b:" % name)
            if at < 0:
                return None
            at += len(name) + 3
            return self._head[at : glimpsed.head.index(b"\r\n", at)].lstrip(b" \t")
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self) -> bytes:
        """Return the next piece of the body as it came, b"" at its end.

        Raises `UpstreamFailure` once all that came before the failure was read. A cancelled read closes the connection.
        """
        while not self._chunks:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        return self.at_hand()

    async def read_all(self, limit: int) -> bytes:
        """Return the whole body; past `limit` bytes close the connection and raise `BrokenAnswer`."""
        if self.complete and self._buffered <= limit:
            return self.at_hand()
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                self.close()
                raise BrokenAnswer(f"the answer is larger than {limit:,} bytes", hint="ask for less in one call")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def at_hand(self) -> bytes:
        """Return all of the body that is there and was not read; the whole of it, where `complete` and nothing was."""
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        connection = self._connection
        if connection is not None and connection.paused:
            connection.resume()
        return body

    async def flow(self, listener: Callable[[bytes], bool]) -> None:
        """Hand the pieces of the body to a listener as they come, without waking a task for each.

        Returns when the listener returned False, or nothing more will come; `read` tells what then holds, and returns
        what the listener was not given. A cancelled flow closes the connection. The listener must not raise.
        """
        self._listener = listener
        try:
            self.pass_on()
            while self._flows() and not self.complete and self._error is None:
                await self._wait()
        finally:
            self._listener = None

    def _flows(self) -> bool:
        return self._listener is not None

    def pass_on(self) -> None:
        """Give the listener what is there."""
        if self._chunks and self._listener is not None and not self._listener(self.at_hand()):
            self._listener = None
            self.wake()

    @property
    def buffered(self) -> int:
        """How many bytes of the body are there and were not read."""
        return self._buffered

    def close(self) -> None:
        """Give up: an unfinished answer takes its connection with it. Harmless when called again."""
        connection = self._connection
        if connection is not None:
            connection.fail(ConnectionLost("the call was given up", received=True))

    # what the connection calls

    def take(self, body: bytes) -> int:
        self._chunks.append(body)
        self._buffered += len(body)
        if self._waiter is not None and self._listener is None:
            self.wake()
        return self._buffered

    def whole(self, glimpsed: Glimpse, data: bytes) -> None:
        """Take head and body at once, and end."""
        cut = len(glimpsed.head)
        self.status = 200
        self.glimpsed = glimpsed
        self._head = data[:cut]
        if len(data) > cut:
            self._chunks.append(data[cut:])
            self._buffered = len(data) - cut
        self.complete = True
        self._connection = None
        self.wake()

    def end(self, error: UpstreamFailure | None) -> None:
        if error is None:
            self.complete = True
        else:
            self._error = error
        self._connection = None
        if self._waiter is not None:
            self.wake()

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def head(self) -> None:
        """Return when status and headers are there."""
        while not self.status:
            if self._error is not None:
                raise self._error
            connection = self._connection
            if connection is None:
                raise ConnectionLost("the answer has no connection", received=True)
            self._waiter = connection.loop.create_future()
            try:
                await self._waiter
            except BaseException:
                self.close()
                raise

    async def _wait(self) -> None:
        connection = self._connection
        if connection is None:  # never: an answer without connection is complete or failed
            raise ConnectionLost("the answer has no connection", received=True)
        self._waiter = connection.loop.create_future()
        try:
            await self._waiter
        except BaseException:
            self.close()
            raise


class Pool(Protocol):
    """What a connection needs of the pool that it belongs to."""

    watched_at: float
    """When the pool looks at its connections' deadlines next."""

    def watch(self, at: float) -> None:
        """Look at the deadlines then, or earlier."""
        ...

    def release(self, connection: Connection) -> None:
        """Take back a connection after a whole answer."""
        ...

    def lost(self, connection: Connection) -> None:
        """Count no longer with a connection."""
        ...


class Connection(asyncio.Protocol):
    """An open connection; carries one request at a time.

    Anything that is out of step - bytes that nobody asked for, a second answer, an answer before the request was sent -
    ends it: a connection whose state is in doubt is never used again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        pool: Pool,
    ) -> None:
        self.loop = loop
        self.served = 0
        self.idle_since = 0.0
        self._limits = limits
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self.paused = False
        self._tainted = False
        self._ended = False
        self._received = False
        self._parsed = False
        """Whether the parser saw anything of the answer."""
        self._informational = False
        self._idle_watched = False
        self._delimited = True
        self._silent = 0
        self._taken = 0
        self._drained: asyncio.Future[None] | None = None
        self._upload_failed: TetradError | None = None
        self.gone = False

    # for the pool

    @property
    def usable(self) -> bool:
        """Tell whether another request may be written."""
        if self._tainted or self._response is not None:
            return False
        transport = self._transport
        return transport is not None and not transport.is_closing()

    def abort(self) -> None:
        """End the connection now, without waiting for anything to be flushed."""
        self._tainted = True
        if self._transport is not None:
            self._transport.abort()

    def begin(
        self, head: bytes, body: bytes | memoryview, bodiless: bool, timeouts: Timeouts, now: float, total_at: float
    ) -> Response:
        """Write a request and return its answer, which has neither status nor headers yet."""
        transport = self._transport
        if transport is None or self._response is not None:
            raise ConnectionLost("the connection is not ready for a request", received=False)
        self._response = response = Response(self)
        self._bodiless = bodiless
        self._timeouts = timeouts
        self._total_at = total_at
        head_at = now + timeouts.first_byte_s
        self._head_at = head_at = min(head_at, total_at)
        self._last = now
        self._received = self._ended = False
        if self._parsed:
            self._parsed = self._informational = self._idle_watched = False
            self._silent = self._taken = 0
            self._delimited = True
        if head_at < self._pool.watched_at:
            self._pool.watch(head_at)
        if len(body) > _JOINED_BYTES:
            transport.write(head)
            transport.write(body)
        else:
            transport.write(head + body)
        return response

    async def upload(
        self, head: bytes, pieces: AsyncIterator[bytes], timeouts: Timeouts, now: float, total_at: float
    ) -> Response:
        """Send a body as it comes, until it is over or the head of the answer is there; return the answer then."""
        response = self.begin(head, b"", False, timeouts, now, total_at)
        sending = self.loop.create_task(self._send(pieces))
        try:
            await response.head()
        except UpstreamFailure:
            if self._upload_failed is not None:
                raise self._upload_failed from None
            raise
        finally:
            if not sending.done():
                self._tainted = True  # the rest of the body is not coming
                sending.cancel()
        return response

    async def _send(self, pieces: AsyncIterator[bytes]) -> None:
        transport = cast("asyncio.Transport", self._transport)
        try:
            async for piece in pieces:
                if piece:
                    transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    if self._drained is not None:
                        await self._drained
            transport.write(b"0\r\n\r\n")
        except TetradError as error:
            self._upload_failed = error
            self.fail(ConnectionLost("the body broke off", received=False))

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def resume(self) -> None:
        """Read on after the consumer took what was buffered."""
        if self.paused:
            self.paused = False
            self._last = self.loop.time()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def fail(self, error: UpstreamFailure) -> None:
        """End the call with an error, and the connection with it."""
        self._tainted = True
        self._finish(error)
        self.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self.abort()
            return
        self._received = True
        if not self._parsed and self._is_whole(response, data):
            return
        self._parsed = True
        self._last = self.loop.time()
        self._silent += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._broken("it switched protocols, which nobody asked for")
            return
        except httptools.HttpParserError as error:
            if self._response is response:
                cause = error.__context__
                self._broken(str(cause) if isinstance(cause, BrokenAnswer) else str(error))
            else:
                self.abort()  # the answer was whole; what follows it is not HTTP
            return
        finally:
            if response._listener is not None:
                response.pass_on()
        if self._ended:
            self._done()
        elif self._silent > self._limits.head_bytes:
            self._broken(f"more than {self._limits.head_bytes:,} bytes of headers came without any body")
        elif not self._idle_watched and response.status:
            # the body goes on: from now on the idle bound may come before the one on the first byte
            self._idle_watched = True
            self._pool.watch(min(self._last + self._timeouts.idle_s, self._total_at))

    def _is_whole(self, response: Response, data: bytes) -> bool:
        """Take an answer of the usual form that came in one piece; the parser stands between two of them all the while.

        What is past a limit is left to the parser as well.
        """
        limits = self._limits
        if len(data) > limits.high_water_bytes or self._bodiless:
            return False
        glimpsed = whole_answer(data)
        if glimpsed is None:
            return False
        head = glimpsed.head
        if len(head) > limits.head_bytes or head.count(b"\r\n") - 2 > limits.headers:
            return False
        if len(data) - len(head) > limits.body_bytes:
            return False
        transport = self._transport
        if transport is None or self._unsent(transport):
            self._tainted = True
        self._response = None
        self.served += 1
        self._ended = True
        response.whole(glimpsed, data)
        self._done()
        return True

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._tainted = self.gone = True
        if self._response is not None:
            if exc is None and not self._delimited and self._response.status:
                self._finish(None)
            else:
                when = "in the middle of its answer" if self._received else "before it answered"
                self._finish(ConnectionLost(f"the upstream closed the connection {when}", received=self._received))
        self._pool.lost(self)
        del self._parser  # it holds us: what is left of a connection would stay until the collector of cycles comes

    # httptools

    def on_message_begin(self) -> None:
        if self._response is None:
            self._tainted = True  # a second answer in the same packet
            raise BrokenAnswer("a second answer came to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        response = self._response
        if response is None or response.status:
            return  # trailers carry nothing that we use
        headers = response._headers
        if headers is None:
            headers = response._headers = []
        if len(headers) >= self._limits.headers:
            raise BrokenAnswer(f"the answer has more than {self._limits.headers} headers")
        headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        response = self._response
        if response is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise BrokenAnswer(f"the status {status} makes no sense here")
            self._informational = True
            response.headers.clear()
            return
        if status > 599:
            raise BrokenAnswer(f"the status {status} makes no sense here")
        self._delimited = self._framing(status, response.headers)
        response.status = status
        if self._bodiless:
            # the parser cannot be told that the answer to HEAD has no body, so its state is of no further use
            self._tainted = True
            self._finish(None)
            return
        response.wake()

    def on_body(self, body: bytes) -> None:
        response = self._response
        if response is None:
            return
        self._silent = 0
        self._taken += len(body)
        if self._taken > self._limits.body_bytes:
            raise BrokenAnswer(f"the answer is larger than {self._limits.body_bytes:,} bytes")
        if response.take(body) > self._limits.high_water_bytes and not self.paused and self._transport is not None:
            self.paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._informational:
            self._informational = False
            return
        if self._response is None:
            return
        transport = self._transport
        if not self._parser.should_keep_alive() or not self._delimited or transport is None or self._unsent(transport):
            self._tainted = True
        self._finish(None)

    # inside

    @staticmethod
    def _unsent(transport: asyncio.Transport) -> bool:
        """An answer that came before the whole request was read leaves the rest of it on the wire."""
        return transport.get_write_buffer_size() > 0

    @staticmethod
    def _framing(status: int, headers: Headers) -> bool:
        """Tell whether the body's end is marked; refuse what two readers could take differently (RFC 9112 §6.3)."""
        length: bytes | None = None
        coding: bytes | None = None
        for name, value in headers:
            if name == b"content-length":
                if length is not None or not value.strip().isdigit():
                    raise BrokenAnswer("Content-Length is no number, or is there twice")
                length = value
            elif name == b"transfer-encoding":
                if coding is not None or value.strip().lower() != b"chunked":
                    raise BrokenAnswer("Transfer-Encoding says more than `chunked`")
                coding = value
        if length is not None and coding is not None:
            raise BrokenAnswer("Content-Length and Transfer-Encoding disagree about where the answer ends")
        return length is not None or coding is not None or status in _BODILESS

    def _broken(self, why: str) -> None:
        self.fail(
            BrokenAnswer(f"the upstream's answer is broken: {why}", hint="check that its base URL is an HTTP API")
        )

    def _finish(self, error: UpstreamFailure | None) -> None:
        response = self._response
        if response is None:
            return
        self._response = None
        if self.paused:
            self.resume()
        self.served += 1
        self._ended = True
        response.end(error)

    def _done(self) -> None:
        """Hand the connection back; not before the parser saw whether more bytes follow in the same packet."""
        if self._tainted:
            if self._transport is not None and not self._transport.is_closing():
                self._transport.abort()
        else:
            self._pool.release(self)

    def check(self, now: float) -> float | None:
        """Fail a call whose deadline has passed; return when to look again, None where nothing is under way."""
        response = self._response
        if response is None:
            return None
        if not response.status:
            due, what = self._head_at, "sent no answer"
        elif self.paused:
            self._last, due, what = now, min(now + self._timeouts.idle_s, self._total_at), "did not finish its answer"
        else:
            due, what = min(self._last + self._timeouts.idle_s, self._total_at), "stopped in the middle of its answer"
        if now < due - 0.001:
            return due
        waited = (
            self._timeouts.total_s
            if now >= self._total_at - 0.001
            else (self._timeouts.idle_s if response.status else self._timeouts.first_byte_s)
        )
        self.fail(TimedOut(f"the upstream {what} within {waited:g} s", hint="try again, or raise its timeout"))
        return None
