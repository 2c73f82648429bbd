"""Streams of answers that say more than is kept of their events, by the official client: late, and whole."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from support.background_place import Place, client_of, running_place
from support.fake_openai import FakeOpenAI

WHOLE = "".join(f"w{number} " for number in range(100))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with FakeOpenAI() as upstream, running_place(upstream, tmp_path_factory, "tetrad", event_bytes=6000) as running:
        yield running


@pytest.fixture
def client(place: Place) -> Iterator[openai.OpenAI]:
    with client_of(place) as client:
        yield client


def said(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def test_who_follows_reads_the_whole_answer_from_its_deltas(client: openai.OpenAI) -> None:
    with client.responses.create(model="local/slow-0.05", input="One", background=True, stream=True) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert 10 < len(events) < 60
    assert (events[-1].type, events[-1].response.output_text) == ("response.completed", WHOLE)
    assert said(events) == WHOLE
    kinds = Counter(event.type for event in events if event.type.endswith((".added", ".done")))
    ends = ("output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done")
    assert kinds == {f"response.{each}": 1 for each in ends}
    identity = events[0].response.id
    with client.responses.retrieve(identity, stream=True, starting_after=events[-3].sequence_number) as rest:
        assert list(rest) == events[-2:]
    with client.responses.stream(response_id=identity) as again:
        assert again.get_final_response().output_text == WHOLE


def test_who_was_cut_off_before_the_bound_comes_back_after_it(client: openai.OpenAI) -> None:
    with client.responses.create(model="local/slow-0.05", input="One", background=True, stream=True) as stream:
        first = list(itertools.islice(stream, 8))
    identity, last = first[0].response.id, first[-1].sequence_number
    with client.responses.retrieve(identity, stream=True, starting_after=last) as stream:
        rest = list(stream)
    assert said(first + rest) == WHOLE
    assert [event.sequence_number for event in first + rest] == list(range(len(first + rest)))
