"""Upstreams that speak Anthropic's Messages: Anthropic, and servers that follow its protocol."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tetrad.adapters.providers._answers import Coming, EventStream, Whole, passed
from tetrad.adapters.providers._anthropic_wire import (
    UNSIGNED,
    MessageReader,
    end_of_message,
    read_error,
    read_message,
    without_unsigned,
)
from tetrad.adapters.providers._endpoint import Head, PooledEndpoint, PooledProvider, names_in, refuse_losses
from tetrad.adapters.providers._login import Login, fixed_login
from tetrad.kernel import UNREADABLE, Usage
from tetrad.kit.upstream import Response
from tetrad.serving import Upstream, read_messages_usage, translated
from tetrad.serving.ports import Answer, ModelCall, Outcome

_PATHS: dict[str, str] = {"messages": "/messages", "count_tokens": "/messages/count_tokens"}
"""Where upstreams of this protocol answer an operation, by its name."""
VERSION = "2023-06-01"
"""The version of the API that is asked for where the client names none.

It is also asked for where a call says how to sample: later versions refuse that, whatever the model, while a release
may pin it and clients of other protocols say it. Answers are the same (platform.claude.com/docs, "Versions").
"""
_SAMPLING = frozenset(("temperature", "top_p", "top_k"))
_LIMITS = [
    f"anthropic-ratelimit-{what}-{part}".encode()
    for what in ("requests", "tokens", "input-tokens", "output-tokens")
    for part in ("limit", "remaining", "reset")
]
_PASSED = frozenset((b"retry-after", b"x-should-retry", b"request-id", *_LIMITS))


class AnthropicProvider(PooledProvider):
    """Upstreams whose paths are Anthropic's; their key is sent as `x-api-key` unless they say otherwise."""

    def endpoint(self, upstream: Upstream) -> AnthropicEndpoint:
        return AnthropicEndpoint(self, upstream, fixed_login(upstream, upstream.auth or "header", "x-api-key"))


class AnthropicEndpoint(PooledEndpoint):
    """One upstream. Request heads are encoded once, and once more for each version and set of betas that is asked."""

    dialect = "anthropic"
    passed = _PASSED
    _batch_headers = (("anthropic-version", VERSION),)
    hint = "check that its base URL is that of an API in Anthropic's protocol, up to and with /v1"

    def __init__(self, provider: PooledProvider, upstream: Upstream, login: Login) -> None:
        self._own = {name.lower() for name, _ in upstream.headers}
        super().__init__(provider, upstream, login)
        self._requests = {name: self._prepared(name, ()) for name in _PATHS}

    async def call(self, call: ModelCall) -> Answer:
        """Send a call; see `tetrad.serving.ports.Endpoint`."""
        if call.operation.name not in _PATHS:
            return await translated(call, _PATHS, self._upstream, self.call)
        fields, lost = origin_only(call, self._upstream)
        response = await self._send(self._at(call), self._body(call, fields))
        try:
            answer = await self._answer(call, response)
        except BaseException:
            response.close()
            raise
        if lost:
            answer.dropped = lost
        return answer

    async def models(self) -> tuple[str, ...]:
        """Return the names of the models that the upstream lists."""
        return names_in(await self._listed("/models?limit=1000", tuple(self._asked(()))), "data", "id")

    def _at(self, call: ModelCall) -> Head:
        return self._variant(call) if call.headers else self._requests[call.operation.name]

    def _body(self, call: ModelCall, fields: dict[str, msgspec.Raw]) -> bytes:  # noqa: ARG002 - others look at it
        return msgspec.json.encode(fields)

    def _variant(self, call: ModelCall) -> Head:
        headers = call.headers
        if not _SAMPLING.isdisjoint(call.fields):
            headers = tuple(header for header in headers if header[0] != b"anthropic-version")
        return self._prepared(call.operation.name, headers)

    def _prepared(self, operation: str, given: tuple[tuple[bytes, bytes], ...]) -> Head:
        return self._head(_PATHS[operation], (("content-type", "application/json"), *self._asked(given)))

    def _asked(self, given: tuple[tuple[bytes, bytes], ...]) -> Iterable[tuple[str, str]]:
        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in given}
        asked.setdefault("anthropic-version", VERSION)
        # what the provider is configured with wins: its operator pays
        return [(name, value) for name, value in asked.items() if name not in self._own]

    async def _answer(self, call: ModelCall, response: Response) -> Answer:
        refusal = await self._refused(response)
        if refusal is not None:
            return refusal
        if (response.header(b"content-type") or b"").startswith(b"text/event-stream"):
            return self._covering(MessagesStream(self._provider, response, passed(response, self.passed)))
        body = self._uncovered(await response.read_all(self._provider.answer_bytes))
        received_ns = self._provider.clock.now_ns()
        try:
            outcome = read_outcome(call, body)
        except UNREADABLE as error:
            return self._hidden(call, body, response, error)
        return Whole(response.status, body, outcome, received_ns, passed(response, self.passed))

    def _read_error(self, body: bytes, response: Response) -> tuple[str, str] | None:  # noqa: ARG002 - others look
        return read_error(body)


def origin_only(call: ModelCall, upstream: Upstream) -> tuple[dict[str, msgspec.Raw], tuple[str, ...]]:
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
    refuse_losses(lost, call, upstream)
    return fields, lost


def read_outcome(call: ModelCall, body: bytes) -> Outcome:
    """Tell what a whole answer says of itself; raises `msgspec.MsgspecError` for what is none."""
    counting = call.operation.name == "count_tokens"
    message = read_message(body)
    if (message.input_tokens is None) if counting else (message.type != "message"):
        raise msgspec.ValidationError("it has not the fields of one")
    if counting:
        # counting is free: its usage is known to be nothing
        return Outcome(usage=Usage(), attributes={"count_tokens.input_tokens": str(message.input_tokens)})
    usage = read_messages_usage(message.usage)
    content = bytes(message.content) or b"[]"
    return Outcome(
        usage=usage.usage() if usage is not None else None,
        response_model=message.model or "",
        response_id=message.id or "",
        finish_reasons=(message.stop_reason or "",),
        output=b'[{"role":"assistant","content":' + content + b"}]",
    )


class MessagesStream(EventStream):
    """The events of a message."""

    def __init__(self, provider: PooledProvider, response: Coming, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(
            response, clock=provider.clock, drainer=provider.drainer, keep_bytes=provider.keep_bytes, headers=headers
        )

    def _end(self, events: bytes) -> int | None:
        return end_of_message(events)

    def _reader(self) -> MessageReader:
        return MessageReader()
