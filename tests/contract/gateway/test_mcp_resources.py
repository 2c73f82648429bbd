"""Resources, prompts and completions of several real MCP servers at one address, with the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import msgspec
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError

from support.gateway import KEY, PIN_KEY, GatewayProcess, make_table, prepare_home, spooled
from support.mcp_wire import META, McpServer, begin, client, mcp_server, rpc
from support.wait import wait_until
from tetrad.serving import ToolAccess, ToolServerRoute

ALL = ("tools", "resources", "prompts")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[McpServer, McpServer]]:
    with mcp_server() as one, mcp_server() as other:
        yield one, other


@contextmanager
def gateway(home: Path, *routes: ToolServerRoute, **settings: Any) -> Iterator[GatewayProcess]:
    by_path = {f"{route.project}/{route.name}": route for route in routes}
    base = make_table("http://127.0.0.1:1/v1", version=1)
    prepare_home(home, msgspec.structs.replace(base, tool_servers=by_path))
    with GatewayProcess(home, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def shared(servers: tuple[McpServer, McpServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Return a gateway before two servers with everything, one of them with lists, and one with tools only."""
    one, other = servers
    memos = ToolAccess("key", "key_full", ("*", "memo://*", "note://*"))
    routes = (
        one.route(name="one", serves=ALL),
        other.route(name="2-nd", serves=ALL, allow=("*", "memo://*"), access=(memos,)),
        one.route(name="closed"),
    )
    with gateway(tmp_path_factory.mktemp("resources"), *routes) as running:
        yield running


def text_at(read: Any) -> str:
    return str(read.contents[0].text)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_lists_reads_and_completes_across_servers(shared: GatewayProcess, mode: str) -> None:
    async with client(f"{shared.url}/mcp", mode=mode) as mcp:
        offered = mcp.server_capabilities
        assert offered.resources is not None
        assert offered.resources.subscribe is True
        assert offered.completions is not None
        resources = (await mcp.list_resources()).resources
        assert [(each.uri, each.name) for each in resources] == [("mcp+one+note://one", "one__note")]
        templates = (await mcp.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == ["mcp+2-nd+memo://{name}", "mcp+one+memo://{name}"]
        assert text_at(await mcp.read_resource("mcp+one+note://one")) == "a note"
        memos = [await mcp.read_resource(f"mcp+{name}+memo://x") for name in ("one", "2-nd")]
        assert [memo.contents[0].uri for memo in memos] == ["mcp+one+memo://x", "mcp+2-nd+memo://x"]
        assert text_at(memos[0]) != text_at(memos[1])  # each says the number of its process
        assert {prompt.name for prompt in (await mcp.list_prompts()).prompts} == {"one__greet", "2-nd__greet"}
        said = await mcp.get_prompt("2-nd__greet", {"name": "Ada"})
        assert said.messages[0].content.text == "Hello Ada"  # type: ignore[union-attr]
        argument = {"name": "name", "value": "A"}
        of_prompt = await mcp.complete(types.PromptReference(type="ref/prompt", name="one__greet"), argument)
        assert of_prompt.completion.values == ["A-greet"]
        template = types.ResourceTemplateReference(type="ref/resource", uri="mcp+2-nd+memo://{name}")
        assert (await mcp.complete(template, argument)).completion.values == ["A-memo://{name}"]


async def test_addresses_in_results_of_tools_lead_back_to_their_server(shared: GatewayProcess) -> None:
    async with client(f"{shared.url}/mcp") as mcp:
        link, inside = (await mcp.call_tool("2-nd__link", {"uri": "memo://y"})).content
        assert link.uri == inside.resource.uri == "mcp+2-nd+memo://y"  # type: ignore[union-attr]
        assert text_at(await mcp.read_resource(link.uri)).endswith(": y")  # type: ignore[union-attr]
        (link, _) = (await mcp.call_tool("closed__link", {"uri": "memo://y"})).content
        assert link.uri == "memo://y"  # type: ignore[union-attr] # it can be read nowhere


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("note://one", "no MCP server that this key may use is called ''"),
        ("mcp+nil+note://one", "no MCP server that this key may use is called 'nil'"),
        ("mcp+2-nd+note://one", "not one that this key may read"),
        ("mcp+closed+note://one", "not passed on to the MCP server 'closed'"),
        ("mcp+one", "no MCP server"),
        ("mcp+one+nothing://there", "Unknown resource|not found"),
    ],
)
async def test_an_address_that_is_not_open_is_refused_in_words(shared: GatewayProcess, uri: str, words: str) -> None:
    async with client(f"{shared.url}/mcp") as mcp:
        with pytest.raises(MCPError, match=words):
            await mcp.read_resource(uri)


async def test_lists_of_resources_hold_at_the_address_of_one_server_too(shared: GatewayProcess) -> None:
    url = f"{shared.url}/mcp/2-nd"
    assert rpc(url, "resources/list", {"_meta": META})[2]["result"]["resources"] == []
    templates = rpc(url, "resources/templates/list", {"_meta": META})[2]["result"]["resourceTemplates"]
    assert [each["uriTemplate"] for each in templates] == ["memo://{name}"]
    for method in ("resources/read", "resources/subscribe"):
        _, _, answer = rpc(url, method, {"uri": "note://one"}, headers=begin(url))
        assert answer["error"]["data"]["code"] == "tool_refused"
    reference = {"ref": {"type": "ref/resource", "uri": "note://one"}, "argument": {"name": "x", "value": ""}}
    assert rpc(url, "completion/complete", {**reference, "_meta": META})[2]["error"]["data"]["code"] == "tool_refused"
    assert rpc(url, "tools/list", {"_meta": META}, key=PIN_KEY)[0] == 404


@pytest.mark.parametrize("reference", [None, 7, {}, {"type": "ref/tool", "name": "x"}, {"type": "ref/prompt"}])
async def test_a_completion_of_nothing_is_refused_in_words(shared: GatewayProcess, reference: Any) -> None:
    _, _, answer = rpc(f"{shared.url}/mcp", "completion/complete", {"ref": reference, "_meta": META})
    assert (answer["error"]["code"], answer["error"]["data"]["code"]) == (-32602, "bad_message")


async def test_a_read_and_a_prompt_are_spans_of_their_server(shared: GatewayProcess) -> None:
    async with client(f"{shared.url}/mcp", **{"x-tetrad-session": "spans"}) as mcp:
        await mcp.read_resource("mcp+2-nd+memo://spanned")
        await mcp.get_prompt("one__greet", {"name": "Bo"})

    def found() -> dict[str, dict[str, str]] | None:
        spans = {each.name: each.attributes for each in spooled(shared.home) if each.session == "spans"}
        return spans if len(spans) == 2 else None

    spans = wait_until(found, what="the spans")
    assert spans["resources/read"]["mcp.resource.uri"] == "memo://spanned"
    assert spans["resources/read"]["tetrad.tool.server"] == "2-nd"
    assert spans["prompts/get greet"]["tetrad.tool.server"] == "one"


async def test_one_subscription_hears_of_resources_of_each_server(shared: GatewayProcess) -> None:
    wanted = ["mcp+one+note://one", "mcp+2-nd+memo://x", "mcp+2-nd+note://one", "note://one", "mcp+nil+x:y"]
    async with (
        client(f"{shared.url}/mcp") as mcp,
        mcp.listen(resource_subscriptions=wanted, tools_list_changed=True) as heard,
    ):
        assert heard.honored.tools_list_changed is True
        assert set(heard.honored.resource_subscriptions or ()) == {"mcp+one+note://one", "mcp+2-nd+memo://x"}
        got = []
        for tool, uri in (("2-nd__touch", "memo://x"), ("one__touch", "note://one")):
            await mcp.call_tool(tool, {"uri": uri})
            async with asyncio.timeout(60):
                got.append(await anext(heard))
        assert got == [ResourceUpdated(uri="mcp+2-nd+memo://x"), ResourceUpdated(uri="mcp+one+note://one")]


@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_session_subscribes_to_resources_of_its_servers(shared: GatewayProcess) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(said: Any) -> None:
        if isinstance(said, types.ResourceUpdatedNotification):
            heard.put_nowait(said.params.uri)

    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=60) as http,
        Client(
            streamable_http_client(f"{shared.url}/mcp", http_client=http), mode="legacy", message_handler=hear
        ) as mcp,
    ):
        uri = "mcp+2-nd+memo://legacy"
        await mcp.subscribe_resource(uri)
        async with asyncio.timeout(60):
            while heard.empty():  # its stream may not be open yet
                await mcp.call_tool("2-nd__touch", {"uri": "memo://legacy"})
            assert await heard.get() == uri
        await mcp.unsubscribe_resource(uri)
        with pytest.raises(MCPError, match="not one that this key may read"):
            await mcp.subscribe_resource("mcp+2-nd+note://one")


async def test_a_server_that_says_nothing_keeps_no_subscription_waiting(
    servers: tuple[McpServer, McpServer], tmp_path: Path
) -> None:
    """One acknowledges late or never: the others' subscription begins all the same."""
    with mcp_server() as hung:
        routes = (servers[0].route(name="one", serves=ALL), hung.route(name="hung", serves=ALL))
        with gateway(tmp_path, *routes, gateway_tool_listing_s=2) as running:
            async with client(f"{running.url}/mcp") as mcp:
                hung.process.send_signal(19)  # SIGSTOP
                async with mcp.listen(resource_subscriptions=["mcp+one+note://one"]) as heard:
                    assert heard.honored.resource_subscriptions == ["mcp+one+note://one"]
                    await mcp.call_tool("one__touch", {"uri": "note://one"})
                    async with asyncio.timeout(60):
                        assert await anext(heard) == ResourceUpdated(uri="mcp+one+note://one")


async def test_a_list_has_one_page_and_says_what_is_left_out(shared: GatewayProcess) -> None:
    _, _, answer = rpc(f"{shared.url}/mcp", "resources/list", {"cursor": "x", "_meta": META})
    assert answer["error"]["code"] == -32602
    status, _, answer = rpc(f"{shared.url}/mcp", "resources/list", {"_meta": META}, key=PIN_KEY)
    assert status == 200
    assert [each["uri"] for each in answer["result"]["resources"]] == ["mcp+one+note://one"]
    assert "2-nd" not in json.dumps(answer)
