"""Chat answers as streams and as wholes: what is made of one is the other, or nothing is made at all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tetrad.serving._cache_forms import stream_of, whole_of, without_usage

texts = st.text(max_size=40)
calls = st.fixed_dictionaries(
    {
        "id": texts.filter(bool),
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": texts, "arguments": texts}),
    }
)
messages = st.builds(
    lambda content, refusal, tools: {
        "role": "assistant",
        "content": content,
        **({"refusal": refusal} if refusal is not None else {}),
        **({"tool_calls": tools} if tools else {}),
    },
    st.none() | texts,
    st.none() | texts,
    st.lists(calls, max_size=3),
)
answers = st.builds(
    lambda told, reason, system: {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
            for index, message in enumerate(told)
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        **({"system_fingerprint": system} if system else {}),
    },
    st.lists(messages, min_size=1, max_size=3),
    st.sampled_from(["stop", "length", "tool_calls"]),
    st.none() | texts,
)
junk = st.dictionaries(
    st.sampled_from(["id", "choices", "usage", "object", "x"]),
    st.recursive(st.none() | st.integers() | texts, lambda inner: st.lists(inner, max_size=3), max_leaves=6),
)


@given(answers)
def test_a_whole_answer_told_as_a_stream_is_the_same_whole_answer_again(answer: dict[str, Any]) -> None:
    events = stream_of(json.dumps(answer).encode())
    assert events is not None
    assert json.loads(whole_of(events) or b"null") == answer


@given(answers, st.integers(min_value=1, max_value=20))
def test_a_stream_that_is_cut_anywhere_before_its_end_makes_no_whole_answer(answer: dict[str, Any], cut: int) -> None:
    events = stream_of(json.dumps(answer).encode())
    assert events is not None
    assert whole_of(events[: -cut - 2]) is None


@given(answers)
def test_leaving_usage_out_leaves_every_word(answer: dict[str, Any]) -> None:
    events = stream_of(json.dumps(answer).encode())
    assert events is not None
    bare = without_usage(events)
    assert bare.endswith(b"data: [DONE]\n\n")
    assert bare.count(b"data: ") == events.count(b"data: ") - 1


@given(junk)
def test_what_is_no_chat_answer_makes_no_stream_that_says_more(found: dict[str, Any]) -> None:
    made = stream_of(json.dumps(found).encode())
    assert made is None or made.endswith(b"data: [DONE]\n\n")


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_no_reason_to_fail(data: bytes) -> None:
    stream_of(data)
    whole_of(b"data: " + data + b"\n\ndata: [DONE]\n\n")
    without_usage(b'data: {"usage"' + data)
