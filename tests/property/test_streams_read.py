"""A stream reads the same whether its events come together or one by one."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tetrad.adapters.providers._openai_wire import StreamReader, end_of_stream

_texts = st.one_of(st.none(), st.text(max_size=6))
_deltas = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from([None, "assistant"]),
        "content": _texts,
        "refusal": _texts,
        "reasoning_content": _texts,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {"index": st.integers(0, 1), "function": st.fixed_dictionaries({"name": _texts, "arguments": _texts})}
            ),
            max_size=2,
        ),
    },
)
_choices = st.fixed_dictionaries(
    {"delta": st.one_of(st.none(), _deltas)},
    optional={
        "index": st.integers(0, 2),
        "finish_reason": st.sampled_from([None, "stop", "length"]),
        "text": _texts,
    },
)
_plain = st.builds(lambda text: {"choices": [{"index": 0, "delta": {"content": text}}]}, st.text(max_size=6))
_events = st.one_of(
    _plain,
    st.fixed_dictionaries(
        {"choices": st.lists(_choices, max_size=2)},
        optional={
            "id": st.just("chatcmpl-1"),
            "model": st.just("m"),
            "usage": st.sampled_from([None, {"prompt_tokens": 3, "completion_tokens": 4}]),
            "error": st.sampled_from([None, {"message": "no", "code": "overloaded"}]),
        },
    ),
)


def what_was_read(pieces: list[bytes]) -> tuple[Any, ...]:
    reader = StreamReader()
    for piece in pieces:
        reader.feed(piece)
    return (
        reader.messages, reader.finish_reasons, reader.usage, reader.id, reader.model, reader.error_type,
        reader.error_message, reader.unread,
    )  # fmt: skip


@given(st.lists(_events, max_size=12))
def test_events_read_the_same_together_and_one_by_one(events: list[dict[str, Any]]) -> None:
    pieces = [b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events]
    assert what_was_read([b"".join(pieces)]) == what_was_read(pieces)


@given(st.lists(st.sampled_from([b"data: [DONE]\n\n", b"[DONE]", b"\n\n", b"\r\n", b"data: ", b"x"]), max_size=8))
def test_the_end_of_a_stream_is_where_its_marker_is_a_line(pieces: list[bytes]) -> None:
    events = b"".join(pieces)
    match = re.search(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:\r?\n){0,2}", events)
    assert end_of_stream(events) == (match.end() if match else None)
