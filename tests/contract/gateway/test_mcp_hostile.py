"""Servers that lie: what one says wrong breaks nothing for the others, and is passed on to nobody."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from support.gateway import KEY
from support.mcp_proxy import Proxy
from support.mcp_wire import META, McpServer, mcp_server
from support.raw_server import RawServer, raw_server, read_request
from tetrad.kernel import digest_json
from tetrad.serving import CompiledTable, ToolAccess, ToolServerRoute
from tetrad.tools import Event, EventReader
from tetrad.tools._screen import Digests

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
GREETING = b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{}}}'
GOOD = {"name": "add", "description": "good"}
EVENTS = b"text/event-stream"


def raw(body: bytes, kind: bytes = b"application/json", status: bytes = b"200 OK", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status, kind, len(body), extra, body)


def result(body: bytes, **more: bytes) -> bytes:
    return raw(b'{"jsonrpc":"2.0","id":1,"result":%b}' % body, **more)


@asynccontextmanager
async def lying(**answers: bytes) -> AsyncIterator[RawServer]:
    """Serve answers by the last word of the method that is asked, or by that of HTTP where it is not POST."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            verb = head.partition(" ")[0]
            asked = json.loads(body)["method"].rpartition("/")[2] if verb == "POST" else verb.lower()
            writer.write(answers.get(asked, raw(b"", status=b"405 No")))
            await writer.drain()

    async with raw_server(act) as served:
        yield served


def route_to(served: RawServer, name: str = "evil", **more: Any) -> ToolServerRoute:
    return ToolServerRoute(
        name=name, project="default", url=f"{served.url}/mcp", pins={"add": str(digest_json(GOOD))}, **more
    )


@pytest.fixture(scope="module")
def server() -> Iterator[McpServer]:
    with mcp_server() as running:
        yield running


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (raw(b'[{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}]'), "tool_server_broken"),
        (raw(b'{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}'), "tool_server_broken"),
        (raw(b"", status=b"307 There", extra=b"location: http://127.0.0.1:1/mcp\r\n"), "tool_server_refused"),
        (result(b'{"tools":' + b"[" * 90_000 + b"]" * 90_000 + b"}"), "tool_server_broken"),
        (result(b'{"tools":{"name":"add"}}'), "tool_server_broken"),
        (result(b'{"tools":[],"nextCursor":"again"}'), "tool_server_broken"),
        (raw(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"%b"}}' % (b"x" * 90_000)), "tool_server_broken"),
        (
            raw(b'data: {"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}\n\n', EVENTS),
            "tool_server_broken",
        ),
    ],
)
async def test_a_list_that_is_a_lie_is_left_out_of_the_list_of_all(
    server: McpServer, proxies: Callable[..., Proxy], answer: bytes, code: str
) -> None:
    async with lying(list=answer) as evil:
        asked = proxies(server.route(name="one"), route_to(evil))
        reply = await asked.ask("tools/list")
    found = reply.said["result"]
    assert {tool["name"].split("__")[0] for tool in found["tools"]} == {"one"}
    (told,) = found["_meta"]["dev.tetrad/unavailable"]
    assert (told["server"], told["code"]) == ("evil", code)
    assert len(told["reason"]) < 400


@pytest.mark.parametrize("revision", ["0000-00-00", "2025-11-25\\r\\nx: y", "", "9999-12-31"])
async def test_a_server_that_says_a_revision_that_is_none_takes_no_client_of_others_away(
    server: McpServer, proxies: Callable[..., Proxy], revision: str
) -> None:
    """The oldest revision of all is what a client is told to speak; it leaves where it does not know that."""
    greeting = b'{"protocolVersion":"%b","capabilities":{}}' % revision.encode()
    async with lying(initialize=result(greeting, extra=b"mcp-session-id: s\r\n")) as evil:
        asked = proxies(server.route(name="one"), route_to(evil))
        reply = await asked.ask("initialize", HELLO)
        found = reply.said["result"]
        assert found["protocolVersion"] == "2025-11-25"
        (told,) = found["_meta"]["dev.tetrad/unavailable"]
        assert (told["server"], told["code"]) == ("evil", "tool_server_broken")
        assert await asked.names(mcp_session_id=reply.headers["mcp-session-id"]) == {"one"}


@pytest.mark.parametrize("path", ["/mcp/evil", "/mcp"])
@pytest.mark.parametrize(
    ("definition", "pinned"),
    [
        (b'{"name":"add","description":"EVIL","description":"good"}', GOOD),
        (
            b'{"name":"add","inputSchema":{"title":"EVIL","title":"good"}}',
            {"name": "add", "inputSchema": {"title": "good"}},
        ),
    ],
)
async def test_a_definition_that_says_a_thing_twice_is_read_by_everybody_as_it_was_approved(
    proxies: Callable[..., Proxy], definition: bytes, pinned: dict[str, Any], path: str
) -> None:
    """Whoever takes the first of two equal keys must not read what nobody approved."""
    async with lying(list=result(b'{"tools":[%b]}' % definition)) as evil:
        asked = proxies(
            ToolServerRoute(
                name="evil", project="default", url=f"{evil.url}/mcp", pins={"add": str(digest_json(pinned))}
            )
        )
        reply = await asked.ask("tools/list", path=path)
    assert [tool["name"].rpartition("__")[2] for tool in reply.said["result"]["tools"]] == ["add"]
    assert b"EVIL" not in reply.body
    assert b"good" in reply.body


async def test_a_resumed_answer_that_could_be_several_things_is_judged_as_each(proxies: Callable[..., Proxy]) -> None:
    said = {
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "sampling": {}}, "instructions": "EVIL",
        "tools": [GOOD, {"name": "add", "description": "EVIL"}], "resources": [{"uri": "EVIL://x", "name": "x"}],
    }  # fmt: skip
    answer = b'id: e\ndata: {"jsonrpc":"2.0","id":1,"result":%b}\n\n' % json.dumps(said).encode()
    async with lying(get=raw(answer, EVENTS)) as evil:
        reply = await proxies(route_to(evil)).listen("e", path="/mcp/evil")
    assert reply.events[0]["result"]["tools"] == [GOOD]
    assert reply.events[0]["result"]["capabilities"] == {"tools": {}}
    assert b"EVIL" not in reply.body


async def test_a_resumed_stream_answers_the_request_that_it_was_begun_for_and_no_others_servers(
    proxies: Callable[..., Proxy],
) -> None:
    """A client whose stream one server broke off waits for answers of other servers too."""
    broken_off = raw(b"id: e1\ndata:\n\n", EVENTS)
    answers = b"".join(
        b'id: e%d\ndata: {"jsonrpc":"2.0","id":%b,"result":{"content":[]}}\n\n' % (number, identity)
        for number, identity in ((2, b"7"), (3, b'"1"'), (4, b"1"))
    )
    async with lying(call=broken_off, get=raw(answers, EVENTS)) as evil:
        asked = proxies(route_to(evil))
        begun = await asked.ask("tools/call", {"name": "evil__add", "arguments": {}, "_meta": META})
        (last,) = [line[4:].decode() for line in begun.body.splitlines() if line.startswith(b"id: ")]
        reply = await asked.listen(last)
        assert [each["id"] for each in reply.events] == [1]
        (last,) = [line[4:].decode() for line in reply.body.splitlines() if line.startswith(b"id: ")]
        assert last == f"evil:{base64.urlsafe_b64encode(b'1').rstrip(b'=').decode()}:e4"
        for forged in ("evil:e1", "evil::e1", f"evil:{'A' * 2000}:e1", "evil"):
            assert [each for each in (await asked.listen(forged)).events if "result" in each] == []


async def test_ids_of_sessions_that_are_too_long_cost_other_servers_no_place(
    server: McpServer, proxies: Callable[..., Proxy]
) -> None:
    greeting = result(GREETING, extra=b"mcp-session-id: " + b"s" * 512 + b"\r\n")
    async with lying(initialize=greeting, delete=raw(b"", status=b"204 Gone")) as evil:
        asked = proxies(server.route(name="small"), *(route_to(evil, name=f"evil-{number}") for number in range(9)))
        reply = await asked.ask("initialize", HELLO)
        told = {each["server"] for each in reply.said["result"]["_meta"]["dev.tetrad/unavailable"]}
        assert told
        assert "small" not in told
        assert len(reply.headers["mcp-session-id"]) <= 4096
        names = await asked.names(mcp_session_id=reply.headers["mcp-session-id"])
        assert "small" in names


def test_a_server_says_when_clients_come_back_within_bounds() -> None:
    def retry_of(said: bytes) -> bytes:
        (event,) = EventReader(1000).feed(b"retry: %b\ndata: x\n\n" % said)
        return event.retry

    assert [retry_of(said) for said in (b"0", b"3000", b"9" * 9, b"9" * 900, b"-1", b"1e9")] == [
        b"100", b"3000", b"60000", b"60000", b"", b"",
    ]  # fmt: skip
    assert Event(retry=b"100").encoded() == b"event: message\nretry: 100\ndata: \n\n"


def test_ever_new_definitions_fill_no_memory() -> None:
    digests = Digests()
    for number in range(1200):
        assert digests.of(b'{"name":"t%d","description":"%b"}' % (number, b"x" * 60_000)) is not None
    assert sum(len(each.definition) for each in digests._known.values()) < 17 * 1024 * 1024


@pytest.mark.parametrize("why", ["revoked", "not its server any more", "server removed"])
@pytest.mark.parametrize("path", ["/mcp/talks", "/mcp"])
async def test_a_stream_ends_with_the_right_to_hear_it(proxies: Callable[..., Proxy], why: str, path: str) -> None:
    gone = asyncio.Event()

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n")
        await reader.read()
        gone.set()

    async with raw_server(act) as served, asyncio.timeout(60):
        route = route_to(served, "talks")
        asked = proxies(route)
        listening = asyncio.create_task(asked.listen(path=path, authorization=f"Bearer {KEY}"))
        while not asked.proxy.open:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        asked.bind(None, route)
        used = dict(asked.compiled.key_uses._used)
        asked.proxy.follow()
        assert asked.compiled.key_uses._used == used, "that a stream is open is no use of its key"
        assert not gone.is_set(), "a new table that says the same ends nothing"
        assert len(asked.proxy.open) == 1
        if why == "revoked":
            keys = {name: key for name, key in asked.compiled.table.keys.items() if key.id != "key_full"}
            asked.compiled = CompiledTable(msgspec.structs.replace(asked.compiled.table, keys=keys), {})
        elif why == "server removed":
            asked.bind(None)
        else:
            asked.bind(None, msgspec.structs.replace(route, access=(ToolAccess("key", "key_other"),)))
        asked.proxy.follow()
        assert (await listening).status == 200
        await gone.wait()
    assert not asked.proxy.open
    assert {each.error_type for each in asked.records} - {""} == {"access_ended"}, "the server did nothing wrong"


async def test_a_server_that_ends_no_session_costs_no_other_its_connections(
    server: McpServer, proxies: Callable[..., Proxy]
) -> None:
    hung = 0

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hung
        while True:
            head, _ = await read_request(reader)
            if head.startswith("DELETE"):
                hung += 1
                await reader.read()
                return
            writer.write(result(b'{"protocolVersion":"0000-00-00","capabilities":{}}', extra=b"mcp-session-id: s\r\n"))

    async with raw_server(act) as evil, asyncio.timeout(60):
        asked = proxies(server.route(name="one"), route_to(evil))
        for _ in range(30):
            assert (await asked.ask("initialize", HELLO)).status == 200
        assert sum(asked.proxy._leaving.values()) == hung == 8
        for task in list(asked.proxy._finishing):
            task.cancel()
