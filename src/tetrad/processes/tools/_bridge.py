"""Streamable HTTP (MCP 2025-11-25) before programs that speak MCP over stdio: one process a session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import msgspec

from tetrad.kernel import Forbidden, NotFound, Overloaded, TetradError, TooLarge, Unavailable
from tetrad.kit.children import Again, RestartPolicy, after_exit
from tetrad.processes.tools._session import StdioSession, Waiting
from tetrad.serving import RouteTable, ToolServerRoute
from tetrad.tools import BadMessage, Event, Message, command_digest, error_message, may_run, read_message

log = logging.getLogger(__name__)

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
UNSUPPORTED_VERSION = -32022
KEEP_ALIVE_S = 15.0
SPEC_HEADER = b"x-tetrad-spec"
_TABLE_WAIT_S = 5.0
_SWEEP_S = 1.0
_POLICY = RestartPolicy(first_s=0.5, longest_s=30.0, stable_s=10.0, give_up_after=0)
_PREFIX = "/servers/"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Server:
    """A server of the route table, and its sessions."""

    def __init__(self, route: ToolServerRoute) -> None:
        self.route = route
        self.sessions: dict[str, StdioSession] = {}
        self.failures = 0
        self.not_before = 0.0


class Bridge:
    """An ASGI application at `/servers/PROJECT/NAME`, for the gateways and control of this machine only.

    `commands` is the setting that lists what may be run; it is checked here, whatever the route table says.
    """

    def __init__(
        self, *, commands: str, most_sessions: int, idle_s: float, call_s: float, line_bytes: int, logs: Path
    ) -> None:
        self._commands = commands
        self._most_sessions = most_sessions
        self._idle_s = idle_s
        self._call_s = call_s
        self._line_bytes = line_bytes
        self._logs = logs
        self._servers: dict[str, _Server] = {}
        self._changed = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()

    def install(self, table: RouteTable) -> None:
        """Go by a new route table; sessions of programs that are no longer in it, or run otherwise now, are ended."""
        before, self._servers = self._servers, {}
        for path, route in table.tool_servers.items():
            if not route.command or route.problem:
                continue
            known = before.get(path)
            if known is not None and (known.route.command, known.route.env) == (route.command, route.env):
                known.route = route
                self._servers[path] = before.pop(path)
            else:
                self._servers[path] = _Server(route)
        for server in before.values():
            for session in list(server.sessions.values()):
                self._end(session, "the server was removed or changed")
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def sweep(self) -> None:
        """End sessions that nobody uses, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_SWEEP_S, self._idle_s))
            for server in self._servers.values():
                for session in list(server.sessions.values()):
                    if not session.busy and loop.time() - session.used_at > self._idle_s:
                        self._end(session, "it was idle")

    async def close(self) -> None:
        """End all programs."""
        for server in self._servers.values():
            for session in list(server.sessions.values()):
                self._end(session, "the process ends")
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _end(self, session: StdioSession, why: str) -> None:
        task = asyncio.get_running_loop().create_task(session.end(why))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # HTTP

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/healthz":
            await _whole(send, 200, b'{"status":"ok"}')
            return
        message: Message | None = None
        headers = dict(scope["headers"])
        try:
            if not scope["path"].startswith(_PREFIX):
                raise NotFound("there is nothing here")
            server = await self._server(scope["path"].removeprefix(_PREFIX), headers.get(SPEC_HEADER))
            if scope["method"] == "POST":
                message = read_message(await self._body(receive))
                await self._post(server, message, headers, receive, send)
            elif scope["method"] == "GET":
                await self._listen(self._session(server, headers), receive, send)
            elif scope["method"] == "DELETE":
                self._end(self._session(server, headers), "the client ended the session")
                await _whole(send, 204, b"")
            else:
                raise BadMessage(f"{scope['method']} is not served", status=405)
        except TetradError as error:
            await _whole(send, error.status, error_message(error, message.id if message is not None else None))

    async def _server(self, path: str, wanted: bytes | None) -> _Server:
        """Return a server; what is not in the table yet, or not as it is wanted, is waited for a little."""
        deadline = asyncio.get_running_loop().time() + _TABLE_WAIT_S
        while True:
            server = self._servers.get(path)
            fits = server is not None and (wanted is None or command_digest(server.route).encode() == wanted)
            if server is not None and fits:
                break
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                raise Unavailable(f"there is no program for {path[:140]!r} yet", retry_after_s=2.0) from None
        if not may_run(server.route.command, self._commands):
            raise Forbidden(
                f"the program {server.route.command[0]!r} may not be run", hint="list it in TETRAD_MCP_COMMANDS"
            )
        return server

    async def _body(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            event = await receive()
            body += event.get("body", b"")
            if len(body) > self._line_bytes:
                raise TooLarge(f"the message has more than {self._line_bytes:,} bytes")
            if event["type"] == "http.disconnect" or not event.get("more_body"):
                return bytes(body)

    @staticmethod
    def _session(server: _Server, headers: dict[bytes, bytes]) -> StdioSession:
        session = server.sessions.get(headers.get(b"mcp-session-id", b"").decode("latin-1"))
        if session is None or session.ended:
            raise NotFound("there is no such session", hint="begin a new one", code="session_not_found")
        return session

    async def _post(
        self, server: _Server, message: Message, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        if message.method == "initialize" and message.kind == "request":
            identity, session = await self._begin(server)
            await self._ask(session, message, receive, send, identity.encode())
            return
        if b"mcp-session-id" not in headers:
            await _whole(send, 400, _speak_older(message))
            return
        session = self._session(server, headers)
        if message.kind == "request":
            await self._ask(session, message, receive, send, b"")
        else:
            async with self._patience(session):
                await session.tell(message)
            await _whole(send, 202, b"")

    async def _begin(self, server: _Server) -> tuple[str, StdioSession]:
        loop, route = asyncio.get_running_loop(), server.route
        if len(server.sessions) >= self._most_sessions:
            raise Overloaded(
                f"the MCP server {route.name!r} has {self._most_sessions} sessions",
                hint="end some, or raise TETRAD_MCP_SESSIONS",
                retry_after_s=5.0,
            )
        if loop.time() < server.not_before:
            raise Unavailable(
                f"the program of the MCP server {route.name!r} ends as soon as it is started",
                hint=f"logs/mcp-{route.project}-{route.name}.log in the home folder tells more",
                retry_after_s=server.not_before - loop.time(),
                code="tool_server_ended",
            )
        identity, began = secrets.token_urlsafe(18), loop.time()

        def ended(session: StdioSession) -> None:
            server.sessions.pop(identity, None)
            ran_s = loop.time() - began
            if session.wanted:
                return
            log.warning("a session of the MCP server %r ended after %.1f s: %s", route.name, ran_s, session.ended)
            step = after_exit(_POLICY, failures=server.failures, ran_s=ran_s, reason=session.ended, code=None)
            if isinstance(step, Again):
                server.failures = step.failures
                server.not_before = loop.time() + (step.delay_s if ran_s < _POLICY.stable_s else 0.0)

        session = await StdioSession.start(
            route.command,
            dict(route.env),
            name=route.name,
            log_path=self._logs / f"mcp-{route.project}-{route.name}.log",
            redact=tuple(value for _, value in route.env if len(value) >= 8),
            line_bytes=self._line_bytes,
            on_end=ended,
        )
        server.sessions[identity] = session
        return identity, session

    @contextlib.asynccontextmanager
    async def _patience(self, session: StdioSession) -> AsyncIterator[None]:
        """Wait for a program to read what it is sent, and end one that does not."""
        try:
            async with asyncio.timeout(self._call_s):
                yield
        except TimeoutError:
            why = f"it did not read a message within {self._call_s:g} s"
            self._end(session, why)
            raise Unavailable(f"the program of the MCP server hangs: {why}", code="tool_server_ended") from None

    async def _ask(
        self, session: StdioSession, message: Message, receive: Receive, send: Send, identity: bytes
    ) -> None:
        extra = [(b"mcp-session-id", identity)] if identity else []
        async with self._patience(session):
            waiting = await session.ask(message, _token(message))
        gone = asyncio.create_task(_left(receive))
        begun = False
        deadline = asyncio.get_running_loop().time() + self._call_s
        try:
            while True:
                try:
                    async with asyncio.timeout_at(min(deadline, asyncio.get_running_loop().time() + KEEP_ALIVE_S)):
                        said = await _next(waiting, gone)
                except TimeoutError:
                    if asyncio.get_running_loop().time() >= deadline:
                        deadline = float("inf")
                        self._end(session, f"it did not answer within {self._call_s:g} s")
                    elif begun:
                        await _piece(send, b":\n\n")
                    continue
                if said is None:
                    return
                is_answer = said.kind == "response"
                if is_answer and not begun:
                    if identity and bytes(said.error):
                        self._end(session, "it did not accept the session")
                    await _whole(send, 200, said.encoded(), extra)
                    return
                if not begun:
                    begun = True
                    await _begin_events(send, extra)
                await _piece(send, Event(said.encoded()).encoded(), more=not is_answer)
                if is_answer:
                    return
        finally:
            gone.cancel()
            session.forget(waiting)

    async def _listen(self, session: StdioSession, receive: Receive, send: Send) -> None:
        waiting = session.listen()
        gone = asyncio.create_task(_left(receive))
        try:
            await _begin_events(send, [])
            await _piece(send, b":\n\n")
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        said = await _next(waiting, gone)
                except TimeoutError:
                    await _piece(send, b":\n\n")
                    continue
                if said is None:
                    break
                await _piece(send, Event(said.encoded()).encoded())
            if not gone.done():
                await _piece(send, b"", more=False)
        finally:
            gone.cancel()
            session.forget(waiting)


def _token(message: Message) -> bytes:
    try:
        return bytes(_fields.decode((message.params or {})["_meta"]).get("progressToken", b""))
    except (KeyError, msgspec.MsgspecError, RecursionError):
        return b""


def _speak_older(message: Message) -> bytes:
    """Tell a client of a newer revision which ones these programs are spoken to in: it begins a session then."""
    error = {
        "code": UNSUPPORTED_VERSION,
        "message": "programs are spoken to in sessions, which begin with `initialize`",
        "data": {"supported": VERSIONS, "requested": ""},
    }
    known = message.id if bytes(message.id) else None
    return msgspec.json.encode({"jsonrpc": "2.0", "id": known, "error": error})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _next(waiting: Waiting, gone: asyncio.Task[None]) -> Message | None:
    """Return the next message; None at the end, and where the client left."""
    if not waiting.messages.empty():
        return waiting.messages.get_nowait()
    getting = asyncio.ensure_future(waiting.messages.get())
    try:
        await asyncio.wait({getting, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not getting.done():
            getting.cancel()
    return getting.result() if getting.done() and not getting.cancelled() else None


async def _whole(send: Send, status: int, body: bytes, extra: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", b"application/json"), *(extra or [])]
    if status not in (204, 202):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _begin_events(send: Send, extra: list[tuple[bytes, bytes]]) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), *extra]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _piece(send: Send, piece: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": more})
