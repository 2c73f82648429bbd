"""Ask an MCP server for its tools, as a client of whichever revision it speaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tetrad.kernel import TetradError, Unavailable
from tetrad.kit.egress import OWN
from tetrad.kit.upstream import Address, Client, Limits, Response, Timeouts, parse_address
from tetrad.serving import ToolServerRoute
from tetrad.tools._call import reach_of_server
from tetrad.tools._model import command_digest
from tetrad.tools._rpc import Message, read_message, same_id
from tetrad.tools._screen import FEWER, MAX_TOOLS, Digests, instructions
from tetrad.tools._sse import EventReader
from tetrad.tools.errors import BadMessage, ServerBroken, ServerRefused
from tetrad.tools.ports import Listing, SeenTool

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
MAX_PAGES = 100
MAX_BYTES = 16 * 1024 * 1024
_INFO = {"name": "tetrad", "version": "1"}
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": _INFO,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_encode = msgspec.json.encode


class _Info(msgspec.Struct, frozen=True):
    name: str = ""
    version: str = ""


class _Meta(msgspec.Struct, frozen=True):
    server: _Info = msgspec.field(name="io.modelcontextprotocol/serverInfo", default=_Info())


class _Greeting(msgspec.Struct, frozen=True):
    instructions: str = ""
    serverInfo: _Info = _Info()  # noqa: N815 - as MCP spells it
    protocolVersion: str = ""  # noqa: N815
    supportedVersions: tuple[str, ...] = ()  # noqa: N815
    meta: _Meta = msgspec.field(name="_meta", default=_Meta())


class _Page(msgspec.Struct):
    tools: list[msgspec.Raw]
    nextCursor: str | None = None  # noqa: N815


class _Fault(msgspec.Struct):
    code: int = 0
    message: str = ""


class HttpLister:
    """`tetrad.tools.ports.ToolLister` over HTTP, for servers of their own and for those behind the bridge.

    `route_of` resolves the secrets that a server is called with. All of it takes `deadline_s` at most.
    """

    def __init__(self, route_of: Callable[[Any], ToolServerRoute], *, bridge: str, deadline_s: float) -> None:
        self._route_of = route_of
        self._bridge = bridge
        self._deadline_s = deadline_s

    def __call__(self, spec: Any) -> Listing:
        """Connect, list, leave; blocks, and is not for a thread with an event loop."""
        route = self._route_of(spec)
        if route.problem:
            raise Unavailable(
                f"the MCP server {route.name!r} cannot be called: {route.problem}",
                hint="`tetrad mcp show` tells more",
                code="tool_server_unusable",
            )
        return asyncio.run(self._list(route))

    async def _list(self, route: ToolServerRoute) -> Listing:
        client = Client(Limits(max_connections=2, body_bytes=MAX_BYTES), bounded=True)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._deadline_s):
                session = _Session(client, route, self._bridge, self._deadline_s)
                return await _listed(session, began)
        except TimeoutError:
            raise Unavailable(
                f"the MCP server {route.name!r} did not show its tools within {self._deadline_s:g} s",
                hint="is it up? TETRAD_MCP_LIST_S gives it more time",
                code="tool_server_timeout",
            ) from None
        finally:
            await client.close()


class _Session:
    """A conversation with a server."""

    def __init__(self, client: Client, route: ToolServerRoute, bridge: str, deadline_s: float) -> None:
        self._client = client
        self._route = route
        self._path = ""
        if route.command:
            self._address: Address = parse_address(f"unix://{bridge}#/servers/{route.project}/{route.name}", OWN)
        else:
            path = urlsplit(route.url).path
            self._address = parse_address(route.url, reach_of_server(route))
            self._path = "/" if path.endswith("/") or not path else ""
        self._timeouts = Timeouts(route.connect_timeout_s, deadline_s, deadline_s, deadline_s)
        self._number = 0
        self.version = ""
        self.identity = ""

    async def ask(self, method: str, params: dict[str, Any]) -> Message | None:
        """Return the answer to a request, good or bad; None where the server refuses it without words of MCP."""
        self._number += 1
        body = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        response = await self._send("POST", body, method)
        try:
            return await self._answer(response, msgspec.Raw(b"%d" % self._number))
        finally:
            response.close()

    async def tell(self, method: str) -> None:
        """Send a notification."""
        response = await self._send("POST", {"jsonrpc": "2.0", "method": method}, method)
        response.close()

    async def leave(self) -> None:
        """End the session, if there is one; what goes wrong is the server's loss."""
        if self.identity:
            try:
                (await self._send("DELETE", None, "")).close()
            except TetradError:
                return

    async def _send(self, verb: str, body: dict[str, Any] | None, method: str) -> Response:
        headers = [("accept", "application/json, text/event-stream"), *self._route.headers]
        if body is not None:
            headers.append(("content-type", "application/json"))
        if self.version:
            headers.append(("mcp-protocol-version", self.version))
        if self.version == MODERN:
            headers.append(("mcp-method", method))
        if self.identity:
            headers.append(("mcp-session-id", self.identity))
        if self._route.command:  # the bridge waits for the route table that has it
            headers.append(("x-tetrad-spec", command_digest(self._route)))
        request = Client.prepare(verb, self._address, self._path, headers)
        data = b"" if body is None else _encode(body)
        response = await self._client.send(request, data, timeouts=self._timeouts)
        name = self._route.name
        if response.status in (401, 403):
            response.close()
            raise ServerRefused(
                f"the MCP server {name!r} did not let us in: it answered {response.status}",
                hint="check its secrets with `tetrad mcp show`",
            )
        if 300 <= response.status < 400 or response.status >= 500:
            response.close()
            raise ServerBroken(
                f"the MCP server {name!r} answered {response.status}", hint="is its address right? is it up?"
            )
        if method == "initialize":
            given = response.header(b"mcp-session-id") or b""
            self.identity = given.decode("latin-1")
        return response

    async def _answer(self, response: Response, identity: msgspec.Raw) -> Message | None:
        kind = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if response.status == 200 and kind == b"text/event-stream":
            reader = EventReader(MAX_BYTES)
            while piece := await response.read():
                for event in reader.feed(piece):
                    if event.data:
                        said = _read(event.data)
                        if said.kind == "response" and same_id(said.id, identity):
                            return said
            raise ServerBroken("the MCP server ended its stream without an answer")
        body = await response.read_all(MAX_BYTES)
        if kind != b"application/json":
            if response.status == 200:
                raise ServerBroken("what answers there is no MCP server", hint="check the address")
            return None
        try:
            said = read_message(body)
        except BadMessage as error:
            if response.status == 200:
                raise ServerBroken(f"what answers there is no MCP server: {error.message}") from None
            return None
        return said if said.kind == "response" else None


async def _listed(session: _Session, began: float) -> Listing:
    session.version = MODERN
    answer = await session.ask("server/discover", {"_meta": _META})
    greeting = _greeting(answer)
    if greeting is None or MODERN not in greeting.supportedVersions:
        session.version = ""
        answer = await session.ask("initialize", {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _INFO})
        greeting = _greeting(answer)
        if greeting is None:
            fault = _fault(answer)
            raise ServerBroken(f"what answers there is no MCP server{fault}", hint="check the address")
        session.version = greeting.protocolVersion[:10] or LEGACY
        await session.tell("notifications/initialized")
    try:
        seen, odd = await _pages(session)
    finally:
        await session.leave()
    if greeting.instructions:
        own = instructions(greeting.instructions)
        seen.append(SeenTool(own.name, own.digest, own.definition.decode()))
    info = greeting.serverInfo if greeting.serverInfo.name else greeting.meta.server
    title = f"{info.name} {info.version}".strip()[:200]
    return Listing(title, session.version, seen, odd, (time.monotonic() - began) * 1000)


async def _pages(session: _Session) -> tuple[list[SeenTool], list[str]]:
    digests = Digests()
    found: dict[str, SeenTool] = {}
    odd: list[str] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        params: dict[str, Any] = {"_meta": _META} if session.version == MODERN else {}
        if cursor is not None:
            params["cursor"] = cursor
        answer = await session.ask("tools/list", params)
        try:
            page = msgspec.json.decode(answer.result if answer is not None else b"", type=_Page)
        except msgspec.MsgspecError:
            raise ServerBroken(f"the MCP server does not list its tools{_fault(answer)}") from None
        for raw in page.tools:
            seen = digests.of(bytes(raw))
            if seen is None:
                odd.append(f"{bytes(raw)[:80].decode('utf-8', 'replace')}… is too large, or has a name that is none")
            elif seen.name in found and found[seen.name].digest != seen.digest:
                raise ServerBroken(f"the MCP server lists two tools that are called {seen.name!r}")
            else:
                found[seen.name] = SeenTool(seen.name, seen.digest, seen.definition.decode())
        if len(found) + len(odd) > MAX_TOOLS:
            raise ServerBroken(f"the MCP server lists more than {MAX_TOOLS} tools", hint=FEWER)
        if not page.nextCursor:
            return list(found.values()), odd[:20]
        cursor = page.nextCursor
    raise ServerBroken(f"the MCP server's list of tools has more than {MAX_PAGES} pages")


def _greeting(answer: Message | None) -> _Greeting | None:
    if answer is None or not bytes(answer.result):
        return None
    try:
        return msgspec.json.decode(answer.result, type=_Greeting)
    except msgspec.MsgspecError:
        return None


def _read(data: bytes) -> Message:
    try:
        return read_message(data)
    except BadMessage as error:
        raise ServerBroken(f"the MCP server sent an event that is no MCP: {error.message}") from None


def _fault(answer: Message | None) -> str:
    if answer is None or not bytes(answer.error):
        return ""
    try:
        return ": " + msgspec.json.decode(answer.error, type=_Fault).message[:200]
    except msgspec.MsgspecError:
        return ""
