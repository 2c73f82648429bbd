"""The servers that a key may use, asked together: what each answers, and which take no part, with the reason."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tetrad.kernel import TetradError, Unavailable
from tetrad.serving import KeyEntry
from tetrad.tools._call import Server
from tetrad.tools._exchange import ToolExchange
from tetrad.tools._part import Heard, Part
from tetrad.tools._rests import PROBE_S, Asked
from tetrad.tools._rpc import METHOD_NOT_FOUND, Fields, Message
from tetrad.tools.errors import ServerBroken, SessionUnknown, ToolRefused

if TYPE_CHECKING:
    from tetrad.tools._proxy import ToolProxy

log = logging.getLogger(__name__)

_SHOW = "`tetrad mcp show` tells more"
MAX_AT_ONCE = 16
_TIMED_OUT = "tool_server_timeout"
UNAVAILABLE = "dev.tetrad/unavailable"
OMITTED = "dev.tetrad/omitted"
_MAX_TOLD = 100
_NOT_PASSED = frozenset((b"mcp-name", b"last-event-id", b"traceparent"))
_fields = msgspec.json.Decoder(Fields)


class Gone(msgspec.Struct, frozen=True):
    """Why a server takes no part in an answer; `error` is what it failed with, as far as that is known."""

    server: str
    error: TetradError

    def told(self) -> dict[str, str]:
        """Return it as clients read it in `_meta`."""
        return {"server": self.server, "code": self.error.code, "reason": self.error.message}


class Together:
    """The servers of one exchange, by what they are called there, and the session that the client has with them."""

    def __init__(self, proxy: ToolProxy, exchange: ToolExchange, key: KeyEntry) -> None:
        self.proxy = proxy
        self.exchange = exchange
        self.key = key
        self.usable = proxy.usable(key, exchange)
        self.sessions: dict[str, tuple[str, str]] | None = None
        self.label = ""

    def server(self, name: str) -> Server:
        """Return the one server that something is for; raises `ToolRefused` or `Unavailable`."""
        server = self.usable.get(name)
        if server is None:
            raise ToolRefused(
                f"no MCP server that this key may use is called {name[:80]!r}",
                hint="names here are SERVER__NAME, and addresses mcp+SERVER+ADDRESS, as the lists show them",
            )
        if isinstance(server, str):
            raise Unavailable(
                f"the MCP server {name!r} cannot be called: {server}", hint=_SHOW, code="tool_server_unusable"
            )
        return server

    def whole(self, name: str) -> Part:
        """Return a call of the one server that all of the exchange is for."""
        server = self.server(name)
        self.exchange.server = server.route.name
        return self._part(name, server, self.exchange)

    def part(self, name: str, message: Message | None) -> Part:
        """Return a call of one server that is part of this exchange; who makes it was counted with the whole."""
        whole, server = self.exchange, self.server(name)
        headers = {each: value for each, value in whole.headers.items() if each not in _NOT_PASSED}
        exchange = ToolExchange(whole.method, f"{whole.path}/{name}", headers, self.proxy.clock.now_ns())
        exchange.trace_id, exchange.span_id = whole.trace_id, whole.span_id
        exchange.key, exchange.server, exchange.counts = whole.key, server.route.name, "server"
        exchange.app, exchange.ref, exchange.release, exchange.binding = (
            whole.app, whole.ref, whole.release, whole.binding,
        )  # fmt: skip
        if message is not None:
            exchange.body = message.encoded()
        return self._part(name, server, exchange)

    def _part(self, name: str, server: Server, exchange: ToolExchange) -> Part:
        session = self.session_of(name)
        return Part(self.proxy, exchange, self.key, server, name=name, session=session, label=self.label)

    async def end_session(self, name: str, identity: str) -> None:
        """End a session of a server that no client was given; what goes wrong with that is the server's loss."""
        whole, server = self.exchange, self.server(name)
        exchange = ToolExchange("DELETE", f"{whole.path}/{name}", {b"mcp-session-id": b""}, self.proxy.clock.now_ns())
        exchange.trace_id, exchange.key, exchange.server = whole.trace_id, whole.key, server.route.name
        part = Part(self.proxy, exchange, self.key, server, name=name, session=(identity, ""), label="")
        try:
            await part.end(Heard(self.proxy.answer_bytes))
        except TetradError as error:
            exchange.error, exchange.error_type, exchange.status = error, error.code, error.status
            log.info("a session of the MCP server %r that nobody has was not ended: %s", name, error.message)
        finally:
            self.proxy.done(exchange)

    def session_of(self, name: str) -> tuple[str, str] | None:
        """Return the id and the revision of a server's part of the session; None where it has none."""
        return (self.sessions or {}).get(session_name(name, self.server(name)))

    def taking_part(self) -> list[str]:
        """Return what the servers are called that can be asked, in this session if there is one."""
        return [
            name
            for name, each in self.usable.items()
            if isinstance(each, Server) and (self.sessions is None or self.session_of(name) is not None)
        ]

    async def each(
        self, message: Message, ask: Callable[[str], Awaitable[Any]] | None = None, *, surface: str = ""
    ) -> tuple[dict[str, Any], list[Gone]]:
        """Return what each server answered, by name, and those that did not, each with the reason.

        With a `surface` only those are asked that are opened for it. `ask` returns None where it heard nothing.
        """
        proxy = self.proxy
        at_once = asyncio.Semaphore(MAX_AT_ONCE)
        gone = [
            Gone(name, Unavailable(f"it cannot be called: {each}", hint=_SHOW, code="tool_server_unusable"))
            for name, each in self.usable.items()
            if isinstance(each, str)
        ]
        found: dict[str, Any] = {}

        async def one(name: str) -> None:
            try:
                async with at_once:
                    found[name] = await self._bounded(
                        name, message, lambda: ask(name) if ask is not None else self.ask(name, message)
                    )
            except TetradError as error:
                gone.append(Gone(name, error))

        asked = self.taking_part()
        await all_of(one(name) for name in asked if not surface or surface in self.server(name).route.serves)
        if self.sessions is not None:
            gone += [
                Gone(name, SessionUnknown("it was not there when the session began; begin a new one"))
                for name, each in self.usable.items()
                if isinstance(each, Server) and self.session_of(name) is None
            ]
        for name in (name for name, heard in found.items() if heard is not None):
            proxy.absences.back(self.key.project, self._real(name))
        self.exchange.left_out = tuple(sorted({self._real(each.server) for each in gone if each.error.status >= 500}))
        for each in gone:
            proxy.absences.gone(self.key.project, self._real(each.server), each.error)
        too_many = [each.error for each in gone if each.error.status == 429]
        if too_many and not found:
            raise too_many[0]
        return {name: found[name] for name in sorted(found)}, sorted(gone, key=lambda each: each.server)

    def rests(self, name: str) -> bool:
        """Tell whether nobody should wait for a server, as it answered nobody lately."""
        return self.proxy.rests.resting(self.key.project, self._real(name))

    async def _bounded(self, name: str, message: Message, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Return what a server says within its time; one that rests is left out at once, or waited for a moment only.

        Who needs longer then is heard out all the same, so that it takes part from then on.
        """
        rests = self.proxy.rests
        asked = Asked(self.key.project, self._real(name), message.method if message.kind == "request" else "")
        if (why := rests.why(asked)) is not None:
            raise why
        if not rests.resting(asked.project, asked.server):
            return await self._heard_out(asked, ask)
        rests.begin(asked)
        task = asyncio.get_running_loop().create_task(self._heard_out(asked, ask))
        self.proxy.hear_out(task)
        done, _ = await asyncio.wait([task], timeout=min(PROBE_S, self.proxy.listing_s) if asked.method else 0)
        if task.cancelled():
            raise Unavailable("the gateway stops", hint="try again")
        if done:
            return task.result()
        if not asked.method:
            return None
        told = f"it did not answer within {PROBE_S:g} s when it was asked again"
        raise Unavailable(told, hint="try again", code=_TIMED_OUT)

    async def _heard_out(self, asked: Asked, ask: Callable[[], Awaitable[Any]]) -> Any:
        rests, clock, most_s = self.proxy.rests, self.proxy.clock, self.proxy.listing_s
        begun = clock.monotonic()
        try:
            async with asyncio.timeout(most_s):
                heard = await ask()
        except TimeoutError:
            error = Unavailable(f"it did not answer within {most_s:g} s", hint="try again", code=_TIMED_OUT)
            rests.failed(asked, error, max(most_s, PROBE_S))
            raise error from None
        except TetradError as failed:
            rests.failed(asked, failed, clock.monotonic() - begun)
            raise
        except BaseException:
            rests.left(asked)
            raise
        rests.back(asked)
        return heard

    def _real(self, name: str) -> str:
        server = self.usable.get(name)
        return server.route.name if isinstance(server, Server) else name

    async def ask(self, name: str, message: Message) -> Message:
        """Return a server's answer, good or bad."""
        return await self.heard(self.part(name, message), message)

    async def heard(self, part: Part, message: Message) -> Message:
        """Return the answer to a part's message, good or bad; raises `TetradError` where there is none."""
        heard = Heard(self.proxy.answer_bytes)
        exchange = part.exchange
        try:
            await part.post(heard)
        except TetradError as error:
            exchange.error, exchange.error_type, exchange.status = error, error.code, error.status
            raise
        except asyncio.CancelledError:
            self.proxy.abandon(exchange, "cancelled")
            raise
        finally:
            self.proxy.done(exchange)
        if heard.answer is None and message.kind == "request":
            raise ServerBroken("it ended its stream without an answer")
        return heard.answer or Message("response")


def session_name(name: str, server: Server) -> str:
    """Return what a server's part of a session goes by: where a name comes to mean another, that one has none."""
    return name if name == server.route.name else f"{name}={server.route.name}"


async def all_of(parts: Iterable[Awaitable[None]]) -> None:
    """Wait for all; one that fails by our own fault, or a client that leaves, ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(_awaited(part))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _awaited(part: Awaitable[None]) -> None:
    await part


class _Fault(msgspec.Struct):
    code: int = 0
    message: str = ""


def result_of(answer: Message) -> Fields:
    """Return the result of a good answer; raises `ServerBroken` for a refusal, and for what cannot be read."""
    if bytes(answer.error):
        told = _fault(answer).message[:200]
        raise ServerBroken(f"it refused the request: {told or 'without words'}")
    try:
        return _fields.decode(answer.result)
    except (msgspec.MsgspecError, RecursionError):
        raise ServerBroken("its answer cannot be read") from None


def is_unknown_method(answer: Message) -> bool:
    """Tell whether a server says that it does not know the method."""
    return bool(bytes(answer.error)) and _fault(answer).code == METHOD_NOT_FOUND


def _fault(answer: Message) -> _Fault:
    try:
        return msgspec.json.decode(answer.error, type=_Fault)
    except (msgspec.MsgspecError, RecursionError):
        return _Fault()


def meta_of(gone: Sequence[Gone], omitted: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """Return what an answer for all says of those that are not in it; nothing where all are."""
    meta: dict[str, Any] = {}
    if gone:
        meta[UNAVAILABLE] = [each.told() for each in gone[:_MAX_TOLD]]
    if omitted:
        meta[OMITTED] = list(omitted[:_MAX_TOLD])
    return {"_meta": meta} if meta else {}
