"""The events of responses in the background, over control: from any number on, until the response has ended.

Control keeps them, so it does not matter which gateway began a response. While control is away a stream waits for it.
A gateway that stops ends the streams of its followers with an `error`: the response goes on, and so may they elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from tetrad.kernel import Overloaded, TetradError, Unavailable
from tetrad.responses import EventPage
from tetrad.serving import RequestRefused, StreamCut, error_event

EVENT_STREAM: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
WAIT_S: Final = 10.0
"""So long control holds a question for events that are not there yet; then a comment shows that the stream lives."""
_AWAY_S = 120.0
"""So long a stream waits for a control plane that is away."""
_AWAY_AT_FIRST_S = 5.0
"""So long somebody waits who has been told nothing yet."""
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 2.0
_FAULTY = {"no_such_event": "starting_after"}
_COMMENT = b": waiting\n\n"
_NUMBER = re.compile(r"[0-9]{1,15}")
_NO_NAME = re.compile(r"[^\w.-]", re.ASCII)
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
"""Ends of lines stand between the tokens of JSON alone: those in texts are escaped."""

Ask = Callable[[str, Mapping[str, str]], Awaitable[tuple[int, bytes]]]
"""Asks control for a response's events; raises `Unavailable` where control does not answer."""


class _Kind(msgspec.Struct, frozen=True):
    type: str


class _Problem(msgspec.Struct, frozen=True):
    detail: str = ""
    hint: str = ""
    code: str = ""


_kind = msgspec.json.Decoder(_Kind)
_page = msgspec.json.Decoder(EventPage)


class Followers:
    """Streams that clients of this worker follow: at most `most` at a time."""

    def __init__(self, ask: Ask, most: int) -> None:
        self._ask = ask
        self._most = most
        self._open: set[EventFollower] = set()
        self._draining = False

    def follow(self, project: str, response: str, after: int = -1) -> EventFollower:
        """Return the events of a response after a number; close it in the end.

        Raises `Overloaded`, and `Unavailable` where this worker stops.
        """
        if self._draining:
            raise _stopping()
        if len(self._open) >= self._most:
            raise Overloaded(
                f"{self._most:,} clients of this gateway worker follow responses in the background",
                hint="retrieve the response without 'stream', try again, or raise TETRAD_GATEWAY_FOLLOWED_STREAMS",
                code="too_many_streams",
                retry_after_s=5.0,
            )
        follower = EventFollower(self._ask, project, response, after, self._open.discard)
        self._open.add(follower)
        return follower

    def drain(self) -> None:
        """Begin no stream, and end those that are open: their clients come back to another worker."""
        self._draining = True
        for follower in list(self._open):
            follower.drain()


class EventFollower:
    """`tetrad.serving.ports.Following` by asking control again and again; control answers when there is something."""

    def __init__(
        self, ask: Ask, project: str, response: str, after: int, closed: Callable[[EventFollower], None]
    ) -> None:
        self.response = response
        self._ask = ask
        self._project = project
        self._after = after
        self._closed = closed
        self._over = False
        self._begun = False
        self._draining = False
        self._patience: asyncio.Timeout | None = None
        self._away_s = _AWAY_AT_FIRST_S

    async def read(self) -> bytes:
        """Return the next events as they are sent; empty at the end.

        What is raised after the first of them has the number of the last as its `sequence_number`: it is where whoever
        comes back goes on. So has the `error` by which a stream ends when this worker stops.
        """
        if self._over:
            return b""
        try:
            page = await self._next()
        except TetradError as error:
            if self._begun and self._after >= 0:
                raise StreamCut(error, self._after) from error
            raise
        if page is None:
            if not self._begun:
                raise _stopping()
            self._over = True
            return error_event(StreamCut(_stopping(self._after), self._after), "responses")
        self._after, self._over, self._away_s = page.last, page.over, _AWAY_S
        self._begun = True
        if page.events:
            return b"".join(_sent(bytes(event)) for event in page.events)
        return b"" if page.over else _COMMENT

    def close(self) -> None:
        """Make room for another."""
        self._closed(self)

    def drain(self) -> None:
        """End soon. Whoever follows from the beginning gets what there is first: without an id nobody comes back."""
        self._draining = True
        if self._patience is not None and self._after >= 0:
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _next(self) -> EventPage | None:
        """Return the next page; None where this worker stops."""
        if self._draining and self._after >= 0:
            return None
        try:
            async with asyncio.timeout(None) as self._patience:
                return await self._asked()
        except TimeoutError:
            return None
        finally:
            self._patience = None

    async def _asked(self) -> EventPage:
        asked = {"project": self._project, "after": str(self._after), "wait_s": str(WAIT_S)}
        until, pause_s = asyncio.get_running_loop().time() + self._away_s, _PAUSE_S
        while True:
            with contextlib.suppress(Unavailable):  # control is away: it is asked again
                status, body = await self._ask(self.response, asked)
                if status == 200:
                    return _decoded(body)
                if status < 500 and status != 429:
                    raise _refusal(self.response, status, body)
            if asyncio.get_running_loop().time() >= until:
                raise Unavailable(
                    f"the events of the response {self.response} cannot be had now: control does not answer",
                    hint=f"come back with starting_after={self._after}" if self._after >= 0 else "try again",
                    code="state_unavailable",
                    retry_after_s=2.0,
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def starting_after(asked: Mapping[str, str]) -> int | None:
    """Return after which number a client wants a stream, -1 for all of it; None where it wants none."""
    if asked.get("stream", "").lower() not in ("true", "1"):
        return None
    said = asked.get("starting_after", "")
    if said and not _NUMBER.fullmatch(said):
        raise RequestRefused(
            f"{said[:80]!r} is no number of an event",
            param="starting_after",
            hint="give the sequence_number of the last event that you have, or leave 'starting_after' out",
            code="bad_field",
        )
    return int(said) if said else -1


def _stopping(after: int = -1) -> Unavailable:
    come_back = f" with starting_after={after}" if after >= 0 else ""
    return Unavailable(
        "the gateway is shutting down; the response goes on",
        hint=f"come back{come_back}, and another one tells the rest",
        code="shutting_down",
        retry_after_s=1.0,
    )


def _decoded(body: bytes) -> EventPage:
    try:
        return _page.decode(body)
    except msgspec.MsgspecError as error:
        raise Unavailable(
            f"control's answer cannot be read: {error}",
            hint="try again; if it stays so, gateway and control may be of different versions",
            code="state_unavailable",
        ) from None


def _sent(event: bytes) -> bytes:
    """Return an event as it is sent. In a line's place stands nothing of an upstream's that ends it."""
    kind = _NO_NAME.sub("", _kind.decode(event).type)
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), event.translate(_ONE_LINE))


def _refusal(response: str, status: int, body: bytes) -> TetradError:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem()
    return RequestRefused(
        problem.detail or f"the events of the response {response} cannot be had ({status})",
        param=_FAULTY.get(problem.code, "stream") if status == 400 else "",
        hint=problem.hint,
        code=problem.code or None,
        status=status if status in (400, 404, 422) else 503,
    )
