"""Real MCP servers that die, list too much and say too much, behind one address, before the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import msgspec
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ToolsListChanged
from mcp.shared.exceptions import MCPError

from support.gateway import KEY, GatewayProcess, make_table, prepare_home
from support.mcp_wire import HOSTILE, META, McpServer, begin, call, client, mcp_server, post, rpc, text_of
from support.ports import free_port
from support.wait import wait_until
from tetrad.serving import ToolServerRoute

MOST = 1_000_000
TOOLS = 10_000
KIB = 1024


@pytest.fixture(scope="module")
def hostile() -> Iterator[McpServer]:
    with mcp_server(HOSTILE, "0") as running:
        yield running


@pytest.fixture(scope="module")
def small() -> Iterator[McpServer]:
    with mcp_server() as running:
        yield running


def laid_out(home: Path, *routes: ToolServerRoute, **settings: Any) -> GatewayProcess:
    by_path = {f"{route.project}/{route.name}": route for route in routes}
    table = make_table("http://127.0.0.1:1/v1")
    prepare_home(home, msgspec.structs.replace(table, tool_servers=by_path))
    return GatewayProcess(home, **settings)


@pytest.fixture(scope="module")
def shared(hostile: McpServer, small: McpServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Return a gateway before a hostile server and a small one, with answers of at most a million bytes."""
    home = tmp_path_factory.mktemp("attacked")
    routes = hostile.route(name="bad"), small.route(name="good")
    with laid_out(home, *routes, gateway_tool_answer_bytes=MOST) as running:
        yield running


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # each look is a request of its own
            continue


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_result_that_is_too_large_is_refused_in_words_and_one_at_the_bound_passes(
    shared: GatewayProcess, mode: str
) -> None:
    async with client(f"{shared.url}/mcp", mode=mode) as mcp:
        assert len(text_of(await mcp.call_tool("bad__big", {"size": MOST - 10 * KIB}))) == MOST - 10 * KIB
        for size in (MOST, 40 * MOST):
            with pytest.raises(MCPError, match=r"(larger|more) than 1,000,000 bytes"):
                await mcp.call_tool("bad__big", {"size": size})
        assert text_of(await mcp.call_tool("good__add", {"a": 1, "b": 2})) == "3"


async def test_many_notifications_arrive_all_and_in_their_order(shared: GatewayProcess) -> None:
    heard: list[float] = []

    async def progress(done: float, _total: float | None, _said: str | None) -> None:
        heard.append(done)

    async with client(f"{shared.url}/mcp", mode="legacy") as mcp:
        said = await mcp.call_tool("bad__flood", {"count": 2000}, progress_callback=progress)
        assert text_of(said) == "2000"
    assert heard == list(range(1, 2001)), "two million bytes in all: the bound is one event's"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_calls_that_are_cancelled_together_end_at_their_server_and_leave_nothing_behind(
    shared: GatewayProcess, mode: str
) -> None:
    url = f"{shared.url}/mcp"

    async def stats() -> dict[str, int]:
        _, _, answer = await asyncio.to_thread(call, url, "bad__stats")
        return dict(json.loads(answer["result"]["content"][0]["text"]))

    before = await stats()

    async def all_of(name: str) -> bool:
        return (await stats())[name] == before[name] + 20

    async with client(url, mode=mode) as mcp:
        calls = [asyncio.create_task(mcp.call_tool("bad__wait", {})) for _ in range(20)]
        await until(lambda: all_of("begun"))
        for each in calls[1:]:
            each.cancel()
        await asyncio.gather(*calls[1:], return_exceptions=True)
        assert not calls[0].done(), "the others are cancelled, and this one is not"
        assert text_of(await mcp.call_tool("good__echo", {"text": "here"})) == "here"
        calls[0].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: all_of("cancelled"))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_server_that_dies_in_a_call_ends_its_own_calls_in_words_and_no_others(
    small: McpServer, tmp_path: Path, mode: str
) -> None:
    port = free_port()
    with (
        mcp_server(HOSTILE, "0", port=port) as dying,
        laid_out(tmp_path, dying.route(name="bad"), small.route(name="good")) as running,
    ):
        url = f"{running.url}/mcp"
        async with client(url, mode=mode) as mcp:
            waiting = [asyncio.create_task(mcp.call_tool("bad__wait", {})) for _ in range(3)]
            other = asyncio.create_task(mcp.call_tool("good__slow", {"seconds": 1}))
            with pytest.raises(MCPError):
                await mcp.call_tool("bad__last_words", {})
            async with asyncio.timeout(60):
                ended = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(each) for each in ended] == [MCPError] * 3
            assert text_of(await other) == "done"
            listed = await mcp.list_tools()
            assert {tool.name.split("__")[0] for tool in listed.tools} == {"good"}
            with pytest.raises(MCPError):
                await mcp.call_tool("bad__stats", {})
            with mcp_server(HOSTILE, "0", port=port):
                listed = await mcp.list_tools()
                if mode == "auto":
                    assert {tool.name.split("__")[0] for tool in listed.tools} == {"bad", "good"}
                    assert "begun" in text_of(await mcp.call_tool("bad__stats", {}))
                else:  # the session at that server ended with it: the one here says so, and goes on with the others
                    with pytest.raises(MCPError):
                        await mcp.call_tool("bad__stats", {})
                    assert text_of(await mcp.call_tool("good__echo", {"text": "here"})) == "here"
                    async with client(url, mode=mode) as again:
                        assert "begun" in text_of(await again.call_tool("bad__stats", {}))
        wait_until(lambda: running.metric("tetrad_gateway_in_flight") == 0, what="nothing in flight")


async def test_a_server_with_ten_thousand_tools_is_left_out_of_lists_and_says_what_to_do_at_its_own_address(
    small: McpServer, tmp_path: Path
) -> None:
    with (
        mcp_server(HOSTILE, str(TOOLS)) as many,
        laid_out(tmp_path, many.route(name="many"), small.route(name="good")) as running,
    ):
        async with client(f"{running.url}/mcp") as mcp:
            listed = await mcp.list_tools()
            assert {tool.name.split("__")[0] for tool in listed.tools} == {"good"}
            assert text_of(await mcp.call_tool("many__t09999", {"value": "last"})) == "last"
        _, _, answer = rpc(f"{running.url}/mcp", "tools/list", {"_meta": META})
        [told] = answer["result"]["_meta"]["dev.tetrad/unavailable"]
        assert told["server"] == "many"
        assert "lists 10,005 tools at once; at most 500 are read" in told["reason"]
        async with client(f"{running.url}/mcp/many") as mcp:
            with pytest.raises(MCPError, match=r"lists 10,005 tools at once.*let the server show fewer"):
                await mcp.list_tools()
        assert running.log().count("is left out of answers for all") == 1


async def test_a_session_hears_what_a_server_says_on_its_own_after_another_one_died(
    small: McpServer, tmp_path: Path
) -> None:
    heard = asyncio.Event()

    async def hear(said: Any) -> None:
        if isinstance(said, types.ToolListChangedNotification):
            heard.set()

    with (
        mcp_server(HOSTILE, "0") as dying,
        laid_out(tmp_path, dying.route(name="bad"), small.route(name="good")) as running,
    ):
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=60) as http,
            Client(
                streamable_http_client(f"{running.url}/mcp", http_client=http), mode="legacy", message_handler=hear
            ) as mcp,
            asyncio.timeout(60),
        ):
            while not heard.is_set():  # its stream may not be open yet
                await mcp.call_tool("good__announce", {})
            with pytest.raises(MCPError):
                await mcp.call_tool("bad__last_words", {})
            dying.process.wait(60)
            heard.clear()
            while not heard.is_set():
                await mcp.call_tool("good__announce", {})


async def test_a_subscription_hears_of_a_server_after_another_one_died(small: McpServer, tmp_path: Path) -> None:
    with (
        mcp_server(HOSTILE, "0") as dying,
        laid_out(tmp_path, dying.route(name="bad"), small.route(name="good")) as running,
    ):
        async with (
            client(f"{running.url}/mcp") as mcp,
            mcp.listen(tools_list_changed=True) as heard,
            asyncio.timeout(60),
        ):
            await mcp.call_tool("good__announce", {})
            assert await anext(heard) == ToolsListChanged()
            with pytest.raises(MCPError):
                await mcp.call_tool("bad__last_words", {})
            dying.process.wait(60)
            await mcp.call_tool("good__announce", {})
            assert await anext(heard) == ToolsListChanged()


def test_ids_of_requests_of_several_clients_are_not_mixed_up(shared: GatewayProcess) -> None:
    url = f"{shared.url}/mcp"
    sessions = [begin(url) for _ in range(3)]
    for round_ in range(3):
        for number, session in enumerate(sessions):
            text = f"{round_} {number}"
            params = {"name": "good__echo", "arguments": {"text": text}}
            _, _, answer = rpc(url, "tools/call", params, headers=session, identity=7)
            assert (answer["id"], answer["result"]["content"][0]["text"]) == (7, text)
    for session in sessions:
        assert post(url, b"", KEY, session, method="DELETE")[0] == 204
    wait_until(lambda: shared.metric("tetrad_gateway_in_flight") == 0, what="nothing in flight")
