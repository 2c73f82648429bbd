"""A stream says the same to its client whether its pieces are read one by one or handed on as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tetrad.serving.translation  # noqa: F401 - knows the pairs of protocols
from tetrad.kernel import SystemClock
from tetrad.serving import Upstream, translated
from tetrad.serving._enforcement import _CheckedStream
from tetrad.serving._first_content import Held
from tetrad.serving._gate import _Held as Placed
from tetrad.serving._operations import CHAT, MESSAGES
from tetrad.serving._pumping import Put, pumped
from tetrad.serving.errors import DeadlinePassed, StreamBroken
from tetrad.serving.ports import ModelCall, Outcome


class Scripted:
    """An upstream's stream: its last piece is its end, or a failure."""

    status = 200
    stream = True
    dropped = ()
    received_ns = 0

    def __init__(self, pieces: list[bytes], *, breaks: bool = False) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.done = False
        self.closed = 0
        self.flowed = 0
        self._pieces = list(pieces)
        self._breaks = breaks

    async def read(self) -> bytes:
        piece = self._pieces.pop(0)
        if not self._pieces:
            if self._breaks:
                raise StreamBroken("it broke off")
            self.done = True
        return piece

    async def pump(self, put: Put) -> None:
        await asyncio.sleep(0)
        while len(self._pieces) > 1:
            self.flowed += 1
            if not put(self._pieces.pop(0)):
                return

    def outcome(self) -> Outcome:
        return Outcome(finish_reasons=("stop",))

    def close(self) -> None:
        self.closed += 1


async def said_by(answer: Any, *, pumps: bool, patience: list[bool]) -> tuple[bytes, str]:
    """Read an answer as the pipeline does; `patience` says of each piece handed on whether more is taken at once."""
    said: list[bytes] = []

    def put(piece: bytes) -> bool:
        assert piece, "nothing is handed on as a piece"
        said.append(piece)
        return patience.pop() if patience else True

    try:
        while True:
            if pumps:
                await pumped(answer, put)
            said.append(await answer.read())
            if answer.done:
                return b"".join(said), ""
    except StreamBroken as error:
        return b"".join(said), error.message


START = (
    b'data: {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
)
TEXT = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%d"}}\n\n'
PING = b'data: {"type":"ping"}\n\n'
END = b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
STOP = b'data: {"type":"message_stop"}\n\n'


async def _translated(source: Scripted) -> Any:
    async def following(_call: ModelCall) -> Any:
        return source

    call = ModelCall(CHAT, {"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(b"[]")}, stream=True)
    return await translated(call, ["messages"], Upstream("up", ""), following)


async def _held(source: Scripted) -> Any:
    held = Held(source, SystemClock())
    await held.hold()
    return held


async def _placed(source: Scripted) -> Any:
    return Placed(source, lambda: None)


async def _checked(source: Scripted) -> Any:
    class Rules:
        reports = False

        def violation(self, _operation: str, _outcome: Outcome) -> str:
            return "it does not fit"

    rules: Any = Rules()
    exchange: Any = None
    return _CheckedStream(source, exchange, ModelCall(MESSAGES, {}, stream=True), rules)


WRAPPERS: dict[str, Callable[[Scripted], Awaitable[Any]]] = {
    "translated": _translated,
    "held": _held,
    "placed": _placed,
    "checked": _checked,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_wraps_a_stream_hands_on_what_it_would_have_read(wrapper: str) -> None:
    pieces = st.lists(st.sampled_from([PING, PING * 2, *[TEXT % n for n in range(3)]]), max_size=8)

    @given(pieces, st.booleans(), st.booleans(), st.lists(st.booleans(), max_size=6))
    def check(middle: list[bytes], early_stop: bool, breaks: bool, patience: list[bool]) -> None:
        script = [START, *middle, END, STOP, *([PING] * early_stop)]

        async def run(pumps: bool) -> tuple[bytes, str]:
            answer = await WRAPPERS[wrapper](Scripted(script, breaks=breaks))
            return await said_by(answer, pumps=pumps, patience=list(patience))

        assert asyncio.run(run(True)) == asyncio.run(run(False))

    check()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_wraps_a_stream_wakes_nobody_for_each_piece(wrapper: str) -> None:
    async def run() -> int:
        source = Scripted([START, *[TEXT % n for n in range(50)], END, STOP])
        await said_by(await WRAPPERS[wrapper](source), pumps=True, patience=[])
        return source.flowed

    assert asyncio.run(run()) >= 50


def test_a_fault_of_a_translation_is_raised_where_the_stream_is_read() -> None:
    async def run() -> None:
        answer = await _translated(Scripted([START, TEXT % 1, END, STOP]))

        def feed(_piece: bytes) -> bytes:
            raise ZeroDivisionError

        answer._events.feed = feed
        await pumped(answer, lambda _piece: True)
        await pumped(answer, lambda _piece: True)
        with pytest.raises(ZeroDivisionError):
            await answer.read()

    asyncio.run(run())


def test_a_stream_that_flows_ends_at_its_deadline() -> None:
    class Endless(Scripted):
        async def pump(self, put: Put) -> None:
            await asyncio.Event().wait()

    async def run() -> None:
        clock = SystemClock()
        held = Held(Endless([START, TEXT % 1, TEXT % 2, STOP]), clock, clock.monotonic() + 0.05)
        await held.hold()
        while held._held:
            await pumped(held, lambda _piece: True)
            await held.read()
        with pytest.raises(DeadlinePassed):
            await pumped(held, lambda _piece: True)

    asyncio.run(run())
