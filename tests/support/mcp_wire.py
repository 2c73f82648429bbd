"""Real MCP clients and servers for tests: the official SDK's, and requests by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from support.gateway import KEY
from support.ports import free_port, listening
from support.wait import wait_until
from tetrad.kernel import digest_json
from tetrad.serving import ToolServerRoute
from tetrad.tools._screen import instructions

PROGRAM = Path(__file__).with_name("mcp_server.py")
HOSTILE = Path(__file__).with_name("mcp_hostile.py")
STDIO = (sys.executable, str(PROGRAM), "stdio")
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass
class McpServer:
    """The small server as a process of its own."""

    url: str
    process: subprocess.Popen[bytes]

    def tools(self) -> dict[str, Any]:
        """Return its definitions by name, as it shows them itself."""
        listed = rpc(self.url, "tools/list", {"_meta": META}, key="", headers={"mcp-protocol-version": MODERN})[2]
        return {tool["name"]: tool for tool in listed["result"]["tools"]}

    def route(self, **changes: Any) -> ToolServerRoute:
        """Return it as a route table names it, with everything that it shows now approved."""
        pins = {name: str(digest_json(tool)) for name, tool in self.tools().items()}
        pins[""] = instructions("Use `add` for sums.").digest
        return ToolServerRoute(**{"name": "small", "project": "default", "url": self.url, "pins": pins, **changes})


@contextmanager
def mcp_server(program: Path = PROGRAM, *arguments: str, port: int = 0) -> Iterator[McpServer]:
    """Run the small server, or another one, on a free port or on the one that is given."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, str(program), str(port), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: listening(port), what="the MCP server", timeout_s=60)
        yield McpServer(f"http://127.0.0.1:{port}/mcp", process)
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def client(url: str, key: str = KEY, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    """Lend a client of the official SDK; `legacy` begins a session, `auto` speaks the newest revision."""
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {key}", **headers}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as mcp,
    ):
        yield mcp


def text_of(result: Any) -> str:
    """Return the text of a tool's result."""
    return str(result.content[0].text)


def post(
    url: str, body: bytes, key: str = KEY, headers: dict[str, str] | None = None, method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; return status, headers and body."""
    request = urllib.request.Request(
        url,
        data=body if method == "POST" else None,
        method=method,
        headers={
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            **({"authorization": f"Bearer {key}"} if key else {}),
            **(headers or {}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def rpc(
    url: str,
    method: str,
    params: Any = None,
    *,
    key: str = KEY,
    headers: dict[str, str] | None = None,
    identity: Any = 1,
) -> tuple[int, dict[str, str], Any]:
    """Make a request; return status, headers and the answer, whether it came alone or as the last event of a stream."""
    message = {"jsonrpc": "2.0", "id": identity, "method": method, "params": params or {}}
    said = {"mcp-protocol-version": MODERN, "mcp-method": method} if "_meta" in (params or {}) else {}
    if said and method == "tools/call":
        said["mcp-name"] = params["name"]
    status, given, body = post(url, json.dumps(message).encode(), key, {**said, **(headers or {})})
    if given.get("content-type", "").startswith("text/event-stream"):
        events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ") and line[6:]]
        return status, given, json.loads(events[-1]) if events else None
    return status, given, json.loads(body) if body else None


def call(url: str, tool: str, arguments: Any = None, **more: Any) -> tuple[int, dict[str, str], Any]:
    """Call a tool in the newest revision."""
    return rpc(url, "tools/call", {"name": tool, "arguments": arguments or {}, "_meta": META}, **more)


def begin(url: str, key: str = KEY) -> dict[str, str]:
    """Begin a session of an older revision; return the headers that go on with it."""
    hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    status, given, _ = rpc(url, "initialize", hello, key=key)
    assert status == 200
    session = {"mcp-session-id": given["mcp-session-id"], "mcp-protocol-version": LEGACY}
    assert post(url, b'{"jsonrpc":"2.0","method":"notifications/initialized"}', key, session)[0] == 202
    return session
