"""Upstreams that speak the OpenAI protocol: OpenAI, most other providers, vLLM, SGLang, llama.cpp."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import msgspec

from tetrad.adapters.providers._openai_wire import (
    StreamReader,
    end_of_events,
    end_of_stream,
    read_completion,
    read_error,
    read_usage,
    without_usage_events,
)
from tetrad.kernel import Clock, InvalidInput, TetradError
from tetrad.kit.upstream import (
    BrokenAnswer,
    Client,
    PreparedRequest,
    Response,
    Timeouts,
    UpstreamFailure,
    parse_address,
)
from tetrad.serving import Upstream, error_body
from tetrad.serving.ports import Answer, ModelCall, Outcome

_PATHS: dict[str, str] = {"chat": "/chat/completions", "embeddings": "/embeddings"}
"""Where upstreams of this protocol answer an operation, by its name."""
_PASSED = frozenset((b"retry-after", b"retry-after-ms", b"x-should-retry"))
_MAX_EVENT = 4 * 1024 * 1024
_MAX_ERROR = 1024 * 1024
_TAIL_BYTES = 65_536
_DRAIN_S = 1.0
_CALLERS_FAULT = ("Failed to parse messages:", "Failed to parse tools:")
"""How llama.cpp's server begins what it says of a malformed request; it says so with 500, and clients try again."""


class CredentialRefused(UpstreamFailure):
    """The upstream does not accept our secret: our operator's problem, not the client's."""

    code = "upstream_credential_refused"


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
        self._draining: set[asyncio.Task[None]] = set()

    def endpoint(self, upstream: Upstream) -> OpenAIEndpoint:
        """Prepare request heads for an upstream."""
        return OpenAIEndpoint(self, upstream)

    async def close(self) -> None:
        """End all connections."""
        for task in list(self._draining):
            task.cancel()
        await self.client.close()

    def drain(self, response: Response) -> None:
        """Read what follows the end marker, so that the connection can be used again."""
        task = asyncio.get_running_loop().create_task(_drain(response))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)


class OpenAIEndpoint:
    """One upstream, its request heads encoded once."""

    def __init__(self, provider: OpenAIProvider, upstream: Upstream) -> None:
        headers = [("content-type", "application/json"), *upstream.headers]
        if upstream.secret:
            headers.append(("authorization", f"Bearer {upstream.secret}"))
        address = parse_address(upstream.base_url)
        self._origin = str(address.origin)
        try:
            self._requests: dict[str, PreparedRequest] = {
                name: provider.client.prepare("POST", address, path, headers) for name, path in _PATHS.items()
            }
        except InvalidInput as error:
            raise _covered(error, upstream.secret) from None
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
        fields = call.fields
        if call.stream and not call.usage_asked:
            fields = {**fields, "stream_options": _with_usage(fields.get("stream_options"))}
        try:
            response = await self._provider.client.send(
                self._requests[call.operation.name],
                msgspec.json.encode(fields),
                timeouts=self._timeouts,
                max_connections=self._max_connections,
                pool=self._upstream.name,
            )
        except UpstreamFailure as error:
            # where an upstream answers (a port, a socket in the home, a host of the inner network) is not for clients
            error.message = error.message.replace(self._origin, f"the upstream {self._upstream.name!r}")
            raise
        try:
            return await self._answer(call, response)
        except BaseException:
            response.close()
            raise

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
            return _Stream(self._provider, response, strip=not call.usage_asked)
        body = self._uncover(await response.read_all(self._provider.answer_bytes))
        received_ns = self._provider.clock.now_ns()
        try:
            completion = read_completion(body)
        except msgspec.MsgspecError as error:
            raise BrokenAnswer(
                f"the upstream {name!r} answered {status} with what is no {call.operation.name} answer: {error}",
                hint="check that its base URL is that of an OpenAI-compatible API",
            ) from None
        chat = call.operation.name == "chat"
        outcome = Outcome(
            usage=read_usage(completion.usage),
            response_model=completion.model or "",
            response_id=completion.id or "",
            finish_reasons=completion.finish_reasons,
            output=completion.messages if chat else b"",
            attributes={} if chat else {"embeddings.count": str(len(completion.data))},
        )
        return _Whole(status, body, outcome, received_ns, _passed(response))

    async def _refusal(self, response: Response) -> Answer:
        status, name = response.status, self._upstream.name
        body = self._uncover(await response.read_all(_MAX_ERROR))
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
        return _Whole(status, body, outcome, self._provider.clock.now_ns(), _passed(response))

    def _uncover(self, body: bytes) -> bytes:
        """Never hand our secret to a client, even if the upstream echoes it."""
        return body.replace(self._secret, b"[secret]") if self._secret and self._secret in body else body


class _Whole:
    """An answer that is there."""

    stream = False
    done = True
    dropped: tuple[str, ...] = ()

    def __init__(
        self, status: int, body: bytes, outcome: Outcome, received_ns: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self.status = status
        self.headers = [(b"content-type", b"application/json"), *headers]
        self.received_ns = received_ns
        self._body = body
        self._outcome = outcome

    async def read(self) -> bytes:
        return self._body

    def outcome(self) -> Outcome:
        return self._outcome

    def close(self) -> None:
        """Nothing is held."""


class _Stream:
    """Server-sent events on their way through.

    Pieces end where events end, so that the usage event which we asked for can be taken out whole, and the end marker
    is seen before the client sees it.
    """

    stream = True
    dropped: tuple[str, ...] = ()

    def __init__(self, provider: OpenAIProvider, response: Response, *, strip: bool) -> None:
        self.status = response.status
        self.headers: list[tuple[bytes, bytes]] = []
        self.done = False
        self.received_ns = provider.clock.now_ns()
        self._provider = provider
        self._response = response
        self._strip = strip
        self._pending = b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._first_ns = 0
        self._marked = False

    async def read(self) -> bytes:
        while True:
            piece = await self._response.read()
            if not piece:
                self.done = True
                self._keep(self._pending)
                return self._pending
            if not self._first_ns:
                self._first_ns = self._provider.clock.now_ns()
            data = self._pending + piece if self._pending else piece
            cut = end_of_events(data)
            if cut < len(data):
                self._pending = data[cut:]
                if len(self._pending) > _MAX_EVENT:
                    raise BrokenAnswer(f"an event of the upstream is larger than {_MAX_EVENT:,} bytes")
                if not cut:
                    continue
                data = data[:cut]
            else:
                self._pending = b""
            end = end_of_stream(data)
            if end is not None:
                self.done = self._marked = True
                data = data[:end]
            self._keep(data)
            if self._strip:
                data = without_usage_events(data)
            if data or self.done:
                return data

    def outcome(self) -> Outcome:
        reader = StreamReader()
        reader.feed(b"".join(self._kept))
        if self._tail:
            reader.feed(b"".join(self._tail), torn=True)
        if self.done and not self._marked and not reader.finish_reasons and not reader.error_type:
            reader.error_type, reader.error_message = "stream_truncated", "the stream ended without finish or marker"
        return Outcome(
            usage=reader.usage,
            response_model=reader.model,
            response_id=reader.id,
            finish_reasons=reader.finish_reasons,
            output=reader.messages,
            first_chunk_ns=self._first_ns,
            error_type=reader.error_type,
            error_message=reader.error_message,
            truncated=bool(self._tail),
            attributes={"stream.unread_events": str(reader.unread)} if reader.unread else {},
        )

    def close(self) -> None:
        if not self.done:
            self._response.close()
        elif not self._response.complete:
            self._provider.drain(self._response)

    def _keep(self, data: bytes) -> None:
        if not self._tail and self._kept_bytes + len(data) <= self._provider.keep_bytes:
            self._kept.append(data)
            self._kept_bytes += len(data)
            return
        # past the limit only the end matters: finish reasons and usage
        self._tail.append(data)
        self._tail_bytes += len(data)
        while len(self._tail) > 2 and self._tail_bytes - len(self._tail[0]) >= _TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())


async def _drain(response: Response) -> None:
    try:
        async with asyncio.timeout(_DRAIN_S):
            with contextlib.suppress(UpstreamFailure):
                await response.read_all(_TAIL_BYTES)
    except TimeoutError:
        response.close()


def _passed(response: Response) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in response.headers if name in _PASSED]


def _with_usage(raw: msgspec.Raw | None) -> msgspec.Raw:
    options: dict[str, msgspec.Raw] = {}
    if raw is not None:
        options = msgspec.json.decode(raw, type=dict[str, msgspec.Raw] | None) or {}
    options["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(options))


def _covered(error: InvalidInput, secret: str) -> InvalidInput:
    message = error.message.replace(secret, "[secret]") if secret else error.message
    return InvalidInput(message, hint=error.hint, code=error.code)
