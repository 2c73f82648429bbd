"""Embeddings in the words of each family of models: how many texts a call takes, how it is said, what comes back.

Sources: docs.aws.amazon.com/bedrock ("Amazon Titan Text Embeddings", "Cohere Embed v3", "Cohere Embed v4"),
ai.google.dev/api/embeddings (`batchEmbedContents`), cloud.google.com/vertex-ai ("Text embeddings API", `predict`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from tetrad.adapters.providers._answers import Whole
from tetrad.adapters.providers._endpoint import PooledProvider
from tetrad.kernel import UNREADABLE, TetradError, Usage
from tetrad.kit.upstream import BrokenAnswer, Response, TimedOut
from tetrad.serving import Upstream, error_body
from tetrad.serving.ports import Answer, ModelCall, Outcome

AT_ONCE = 8
"""So many calls of one request are under way together, fewer where the upstream may have fewer connections."""
_BILLED = b"x-amzn-bedrock-input-token-count"


class Asked(msgspec.Struct, frozen=True):
    """What is to be embedded; see `tetrad.serving.translation.embeddings_to_vectors`."""

    model: str
    texts: list[str]
    dimensions: int | None = None
    input_type: str | None = None
    task_type: str | None = None


class Embedded(NamedTuple):
    """The vectors of one call's texts, and how many tokens were read; None where that is not told."""

    vectors: list[list[float]]
    tokens: int | None


class Family(Protocol):
    """How models of one family are asked. A call takes `texts` texts of `chars` characters together at most.

    A text that is longer than `chars` goes alone: whether it is too long is the model's to say.
    """

    texts: int
    chars: int

    def say(self, texts: list[str], asked: Asked) -> dict[str, Any]:
        """Return the body of a call."""
        ...

    def read(self, body: bytes, response: Response) -> Embedded:
        """Read an answer; raises what `UNREADABLE` names for what is none."""
        ...


class _TitanAnswer(msgspec.Struct, frozen=True):
    embedding: list[float]
    inputTextTokenCount: int | None = None  # noqa: N815


class Titan:
    """Amazon Titan Text Embeddings: one text a call."""

    texts, chars = 1, 0

    def say(self, texts: list[str], asked: Asked) -> dict[str, Any]:
        return {"inputText": texts[0], **({"dimensions": asked.dimensions} if asked.dimensions else {})}

    def read(self, body: bytes, response: Response) -> Embedded:  # noqa: ARG002 - the body says it all
        found = msgspec.json.decode(body, type=_TitanAnswer)
        return Embedded([found.embedding], found.inputTextTokenCount)


class _CohereAnswer(msgspec.Struct, frozen=True):
    embeddings: Any


class Cohere:
    """Cohere Embed on Bedrock, since version 3. What texts are for must be said; documents are what is usual."""

    texts, chars = 96, 1_000_000

    def say(self, texts: list[str], asked: Asked) -> dict[str, Any]:
        said = {"texts": texts, "input_type": asked.input_type or "search_document", "embedding_types": ["float"]}
        return {**said, **({"output_dimension": asked.dimensions} if asked.dimensions else {})}

    def read(self, body: bytes, response: Response) -> Embedded:
        found = msgspec.json.decode(body, type=_CohereAnswer).embeddings
        floats = found.get("float") if isinstance(found, dict) else found
        billed = response.header(_BILLED) or b""
        return Embedded(msgspec.convert(floats, list[list[float]]), int(billed) if billed.isdigit() else None)


class _Content(msgspec.Struct, frozen=True):
    values: list[float]


class _Read(msgspec.Struct, frozen=True):
    promptTokenCount: int | None = None  # noqa: N815


class _GeminiAnswer(msgspec.Struct, frozen=True):
    embeddings: list[_Content]
    usageMetadata: _Read | None = None  # noqa: N815


class Gemini:
    """The Gemini API, `batchEmbedContents`. Most of its models do not say what was read."""

    texts, chars = 100, 1_000_000

    def say(self, texts: list[str], asked: Asked) -> dict[str, Any]:
        more: dict[str, Any] = {"outputDimensionality": asked.dimensions} if asked.dimensions else {}
        if asked.task_type:
            more["taskType"] = asked.task_type
        model = f"models/{asked.model.removeprefix('models/')}"
        return {"requests": [{"model": model, "content": {"parts": [{"text": each}]}, **more} for each in texts]}

    def read(self, body: bytes, response: Response) -> Embedded:  # noqa: ARG002 - the body says it all
        found = msgspec.json.decode(body, type=_GeminiAnswer)
        read = found.usageMetadata.promptTokenCount if found.usageMetadata is not None else None
        return Embedded([each.values for each in found.embeddings], read)


class _Statistics(msgspec.Struct, frozen=True):
    token_count: float | None = None


class _VertexValues(msgspec.Struct, frozen=True):
    values: list[float]
    statistics: _Statistics = _Statistics()


class _Prediction(msgspec.Struct, frozen=True):
    embeddings: _VertexValues


class _VertexAnswer(msgspec.Struct, frozen=True):
    predictions: list[_Prediction]


class Vertex:
    """Vertex AI, `predict`: 250 texts and 20,000 tokens a call, of Gemini's models one text."""

    chars = 20_000

    def __init__(self, model: str) -> None:
        self.texts = 1 if "gemini-embedding" in model else 250

    def say(self, texts: list[str], asked: Asked) -> dict[str, Any]:
        more = {"task_type": asked.task_type} if asked.task_type else {}
        # a text that is cut would be embedded as something else, without a word
        parameters: dict[str, Any] = {"autoTruncate": False}
        if asked.dimensions:
            parameters["outputDimensionality"] = asked.dimensions
        return {"instances": [{"content": each, **more} for each in texts], "parameters": parameters}

    def read(self, body: bytes, response: Response) -> Embedded:  # noqa: ARG002 - the body says it all
        found = [each.embeddings for each in msgspec.json.decode(body, type=_VertexAnswer).predictions]
        counts = [each.statistics.token_count for each in found]
        known = [count for count in counts if count is not None]
        return Embedded([each.values for each in found], int(sum(known)) if len(known) == len(counts) else None)


Send = Callable[[bytes], Awaitable[Response]]
Refused = Callable[[Response], Awaitable[Whole | None]]


class _Stopped(Exception):
    def __init__(self, refusal: Whole) -> None:
        super().__init__()
        self.refusal = refusal


class Embedding:
    """One request for embeddings, in as many calls as its family needs. One refusal ends them all, and is told."""

    def __init__(
        self, provider: PooledProvider, upstream: Upstream, family: Family, send: Send, refused: Refused
    ) -> None:
        self._provider, self._upstream, self._family = provider, upstream, family
        self._send, self._refused = send, refused
        self._left = provider.answer_bytes

    async def answer(self, call: ModelCall) -> Answer:
        """Return the vectors of all texts; raises `TetradError` as calls of any endpoint do."""
        asked = _asked(call)
        batches = split(asked.texts, self._family)
        gate = asyncio.Semaphore(max(min(AT_ONCE, self._upstream.max_connections), 1))

        async def one(texts: list[str]) -> Embedded:
            async with gate:
                return await self._one(texts, asked)

        tasks = [asyncio.ensure_future(one(texts)) for texts in batches]
        try:
            async with asyncio.timeout(self._upstream.total_timeout_s):
                found = await asyncio.gather(*tasks)
        except _Stopped as stopped:
            return self._told(stopped.refusal)
        except TimeoutError:
            raise TimedOut(
                f"the upstream {self._upstream.name!r} did not embed {len(asked.texts):,} texts within "
                f"{self._upstream.total_timeout_s:g} s"
            ) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        vectors = [vector for each in found for vector in each.vectors]
        known = [each.tokens for each in found if each.tokens is not None]
        tokens = sum(known) if len(known) == len(found) else None
        outcome = Outcome(
            usage=Usage(input=tokens) if tokens is not None else None,
            response_model=asked.model,
            attributes={"embeddings.count": str(len(vectors)), "embeddings.calls": str(len(found))},
        )
        body = msgspec.json.encode({"vectors": vectors, "tokens": tokens})
        return Whole(200, body, outcome, self._provider.clock.now_ns(), [])

    async def _one(self, texts: list[str], asked: Asked) -> Embedded:
        response = await self._send(msgspec.json.encode(self._family.say(texts, asked)))
        try:
            refusal = await self._refused(response)
            if refusal is not None:
                raise _Stopped(refusal)
            body = await response.read_all(self._left)
        except BaseException:
            response.close()
            raise
        self._left -= len(body)
        if self._left <= 0:
            raise BrokenAnswer("the answers are larger than an answer may be", hint="embed fewer texts in one request")
        try:
            found = self._family.read(body, response)
        except (*UNREADABLE, ValueError, TypeError) as error:
            raise self._broken(f"with what is no embedding: {error}") from None
        if len(found.vectors) != len(texts):
            raise self._broken(f"{len(texts)} texts with {len(found.vectors)} vectors")
        if not all(vector and all(map(math.isfinite, vector)) for vector in found.vectors):
            raise self._broken("with a vector that has no numbers")
        if found.tokens is not None and found.tokens < 0:
            raise self._broken("with a count of tokens below 0")
        return found

    def _broken(self, what: str) -> BrokenAnswer:
        return BrokenAnswer(f"the upstream {self._upstream.name!r} answered {what}", hint="check the model's name")

    def _told(self, refusal: Whole) -> Whole:
        outcome = refusal.outcome()
        error = TetradError(outcome.error_message, code=outcome.error_type, status=refusal.status)
        headers = [each for each in refusal.headers if each[0] != b"content-type"]
        return Whole(refusal.status, error_body(error, "openai"), outcome, refusal.received_ns, headers)


def split(texts: list[str], family: Family) -> list[list[str]]:
    """Return the texts in batches that a call of the family takes, in order."""
    batches: list[list[str]] = []
    size = 0
    for text in texts:
        if not batches or len(batches[-1]) >= family.texts or size + len(text) > family.chars:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text)
    return batches


def _asked(call: ModelCall) -> Asked:
    return msgspec.json.decode(msgspec.json.encode(call.fields), type=Asked)
