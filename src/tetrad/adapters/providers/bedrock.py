"""Amazon Bedrock: Converse for every model, and Anthropic's own protocol (InvokeModel) for Anthropic's models.

The login is `sigv4` (an access key; `_aws.read_credential` says how its secret is kept), `aws-machine` (the
credential of the machine) or `bearer` (an API key of Bedrock's).
Sources: docs.aws.amazon.com/bedrock, "Converse", "ConverseStream", "InvokeModelWithResponseStream", "CountTokens".
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import msgspec

from tetrad.adapters.providers._answers import Coming, EventStream, Whole, passed
from tetrad.adapters.providers._aws import Signed
from tetrad.adapters.providers._aws_identity import machine_signature
from tetrad.adapters.providers._aws_stream import CONTENT_TYPE, Unframed
from tetrad.adapters.providers._converse_wire import ConverseReader, converse_event, message_event
from tetrad.adapters.providers._endpoint import Head, PooledEndpoint, PooledProvider, model_of, names_in
from tetrad.adapters.providers._login import AWS_MACHINE, Login, fixed_login
from tetrad.adapters.providers._vectors import Cohere, Embedding, Family, Titan
from tetrad.adapters.providers.anthropic import MessagesStream, origin_only, read_outcome
from tetrad.kernel import UNREADABLE, TetradError, Usage
from tetrad.kit.upstream import BrokenAnswer, Response
from tetrad.serving import RequestRefused, Upstream, error_body, read_converse, translated
from tetrad.serving.ports import Answer, ModelCall, Outcome

ANTHROPIC_VERSION = "bedrock-2023-05-31"
_CONVERSE = ("converse", "converse_count", "vectors")
_MESSAGES = ("messages", "converse_count")
_EMBEDDERS: tuple[tuple[str, Callable[[], Family]], ...] = (("amazon.titan-embed", Titan), ("cohere.embed", Cohere))
_STAYS = frozenset(("model", "stream"))


class _Error(msgspec.Struct, frozen=True, rename={"capital": "Message"}):
    message: str = ""
    capital: str = ""


_errors = msgspec.json.Decoder(_Error)


class BedrockProvider(PooledProvider):
    """Models of Bedrock, by the ids of models or of inference profiles.

    Anthropic's are called in their own protocol, unless the option `api` is `converse`.
    """

    def endpoint(self, upstream: Upstream) -> BedrockEndpoint:
        login: Login
        kind = upstream.auth or "sigv4"
        if kind == AWS_MACHINE:
            login = machine_signature(upstream, self.logins, self.client, self.clock, "bedrock")
        else:
            login = Signed(upstream, self.clock, "bedrock") if kind == "sigv4" else fixed_login(upstream, kind)
        return BedrockEndpoint(self, upstream, login)


class BedrockEndpoint(PooledEndpoint):
    """The models of one region."""

    dialect = "anthropic"
    hint = "check that its base URL is https://bedrock-runtime.REGION.amazonaws.com"

    def __init__(self, provider: PooledProvider, upstream: Upstream, login: Login) -> None:
        super().__init__(provider, upstream, login)
        self._converse_only = upstream.options.get("api") == "converse"

    async def call(self, call: ModelCall) -> Answer:
        """Send a call; see `tetrad.serving.ports.Endpoint`."""
        name, model = call.operation.name, model_of(call)
        spoken = _MESSAGES if "anthropic." in model and not self._converse_only else _CONVERSE
        if name not in spoken:
            return await translated(call, spoken, self._upstream, self.call)
        if name == "vectors":
            return await self._embedded(call, model)
        lost: tuple[str, ...] = ()
        if name == "messages":
            fields, lost = origin_only(call, self._upstream)
            body = _invocation(call, fields)
        else:
            body = msgspec.json.encode({key: raw for key, raw in call.fields.items() if key not in _STAYS})
        response = await self._send(self._at(name, model, stream=call.stream), body)
        try:
            answer = await self._answer(call, response)
        except BaseException:
            response.close()
            raise
        if lost:
            answer.dropped = lost
        return answer

    async def models(self) -> tuple[str, ...]:
        """Return the ids of the models that the region has; not all of them are open to every account."""
        url = self._upstream.base_url.replace("://bedrock-runtime.", "://bedrock.")
        control = PooledEndpoint(self._provider, msgspec.structs.replace(self._upstream, base_url=url), self._login)
        return names_in(await control._listed("/foundation-models"), "modelSummaries", "modelId")

    async def _embedded(self, call: ModelCall, model: str) -> Answer:
        family = next((family() for name, family in _EMBEDDERS if name in model), None)
        if family is None:
            raise RequestRefused(
                f"the upstream {self._upstream.name!r} embeds with models of Titan and Cohere only",
                param="model",
                hint="ask for a model whose id has amazon.titan-embed or cohere.embed in it",
                code="operation_not_served",
            )
        head = self._head(f"/model/{quote(model, safe='')}/invoke")

        async def send(body: bytes) -> Response:
            return await self._send(head, body)

        return await Embedding(self._provider, self._upstream, family, send, self._refused).answer(call)

    def _at(self, operation: str, model: str, *, stream: bool) -> Head:
        verb = {
            "messages": "invoke-with-response-stream" if stream else "invoke",
            "converse": "converse-stream" if stream else "converse",
            "converse_count": "count-tokens",
        }[operation]
        return self._head(f"/model/{quote(model, safe='')}/{verb}")

    async def _answer(self, call: ModelCall, response: Response) -> Answer:
        refusal = await self._refused(response)
        if refusal is not None:
            return refusal
        if (response.header(b"content-type") or b"").startswith(CONTENT_TYPE):
            if not call.stream:
                raise BrokenAnswer(f"the upstream {self._upstream.name!r} streams, which nobody asked for")
            headers = passed(response, self.passed)
            if call.operation.name == "messages":
                return self._covering(MessagesStream(self._provider, Unframed(response, message_event), headers))
            return self._covering(_Stream(self._provider, Unframed(response, converse_event), headers))
        body = self._uncovered(await response.read_all(self._provider.answer_bytes))
        received_ns = self._provider.clock.now_ns()
        try:
            outcome = _outcome(call, body)
        except UNREADABLE as error:
            return self._hidden(call, body, response, error)
        return Whole(response.status, body, outcome, received_ns, passed(response, self.passed))

    def _read_error(self, body: bytes, response: Response) -> tuple[str, str] | None:
        """Amazon names the kind of an error in a header, and says what happened in the body."""
        kind = (response.header(b"x-amzn-errortype") or b"").split(b":")[0].decode("ascii", "replace")
        try:
            said = _errors.decode(body)
        except UNREADABLE:
            return None
        message = said.message or said.capital
        return (kind or "upstream_error", message) if message or kind else None

    def _corrected(self, status: int, code: str, message: str, body: bytes) -> tuple[int, str, bytes]:  # noqa: ARG002
        told = TetradError(message or "Bedrock refused the call", code=code, status=status)
        return status, code, error_body(told, "anthropic")


class _Stream(EventStream):
    """The events of Converse; the end of the body is the end of the stream."""

    def __init__(self, provider: PooledProvider, response: Coming, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(
            response, clock=provider.clock, drainer=provider.drainer, keep_bytes=provider.keep_bytes, headers=headers
        )

    def _end(self, events: bytes) -> int | None:  # noqa: ARG002 - no event ends it
        return None

    def _reader(self) -> ConverseReader:
        return ConverseReader()


def _invocation(call: ModelCall, fields: dict[str, msgspec.Raw]) -> bytes:
    """Return a message's body as Bedrock takes it: the model and the stream are in the path, betas in the body."""
    body = {name: raw for name, raw in fields.items() if name not in _STAYS}
    body["anthropic_version"] = msgspec.Raw(b'"%s"' % ANTHROPIC_VERSION.encode())
    betas = [
        each.strip().decode("latin-1")
        for name, value in call.headers
        if name == b"anthropic-beta"
        for each in value.split(b",")
        if each.strip()
    ]
    if betas and "anthropic_beta" not in body:
        body["anthropic_beta"] = msgspec.Raw(msgspec.json.encode(betas))
    return msgspec.json.encode(body)


def _outcome(call: ModelCall, body: bytes) -> Outcome:
    if call.operation.name == "messages":
        return read_outcome(call, body)
    if call.operation.name == "converse_count":
        counted = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("inputTokens")
        if counted is None:
            raise msgspec.ValidationError("it counts no tokens")
        return Outcome(usage=Usage(), attributes={"count_tokens.input_tokens": bytes(counted).decode()})
    answer = read_converse(body)
    message = msgspec.json.decode(body)["output"].get("message") or {}
    return Outcome(
        usage=answer.usage.usage() if answer.usage is not None else None,
        response_model=model_of(call),
        finish_reasons=(answer.stopReason,),
        output=msgspec.json.encode([message]),
    )
