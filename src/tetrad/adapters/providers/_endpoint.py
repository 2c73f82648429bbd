"""What all providers do alike: pooled connections, logins, deadlines, refusals, and secrets that nobody gets to see."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import AsyncIterator, Collection
from typing import NamedTuple, cast

import msgspec

from tetrad.adapters.providers._answers import (
    MAX_ERROR,
    CredentialRefused,
    Drainer,
    EventStream,
    Whole,
    covered,
    passed,
    sane,
)
from tetrad.adapters.providers._login import Login
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
from tetrad.serving import RequestRefused, Upstream, error_body, reach_of
from tetrad.serving.ports import Answer, Endpoint, ModelCall, Outcome

_STATUS_DIGITS, _FIRST_ERROR, _PAST_ERRORS = 3, 400, 600
MAX_HEADS, MAX_HEAD_BYTES = 256, 1024
"""So many request heads of one upstream are kept, of paths and headers of so many bytes; clients choose among them."""
_NO_RETRY = ((b"x-should-retry", b"false"),)
_MAX_MODELS_ANSWER = 16 * 1024 * 1024
_texts = msgspec.json.Decoder(str)


class Head(NamedTuple):
    """A request without its body, and the target that a signature covers."""

    request: PreparedRequest
    target: str


class PooledProvider:
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
        self.logins: dict[str, Login] = {}
        """Logins that hold something worth keeping from one route table to the next."""

    def endpoint(self, upstream: Upstream) -> Endpoint:
        """Prepare calls to an upstream; see `tetrad.serving.ports.Provider`."""
        raise NotImplementedError

    async def close(self) -> None:
        """End all connections."""
        self.drainer.close()
        for login in self.logins.values():
            end = getattr(login, "close", None)
            if end is not None:
                end()
        await self.client.close()


class PooledEndpoint:
    """One upstream. Request heads are encoded once per path and set of headers."""

    dialect = "openai"
    passed: Collection[bytes] = frozenset((b"retry-after", b"retry-after-ms", b"x-should-retry"))
    """Headers of the upstream's answer that clients see."""

    def __init__(self, provider: PooledProvider, upstream: Upstream, login: Login) -> None:
        self._address = parse_address(upstream.base_url, reach_of(upstream))
        self._origin = str(self._address.origin)
        self._provider = provider
        self._upstream = upstream
        self._login = login
        self._heads: dict[tuple[str, tuple[tuple[str, str], ...]], Head] = {}
        self._timeouts = Timeouts(
            connect_s=upstream.connect_timeout_s,
            first_byte_s=upstream.first_byte_timeout_s,
            idle_s=upstream.idle_timeout_s,
            total_s=upstream.total_timeout_s,
        )
        self._head("/")  # what cannot be sent is refused when the upstream is bound

    def _head(
        self, path: str, headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),), *,
        method: str = "POST",
    ) -> Head:  # fmt: skip
        """Return the head of a request; raises `InvalidInput` for what cannot be sent, without the secret in it."""
        key = f"{method} {path}", headers
        head = self._heads.get(key)
        if head is None:
            query = self._login.query
            whole = f"{path}{'&' if '?' in path else '?'}{query}" if query else path
            try:
                request = self._provider.client.prepare(
                    method, self._address, whole, [*headers, *self._upstream.headers, *self._login.headers]
                )
            except InvalidInput as error:
                raise covered(error, self._upstream.secret) from None
            head = Head(request, self._address.prefix + whole)
            if len(path) + sum(len(value) for _, value in headers) <= MAX_HEAD_BYTES:
                if len(self._heads) >= MAX_HEADS:
                    self._heads.clear()
                self._heads[key] = head
        return head

    async def _send(self, head: Head, body: bytes, more: bytes = b"") -> Response:
        request = head.request
        if self._login.each:
            more += await self._login.lines(request.method, self._address, head.target, body)
        if more:
            request = dataclasses.replace(request, head=request.head + more)
        try:
            return await self._provider.client.send(
                request,
                body,
                timeouts=self._timeouts,
                max_connections=self._upstream.max_connections,
                pool=self._upstream.name,
            )
        except UpstreamFailure as error:
            # where an upstream answers (a port, a socket in the home, a host of the inner network) is not for clients
            error.message = error.message.replace(self._origin, f"the upstream {self._upstream.name!r}")
            raise

    async def _refused(self, response: Response) -> Whole | None:
        """Return the upstream's refusal; None where it did not refuse. Raises for what is no answer to pass on."""
        name, status = self._upstream.name, response.status
        if (response.header(b"content-encoding") or b"identity") != b"identity":
            raise BrokenAnswer(f"the upstream {name!r} compresses its answer, which nobody asked for")
        if status < 300:
            return None
        if status < 400:
            raise BrokenAnswer(f"the upstream {name!r} redirects ({status})", hint="correct its base URL")
        return self._refusal(status, self._uncovered(await response.read_all(MAX_ERROR)), response)

    def _hidden(self, call: ModelCall, body: bytes, response: Response, why: Exception) -> Whole:
        """Return the refusal that came as a good answer, with 200; raises `BrokenAnswer` for what is neither.

        Some servers and proxies answer so. A code that is a status of HTTP's is taken for the status that was meant.
        """
        said = self._read_error(body, response)
        if said is None:
            raise self._not_one(call, response.status, why) from None
        code = said[0]
        meant = int(code) if code.isascii() and code.isdecimal() and len(code) == _STATUS_DIGITS else 0
        return self._refusal(meant if _FIRST_ERROR <= meant < _PAST_ERRORS else 502, body, response)

    def _refusal(self, status: int, body: bytes, response: Response) -> Whole:
        """Return a refusal as clients are to see it; raises `CredentialRefused` where our secret is refused."""
        name = self._upstream.name
        if status in (401, 403) or self._is_refused_login(status, body):
            # the body of such an answer quotes the key, and 401 would tell the client that its own key is wrong
            forget = getattr(self._login, "forget", None)
            if forget is not None:
                forget()
            as_machine = self._upstream.auth.endswith("-machine")
            what = "what this machine's identity may do there" if as_machine else "the provider's secret"
            refused = CredentialRefused(
                f"the upstream {name!r} refused this gateway's credential ({status})",
                hint=f"an administrator must check {what}",
            )
            if forget is None:  # the same secret would be sent again; the official clients heed this
                refused.headers = _NO_RETRY
            raise refused
        said = self._read_error(body, response)
        if said is None:
            text = body[:500].decode("utf-8", "replace").strip()
            code, message = "upstream_error", f"the upstream {name!r} answered {status}: {text or 'nothing'}"
            body = error_body(TetradError(message, code=code, status=status), self.dialect)
        else:
            code, message = said
            status, code, body = self._corrected(status, code, message, body)
        outcome = Outcome(error_type=code or f"http_{status}", error_message=message)
        headers = [*passed(response, self.passed), *sane(self._pause(status, body, response))]
        return Whole(status, body, outcome, self._provider.clock.now_ns(), headers)

    # batches

    async def rendered(self, call: ModelCall) -> tuple[str, bytes]:
        """Return what `call` would send; see `tetrad.serving.ports.BatchEndpoint`."""

        async def capture(head: Head, body: bytes, more: bytes = b"") -> Response:  # noqa: ARG001 - as `_send`
            raise _Captured(head.target.removeprefix(self._address.prefix), body)

        twin = copy.copy(self)
        twin.__dict__["_send"] = capture
        try:
            answer = await cast("Endpoint", twin).call(call)
        except _Captured as found:
            return found.path, found.body
        answer.close()
        raise InvalidInput(
            "nothing is sent to the upstream for this call", hint="choose another operation", code="nothing_sent"
        )

    async def answered(self, call: ModelCall, status: int, body: bytes) -> Answer:
        """Read an answer that came elsewhere; see `tetrad.serving.ports.BatchEndpoint`."""

        async def given(head: Head, sent: bytes, more: bytes = b"") -> Given:  # noqa: ARG001 - as `_send`
            return Given(status, body)

        twin = copy.copy(self)
        twin.__dict__["_send"] = given
        return await cast("Endpoint", twin).call(call)

    async def ask(
        self, method: str, path: str, content_type: str = "", pieces: AsyncIterator[bytes] | None = None
    ) -> Response:
        """Send a request of the batch API; see `tetrad.serving.ports.BatchEndpoint`."""
        if self._login.each:
            raise InvalidInput(
                f"calls of the upstream {self._upstream.name!r} are signed: it takes no batches",
                hint="say `batches: calls` of this provider",
            )
        headers = (*self._batch_headers, *((("content-type", content_type),) if content_type else ()))
        request = self._head(path, headers, method=method).request
        if pieces is None:
            return await self._send(Head(request, path), b"")
        return await self._provider.client.upload(request, pieces, timeouts=self._timeouts)

    _batch_headers: tuple[tuple[str, str], ...] = ()
    """What requests of the batch API say besides."""

    def _read_error(self, body: bytes, response: Response) -> tuple[str, str] | None:
        """Return (code, message) of an error body; None where it is not one of this protocol."""
        raise NotImplementedError

    def _is_refused_login(self, status: int, body: bytes) -> bool:  # noqa: ARG002 - protocols look at them
        """Tell whether an upstream refuses our secret with another status than 401 and 403."""
        return False

    def _corrected(self, status: int, code: str, message: str, body: bytes) -> tuple[int, str, bytes]:  # noqa: ARG002
        """Return status, code and body of an error as the client is to see it."""
        return status, code, body

    def _pause(self, status: int, body: bytes, response: Response) -> list[tuple[bytes, bytes]]:  # noqa: ARG002
        """Return the header that names the pause which an upstream asks for in its body."""
        return []

    def _not_one(self, call: ModelCall, status: int, error: Exception) -> BrokenAnswer:
        return BrokenAnswer(
            f"the upstream {self._upstream.name!r} answered {status} with what is no {call.operation.name} answer: "
            f"{error}",
            hint=self.hint,
        )

    hint = "check that its base URL is that of an OpenAI-compatible API"

    def _uncovered(self, body: bytes) -> bytes:
        """Never hand our secrets to a client, even if the upstream echoes them."""
        for secret in self._login.secrets:
            if body.find(secret) >= 0:  # a fifth of what `in` costs, which tries each for a number first
                body = body.replace(secret, b"[secret]")
        return body

    def _covering(self, stream: EventStream) -> EventStream:
        """Never hand our secrets to a client in a stream either."""
        stream.secrets = tuple(self._login.secrets)
        return stream

    async def _listed(self, path: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
        """Ask for the list of models; raises `TetradError` where there is none."""
        response = await self._send(self._head(path, headers, method="GET"), b"")
        try:
            refusal = await self._refused(response)
            if refusal is not None:
                outcome = refusal.outcome()
                raise TetradError(
                    f"the upstream {self._upstream.name!r} lists no models ({refusal.status}): "
                    f"{outcome.error_message[:500]}",
                    hint="name its models yourself",
                    code="models_not_listed",
                    status=502,
                )
            return self._uncovered(await response.read_all(_MAX_MODELS_ANSWER))
        except BaseException:
            response.close()
            raise


class _Captured(Exception):
    """What would have been sent."""

    def __init__(self, path: str, body: bytes) -> None:
        super().__init__()
        self.path = path
        self.body = body


class Given:
    """An answer that is there as a whole, read as a `Response` is."""

    complete = True
    glimpsed = None

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers = [(b"content-type", b"application/json")]
        self._body = body

    @property
    def buffered(self) -> int:
        """How many bytes are there."""
        return len(self._body)

    def header(self, name: bytes) -> bytes | None:
        """Return a header by its lower-case name."""
        return next((value for known, value in self.headers if known == name), None)

    def at_hand(self) -> bytes:
        """Return everything."""
        return self._body

    async def read(self) -> bytes:
        """Return everything, then b""."""
        body, self._body = self._body, b""
        return body

    async def read_all(self, limit: int) -> bytes:
        """Return everything; past `limit` bytes raise `BrokenAnswer`."""
        if len(self._body) > limit:
            raise BrokenAnswer(f"the answer has more than {limit} bytes")
        return self._body

    def close(self) -> None:
        """Nothing is held."""


def refuse_losses(lost: Collection[str], call: ModelCall, upstream: Upstream) -> None:
    """Refuse a strict call of which something would be left out."""
    strict = call.strict if call.strict is not None else upstream.translation == "strict"
    if lost and strict:
        first = next(iter(lost))
        raise RequestRefused(
            f"the upstream {upstream.name!r} cannot be told {first!r}",
            param=first,
            hint="leave it out, or send the header x-tetrad-translation: lossy",
            code="cannot_translate",
        )


def model_of(call: ModelCall) -> str:
    """Return the name of the model that is called, as its upstream knows it."""
    raw = call.fields.get("model")
    return _texts.decode(raw) if raw is not None else ""


def names_in(data: bytes, listed: str, name: str, prefix: str = "") -> tuple[str, ...]:
    """Return the names in a list of models: `listed` is its field, `name` that of each model."""
    try:
        body = msgspec.json.decode(data)
        items = body[listed] if isinstance(body, dict) else body
        found = [item[name] for item in items if isinstance(item.get(name), str)]
    except (*UNREADABLE, KeyError, TypeError, AttributeError):
        raise BrokenAnswer("what came is no list of models", hint="check the base URL") from None
    return tuple(sorted({each.removeprefix(prefix) for each in found}))
