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
    client may ask for a stream.
    """

    name: str
    path: str
    kind: Kind
    dialect: Dialect = "openai"
    input: str = "messages"
    prompted: bool = False
    streams: bool = False
    system: str = ""
    """The field that holds instructions, where they stand beside the input."""
    passed: tuple[bytes, ...] = ()
    """Headers of the client that its protocol means for the upstream."""


CHAT = Operation("chat", "/v1/chat/completions", "chat", prompted=True, streams=True)
EMBEDDINGS = Operation("embeddings", "/v1/embeddings", "embeddings", input="input")
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

OPERATIONS: tuple[Operation, ...] = (CHAT, EMBEDDINGS, MESSAGES, COUNT_TOKENS, COMPLETIONS, RESPONSES)
BY_PATH: dict[str, Operation] = {operation.path: operation for operation in OPERATIONS}
