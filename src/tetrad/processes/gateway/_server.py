"""uvicorn, made safe for strangers: slow heads, endless bodies after an answer, and clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tetrad.kernel import InvalidInput, new_trace_id
from tetrad.processes.gateway._app import CONNECTION, GatewayApp
from tetrad.processes.gateway._wire import (
    BACKLOG,
    FRAMING_PER_BYTE,
    MAX_DISCARDED_BYTES,
    MAX_HEAD_BYTES,
    ONCE,
    REFUSED_HINT,
    without_upgrade,
)
from tetrad.serving import error_body


def watched(header_timeout_s: float) -> type[HttpToolsProtocol]:
    """Return the protocol of a client connection with a deadline on every head."""

    class Watched(HttpToolsProtocol):
        """uvicorn's protocol, with what it lacks.

        - A connection whose next head is not complete within the deadline is closed, whatever trickles in.
        - A head has at most `MAX_HEAD_BYTES`.
        - What follows the head but is no body (sizes and extensions of chunks, trailers) is bounded too, and trailers
          are dropped: uvicorn would append them to the headers, where a trailer could pose as a header.
        - A body that goes on after its answer (a refused 50 MB upload) is read and thrown away so that the client sees
          the answer, but neither for ever nor without end.
        - The application is told at once when the client leaves.
        """

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._gone: Callable[[], None] | None = None
            self._deadline: asyncio.TimerHandle | None = None
            self._head_done = False
            self._message_done = False
            self._head_bytes = 0
            self._discarded = 0
            self._framing_bytes = 0

        # for the application

        def watch(self, gone: Callable[[], None] | None) -> None:
            """Call `gone` once if the client leaves; None ends the watch."""
            self._gone = gone

        def cork(self) -> None:
            """Hold the head of the next answer back until its body is there: one system call instead of two."""
            self._corked.hold()

        @property
        def body_is_here(self) -> bool:
            """Tell whether the body of the request being answered has arrived whole."""
            return not self.cycle.more_body

        # asyncio.Protocol

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._corked = _Corked(cast("asyncio.Transport", transport))
            super().connection_made(cast("asyncio.Transport", self._corked))
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._disarm()
            gone, self._gone = self._gone, None
            if gone is not None:
                gone()

        def data_received(self, data: bytes) -> None:
            if not self._head_done:
                self._head_bytes += len(data)
                if b"pgrade" in data:
                    data = without_upgrade(data)
            elif not self._message_done:
                self._framing_bytes += len(data)
            super().data_received(data)
            if self._framing_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(400, "the body's framing and trailers are larger than the body allows", "malformed_http")
                return
            if self._head_done and self._message_done:
                return
            if not self._head_done and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    431, f"the request's headers are larger than {MAX_HEAD_BYTES:,} bytes", "headers_too_large"
                )
            elif self._deadline is None and (not self._head_done or self._unwanted()):
                self._arm()

        # httptools

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._head_done = self._message_done = False
            self._discarded = self._framing_bytes = 0
            cast("dict[str, Any]", self.scope)["extensions"] = {CONNECTION: self}

        def on_header(self, name: bytes, value: bytes) -> None:
            if self._head_done:  # it is a trailer
                return
            known = name.lower()
            if known in ONCE and any(known == each for each, _ in self.headers):
                raise ValueError(f"the header {known.decode('latin-1')!r} is there twice")
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._head_done = True
            self._head_bytes = 0
            self._disarm()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._framing_bytes = max(0, self._framing_bytes - FRAMING_PER_BYTE * len(body))
            super().on_body(body)
            if self._unwanted():
                self._discarded += len(body)
                if self._discarded > MAX_DISCARDED_BYTES:
                    self.transport.abort()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._message_done = True
            self._framing_bytes = 0
            if self._unwanted():
                self._disarm()
                self._head_done = False

        def on_response_complete(self) -> None:
            if self._message_done:
                self._head_done = False
            super().on_response_complete()
            if not self._message_done and not self.transport.is_closing():
                self._unset_keepalive_if_required()
                self._arm()

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, msg, "malformed_http")

        # inside

        def _unwanted(self) -> bool:
            return self.cycle.response_complete

        def _busy(self) -> bool:
            cycle = cast("RequestResponseCycle | None", self.cycle)
            return cycle is not None and not cycle.response_complete

        def _nobody_else_answers(self) -> bool:
            """Tell whether the next bytes of this connection are ours to write."""
            if not self._busy():
                return not self._head_done or self._message_done  # else an answer is out, and this is its request
            return not self.pipeline and not self.cycle.response_started and self.cycle.more_body

        def _arm(self) -> None:
            self._disarm()
            self._deadline = self.loop.call_later(header_timeout_s, self._late)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _late(self) -> None:
            self._deadline = None
            if self.transport.is_closing() or self._busy():
                return
            if not self._head_done:
                self._refuse(408, f"the request's head did not arrive within {header_timeout_s:g} s", "header_timeout")
            else:
                self.transport.abort()  # its answer is out; the rest of its body is not worth more time

        def _refuse(self, status: int, message: str, code: str) -> None:
            self._disarm()
            if self.transport.is_closing():
                return
            if self._nobody_else_answers():
                body = error_body(InvalidInput(message, hint=REFUSED_HINT, code=code, status=status))
                self.transport.write(
                    b"HTTP/1.1 %d Refused\r\ncontent-type: application/json\r\nx-request-id: %s\r\n"
                    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
                    % (status, new_trace_id().encode(), len(body), body)
                )
            self.transport.close()

    return Watched


class _Corked:
    """A transport that can hold one write back and send it together with the next."""

    __slots__ = ("_held", "_holding", "_transport", "abort", "get_extra_info", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._holding = False
        self._held = b""
        self.abort = transport.abort
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info

    def hold(self) -> None:
        self._holding = True

    def write(self, data: bytes) -> None:
        if self._holding:
            self._holding = False
            self._held = data
        elif self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        if self._held:
            self.write(b"")
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GatewayServer(uvicorn.Server):
    """A server that drains and returns on SIGTERM and SIGINT, so that its caller can flush what is left."""

    def __init__(self, config: uvicorn.Config, app: GatewayApp) -> None:
        super().__init__(config)
        self._app = app

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on signals without raising them again afterwards, as uvicorn would."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Stop accepting, and let what is under way end."""
        self._app.draining = True
        self.should_exit = True


def make_server(app: GatewayApp, *, header_timeout_s: float, keep_alive_s: float, drain_s: float) -> GatewayServer:
    """Return a server for `serve(sockets=[…])`."""
    config = uvicorn.Config(
        app,
        loop="none",
        http=watched(header_timeout_s),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(keep_alive_s),
        timeout_graceful_shutdown=max(1, round(drain_s)),
        backlog=BACKLOG,
    )
    return GatewayServer(config, app)
