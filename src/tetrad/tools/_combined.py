"""All MCP servers that a key may use, as one: what is for one of them goes there, what is for all is asked of each.

Nothing is kept from one request to the next, as at the address of one server: an id of a session holds those of the
servers, sealed; ids of a server's requests, tokens and events carry its name.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tetrad.kernel import NotFound, TetradError, Unavailable
from tetrad.kit.upstream import Response
from tetrad.serving import KeyEntry, Reply, RequestRefused
from tetrad.tools._call import EVENTS, JSON, LISTEN, Call, Server, check_headers, read_posted
from tetrad.tools._exchange import ToolExchange
from tetrad.tools._names import combined_name, own_name, split_name
from tetrad.tools._rpc import INVALID_PARAMS, MAX_ID_BYTES, Fields, Message, read_message
from tetrad.tools._sessions import MOST_COMBINED, session_label
from tetrad.tools._sse import Event, EventReader
from tetrad.tools.errors import (
    BadMessage,
    MethodRefused,
    ServerBroken,
    SessionUnknown,
    ToolRefused,
)

if TYPE_CHECKING:
    from tetrad.tools._proxy import ToolProxy

log = logging.getLogger(__name__)

_SHOW = "`tetrad mcp show` tells more"
MAX_AT_ONCE = 16
MAX_PAGES = 20
MAX_LISTED = 500
"""Of one server's tools or prompts, as many as are read of it at once."""
UNAVAILABLE = "dev.tetrad/unavailable"
OMITTED = "dev.tetrad/omitted"
_MAX_TOLD = 100
_LEGACY = "2025-11-25"
_LISTS = {"tools/list": "tools", "prompts/list": "prompts"}
_ROUTED = frozenset(("tools/call", "prompts/get"))
_TO_ALL = frozenset(("notifications/initialized", "notifications/cancelled", "notifications/roots/list_changed"))
_OFFERED = ("tools", "prompts", "logging")
_NOT_PASSED = frozenset((b"mcp-name", b"last-event-id", b"traceparent"))
_fields = msgspec.json.Decoder(Fields)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.encode


class _Greeting(msgspec.Struct):
    protocolVersion: str = ""  # noqa: N815 - as MCP spells it
    supportedVersions: list[str] = []  # noqa: N815
    capabilities: dict[str, dict[str, Any]] = {}
    instructions: str = ""


class _Fault(msgspec.Struct):
    message: str = ""


class _Gone(msgspec.Struct, frozen=True):
    """Why a server takes no part in an answer; `error` is what it failed with, as far as that is known."""

    server: str
    error: TetradError

    def told(self) -> dict[str, str]:
        """Return it as clients read it in `_meta`."""
        return {"server": self.server, "code": self.error.code, "reason": self.error.message}


class Combined:
    """One exchange with all servers that its key may use."""

    def __init__(self, proxy: ToolProxy, exchange: ToolExchange, key: KeyEntry) -> None:
        self._proxy = proxy
        self._exchange = exchange
        self._key = key
        self._usable = proxy.usable(key)
        self._sessions: dict[str, tuple[str, str]] | None = None
        self._label = ""
        exchange.server = "*"

    async def serve(self, reply: Reply) -> None:
        """Answer; raises `TetradError`."""
        exchange = self._exchange
        given = exchange.headers.get(b"mcp-session-id")
        if given is not None:
            self._sessions = self._proxy.sessions.unseal_many(self._key.project, self._key.id, given)
            self._label = exchange.session = session_label(self._key.id, given)
        if exchange.method == "POST":
            await self._post(reply)
        elif exchange.method == "GET":
            await self._listen(reply)
        else:
            await self._end(reply)

    async def _post(self, reply: Reply) -> None:
        exchange = self._exchange
        message = read_posted(exchange)
        exchange.identity, exchange.rpc = message.id, message.method
        check_headers(exchange.headers, message)
        if message.kind == "response":
            server, identity = _unnamed(message.id)
            await self._route(server, msgspec.structs.replace(message, id=identity), reply)
        elif message.kind == "notification":
            await self._notify(message, reply)
        elif message.method in _ROUTED:
            await self._named(message, reply)
        elif message.method in _LISTS:
            await self._list(message, reply)
        elif message.method == "initialize":
            await self._initialize(message, reply)
        elif message.method == "server/discover":
            await self._discover(message, reply)
        elif message.method == LISTEN:
            self._proxy.take_stream(self._key)
            try:
                parts = [self._part(each, message) for each in self._taking_part()]
                await self._merge([(part, part.post) for part in parts], reply)
            finally:
                self._proxy.give_stream(self._key)
        elif message.method in ("ping", "logging/setLevel"):
            if message.method != "ping":
                await self._each(message)
            await self._answer({}, reply)
        else:
            raise MethodRefused(
                f"{message.method!r} is not passed on where servers stand together",
                hint="ask one server, at /mcp/NAME",
            )

    # what one server is for

    async def _named(self, message: Message, reply: Reply) -> None:
        combined = message.text("name")
        name, _ = split_name(combined)
        server = self._server(name)
        own = own_name(combined, server.route.pins if message.method == "tools/call" else ())
        params = {**(message.params or {}), "name": msgspec.Raw(_encode(own))}
        if b"mcp-name" in self._exchange.headers:
            self._exchange.headers = {**self._exchange.headers, b"mcp-name": _header(own)}
        await self._route(name, msgspec.structs.replace(message, params=params), reply)

    async def _route(self, name: str, message: Message, reply: Reply) -> None:
        exchange, server = self._exchange, self._server(name)
        exchange.server = name
        exchange.body = message.encoded()
        await _Part(self._proxy, exchange, self._key, server, self._sessions, self._label).post(reply)

    def _server(self, name: str) -> Server:
        server = self._usable.get(name)
        if server is None:
            raise ToolRefused(
                f"no MCP server that this key may use is called {name[:80]!r}",
                hint="names here are SERVER__NAME, as tools/list shows them",
            )
        if isinstance(server, str):
            raise Unavailable(
                f"the MCP server {name!r} cannot be called: {server}", hint=_SHOW, code="tool_server_unusable"
            )
        return server

    # what is asked of all

    def _taking_part(self) -> list[Server]:
        return [
            each
            for name, each in self._usable.items()
            if isinstance(each, Server) and (self._sessions is None or name in self._sessions)
        ]

    async def _each(
        self, message: Message, ask: Callable[[Server], Awaitable[Any]] | None = None
    ) -> tuple[dict[str, Any], list[_Gone]]:
        """Return what each server answered, by name, and those that did not, each with the reason."""
        at_once = asyncio.Semaphore(MAX_AT_ONCE)
        gone = [
            _Gone(name, Unavailable(f"it cannot be called: {each}", hint=_SHOW, code="tool_server_unusable"))
            for name, each in self._usable.items()
            if isinstance(each, str)
        ]
        found: dict[str, Any] = {}

        async def one(server: Server) -> None:
            name = server.route.name
            try:
                async with at_once, asyncio.timeout(self._proxy.listing_s):
                    found[name] = await (ask(server) if ask is not None else self._ask(server, message))
            except TimeoutError:
                told = f"it did not answer within {self._proxy.listing_s:g} s"
                gone.append(_Gone(name, Unavailable(told, hint="try again", code="tool_server_timeout")))
            except TetradError as error:
                gone.append(_Gone(name, error))

        await _all(one(server) for server in self._taking_part())
        if self._sessions is not None:
            gone += [
                _Gone(name, SessionUnknown("it was not there when the session began; begin a new one"))
                for name, each in self._usable.items()
                if isinstance(each, Server) and name not in self._sessions
            ]
        for each in gone:
            log.warning(
                "the MCP server %r of %r is left out of an answer for all: %s",
                each.server, self._key.project, each.error.message,
            )  # fmt: skip
        too_many = [each.error for each in gone if each.error.status == 429]
        if too_many and not found:
            raise too_many[0]
        return {name: found[name] for name in sorted(found)}, sorted(gone, key=lambda each: each.server)

    async def _ask(self, server: Server, message: Message) -> Message:
        """Return a server's answer, good or bad."""
        return await self._heard(self._part(server, message), message)

    async def _heard(self, part: _Part, message: Message) -> Message:
        heard = _Heard(self._proxy.answer_bytes)
        exchange = part.exchange
        try:
            await part.post(heard)
        except TetradError as error:
            exchange.error, exchange.error_type, exchange.status = error, error.code, error.status
            raise
        except asyncio.CancelledError:
            self._proxy.abandon(exchange, "cancelled")
            raise
        finally:
            self._proxy.done(exchange)
        if heard.answer is None and message.kind == "request":
            raise ServerBroken("it ended its stream without an answer")
        return heard.answer or Message("response")

    def _part(self, server: Server, message: Message | None) -> _Part:
        """Return a call of one server that is part of this exchange."""
        whole = self._exchange
        headers = {name: value for name, value in whole.headers.items() if name not in _NOT_PASSED}
        path = f"{whole.path}/{server.route.name}"
        exchange = ToolExchange(whole.method, path, headers, self._proxy.clock.now_ns())
        exchange.trace_id, exchange.span_id = whole.trace_id, whole.span_id
        exchange.key, exchange.server = whole.key, server.route.name
        exchange.app, exchange.ref, exchange.release, exchange.binding = (
            whole.app, whole.ref, whole.release, whole.binding,
        )  # fmt: skip
        if message is not None:
            exchange.body = message.encoded()
        return _Part(self._proxy, exchange, self._key, server, self._sessions, self._label)

    async def _notify(self, message: Message, reply: Reply) -> None:
        if message.method == "notifications/progress":
            params = message.params or {}
            server, token = _unnamed(params.get("progressToken", msgspec.Raw(b"")))
            named = msgspec.structs.replace(message, params={**params, "progressToken": token})
            await self._route(server, named, reply)
            return
        if message.method not in _TO_ALL:
            raise MethodRefused(f"{message.method!r} is not passed on", hint="ask one server, at /mcp/NAME")
        # ids of a client's requests are passed on as they are: only the server that has it knows what is cancelled
        await self._each(message)
        self._exchange.status = 202
        self._proxy.done(self._exchange)
        await reply.whole(202, self._proxy.own_headers(self._exchange), b"")

    async def _list(self, message: Message, reply: Reply) -> None:
        if "cursor" in (message.params or {}):
            raise BadMessage("there is one page, and no cursor", number=INVALID_PARAMS, hint="leave the cursor out")
        surface = _LISTS[message.method]

        async def ask(server: Server) -> tuple[list[msgspec.Raw], list[dict[str, str]]]:
            return await self._listed(server, message, surface) if surface in server.route.serves else ([], [])

        found, gone = await self._each(message, ask)
        items: list[msgspec.Raw] = []
        omitted: list[dict[str, str]] = []
        size = 0
        for name, (named, left_out) in found.items():
            size += sum(len(bytes(each)) for each in named)
            if size > self._proxy.answer_bytes:
                told = f"all together show more than {self._proxy.answer_bytes:,} bytes; ask /mcp/{name}"
                gone.append(_Gone(name, ServerBroken(told)))
                size -= sum(len(bytes(each)) for each in named)
                continue
            items += named
            omitted += left_out
        meta = _meta(gone, omitted)
        await self._answer(
            {surface: items, "resultType": "complete", "ttlMs": 0, "cacheScope": "private", **meta}, reply
        )

    async def _listed(
        self, server: Server, message: Message, surface: str
    ) -> tuple[list[msgspec.Raw], list[dict[str, str]]]:
        """Return what a server lists, by the names that are called here, and what cannot be named."""
        found: dict[str, msgspec.Raw] = {}
        omitted: list[dict[str, str]] = []
        params = dict(message.params or {})
        for _ in range(MAX_PAGES):
            answer = await self._ask(server, msgspec.structs.replace(message, params=params))
            fields = _result(answer)
            try:
                raws = [_fields.decode(each) for each in _raws.decode(fields[surface])]
                names = [_text.decode(each["name"]) for each in raws]
                cursor = _text.decode(fields["nextCursor"]) if "nextCursor" in fields else ""
            except (msgspec.MsgspecError, KeyError, RecursionError):
                raise ServerBroken(f"its list of {surface} cannot be read") from None
            pins = server.route.pins if surface == "tools" else {}
            for name, fields_of in zip(names, raws, strict=True):
                combined = combined_name(server.route.name, name)
                if own_name(combined, pins) != name or combined in found:
                    why = "its name is too long, and is not approved or cannot be told from another's"
                    omitted.append({"server": server.route.name, "name": name[:128], "reason": why})
                    continue
                found[combined] = msgspec.Raw(_encode({**fields_of, "name": combined}))
            if len(found) + len(omitted) > MAX_LISTED:
                raise ServerBroken(f"it lists more than {MAX_LISTED} {surface}; ask /mcp/{server.route.name}")
            if not cursor:
                return list(found.values()), omitted
            params["cursor"] = msgspec.Raw(_encode(cursor))
        raise ServerBroken(f"its list of {surface} has more than {MAX_PAGES} pages")

    # greetings

    async def _initialize(self, message: Message, reply: Reply) -> None:
        self._sessions = None
        parts: dict[str, _Part] = {}

        async def ask(server: Server) -> _Greeting:
            part = parts[server.route.name] = self._part(server, message)
            return _greeting(await self._heard(part, message))

        found, gone = await self._each(message, ask)
        sessions = {name: (parts[name].given, each.protocolVersion[:10]) for name, each in found.items()}
        sealed = self._proxy.sessions.seal_many(self._key.project, self._key.id, sessions)
        while len(sealed) > MOST_COMBINED:
            name = sessions.popitem()[0]
            found.pop(name)
            gone.append(_Gone(name, ServerBroken(f"the session holds no more servers; ask /mcp/{name}")))
            sealed = self._proxy.sessions.seal_many(self._key.project, self._key.id, sessions)
        version = min((each.protocolVersion for each in found.values()), default=_LEGACY)
        await self._answer(
            {"protocolVersion": version, **_merged(found), "serverInfo": _INFO, **_meta(gone)},
            reply,
            (b"mcp-session-id", sealed),
        )

    async def _discover(self, message: Message, reply: Reply) -> None:
        async def ask(server: Server) -> _Greeting | None:
            try:
                answer = await self._ask(server, message)
            except (BadMessage, NotFound, RequestRefused):
                return None
            return None if bytes(answer.error) else _greeting(answer)

        found, gone = await self._each(message, ask)
        spoken: list[str] | None = None
        for each in found.values():
            versions = each.supportedVersions if each is not None else []
            spoken = versions if spoken is None else [version for version in spoken if version in versions]
        if spoken is not None and not spoken:
            raise MethodRefused(
                "not all MCP servers here speak a revision that has server/discover", hint="begin with `initialize`"
            )
        modern = _version_of(message)
        meta = _meta(gone)
        meta.setdefault("_meta", {})["io.modelcontextprotocol/serverInfo"] = _INFO
        cached = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        await self._answer({"supportedVersions": spoken or [modern], **_merged(found), **cached, **meta}, reply)

    # streams and ends

    async def _listen(self, reply: Reply) -> None:
        exchange = self._exchange
        exchange.is_stream = True
        resumed = exchange.headers.get(b"last-event-id")
        if resumed is not None:
            name, _, identity = resumed.partition(b":")
            server = self._server(name.decode("latin-1"))
            exchange.server = server.route.name
            exchange.headers = {**exchange.headers, b"last-event-id": identity}
            part = _Part(self._proxy, exchange, self._key, server, self._sessions, self._label)
            self._proxy.take_stream(self._key)
            try:
                await part.listen(reply)
            finally:
                self._proxy.give_stream(self._key)
            return
        self._proxy.take_stream(self._key)
        try:
            parts = [self._part(each, None) for each in self._taking_part()]
            await self._merge([(part, part.listen) for part in parts], reply)
        finally:
            self._proxy.give_stream(self._key)

    async def _merge(self, begin: Sequence[tuple[_Part, Callable[[Reply], Awaitable[None]]]], reply: Reply) -> None:
        """Pass on what any of the servers says on its own, until none is left or the client has enough."""
        exchange = self._exchange
        exchange.is_stream = True
        merged = _Merged(reply, [*EVENTS, *self._proxy.own_headers(exchange)])

        async def one(part: _Part, listen: Callable[[Reply], Awaitable[None]]) -> None:
            try:
                await listen(merged)
            except TetradError as error:  # one that has no stream, or breaks, ends no other's
                part.exchange.error, part.exchange.error_type = error, error.code
                part.exchange.status = error.status
            finally:
                self._proxy.done(part.exchange)

        await _all(one(*each) for each in begin)
        if not merged.begun:
            raise RequestRefused(
                "no MCP server here has a stream of its own", hint="go on without it", status=405, code="no_stream"
            )
        exchange.stream, exchange.status = True, 200
        self._proxy.done(exchange)
        await reply.end(b"")

    async def _end(self, reply: Reply) -> None:
        if self._sessions is None:
            raise BadMessage("a session is ended by its id", hint="send it in mcp-session-id")
        sessions = self._sessions

        async def ask(server: Server) -> None:
            if sessions[server.route.name][0]:
                part = self._part(server, None)
                try:
                    await part.end(_Heard(self._proxy.answer_bytes))
                finally:
                    self._proxy.done(part.exchange)

        await self._each(Message("notification"), ask)
        self._exchange.status = 204
        self._proxy.done(self._exchange)
        await reply.whole(204, self._proxy.own_headers(self._exchange), b"")

    async def _answer(self, result: dict[str, Any], reply: Reply, *headers: tuple[bytes, bytes]) -> None:
        exchange = self._exchange
        exchange.status = 200
        self._proxy.done(exchange)
        body = _encode({"jsonrpc": "2.0", "id": exchange.identity, "result": result})
        await reply.whole(200, [JSON, *self._proxy.own_headers(exchange), *headers], body)


class _Part(Call):
    """A call of one server as part of a combined one: it opens the combined session, and names whose what is."""

    def __init__(
        self,
        proxy: ToolProxy,
        exchange: ToolExchange,
        key: KeyEntry,
        server: Server,
        sessions: Mapping[str, tuple[str, str]] | None,
        label: str,
    ) -> None:
        super().__init__(proxy, exchange, key, server)
        self.exchange = exchange
        self.given = ""
        self._sessions = sessions
        self._label = label

    def _open_session(self, given: bytes) -> None:  # noqa: ARG002 - the whole opened it
        known = (self._sessions or {}).get(self._server.route.name)
        if known is None:
            if self._exchange.rpc == "initialize":
                return
            raise SessionUnknown(
                f"the MCP server {self._server.route.name!r} was not there when the session began",
                hint="begin a new one with `initialize`",
            )
        identity, version = known
        self._session, self._exchange.session = identity.encode("ascii"), self._label
        if version:
            self._exchange.protocol = version

    def _answer_headers(self, message: Message, response: Response) -> list[tuple[bytes, bytes]]:
        if message.method == "initialize":
            given = response.header(b"mcp-session-id")
            if given is not None:
                route = self._server.route
                self._proxy.sessions.seal(route.project, route.name, self._key.id, given)  # refuses what is no id
                self.given = given.decode("ascii")
        return self._proxy.own_headers(self._exchange)

    def _take_stream(self) -> None:
        """The whole took one already."""

    def _give_stream(self) -> None:
        """The whole gives it back."""

    def _event(self, event: Event, message: Message | None, *, resumed: bool) -> tuple[Event | None, bool]:
        passed, is_answered = super()._event(event, message, resumed=resumed)
        if passed is None:
            return None, is_answered
        name = self._server.route.name
        if self._exchange.is_stream and not resumed:
            if is_answered:
                return None, True  # the others' streams go on
            passed = msgspec.structs.replace(passed, id=b"")  # no one position is that of all
        elif passed.id:
            passed = msgspec.structs.replace(passed, id=b"%b:%b" % (name.encode(), passed.id))
        if not passed.data or is_answered:
            return passed, is_answered
        said = _owned(read_message(passed.data), name)
        return msgspec.structs.replace(passed, data=said.encoded()), False


class _Heard:
    """A reply that keeps the answer, and nothing else of a stream."""

    def __init__(self, most_bytes: int) -> None:
        self._reader = EventReader(most_bytes)
        self.answer: Message | None = None

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:  # noqa: ARG002 - as replies are
        """Take in an answer that is complete."""
        self.answer = read_message(body) if body else None

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Take in the head of a stream, which says nothing."""

    async def write(self, piece: bytes) -> None:
        """Take in a piece of a stream."""
        for event in self._reader.feed(piece):
            if event.data and (said := read_message(event.data)).kind == "response":
                self.answer = said

    async def end(self, piece: bytes) -> None:
        """Take in the last piece."""
        await self.write(piece)


class _Merged:
    """A reply into which several streams are written, event by event; what they begin and end with is not theirs."""

    def __init__(self, reply: Reply, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._reply = reply
        self._headers = headers
        self._lock = asyncio.Lock()
        self.begun = False

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Leave out an answer that is no stream."""

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:  # noqa: ARG002 - as replies are
        """Begin the stream of all, where no other has."""
        async with self._lock:
            if not self.begun:
                self.begun = True
                await self._reply.begin(200, self._headers)

    async def write(self, piece: bytes) -> None:
        """Write whole events."""
        async with self._lock:
            await self._reply.write(piece)

    async def end(self, piece: bytes) -> None:
        """Write the last events of one stream."""
        if piece:
            await self.write(piece)


_INFO = {"name": "tetrad", "version": "1"}


async def _all(parts: Iterable[Awaitable[None]]) -> None:
    """Wait for all; one that fails by our own fault, or a client that leaves, ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(_awaited(part))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _awaited(part: Awaitable[None]) -> None:
    await part


def _owned(said: Message, server: str) -> Message:
    """Return what a server says on its own with its name in what the client will answer by."""
    params = said.params
    if said.kind == "request":
        try:
            meta = _fields.decode(params["_meta"]) if params and "_meta" in params else {}
        except (msgspec.MsgspecError, RecursionError):
            raise ServerBroken("a request of the MCP server's cannot be read") from None
        if params is not None and "progressToken" in meta:
            meta["progressToken"] = _with_name(meta["progressToken"], server)
            params = {**params, "_meta": msgspec.Raw(_encode(meta))}
        return msgspec.structs.replace(said, id=_with_name(said.id, server), params=params)
    if said.method == "notifications/cancelled" and params and "requestId" in params:
        named = {**params, "requestId": _with_name(params["requestId"], server)}
        return msgspec.structs.replace(said, params=named)
    return said


def _header(name: str) -> bytes:
    """Return a name as MCP lets it stand in a header: what is more than plain characters is encoded."""
    if name.isascii() and name.isprintable() and name == name.strip() and not name.startswith("=?"):
        return name.encode("ascii")
    return b"=?base64?%b?=" % base64.b64encode(name.encode())


def _with_name(identity: msgspec.Raw, server: str) -> msgspec.Raw:
    named = _encode(f"{server}:{bytes(identity).decode()}")
    if len(named) > MAX_ID_BYTES:
        raise ServerBroken("an id of the MCP server is too long")
    return msgspec.Raw(named)


def _unnamed(identity: msgspec.Raw) -> tuple[str, msgspec.Raw]:
    try:
        server, found, own = _text.decode(identity).partition(":")
        msgspec.json.decode(own.encode())
    except (msgspec.MsgspecError, UnicodeEncodeError):
        found = ""
    if not found:
        raise BadMessage("the message answers nothing that a server asked here")
    return server, msgspec.Raw(own.encode())


def _result(answer: Message) -> Fields:
    if bytes(answer.error):
        try:
            told = msgspec.json.decode(answer.error, type=_Fault).message[:200]
        except msgspec.MsgspecError:
            told = ""
        raise ServerBroken(f"it refused the request: {told or 'without words'}")
    try:
        return _fields.decode(answer.result)
    except (msgspec.MsgspecError, RecursionError):
        raise ServerBroken("its answer cannot be read") from None


def _greeting(answer: Message) -> _Greeting:
    _result(answer)
    try:
        return msgspec.json.decode(answer.result, type=_Greeting)
    except (msgspec.MsgspecError, RecursionError):
        raise ServerBroken("its greeting cannot be read") from None


def _merged(found: Mapping[str, _Greeting]) -> dict[str, Any]:
    capabilities: dict[str, dict[str, bool]] = {}
    for each in found.values():
        for name in _OFFERED:
            if name in each.capabilities:
                one = capabilities.setdefault(name, {})
                if each.capabilities[name].get("listChanged") is True:
                    one["listChanged"] = True
    told = "\n\n".join(f"{name}: {each.instructions}" for name, each in found.items() if each.instructions)
    return {"capabilities": capabilities, **({"instructions": told} if told else {})}


def _meta(gone: Sequence[_Gone], omitted: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if gone:
        meta[UNAVAILABLE] = [each.told() for each in gone[:_MAX_TOLD]]
    if omitted:
        meta[OMITTED] = list(omitted[:_MAX_TOLD])
    return {"_meta": meta} if meta else {}


def _version_of(message: Message) -> str:
    try:
        meta = _fields.decode((message.params or {})["_meta"])
        return _text.decode(meta["io.modelcontextprotocol/protocolVersion"])[:10]
    except (KeyError, msgspec.MsgspecError, RecursionError):
        return "2026-07-28"
