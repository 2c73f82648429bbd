"""Upstreams that speak Anthropic's Messages: Anthropic, and servers that follow its protocol."""

from __future__ import annotations

import msgspec

from tetrad.adapters.providers._answers import (
    MAX_ERROR,
    CredentialRefused,
    Drainer,
    EventStream,
    Whole,
    covered,
    passed,
)
from tetrad.adapters.providers._anthropic_wire import (
    UNSIGNED,
    MessageReader,
    end_of_message,
    read_error,
    read_message,
    without_unsigned,
)
from tetrad.kernel import UNREADABLE, Clock, InvalidInput, TetradError, Usage
from tetrad.kit.upstream import (
    BrokenAnswer,
    Client,
    PreparedRequest,
    Response,
    Timeouts,
    UpstreamFailure,
    parse_address,
)
from tetrad.serving import RequestRefused, Upstream, error_body, reach_of, read_messages_usage, translated
from tetrad.serving.ports import Answer, ModelCall, Outcome

_PATHS: dict[str, str] = {"messages": "/messages", "count_tokens": "/messages/count_tokens"}
"""Where upstreams of this protocol answer an operation, by its name."""
VERSION = "2023-06-01"
"""The version of the API that is asked for where the client names none.

It is also asked for where a call says how to sample: later versions refuse that, whatever the model, while a release
may pin it and clients of other protocols say it. Answers are the same (platform.claude.com/docs, "Versions").
"""
_SAMPLING = frozenset(("temperature", "top_p", "top_k"))
MAX_VARIANTS, MAX_KEPT_BYTES = 256, 1024
"""So many pairs of version and betas, of so many bytes, keep their request heads; clients choose them."""
_LIMITS = [
    f"anthropic-ratelimit-{what}-{part}".encode()
    for what in ("requests", "tokens", "input-tokens", "output-tokens")
    for part in ("limit", "remaining", "reset")
]
_PASSED = frozenset((b"retry-after", b"x-should-retry", b"request-id", *_LIMITS))


class AnthropicProvider:
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

    def endpoint(self, upstream: Upstream) -> AnthropicEndpoint:
        """Prepare request heads for an upstream."""
        return AnthropicEndpoint(self, upstream)

    async def close(self) -> None:
        """End all connections."""
        self.drainer.close()
        await self.client.close()


class AnthropicEndpoint:
    """One upstream. Request heads are encoded once, and once more for each version and set of betas that is asked."""

    def __init__(self, provider: AnthropicProvider, upstream: Upstream) -> None:
        self._address = parse_address(upstream.base_url, reach_of(upstream))
        self._origin = str(self._address.origin)
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
        self._own = {name.lower() for name, _ in upstream.headers}
        self._requests: dict[str, PreparedRequest] = {}
        self._variants: dict[tuple[str, tuple[tuple[bytes, bytes], ...]], PreparedRequest] = {}
        try:
            for name in _PATHS:
                self._requests[name] = self._prepared(name, ())
        except InvalidInput as error:
            raise covered(error, upstream.secret) from None

    async def call(self, call: ModelCall) -> Answer:
        """Send a call; see `tetrad.serving.ports.Endpoint`."""
        request = self._requests.get(call.operation.name)
        if request is None:
            return await translated(call, _PATHS, self._upstream, self.call)
        if call.headers:
            request = self._variant(call)
        fields, lost = self._origin_only(call)
        try:
            response = await self._provider.client.send(
                request,
                msgspec.json.encode(fields),
                timeouts=self._timeouts,
                max_connections=self._max_connections,
            )
        except UpstreamFailure as error:
            # where an upstream answers (a port, a host of the inner network) is not for clients
            error.message = error.message.replace(self._origin, f"the upstream {self._upstream.name!r}")
            raise
        try:
            answer = await self._answer(call, response)
        except BaseException:
            response.close()
            raise
        if lost:
            answer.dropped = lost
        return answer

    def _origin_only(self, call: ModelCall) -> tuple[dict[str, msgspec.Raw], tuple[str, ...]]:
        """Return what is sent, and what is left out of it, or refused where that is wanted.

        Parameters of a release that this protocol has no words for, and thinking that Anthropic has not signed: it came
        from another upstream, in an earlier turn of the conversation, and would be refused.
        """
        fields, lost = call.fields, tuple(call.unsaid)
        messages = fields.get("messages")
        if messages is not None and UNSIGNED.search(messages) is not None:
            kept, places = without_unsigned(messages)
            if places:
                fields, lost = {**fields, "messages": kept}, (*lost, *places)
        strict = call.strict if call.strict is not None else self._upstream.translation == "strict"
        if lost and strict:
            raise RequestRefused(
                f"the upstream {self._upstream.name!r} cannot be told {lost[0]!r}",
                param=lost[0],
                hint="leave it out, or send the header x-tetrad-translation: lossy",
                code="cannot_translate",
            )
        return fields, lost

    def _variant(self, call: ModelCall) -> PreparedRequest:
        headers = call.headers
        if not _SAMPLING.isdisjoint(call.fields):
            headers = tuple(header for header in headers if header[0] != b"anthropic-version")
        name = call.operation.name, headers
        request = self._variants.get(name)
        if request is None:
            if sum(len(value) for _, value in headers) > MAX_KEPT_BYTES:
                return self._prepared(*name)
            if len(self._variants) >= MAX_VARIANTS:
                self._variants.clear()
            request = self._variants[name] = self._prepared(*name)
        return request

    def _prepared(self, operation: str, given: tuple[tuple[bytes, bytes], ...]) -> PreparedRequest:
        upstream = self._upstream
        headers = [("content-type", "application/json"), *upstream.headers]
        if upstream.secret:
            headers.append(("x-api-key", upstream.secret))
        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in given}
        asked.setdefault("anthropic-version", VERSION)
        # what the provider is configured with wins: its operator pays
        headers += [(name, value) for name, value in asked.items() if name not in self._own]
        return self._provider.client.prepare("POST", self._address, _PATHS[operation], headers)

    async def _answer(self, call: ModelCall, response: Response) -> Answer:
        name = self._upstream.name
        if (response.header(b"content-encoding") or b"identity") != b"identity":
            raise BrokenAnswer(f"the upstream {name!r} compresses its answer, which nobody asked for")
        status = response.status
        if status >= 400:
            return await self._refusal(response)
        if status >= 300:
            raise BrokenAnswer(f"the upstream {name!r} redirects ({status})", hint="correct its base URL")
        if (response.header(b"content-type") or b"").startswith(b"text/event-stream"):
            return _Stream(self._provider, response)
        body = self._uncover(await response.read_all(self._provider.answer_bytes))
        received_ns = self._provider.clock.now_ns()
        counting = call.operation.name == "count_tokens"
        try:
            message = read_message(body)
            if (message.input_tokens is None) if counting else (message.type != "message"):
                raise msgspec.ValidationError("it has not the fields of one")
        except UNREADABLE as error:
            raise BrokenAnswer(
                f"the upstream {name!r} answered {status} with what is no {call.operation.name} answer: {error}",
                hint="check that its base URL is that of an API in Anthropic's protocol, up to and with /v1",
            ) from None
        if counting:
            # counting is free: its usage is known to be nothing
            outcome = Outcome(usage=Usage(), attributes={"count_tokens.input_tokens": str(message.input_tokens)})
        else:
            usage = read_messages_usage(message.usage)
            content = bytes(message.content) or b"[]"
            outcome = Outcome(
                usage=usage.usage() if usage is not None else None,
                response_model=message.model or "",
                response_id=message.id or "",
                finish_reasons=(message.stop_reason or "",),
                output=b'[{"role":"assistant","content":' + content + b"}]",
            )
        return Whole(status, body, outcome, received_ns, passed(response, _PASSED))

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
            body = error_body(TetradError(message, code=code, status=status), "anthropic")
        else:
            code, message = said
        outcome = Outcome(error_type=code or f"http_{status}", error_message=message)
        return Whole(status, body, outcome, self._provider.clock.now_ns(), passed(response, _PASSED))

    def _uncover(self, body: bytes) -> bytes:
        """Never hand our secret to a client, even if the upstream echoes it."""
        return body.replace(self._secret, b"[secret]") if self._secret and self._secret in body else body


class _Stream(EventStream):
    """The events of a message."""

    def __init__(self, provider: AnthropicProvider, response: Response) -> None:
        super().__init__(
            response,
            clock=provider.clock,
            drainer=provider.drainer,
            keep_bytes=provider.keep_bytes,
            headers=passed(response, _PASSED),
        )

    def _end(self, events: bytes) -> int | None:
        return end_of_message(events)

    def _reader(self) -> MessageReader:
        return MessageReader()
