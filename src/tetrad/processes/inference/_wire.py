"""What the front and its model child say to each other: length-prefixed msgpack over a socket pair."""

from __future__ import annotations

import msgspec

HEAD = 4
MAX_FRAME = 64 * 2**20


class Load(msgspec.Struct, frozen=True, tag="load"):
    """The first word: which files, how many threads, how long a text may be."""

    model: str
    tokenizer: str
    threads: int
    max_tokens: int


class Embed(msgspec.Struct, frozen=True, tag="embed"):
    """Texts to embed."""

    texts: list[str]


class Vectors(msgspec.Struct, frozen=True, tag="vectors"):
    """Their vectors: float32, little-endian, one after the other; and their lengths in tokens."""

    data: bytes
    tokens: list[int]


class TooLong(msgspec.Struct, frozen=True, tag="too_long"):
    """A text has too many tokens; nothing was embedded."""

    index: int
    tokens: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The model is loaded; the length of its vectors."""

    dimensions: int


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """The files cannot be used, or the runtime failed."""

    reason: str


Request = Load | Embed
Answer = Vectors | TooLong | Loaded | Broken
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def frame(message: Request | Answer) -> bytes:
    """Write a message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEAD, "big") + body


def read_request(body: bytes) -> Request:
    """Read what the front says."""
    return _requests.decode(body)


def read_answer(body: bytes) -> Answer:
    """Read what the child says."""
    return _answers.decode(body)
