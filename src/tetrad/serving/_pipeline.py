"""From a request to its answer and its record, whatever the transport."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tetrad.kernel import Clock, TetradError, Unavailable
from tetrad.serving._attempts import Runner
from tetrad.serving._background import settled_release
from tetrad.serving._body import (
    NO_EXTENSION,
    Fields,
    anthropic_user,
    array_field,
    flag_field,
    is_empty_array,
    items_field,
    label,
    read_fields,
    seen,
    take_extension,
    text_field,
    usage_asked,
)
from tetrad.serving._dispatch import Dispatch, Dispatcher, Layer, settle
from tetrad.serving._exchange import Attempt, Exchange, Reply
from tetrad.serving._form import Form, described, read_form
from tetrad.serving._handing import STEP, Holds, LineReply, rendered, settling
from tetrad.serving._model import RouteTable
from tetrad.serving._operations import COMPLETIONS, RESPONSES
from tetrad.serving._prompting import house_compiler
from tetrad.serving._pumping import pumped
from tetrad.serving._routing import BrokenRoute, CompiledTable, Route
from tetrad.serving.errors import RequestRefused, error_body, error_event, identified_error
from tetrad.serving.ports import Answer, ModelCall, PromptCompiler, Provider, Stage

log = logging.getLogger(__name__)

Recorder = Callable[[Exchange], None]
_LABEL = 256
_LABELS = (b"x-tetrad-session", b"x-tetrad-user", b"x-tetrad-unit", b"x-tetrad-code")
_NO_LABELS = frozenset(_LABELS).isdisjoint
_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_JSON = (b"content-type", b"application/json")
_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
PRIORITY_HEADER = b"x-tetrad-priority"
CLIENT_GONE = 499
"""The status of a record whose client left before its answer was whole (as nginx logs it)."""


class AnswerTorn(Exception):
    """An answer without a form for errors broke off in the middle: its connection must be cut, so that it shows."""


class Pipeline:
    """Answer requests by the newest route table.

    `record` is called once per exchange of a known key, before the last byte of its answer is handed to the transport;
    it must be quick and must not raise.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        record: Recorder,
        clock: Clock,
        stages: Sequence[Stage] = (),
        layers: Sequence[Layer] = (),
        compiler: PromptCompiler = house_compiler,
        rng: random.Random | None = None,
        region: str = "",
    ) -> None:
        self._providers = providers
        self._record = record
        self._clock = clock
        self._stages = tuple(stages)
        self._layers = tuple(layers)
        self._dispatcher = Dispatcher(clock, Runner(clock, rng, region=region))
        self._dispatch: Dispatch = self._dispatcher
        self._settling: Dispatch = self._dispatcher
        self._compiler = compiler
        self.table: CompiledTable | None = None

    def install(self, table: RouteTable) -> CompiledTable:
        """Compile a table and route by it from the next request on; requests under way keep theirs."""
        self.table = CompiledTable(table, self._providers, self._stages, self._compiler, self.table, clock=self._clock)
        dispatch: Dispatch = self._dispatcher
        for layer in reversed(self._layers):
            dispatch = layer.bind(table, dispatch)
        self._dispatch = dispatch
        settling: Dispatch = self._dispatcher
        for layer in reversed(self._layers):
            if getattr(layer, "settles", False):
                settling = layer.bind(table, settling)
        self._settling = settling
        return self.table

    def current(self) -> CompiledTable:
        """Return the table in force; raises `Unavailable` before there is one."""
        table = self.table
        if table is None:
            raise Unavailable(
                "the gateway has no route table yet",
                hint="it waits for the control plane; try again in a moment",
                code="no_route_table",
                retry_after_s=1.0,
            )
        return table

    def authenticate(self, exchange: Exchange) -> None:
        """Find out who asks, before anything is read from them; raises `TetradError`."""
        table = self.current()
        exchange.table_version = table.table.version
        exchange.key = table.authenticate(exchange.headers, exchange.start_ns)

    async def serve(self, exchange: Exchange, reply: Reply) -> None:
        """Answer an authenticated exchange whose body is there; raises nothing but `AnswerTorn`.

        Cancelling gives up the upstream call at once and records what there was.
        """
        try:
            key = exchange.key
            if key is not None and key.batch and STEP in exchange.headers:
                given, reply = reply, LineReply(reply, exchange)
                await self._line(exchange, given)
                return
            route, call = self._prepare(exchange)
            await self._forward(exchange, route, call, reply)
        except TetradError as error:
            await self.refuse(exchange, error, reply)
        except asyncio.CancelledError:
            self.abandon(exchange, "client_disconnected")
            raise
        except AnswerTorn:
            raise
        except Exception:
            log.exception("request %s failed inside the gateway", exchange.trace_id)
            await self.refuse(exchange, TetradError("the gateway failed", hint=f"trace {exchange.trace_id}"), reply)

    async def refuse(self, exchange: Exchange, error: TetradError, reply: Reply) -> None:
        """Answer with an error, and record it where the client is known."""
        exchange.error = error
        exchange.error_type = exchange.error_type or error.code
        exchange.status = error.status
        self._done(exchange)
        told = getattr(error, "headers", ())
        if told and any(made.error_type != error.code for made in exchange.attempts):
            told = [each for each in told if each[0] != b"x-should-retry"]  # another target may answer the next try
        headers = [_JSON, *self._own_headers(exchange), *told]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
        await reply.whole(error.status, headers, error_body(error, exchange.operation.dialect, exchange.trace_id))

    def abandon(self, exchange: Exchange, why: str) -> None:
        """Record an exchange whose client cannot be answered any more."""
        if not exchange.recorded:
            exchange.status = CLIENT_GONE
            exchange.error_type = why
            self._done(exchange)

    async def _line(self, exchange: Exchange, reply: Reply) -> None:
        """Do a step of a line of a provider's own batch; see `_handing`."""
        if exchange.headers[STEP] == b"render":
            exchange.recorded = True  # nothing is called
            route, call = self._prepare(exchange)
            body = await rendered(self.current(), exchange, route, call, self._quote)
            await reply.whole(200, [_JSON], body)
            return
        route, call, fields = settling(self.current(), exchange)
        self._note_who(exchange, fields)
        exchange.model = text_field(fields, "model")
        if exchange.release is not None:
            self._match_code(exchange)
        await self._forward(exchange, route, call, LineReply(reply, exchange, settled=True), self._settling)

    def _quote(self, exchange: Exchange, route: Route, call: ModelCall) -> Holds:
        return [
            hold
            for layer in self._layers
            if (quote := getattr(layer, "quote", None)) is not None
            for hold in quote(exchange, route, call)
        ]

    # the way in

    def _prepare(self, exchange: Exchange) -> tuple[Route, ModelCall]:
        key = exchange.key
        if key is None:
            raise TetradError("the exchange was not authenticated")
        operation = exchange.operation
        form: Form | None = None
        if operation.form:
            form, fields = read_form(exchange.body, exchange.headers.get(b"content-type", b""), exchange.deployment)
        else:
            fields = read_fields(exchange.body)
        if exchange.deployment:
            fields["model"] = msgspec.Raw(msgspec.json.encode(exchange.deployment))
        self._note_who(exchange, fields)
        if form is not None:
            exchange.input = described(form, fields)
        exchange.model = text_field(fields, "model")
        try:
            route = self.current().resolve(key, exchange.model, operation.kind, settled_release(exchange))
        except BrokenRoute as broken:  # the record tells whose answer this was to be, and what it was bound by
            exchange.app, exchange.ref, exchange.release = broken.app, broken.ref, broken.release.route
            exchange.binding = broken.binding
            raise
        stream = False
        if operation.streams:
            exchange.stream = stream = flag_field(fields, "stream")
        if route.release is not None:
            exchange.app, exchange.ref, exchange.release = route.app, route.ref, route.release.route
            exchange.binding = route.binding
            self._match_code(exchange)
        unsaid: Fields = {}
        if route.release is not None and operation.prompted:
            exchange.unused, unsaid = route.release.put(operation, fields, exchange.variables)
        elif route.release is not None and operation is COMPLETIONS:
            raise RequestRefused(
                "an app has a prompt of messages, which legacy completions cannot say",
                param="model",
                hint="use /v1/chat/completions or /v1/responses",
                code="operation_not_served",
            )
        elif operation is RESPONSES:
            if is_empty_array(items_field(fields, "input")):
                text_field(fields, "input")
        elif operation.input not in fields and form is None:
            text_field(fields, operation.input)
        headers = exchange.headers
        passed: tuple[tuple[bytes, bytes], ...] = ()
        if operation.passed:
            passed = tuple((name, headers[name]) for name in operation.passed if name in headers)
        asked = stream and operation is not RESPONSES and usage_asked(fields)
        call = ModelCall(operation, fields, stream, asked, passed, _strictness(headers), unsaid, form=form)
        asked_batch = PRIORITY_HEADER in headers and _is_batch(headers[PRIORITY_HEADER])
        if asked_batch or (exchange.key is not None and exchange.key.priority == "low"):
            call = msgspec.structs.replace(call, batch=True)
        return route, call

    @staticmethod
    def _note_who(exchange: Exchange, fields: Fields) -> None:
        headers = exchange.headers
        extension = take_extension(fields)
        if exchange.operation.system:
            array_field(fields, exchange.operation.input)
            exchange.input = seen(fields, exchange.operation)
        elif exchange.operation.input == "messages":
            exchange.input = array_field(fields, "messages")
        else:
            exchange.input = bytes(fields.get(exchange.operation.input, b""))
        unit = ""
        if extension is not NO_EXTENSION:
            exchange.variables = bytes(extension.variables)
            exchange.session, exchange.user = extension.session[:_LABEL], extension.user[:_LABEL]
            unit = extension.unit[:_LABEL]
            exchange.labels = extension
            exchange.cache = extension.cache
        for name in () if _NO_LABELS(headers) else _LABELS:
            if name in headers:
                text = label(headers[name], name.decode())
                if name == b"x-tetrad-session":
                    exchange.session = text or exchange.session
                elif name == b"x-tetrad-user":
                    exchange.user = text or exchange.user
                elif name == b"x-tetrad-unit":
                    unit = text or unit
                else:
                    exchange.code = text
        if not exchange.user and exchange.operation.dialect == "anthropic":
            exchange.user = anthropic_user(fields)[:_LABEL]
        elif not exchange.user and "user" in fields:
            with contextlib.suppress(msgspec.MsgspecError):  # a malformed `user` is the upstream's to refuse
                exchange.user = msgspec.json.decode(fields["user"], type=str)[:_LABEL]
        exchange.unit = unit or exchange.session or exchange.user or (exchange.key.id if exchange.key else "")

    @staticmethod
    def _match_code(exchange: Exchange) -> None:
        wanted = exchange.release.code_digest if exchange.release else ""
        if not exchange.code:
            exchange.code_match = "unannounced" if wanted else ""
        else:
            exchange.code_match = "match" if exchange.code == wanted else "mismatch"

    # the way out

    async def _forward(
        self, exchange: Exchange, route: Route, call: ModelCall, reply: Reply, dispatch: Dispatch | None = None
    ) -> None:
        answer = await (dispatch or self._dispatch)(exchange, route, call)
        attempt = exchange.attempts[-1] if exchange.attempts else None
        try:
            exchange.status = answer.status
            if answer.stream:
                await self._stream(exchange, attempt, answer, reply)
            else:
                body = await answer.read()
                self._settle(exchange, attempt, answer)
                headers = [*answer.headers, *self._own_headers(exchange, attempt, answer)]
                self._done(exchange)
                if answer.status >= 400 and exchange.operation.dialect == "anthropic":
                    body = identified_error(body, _request_id(headers))
                await reply.whole(answer.status, headers, body)
        except TetradError as error:
            if attempt is not None and not attempt.end_ns:
                attempt.error_type, attempt.error_message = error.code, error.message
                self._settle(exchange, attempt, answer)
            raise
        except asyncio.CancelledError:
            if attempt is not None and not attempt.end_ns:
                attempt.error_type = "cancelled"
                self._settle(exchange, attempt, answer)
            raise
        finally:
            answer.close()

    async def _stream(self, exchange: Exchange, attempt: Attempt | None, answer: Answer, reply: Reply) -> None:
        events = not any(name == b"content-type" for name, _ in answer.headers)
        head = _STREAM if events else ()
        await reply.begin(answer.status, [*head, *answer.headers, *self._own_headers(exchange, attempt, answer)])
        try:
            await self._pass_on(exchange, attempt, answer, reply, events=events)
        except AnswerTorn:
            raise
        except Exception as error:  # a fault of ours, and the head is out: another would be read as the stream's words
            log.exception("the stream of request %s failed inside the gateway", exchange.trace_id)
            exchange.error_type = TetradError.code
            self._done(exchange)
            raise AnswerTorn("the gateway failed") from error

    async def _pass_on(
        self, exchange: Exchange, attempt: Attempt | None, answer: Answer, reply: Reply, *, events: bool
    ) -> None:
        try:
            put = getattr(reply, "put", None)
            while True:
                if put is not None:
                    await pumped(answer, put)
                piece = await answer.read()
                if answer.done:
                    break
                await reply.write(piece)
        except TetradError as error:
            # the head is out: the protocol tells an error as an event, and ends the stream without its end marker
            exchange.error, exchange.error_type = error, error.code
            if attempt is not None:
                attempt.error_type, attempt.error_message = error.code, error.message
            if not events:
                self._settle(exchange, attempt, answer)
                self._done(exchange)
                raise AnswerTorn(error.message) from error
            piece = error_event(
                error,
                exchange.operation.dialect,
                number=answer.outcome().events,
                request_id=_request_id(answer.headers) or exchange.trace_id,
            )
        self._settle(exchange, attempt, answer)
        self._done(exchange)
        await reply.end(piece)

    def _settle(self, exchange: Exchange, attempt: Attempt | None, answer: Answer) -> None:
        if attempt is not None:
            settle(exchange, attempt, answer, self._clock.now_ns())

    def _done(self, exchange: Exchange) -> None:
        if exchange.recorded:
            return
        exchange.recorded = True
        exchange.end_ns = self._clock.now_ns()
        for listener in exchange.on_done:
            listener(exchange)
        self._record(exchange)

    def _own_headers(
        self, exchange: Exchange, attempt: Attempt | None = None, answer: Answer | None = None
    ) -> list[tuple[bytes, bytes]]:
        trace = exchange.trace_id.encode()
        headers = [(b"x-tetrad-trace-id", trace)]
        if exchange.operation.dialect != "anthropic":
            headers.append((b"x-request-id", trace))  # what SDKs show as the id of a request
        elif answer is None or not any(name == b"request-id" for name, _ in answer.headers):
            headers.append((b"request-id", trace))
        if exchange.release is not None:
            headers.append((b"x-tetrad-release", exchange.release.digest.encode()))
        if exchange.binding:
            headers.append((b"x-tetrad-binding", exchange.binding.encode()))
        if exchange.route:
            headers.append((b"x-tetrad-route", exchange.route.encode()))
            headers.append((b"x-tetrad-attempts", b"%d" % len(exchange.attempts)))
        elif len(exchange.attempts) > 1:
            headers.append((b"x-tetrad-attempts", b"%d" % len(exchange.attempts)))
        if exchange.unused:
            headers.append((b"x-tetrad-unused-variables", _names(exchange.unused)))
        if answer is not None:
            if answer.dropped:
                headers.append((b"x-tetrad-dropped", _names(answer.dropped)))
            if attempt is not None:
                ours_ns = attempt.start_ns - exchange.ready_ns + self._clock.now_ns() - answer.received_ns
                headers.append((b"x-tetrad-overhead-ms", b"%.3f" % (max(ours_ns, 0) / 1e6)))
        return headers


def _request_id(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Return the id by which clients of Anthropic's know a request; empty where none is told."""
    return next((value.decode("latin-1") for name, value in headers if name == b"request-id"), "")


def _strictness(headers: Mapping[bytes, bytes]) -> bool | None:
    """Return whether nothing may get lost in translation; None where the client leaves that to the provider."""
    said = headers.get(b"x-tetrad-translation")
    if said is None:
        return None
    if said not in (b"strict", b"lossy"):
        raise RequestRefused(
            "the header x-tetrad-translation must be `strict` or `lossy`",
            param="x-tetrad-translation",
            code="bad_field",
        )
    return said == b"strict"


def _is_batch(said: bytes) -> bool:
    if said not in (b"batch", b"interactive"):
        raise RequestRefused(
            "the header x-tetrad-priority names no priority", param="x-tetrad-priority", hint="interactive or batch"
        )
    return said == b"batch"


def _names(given: tuple[str, ...]) -> bytes:
    """Name fields or variables, in a header's alphabet and bounded: clients choose these names."""
    shown = [name for name in given[:16] if _NAME.fullmatch(name)]
    more = len(given) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])]).encode()
