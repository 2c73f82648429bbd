"""Streams of upstreams in pieces, on their way to who follows: read as one, and told as lines that are whole."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from tetrad.processes.gateway._following import _sent
from tetrad.processes.worker._background_events import EventPieces

STREAM = b'event: a\ndata: {"type":"a"}\n\ndata: {"type":\ndata: "b"}\r\n\r\n: still here\n\ndata: {"type":"c"}\n\n'


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_a_stream_says_the_same_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = EventPieces()
    found = [data for begin, end in itertools.pairwise(places) for data in pieces.feed(STREAM[begin:end]) if data]
    assert [json.loads(data)["type"] for data in found] == ["a", "b", "c"]


def test_an_event_of_many_lines_is_told_in_one() -> None:
    """What stands between the tokens of JSON may be an end of a line, which ends an event's data."""
    sent = _sent(b'{\r\n "type": "response.x",\n "delta": "a\\nb"\r}')
    assert sent.count(b"\n") == 3
    name, data, *rest = sent.split(b"\n")
    assert (name, rest) == (b"event: response.x", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == {"type": "response.x", "delta": "a\nb"}


def test_a_name_of_an_event_brings_no_other_event() -> None:
    forged = {"type": "x\n\ndata: {}\r\n\r\nevent: response.completed"}
    sent = _sent(json.dumps(forged).encode())
    assert sent.splitlines()[0] == b"event: xdataeventresponse.completed"
    assert (sent.count(b"\n"), sent.count(b"\r")) == (3, 0)
