"""Answers that are passed on as they come, and what is read of the others."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tetrad.adapters.providers._media import PassedStream, read_outcome
from tetrad.kernel import SystemClock, Usage
from tetrad.kit.upstream import BrokenAnswer
from tetrad.serving import BY_PATH
from tetrad.serving.ports import ModelCall


class Pieces:
    """A response that is read piece by piece."""

    status = 200

    def __init__(self, content_type: bytes, *pieces: bytes) -> None:
        self._content_type, self._pieces = content_type, [*pieces]
        self.closed = False

    def header(self, _name: bytes) -> bytes | None:
        return self._content_type or None

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        self.closed = True


def passed(response: Any, most: int = 1000) -> PassedStream:
    return PassedStream(response, SystemClock(), "up", most)


def call(path: str) -> ModelCall:
    return ModelCall(BY_PATH[path], {})


async def read(answer: PassedStream) -> bytes:
    found = b""
    while not answer.done:
        found += await answer.read()
    return found


async def test_sound_past_the_limit_is_broken_off() -> None:
    response = Pieces(b"audio/mpeg", b"x" * 600, b"x" * 600)
    answer = passed(response)
    await answer.read()
    with pytest.raises(BrokenAnswer, match="larger than 1,000"):
        await answer.read()
    answer.close()
    assert response.closed


async def test_sound_without_a_type_is_bytes_and_is_counted() -> None:
    answer = passed(Pieces(b"", b"abc", b"de"))
    assert await read(answer) == b"abcde"
    assert answer.headers == [(b"content-type", b"application/octet-stream")]
    assert answer.outcome().attributes == {"answer.bytes": "5"}


async def test_usage_is_read_from_the_last_event_however_it_is_cut() -> None:
    last = b'data: {"type":"transcript.text.done","text":"hi","usage":{"input_tokens":3,"output_tokens":2}}\n\n'
    answer = passed(Pieces(b"text/event-stream", b'data: {"type":"x.delta"}\n\n' + last[:20], last[20:]))
    await read(answer)
    assert answer.outcome().usage == Usage(input=3, output=2)
    assert json.loads(answer.outcome().output)[0]["content"] == "hi"
    assert answer.headers == []


@pytest.mark.parametrize("events", [b"data: nonsense\n\n", b'data: {"type":"x.delta"}\n\n', b": comment\n\n"])
async def test_events_that_tell_no_usage_leave_it_unknown(events: bytes) -> None:
    answer = passed(Pieces(b"text/event-stream", events))
    await read(answer)
    assert answer.outcome().usage is None


async def test_a_stream_without_a_byte_is_an_error() -> None:
    answer = passed(Pieces(b"text/event-stream"))
    await read(answer)
    assert answer.outcome().error_type == "stream_truncated"


@pytest.mark.parametrize(
    ("path", "answer", "usage", "units", "attributes"),
    [
        ("/v1/rerank", {"results": [{}], "usage": {"total_tokens": 9}}, Usage(input=9), {}, {"results.count": "1"}),
        (
            "/v1/rerank",
            {"results": [], "meta": {"billed_units": {"search_units": 1}}},
            None,
            {"search_unit": Decimal(1)},
            {"results.count": "0", "search_units": "1"},
        ),
        (
            "/v1/audio/transcriptions",
            {"text": "a", "usage": {"type": "duration", "seconds": 7.5}},
            None,
            {"second": Decimal("7.5")},
            {"audio.seconds": "7.5"},
        ),
        (
            "/v1/images/generations",
            {"data": [{}], "usage": {"input_tokens": 5, "output_tokens": 6,
             "input_tokens_details": {"image_tokens": 4}},
             "created": 1},
            Usage(input=5, output=6),
            {"image": Decimal(1), "image_input": Decimal(4)},
            {"data.count": "1"},
        ),
    ],
)  # fmt: skip
def test_counts_are_read_and_what_is_no_text_is_told_by_its_unit(
    path: str, answer: Any, usage: Usage | None, units: dict[str, Decimal], attributes: dict[str, str]
) -> None:
    outcome = read_outcome(call(path), json.dumps(answer).encode(), b"application/json")
    assert (outcome.usage, outcome.units, outcome.attributes) == (usage, units, attributes)
    assert outcome.priced is not bool(units)
