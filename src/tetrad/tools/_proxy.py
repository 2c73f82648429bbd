"""Pass messages between clients and MCP servers over Streamable HTTP, as far as rules and approvals let them.

Sources: MCP 2026-07-28, "Streamable HTTP"; MCP 2025-11-25, "Transports", for sessions, the stream of the server and
resumption. Which revision is spoken is between client and server; the gateway keeps nothing from one request to the
next but what a worker may forget.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import islice
from typing import Any, Protocol

from tetrad.kernel import Clock, Overloaded, TetradError, Unavailable
from tetrad.kit.upstream import Client, Response
from tetrad.serving import (
    Attempt,
    BindingBroken,
    BoundModel,
    BoundToolServer,
    CompiledTable,
    KeyEntry,
    Reply,
    RequestRefused,
    RouteTable,
    ServerRest,
    ToolServerRoute,
    may_name,
)
from tetrad.tools._absences import Absences
from tetrad.tools._call import EVERY_SERVER, JSON, Call, Server
from tetrad.tools._combined import Combined
from tetrad.tools._exchange import ToolExchange, Who
from tetrad.tools._rests import Rests
from tetrad.tools._rpc import error_message
from tetrad.tools._screen import Digests, Seen, patterns_of
from tetrad.tools._sessions import Sessions
from tetrad.tools.errors import ToolServerNotFound

log = logging.getLogger(__name__)

PREFIX = "/mcp/"
COMBINED = "/mcp"
"""Where a client finds the tools of all servers that its key may use."""
APP_HEADER = b"x-tetrad-app"
_REBIND = "`tetrad binding check` tells what is missing; bind it anew, or roll the binding back"
_REACHED_BY = (
    "url", "command", "env", "headers", "connect_timeout_s", "first_byte_timeout_s", "internal", "egress", "problem",
)  # fmt: skip
MAX_TOLD_RESTS = 1000
_DRAIN_S = 1.0
_LEAVE_S = 5.0
_MAX_DRAINING = 64
_MAX_LATE = 8
_LOCAL_ORIGIN = re.compile(rb"https?://(localhost|127(?:\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")


class Limiter(Protocol):
    """Counts requests in the limits of who makes them; see `tetrad.limits`."""

    def bind(self, table: RouteTable) -> Callable[[ToolExchange, BoundModel, Who], Awaitable[None]] | None:
        """Return what to await before a request goes on, which raises `TetradError` to refuse it; None without limits.

        A request to several servers counts once as its caller's (`caller`), and as each server's (`server`).
        What is set aside is given back by `exchange.on_done`.
        """
        ...


class Sightings(Protocol):
    """Hears what definitions servers show, and remembers which of them are not the approved ones."""

    def note(self, server: ToolServerRoute, shown: list[Seen]) -> None:
        """Take in what a listing showed; quick, and never raises."""
        ...

    def drifted(self, server: ToolServerRoute) -> Mapping[str, str]:
        """Return the digests last seen by this worker of the server's approved tools, as far as any was seen."""
        ...


class ToolRecorder(Protocol):
    """Writes down a finished exchange: counts it, and makes a span of a call of a tool. Never raises."""

    def __call__(self, exchange: ToolExchange) -> None:
        """Record."""
        ...


class _Table:
    """What the proxy made of one route table. `problems` says what of it cannot be called."""

    def __init__(self, table: RouteTable, limiter: Limiter, bridge: str) -> None:
        self.table = table
        self.limit = limiter.bind(table)
        self.servers: dict[str, Server] = {}
        self.problems: dict[str, str] = {}
        for path, route in table.tool_servers.items():
            try:
                self.servers[path] = Server(route, bridge)
            except TetradError as error:
                self.problems[path] = error.message


class ToolProxy:
    """Answer requests at `/mcp/NAME` and `/mcp` by the newest route table; see the module.

    `origins` are the web origins that may call besides those of this machine. `record` is called once per exchange of a
    known key. A server's answer, or one event of a stream, has at most `answer_bytes`. Where all servers are asked, at
    `/mcp`, one that has not answered after `listing_s` is left out.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        current: Callable[[], CompiledTable],
        sessions: Sessions,
        record: ToolRecorder,
        limiter: Limiter,
        sightings: Sightings,
        bridge: str,
        origins: frozenset[bytes],
        answer_bytes: int,
        streams_per_key: int,
        listing_s: float,
    ) -> None:
        self.client = client
        self.clock = clock
        self._current = current
        self.sessions = sessions
        self._record = record
        self._limiter = limiter
        self.sightings = sightings
        self._bridge = bridge
        self._origins = origins
        self.answer_bytes = answer_bytes
        self._streams_per_key = streams_per_key
        self.listing_s = listing_s
        self._table: _Table | None = None
        self.digests = Digests()
        self.absences = Absences(clock)
        self.rests = Rests(clock)
        self._streams: dict[str, int] = {}
        self.open: dict[Response, tuple[ToolExchange, ToolServerRoute]] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._finishing: set[asyncio.Task[None]] = set()
        self._leaving: Counter[str] = Counter()
        self._heard_out: set[asyncio.Task[Any]] = set()
        self._late: dict[str, int] = {}
        self.draining = False

    @staticmethod
    def serves(method: str, path: str) -> bool:
        """Tell whether a request is one for MCP servers."""
        return (path.startswith(PREFIX) or path == COMBINED) and method in ("POST", "GET", "DELETE")

    @property
    def streams(self) -> int:
        """How many streams clients hold open now."""
        return sum(self._streams.values())

    def resting(self) -> tuple[ServerRest, ...]:
        """Return which servers are let rest now, and for what."""
        return tuple(islice(self.rests.now(), MAX_TOLD_RESTS))

    def follow(self) -> None:
        """Do what the newest table asks of what is there already, where nobody calls too; to be done every few seconds.

        Streams end whose key is no more, or may use the server no more: what servers say is none of its business then.
        """
        if self._table is None:
            return
        self.compiled()
        for response, (exchange, route) in list(self.open.items()):
            if not self._may_hear(exchange, route):
                del self.open[response]
                response.close()

    def _may_hear(self, exchange: ToolExchange, route: ToolServerRoute) -> bool:
        compiled = self._current()
        try:
            key = compiled.holder(exchange.headers, self.clock.now_ns())
        except TetradError:
            return False
        now = compiled.table.tool_servers.get(f"{route.project}/{route.name}")
        return now is not None and patterns_of(now, key) is not None

    def check_origin(self, exchange: ToolExchange) -> TetradError | None:
        """Return why a browser's page may not call: a site can make its own name lead to us (DNS rebinding)."""
        origin = exchange.headers.get(b"origin")
        if origin is None or _LOCAL_ORIGIN.fullmatch(origin) or origin in self._origins:
            return None
        return RequestRefused(
            f"pages of {origin[:100].decode('latin-1')!r} may not call MCP servers here",
            hint="name the origin in TETRAD_GATEWAY_TOOL_ORIGINS",
            status=403,
            code="origin_refused",
        )

    def drain(self) -> None:
        """Begin no stream, and end those that are open: their clients come back to another worker."""
        self.draining = True
        for task in self._heard_out:
            task.cancel()
        for response in list(self.open):
            response.close()

    # the three ends of an exchange

    async def serve(self, exchange: ToolExchange, reply: Reply) -> None:
        """Answer an authenticated exchange whose body is there; raises nothing but `CancelledError`."""
        try:
            await self._serve(exchange, reply)
        except TetradError as error:
            await self.refuse(exchange, error, reply)
        except asyncio.CancelledError:
            self.abandon(exchange, "client_disconnected")
            raise
        except Exception:
            log.exception("MCP request %s failed inside the gateway", exchange.trace_id)
            await self.refuse(exchange, TetradError("the gateway failed", hint=f"trace {exchange.trace_id}"), reply)

    async def refuse(self, exchange: ToolExchange, error: TetradError, reply: Reply) -> None:
        """Answer with an error, and record it where the client is known."""
        exchange.error = error
        exchange.error_type = exchange.error_type or error.code
        told = getattr(error, "number", None) == -32602 and bool(bytes(exchange.identity))
        exchange.status = 200 if told else error.status  # what the request says is wrong, HTTP is not
        self.done(exchange)
        headers = [JSON, *self.own_headers(exchange), *getattr(error, "headers", ())]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await reply.whole(exchange.status, headers, error_message(error, exchange.identity))

    def abandon(self, exchange: ToolExchange, why: str) -> None:
        """Record an exchange whose client cannot be answered any more."""
        if not exchange.recorded:
            exchange.status = 499
            exchange.error_type = why
            self.done(exchange)

    def done(self, exchange: ToolExchange) -> None:
        if exchange.recorded:
            return
        exchange.recorded = True
        exchange.end_ns = self.clock.now_ns()
        for made in exchange.attempts:
            made.end_ns = made.end_ns or exchange.end_ns
            made.status = made.status or exchange.status
        for listener in exchange.on_done:
            listener(exchange)
        self._record(exchange)

    def own_headers(self, exchange: ToolExchange) -> list[tuple[bytes, bytes]]:
        trace = exchange.trace_id.encode()
        return [(b"x-tetrad-trace-id", trace), (b"x-request-id", trace)]

    # the way in

    async def _serve(self, exchange: ToolExchange, reply: Reply) -> None:
        key = exchange.key
        if key is None:
            raise TetradError("the exchange was not authenticated")
        self._note_app(exchange, key)
        if exchange.path == COMBINED:
            await Combined(self, exchange, key).serve(reply)
            return
        call = Call(self, exchange, key, self._server(exchange, key))
        if exchange.method == "POST":
            await call.post(reply)
        elif exchange.method == "GET":
            await call.listen(reply)
        else:
            await call.end(reply)

    def _note_app(self, exchange: ToolExchange, key: KeyEntry) -> None:
        """Note for which app, and by which of its releases, a client says that it calls: limits and spans tell it."""
        said = exchange.headers.get(APP_HEADER)
        if said is None:
            return
        name, _, ref = said.decode("utf-8", "replace").removeprefix("app:").partition("@")
        compiled = self._current()
        table = compiled.table
        app = table.apps.get(f"{key.project}/{name}")
        if app is None or not may_name(key, f"app:{name}"):
            raise RequestRefused(
                f"there is no app {name[:80]!r} that this key may call",
                param=APP_HEADER.decode(),
                hint="name one of the project's apps, such as assistant or assistant@staging, or leave the header out",
                code="app_not_found",
                status=404,
            )
        ref = ref or app.default_ref
        digest = app.refs.get(ref)
        if digest is None:
            raise RequestRefused(
                f"the app {name!r} has no ref {ref[:80]!r}",
                param=APP_HEADER.decode(),
                hint=f"its refs: {', '.join(sorted(app.refs)) or 'none'}",
                code="app_not_found",
                status=404,
            )
        exchange.app, exchange.ref = name, ref
        exchange.release = compiled.release(key.project, digest)
        binding = table.bindings.get(f"{key.project}/{app.bindings.get(ref, '')}")
        exchange.bound = binding
        exchange.binding = binding.digest if binding is not None else ""

    def compiled(self) -> _Table:
        table = self._current().table
        if self._table is None or self._table.table is not table:
            before = self._table.table.tool_servers if self._table is not None else {}
            self._table = _Table(table, self._limiter, self._bridge)
            for path, why in self._table.problems.items():
                log.error("the MCP server %r cannot be called: %s", path, why)
            self.absences.keep(table.tool_servers)
            self.rests.keep({path for path, route in table.tool_servers.items() if not _moved(before.get(path), route)})
        return self._table

    def _server(self, exchange: ToolExchange, key: KeyEntry) -> Server:
        compiled = self.compiled()
        name = exchange.path.removeprefix(PREFIX)
        path = f"{key.project}/{_meant(exchange, name)}"
        route = compiled.table.tool_servers.get(path)
        if route is None or patterns_of(route, key) is None:
            raise ToolServerNotFound(
                f"there is no MCP server {name[:80]!r} that this key may call",
                hint="`tetrad mcp list` shows the project's servers",
            )
        exchange.server = route.name
        problem = route.problem or compiled.problems.get(path, "")
        if problem:
            raise Unavailable(
                f"the MCP server {name!r} cannot be called: {problem}",
                hint="`tetrad mcp show` tells more",
                code="tool_server_unusable",
            )
        return compiled.servers[path]

    async def count_whole(self, exchange: ToolExchange) -> None:
        """Count a request to all servers in the limits of who makes it, once; or refuse it."""
        limit = self.compiled().limit
        if limit is not None:
            await limit(exchange, EVERY_SERVER, "caller")
            exchange.attempts.append(Attempt(EVERY_SERVER.entry, EVERY_SERVER.upstream, b"", self.clock.now_ns()))

    def usable(self, key: KeyEntry, exchange: ToolExchange) -> dict[str, Server | str]:
        """Return the servers that a key may use, by name; in place of one that cannot be called, the reason.

        Those that the binding of the exchange gives a name are called by that, and by no other.
        """
        compiled = self.compiled()
        found: dict[str, Server | str] = {
            route.name: route.problem or compiled.problems.get(path, "") or compiled.servers[path]
            for path, route in compiled.table.tool_servers.items()
            if patterns_of(route, key) is not None
        }
        bound = _bindings_of(exchange)
        taken = {*bound, *(each.server for each in bound.values())}
        meant = {name: each.problem or found.get(each.server) for name, each in bound.items()}
        return {
            **{name: each for name, each in found.items() if name not in taken},
            **{name: each for name, each in meant.items() if each is not None},
        }

    # streams, as many as a key may hold

    def take_stream(self, key: KeyEntry) -> None:
        if self.draining:
            raise Unavailable("the gateway is shutting down", hint="try again", code="shutting_down", retry_after_s=1.0)
        held = self._streams.get(key.id, 0)
        if held >= self._streams_per_key:
            raise Overloaded(
                f"this key holds {held} streams of MCP servers open at this gateway worker",
                hint="close some, or raise TETRAD_GATEWAY_TOOL_STREAMS",
                code="too_many_streams",
                retry_after_s=5.0,
            )
        self._streams[key.id] = held + 1

    def give_stream(self, key: KeyEntry) -> None:
        left = self._streams.get(key.id, 0) - 1
        if left > 0:
            self._streams[key.id] = left
        else:
            self._streams.pop(key.id, None)

    def hear_out(self, task: asyncio.Task[Any]) -> None:
        """Let a server be heard for which its request may not wait; what comes of it is noted by the task itself."""
        self._heard_out.add(task)
        task.add_done_callback(self._was_heard)

    def hear_late(self, task: asyncio.Task[Any], server: str) -> None:
        """Let a server be heard that nobody waits for any more, unless that is so of too many requests of it."""
        if self._late.get(server, 0) >= _MAX_LATE or self.draining:
            task.cancel()
            return
        self._late[server] = self._late.get(server, 0) + 1
        task.add_done_callback(lambda _: self._heard_late(server))
        self.hear_out(task)

    def _heard_late(self, server: str) -> None:
        self._late[server] -= 1
        if not self._late[server]:
            del self._late[server]

    def leave(self, ending: Coroutine[Any, Any, None], server: str) -> None:
        """End a session in the background, unless a server has let too many of such requests wait."""
        if self._leaving[server] >= _MAX_LATE:
            ending.close()
            log.info("a session of an MCP server is not ended: it still lets %d such requests wait", _MAX_LATE)
            return
        self._leaving[server] += 1
        task = asyncio.get_running_loop().create_task(_bounded(ending))
        self._finishing.add(task)
        task.add_done_callback(lambda task: self._left(task, server))

    def _left(self, task: asyncio.Task[None], server: str) -> None:
        self._finishing.discard(task)
        self._leaving[server] -= 1
        if not self._leaving[server]:
            del self._leaving[server]

    def _was_heard(self, task: asyncio.Task[Any]) -> None:
        self._heard_out.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, TetradError):
            log.error("asking an MCP server again failed inside the gateway", exc_info=error)

    def finish(self, response: Response) -> None:
        """Read what still comes after the last event, which is its end, so that the connection can be used again."""
        if response.complete:
            return
        if len(self._draining) >= _MAX_DRAINING:
            response.close()
            return
        task = asyncio.get_running_loop().create_task(_read_out(response))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)


def _moved(before: ToolServerRoute | None, now: ToolServerRoute) -> bool:
    """Tell whether a server is reached in another way than before: what was known of it says nothing then."""
    return before is not None and any(getattr(before, each) != getattr(now, each) for each in _REACHED_BY)


def _bindings_of(exchange: ToolExchange) -> Mapping[str, BoundToolServer]:
    """Return what names of servers mean for the app of an exchange; raises `BindingBroken` where nobody can say."""
    bound = exchange.bound
    if bound is None:
        return {}
    if bound.problem:
        raise BindingBroken(
            f"the binding {bound.ref!r} of the app {exchange.app!r} is broken: {bound.problem}", hint=_REBIND
        )
    return bound.tool_servers


def _meant(exchange: ToolExchange, name: str) -> str:
    """Return the registered server that a name means; one that is bound never means itself instead."""
    found = _bindings_of(exchange).get(name)
    if found is None:
        return name
    if found.problem:
        raise BindingBroken(f"the MCP server {name!r} cannot be called: {found.problem}", hint=_REBIND)
    return found.server


async def _bounded(ending: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LEAVE_S):
            await ending


async def _read_out(response: Response) -> None:
    try:
        async with asyncio.timeout(_DRAIN_S):
            while await response.read():
                pass
    except (TetradError, TimeoutError):
        response.close()
