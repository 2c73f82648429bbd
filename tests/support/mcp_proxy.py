"""The proxy of MCP servers without a process around it: a route table, a limiter that counts, replies to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from support.gateway import make_table
from support.mcp_wire import META
from tetrad.kernel import Overloaded, SystemClock
from tetrad.kit.seal import Keyring
from tetrad.kit.upstream import Client, Limits
from tetrad.serving import BindingRoute, BoundModel, CompiledTable, KeyEntry, RouteTable, ToolServerRoute
from tetrad.tools import Sessions, ToolExchange, ToolProxy

OWNER = KeyEntry("key_full", "default", ("data",), team="red")


class Limiter:
    """Notes what counts as whose; refuses the caller where it is told so."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, str, str]] = []
        self.refuse = ""

    def bind(self, _table: RouteTable) -> Any:
        return self.count

    async def count(self, exchange: ToolExchange, model: BoundModel, who: str) -> None:
        self.counted.append((exchange.rpc, model.entry.name, who))
        if self.refuse == who:
            raise Overloaded("enough", code="rate_limit_exceeded")


class Sightings:
    def note(self, _server: ToolServerRoute, _shown: Any) -> None:
        """Nobody is told."""

    def drifted(self, _server: ToolServerRoute) -> Mapping[str, str]:
        return {}


class Reply:
    def __init__(self) -> None:
        self.status, self.headers, self.body = 0, {}, b""

    async def whole(self, status: int, headers: Any, body: bytes) -> None:
        await self.begin(status, headers)
        self.body = body

    async def begin(self, status: int, headers: Any) -> None:
        self.status, self.headers = status, {name.decode(): value.decode() for name, value in headers}

    async def write(self, piece: bytes) -> None:
        self.body += piece

    async def end(self, piece: bytes) -> None:
        self.body += piece

    @property
    def events(self) -> list[Any]:
        """What a stream says, event by event."""
        return [json.loads(line[6:]) for line in self.body.splitlines() if line.startswith(b"data: ") and line[6:]]

    @property
    def said(self) -> Any:
        if self.body.startswith((b"event:", b":")):
            return json.loads([line for line in self.body.splitlines() if line.startswith(b"data: ")][-1][6:])
        return json.loads(self.body)


class Proxy:
    """The proxy with a route table, and a limiter that counts."""

    def __init__(self, *routes: ToolServerRoute, binding: BindingRoute | None = None) -> None:
        self.limiter = Limiter()
        self.client = Client(Limits(max_connections=8))
        self.records: list[ToolExchange] = []
        self.bind(binding, *routes)
        ring = Keyring(b"k" * 32)
        self.proxy = ToolProxy(
            self.client, SystemClock(), current=lambda: self.compiled, sessions=Sessions(lambda: ring),
            record=self.records.append, limiter=self.limiter, sightings=Sightings(), bridge="/nowhere",
            origins=frozenset(), answer_bytes=1_000_000, streams_per_key=4, listing_s=20,
        )  # fmt: skip

    def bind(self, binding: BindingRoute | None, *routes: ToolServerRoute) -> None:
        table = make_table("http://127.0.0.1:1/v1")
        app = table.apps["default/assistant"]
        bindings = {}
        if binding is not None:
            app = msgspec.structs.replace(app, bindings={"production": binding.ref})
            bindings[f"default/{binding.ref}"] = binding
        by_path = {f"{route.project}/{route.name}": route for route in routes}
        apps = {**table.apps, "default/assistant": app}
        self.compiled = CompiledTable(
            msgspec.structs.replace(table, tool_servers=by_path, apps=apps, bindings=bindings), {}
        )

    async def ask(self, method: str, params: Any = None, *, path: str = "/mcp", **headers: str) -> Reply:
        given = {b"content-type": b"application/json"}
        given |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        exchange = ToolExchange("POST", path, given, 1)
        exchange.key = OWNER
        params = params or {"_meta": META}
        if "_meta" in params:
            given |= {b"mcp-protocol-version": b"2026-07-28", b"mcp-method": method.encode()}
            if name := params.get("name", params.get("uri", "")):
                given[b"mcp-name"] = name.encode()
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        exchange.body = json.dumps(message).encode()
        return await self.served(exchange)

    async def listen(self, last_event: str = "", path: str = "/mcp", **headers: str) -> Reply:
        given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        if last_event:
            given[b"last-event-id"] = last_event.encode()
        exchange = ToolExchange("GET", path, given, 1)
        exchange.key = OWNER
        return await self.served(exchange)

    async def served(self, exchange: ToolExchange) -> Reply:
        reply = Reply()
        await self.proxy.serve(exchange, reply)
        return reply

    async def names(self, **headers: str) -> set[str]:
        reply = await self.ask("tools/list", **headers)
        return {tool["name"].split("__")[0] for tool in reply.said["result"]["tools"]}
