"""Clients of the official MCP SDK before several real MCP servers at one address."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import msgspec
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from support.gateway import KEY, PIN_KEY, GatewayProcess, make_table, prepare_home, spooled
from support.mcp_wire import META, McpServer, begin, call, client, mcp_server, post, rpc, text_of
from support.ports import free_port
from support.wait import wait_until
from tetrad.serving import ToolAccess, ToolServerRoute
from tetrad.tools._combined_words import header


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[McpServer, McpServer]]:
    with mcp_server() as one, mcp_server() as other:
        yield one, other


@pytest.fixture(scope="module", params=("tetrad", "uvicorn"))
def shared(
    request: pytest.FixtureRequest,
    servers: tuple[McpServer, McpServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    """Return a gateway of either front end before two servers, one of them for one key only, and two that fail."""
    home = tmp_path_factory.mktemp("combined")
    one, other = servers
    routes = (
        one.route(name="one"),
        other.route(name="two", allow=("add", "echo", "s*", "a*"), access=(ToolAccess("key", "key_full"),)),
        ToolServerRoute(name="down", project="default", url=f"http://127.0.0.1:{free_port()}/mcp"),
        one.route(name="broken", problem="its secret is gone"),
    )
    with gateway(home, *routes, gateway_server=request.param) as running:
        yield running


@contextmanager
def gateway(home: Path, *routes: ToolServerRoute, **settings: Any) -> Iterator[GatewayProcess]:
    by_path = {f"{route.project}/{route.name}": route for route in routes}
    base = make_table("http://127.0.0.1:1/v1", version=1)
    prepare_home(home, msgspec.structs.replace(base, tool_servers=by_path))
    with GatewayProcess(home, **settings) as running:
        yield running


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_lists_and_calls_the_tools_of_all_servers(shared: GatewayProcess, mode: str) -> None:
    heard: list[float] = []

    async def progress(done: float, _total: float | None, _said: str | None) -> None:
        heard.append(done)

    async with client(f"{shared.url}/mcp", mode=mode) as mcp:
        listed = await mcp.list_tools()
        names = {tool.name for tool in listed.tools}
        assert {"one__add", "one__count", "two__add", "two__echo"} <= names
        assert "two__count" not in names
        assert mcp.instructions == "one: Use `add` for sums.\n\ntwo: Use `add` for sums."
        assert text_of(await mcp.call_tool("two__add", {"a": 1, "b": 2})) == "3"
        assert text_of(await mcp.call_tool("one__count", {"to": 2}, progress_callback=progress)) == "2"
        with pytest.raises(MCPError, match="not one that this key may call"):
            await mcp.call_tool("two__count", {"to": 2})
        with pytest.raises(MCPError, match="no MCP server that this key may use"):
            await mcp.call_tool("three__add", {})
    assert heard == [1, 2]


async def test_servers_that_fail_are_told_and_break_no_listing(shared: GatewayProcess) -> None:
    status, _, answer = rpc(f"{shared.url}/mcp", "tools/list", {"_meta": META})
    assert status == 200
    told = {each["server"]: each["reason"] for each in answer["result"]["_meta"]["dev.tetrad/unavailable"]}
    assert {"broken", "down"} <= set(told)
    assert "its secret is gone" in told["broken"]
    assert "one__add" in {tool["name"] for tool in answer["result"]["tools"]}


async def test_a_key_is_shown_its_own_servers_only(shared: GatewayProcess) -> None:
    _, _, answer = rpc(f"{shared.url}/mcp", "tools/list", {"_meta": META}, key=PIN_KEY)
    assert {tool["name"].split("__")[0] for tool in answer["result"]["tools"]} == {"one"}
    _, _, refused = call(f"{shared.url}/mcp", "two__add", {"a": 1, "b": 1}, key=PIN_KEY)
    _, _, unknown = call(f"{shared.url}/mcp", "nil__add", {"a": 1, "b": 1}, key=PIN_KEY)
    assert refused["error"]["data"] == unknown["error"]["data"] == {"code": "tool_refused"}


async def test_a_call_is_a_span_of_its_server(shared: GatewayProcess) -> None:
    call(f"{shared.url}/mcp", "two__echo", {"text": "x"}, headers={"x-tetrad-session": "combined"})
    span = wait_until(
        lambda: next((each for each in spooled(shared.home) if each.session == "combined"), None), what="the span"
    )
    assert span.name == "execute_tool echo"
    assert span.attributes["tetrad.tool.server"] == "two"
    assert span.attributes["tetrad.tool.digest"].startswith("sha256:")


async def test_a_session_is_of_all_servers_and_of_its_key(shared: GatewayProcess) -> None:
    url = f"{shared.url}/mcp"
    session = begin(url)
    for name in ("one__add", "two__add"):
        _, _, answer = rpc(url, "tools/call", {"name": name, "arguments": {"a": 1, "b": 2}}, headers=session)
        assert answer["result"]["content"][0]["text"] == "3"
    for where, key in ((url, PIN_KEY), (f"{url}/one", KEY)):
        assert rpc(where, "tools/list", headers=session, key=key)[0] == 404
    for identity, code in (
        ("nil:1", "tool_refused"),
        ("1", "bad_message"),
        (1, "bad_message"),
        ("one:x", "bad_message"),
    ):
        wrong = {"jsonrpc": "2.0", "id": identity, "result": {}}
        answer = json.loads(post(url, json.dumps(wrong).encode(), KEY, session)[2])
        assert answer["error"]["data"]["code"] == code
    assert rpc(url, "tools/list", {"cursor": "x"}, headers=session)[2]["error"]["code"] == -32602
    assert post(url, b"", KEY, session, method="DELETE")[0] == 204
    assert "error" in rpc(url, "tools/call", {"name": "one__add", "arguments": {"a": 1, "b": 2}}, headers=session)[2]


async def test_what_servers_say_and_ask_comes_from_each_and_answers_go_back(shared: GatewayProcess) -> None:
    heard = asyncio.Event()

    async def hear(said: Any) -> None:
        if isinstance(said, types.ToolListChangedNotification):
            heard.set()

    async def answer(_context: Any, asked: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"text": f"to {asked.message}"})

    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=60) as http,
        Client(
            streamable_http_client(f"{shared.url}/mcp", http_client=http),
            mode="legacy",
            message_handler=hear,
            elicitation_callback=answer,
        ) as mcp,
    ):
        one, two = await asyncio.gather(
            mcp.call_tool("one__ask", {"question": "one"}), mcp.call_tool("two__ask", {"question": "two"})
        )
        assert (text_of(one), text_of(two)) == ("to one", "to two")
        async with asyncio.timeout(60):
            while not heard.is_set():  # its stream may not be open yet
                await mcp.call_tool("two__announce", {})


async def test_what_is_cancelled_is_cancelled_at_its_server(shared: GatewayProcess) -> None:
    url = f"{shared.url}/mcp"

    async def stats(server: str) -> dict[str, int]:
        _, _, answer = await asyncio.to_thread(call, url, f"{server}__stats")
        found: dict[str, int] = json.loads(answer["result"]["content"][0]["text"])
        return found

    before = await stats("two")

    async def grown(name: str) -> bool:
        return (await stats("two"))[name] > before[name]

    async with client(url, mode="legacy") as mcp:
        task = asyncio.create_task(mcp.call_tool("two__slow", {"seconds": 600}))
        await _until(lambda: grown("slow"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _until(lambda: grown("cancelled"))


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # each look is a request of its own
            continue


async def test_a_server_that_never_answers_is_left_out(servers: tuple[McpServer, McpServer], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        never = ToolServerRoute(name="never", project="default", url=address)
        with gateway(tmp_path, servers[0].route(name="one"), never, gateway_tool_listing_s=2) as running:

            def listed() -> dict[str, str] | None:
                answer = rpc(f"{running.url}/mcp", "tools/list", {"_meta": META})[2]["result"]
                told = {each["server"]: each["code"] for each in answer["_meta"]["dev.tetrad/unavailable"]}
                return told if "one__add" in {tool["name"] for tool in answer["tools"]} else None

            assert wait_until(listed, what="the tools of the other", timeout_s=60) == {"never": "tool_server_timeout"}
            assert listed() == {"never": "tool_server_timeout"}
            assert running.metric("tetrad_gateway_tool_server_rests") == 1
            span = wait_until(
                lambda: next((each for each in spooled(running.home) if each.name == "tools/list"), None),
                what="the span of an answer that lacks a server",
            )
            assert span.attributes["tetrad.tool.left_out"] == "never"
            assert (span.attributes["tetrad.tool.server"], span.error_type) == ("*", "")


async def test_an_encoded_name_in_a_header_cannot_become_anotherheader(shared: GatewayProcess) -> None:
    name = "one__a\r\nx-evil: 1"
    said = base64.b64encode(name.encode()).decode()
    params = {"name": name, "arguments": {}, "_meta": META}
    for method, code in (("tools/call", "tool_refused"), ("prompts/get", "method_not_served")):
        headers = {"mcp-name": f"=?base64?{said}?=", "mcp-method": method}
        _, _, answer = rpc(f"{shared.url}/mcp", method, {**params}, headers=headers)
        assert answer["error"]["data"]["code"] == code
    assert header("a\r\nx: 1") == b"=?base64?YQ0KeDogMQ==?="
    assert header("plain") == b"plain"
