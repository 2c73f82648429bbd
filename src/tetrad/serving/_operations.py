"""What clients ask for: one entry per path of the data plane, with the protocol that its answers and errors speak."""

from __future__ import annotations

from typing import Literal

import msgspec

from tetrad.serving._model import Kind

Dialect = Literal["openai", "anthropic", "responses"]
"""Whose words errors and streams are told in."""


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One thing that a client may ask a model for.

    `kind` is what the model must be able to do. `input` is the field of the body that holds what the model gets to
    see. `prompted` tells whether a release puts its prompt and parameters into the body. `streams` tells whether the
    client may ask for a stream. With `form` the body is no JSON but multipart/form-data.
    """

    name: str
    path: str
    kind: Kind
    dialect: Dialect = "openai"
    input: str = "messages"
    prompted: bool = False
    streams: bool = False
    form: bool = False
    system: str = ""
    """The field that holds instructions, where they stand beside the input."""
    passed: tuple[bytes, ...] = ()
    """Headers of the client that its protocol means for the upstream."""


CHAT = Operation("chat", "/v1/chat/completions", "chat", prompted=True, streams=True)
EMBEDDINGS = Operation("embeddings", "/v1/embeddings", "embeddings", input="input")
MODERATIONS = Operation("moderations", "/v1/moderations", "moderations", input="input")
RERANK = Operation("rerank", "/v1/rerank", "rerank", input="query")
"""As Cohere and Jina shape it, and vLLM and Infinity serve it."""
IMAGES = Operation("images", "/v1/images/generations", "images", input="prompt", streams=True)
IMAGE_EDITS = Operation("image_edits", "/v1/images/edits", "images", input="prompt", streams=True, form=True)
IMAGE_VARIATIONS = Operation("image_variations", "/v1/images/variations", "images", input="image", form=True)
TRANSCRIPTIONS = Operation(
    "transcriptions", "/v1/audio/transcriptions", "transcriptions", input="file", streams=True, form=True
)
TRANSLATIONS = Operation("translations", "/v1/audio/translations", "transcriptions", input="file", form=True)
SPEECH = Operation("speech", "/v1/audio/speech", "speech", input="input")

_ANTHROPIC_HEADERS = (b"anthropic-version", b"anthropic-beta")
MESSAGES = Operation(
    "messages", "/v1/messages", "chat", "anthropic", prompted=True, streams=True, system="system",
    passed=_ANTHROPIC_HEADERS,
)  # fmt: skip
COUNT_TOKENS = Operation(
    "count_tokens", "/v1/messages/count_tokens", "chat", "anthropic", prompted=True, system="system",
    passed=_ANTHROPIC_HEADERS,
)  # fmt: skip
COMPLETIONS = Operation("completions", "/v1/completions", "chat", input="prompt", streams=True)
RESPONSES = Operation("responses", "/v1/responses", "chat", "responses", input="input", prompted=True, streams=True)

OPERATIONS: tuple[Operation, ...] = (
    CHAT,
    EMBEDDINGS,
    MODERATIONS,
    RERANK,
    IMAGES,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    SPEECH,
    MESSAGES,
    COUNT_TOKENS,
    COMPLETIONS,
    RESPONSES,
)
BY_PATH: dict[str, Operation] = {operation.path: operation for operation in OPERATIONS}

GEMINI = Operation("gemini", "", "chat", input="contents", streams=True, system="systemInstruction")
GEMINI_COUNT = Operation("gemini_count", "", "chat", input="contents", system="systemInstruction")
VECTORS = Operation("vectors", "", "embeddings", input="texts")
"""What is asked of upstreams that embed in words of their own; see `translation.embeddings_to_vectors`."""
CONVERSE = Operation("converse", "", "chat", input="messages", streams=True, system="system")
CONVERSE_COUNT = Operation("converse_count", "", "chat", input="messages", system="system")
MISTRAL = Operation("mistral", "", "chat", streams=True)
"""What some upstreams speak and no client does: Google's generateContent, Amazon Bedrock's Converse, Mistral's dialect
of chat completions. They have no paths here; adapters know theirs."""
