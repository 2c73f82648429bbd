"""The streams of several servers as one: event by event, with one acknowledgement of what they honour together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from tetrad.kernel import TetradError
from tetrad.serving import Reply, RequestRefused
from tetrad.tools._call import EVENTS
from tetrad.tools._combined_words import acknowledged
from tetrad.tools._names import split_uri
from tetrad.tools._part import Part
from tetrad.tools._resources import narrowed
from tetrad.tools._rpc import Fields, Message
from tetrad.tools._sse import Event
from tetrad.tools._together import Together, all_of

_fields = msgspec.json.Decoder(Fields)
_encode = msgspec.json.encode


class _Speaker(NamedTuple):
    part: Part
    listen: Callable[[Reply], Awaitable[None]]


async def subscribe_all(together: Together, message: Message, reply: Reply) -> None:
    """Pass on what a client subscribes to of all servers: each is asked for its own resources (MCP 2026-07-28)."""
    parts = [together.part(name, _share(message, name)) for name in together.taking_part()]
    await _merge(together, [_Speaker(part, part.post) for part in parts], reply, answers=True)


async def listen_all(together: Together, reply: Reply) -> None:
    """Pass on what the servers of a session say on their own (MCP up to 2025-11-25)."""
    parts = [together.part(name, None) for name in together.taking_part()]
    await _merge(together, [_Speaker(part, part.listen) for part in parts], reply, answers=False)


def _share(message: Message, server: str) -> Message:
    """Return a subscription with the addresses that are one server's."""
    return narrowed(message, lambda uris: [uri for name, uri in map(split_uri, uris) if name == server])


async def _merge(together: Together, speakers: Sequence[_Speaker], reply: Reply, *, answers: bool) -> None:
    """Pass on what any of the servers says on its own, until none is left or the client has enough.

    Where each server `answers` with what it honours, the client hears that once and first: it goes by the first that
    it hears. One that has not said it after the time for a listing says it too late for this stream.
    """
    proxy, exchange = together.proxy, together.exchange
    exchange.is_stream = True
    expected = [speaker.part.name for speaker in speakers if not together.rests(speaker.part.name)] if answers else []
    merged = _Merged(reply, [*EVENTS, *proxy.own_headers(exchange)], expected, proxy.answer_bytes)

    async def one(speaker: _Speaker) -> None:
        part = speaker.part
        part.acknowledge = lambda said: merged.acknowledge(part.name, said)
        try:
            await speaker.listen(merged)
        except TetradError as error:  # one that has no stream, or breaks, ends no other's
            part.exchange.error, part.exchange.error_type = error, error.code
            part.exchange.status = error.status
        finally:
            merged.settle(part.name)
            proxy.done(part.exchange)

    await all_of([*(one(speaker) for speaker in speakers), merged.release(proxy.listing_s)])
    if not merged.begun:
        raise RequestRefused(
            "no MCP server here has a stream of its own", hint="go on without it", status=405, code="no_stream"
        )
    exchange.stream, exchange.status = True, 200
    proxy.done(exchange)
    await reply.end(b"")


class _Merged:
    """A reply into which several streams are written, event by event; what they begin and end with is not theirs.

    Nothing is written before all of `expected` are settled, or `release` has waited long enough, or more than `most`
    bytes wait.
    """

    def __init__(
        self, reply: Reply, headers: Sequence[tuple[bytes, bytes]], expected: Iterable[str], most: int
    ) -> None:
        self._reply = reply
        self._headers = headers
        self._lock = asyncio.Lock()
        self._waiting = set(expected)
        self._settled = asyncio.Event()
        self._acknowledged: Message | None = None
        self._held: list[bytes] | None = [] if self._waiting else None
        self._room = most
        self.begun = False
        if not self._waiting:
            self._settled.set()

    def acknowledge(self, name: str, said: Message) -> bool:
        """Take in what a server honours; tell whether it is part of what the client hears of all."""
        if self._held is None or name not in self._waiting:
            return False
        first, params = self._acknowledged, said.params or {}
        if first is None:
            self._acknowledged = said
        else:
            both = [_fields.decode(each.get("notifications", b"{}")) for each in (first.params or {}, params)]
            honoured = msgspec.Raw(_encode(acknowledged(*both)))
            self._acknowledged = msgspec.structs.replace(
                first, params={**(first.params or {}), "notifications": honoured}
            )
        self.settle(name)
        return True

    def settle(self, name: str) -> None:
        """Wait for a server no longer."""
        self._waiting.discard(name)
        if not self._waiting:
            self._settled.set()

    async def release(self, wait_s: float) -> None:
        """Write what waits, once everything that is to come first is there."""
        try:
            async with asyncio.timeout(wait_s):
                await self._settled.wait()
        except TimeoutError:
            self._settled.set()
        async with self._lock:
            await self._write_held()

    async def _write_held(self) -> None:
        held, self._held = self._held or [], None
        if self._acknowledged is not None:
            held.insert(0, Event(self._acknowledged.encoded()).encoded())
        if held:
            await self._reply.write(b"".join(held))

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Leave out an answer that is no stream."""

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:  # noqa: ARG002 - as replies are
        """Begin the stream of all, where no other has."""
        async with self._lock:
            if not self.begun:
                self.begun = True
                await self._reply.begin(200, self._headers)

    async def write(self, piece: bytes) -> None:
        """Write whole events, or keep them until what comes first is there."""
        async with self._lock:
            if self._held is None:
                await self._reply.write(piece)
                return
            self._held.append(piece)
            self._room -= len(piece)
            if self._room < 0:
                await self._write_held()

    async def end(self, piece: bytes) -> None:
        """Write the last events of one stream."""
        if piece:
            await self.write(piece)
