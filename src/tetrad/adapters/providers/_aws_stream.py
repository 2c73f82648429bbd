"""An answer that comes in Amazon's event stream, read as what its messages hold."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tetrad.adapters.providers._aws import Frame, FrameReader
from tetrad.kit.upstream import BrokenAnswer, Response, UpstreamFailure

CONTENT_TYPE = b"application/vnd.amazon.eventstream"
_STATUSES = {
    "throttlingException": 429,
    "serviceUnavailableException": 503,
    "modelTimeoutException": 504,
    "validationException": 400,
}


class StreamFailed(UpstreamFailure):
    """The service told in the middle of a stream that it cannot go on."""


class _Said(msgspec.Struct, frozen=True):
    message: str | None = None


_said = msgspec.json.Decoder(_Said)


def event_stream_failed(frame: Frame) -> StreamFailed:
    """Return the error that a message of an event stream tells."""
    headers = frame.headers
    code = headers.get(":exception-type") or headers.get(":error-code") or "upstream_error"
    try:
        text = _said.decode(frame.payload).message
    except msgspec.MsgspecError:
        text = None
    error = StreamFailed(text or headers.get(":error-message") or "the service gave up", code=code.lower())
    error.status = _STATUSES.get(code, 502)
    return error


class Unframed:
    """A `Response` whose messages are said as `said` says them, in pieces that hold whole ones.

    Raises `BrokenAnswer` for a damaged stream, and for one that ends within a message.
    """

    def __init__(self, response: Response, said: Callable[[Frame], bytes]) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._frames = FrameReader()
        self._said = said
        self._late: UpstreamFailure | None = None

    @property
    def complete(self) -> bool:
        return self._response.complete

    async def read(self) -> bytes:
        while True:
            if self._late is not None:
                raise self._late
            piece = await self._response.read()
            if not piece:
                if self._frames.torn:
                    raise BrokenAnswer("the upstream's event stream ended within a message")
                return b""
            found = self._unframed(piece)
            if found:
                return found

    async def flow(self, listener: Callable[[bytes], bool]) -> None:
        """Hand what messages hold to a listener as it comes; see `Response.flow`. `read` raises what went wrong."""

        def take(piece: bytes) -> bool:
            found = self._unframed(piece)
            goes_on = listener(found) if found else True
            return goes_on and self._late is None

        await self._response.flow(take)

    def _unframed(self, piece: bytes) -> bytes:
        """Return what messages say that are whole now; what came before a failure is said first."""
        pieces = []
        try:
            for frame in self._frames.feed(piece):
                pieces.append(self._said(frame))  # noqa: PERF401 - what was said before a failure counts
        except UpstreamFailure as error:
            self._response.close()
            self._late = error
        return b"".join(pieces)

    async def read_all(self, limit: int) -> bytes:
        found = b""
        while piece := await self.read():
            found += piece
            if len(found) > limit:
                self.close()
                raise BrokenAnswer(f"the answer is larger than {limit:,} bytes", hint="ask for less in one call")
        return found

    def close(self) -> None:
        self._response.close()
