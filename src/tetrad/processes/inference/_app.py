"""`/v1/embeddings` as OpenAI's clients know it, and `/v1/similar` for the gateway's cache (ASGI)."""

from __future__ import annotations

import base64
import json
import logging
import struct
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any, TypeVar

import msgspec

from tetrad.kernel import InvalidInput, NotFound, TetradError, TooLarge
from tetrad.processes.inference._embedder import Embedder
from tetrad.processes.inference._similar import SimilarIndex

log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_T = TypeVar("_T")
_TYPES = {400: "invalid_request_error", 404: "invalid_request_error", 413: "invalid_request_error"}


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """What a client sends; fields of others' dialects are ignored."""

    input: Any
    model: str = ""
    encoding_format: str = "float"
    dimensions: int | None = None
    user: str = ""


_RECENT = 256
_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Question = Annotated[str, msgspec.Meta(min_length=1, max_length=8000)]


class SimilarRequest(msgspec.Struct, frozen=True):
    """Which earlier question of a partition is nearest to this one, if its cosine reaches the threshold."""

    partition: _Digest
    text: _Question
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)]


class SimilarEntry(msgspec.Struct, frozen=True):
    """A question to remember, and the key under which its answer lies."""

    partition: _Digest
    text: _Question
    key: _Digest
    ttl_s: Annotated[int, msgspec.Meta(ge=1, le=31 * 86_400)]


class InferenceApp:
    """Answers `/v1/embeddings`, `/v1/similar`, `/v1/models`, `/healthz` and `/readyz`."""

    def __init__(
        self,
        embedder: Embedder,
        model: str,
        *,
        max_inputs: int,
        max_body: int,
        similar: SimilarIndex,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._embedder, self._model = embedder, model
        self._similar, self._now_s = similar, now_s
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._max_inputs, self._max_body = max_inputs, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status, body = 200, await self._answer(scope["method"], scope["path"], receive)
            headers: list[tuple[bytes, bytes]] = []
        except TetradError as error:
            status, body, headers = error.status, _error(error), _retry(error)
        except Exception:  # one request must not take the process down
            log.exception("an embedding request failed")
            status, body, headers = 500, _error(TetradError("the request failed", hint="see inference.log")), []
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    *headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str, receive: Receive) -> bytes:
        if path in ("/healthz", "/readyz") and method == "GET":
            return json.dumps({"status": "ok", "model": self._embedder.state}).encode()
        if path == "/v1/models" and method == "GET":
            return json.dumps({"object": "list", "data": [{"id": self._model, "object": "model"}]}).encode()
        if path == "/v1/embeddings" and method == "POST":
            return await self._embeddings(await self._body(receive))
        if path == "/v1/similar" and method == "POST":
            return await self._nearest(_decoded(await self._body(receive), SimilarRequest))
        if path == "/v1/similar/entries" and method == "POST":
            return await self._remember(_decoded(await self._body(receive), SimilarEntry))
        raise NotFound(f"there is no {method} {path[:100]}", hint="POST /v1/embeddings")

    async def _nearest(self, asked: SimilarRequest) -> bytes:
        vector = await self._vector(asked.text)
        found = self._similar.find(asked.partition, vector, asked.threshold, self._now_s())
        key, score = found if found is not None else (None, 0.0)
        return msgspec.json.encode({"key": key, "score": score})

    async def _remember(self, entry: SimilarEntry) -> bytes:
        vector = await self._vector(entry.text)
        self._similar.add(entry.partition, vector, entry.key, self._now_s() + entry.ttl_s)
        return b"{}"

    async def _vector(self, text: str) -> bytes:
        """Return a text's vector; one that was just looked for is mostly remembered next."""
        found = self._recent.get(text)
        if found is None:
            found = (await self._embedder.embed([text])).data
            self._recent[text] = found
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return found

    async def _body(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise InvalidInput("the client went away in the middle of its body")
            body += message.get("body", b"")
            if len(body) > self._max_body:
                raise TooLarge(f"the body is larger than {self._max_body} bytes", hint="send fewer texts at once")
            if not message.get("more_body"):
                return bytes(body)

    async def _embeddings(self, body: bytes) -> bytes:
        request = _read(body)
        if request.model not in ("", self._model):
            raise NotFound(f"the model {request.model[:80]!r} is not served here", hint=f"use {self._model}")
        if request.encoding_format not in ("float", "base64"):
            raise InvalidInput(f"encoding_format is {request.encoding_format[:40]!r}", hint="float or base64")
        texts = _texts(request.input, self._max_inputs)
        vectors = await self._embedder.embed(texts)
        width = len(vectors.data) // len(texts)
        if request.dimensions not in (None, width // 4):
            raise InvalidInput(f"the model has {width // 4} dimensions", hint="leave `dimensions` out")
        pieces = [vectors.data[at : at + width] for at in range(0, len(vectors.data), width)]
        total = sum(vectors.tokens)
        return msgspec.json.encode(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": _encoded(piece, request.encoding_format)}
                    for index, piece in enumerate(pieces)
                ],
                "model": self._model,
                "usage": {"prompt_tokens": total, "total_tokens": total},
            }
        )


def _read(body: bytes) -> EmbeddingRequest:
    try:
        return msgspec.json.decode(body, type=EmbeddingRequest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the request cannot be read: {error}", hint='{"model": …, "input": "text"}') from None


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the request cannot be read: {error}", hint=f"send a {kind.__name__}") from None


def _texts(given: Any, most: int) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidInput("`input` is neither a text nor a list of texts", hint="send at least one text")
    if isinstance(texts[0], int | list):
        raise InvalidInput(
            "`input` holds tokens; this model has a tokenizer of its own",
            hint="send texts",
            code="tokens_not_supported",
        )
    if len(texts) > most:
        raise InvalidInput(f"`input` has {len(texts)} texts; at most {most} go at once", hint="send several requests")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"input {index} is no text", hint="send texts only")
        if not text:
            raise InvalidInput(f"input {index} is empty", hint="leave empty texts out")
    return texts


def _encoded(piece: bytes, form: str) -> str | list[float]:
    if form == "base64":
        return base64.b64encode(piece).decode("ascii")
    return list(struct.unpack(f"<{len(piece) // 4}f", piece))


def _error(error: TetradError) -> bytes:
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    kind = _TYPES.get(error.status, "rate_limit_error" if error.status == 429 else "server_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "code": error.code, "param": None}})


def _retry(error: TetradError) -> list[tuple[bytes, bytes]]:
    return [] if error.retry_after_s is None else [(b"retry-after", str(round(error.retry_after_s)).encode())]
