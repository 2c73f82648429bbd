"""Usage in the words of each protocol; `tetrad.kernel.Usage`, whose buckets are disjoint, is what they have in common.

OpenAI counts cached tokens in `prompt_tokens` and reasoning in `completion_tokens`. Anthropic's `input_tokens` has
nothing of the cache in it, its `output_tokens` the thinking.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from tetrad.kernel import UNREADABLE, DoubtfulUsage, Usage, usage_of_parts

_Said = TypeVar("_Said")


class _PromptDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = None


class _Chat(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None


class _Writes(msgspec.Struct, frozen=True, gc=False):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _Thoughts(msgspec.Struct, frozen=True, gc=False):
    thinking_tokens: int | None = None


class MessagesUsage(msgspec.Struct, frozen=True):
    """What Anthropic says of usage, at the start and at the end of a stream."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _Writes | None = None
    output_tokens_details: _Thoughts | None = None

    def updated(self, later: MessagesUsage) -> MessagesUsage:
        """Return what holds once a later, cumulative count has come."""
        said = {name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None}
        return msgspec.structs.replace(self, **said)

    def usage(self) -> Usage:
        """Return it in disjoint buckets."""
        written = self.cache_creation_input_tokens or 0
        hour = (self.cache_creation.ephemeral_1h_input_tokens if self.cache_creation else None) or 0
        five = (self.cache_creation.ephemeral_5m_input_tokens if self.cache_creation else None) or 0
        output = self.output_tokens or 0
        thoughts = (self.output_tokens_details.thinking_tokens if self.output_tokens_details else None) or 0
        thoughts = min(thoughts, output)
        return Usage(
            input=self.input_tokens or 0,
            cache_read=self.cache_read_input_tokens or 0,
            cache_write=max(written - hour, five, 0) if written >= 0 else written,
            output=output - thoughts,
            reasoning=thoughts,
            cache_write_1h=hour,
        )


class _Sound(msgspec.Struct, frozen=True, gc=False):
    audio_tokens: int | None = None


class _Sounds(msgspec.Struct, frozen=True):
    prompt_tokens_details: _Sound | None = None
    completion_tokens_details: _Sound | None = None


_SOUND = re.compile(rb'"audio_tokens"\s*:\s*[1-9]')
_sounds = msgspec.json.Decoder(_Sounds)
_chat = msgspec.json.Decoder(_Chat | None)
_loose_chat = msgspec.json.Decoder(_Chat | None, strict=False)
_messages = msgspec.json.Decoder(MessagesUsage | None)
_loose_messages = msgspec.json.Decoder(MessagesUsage | None, strict=False)


def usage_of_chat(raw: msgspec.Raw | bytes) -> Usage | None:
    """Read what OpenAI's protocol says; None where nothing was said that can be read and can be true.

    Counts may be written as 12.0 or "12". Where a dialect counts reasoning beside the completion, or what was cached
    beside the prompt, the total tells.
    """
    data = bytes(raw)
    if not data:
        return None
    said = _read(_chat, _loose_chat, data)
    if said is None or (said.prompt_tokens is None and said.completion_tokens is None):
        return None
    prompt, completion = said.prompt_tokens or 0, said.completion_tokens or 0
    details = said.prompt_tokens_details
    if details is None and said.completion_tokens_details is None and not said.prompt_cache_hit_tokens:
        return _plausible(Usage(prompt, 0, 0, completion))
    cached = (details.cached_tokens if details else None) or said.prompt_cache_hit_tokens or 0
    written = (details.cache_write_tokens if details else None) or 0
    reasoning = (said.completion_tokens_details.reasoning_tokens if said.completion_tokens_details else None) or 0
    return _plausible(
        usage_of_parts(prompt, completion, cached=cached, written=written, reasoning=reasoning, total=said.total_tokens)
    )


def units_of_chat(raw: msgspec.Raw | bytes) -> dict[str, Decimal]:
    """Return the tokens of sound and pictures that OpenAI's protocol tells, by the names of `tetrad.serving.UNITS`.

    Tokens of a picture that is read cost what text costs, unless the model makes pictures: they do not count here.
    """
    data = bytes(raw)
    if not _SOUND.search(data):
        return {}
    try:
        said = _sounds.decode(data)
    except msgspec.MsgspecError:
        return {}
    found = {}
    for name, details in (
        ("audio_input", said.prompt_tokens_details),
        ("audio_output", said.completion_tokens_details),
    ):
        if details is not None and details.audio_tokens:
            found[name] = Decimal(details.audio_tokens)
    return found


def read_messages_usage(raw: msgspec.Raw | bytes) -> MessagesUsage | None:
    """Read what Anthropic's protocol says; None where nothing (readable) was said."""
    data = bytes(raw)
    if not data:
        return None
    return _read(_messages, _loose_messages, data)


def _read(strict: msgspec.json.Decoder[_Said], loose: msgspec.json.Decoder[_Said], data: bytes) -> _Said | None:
    for decoder in (strict, loose):
        try:
            return decoder.decode(data)
        except UNREADABLE:
            continue
    return None


def _plausible(usage: Usage) -> Usage | None:
    return usage if usage.plausible or (isinstance(usage, DoubtfulUsage) and usage.possible) else None


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Say usage in OpenAI's words."""
    said: dict[str, Any] = {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    if usage.cache_written:
        said["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_written
    return said


def messages_usage(usage: Usage | None) -> dict[str, Any]:
    """Say usage in Anthropic's words, which have no word for an unknown count but 0."""
    known = usage or Usage()
    said: dict[str, Any] = {
        "input_tokens": known.input,
        "cache_creation_input_tokens": known.cache_written,
        "cache_read_input_tokens": known.cache_read,
        "output_tokens": known.output_total,
    }
    if known.reasoning:
        said["output_tokens_details"] = {"thinking_tokens": known.reasoning}
    return said
