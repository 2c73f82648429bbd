"""All MCP servers that a key may use, as one: what is for one of them goes there, what is for all is asked of each.

Nothing is kept from one request to the next, as at the address of one server: an id of a session holds those of the
servers, sealed; ids of a server's requests, tokens, events and addresses of resources carry its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tetrad.serving import KeyEntry, Reply
from tetrad.tools._call import JSON, LISTEN, check_headers, read_posted
from tetrad.tools._combined_greetings import discover_all, initialize_all
from tetrad.tools._combined_lists import LISTS, list_all
from tetrad.tools._combined_stream import listen_all, subscribe_all
from tetrad.tools._combined_words import header, unnamed
from tetrad.tools._exchange import ToolExchange
from tetrad.tools._names import own_name, split_name, split_uri
from tetrad.tools._part import Heard
from tetrad.tools._resources import BY_ADDRESS, COMPLETE, reference_of
from tetrad.tools._rpc import Message
from tetrad.tools._sessions import session_label
from tetrad.tools._together import Together
from tetrad.tools.errors import BadMessage, MethodRefused

if TYPE_CHECKING:
    from tetrad.tools._proxy import ToolProxy

_BY_NAME = frozenset(("tools/call", "prompts/get"))
_TO_ALL = frozenset(("notifications/initialized", "notifications/cancelled", "notifications/roots/list_changed"))
_encode = msgspec.json.encode


class Combined:
    """One exchange with all servers that its key may use."""

    def __init__(self, proxy: ToolProxy, exchange: ToolExchange, key: KeyEntry) -> None:
        self._proxy = proxy
        self._exchange = exchange
        self._key = key
        self._together = Together(proxy, exchange, key)
        exchange.server = "*"

    async def serve(self, reply: Reply) -> None:
        """Answer; raises `TetradError`."""
        exchange, together = self._exchange, self._together
        given = exchange.headers.get(b"mcp-session-id")
        if given is not None:
            together.sessions = self._proxy.sessions.unseal_many(self._key.project, self._key.id, given)
            together.label = exchange.session = session_label(self._key.id, given)
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
            server, identity = unnamed(message.id)
            await self._route(server, msgspec.structs.replace(message, id=identity), reply)
        elif message.kind == "notification":
            await self._notify(message, reply)
        elif message.method in _BY_NAME:
            await self._named(message, reply)
        elif message.method in BY_ADDRESS:
            server, uri = split_uri(message.text("uri"))
            await self._to(server, message, "uri", uri, reply)
        elif message.method == COMPLETE:
            await self._complete(message, reply)
        else:
            await self._ask_all(message, reply)

    # what one server is for

    async def _named(self, message: Message, reply: Reply) -> None:
        combined = message.text("name")
        server, _ = split_name(combined)
        known = self._together.server(server).route.pins if message.method == "tools/call" else ()
        await self._to(server, message, "name", own_name(combined, known), reply)

    async def _to(self, server: str, message: Message, field: str, own: str, reply: Reply) -> None:
        """Pass a message on to the one server that it names, with what the server itself calls it."""
        self._together.server(server)
        params = {**(message.params or {}), field: msgspec.Raw(_encode(own))}
        if b"mcp-name" in self._exchange.headers:
            self._exchange.headers = {**self._exchange.headers, b"mcp-name": header(own)}
        await self._route(server, msgspec.structs.replace(message, params=params), reply)

    async def _complete(self, message: Message, reply: Reply) -> None:
        reference = reference_of(message)
        if reference.is_prompt:
            server, _ = split_name(reference.target)
            own = own_name(reference.target, ())
        else:
            server, own = split_uri(reference.target)
        params = {**(message.params or {}), "ref": reference.renamed(own)}
        await self._route(server, msgspec.structs.replace(message, params=params), reply)

    async def _route(self, name: str, message: Message, reply: Reply) -> None:
        part = self._together.whole(name)
        self._exchange.body = message.encoded()
        await part.post(reply)

    # what is asked of all

    async def _ask_all(self, message: Message, reply: Reply) -> None:
        together, method = self._together, message.method
        if method not in LISTS and method not in ("initialize", "server/discover", LISTEN, "ping", "logging/setLevel"):
            raise MethodRefused(
                f"{method!r} is not passed on where servers stand together", hint="ask one server, at /mcp/NAME"
            )
        if method != "ping":
            await self._proxy.count_whole(self._exchange)
        if method in LISTS:
            await self._answer(await list_all(together, message), reply)
        elif method == "initialize":
            result, sealed = await initialize_all(together, message)
            await self._answer(result, reply, (b"mcp-session-id", sealed))
        elif method == "server/discover":
            await self._answer(await discover_all(together, message), reply)
        elif method == LISTEN:
            self._proxy.take_stream(self._key)
            try:
                await subscribe_all(together, message, reply)
            finally:
                self._proxy.give_stream(self._key)
        else:
            if method != "ping":
                await together.each(message)
            await self._answer({}, reply)

    async def _notify(self, message: Message, reply: Reply) -> None:
        if message.method == "notifications/progress":
            params = message.params or {}
            server, token = unnamed(params.get("progressToken", msgspec.Raw(b"")))
            named = msgspec.structs.replace(message, params={**params, "progressToken": token})
            await self._route(server, named, reply)
            return
        if message.method not in _TO_ALL:
            raise MethodRefused(f"{message.method!r} is not passed on", hint="ask one server, at /mcp/NAME")
        # ids of a client's requests are passed on as they are: only the server that has it knows what is cancelled
        await self._together.each(message)
        self._exchange.status = 202
        self._proxy.done(self._exchange)
        await reply.whole(202, self._proxy.own_headers(self._exchange), b"")

    # streams and ends

    async def _listen(self, reply: Reply) -> None:
        exchange = self._exchange
        exchange.is_stream = True
        resumed = exchange.headers.get(b"last-event-id")
        self._proxy.take_stream(self._key)
        try:
            if resumed is None:
                await listen_all(self._together, reply)
                return
            name, _, rest = resumed.partition(b":")
            asked, _, identity = rest.partition(b":")
            part = self._together.whole(name.decode("latin-1"))
            part.resumed = asked
            exchange.headers = {**exchange.headers, b"last-event-id": identity}
            await part.listen(reply)
        finally:
            self._proxy.give_stream(self._key)

    async def _end(self, reply: Reply) -> None:
        together = self._together
        if together.sessions is None:
            raise BadMessage("a session is ended by its id", hint="send it in mcp-session-id")

        async def ask(name: str) -> None:
            session = together.session_of(name)
            if session is not None and session[0]:
                part = together.part(name, None)
                try:
                    await part.end(Heard(self._proxy.answer_bytes))
                finally:
                    self._proxy.done(part.exchange)

        await together.each(Message("notification"), ask)
        self._exchange.status = 204
        self._proxy.done(self._exchange)
        await reply.whole(204, self._proxy.own_headers(self._exchange), b"")

    async def _answer(self, result: dict[str, Any], reply: Reply, *headers: tuple[bytes, bytes]) -> None:
        exchange = self._exchange
        exchange.status = 200
        self._proxy.done(exchange)
        body = _encode({"jsonrpc": "2.0", "id": exchange.identity, "result": result})
        await reply.whole(200, [JSON, *self._proxy.own_headers(exchange), *headers], body)
