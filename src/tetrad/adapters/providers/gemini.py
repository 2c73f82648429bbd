"""Google's Gemini in its own protocol, at the Gemini API and at Vertex AI.

The Gemini API takes a key, in `x-goog-api-key`; Vertex takes the token of a service account, or one that is given. For
Vertex the base URL goes on to the publisher: `.../v1/projects/P/locations/L/publishers/google`.
"""

from __future__ import annotations

import re
from urllib.parse import quote

import msgspec

from tetrad.adapters.providers._answers import Coming, EventStream, Whole, passed
from tetrad.adapters.providers._endpoint import PooledEndpoint, PooledProvider, model_of, names_in
from tetrad.adapters.providers._gemini_wire import GeminiReader
from tetrad.adapters.providers._google import google_login
from tetrad.adapters.providers._login import GOOGLE, GOOGLE_MACHINE, Login, fixed_login
from tetrad.adapters.providers._token_identity import google_machine
from tetrad.adapters.providers._vectors import Embedding, Gemini, Vertex
from tetrad.kernel import UNREADABLE, Usage
from tetrad.kit.upstream import Response
from tetrad.serving import Upstream, read_gemini, read_gemini_error, translated
from tetrad.serving.ports import Answer, ModelCall, Outcome

_METHODS = {
    "gemini": "generateContent",
    "vectors": "",
    "gemini_count": "countTokens",
}
_PAUSE = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9})(?:\.(\d{1,9}))?s"')
_NOT_THE_KEY = (b"API_KEY_INVALID", b"API key not valid", b"API key expired")


class GeminiProvider(PooledProvider):
    """Google's models.

    The login is `header` for keys of the Gemini API, `google` for service accounts, `google-machine`, or `bearer`.
    """

    def endpoint(self, upstream: Upstream) -> GeminiEndpoint:
        login: Login
        if upstream.auth == GOOGLE:
            login = google_login(upstream, self.logins, self.client, self.clock)
        elif upstream.auth == GOOGLE_MACHINE:
            login = google_machine(upstream, self.logins, self.client, self.clock)
        else:
            login = fixed_login(upstream, upstream.auth or "header", "x-goog-api-key")
        return GeminiEndpoint(self, upstream, login)


class GeminiEndpoint(PooledEndpoint):
    """One upstream that speaks generateContent."""

    hint = "check that its base URL is that of the Gemini API with /v1beta, or of Vertex up to publishers/google"

    def __init__(self, provider: PooledProvider, upstream: Upstream, login: Login) -> None:
        super().__init__(provider, upstream, login)
        self._vertex = "/publishers/" in upstream.base_url

    async def call(self, call: ModelCall) -> Answer:
        """Send a call; see `tetrad.serving.ports.Endpoint`."""
        method = _METHODS.get(call.operation.name)
        if method is None:
            return await translated(call, _METHODS, self._upstream, self.call)
        name = quote(model_of(call).removeprefix("models/"), safe="@")
        if call.operation.name == "vectors":
            return await self._embedded(call, name)
        if call.stream:
            method = "streamGenerateContent?alt=sse"
        fields = {name: raw for name, raw in call.fields.items() if name != "model"}
        if self._vertex and "generateContentRequest" in fields:
            inner = msgspec.json.decode(fields["generateContentRequest"], type=dict[str, msgspec.Raw])
            fields = {name: raw for name, raw in inner.items() if name != "model"}
        head = self._head(f"/models/{name}:{method}")
        response = await self._send(head, msgspec.json.encode(fields))
        try:
            return await self._answer(call, response)
        except BaseException:
            response.close()
            raise

    async def models(self) -> tuple[str, ...]:
        """Return the names of the models that the Gemini API lists; Vertex lists none at this address."""
        return names_in(await self._listed("/models?pageSize=1000"), "models", "name", "models/")

    async def _embedded(self, call: ModelCall, name: str) -> Answer:
        family = Vertex(name) if self._vertex else Gemini()
        head = self._head(f"/models/{name}:{'predict' if self._vertex else 'batchEmbedContents'}")

        async def send(body: bytes) -> Response:
            return await self._send(head, body)

        return await Embedding(self._provider, self._upstream, family, send, self._refused).answer(call)

    async def _answer(self, call: ModelCall, response: Response) -> Answer:
        refusal = await self._refused(response)
        if refusal is not None:
            return refusal
        if call.stream and (response.header(b"content-type") or b"").startswith(b"text/event-stream"):
            return self._covering(_Stream(self._provider, response, passed(response, self.passed)))
        body = self._uncovered(await response.read_all(self._provider.answer_bytes))
        received_ns = self._provider.clock.now_ns()
        try:
            outcome = _outcome(call, body)
        except UNREADABLE as error:
            return self._hidden(call, body, response, error)
        return Whole(response.status, body, outcome, received_ns, passed(response, self.passed))

    def _read_error(self, body: bytes, response: Response) -> tuple[str, str] | None:  # noqa: ARG002 - others look
        said = read_gemini_error(body)
        return None if said is None else (said.status.lower(), said.message)

    def _is_refused_login(self, status: int, body: bytes) -> bool:
        """A wrong key is told with 400."""
        return status == 400 and any(words in body for words in _NOT_THE_KEY)

    def _pause(self, status: int, body: bytes, response: Response) -> list[tuple[bytes, bytes]]:
        found = _PAUSE.search(body) if status in (429, 503) and response.header(b"retry-after") is None else None
        if found is None:
            return []
        return [(b"retry-after", b"%d" % (int(found[1]) + bool(found[2] and int(found[2]))))]


class _Stream(EventStream):
    """The pieces of an answer; the end of the body is the end of the stream."""

    def __init__(self, provider: PooledProvider, response: Coming, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(
            response, clock=provider.clock, drainer=provider.drainer, keep_bytes=provider.keep_bytes, headers=headers
        )

    def _end(self, events: bytes) -> int | None:  # noqa: ARG002 - no event ends it
        return None

    def _reader(self) -> GeminiReader:
        return GeminiReader()


def _outcome(call: ModelCall, body: bytes) -> Outcome:
    if call.operation.name == "gemini_count":
        # counting is free: its usage is known to be nothing
        counted = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("totalTokens")
        if counted is None:
            raise msgspec.ValidationError("it counts no tokens")
        return Outcome(usage=Usage(), attributes={"count_tokens.input_tokens": bytes(counted).decode()})
    answer = read_gemini(body)
    if not answer.candidates and answer.promptFeedback is None:
        raise msgspec.ValidationError("it has no candidates")
    content = msgspec.json.decode(body).get("candidates") or [{}]
    return Outcome(
        usage=answer.usageMetadata.usage() if answer.usageMetadata is not None else None,
        response_model=answer.modelVersion,
        response_id=answer.responseId,
        finish_reasons=(answer.reason,),
        output=msgspec.json.encode([content[0].get("content") or {"role": "model", "parts": []}]),
    )
