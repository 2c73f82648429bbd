"""Whatever an upstream says of an answer, recording it and passing it on is no traceback."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.translation import translated
from tetrad.adapters.providers._converse_wire import ConverseReader
from tetrad.adapters.providers._gemini_wire import GeminiReader
from tetrad.kernel import TetradError

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.text(max_size=4), st.just({}), st.just([]))
PARTS = st.fixed_dictionaries({}, optional={
    "text": st.one_of(st.none(), st.text(max_size=4)), "thought": st.booleans(), "thoughtSignature": st.text(),
    "functionCall": st.fixed_dictionaries({}, optional={"name": st.text(max_size=3), "args": LEAVES}),
})  # fmt: skip
PIECES = st.fixed_dictionaries({}, optional={
    "candidates": st.lists(st.fixed_dictionaries({}, optional={
        "content": st.one_of(LEAVES, st.fixed_dictionaries({}, optional={"parts": st.one_of(LEAVES, st.lists(PARTS))})),
        "finishReason": LEAVES, "index": LEAVES}), max_size=2),
    "usageMetadata": st.one_of(LEAVES, st.dictionaries(st.sampled_from(["promptTokenCount"]), LEAVES)),
    "error": LEAVES, "promptFeedback": LEAVES,
})  # fmt: skip
PLACES = st.fixed_dictionaries({}, optional={
    "contentBlockIndex": st.integers(-2, 3),
    "start": st.one_of(LEAVES, st.just({"toolUse": {"toolUseId": "t", "name": "n"}})),
    "delta": st.one_of(LEAVES, st.just({"text": "a"}), st.just({"toolUse": {"input": '{"a'}}),
                       st.just({"reasoningContent": {"text": "b", "signature": "s"}})),
})  # fmt: skip
EVENTS = st.dictionaries(
    st.sampled_from(["contentBlockStart", "contentBlockDelta", "messageStart", "messageStop", "metadata"]),
    st.one_of(LEAVES, PLACES, st.just({"stopReason": "end_turn"})),
    max_size=2,
)


def events_of(items: list[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in items)


@given(st.lists(PIECES, max_size=4), st.binary(max_size=20))
def test_pieces_of_googles_answers(pieces: list[Any], noise: bytes) -> None:
    reader = GeminiReader()
    reader.feed(events_of(pieces) + b"data: " + noise + b"\n\n")
    if reader.messages:
        assert json.loads(reader.messages)[0]["role"] == "model"
    assert isinstance(reader.finish_reasons, tuple)
    assert isinstance(reader.error_type, str)


@given(st.lists(EVENTS, max_size=6), st.binary(max_size=20))
def test_events_of_converse(events: list[Any], noise: bytes) -> None:
    reader = ConverseReader()
    reader.feed(events_of(events) + b"data: " + noise + b"\n\n")
    if reader.messages:
        assert json.loads(reader.messages)[0]["role"] == "assistant"
    assert isinstance(reader.finish_reasons, tuple)


@given(st.sampled_from(["chat", "messages"]), st.lists(PIECES, max_size=4))
def test_googles_answers_are_said_to_clients_or_refused(client: str, pieces: list[Any]) -> None:
    body = {"model": "g", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    made = translated(client, "gemini", body)
    with contextlib.suppress(TetradError):
        made.whole(json.dumps(pieces[0] if pieces else None).encode())
    with contextlib.suppress(TetradError):
        events = made.events()
        events.feed(events_of(pieces))
        events.end()


@given(st.sampled_from(["chat", "messages"]), st.lists(EVENTS, max_size=6))
def test_converses_answers_are_said_to_clients_or_refused(client: str, found: list[Any]) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    made = translated(client, "converse", body)
    with contextlib.suppress(TetradError):
        made.whole(json.dumps(found).encode())
    with contextlib.suppress(TetradError):
        events = made.events()
        events.feed(events_of(found))
        events.end()
