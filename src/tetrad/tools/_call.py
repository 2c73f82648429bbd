"""One request to one MCP server: judged, passed on, and its answer let through as far as the rules go."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import msgspec

from tetrad.kernel import NotFound, Overloaded, TetradError
from tetrad.kit.egress import OWN, Reach, parse_egress
from tetrad.kit.upstream import Client, Response, Timeouts, parse_address
from tetrad.serving import Attempt, BoundModel, KeyEntry, ModelEntry, Reply, RequestRefused, ToolServerRoute, Upstream
from tetrad.serving.ports import Answer, ModelCall
from tetrad.tools._exchange import ToolExchange
from tetrad.tools._resources import BY_ADDRESS, COMPLETE, Reference, narrowed, reference_of
from tetrad.tools._rpc import HEADER_MISMATCH, INTERNAL_ERROR, Fields, Message, error_message, read_message, same_id
from tetrad.tools._screen import Screen, patterns_of
from tetrad.tools._sessions import session_label
from tetrad.tools._sse import Event, EventReader
from tetrad.tools.errors import AccessEnded, BadMessage, MethodRefused, ServerBroken, ServerRefused, SessionUnknown

if TYPE_CHECKING:
    from tetrad.tools._proxy import ToolProxy

STREAM_S = 3600.0
"""A stream that a server keeps open for what it says on its own ends after an hour; clients open another."""
MAX_PARAM_HEADERS = 64
JSON = (b"content-type", b"application/json")
EVENTS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_VERSION = re.compile(rb"\d{4}-\d{2}-\d{2}")
_EVENT_ID = re.compile(rb"[\x20-\x7e]{1,1024}")
_ENCODED = re.compile(rb"=\?base64\?(.*)\?=")
LISTEN = "subscriptions/listen"
_GREETINGS = frozenset(("initialize", "server/discover"))
_METHODS = {
    "tools": ("tools/list", "tools/call"),
    "resources": (
        "resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
    ),
    "prompts": ("prompts/list", "prompts/get"),
}  # fmt: skip
_ALWAYS = frozenset((*_GREETINGS, "ping", "logging/setLevel", LISTEN))
_RESOURCES = {
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
}
"""Lists of what has an address: where it stands in the result, and what its address is called."""
MAX_URI = 2048
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.encode


class _CallResult(msgspec.Struct):
    isError: bool = False  # noqa: N815 - as MCP spells it


class _Error(msgspec.Struct):
    code: int = INTERNAL_ERROR
    message: str = ""


_call_result = msgspec.json.Decoder(_CallResult)
_error = msgspec.json.Decoder(_Error)


class Server:
    """A server of one route table, ready to be called."""

    def __init__(self, route: ToolServerRoute, bridge: str) -> None:
        self.route = route
        self.path = ""
        if route.command:
            self.address = parse_address(f"unix://{bridge}#/servers/{route.project}/{route.name}", OWN)
        else:
            path = urlsplit(route.url).path
            self.address = parse_address(route.url, reach_of_server(route))
            self.path = "/" if path.endswith("/") or not path else ""
        self.upstream = Upstream(f"mcp:{route.name}", route.url, provider="mcp")
        self.timeouts = Timeouts(
            route.connect_timeout_s, route.first_byte_timeout_s, route.idle_timeout_s, route.total_timeout_s
        )
        self.stream_timeouts = Timeouts(route.connect_timeout_s, STREAM_S, STREAM_S, STREAM_S)
        self.methods = _ALWAYS.union(*(_METHODS[surface] for surface in route.serves))
        if {"prompts", "resources"} & set(route.serves):
            self.methods |= {COMPLETE}
        self.pool = f"mcp:{route.project}/{route.name}"

    def model(self, tool: str) -> BoundModel:
        """Return the tool as limits know what is called."""
        name = f"mcp:{self.route.name}/{tool}" if tool else f"mcp:{self.route.name}"
        return BoundModel(ModelEntry(name, self.upstream.name, tool), self.upstream, None, _no_model)


def reach_of_server(route: ToolServerRoute) -> Reach:
    """Return how far connections to a server reach."""
    return OWN if route.egress is None else Reach(parse_egress(route.egress), route.internal)


async def _no_model(_call: ModelCall) -> Answer:
    raise TetradError("a tool is no model")


EVERY_SERVER = BoundModel(ModelEntry("mcp:*", "mcp:*", ""), Upstream("mcp:*", "", provider="mcp"), None, _no_model)
"""What a request to several servers counts as in the limits of who makes it."""


class Call:
    """One exchange with one server."""

    def __init__(self, proxy: ToolProxy, exchange: ToolExchange, key: KeyEntry, server: Server) -> None:
        self._proxy = proxy
        self._exchange = exchange
        self._key = key
        self._server = server
        self._session = b""
        self._screen = Screen(
            server.route,
            patterns_of(server.route, key) or (),
            proxy.digests,
            proxy.sightings.drifted(server.route),
        )

    # what clients do

    async def post(self, reply: Reply) -> None:
        """Pass a message on, and its answer back."""
        exchange = self._exchange
        message = read_posted(exchange)
        exchange.identity = message.id
        exchange.rpc = message.method
        self._note_session()
        check_headers(exchange.headers, message)
        if message.kind == "request":
            message = self._traced(self._judge(message))
            await self._limit()
        elif message.method and not message.method.startswith("notifications/"):
            raise BadMessage("what has no id is a notification, and this is none")
        is_listening = message.kind == "request" and message.method == LISTEN
        if is_listening:
            exchange.is_stream = True
            self._take_stream()
        try:
            await self._forward(message, reply, is_listening)
        finally:
            if is_listening:
                self._give_stream()

    async def listen(self, reply: Reply) -> None:
        """Pass on what the server says on its own, until one of them has enough (MCP up to 2025-11-25)."""
        exchange = self._exchange
        exchange.is_stream = True
        self._note_session()
        self._take_stream()
        try:
            resumed = exchange.headers.get(b"last-event-id")
            if resumed is not None and not _EVENT_ID.fullmatch(resumed):
                raise BadMessage("last-event-id has characters that it may not have, or more than 1,024")
            headers = self._headers(b"text/event-stream")
            if resumed is not None:
                headers.append(("last-event-id", resumed.decode("ascii")))
            response = await self._send("GET", headers, b"", stream=True)
            try:
                if response.status != 200:
                    self._refused(response, (405,))
                self._expect_events(response)
                await self._relay(response, reply, None, resumed=resumed is not None)
            finally:
                response.close()
        finally:
            self._give_stream()

    async def end(self, reply: Reply) -> None:
        """End a session."""
        self._note_session()
        if not self._session:
            raise BadMessage("a session is ended by its id", hint="send it in mcp-session-id")
        response = await self._send("DELETE", self._headers(b"application/json"), b"")
        try:
            if response.status in (200, 202, 204):
                self._exchange.status = 204
                self._proxy.done(self._exchange)
                await reply.whole(204, self._proxy.own_headers(self._exchange), b"")
            else:
                self._refused(response, (405,))
        finally:
            self._proxy.finish(response)

    def _take_stream(self) -> None:
        self._proxy.take_stream(self._key)

    def _give_stream(self) -> None:
        self._proxy.give_stream(self._key)

    # judging

    def _note_session(self) -> None:
        exchange, key, headers = self._exchange, self._key, self._exchange.headers
        version = headers.get(b"mcp-protocol-version")
        if version is not None:
            if not _VERSION.fullmatch(version):
                raise BadMessage("mcp-protocol-version is no revision of MCP", hint="such as 2026-07-28")
            exchange.protocol = version.decode("ascii")
        given = headers.get(b"mcp-session-id")
        if given is not None:
            self._open_session(given)
        for name, field in ((b"x-tetrad-session", "session"), (b"x-tetrad-user", "user")):
            if name in headers:
                text = headers[name].decode("utf-8", "replace")
                setattr(exchange, field, "".join(c for c in text if c.isprintable())[:256])
        exchange.unit = exchange.session or exchange.user or key.id

    def _open_session(self, given: bytes) -> None:
        route = self._server.route
        self._session = self._proxy.sessions.unseal(route.project, route.name, self._key.id, given)
        self._exchange.session = session_label(self._key.id, self._session)

    def _judge(self, message: Message) -> Message:
        """Refuse what may not be asked; return a message that asks for no more than may be."""
        exchange, route, params = self._exchange, self._server.route, message.params or {}
        if message.method == "tools/call":
            exchange.tool = message.text("name")[:128]
            exchange.model = f"mcp:{route.name}/{exchange.tool}"
        elif message.method == "prompts/get":
            exchange.prompt = message.text("name")[:128]
        elif message.method == "resources/read":
            exchange.resource = message.text("uri")[:MAX_URI]
        if message.method in _NAMED:
            exchange.input = exchange.arguments = bytes(params.get("arguments", b""))
        if message.method not in self._server.methods:
            raise MethodRefused(
                f"{message.method!r} is not passed on to the MCP server {route.name!r}",
                hint="an administrator opens resources and prompts with `tetrad mcp set --serves`",
            )
        if exchange.tool:
            exchange.digest = self._screen.check_call(message.text("name"))
        elif message.method in BY_ADDRESS:
            self._screen.check_resource(message.text("uri"))
        elif message.method == COMPLETE:
            self._judge_completion(reference_of(message))
        elif message.method == LISTEN:
            return narrowed(message, lambda uris: [uri for uri in uris if self._screen.allows_resource(uri)])
        return message

    def _judge_completion(self, wanted: Reference) -> None:
        surface = "prompts" if wanted.is_prompt else "resources"
        if surface not in self._server.route.serves:
            raise MethodRefused(
                f"completions of {surface} are not passed on to the MCP server {self._server.route.name!r}",
                hint="an administrator opens resources and prompts with `tetrad mcp set --serves`",
            )
        if not wanted.is_prompt:
            self._screen.check_resource(wanted.target)

    def _traced(self, message: Message) -> Message:
        """Let the span of a call hang under the client's, and the server's under that (MCP's `_meta.traceparent`)."""
        exchange = self._exchange
        params = message.params
        if not exchange.is_call or params is None:
            return message
        meta: Fields = {}
        if "_meta" in params:
            with contextlib.suppress(msgspec.MsgspecError, RecursionError):
                meta = _fields.decode(params["_meta"])
            if not meta:
                return message  # what is wrong with it is the server's to say
        if "traceparent" in meta:
            if b"traceparent" not in exchange.headers:
                with contextlib.suppress(msgspec.MsgspecError):
                    exchange.join(_text.decode(meta["traceparent"]))
            meta["traceparent"] = msgspec.Raw(_encode(self._traceparent()))
            return msgspec.structs.replace(message, params={**params, "_meta": msgspec.Raw(_encode(meta))})
        return message

    async def _limit(self) -> None:
        exchange, compiled = self._exchange, self._proxy.compiled()
        if not exchange.tool and compiled.limit is None:
            return
        model = self._server.model(exchange.tool)
        if compiled.limit is not None:
            await compiled.limit(exchange, model, exchange.counts)
        exchange.attempts.append(Attempt(model.entry, model.upstream, b"", self._proxy.clock.now_ns()))

    # to the server

    def _traceparent(self) -> str:
        return f"00-{self._exchange.trace_id}-{self._exchange.span_id}-01"

    def _headers(self, accept: bytes) -> list[tuple[str, str]]:
        exchange = self._exchange
        headers = [("accept", accept.decode("ascii")), ("traceparent", self._traceparent())]
        headers += self._server.route.headers
        if self._session:
            headers.append(("mcp-session-id", self._session.decode("ascii")))
        if exchange.protocol:
            headers.append(("mcp-protocol-version", exchange.protocol))
        return headers

    def _message_headers(self, message: Message) -> list[tuple[str, str]]:
        """Mirror what the message says, from the message; and pass on what only the server can check."""
        given = self._exchange.headers
        headers = [("content-type", "application/json")]
        if b"mcp-method" in given:
            headers.append(("mcp-method", message.method))
        if b"mcp-name" in given:
            headers.append(("mcp-name", given[b"mcp-name"].decode("latin-1")))
        params = [(name, value) for name, value in given.items() if name.startswith(b"mcp-param-")]
        if len(params) > MAX_PARAM_HEADERS:
            raise BadMessage(f"the request has {len(params)} headers mcp-param-*, at most {MAX_PARAM_HEADERS}")
        headers += [(name.decode("latin-1"), value.decode("latin-1")) for name, value in params]
        return headers

    async def _send(
        self, method: str, headers: list[tuple[str, str]], body: bytes, *, stream: bool = False
    ) -> Response:
        server = self._server
        request = Client.prepare(method, server.address, server.path, headers)
        return await self._proxy.client.send(
            request,
            body,
            timeouts=server.stream_timeouts if stream else server.timeouts,
            max_connections=server.route.max_connections,
            pool=server.pool + ("*" if stream else ""),
        )

    async def _forward(self, message: Message, reply: Reply, is_listening: bool) -> None:
        headers = self._headers(b"application/json, text/event-stream") + self._message_headers(message)
        response = await self._send("POST", headers, message.encoded(), stream=is_listening)
        try:
            await self._answer(message, response, reply)
        except BaseException:
            response.close()
            raise
        self._proxy.finish(response)

    # back to the client

    async def _answer(self, message: Message, response: Response, reply: Reply) -> None:
        exchange = self._exchange
        kind = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if message.kind != "request":
            if response.status in (200, 202, 204):
                exchange.status = 202
                self._proxy.done(exchange)
                await reply.whole(202, self._proxy.own_headers(exchange), b"")
                return
            self._refused(response, ())
        if response.status == 200 and kind == b"text/event-stream":
            await self._relay(response, reply, message)
            return
        if kind != b"application/json" or not (response.status == 200 or 400 <= response.status < 500):
            self._refused(response, (405,))
        if response.status in (401, 403):
            raise self._not_let_in(response.status)
        body = await response.read_all(self._proxy.answer_bytes)
        answer = self._read_answer(body, message, response.status)
        if answer is None:
            self._refused(response, (405,))
        headers = self._answer_headers(message, response)
        said = self._screened(answer, message).encoded()
        exchange.status = response.status
        self._proxy.done(exchange)
        await reply.whole(response.status, [JSON, *headers], said)

    def _read_answer(self, body: bytes, message: Message, status: int) -> Message | None:
        """Return the answer to a message; None where a refusal is told by its status alone."""
        try:
            answer = read_message(body)
        except BadMessage as error:
            if status != 200:
                return None
            raise ServerBroken(f"the MCP server's answer is no MCP: {error.message}") from None
        unnamed = bytes(answer.id) == b"null" and bool(bytes(answer.error))
        if answer.kind != "response" or not (same_id(answer.id, message.id) or unnamed):
            raise ServerBroken("the MCP server answered another request than ours")
        return msgspec.structs.replace(answer, id=message.id)

    def _answer_headers(self, message: Message, response: Response) -> list[tuple[bytes, bytes]]:
        headers = self._proxy.own_headers(self._exchange)
        given = response.header(b"mcp-session-id") if message.method == "initialize" else None
        if given is not None:
            route = self._server.route
            sealed = self._proxy.sessions.seal(route.project, route.name, self._key.id, given)
            headers.append((b"mcp-session-id", sealed))
        return headers

    def _screened(self, answer: Message, message: Message | None) -> Message:
        """Return an answer as the client may see it, and note what it was; without its request, go by its form."""
        result, exchange = bytes(answer.result), self._exchange
        if exchange.is_call:
            self._note_outcome(answer)
        if not result:
            return answer
        for method in (message.method,) if message is not None else _looks_like(result):
            if method in _RESOURCES:
                result = self._screen.resources(result, *_RESOURCES[method])
                continue
            if method == "tools/list":
                result, shown = self._screen.listing(result)
            elif method in _GREETINGS:
                result, shown = self._screen.greeting(result)
            else:
                return answer
            self._proxy.sightings.note(self._server.route, shown)
        return msgspec.structs.replace(answer, result=msgspec.Raw(result))

    def _note_outcome(self, answer: Message) -> None:
        exchange = self._exchange
        exchange.output = bytes(answer.result) or bytes(answer.error)
        try:
            if bytes(answer.error):
                told = _error.decode(answer.error)
                exchange.error_type, exchange.error = str(told.code), TetradError(told.message)
            elif _call_result.decode(answer.result).isError:
                exchange.error_type, exchange.tool_failed = "tool_error", True
        except (msgspec.MsgspecError, RecursionError):
            exchange.error_type = "tool_server_broken"

    async def _relay(self, response: Response, reply: Reply, message: Message | None, *, resumed: bool = False) -> None:
        """Pass a stream on, event by event, to its end: the answer to the message, where there is one."""
        exchange, proxy = self._exchange, self._proxy
        headers = self._answer_headers(message, response) if message is not None else proxy.own_headers(exchange)
        exchange.stream, exchange.status = True, 200
        await reply.begin(200, [*EVENTS, *headers])
        reader = EventReader(proxy.answer_bytes)
        can_resume, is_answered = False, False
        if exchange.is_stream:
            proxy.open[response] = exchange, self._server.route
        last = b""
        try:
            while not is_answered:
                piece = await response.read()
                if not piece:
                    break
                said: list[bytes] = []
                for event in reader.feed(piece):
                    can_resume = can_resume or bool(event.id)
                    passed, is_answered = self._event(event, message, resumed=resumed)
                    if passed is not None:
                        said.append(passed.encoded())
                    if is_answered:
                        break
                if is_answered:
                    last = b"".join(said)
                elif said:
                    await reply.write(b"".join(said))
            if message is not None and not is_answered and not exchange.is_stream:
                last = self._unanswered(message, can_resume)
        except TetradError as error:
            response.close()
            if exchange.is_stream and response not in proxy.open:
                why = AccessEnded(
                    "the key of this stream is no more, or may use the server no longer",
                    hint="listen with a key that may; `tetrad mcp show NAME` tells who",
                )
                last = self._broken(message, why, can_resume)
            elif not proxy.draining:
                last = self._broken(message, error, can_resume)
        finally:
            proxy.open.pop(response, None)
        proxy.done(exchange)
        await reply.end(last)

    def _event(self, event: Event, message: Message | None, *, resumed: bool) -> tuple[Event | None, bool]:
        """Return what of an event is passed on, and whether it is the answer."""
        if not event.data:
            return event, False
        if event.name not in (b"", b"message"):
            return None, False
        try:
            said = read_message(event.data)
        except BadMessage as error:
            raise ServerBroken(f"the MCP server sent an event that is no MCP: {error.message}") from None
        if said.kind != "response":
            return msgspec.structs.replace(event, data=said.encoded()), False
        if message is None:
            if not resumed:
                return None, False  # nobody asked on this stream
            return msgspec.structs.replace(event, data=self._screened(said, None).encoded()), False
        unnamed = bytes(said.id) == b"null" and bool(bytes(said.error))
        if not (same_id(said.id, message.id) or unnamed):
            return None, False  # an answer to somebody else
        answer = msgspec.structs.replace(said, id=message.id)
        return msgspec.structs.replace(event, data=self._screened(answer, message).encoded()), True

    def _unanswered(self, message: Message, can_resume: bool) -> bytes:
        if can_resume:  # the client asks for the rest with last-event-id
            self._exchange.unanswered = True
            return b""
        return self._broken(message, ServerBroken("the MCP server ended its stream without an answer"), False)

    def _broken(self, message: Message | None, error: TetradError, can_resume: bool) -> bytes:
        exchange = self._exchange
        exchange.error, exchange.error_type = error, error.code
        if message is None or exchange.is_stream or (can_resume and not isinstance(error, ServerBroken)):
            return b""
        return Event(error_message(error, message.id)).encoded()

    # refusals of the server's

    def _expect_events(self, response: Response) -> None:
        kind = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != b"text/event-stream":
            raise ServerBroken("the MCP server answered a stream with something else")

    def _not_let_in(self, status: int) -> ServerRefused:
        name = self._server.route.name
        return ServerRefused(
            f"the MCP server {name!r} did not let the gateway in: it answered {status}",
            hint=f"check the secrets that `tetrad mcp show {name}` names",
        )

    def _refused(self, response: Response, passed: tuple[int, ...]) -> NoReturn:
        """Tell a refusal that came without words of MCP; the server's own words stay here."""
        status, name = response.status, self._server.route.name
        if status in (401, 403):
            raise self._not_let_in(status)
        if status == 404 and self._session:
            raise SessionUnknown(f"the MCP server {name!r} has ended the session", hint="begin a new one")
        if status == 404:
            raise NotFound(
                f"the MCP server {name!r} knows nothing of what was asked",
                hint="or its address is wrong: `tetrad mcp test` asks it",
                code="tool_server_not_found",
            )
        if 300 <= status < 400:
            raise ServerRefused(
                f"the MCP server {name!r} is somewhere else ({status})", hint="register its real address"
            )
        if status == 429:
            after = response.header(b"retry-after") or b""
            raise Overloaded(
                f"the MCP server {name!r} has too much to do",
                hint="try again later",
                retry_after_s=min(float(after), 3600.0) if after.isdigit() and len(after) < 6 else 5.0,
            )
        if 400 <= status < 500:
            raise RequestRefused(
                f"the MCP server {name!r} refused the request ({status})",
                hint="it may speak another revision of MCP",
                status=status if status in passed or status in (400, 406, 413, 415) else 400,
                code="refused_by_tool_server",
            )
        raise ServerBroken(f"the MCP server {name!r} answered {status} and no MCP", hint="`tetrad mcp test` asks it")


def read_posted(exchange: ToolExchange) -> Message:
    """Return the message that a client posted, and forget its bytes; raises `BadMessage`."""
    kind = exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise BadMessage("a message is application/json", hint="say so in content-type", status=415)
    message = read_message(exchange.body)
    exchange.body = b""
    return message


def check_headers(headers: Mapping[bytes, bytes], message: Message) -> None:
    """Refuse headers that say something else than the body: who reads the one must not be told another thing."""
    method = headers.get(b"mcp-method")
    if method is not None and method.decode("latin-1") != message.method:
        raise BadMessage("mcp-method is not the method of the message", number=HEADER_MISMATCH)
    said = headers.get(b"mcp-name")
    if said is None:
        return
    field = _NAMED.get(message.method)
    if field is None or _decoded(said) != message.text(field):
        raise BadMessage(f"mcp-name is not the params.{field or 'name'} of the message", number=HEADER_MISMATCH)


def _looks_like(result: bytes) -> list[str]:
    """Tell all that a resumed stream may answer, as far as that has to be judged: a server may say several things."""
    try:
        fields = _fields.decode(result)
    except (msgspec.MsgspecError, RecursionError):
        return []
    found = [method for method, (field, _) in _RESOURCES.items() if field in fields]
    if "tools" in fields:
        found.append("tools/list")
    if "capabilities" in fields or "instructions" in fields:
        found.append("initialize")
    return found


def _decoded(said: bytes) -> str | None:
    found = _ENCODED.fullmatch(said)
    if found is None:
        return said.decode("latin-1")
    try:
        return base64.b64decode(found[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
