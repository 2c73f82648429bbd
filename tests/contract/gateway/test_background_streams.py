"""Streams of responses in the background: cut off, gone on with and replayed, by the official client."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import openai
import pytest

from support import gateway as g
from support.background_place import Place, begun, client_of, ended, running_place
from support.fake_openai import WORDS, FakeOpenAI
from support.wait import wait_until
from tetrad.responses import BackgroundAnswer, EventBatch

TEXT = "".join(WORDS)
LIFE = ["response.created", "response.queued", "response.in_progress"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module", params=["tetrad", "uvicorn"])
def place(
    upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Place]:
    with running_place(upstream, tmp_path_factory, request.param) as running:
        yield running


@pytest.fixture
def client(place: Place) -> Iterator[openai.OpenAI]:
    with client_of(place) as client:
        yield client


def streamed(client: openai.OpenAI, model: str = "local/m1", **more: Any) -> Any:
    return client.responses.create(model=model, input="One", background=True, stream=True, **more)


def said(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


@pytest.mark.parametrize("model", ["local/m1", "local/native"])
def test_it_is_followed_from_its_beginning_to_its_end(client: openai.OpenAI, model: str) -> None:
    with streamed(client, model) as stream:
        events = list(stream)
    assert [event.type for event in events][:3] == LIFE
    assert numbers(events) == list(range(len(events)))
    assert said(events) == TEXT
    told = [event.response for event in (*events[:3], events[-1])]
    assert {(each.id, each.background, each.store) for each in told} == {(told[0].id, True, True)}
    assert [each.status for each in told] == ["queued", "queued", "in_progress", "completed"]
    assert events[-1].type == "response.completed"
    assert client.responses.retrieve(told[0].id) == events[-1].response


def test_who_was_cut_off_comes_back_for_the_rest(client: openai.OpenAI) -> None:
    with streamed(client, "local/slow-0.05") as stream:
        first = list(itertools.islice(stream, 5))
    identity, last = first[0].response.id, first[-1].sequence_number
    with client.responses.retrieve(identity, stream=True, starting_after=last) as stream:
        rest = list(stream)
    assert numbers(first + rest) == list(range(len(first + rest)))
    assert rest[-1].type == "response.completed"
    assert said(first + rest) == rest[-1].response.output_text


def test_after_the_end_it_is_replayed_from_any_number(client: openai.OpenAI) -> None:
    with streamed(client) as stream:
        events = list(stream)
    identity = events[0].response.id
    assert list(client.responses.retrieve(identity, stream=True)) == events
    assert list(client.responses.retrieve(identity, stream=True, starting_after=3)) == events[4:]
    assert list(client.responses.retrieve(identity, stream=True, starting_after=len(events) - 1)) == []
    with pytest.raises(openai.BadRequestError, match=f"its last one is {len(events) - 1}") as caught:
        client.responses.retrieve(identity, stream=True, starting_after=len(events))
    assert (caught.value.code, caught.value.param) == ("no_such_event", "starting_after")


def test_the_clients_own_helper_puts_it_together(client: openai.OpenAI) -> None:
    with client.responses.stream(model="local/m1", input="One", background=True) as stream:
        identity = next(iter(stream)).response.id  # type: ignore[union-attr]
    with client.responses.stream(response_id=identity) as stream:
        assert stream.get_final_response().output_text == TEXT


def test_an_event_comes_while_the_answer_is_made(place: Place, client: openai.OpenAI) -> None:
    with streamed(client, "local/stallmid") as stream:
        events = iter(stream)
        assert [next(events).type for _ in range(3)] == LIFE
        one = next(event for event in events if event.type == "response.output_text.delta")
        assert one.delta == WORDS[0]
        identity = client.responses.retrieve(_only_open(place)).id
        assert client.responses.cancel(identity).status == "cancelled"
        last = list(events)[-1]
    assert (last.type, last.response["status"]) == ("response.cancelled", "cancelled")


def _only_open(place: Place) -> str:
    ((_, identity),) = place.background._store.every_open()
    return identity


def test_what_goes_wrong_is_its_last_event(client: openai.OpenAI) -> None:
    with streamed(client, "local/error-400") as stream:
        last = list(stream)[-1]
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.message
    with streamed(client, "local/torn") as stream:
        torn = list(stream)
    assert (torn[-1].type, torn[-1].response.status) == ("response.failed", "failed")
    assert TEXT.startswith(said(torn))


def test_a_call_that_is_made_again_does_not_say_the_half_of_two_answers(
    place: Place,
    client: openai.OpenAI,
) -> None:
    """What the first call said stays; the second comes whole with the last event."""
    with streamed(client, "local/stallmid") as stream:
        events = iter(stream)
        first = [next(events) for _ in range(3)]
        while not said(first):
            first.append(next(events))
        identity = first[0].response.id
        work = place.background.take("default", identity)  # as another worker does, once the first is gone
        other = {"type": "response.output_text.delta", "delta": "Other", "item_id": "x", "output_index": 0}
        place.background.say("default", identity, EventBatch(work.number, 0, [_raw(other)]))
        place.background.finish("default", identity, _answer("Other words"))
        rest = list(events)
    assert [event.type for event in rest if event.type in LIFE] == ["response.in_progress"]
    assert numbers(first + rest) == list(range(len(first + rest)))
    assert TEXT.startswith(said(first + rest))
    assert rest[-1].response.output_text == "Other words"


def _raw(value: Any) -> Any:
    return msgspec.Raw(json.dumps(value).encode())


def _answer(text: str) -> Any:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return BackgroundAnswer(_raw({"id": "resp_x", "object": "response", "status": "completed", "output": [item]}), "up")


def test_what_was_not_begun_as_a_stream_is_none(place: Place, client: openai.OpenAI) -> None:
    done = ended(client, begun(client))
    with pytest.raises(openai.BadRequestError, match="not created with stream=true") as caught:
        client.responses.retrieve(done.id, stream=True)
    assert (caught.value.code, caught.value.param) == ("response_not_streamed", "stream")
    at_once = client.responses.create(model="local/m1", input="One")
    with pytest.raises(openai.BadRequestError, match="not created with background=true and stream=true"):
        client.responses.retrieve(at_once.id, stream=True)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_00000000", stream=True)
    with pytest.raises(openai.BadRequestError, match="no number of an event"):
        client.responses.retrieve(done.id, stream=True, starting_after=-3)
    with streamed(client) as stream:
        mine = next(iter(stream)).response.id
    with client_of(place, g.OTHER_KEY) as other, pytest.raises(openai.NotFoundError):
        other.responses.retrieve(mine, stream=True)


def test_a_deleted_response_ends_the_stream_with_the_reason(client: openai.OpenAI) -> None:
    with streamed(client, "local/stall") as stream:
        events = iter(stream)
        client.responses.delete(next(events).response.id)
        last = list(events)[-1]
    assert (last.type, last.code) == ("error", "response_not_found")


def test_who_leaves_is_followed_no_longer(place: Place, client: openai.OpenAI) -> None:
    with streamed(client, "local/stall") as stream:
        identity = next(iter(stream)).response.id
    with client.responses.retrieve(identity, stream=True) as again:
        next(iter(again))
        wait_until(lambda: place.background.bells._waiting, timeout_s=30, what="the follower to be heard by control")
    wait_until(lambda: not place.background.bells._waiting, timeout_s=30, what="control to be asked no more")
    assert client.responses.cancel(identity).status == "cancelled"


def test_refusals_of_the_request_itself_are_no_streams(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        streamed(client, "local/nothing")
    with pytest.raises(openai.BadRequestError, match="has to be stored"):
        streamed(client, store=False)


def test_a_create_that_is_repeated_begins_one_response(place: Place, client: openai.OpenAI) -> None:
    key: Any = {"extra_headers": {"Idempotency-Key": "first-try"}}
    raw = client.responses.with_raw_response.create(model="local/m1", input="Once", background=True, **key)
    assert "idempotent-replayed" not in raw.headers
    first = raw.parse()
    done = ended(client, first)
    before = len(place.upstream.requests)
    again = client.responses.with_raw_response.create(model="local/m1", input="Once", background=True, **key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.parse() == done
    assert len(place.upstream.requests) == before
    with pytest.raises(openai.UnprocessableEntityError, match="with another body") as caught:
        begun(client, said="Twice", **key)
    assert caught.value.code == "idempotency_key_reused"
    client.responses.delete(first.id)
    assert ended(client, begun(client, said="Twice", **key)).id != first.id
    with pytest.raises(openai.BadRequestError, match="Idempotency-Key"):
        begun(client, extra_headers={"Idempotency-Key": "x" * 256})


def test_a_stream_that_is_asked_for_again_is_the_same(client: openai.OpenAI) -> None:
    key: Any = {"extra_headers": {"Idempotency-Key": "stream-try"}}
    with streamed(client, **key) as stream:
        first = list(stream)
    with streamed(client, **key) as stream:
        assert list(stream) == first
    with pytest.raises(openai.UnprocessableEntityError):
        begun(client, **key)


def test_equal_requests_at_the_same_time_begin_one_response(place: Place, client: openai.OpenAI) -> None:
    key: Any = {"extra_headers": {"Idempotency-Key": "together"}}
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: begun(client, said="Together", **key).id, range(6)))
    assert len(set(made)) == 1
    before = len(place.upstream.requests)
    ended(client, client.responses.retrieve(made[0]))
    assert len(place.upstream.requests) <= before + 1
