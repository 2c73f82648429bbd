"""What a call may use at most, as far as it can be told before it is made."""

from __future__ import annotations

import contextlib
import re

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.limits._media import Steps, base64_steps, finished, tokens_steps
from tetrad.serving.ports import ModelCall

BYTES_PER_TOKEN = 3
"""Cautious: text has about four bytes a token, other alphabets and code have fewer."""
_OUTPUT_FIELDS = frozenset(("max_completion_tokens", "max_tokens", "max_output_tokens"))
_ANSWERS = frozenset(("n", "best_of", "prompt"))
_READ_TOO = frozenset(("system", "instructions", "tools", "functions", "response_format", "text"))
"""What a model reads beside the operation's input, in the words of all protocols."""
_ENCODED = re.compile(rb'"(?:url|image_url|file_data|data)"\s*:\s*"(?:data:[^",]{0,200};base64,)?')
"""What stands before a picture, a sound or a document in the words of OpenAI and of Anthropic. In a text, which is read
letter by letter, the quotation marks of the same are escaped."""
_ENCODED_BYTES = 4096
"""What is smaller is taken for text, unless it is of a kind that can be long all the same: a document."""
_DOCUMENT = b"JVBERi0"
"""`%PDF-` in base64."""
LONG_BYTES = 2**18
_MOST = 10**9


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """What a call may use at most, as far as it can be told before: tokens of input and output."""

    input: int
    output: int

    @classmethod
    def of(cls, call: ModelCall, assumed_output: int) -> Estimate:
        """Tell it from the size of all that is read, and from the client's own bound on each answer that it asks for.

        Of several bounds the widest counts: upstreams differ in which of them they keep.
        """
        return finished(cls.steps(call, assumed_output))

    @classmethod
    def steps(cls, call: ModelCall, assumed_output: int) -> Steps[Estimate]:
        """Tell it step by step: what is long must not keep everything else waiting."""
        size = yield from _size(call, call.operation.input)
        if call.operation.kind == "embeddings":
            return cls(size // BYTES_PER_TOKEN + 1, 0)
        fields, bound, answers = call.fields, assumed_output, 1
        if not _READ_TOO.isdisjoint(fields):
            size += sum(memoryview(fields[name]).nbytes for name in _READ_TOO & fields.keys() - {call.operation.input})
        if not _OUTPUT_FIELDS.isdisjoint(fields):
            bounds = [found for name in _OUTPUT_FIELDS if (found := _number(call, name)) is not None]
            bound = max(bounds, default=assumed_output)
        if not _ANSWERS.isdisjoint(fields):
            answers = max(1, _number(call, "n") or 1, _number(call, "best_of") or 1) * _prompts(call)
        return cls(size // BYTES_PER_TOKEN + 1, min(bound * answers, _MOST))


def _number(call: ModelCall, name: str) -> int | None:
    raw = call.fields.get(name)
    if raw is None:
        return None
    with contextlib.suppress(msgspec.MsgspecError):  # what is malformed is the upstream's to refuse
        found = msgspec.json.decode(raw, type=int | None)
        if found is not None:
            return max(0, min(found, _MOST))
    return None


def is_long(call: ModelCall) -> bool:
    """Tell whether an estimate of a call takes so long that others should get their turn between its steps."""
    sent = call.fields.get(call.operation.input)
    return sent is not None and memoryview(sent).nbytes > LONG_BYTES


def _size(call: ModelCall, name: str) -> Steps[int]:
    """Return how many bytes of text are about as many tokens as a field has."""
    sent = call.fields.get(name)
    if sent is None:
        return 0
    data = bytes(sent)
    if len(data) >= _ENCODED_BYTES or data.find(_DOCUMENT) >= 0:
        return (yield from _as_text(data))
    return len(data)


def _as_text(data: bytes) -> Steps[int]:
    """Return the size of JSON in which each picture, sound or document in base64 counts as what a model reads of it."""
    size = len(data)
    if b"base64," not in data and b'"data"' not in data:
        return size
    for mark in _ENCODED.finditer(data):
        start = mark.end()
        end = data.find(b'"', start)
        length = end - start
        known = length >= _ENCODED_BYTES or data.startswith(_DOCUMENT, start)
        if known and (yield from base64_steps(data, start, end)):
            tokens = yield from tokens_steps(data[start:end])
            if tokens is not None:
                size += tokens * BYTES_PER_TOKEN - length
    return size


def _prompts(call: ModelCall) -> int:
    """Return how many prompts a call has: legacy completions answer each text of a list."""
    sent = call.fields.get("prompt")
    if call.operation.name != "completions" or sent is None or bytes(sent)[:1] != b"[":
        return 1
    with contextlib.suppress(*UNREADABLE):
        items = msgspec.json.decode(sent, type=list[msgspec.Raw])
        if items and bytes(items[0])[:1] in (b'"', b"["):  # numbers are the tokens of one prompt
            return len(items)
    return 1
