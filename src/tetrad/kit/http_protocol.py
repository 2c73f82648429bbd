"""uvicorn's protocol with bounds on everything that comes before a request's body, and around it.

uvicorn reads heads without limit or deadline and appends trailers to the headers of their request. The gateway has a
protocol of its own, which does more.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 65_536
_FRAMING_PER_BYTE = 16
"""How many bytes of framing a byte of body may have: six around a chunk of one byte, and some patience."""


def bounded(head_timeout_s: float = 15.0) -> type[HttpToolsProtocol]:
    """Return a protocol whose connections must bring a whole head within the deadline; errors are problem+JSON."""

    class Bounded(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._deadline: asyncio.TimerHandle | None = None
            self._in_head = True
            self._begun = False
            self._spare_bytes = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(cast("asyncio.Transport", transport))
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._disarm()

        def data_received(self, data: bytes) -> None:
            self._spare_bytes += len(data)
            super().data_received(data)
            if self.transport.is_closing():
                return
            if self._begun and self._deadline is None:
                self._arm()
            if self._spare_bytes > MAX_HEAD_BYTES:
                self._refuse(431 if self._in_head else 400, "the request's headers or trailers are too large")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head = self._begun = True

        def on_header(self, name: bytes, value: bytes) -> None:
            if self._in_head:  # else it is a trailer, which must not pose as a header
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_head = self._begun = False
            self._spare_bytes = 0
            self._disarm()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._spare_bytes = max(0, self._spare_bytes - _FRAMING_PER_BYTE * len(body))
            super().on_body(body)

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._in_head = True
            self._spare_bytes = 0

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, msg)

        def _arm(self) -> None:
            self._deadline = self.loop.call_later(head_timeout_s, self._late)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _late(self) -> None:
            self._deadline = None
            if self.transport.is_closing() or not self._in_head or self._busy():
                return
            if not self._begun:
                self.transport.close()  # a browser's spare connection; it need not hear why
            else:
                self._refuse(408, f"the request's head did not arrive within {head_timeout_s:g} s")

        def _busy(self) -> bool:
            cycle = cast("RequestResponseCycle | None", self.cycle)
            return cycle is not None and not cycle.response_complete

        def _may_answer(self) -> bool:
            if not self._busy():
                return self._in_head  # else an answer is out, and this is what is left of its request
            return not self.pipeline and not self.cycle.response_started and self.cycle.more_body

        def _refuse(self, status: int, message: str) -> None:
            self._disarm()
            if self.transport.is_closing():
                return
            if self._may_answer():
                problem = {"type": "about:blank#malformed_http", "title": "Refused", "status": status}
                body = json.dumps({**problem, "detail": message, "code": "malformed_http"}).encode()
                self.transport.write(
                    b"HTTP/1.1 %d Refused\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
                    b"connection: close\r\n\r\n%s" % (status, len(body), body)
                )
            self.transport.close()

    return Bounded
