"""Upstreams that speak the OpenAI protocol: OpenAI, most other providers, vLLM, SGLang, llama.cpp."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tetrad.adapters.providers._answers import Collected, Coming, EventStream, Retold, Whole, passed
from tetrad.adapters.providers._aws_stream import CONTENT_TYPE
from tetrad.adapters.providers._endpoint import (
    Head,
    PooledEndpoint,
    PooledProvider,
    model_of,
    names_in,
    refuse_losses,
)
from tetrad.adapters.providers._login import AZURE_MACHINE, Login, fixed_login
from tetrad.adapters.providers._media import KINDS, PassedStream, asked_units, comes_as_it_is, read_outcome, request_of
from tetrad.adapters.providers._openai_wire import (
    StreamReader,
    end_of_stream,
    read_completion,
    read_error,
    without_usage_events,
)
from tetrad.adapters.providers._responses_wire import (
    FOREIGN,
    ResponsesReader,
    end_of_response,
    numbered,
    own_reasoning,
    read_response,
)
from tetrad.kernel import UNREADABLE, InvalidInput
from tetrad.kit.upstream import BrokenAnswer, Response
from tetrad.serving import (
    CHAT,
    OPERATIONS,
    RESPONSES,
    Upstream,
    error_body,
    stream_of,
    translated,
    units_of_chat,
    usage_of_chat,
)
from tetrad.serving.ports import Answer, ModelCall, Outcome

_encode = msgspec.json.Encoder().encode
_PATHS: dict[str, str] = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "completions": "/completions",
    "embeddings": "/embeddings",
}
"""Where upstreams of this protocol answer an operation, by its name."""
_MEDIA = tuple(operation for operation in OPERATIONS if operation.kind in KINDS)
_STREAMS = (b"text/event-stream", CONTENT_TYPE)
_CALLERS_FAULT = ("Failed to parse messages:", "Failed to parse tools:")
"""How llama.cpp's server begins what it says of a malformed request; it says so with 500, and clients try again."""


class OpenAIProvider(PooledProvider):
    """Upstreams whose paths are OpenAI's; their key is sent as a bearer token unless they say otherwise."""

    def endpoint(self, upstream: Upstream) -> OpenAIEndpoint:
        if upstream.auth == AZURE_MACHINE:
            from tetrad.adapters.providers._token_identity import azure_machine

            return OpenAIEndpoint(self, upstream, azure_machine(upstream, self.logins, self.client, self.clock))
        return OpenAIEndpoint(self, upstream, fixed_login(upstream, upstream.auth or "bearer"))


class OpenAIEndpoint(PooledEndpoint):
    """One upstream, its request heads encoded once."""

    def __init__(self, provider: PooledProvider, upstream: Upstream, login: Login) -> None:
        super().__init__(provider, upstream, login)
        self._paths = {name: path for name, path in _PATHS.items() if name in upstream.operations}
        self._paths |= {operation.name: operation.path.removeprefix("/v1") for operation in _MEDIA}
        self._forms = {operation.name for operation in _MEDIA if operation.form}
        self._requests: dict[str, Head] = (
            {} if self.by_model else {name: self._prepared(name, "") for name in self._paths}
        )

    by_model = False
    """Whether the path names the model."""

    def _path(self, operation: str, model: str) -> str:  # noqa: ARG002 - others name it
        return self._paths[operation]

    def _prepared(self, operation: str, model: str) -> Head:
        # a form's content type names its boundary
        return self._head(self._path(operation, model), *(((),) if operation in self._forms else ()))

    def _streamed(self, call: ModelCall, head: Head) -> Head:  # noqa: ARG002 - others stream elsewhere
        return head

    async def call(self, call: ModelCall) -> Answer:
        """Send a call; see `tetrad.serving.ports.Endpoint`."""
        name = call.operation.name
        if name not in self._paths:
            return await translated(call, self._paths, self._upstream, self.call)
        head = self._prepared(name, model_of(call)) if self.by_model else self._requests[name]
        if call.operation.kind in KINDS:
            more, body = request_of(call)
        else:
            if call.operation is RESPONSES:
                if FOREIGN.search(call.fields.get("input", b"")) is not None:
                    call = own_reasoning(call)
                if call.unsaid:
                    refuse_losses(call.unsaid, call, self._upstream)
            fields, more = call.fields, b""
            if call.stream and not call.usage_asked and call.operation is not RESPONSES:
                fields = {**fields, "stream_options": _with_usage(fields.get("stream_options"))}
            body = _encode(fields)
        response = await self._send(self._streamed(call, head), body, more)
        try:
            if response.complete and response.status == 200:  # the usual answer comes in one piece with its head
                answer = self._at_once(call, response)
                if answer is not None:
                    return answer
            return await self._answer(call, response)
        except BaseException:
            response.close()
            raise

    async def models(self) -> tuple[str, ...]:
        """Return the names of the models that the upstream lists."""
        return names_in(await self._listed("/models"), "data", "id")

    def _at_once(self, call: ModelCall, response: Response) -> Answer | None:
        """Return a good answer that is there as a whole; None where it takes a longer look."""
        outcome_of = OUTCOMES.get(call.operation.name)
        if outcome_of is None or response.buffered > self._provider.answer_bytes:
            return None
        glimpsed = response.glimpsed
        if glimpsed is None or glimpsed.noted:
            return None
        content_type = response.header(b"content-type")
        if content_type is None or content_type.startswith(_STREAMS):
            return None
        return self._whole(call, response, self._uncovered(response.at_hand()), outcome_of, [])

    async def _answer(self, call: ModelCall, response: Response) -> Answer:
        refusal = await self._refused(response)
        if refusal is not None:
            return refusal
        if call.operation.kind in KINDS:
            return await self._media_answer(call, response)
        if (response.header(b"content-type") or b"").startswith(b"text/event-stream"):
            return self._stream(call, response)
        if (response.header(b"content-type") or b"").startswith(CONTENT_TYPE):
            return self._framed_stream(call, response)
        body = self._uncovered(await response.read_all(self._provider.answer_bytes))
        headers = passed(response, self.passed)
        return self._whole(call, response, body, OUTCOMES[call.operation.name], headers)

    def _whole(
        self,
        call: ModelCall,
        response: Response,
        body: bytes,
        outcome_of: Callable[[bytes], Outcome],
        headers: list[tuple[bytes, bytes]],
    ) -> Whole:
        received_ns = self._provider.clock.now_ns()
        try:
            outcome = outcome_of(body)
        except UNREADABLE as error:
            return self._hidden(call, body, response, error)
        whole = Whole(response.status, body, outcome, received_ns, headers, tuple(call.unsaid) if call.unsaid else ())
        if call.stream and call.operation is CHAT and (events := stream_of(body)) is not None:
            # some servers answer whole whatever they are asked; a client of streams would see nothing at all
            return Retold(whole, events if call.usage_asked else without_usage_events(events))
        return whole

    def _stream(self, call: ModelCall, response: Coming) -> Answer:
        if call.operation is RESPONSES:
            return self._covering(_ResponsesStream(self._provider, response, tuple(call.unsaid)))
        return self._covering(ChatStream(self._provider, response, strip=not call.usage_asked))

    def _framed_stream(self, call: ModelCall, response: Response) -> Answer:  # noqa: ARG002 - others read it
        raise BrokenAnswer(
            f"the upstream {self._upstream.name!r} answers in an event stream of Amazon's", hint=self.hint
        )

    async def _media_answer(self, call: ModelCall, response: Response) -> Answer:
        provider, name = self._provider, self._upstream.name
        if comes_as_it_is(call, response):
            return PassedStream(response, provider.clock, name, provider.answer_bytes, asked_units(call))
        content_type = response.header(b"content-type") or b"application/json"
        body = self._uncovered(await response.read_all(provider.answer_bytes))
        received_ns = provider.clock.now_ns()
        try:
            outcome = read_outcome(call, body, content_type)
            if b'"error"' in body and self._read_error(body, response) is not None:
                raise msgspec.ValidationError("it tells an error")
        except UNREADABLE as error:
            return self._hidden(call, body, response, error)
        headers = passed(response, self.passed)
        return Whole(response.status, body, outcome, received_ns, headers, content_type=content_type)

    def _read_error(self, body: bytes, response: Response) -> tuple[str, str] | None:  # noqa: ARG002 - others look
        return read_error(body)

    def _corrected(self, status: int, code: str, message: str, body: bytes) -> tuple[int, str, bytes]:
        if status == 500 and message.startswith(_CALLERS_FAULT):
            return (
                400,
                "bad_field",
                error_body(
                    InvalidInput(message, hint="correct it before you send it again", code="bad_field", status=400)
                ),
            )
        return status, code, body


class ChatStream(EventStream):
    """The usage event which we asked for, and the client did not, is taken out."""

    def __init__(self, provider: PooledProvider, response: Coming, *, strip: bool) -> None:
        super().__init__(response, clock=provider.clock, drainer=provider.drainer, keep_bytes=provider.keep_bytes)
        self._strip = strip

    def _end(self, events: bytes) -> int | None:
        return end_of_stream(events)

    def _shown(self, events: bytes) -> bytes:
        return without_usage_events(events) if self._strip else events

    def _reader(self) -> Collected:
        return StreamReader()


class _ResponsesStream(EventStream):
    """The events of a response; the last of them says everything again."""

    def __init__(self, provider: PooledProvider, response: Coming, dropped: tuple[str, ...]) -> None:
        super().__init__(response, clock=provider.clock, drainer=provider.drainer, keep_bytes=provider.keep_bytes)
        self.dropped = dropped

    def _end(self, events: bytes) -> int | None:
        return end_of_response(events)

    def _shown(self, events: bytes) -> bytes:
        return numbered(events, self._next) if self.done else events

    def _next(self) -> int:
        return max(self.outcome().events - 1, 0)  # the error itself is read by now

    def _reader(self) -> Collected:
        return ResponsesReader()


def _completion_outcome(body: bytes) -> Outcome:
    completion = read_completion(body)
    if not completion.choices and not bytes(completion.usage):
        raise msgspec.ValidationError("it has no choices")
    units = units_of_chat(completion.usage)
    return Outcome(
        usage_of_chat(completion.usage),
        completion.model or "",
        completion.id or "",
        completion.finish_reasons,
        completion.messages,
        priced=not units,
        units=units,
    )


def _embeddings_outcome(body: bytes) -> Outcome:
    answer = read_completion(body)
    if not answer.data and not bytes(answer.usage):
        raise msgspec.ValidationError("it has no data")
    return Outcome(
        usage=usage_of_chat(answer.usage),
        response_model=answer.model or "",
        response_id=answer.id or "",
        attributes={"embeddings.count": str(len(answer.data))},
    )


OUTCOMES: dict[str, Callable[[bytes], Outcome]] = {
    "chat": _completion_outcome,
    "completions": _completion_outcome,
    "embeddings": _embeddings_outcome,
    "responses": read_response,
    "mistral": _completion_outcome,
}


def _with_usage(raw: msgspec.Raw | None) -> msgspec.Raw:
    options: dict[str, msgspec.Raw] = {}
    if raw is not None:
        options = msgspec.json.decode(raw, type=dict[str, msgspec.Raw] | None) or {}
    options["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(options))
