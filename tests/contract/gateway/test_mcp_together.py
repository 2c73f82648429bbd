"""The proxy of MCP servers before two real ones: what a request to all counts and says, and what names mean."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import msgspec
import pytest

from support.mcp_proxy import Proxy
from support.mcp_wire import META, McpServer, mcp_server
from support.ports import free_port
from tetrad.kernel import FixedClock, Unavailable
from tetrad.serving import BindingRoute, BoundToolServer, ToolAccess, ToolServerRoute
from tetrad.tools._rests import FIRST_S, Asked, Rests

ALL = ("tools", "resources", "prompts")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[McpServer, McpServer]]:
    with mcp_server() as one, mcp_server() as other:
        yield one, other


@pytest.mark.parametrize("method", ["tools/list", "resources/list", "resources/templates/list", "server/discover"])
async def test_a_list_of_all_counts_once_as_its_callers_and_once_as_each_servers(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy], method: str
) -> None:
    asked = proxies(servers[0].route(name="one", serves=ALL), servers[1].route(name="two", serves=ALL))
    reply = await asked.ask(method)
    assert reply.status == 200
    assert asked.limiter.counted[0] == (method, "mcp:*", "caller")
    assert sorted(asked.limiter.counted[1:]) == [(method, "mcp:one", "server"), (method, "mcp:two", "server")]
    whole = [each for each in asked.records if each.path == "/mcp"]
    assert len(whole) == 1
    assert len(whole[0].attempts) == 1, "what was set aside is counted as used"


async def test_what_is_for_one_server_counts_as_everybodys(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy]
) -> None:
    asked = proxies(servers[0].route(name="one", serves=ALL))
    await asked.ask("tools/call", {"name": "one__add", "arguments": {"a": 1, "b": 2}, "_meta": META})
    await asked.ask("resources/read", {"uri": "mcp+one+note://one", "_meta": META})
    await asked.ask("ping")
    assert asked.limiter.counted == [("tools/call", "mcp:one/add", "all"), ("resources/read", "mcp:one", "all")]


async def test_a_caller_past_its_limit_is_refused_and_asks_no_server(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy]
) -> None:
    asked = proxies(servers[0].route(name="one"), servers[1].route(name="two"))
    asked.limiter.refuse = "caller"
    reply = await asked.ask("tools/list")
    assert (reply.status, reply.said["error"]["data"]["code"]) == (429, "rate_limit_exceeded")
    assert len(asked.limiter.counted) == 1


async def test_a_server_that_is_down_is_said_once_and_counted_each_time(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tetrad.tools._absences")
    down = ToolServerRoute(name="down", project="default", url=f"http://127.0.0.1:{free_port()}/mcp")
    asked = proxies(servers[0].route(name="one"), down)
    for _ in range(5):
        assert await asked.names() == {"one"}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("the MCP server 'down' of 'default' is left out of answers for all: ")
    assert list(asked.proxy.absences.now()) == [("default", "down", True)]
    assert [(server, count) for _, server, _, count in asked.proxy.absences.counts()] == [("down", 5)]


class Turnstile:
    """A port before a server: what comes waits until it is open."""

    def __init__(self, port: int) -> None:
        self.opened = asyncio.Event()
        self.came = 0
        self._port = port

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        writers = [writer]
        try:
            await self.opened.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            writers.append(back)
            await asyncio.gather(_piped(reader, back), _piped(there, writer))
        finally:
            for each in writers:
                each.transport.abort()
            await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)


async def _piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@pytest.fixture
async def hung(
    servers: tuple[McpServer, McpServer],
) -> AsyncIterator[tuple[Turnstile, ToolServerRoute]]:
    """Return a turnstile that is shut, and the server behind it."""
    route = servers[1].route(name="hung")
    turnstile = Turnstile(urlsplit(route.url).port or 0)
    tasks: set[asyncio.Task[None]] = set()

    def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(turnstile.pass_on(reader, writer)))

    listening = await asyncio.start_server(come, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    yield turnstile, msgspec.structs.replace(route, url=f"http://127.0.0.1:{port}/mcp")
    listening.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_server_that_hangs_delays_one_list_rests_and_comes_back_by_itself(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy], hung: tuple[Turnstile, ToolServerRoute],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    turnstile, route = hung
    asked, clock = proxies(servers[0].route(name="one"), route), FixedClock()
    asked.proxy.rests, asked.proxy.listing_s = Rests(clock), 2.0
    assert await asked.names() == {"one"}
    came = turnstile.came
    for _ in range(5):
        reply = await asked.ask("tools/list")
        (told,) = reply.said["result"]["_meta"]["dev.tetrad/unavailable"]
        assert (told["server"], told["code"]) == ("hung", "tool_server_timeout")
        assert told["reason"] == "it did not answer within 2 s; it is asked again in 5 s"
    assert turnstile.came == came, "nobody asks it, so nobody waits for it"
    assert {each.left_out for each in asked.records if each.path == "/mcp"} == {("hung",)}
    assert caplog.text.count("the MCP server 'hung' of 'default' is left out of answers for all") == 1
    turnstile.opened.set()
    clock.advance(FIRST_S)
    assert await asked.names() == {"one", "hung"}


async def test_a_server_that_is_slow_after_its_rest_takes_part_once_it_was_heard_out(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy], hung: tuple[Turnstile, ToolServerRoute]
) -> None:
    turnstile, route = hung
    asked, clock = proxies(servers[0].route(name="one"), route), FixedClock()
    asked.proxy.rests, asked.proxy.listing_s = Rests(clock), 2.0
    assert await asked.names() == {"one"}
    clock.advance(FIRST_S)
    asked.proxy.listing_s = 60.0
    lists = await asyncio.gather(asked.names(), asked.names())
    assert lists == [{"one"}, {"one"}], "one asks, for a moment only, and the other does not"
    turnstile.opened.set()
    async with asyncio.timeout(60):
        while asked.proxy.rests.resting("default", "hung"):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    assert await asked.names() == {"one", "hung"}


class Beginner:
    """A server that begins sessions when it is let, and keeps those that nobody ended."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.greeting = b'{"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}'
        self.begun = 0
        self.asked = 0
        self.sessions: set[bytes] = set()

    async def come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client left
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        await reader.readexactly(int(fields.get(b"content-length", 0)))
        if head.startswith(b"delete"):
            self.sessions.remove(fields[b"mcp-session-id"])
            writer.write(b"HTTP/1.1 204 Gone\r\n\r\n")
            return
        self.asked += 1
        await self.opened.wait()
        self.begun += 1
        session = b"s%d" % self.begun
        self.sessions.add(session)
        body = b'{"jsonrpc": "2.0", "id": 1, "result": %b}' % self.greeting
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: %b\r\n"
            b"content-length: %d\r\n\r\n%b" % (session, len(body), body)
        )


@pytest.fixture
async def beginner() -> AsyncIterator[tuple[Beginner, ToolServerRoute]]:
    """Return a server that begins sessions, and its route."""
    found, tasks = Beginner(), set[asyncio.Task[None]]()

    def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(found.come(reader, writer)))

    listening = await asyncio.start_server(come, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    yield found, ToolServerRoute(name="slow", project="default", url=f"http://127.0.0.1:{port}/mcp")
    listening.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - a condition of another module, which has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("listing_s", [0.2, 60.0])
async def test_a_session_that_begins_when_nobody_waits_for_it_any_more_is_ended(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy], beginner: tuple[Beginner, ToolServerRoute],
    listing_s: float,
) -> None:  # fmt: skip
    """Both of a server whose time for an answer is over, and of one that was asked again for a moment only."""
    slow, route = beginner
    asked, clock = proxies(servers[0].route(name="one"), route), FixedClock()
    asked.proxy.rests, asked.proxy.listing_s = Rests(clock), listing_s
    if listing_s > 1:
        asked.proxy.rests.failed(Asked("default", "slow", "initialize"), Unavailable("slow"), 10.0)
        clock.advance(FIRST_S)
    reply = await asked.ask("initialize", HELLO)
    (told,) = reply.said["result"]["_meta"]["dev.tetrad/unavailable"]
    assert (told["server"], told["code"]) == ("slow", "tool_server_timeout")
    slow.opened.set()
    await until(lambda: slow.begun == 1 and not slow.sessions)
    again = await asked.ask("tools/list", {}, mcp_session_id=reply.headers["mcp-session-id"])
    assert {tool["name"].split("__")[0] for tool in again.said["result"]["tools"]} == {"one"}


async def test_who_leaves_while_sessions_begin_leaves_none_behind(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy], beginner: tuple[Beginner, ToolServerRoute]
) -> None:
    slow, route = beginner
    asked = proxies(route)
    asking = asyncio.create_task(asked.ask("initialize", HELLO))
    await until(lambda: slow.asked == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    slow.opened.set()
    await until(lambda: slow.begun == 1 and not slow.sessions)


async def test_of_many_who_leave_a_server_that_hangs_only_some_are_heard_out(
    proxies: Callable[..., Proxy], beginner: tuple[Beginner, ToolServerRoute]
) -> None:
    slow, route = beginner
    asked = proxies(route)
    asking = [asyncio.create_task(asked.ask("initialize", HELLO)) for _ in range(12)]
    await until(lambda: slow.asked == 12)
    for each in asking:
        each.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    slow.opened.set()
    await until(lambda: slow.begun == 12 and len(slow.sessions) == 4)


async def test_a_session_with_a_greeting_that_cannot_be_read_is_ended_and_a_good_one_is_kept(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy], beginner: tuple[Beginner, ToolServerRoute]
) -> None:
    slow, route = beginner
    slow.opened.set()
    asked = proxies(servers[0].route(name="one"), route)
    slow.greeting = b'{"protocolVersion": ["2025-11-25"]}'
    reply = await asked.ask("initialize", HELLO)
    (told,) = reply.said["result"]["_meta"]["dev.tetrad/unavailable"]
    assert (told["server"], told["code"]) == ("slow", "tool_server_broken")
    await until(lambda: not slow.sessions)
    slow.greeting = b'{"protocolVersion": "2025-11-25"}'
    reply = await asked.ask("initialize", HELLO)
    assert reply.said["result"]["protocolVersion"] == "2025-11-25"
    assert (slow.begun, slow.sessions) == (2, {b"s2"})


def binding_of(**servers: BoundToolServer) -> BindingRoute:
    return BindingRoute("bindings/production", "sha256:" + "b" * 64, tool_servers=servers)


async def test_an_app_calls_servers_by_what_its_environment_binds_them_to(
    servers: tuple[McpServer, McpServer],
    proxies: Callable[..., Proxy],
) -> None:
    routes = [each.route(name=name, serves=ALL) for each, name in zip(servers, ("files-eu", "files-us"), strict=True)]
    asked = proxies(*routes, binding=binding_of(files=BoundToolServer("files-eu")))
    app = {"x_tetrad_app": "assistant"}

    async def process(path: str, uri: str) -> str:
        reply = await asked.ask("resources/read", {"uri": uri, "_meta": META}, path=path, **app)
        return str(reply.said["result"]["contents"][0]["text"])

    eu = await process("/mcp/files", "memo://x")
    assert eu == await process("/mcp/files-eu", "memo://x")
    assert eu == await process("/mcp", "mcp+files+memo://x")
    assert eu != await process("/mcp/files-us", "memo://x")
    assert {each.binding for each in asked.records} == {"sha256:" + "b" * 64}
    assert {each.server for each in asked.records} == {"files-eu", "files-us"}, "spans tell the server itself"
    listed = await asked.ask("tools/list", x_tetrad_app="assistant")
    assert {tool["name"].split("__")[0] for tool in listed.said["result"]["tools"]} == {"files", "files-us"}
    assert await asked.names() == {"files-eu", "files-us"}, "who names no app calls servers by their own names"
    asked.bind(binding_of(files=BoundToolServer("files-us")), *routes)
    assert eu != await process("/mcp", "mcp+files+memo://x")


async def test_a_session_does_not_follow_a_name_to_another_server(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy]
) -> None:
    """The id of a session at one server is never shown to another."""
    routes = [each.route(name=name) for each, name in zip(servers, ("files-eu", "files-us"), strict=True)]
    asked = proxies(*routes, binding=binding_of(files=BoundToolServer("files-eu")))
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    begun = await asked.ask("initialize", hello, x_tetrad_app="assistant")
    session = {"mcp_session_id": begun.headers["mcp-session-id"], "x_tetrad_app": "assistant"}
    call = {"name": "files__add", "arguments": {"a": 1, "b": 2}}
    assert (await asked.ask("tools/call", call, **session)).said["result"]["content"][0]["text"] == "3"
    asked.bind(binding_of(files=BoundToolServer("files-us")), *routes)
    moved = await asked.ask("tools/call", call, **session)
    assert (moved.status, moved.said["error"]["data"]["code"]) == (404, "session_not_found")


@pytest.mark.parametrize("path", ["/mcp/files", "/mcp"])
async def test_a_name_that_is_bound_to_nothing_never_means_itself(
    servers: tuple[McpServer, McpServer], proxies: Callable[..., Proxy], path: str
) -> None:
    tool = "files__add" if path == "/mcp" else "add"
    call = {"name": tool, "arguments": {"a": 1, "b": 2}, "_meta": META}
    gone = BoundToolServer(problem="it is bound to the MCP server 'x', which is gone")
    route = servers[0].route(name="files")
    asked = proxies(route, binding=binding_of(files=gone))
    reply = await asked.ask("tools/call", call, path=path, x_tetrad_app="assistant")
    assert reply.status == 503
    assert "which is gone" in reply.said["error"]["message"]
    broken = BindingRoute("bindings/production", "sha256:" + "b" * 64, problem="it cannot be read")
    asked.bind(broken, route)
    reply = await asked.ask("tools/call", call, path=path, x_tetrad_app="assistant")
    assert (reply.status, reply.said["error"]["data"]["code"]) == (503, "binding_broken")
    assert (await asked.ask("tools/call", call, path=path)).status == 200, "who names no app is bound by nothing"
    closed = msgspec.structs.replace(route, name="closed", access=(ToolAccess("key", "key_other"),))
    asked.bind(binding_of(files=BoundToolServer("closed")), route, closed)
    reply = await asked.ask("tools/call", call, path=path, x_tetrad_app="assistant")
    assert reply.said["error"]["data"]["code"] in ("tool_server_not_found", "tool_refused")
