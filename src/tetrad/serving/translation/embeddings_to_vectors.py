"""Clients that speak OpenAI's embeddings to upstreams that embed in words of their own.

What upstreams are asked has no protocol of anybody's: texts, and what is wanted of their vectors. Adapters say it as
each family of models wants it, in as many calls as it takes, and put the vectors together.
"""

from __future__ import annotations

import base64
import struct
from typing import Any, NoReturn

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving._operations import VECTORS
from tetrad.serving.errors import BadAnswer
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._kinds import Translation
from tetrad.serving.translation._saying import Losses, as_list, as_text, bad, decoded, encoded, guarded

MAX_TEXTS = 2048
"""How many texts one request may embed."""
MAX_DIMENSIONS = 65_536


class Vectors(msgspec.Struct, frozen=True):
    """What an adapter answers: a vector for each text, in order, and how many tokens were read, where that is known."""

    vectors: list[list[float]]
    tokens: int | None = None


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call as adapters are asked; see `Translator`.

    `input_type` and `task_type` go on to those that tell texts from questions (Cohere's and Google's words).
    """
    body, losses = decoded(call.fields), Losses(strict)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else as_list(given, "input")
    if not texts or len(texts) > MAX_TEXTS or not all(isinstance(each, str) for each in texts):
        raise bad("input", f"a text, or up to {MAX_TEXTS:,} texts (tokens are not understood)")
    form = body.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise bad("encoding_format", "'float' or 'base64'")
    said: dict[str, Any] = {"model": as_text(body.get("model"), "model"), "texts": texts}
    size = body.get("dimensions")
    if size is not None:
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_DIMENSIONS:
            raise bad("dimensions", f"a number from 1 to {MAX_DIMENSIONS:,}")
        said["dimensions"] = size
    for name in ("input_type", "task_type"):
        if body.get(name) is not None:
            said[name] = as_text(body[name], name)
    losses.rest(body, ("input", "encoding_format", "user", *said), "")
    if body.get("user") is not None:
        losses.lose("user")
    return VectorAnswers(
        ModelCall(VECTORS, encoded(said), strict=call.strict), losses.paths, said["model"], packed=form == "base64"
    )


class VectorAnswers:
    """A `Translation` of embeddings. Adapters tell errors in the client's words already."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...], model: str, *, packed: bool) -> None:
        self.call = call
        self.dropped = dropped
        self._model = model
        self._packed = packed

    def whole(self, body: bytes) -> bytes:
        try:
            found = msgspec.json.decode(body, type=Vectors)
            data = [
                {"object": "embedding", "index": n, "embedding": _packed(each) if self._packed else each}
                for n, each in enumerate(found.vectors)
            ]
        except (*UNREADABLE, struct.error, OverflowError) as error:
            raise BadAnswer(f"the upstream's answer is no list of embeddings: {error}") from None
        said: dict[str, Any] = {"object": "list", "model": self._model, "data": data}
        if found.tokens is not None:
            said["usage"] = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
        return msgspec.json.encode(said)

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        return status, body

    def events(self) -> NoReturn:
        raise BadAnswer("embeddings are no stream")

    def outcome(self, outcome: Outcome) -> Outcome:
        return outcome


def _packed(values: list[float]) -> str:
    """Return numbers as OpenAI's clients ask for them: little-endian singles in base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
