"""One client's connection to the data plane's own front end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote_to_bytes

import httptools

from tetrad.kernel import InvalidInput, new_trace_id
from tetrad.processes.gateway._body_pipe import BodyPipe
from tetrad.processes.gateway._core import shutting_down, unmet
from tetrad.processes.gateway._http1_reply import HttpReply, HttpRequest
from tetrad.processes.gateway._known_heads import KnownHead, name_of
from tetrad.processes.gateway._wire import FRAMING_PER_BYTE, MAX_DISCARDED_BYTES, MAX_HEAD_BYTES, ONCE, REFUSED_HINT
from tetrad.serving import AnswerTorn, Exchange, error_body

if TYPE_CHECKING:
    from tetrad.processes.gateway._http1 import HttpServer

log = logging.getLogger(__name__)

_MAX_PIPELINED = 16
_WRITE_HIGH = 65_536
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_MAX_OFFERS = 16
"""How many requests that offer another protocol are read from one piece of input."""


class HttpConnection(asyncio.Protocol):
    """One client's connection: requests are answered one after the other, in the order in which they came."""

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._core = server.core
        self._loop = loop
        self.deadline = loop.time() + server.header_timeout_s
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[HttpRequest] = deque()
        self._current: HttpRequest | None = None
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closing = False
        self._last = False
        self._lost = False
        self._used = False
        self._reading_paused = False
        # the message that is being received
        self._in_head = True
        self._begun = False
        self._head_bytes = 0
        self._framing_bytes = 0
        self._discarded = 0
        self._url = b""
        self._head: dict[bytes, bytes] = {}
        self._receiving: HttpRequest | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._fault = ""
        self._offered = False
        self._missing = 0
        self._turn = server.core.turn
        self._owed = 0
        self._close_when_paid = False
        self._learned: KnownHead | None = None
        self._learning = False

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self._server.connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._lost = self._closing = True
        self._server.connections.discard(self)
        if not self._server.connections:
            self._server.empty.set()
        self.deadline = 0
        if self._task is not None:
            self._task.cancel()
        if self._receiving is not None:
            self._give_up(self._receiving)
            self._receiving = None
        while self._waiting:
            self._give_up(self._waiting.popleft())
        self._body.clear()
        del self._parser  # it holds us: what is left of a connection would stay until the collector of cycles comes

    def eof_received(self) -> bool:
        return False  # a client that sends no more has left, as for every server of this protocol

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self._current is None and not self._closing:
            self._next()

    def data_received(self, data: bytes) -> None:
        if self._closing or (self._last and self._in_head):
            return
        if self._missing:
            data = self._fill(data)
            if not data or self._closing:
                return
        name = b""
        if self._in_head:
            end = data.find(b"\r\n\r\n") + 4
            if not self._begun and not self._head_bytes:
                name, digits = name_of(data, end)
                if name and self._current is None and self._again(name, digits, data, end):
                    return
                self._learned, self._learning = None, bool(name)
            self._head_bytes += len(data)
        else:
            self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._read_past_offers(data, offer)
        except httptools.HttpParserError as error:
            self._refuse(400, self._fault or _plain(error), "malformed_http")
        if name and self._learned is not None:
            self._server.heads.know(name, self._learned)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self._closing:
            self._refuse(431, f"the request's headers are larger than {MAX_HEAD_BYTES:,} bytes", "headers_too_large")
        elif self._framing_bytes > MAX_HEAD_BYTES and not self._closing:
            self._refuse(400, "the body's framing and trailers are larger than the body allows", "malformed_http")

    def _read_past_offers(self, data: bytes, offer: httptools.HttpParserUpgrade) -> None:
        """Read requests that offer another protocol as if they did not (RFC 9110 7.8; Java's client offers h2c).

        llhttp takes the bodies of such requests for that protocol's bytes and reads no further.
        """
        for _ in range(_MAX_OFFERS):
            data = self._without_offer() + data[offer.args[0] :]
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as another:
                offer = another
            except httptools.HttpParserError as error:
                self._refuse(400, self._fault or _plain(error), "malformed_http")
                return
            else:
                return
        self._refuse(400, "too many requests offer to change protocols at once", "malformed_http")

    def _without_offer(self) -> bytes:
        """Return the head that was just read, without its offer, for a new parser."""
        parser, self._parser = self._parser, httptools.HttpRequestParser(self)
        version = parser.get_http_version().encode("latin-1")
        lines = [b"%b %b HTTP/%b\r\n" % (parser.get_method(), self._url, version)]
        lines += [b"%b: %b\r\n" % (name, value) for name, value in self._head.items() if name != b"upgrade"]
        self._offered = False
        return b"".join(lines) + b"\r\n"

    # heads that were read before

    def _again(self, name: bytes, digits: bytes, data: bytes, end: int) -> bool:
        """Take a request whose head the parser has read before, all but the length; tell whether that was so.

        The parser stands between two messages before and after, so it misses nothing.
        """
        known = self._server.heads.get(name)
        if known is None:
            return False
        exchange = Exchange(known.operation, known.headers, time.time_ns())
        declared, have = int(digits), len(data) - end
        if have > declared or self._core.admit(exchange, declared) is not None:
            return False
        request = HttpRequest("POST", known.operation.path, keep_alive=True, http10=False)
        request.exchange = exchange
        request.counted = True
        self._core.metrics.in_flight += 1
        if have == declared:
            self._used = True
            exchange.body = data[end:]
            self._enqueue(request)
            return True
        self._begun, self._in_head = True, False
        self._head_bytes = self._framing_bytes = self._discarded = 0
        self._receiving = request
        self._size = have
        self._body = [data[end:]] if have else []
        self._missing = declared - have
        self._await_body(request)
        return True

    def _fill(self, data: bytes) -> bytes:
        """Take what is missing of a body whose head was known; return what follows it."""
        piece = data[: self._missing]
        self._missing -= len(piece)
        self.on_body(piece)
        if not self._missing and not self._closing:
            self.on_message_complete()
        return data[len(piece) :]

    # httptools

    def on_message_begin(self) -> None:
        self._begun = True
        self._url = b""
        self._head = {}
        if not self._busy():
            self.deadline = self._loop.time() + self._server.header_timeout_s

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer, which must not pose as a header
        name = name.lower()
        if name in self._head and name in ONCE:
            self._fault = f"the header {name.decode('latin-1')!r} is there twice"
            raise ValueError(self._fault)
        self._head[name] = value

    def on_headers_complete(self) -> None:
        parser, head = self._parser, self._head
        learning, self._learning = self._learning, False  # of what was named: the first of the heads that came together
        if b"upgrade" in head and parser.should_upgrade():
            self._offered = True  # it will be read anew
            return
        version = parser.get_http_version()
        http10 = version == "1.0"
        if version not in ("1.0", "1.1"):
            self._fault = f"HTTP/{version} is not spoken here"
            raise ValueError(self._fault)
        if b"host" not in head and not http10:
            self._fault = "the request names no host"
            raise ValueError(self._fault)
        if head.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self._fault = "the only transfer coding that is read is chunked"
            raise ValueError(self._fault)
        if http10 and b"transfer-encoding" in head:
            self._fault = "HTTP/1.0 has no transfer codings"  # who understands none frames the body otherwise
            raise ValueError(self._fault)
        if parser.should_upgrade():  # only CONNECT is left
            self._fault = "this is no proxy"
            raise ValueError(self._fault)
        path = self._path()
        self._in_head = False
        self._head_bytes = self._framing_bytes = self._discarded = self._size = 0
        request = HttpRequest(
            parser.get_method().decode("latin-1"), path, keep_alive=parser.should_keep_alive(), http10=http10
        )
        self._receiving = request
        exchange = self._core.exchange(request.method, request.path, head)
        if exchange is None:
            request.head = head
            request.query = self._url.partition(b"?")[2].decode("latin-1")
            request.path = self._core.page_at(path)
            if self._core.relayed(request.method, request.path):
                request.expects = not http10 and head.get(b"expect", b"").lower() == b"100-continue"
                request.pipe = BodyPipe(self._core.body_timeout_s, self._hold_reading, self._release_reading)
                self._enqueue(request)
            return
        request.exchange = exchange
        declared = head.get(b"content-length")
        request.error = self._core.admit(exchange, None if declared is None else int(declared))
        expected = head.get(b"expect")
        if expected is not None and not http10:  # whose clients would take a 100 for the answer
            request.expects = expected.lower() == b"100-continue"
            if not request.expects and request.error is None:
                request.error = unmet(expected)
        if request.error is not None:
            self._answer_early(request)
            return
        request.counted = True
        self._core.metrics.in_flight += 1
        usual = declared is not None and request.keep_alive and not http10 and type(exchange) is Exchange
        if usual and learning:
            self._learned = KnownHead(exchange.operation, head)
        if not self._busy():
            self._await_body(request)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = max(0, self._framing_bytes - FRAMING_PER_BYTE * len(body))
        request = self._receiving
        if request is not None and request.pipe is not None:
            request.pipe.feed(body)
            return
        if request is None or request.exchange is None:
            self._discarded += len(body)
            if self._discarded > MAX_DISCARDED_BYTES:
                self.abort()
            return
        self._size += len(body)
        if self._size > self._core.max_body:
            request.error = self._core.too_large(self._size)
            self._answer_early(request)
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._offered:
            return
        self._in_head = True
        self._begun = False
        self._framing_bytes = self._head_bytes = 0
        request, self._receiving = self._receiving, None
        self._used = True
        if request is None:  # refused, and now read to its end
            if not self._busy():
                self._rest()
            return
        if request.pipe is not None:
            request.pipe.end()  # it has its turn already, or waits for it
            return
        if request.exchange is not None:
            body = self._body
            request.exchange.body = body[0] if len(body) == 1 else b"".join(body)
            self._body = []
        self._enqueue(request)

    # the turn of requests

    def _busy(self) -> bool:
        return self._current is not None

    def _answer_early(self, request: HttpRequest) -> None:
        """Refuse before the body is there; what still comes of it is thrown away."""
        self._receiving = None
        self._body = []
        self._enqueue(request)

    def _enqueue(self, request: HttpRequest) -> None:
        if self._current is None and self._drained is None:
            self._begin(request)
            return
        self._waiting.append(request)
        if (len(self._waiting) >= _MAX_PIPELINED or self._drained is not None) and not self._reading_paused:
            self._reading_paused = True  # whoever asks without reading the answers is not read any further
            self._transport.pause_reading()

    def _begin(self, request: HttpRequest) -> None:
        self._current = request
        self.deadline = 0.0
        exchange = request.exchange
        if exchange is None:
            if request.pipe is not None:
                self._task = self._loop.create_task(self._answer_relayed(request, request.pipe))
                return
            if self._core.stored(request.method, request.path):
                self._task = self._loop.create_task(self._answer_stored(request))
                return
            status, headers, body = self._core.page(request.method, request.path, request.head)
            self._write(self._whole(request, status, headers, body))
            self._ended(request)
            return
        exchange.ready_ns = time.time_ns()
        self._task = self._loop.create_task(self._answer(request, exchange))

    async def _answer(self, request: HttpRequest, exchange: Exchange) -> None:
        reply = HttpReply(self, request)
        try:
            if request.error is not None:
                await self._core.refuse(exchange, request.error, reply)
            else:
                await self._core.serve(exchange, reply)
        except asyncio.CancelledError:
            if self._lost:
                if request.error is None:
                    self._core.abandon(exchange, "client_disconnected")
            elif not reply.begun:
                await reply.whole(*shutting_down(exchange))
                self._closing = True
            else:
                self.abort()
        except AnswerTorn:
            self.abort()
        except Exception:
            log.exception("the answer to trace %s failed", exchange.trace_id)
            self.abort()
        finally:
            self._task = None
            self._discount(request)
            if not self._lost:
                self._ended(request)

    async def _answer_stored(self, request: HttpRequest) -> None:
        reply = HttpReply(self, request)
        try:
            await self._core.answer_stored(request.method, request.path, request.query, request.head, reply)
        except asyncio.CancelledError:
            if not self._lost:
                self.abort()
        except Exception:
            log.exception("the page %s failed", request.path[:200])
            self.abort()
        finally:
            self._task = None
            if not self._lost:
                self._ended(request)

    async def _answer_relayed(self, request: HttpRequest, pipe: BodyPipe) -> None:
        reply = HttpReply(self, request)
        if request.expects:
            self._send(_CONTINUE)
        try:
            await self._core.relay(request.method, request.path, request.query, request.head, pipe, reply)
        except asyncio.CancelledError:
            if not self._lost:
                self.abort()
        except AnswerTorn:
            self.abort()
        except Exception:
            log.exception("the page %s failed", request.path[:200])
            self.abort()
        finally:
            self._task = None
            pipe.close()
            if self._receiving is request:
                self._receiving = None  # what still comes of its body is thrown away
            if not self._lost:
                self._ended(request)

    def _hold_reading(self) -> None:
        if not self._lost:
            self._transport.pause_reading()

    def _release_reading(self) -> None:
        if not self._lost and not self._closing and not self._reading_paused:
            self._transport.resume_reading()

    def _ended(self, request: HttpRequest) -> None:
        """Take the next request, or wait for one."""
        self._current = None
        if self._closing or not request.keep_alive or self._core.draining:
            self._last = True
        self._next()

    def _next(self) -> None:
        if not self._waiting or self._last:
            self._rest()
        elif self._drained is None:
            self._begin(self._waiting.popleft())
        few = len(self._waiting) < _MAX_PIPELINED // 2
        if self._reading_paused and few and not self._closing and self._drained is None:
            self._reading_paused = False
            self._transport.resume_reading()

    def _rest(self) -> None:
        """Nothing is to be answered: wait for a head, the rest of a body, or the end."""
        if (self._last or self._core.draining) and (self._in_head or self._closing):
            self._close()
        elif self._in_head:
            server = self._server
            self.deadline = self._loop.time() + (server.header_timeout_s if self._begun else server.keep_alive_s)
        elif self._receiving is not None and not self._last:
            self._await_body(self._receiving)
        else:  # a refusal is out; the rest of its body is read, for a while, so that the client sees it
            self.deadline = self._loop.time() + self._server.header_timeout_s

    def _await_body(self, request: HttpRequest) -> None:
        self.deadline = self._loop.time() + self._core.body_timeout_s
        if request.expects:
            request.expects = False
            self._write(_CONTINUE)

    def _close(self) -> None:
        self._closing = True
        self.deadline = 0
        if self._owed:
            self._close_when_paid = True
        else:
            self._transport.close()

    def _give_up(self, request: HttpRequest) -> None:
        """Record a request whose client left before its turn."""
        if request.pipe is not None:
            request.pipe.fail()
        if request.exchange is not None and request.error is None:
            self._core.abandon(request.exchange, "client_disconnected")
        self._discount(request)

    def _discount(self, request: HttpRequest) -> None:
        if request.counted:
            request.counted = False
            self._core.metrics.in_flight -= 1

    # deadlines and ends

    def late(self) -> None:
        """A deadline has passed."""
        self.deadline = 0
        if self._closing or self._busy():
            return
        request = self._receiving
        if request is not None and request.exchange is not None:
            request.error = self._core.too_slow()
            self._answer_early(request)
        elif not self._in_head:
            self.abort()  # its answer is out; the rest of its body is not worth more time
        elif self._begun or not self._used:
            seconds = self._server.header_timeout_s
            self._refuse(408, f"the request's head did not arrive within {seconds:g} s", "header_timeout")
        else:
            self._close()

    def finish(self) -> None:
        """The server ends: close at once where nothing is under way, else after the answer."""
        if not self._busy() and not self._begun:
            self._close()

    def cancel(self) -> None:
        """The time to end is over."""
        if self._task is not None:
            self._task.cancel()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        self._closing = True
        self._transport.abort()

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Say what is wrong with bytes that are no request, where the next bytes are ours to write; then close."""
        if self._closing:
            return
        body = error_body(InvalidInput(message, hint=REFUSED_HINT, code=code, status=status))
        answered_already = not self._in_head and self._receiving is None
        if self._receiving is not None:
            self._give_up(self._receiving)
            self._receiving = None
        if not self._busy() and not answered_already:
            self._write(
                b"%scontent-type: application/json\r\nx-request-id: %s\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%s"
                % (_STATUS[status], new_trace_id().encode(), len(body), body)
            )
        while self._waiting:
            self._give_up(self._waiting.popleft())
        if self._busy():
            self._closing = True  # an answer is under way: it is the last one
        else:
            self._close()

    def _path(self) -> str:
        url = self._url
        if not url.startswith(b"/"):
            try:
                url = httptools.parse_url(url).path or b"/"
            except httptools.HttpParserInvalidURLError:
                self._fault = "the request's target is no URL"
                raise
        path = url.partition(b"?")[0]
        if b"%" in path:
            path = unquote_to_bytes(path)
        return path.decode("latin-1")

    # writing

    def _write(self, data: bytes) -> None:
        """Write behind what is held back until the turn ends."""
        if self._owed and self._turn is not None:
            self._owed += 1
            self._turn.end(self, data)
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        """Write now. A client may be gone whose protocol is told so only in the loop's next turn."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def write_end(self, data: bytes) -> None:
        """Write the end of an answer, after its record was written: when the turn ends, or now where it is large."""
        turn = self._turn
        if turn is None:
            self._send(data)
        elif len(data) > _WRITE_HIGH:
            turn.flush()
            self._send(data)
        else:
            self._owed += 1
            turn.end(self, data)

    def put(self, data: bytes) -> None:
        """Take what was held back; see `_turn.Line`."""
        self._owed -= 1
        if not self._lost and not self._transport.is_closing():
            self._transport.write(data)
            if self._close_when_paid and not self._owed:
                self._transport.close()

    def _whole(self, request: HttpRequest, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
        lines = [_STATUS.get(status) or b"HTTP/1.1 %d Status\r\n" % status, self._server.date]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"content-length: %d\r\n" % len(body))
        lines.append(self._connection(request))
        if request.method != "HEAD":
            lines.append(body)
        return b"".join(lines)

    def _stream_head(self, request: HttpRequest, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        lines = [_STATUS.get(status) or b"HTTP/1.1 %d Status\r\n" % status, self._server.date]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        if request.http10:
            request.keep_alive = False  # such a client knows the end of a stream only by the end of the connection
        else:
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(self._connection(request))
        return b"".join(lines)

    def _connection(self, request: HttpRequest) -> bytes:
        if not request.keep_alive or self._core.draining or self._closing:
            return b"connection: close\r\n\r\n"
        return b"connection: keep-alive\r\n\r\n" if request.http10 else b"\r\n"


class OpenConnection(HttpConnection):
    """A connection whose answers say which pages in browsers may read them."""

    def _whole(self, request: HttpRequest, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
        return super()._whole(request, status, [*headers, *self._readers(request)], body)

    def _stream_head(self, request: HttpRequest, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        return super()._stream_head(request, status, [*headers, *self._readers(request)])

    def _readers(self, request: HttpRequest) -> Sequence[tuple[bytes, bytes]]:
        cors = self._core.cors
        asked = request.head if request.exchange is None else request.exchange.headers
        return () if cors is None else cors.headers(request.path, asked)


def _plain(error: httptools.HttpParserError) -> str:
    if "PRI/Upgrade" in str(error):
        return "HTTP/2 is not spoken here: send HTTP/1.1"
    return f"this is no HTTP request: {error}"
