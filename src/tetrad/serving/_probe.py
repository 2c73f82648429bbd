"""Ask a provider itself: which models it has, and what of it works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tetrad.kernel import Clock, InvalidInput, TetradError
from tetrad.kit.egress import PUBLIC
from tetrad.kit.upstream import Client, Limits
from tetrad.serving._operations import CHAT, COUNT_TOKENS, EMBEDDINGS, Operation
from tetrad.serving._providers import ProviderModel, ProviderSpec, upstream_of
from tetrad.serving._said import said
from tetrad.serving._shelf import ProviderShelf
from tetrad.serving.ports import Answer, Endpoint, ModelCall, Outcome

MAX_ANSWER = 16 * 1024 * 1024
MAX_LISTED = 5000
DEADLINE_S = 50.0
_PING: dict[str, Any] = {"messages": [{"role": "user", "content": "Answer with the word ok."}], "max_tokens": 64}
_COUNTED: dict[str, Any] = {"messages": _PING["messages"]}
_TOOL: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What is the weather in Oslo? Use the tool."}],
    "max_tokens": 256,
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Return the weather of a city.",
                "parameters": {
                    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
                },
            },
        }
    ],
}  # fmt: skip


class ProviderCheck(msgspec.Struct, frozen=True):
    """One thing that was tried: whether it works, how long it took, and what came of it."""

    what: str
    works: bool
    seconds: float
    detail: str = ""


class ProviderProbe:
    """Calls providers from the control plane, each time over connections of its own, within `DEADLINE_S`."""

    def __init__(
        self,
        secret: Callable[[str, str], str],
        clock: Clock,
        *,
        egress: str = PUBLIC,
        client: Callable[[], Client] = lambda: Client(Limits(max_connections=4), bounded=True),
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._egress = egress
        self._client = client

    async def models(self, spec: ProviderSpec) -> tuple[str, ...]:
        """Return the names that the provider lists, at most `MAX_LISTED`.

        Raises `TetradError` where it lists none, or cannot be reached; the secret is in no message.
        """
        async with self._endpoint(spec) as endpoint:
            lists = getattr(endpoint, "models", None)
            if lists is None:
                raise InvalidInput(
                    f"the adapter {spec.adapter!r} cannot list models", hint="name them yourself", code="not_listed"
                )
            found: tuple[str, ...] = await lists()
            return found[:MAX_LISTED]

    async def test(self, spec: ProviderSpec, model: str = "") -> list[ProviderCheck]:
        """Try what matters, one call each: an answer, a stream, a tool, a count, embeddings, the list of models.

        `model` is one of the spec's; else the first of each kind is asked. The calls cost what such calls cost.
        """
        if model and model not in {each.name for each in spec.models}:
            raise InvalidInput(f"the provider {spec.name!r} has no model {model[:80]!r}", hint="see its models")
        known = [each for each in spec.models if not model or each.name == model]
        chat = next((each for each in known if "chat" in each.kinds), None)
        embedder = next((each for each in known if "embeddings" in each.kinds), None)
        checks = []
        async with self._endpoint(spec) as endpoint:
            if chat is not None:
                checks.append(await _tried("chat", lambda: _asked(endpoint, chat, CHAT, _PING)))
                checks.append(await _tried("stream", lambda: _asked(endpoint, chat, CHAT, _PING, stream=True)))
                checks.append(await _tried("tools", lambda: _called(endpoint, chat)))
                checks.append(await _tried("count_tokens", lambda: _asked(endpoint, chat, COUNT_TOKENS, _COUNTED)))
            if embedder is not None:
                text = {"input": "hello"}
                checks.append(await _tried("embeddings", lambda: _asked(endpoint, embedder, EMBEDDINGS, text)))
            lists = getattr(endpoint, "models", None)
            if lists is not None:
                checks.append(await _tried("models", lambda: _counted(lists)))
        return checks

    @asynccontextmanager
    async def _endpoint(self, spec: ProviderSpec) -> AsyncIterator[Endpoint]:
        secret = await asyncio.to_thread(self._secret, spec.project, spec.secret) if spec.secret else ""
        shelf = ProviderShelf(self._client(), self._clock, keep_bytes=MAX_ANSWER, answer_bytes=MAX_ANSWER)
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield shelf[spec.adapter].endpoint(upstream_of(spec, secret, egress=self._egress))
        except TimeoutError:
            raise TetradError(
                f"the provider {spec.name!r} did not answer within {DEADLINE_S:g} s",
                hint="try again, or check its address",
                code="upstream_timeout",
                status=504,
            ) from None
        finally:
            await shelf.close()


async def _tried(what: str, attempt: Callable[[], Awaitable[str]]) -> ProviderCheck:
    begun = time.monotonic()
    try:
        detail, works = await attempt(), True
    except TetradError as error:
        detail, works = f"{error.message} ({error.hint})" if error.hint else error.message, False
    return ProviderCheck(what, works, round(time.monotonic() - begun, 3), detail[:1000])


async def _asked(
    endpoint: Endpoint, model: ProviderModel, operation: Operation, body: dict[str, Any], *, stream: bool = False
) -> str:
    outcome, answer = await _outcome(endpoint, model, operation, body, stream=stream)
    if operation is COUNT_TOKENS:
        estimated = any(name == b"x-tetrad-estimated" for name, _ in answer.headers)
        return "an estimate of ours" if estimated else "by the provider"
    if outcome.usage is None:
        return "works; it does not say what was used"
    return f"{outcome.usage.input_total} tokens in, {outcome.usage.output_total} out"


async def _called(endpoint: Endpoint, model: ProviderModel) -> str:
    outcome, _ = await _outcome(endpoint, model, CHAT, _TOOL)
    calls = [name for each in said("chat", outcome.output) for name, _ in each.calls]
    if "weather" not in calls:
        raise TetradError("the model took the tool and did not call it", hint="it may be too small for tools")
    return "it called the tool"


async def _counted(lists: Callable[[], Awaitable[tuple[str, ...]]]) -> str:
    return f"{len(await lists()):,} listed"


async def _outcome(
    endpoint: Endpoint, model: ProviderModel, operation: Operation, body: dict[str, Any], *, stream: bool = False
) -> tuple[Outcome, Answer]:
    fields = {**body, "model": model.deployment or model.name, **({"stream": True} if stream else {})}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    answer = await endpoint.call(ModelCall(operation, raw, stream, usage_asked=True))
    try:
        size = len(await answer.read())
        while not answer.done and size < MAX_ANSWER:
            size += len(await answer.read())
        outcome = answer.outcome()
    finally:
        answer.close()
    if answer.status >= 400 or outcome.error_type:
        raise TetradError(
            f"it answered {answer.status}: {outcome.error_message[:500] or outcome.error_type}",
            code=outcome.error_type or "upstream_error",
        )
    return outcome, answer
