"""Upstreams that speak the OpenAI protocol: OpenAI, most other providers, vLLM, SGLang, llama.cpp."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tetrad.adapters.providers._answers import (
    MAX_ERROR,
    Collected,
    CredentialRefused,
    Drainer,
    EventStream,
    Whole,
    covered,
    passed,
)
from tetrad.adapters.providers._media import KINDS, PassedStream, comes_as_it_is, read_outcome, request_of
from tetrad.adapters.providers._openai_wire import (
    StreamReader,
    end_of_stream,
    read_completion,
    read_error,
    without_usage_events,
)
from tetrad.adapters.providers._responses_wire import ResponsesReader, end_of_response, read_response
from tetrad.kernel import UNREADABLE, Clock, InvalidInput, TetradError
from tetrad.kit.upstream import (
    BrokenAnswer,
    Client,
    PreparedRequest,
    Response,
    Timeouts,
    UpstreamFailure,
    parse_address,
)
from tetrad.serving import OPERATIONS, RESPONSES, Upstream, error_body, reach_of, translated, usage_of_chat
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
_PASSED = frozenset((b"retry-after", b"retry-after-ms", b"x-should-retry"))
_NOTED = _PASSED | {b"content-type", b"content-encoding"}
_CALLERS_FAULT = ("Failed to parse messages:", "Failed to parse tools:")
"""How llama.cpp's server begins what it says of a malformed request; it says so with 500, and clients try again."""


class OpenAIProvider:
    """Calls over one pooled client.

    Of a stream's events at most `keep_bytes` are kept for the record; an answer that is no stream may have at most
    `answer_bytes`.
    """

    def __init__(
        self, client: Client, clock: Clock, *, keep_bytes: int = 1024 * 1024, answer_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self.client = client
        self.clock = clock
        self.keep_bytes = keep_bytes
        self.answer_bytes = answer_bytes
        self.drainer = Drainer()

    def endpoint(self, upstream: Upstream) -> OpenAIEndpoint:
        """Prepare request heads for an upstream."""
        return OpenAIEndpoint(self, upstream)

    async def close(self) -> None:
        """End all connections."""
        self.drainer.close()
        await self.client.close()


class OpenAIEndpoint:
    """One upstream, its request heads encoded once."""

    def __init__(self, provider: OpenAIProvider, upstream: Upstream) -> None:
        headers = [("content-type", "application/json"), *upstream.headers]
        if upstream.secret:
            headers.append(("authorization", f"Bearer {upstream.secret}"))
        address = parse_address(upstream.base_url, reach_of(upstream))
        self._origin = str(address.origin)
        try:
            self._requests: dict[str, PreparedRequest] = {
                name: provider.client.prepare("POST", address, path, headers)
                for name, path in _PATHS.items()
                if name in upstream.operations
            }
            for operation in _MEDIA:
                given = headers[1:] if operation.form else headers  # a form's content type names its boundary
                path = operation.path.removeprefix("/v1")
                self._requests[operation.name] = provider.client.prepare("POST", address, path, given)
        except InvalidInput as error:
            raise covered(error, upstream.secret) from None
        self._provider = provider
        self._upstream = upstream
        self._secret = upstream.secret.encode()
        self._max_connections = upstream.max_connections
        self._timeouts = Timeouts(
            connect_s=upstream.connect_timeout_s,
            first_byte_s=upstream.first_byte_timeout_s,
            idle_s=upstream.idle_timeout_s,
            total_s=upstream.total_timeout_s,
        )

    async def call(self, call: ModelCall) -> Answer:
        """Send a call; see `tetrad.serving.ports.Endpoint`."""
        request = self._requests.get(call.operation.name)
        if request is None:
            return await translated(call, self._requests, self._upstream, self.call)
        if call.operation.kind in KINDS:
            request, body = request_of(request, call)
        else:
            fields = call.fields
            if call.stream and not call.usage_asked and call.operation is not RESPONSES:
                fields = {**fields, "stream_options": _with_usage(fields.get("stream_options"))}
            body = _encode(fields)
        try:
            response = await self._provider.client.send(
                request,
                body,
                timeouts=self._timeouts,
                max_connections=self._max_connections,
                pool=self._upstream.name,
            )
        except UpstreamFailure as error:
            # where an upstream answers (a port, a socket in the home, a host of the inner network) is not for clients
            error.message = error.message.replace(self._origin, f"the upstream {self._upstream.name!r}")
            raise
        try:
            if response.complete and response.status == 200:  # the usual answer comes in one piece with its head
                answer = self._at_once(call, response)
                if answer is not None:
                    return answer
            return await self._answer(call, response)
        except BaseException:
            response.close()
            raise

    def _at_once(self, call: ModelCall, response: Response) -> Answer | None:
        """Return a good answer that is there as a whole; None where it takes a longer look."""
        outcome_of = _OUTCOMES.get(call.operation.name)
        if outcome_of is None or response.buffered > self._provider.answer_bytes:
            return None
        noted = [each for each in response.headers if each[0] in _NOTED]
        if len(noted) != 1 or noted[0][0] != b"content-type" or noted[0][1].startswith(b"text/event-stream"):
            return None
        return self._whole(call, self._uncover(response.at_hand()), outcome_of, [])

    async def _answer(self, call: ModelCall, response: Response) -> Answer:
        name = self._upstream.name
        if (response.header(b"content-encoding") or b"identity") != b"identity":
            raise BrokenAnswer(f"the upstream {name!r} compresses its answer, which nobody asked for")
        status = response.status
        if status >= 400:
            return await self._refusal(response)
        if status >= 300:
            raise BrokenAnswer(f"the upstream {name!r} redirects ({status})", hint="correct its base URL")
        if call.operation.kind in KINDS:
            return await self._media_answer(call, response)
        if (response.header(b"content-type") or b"").startswith(b"text/event-stream"):
            if call.operation is RESPONSES:
                return _ResponsesStream(self._provider, response, tuple(call.unsaid))
            return _Stream(self._provider, response, strip=not call.usage_asked)
        body = self._uncover(await response.read_all(self._provider.answer_bytes))
        return self._whole(call, body, _OUTCOMES[call.operation.name], passed(response, _PASSED), status)

    def _whole(
        self,
        call: ModelCall,
        body: bytes,
        outcome_of: Callable[[bytes], Outcome],
        headers: list[tuple[bytes, bytes]],
        status: int = 200,
    ) -> Whole:
        received_ns = self._provider.clock.now_ns()
        try:
            outcome = outcome_of(body)
        except UNREADABLE as error:
            raise BrokenAnswer(
                f"the upstream {self._upstream.name!r} answered {status} with what is no {call.operation.name} answer: "
                f"{error}",
                hint="check that its base URL is that of an OpenAI-compatible API",
            ) from None
        return Whole(status, body, outcome, received_ns, headers, tuple(call.unsaid) if call.unsaid else ())

    async def _media_answer(self, call: ModelCall, response: Response) -> Answer:
        provider, name = self._provider, self._upstream.name
        if comes_as_it_is(call, response):
            return PassedStream(response, provider.clock, name, provider.answer_bytes)
        content_type = response.header(b"content-type") or b"application/json"
        body = self._uncover(await response.read_all(provider.answer_bytes))
        received_ns = provider.clock.now_ns()
        try:
            outcome = read_outcome(call, body, content_type)
        except UNREADABLE as error:
            raise BrokenAnswer(
                f"the upstream {name!r} answered {response.status} with what is no {call.operation.name} answer: "
                f"{error}",
                hint="check that its base URL is that of an OpenAI-compatible API",
            ) from None
        return Whole(response.status, body, outcome, received_ns, passed(response, _PASSED), content_type=content_type)

    async def _refusal(self, response: Response) -> Answer:
        status, name = response.status, self._upstream.name
        body = self._uncover(await response.read_all(MAX_ERROR))
        if status in (401, 403):
            # the body of such an answer quotes the key, and 401 would tell the client that its own key is wrong
            raise CredentialRefused(
                f"the upstream {name!r} refused this gateway's credential ({status})",
                hint="an administrator must check the provider's secret",
            )
        said = read_error(body)
        if said is None:
            text = body[:500].decode("utf-8", "replace").strip()
            code, message = "upstream_error", f"the upstream {name!r} answered {status}: {text or 'nothing'}"
            body = error_body(TetradError(message, code=code, status=status))
        else:
            code, message = said
            if status == 500 and message.startswith(_CALLERS_FAULT):
                status, code = 400, "bad_field"
                body = error_body(InvalidInput(message, code=code, status=status))
        outcome = Outcome(error_type=code or f"http_{status}", error_message=message)
        return Whole(status, body, outcome, self._provider.clock.now_ns(), passed(response, _PASSED))

    def _uncover(self, body: bytes) -> bytes:
        """Never hand our secret to a client, even if the upstream echoes it."""
        return body.replace(self._secret, b"[secret]") if self._secret and self._secret in body else body


class _Stream(EventStream):
    """The usage event which we asked for, and the client did not, is taken out."""

    def __init__(self, provider: OpenAIProvider, response: Response, *, strip: bool) -> None:
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

    def __init__(self, provider: OpenAIProvider, response: Response, dropped: tuple[str, ...]) -> None:
        super().__init__(response, clock=provider.clock, drainer=provider.drainer, keep_bytes=provider.keep_bytes)
        self.dropped = dropped

    def _end(self, events: bytes) -> int | None:
        return end_of_response(events)

    def _reader(self) -> Collected:
        return ResponsesReader()


def _completion_outcome(body: bytes) -> Outcome:
    completion = read_completion(body)
    return Outcome(
        usage_of_chat(completion.usage),
        completion.model or "",
        completion.id or "",
        completion.finish_reasons,
        completion.messages,
    )


def _embeddings_outcome(body: bytes) -> Outcome:
    answer = read_completion(body)
    return Outcome(
        usage=usage_of_chat(answer.usage),
        response_model=answer.model or "",
        response_id=answer.id or "",
        attributes={"embeddings.count": str(len(answer.data))},
    )


_OUTCOMES: dict[str, Callable[[bytes], Outcome]] = {
    "chat": _completion_outcome,
    "completions": _completion_outcome,
    "embeddings": _embeddings_outcome,
    "responses": read_response,
}


def _with_usage(raw: msgspec.Raw | None) -> msgspec.Raw:
    options: dict[str, msgspec.Raw] = {}
    if raw is not None:
        options = msgspec.json.decode(raw, type=dict[str, msgspec.Raw] | None) or {}
    options["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(options))
