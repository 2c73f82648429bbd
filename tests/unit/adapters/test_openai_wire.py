"""The OpenAI protocol and its dialects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.adapters.providers._answers import end_of_events
from tetrad.adapters.providers._openai_wire import StreamReader, end_of_stream, read_error, without_usage_events
from tetrad.adapters.providers._responses_wire import ResponsesReader, numbered
from tetrad.kernel import DoubtfulUsage, Usage
from tetrad.serving import usage_of_chat


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 4}, Usage(input=10, output=4)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 9,
                "total_tokens": 19,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(input=6, cache_read=4, output=4, reasoning=5),
        ),
        (  # reasoning beside the completion: the total tells
            {
                "prompt_tokens": 10,
                "completion_tokens": 9,
                "total_tokens": 24,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(input=10, output=9, reasoning=5),
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 50}},
            DoubtfulUsage(input=1, output=2, reasoning=50),
        ),
        (  # the cache beside the prompt: the total tells
            {"prompt_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 9}},
            Usage(input=3, cache_read=9),
        ),
        (
            {"prompt_tokens": 10, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(input=10, cache_read=4),
        ),
        ({"prompt_tokens": 10, "prompt_cache_hit_tokens": 8}, Usage(input=2, cache_read=8)),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 5}}, Usage(2, 3, 5)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(input=3)),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}, DoubtfulUsage(input=3, cache_read=9)),
        ({"prompt_tokens": 5, "completion_tokens": None, "prompt_tokens_details": None}, Usage(input=5)),
        ({}, None),
        (None, None),
        ({"prompt_tokens": "many"}, None),
        ({"prompt_tokens": 12.0, "completion_tokens": "5"}, Usage(input=12, output=5)),
        ({"prompt_tokens": 12.5, "completion_tokens": 5}, None),
        ({"prompt_tokens": 12, "completion_tokens": -5}, None),
        ({"prompt_tokens": -12, "completion_tokens": 5}, None),
        ({"prompt_tokens": -12, "prompt_tokens_details": {"cached_tokens": 0}}, None),
        ({"prompt_tokens": 12, "prompt_tokens_details": {"cached_tokens": -5}}, None),
        ({"completion_tokens": 12, "completion_tokens_details": {"reasoning_tokens": -5}}, None),
        ({"prompt_tokens": 12, "completion_tokens": 10**30}, None),
        ([1], None),
    ],
)
def test_usage_is_read_into_buckets_that_do_not_overlap(said: object, expected: Usage | None) -> None:
    assert usage_of_chat(json.dumps(said).encode()) == expected


counts = st.integers(0, 10**9)


@given(counts, counts, counts, counts)
def test_the_buckets_add_up_to_what_was_said(fresh: int, cached: int, visible: int, reasoning: int) -> None:
    said = {
        "prompt_tokens": fresh + cached,
        "completion_tokens": visible + reasoning,
        "total_tokens": fresh + cached + visible + reasoning,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    usage = usage_of_chat(json.dumps(said).encode())
    assert usage == Usage(input=fresh, cache_read=cached, output=visible, reasoning=reasoning)
    assert usage.total == said["total_tokens"]


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def test_only_events_with_nothing_but_usage_are_taken_out() -> None:
    word = event(choices=[{"index": 0, "delta": {"content": 'say "usage"'}}], usage=None)
    both = event(choices=[{"index": 0, "delta": {}}], usage={"prompt_tokens": 1})
    usage = event(choices=[], usage={"prompt_tokens": 1})
    empty = event(choices=[], usage=None)
    odd = b': comment "usage"\n\n'
    stream = word + usage + odd + both + empty + b"data: [DONE]\n\n"
    assert without_usage_events(stream) == word + odd + both + empty + b"data: [DONE]\n\n"
    assert without_usage_events(usage.replace(b"\n", b"\r\n")) == b""


@given(st.text())
def test_an_answer_that_speaks_of_the_end_marker_does_not_end_the_stream(text: str) -> None:
    said = event(choices=[{"delta": {"content": "data: [DONE]\n\n" + text + "\ndata: [DONE]"}}])
    assert end_of_stream(said) is None
    assert end_of_stream(said + b"data: [DONE]\n\n") == len(said) + len(b"data: [DONE]\n\n")


@pytest.mark.parametrize("marker", [b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n", b"data: [DONE]"])
def test_the_end_marker_is_found_in_all_its_spellings(marker: bytes) -> None:
    assert end_of_stream(marker) == len(marker)
    assert end_of_stream(b"data: {}\n\n" + marker + b"\n\ntrailing") is not None


@given(
    st.lists(st.sampled_from([b"data: {}\n\n", b"data: 1\r\n\r\n", b": c\n\n", b"event: x\ndata: 2\n\n"])),
    st.integers(0, 12),
)
def test_events_are_cut_only_between_them(events: list[bytes], torn: int) -> None:
    whole = b"".join(events)
    data = whole + b'data: {"rest"'[:torn]
    assert end_of_events(data) == len(whole)


words = st.lists(st.text(max_size=8), max_size=20)


@given(words, st.integers(1, 40))
def test_a_stream_is_put_together_again_however_it_was_cut(pieces: list[str], step: int) -> None:
    stream = b"".join(event(id="c", model="m", choices=[{"index": 0, "delta": {"content": piece}}]) for piece in pieces)
    stream += event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    reader, pending = StreamReader(), b""
    for at in range(0, len(stream), step):
        pending += stream[at : at + step]
        cut = end_of_events(pending)
        reader.feed(pending[:cut])
        pending = pending[cut:]
    assert reader.finish_reasons == ("stop",)
    [message] = json.loads(reader.messages)
    assert (message["content"] or "") == "".join(pieces)
    assert reader.unread == 0


def test_choices_reasoning_and_refusals_are_kept_apart() -> None:
    reader = StreamReader()
    reader.feed(
        event(
            choices=[
                {"index": 1, "delta": {"content": "b"}},
                {"index": 0, "delta": {"role": "assistant", "content": "a"}},
            ]
        )
        + event(choices=[{"index": 0, "delta": {"reasoning_content": "hm"}}, {"index": 1, "delta": {"refusal": "no"}}])
        + event(choices=[{"index": 1, "delta": {}, "finish_reason": "length"}])
    )
    assert json.loads(reader.messages) == [
        {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        {"role": "assistant", "content": "b", "refusal": "no"},
    ]
    assert reader.finish_reasons == ("length",)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"message": "m", "code": "c"}, "c", "m"),
        ({"message": "m", "code": 502, "type": "t"}, "502", "m"),
        ({"message": "m", "type": "t"}, "t", "m"),
        ("plain", "upstream_error", '"plain"'),
    ],
)
def test_an_error_event_is_an_error(error: object, code: str, message: str) -> None:
    reader = StreamReader()
    reader.feed(event(error=error))
    assert (reader.error_type, reader.error_message) == (code, message)


def test_events_that_cannot_be_read_are_counted_not_fatal() -> None:
    reader = StreamReader()
    reader.feed(b"data: {broken\n\n" + event(choices=[{"delta": {"content": "x"}}]))
    assert reader.unread == 1
    assert json.loads(reader.messages)[0]["content"] == "x"


@pytest.mark.parametrize("body", [b"", b"boom", b"[]", b'{"error": "text"}', b"\xff"])
def test_what_is_no_error_body_is_not_taken_for_one(body: bytes) -> None:
    assert read_error(body) is None


@pytest.mark.parametrize(
    "payload", [b'{"choices":[{"index":0,"delta":{"content":"\xff"}}]}', b'{"choices":' + b"[" * 5_000]
)
def test_an_event_that_cannot_be_read_is_counted_whatever_is_wrong_with_it(payload: bytes) -> None:
    reader = StreamReader()
    reader.feed(b"data: " + payload + b"\n\ndata: [DONE]\n\n")
    assert (reader.unread, reader.messages) == (1, b"")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [b"", b'event: x\ndata: {"type":"x","sequence_number":4}\n\n'])
def test_the_error_that_ends_numbered_events_gets_a_number(before: bytes, end: bytes) -> None:
    before = before.replace(b"\n", end)
    error = b'data: {"type":"error","message":"no"}' + end + end
    said = numbered(before + error, lambda: 5)
    assert said.startswith(before)
    assert said[len(before) :] == b'event: error\ndata: {"type":"error","message":"no","sequence_number":5}\n\n'
    told = before + error.replace(b'"no"', b'"no","sequence_number":7')
    assert numbered(told, lambda: 5) == told
    done = before + b'data: {"type":"response.completed","response":{"error":null}}' + end + end
    assert numbered(done, lambda: 5) == done


@pytest.mark.parametrize("number", [b"9" * 4400, b"1e5", b"-1", b'"7"', b"null"])
def test_a_number_that_no_stream_has_is_none(number: bytes) -> None:
    reader = ResponsesReader()
    reader.feed(b'data: {"type":"x","sequence_number":' + number + b'}\n\ndata: {"type":"y"}\n\n')
    assert reader.events in (1, 2)
    assert b"%d" % reader.events
