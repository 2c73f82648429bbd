"""By what a cached answer is found: everything that may change it, and nothing else."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from tetrad.serving._exchange import Exchange
from tetrad.serving._model import CachePolicy
from tetrad.serving.ports import ModelCall

if TYPE_CHECKING:
    from tetrad.serving._routing import Route

_NAMED = frozenset(("model",))
"""What the route says already."""
_IGNORED = _NAMED | frozenset(("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"))
"""Fields that say who asks, and hints: an answer neither depends on them nor repeats them, but see `_ignored`."""
_STREAMING = frozenset(("stream", "stream_options"))
_STATEFUL = ("conversation", "previous_response_id", "background")
"""Fields by which a call leaves something behind at the upstream, or stands on it; such calls are made each time."""
_CACHED = frozenset(("chat", "embeddings", "moderations", "rerank"))
_COLD = 0.2
MAX_QUESTION_CHARS = 2000
"""A longer question is not compared with others: the embedding model reads no more."""


_FIGURES = re.compile(r"\w*\d[\w.,:/-]*")
_NEGATIONS = re.compile(r"\b(?:not|no|never|none|nobody|nothing|without|cannot)\b|n[\u2019']t\b")


class _Part(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None


class _Turn(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None


_messages = msgspec.json.Decoder(list[msgspec.Raw])
_turns = msgspec.json.Decoder(_Turn)
_numbers = msgspec.json.Decoder(float | None)


def may_be_cached(call: ModelCall) -> bool:
    """Tell whether answers to such a call can be kept at all.

    What is stored somewhere is another thing each time, with an id of its own: given twice, it would be one that the
    first caller deletes for the second. Responses are stored unless a request says otherwise, chat answers are not.
    """
    fields = call.fields
    if call.operation.kind not in _CACHED or any(name in fields for name in _STATEFUL):
        return False
    store = bytes(fields.get("store", b""))
    return store == b"false" or (store in (b"", b"null") and call.operation.name != "responses")


def one_form(call: ModelCall) -> bool:
    """Tell whether stream and whole answer are two forms of one thing, so that either may stand for the other."""
    return call.operation.name == "chat"


def answer_key(exchange: Exchange, route: Route, call: ModelCall, policy: CachePolicy) -> bytes | None:
    """Return the digest that an answer is kept under; None where the policy wants a user or unit and none is named.

    It covers project, release, binding, model, upstream, operation, what of the call may be recorded, what the client's
    protocol tells the upstream beside the body, and every field that may change the answer. Values are compared as they
    are written, without white space between tokens: two texts that parsers might read differently are never one key.
    """
    found = _Digest()
    if not _add_scope(found, exchange, route, call, policy):
        return None
    ignored = _ignored(call)
    for name in sorted(call.fields):
        if name not in ignored and not (name in _STREAMING and one_form(call)):
            found.add(name.encode())
            found.add(_compact(call.fields[name]))
    return found.digest()


def question(exchange: Exchange, route: Route, call: ModelCall, policy: CachePolicy) -> tuple[str, str] | None:
    """Return (partition, text) of a call that similar ones may answer; None where its words must be met exactly.

    The text is that of the last message, which must be a user's and nothing but text. All else that `answer_key`
    covers, earlier messages with every system prompt first, is in the partition, so that it is compared exactly. So is
    what vectors are blind for, see `sharp_words`.
    """
    if (
        policy.semantic == "off"
        or exchange.key is None
        or exchange.key.content != "full"  # a question that must not be kept is not put into an index
        or call.operation.name != "chat"
        or "tools" in call.fields
        or "functions" in call.fields
    ):
        return None
    if policy.semantic == "cold" and not _is_cold(call.fields.get("temperature")):
        return None
    try:
        messages = _messages.decode(call.fields["messages"])
        last = _turns.decode(messages[-1])
    except (msgspec.MsgspecError, KeyError, IndexError):
        return None
    text = _text(last)
    if last.role != "user" or not text.strip() or len(text) > MAX_QUESTION_CHARS:
        return None
    found = _Digest()
    found.add(b"question")
    if not _add_scope(found, exchange, route, call, policy):
        return None
    for word in sharp_words(text):
        found.add(word.encode())
    for message in messages[:-1]:
        found.add(_compact(message))
    if b'"name"' in _compact(messages[-1]):
        return None  # who speaks is part of what is said
    ignored = _ignored(call)
    for name in sorted(call.fields):
        if name not in ignored and name not in _STREAMING and name != "messages":
            found.add(name.encode())
            found.add(_compact(call.fields[name]))
    return found.digest().hex(), text


def sharp_words(text: str) -> list[str]:
    """Return what must be equal in two questions however near their vectors are: figures, and how often they negate.

    Order 66 is not order 67, and `can I` is not `can't I`, yet vectors hardly tell them apart. Negations are English.
    """
    lower = text.lower()
    figures = sorted(word.rstrip(".,:/-") for word in _FIGURES.findall(lower))
    return [*figures, f"{len(_NEGATIONS.findall(lower))} negations", f"{len(figures)} figures"]


class _Digest:
    """SHA-256 over parts, each with its length before it, so that no two lists of parts are one text."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"tetrad.cache.v2")

    def add(self, part: bytes) -> None:
        self._hash.update(b"%d:" % len(part))
        self._hash.update(part)

    def digest(self) -> bytes:
        return self._hash.digest()


def _ignored(call: ModelCall) -> frozenset[str]:
    """Return the fields that are not in the key; Responses repeat the whole request, so they show whose it was."""
    return _NAMED if call.operation.name == "responses" else _IGNORED


def _add_scope(found: _Digest, exchange: Exchange, route: Route, call: ModelCall, policy: CachePolicy) -> bool:
    key = exchange.key
    if key is None:
        return False
    entry, upstream = route.model.entry, route.model.upstream
    for text in (
        key.project,
        route.app,
        route.release.route.digest if route.release is not None else "",
        route.binding,
        entry.name,
        entry.upstream_model,
        entry.digest,
        upstream.name,
        upstream.base_url,
        call.operation.name,
        str(policy.generation),
        str(call.strict),
        policy.shared_by,
        key.content,  # what may not be recorded must not come back to those whose calls are
    ):
        found.add(text.encode())
    if policy.shared_by != "project":
        # a unit falls back to the key, which is no person: only what the request itself names counts
        owner = exchange.user if policy.shared_by == "user" else _named_unit(exchange)
        if not owner:
            return False
        found.add(owner.encode())
    found.add(b"%d" % len(call.headers))
    for name, value in sorted(call.headers):  # they are parameters of the call: the client's protocol says so
        found.add(name)
        found.add(value)
    return True


def _named_unit(exchange: Exchange) -> str:
    return "" if exchange.key is not None and exchange.unit == exchange.key.id else exchange.unit


def _compact(raw: msgspec.Raw) -> bytes:
    return msgspec.json.format(bytes(raw), indent=-1)


def _is_cold(raw: msgspec.Raw | None) -> bool:
    if raw is None:
        return False
    try:
        value = _numbers.decode(raw)
    except msgspec.MsgspecError:
        return False
    return value is not None and value <= _COLD


def _text(turn: _Turn) -> str:
    content: Any = turn.content
    if isinstance(content, str):
        return content
    if isinstance(content, list) and len(content) == 1 and content[0].type == "text":
        return content[0].text or ""
    return ""
