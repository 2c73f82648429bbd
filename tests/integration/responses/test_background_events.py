"""Events of responses in the background on both databases: numbered once, bounded, kept for a time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from support.background import NoWork, StandIns
from tetrad.kernel import SystemClock
from tetrad.kit.db import Database
from tetrad.responses import (
    Background,
    BackgroundAnswer,
    BackgroundCall,
    BackgroundRequest,
    BadResponse,
    EventBatch,
    EventPage,
    IdempotencyKeyReused,
    KeptResponse,
    NoSuchEvent,
    NotStreamed,
    ResponseLimits,
    ResponseNotFound,
    Responses,
)
from tetrad.responses._background_store import SqlBackgroundStore
from tetrad.responses._store import SqlResponseStore

P = "default"
R = "resp_00000001"


class Later(SystemClock):
    """A clock that tests set forward."""

    ahead = timedelta()

    def now(self) -> Any:
        return super().now() + self.ahead


class Place:
    """The service with what it stands on."""

    def __init__(self, database: Database) -> None:
        self.clock = Later()
        self.store = SqlBackgroundStore(database)
        limits = ResponseLimits(keep_days=1, event_bytes=600, events_s=60)
        self.responses = Responses(SqlResponseStore(database), self.clock, limits)
        self.background = Background(self.responses, self.store, NoWork(), StandIns(), self.clock)

    def begin(self, identity: str = R, **more: Any) -> str:
        shown = {"id": identity, "status": "queued", "background": True, "output": []}
        kept = KeptResponse(identity, P, 7, msgspec.Raw(b"[]"), msgspec.Raw(json.dumps(shown).encode()), "", "key_1")
        asked = {"app": "", "model": "m", **more}
        call = BackgroundCall(msgspec.Raw(b'{"model":"m"}'), events=asked.pop("events", True))
        return self.background.begin(BackgroundRequest(kept, call, **asked)).id

    def say(self, first: int, *words: str, call: int = 1) -> None:
        events = [msgspec.Raw(json.dumps({"type": "delta", "delta": word}).encode()) for word in words]
        self.background.say(P, R, EventBatch(call, first, events))

    def finish(self) -> None:
        answer = b'{"status":"completed","output":[]}'
        self.background.finish(P, R, BackgroundAnswer(msgspec.Raw(answer), "openai"))

    def heard(self, after: int = -1) -> list[str]:
        """Every event after a number, by its type or its word; the numbers have no gap."""
        found: list[str] = []
        while True:
            page = self.background.events(P, R, after)
            for raw in page.events:
                event = json.loads(bytes(raw))
                after += 1
                assert event["sequence_number"] == after
                found.append(event.get("delta") or event["type"].removeprefix("response."))
            if page.over or not page.events:
                assert page.over == (found[-1:] == ["completed"] or not found)
                return found


@pytest.fixture
def place(database: Database) -> Place:
    return Place(database)


def test_events_are_numbered_in_their_order_and_end_with_the_response(place: Place) -> None:
    place.begin()
    assert place.heard() == ["created", "queued"]
    place.background.take(P, R)
    place.say(0, "a", "b")
    place.say(2, "c")
    assert place.heard() == ["created", "queued", "in_progress", "a", "b", "c"]
    place.finish()
    assert place.heard(3) == ["b", "c", "completed"]


def test_what_is_told_again_is_there_once_and_what_is_missing_is_waited_for(place: Place) -> None:
    place.begin()
    place.background.take(P, R)
    place.say(0, "a", "b")
    place.say(0, "a", "b")
    place.say(1, "b", "c")
    place.say(9, "z")
    assert place.heard(2) == ["a", "b", "c"]


def test_of_two_calls_the_one_is_shown_that_said_something_first(place: Place) -> None:
    place.begin()
    place.background.take(P, R)
    place.background.take(P, R)
    place.say(0, "a", call=2)
    place.say(0, "old", call=1)
    place.background.take(P, R)
    place.say(0, "b", "c", call=3)
    place.finish()
    assert place.heard() == ["created", "queued", "in_progress", "in_progress", "a", "in_progress", "completed"]


def test_past_the_bound_only_the_last_event_comes(place: Place) -> None:
    place.begin()
    place.background.take(P, R)
    place.say(0, "a")
    place.say(1, "b" * 700)
    place.say(2, "c")
    place.finish()
    assert place.heard(2) == ["a", "completed"]


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def pieces(text: str, count: int) -> list[msgspec.Raw]:
    """How an answer begins, with a text in so many pieces."""
    begun = {"type": "response.output_item.added", "output_index": 0, "item": {**message(""), "content": []}}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "response.content_part.added", **where, "part": message("")["content"][0]}
    delta = {"type": "response.output_text.delta", **where}
    size = len(text) // count
    told = [begun, part, *({**delta, "delta": text[place : place + size]} for place in range(0, len(text), size))]
    return [msgspec.Raw(json.dumps(event).encode()) for event in told]


def events(place: Place, after: int = -1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = place.background.events(P, R, after)
        found += [json.loads(bytes(event)) for event in page.events]
        after = page.last
        if page.over:
            return found


def whole(text: str) -> BackgroundAnswer:
    answer = {"status": "completed", "output": [message(text)]}
    return BackgroundAnswer(msgspec.Raw(json.dumps(answer).encode()), "openai")


def test_past_the_bound_the_rest_is_told_in_the_end(place: Place) -> None:
    """What was told is gone on with, and every number is given once."""
    place.begin()
    place.background.take(P, R)
    for number, event in enumerate(pieces("aaaabbbb", 8)):
        place.background.say(P, R, EventBatch(1, number, [event]))
    told = place.background.events(P, R, -1).events
    place.background.finish(P, R, whole("aaaabbbb"))
    found = events(place)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert len(told) < 3 + 2 + 8
    kinds = [event["type"].removeprefix("response.") for event in found[len(told) :]]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert "".join(event.get("delta", "") for event in found) == "aaaabbbb"
    assert found[-2]["item"] == message("aaaabbbb")
    assert events(place, 4) == found[5:]


def test_what_a_cut_off_call_said_past_the_bound_is_not_gone_on_with(place: Place) -> None:
    place.begin()
    place.background.take(P, R)
    for number, event in enumerate(pieces("x" * 900, 2)):
        place.background.say(P, R, EventBatch(1, number, [event]))
    place.background.take(P, R)
    place.background.say(P, R, EventBatch(2, 0, pieces("Other", 1)))
    place.background.finish(P, R, whole("Other"))
    kinds = [event["type"].removeprefix("response.") for event in events(place)][-2:]
    assert kinds == ["in_progress", "completed"]


def test_a_page_is_bounded_in_bytes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes pages of some size gets through whatever stands in them."""
    monkeypatch.setattr("tetrad.responses._event_log._PAGE_BYTES", 100)
    place.begin()
    place.background.take(P, R)
    place.say(0, "a", "b")
    place.finish()
    first = place.background.events(P, R, -1)
    assert (len(first.events), first.last, first.over) == (1, 0, False)
    assert place.heard() == ["created", "queued", "in_progress", "a", "b", "completed"]


def test_a_number_that_no_event_has_is_refused(place: Place) -> None:
    """A stream that waits for it would wait for ever, and the client has lost count."""
    place.begin()
    place.background.take(P, R)
    assert place.background.events(P, R, 2).events == []
    with pytest.raises(NoSuchEvent, match="its last one so far is 2"):
        place.background.events(P, R, 3)
    place.finish()
    assert place.heard(3) == []
    with pytest.raises(NoSuchEvent, match="its last one is 3"):
        place.background.events(P, R, 99)


def test_what_is_no_event_is_refused(place: Place) -> None:
    place.begin()
    place.background.take(P, R)
    with pytest.raises(BadResponse, match="cannot be read"):
        place.background.say(P, R, EventBatch(1, 0, [msgspec.Raw(b'"text"')]))
    place.finish()
    with pytest.raises(ResponseNotFound):
        place.say(0, "late")


def test_events_are_kept_for_their_time_and_the_response_for_its_own(place: Place) -> None:
    place.begin()
    place.finish()
    place.clock.ahead = timedelta(seconds=59)
    place.background.tend()
    assert place.heard(1) == ["completed"]
    place.clock.ahead = timedelta(seconds=61)
    with pytest.raises(NotStreamed, match="can no longer be streamed"):
        place.heard()
    place.background.tend()
    assert place.store.events(P, R, -1).events == []
    assert place.responses.get(P, R).id == R


def test_what_is_deleted_while_its_events_are_read_has_not_ended(place: Place) -> None:
    place.begin()
    read = place.store.events

    def deleted_before(project: str, identity: str, after: int) -> EventPage:
        place.responses.drop(project, identity)
        return read(project, identity, after)

    place.background._store.events = deleted_before  # type: ignore[method-assign]
    page = place.background.events(P, R, 1)
    assert (page.events, page.over) == ([], False), "whoever follows asks again, and hears what became of it"
    with pytest.raises(ResponseNotFound):
        place.background.events(P, R, 1)


def test_nothing_is_left_of_what_was_deleted_or_has_expired(place: Place) -> None:
    place.begin()
    place.responses.drop(P, R)
    place.begin()
    assert place.heard() == ["created", "queued"]
    place.finish()
    place.clock.ahead = timedelta(days=2)
    place.begin("resp_00000002")
    place.clock.ahead = timedelta()
    assert not place.store.event_log(P, R).kept
    assert place.store.events(P, R, -1).events == []


def test_what_was_not_begun_to_be_followed_has_no_events(place: Place) -> None:
    place.begin(events=False)
    place.background.take(P, R)
    place.say(0, "a")
    with pytest.raises(NotStreamed, match="stream=true"):
        place.heard()
    with pytest.raises(ResponseNotFound):
        place.background.events("other", R, -1)


def test_the_same_idempotency_key_begins_one_response(place: Place) -> None:
    again: dict[str, Any] = {"idempotency": "k" * 64, "fingerprint": "f" * 64}
    assert place.begin(**again) == R
    assert place.begin("resp_00000002", **again) == R
    with pytest.raises(IdempotencyKeyReused, match=R):
        place.begin("resp_00000003", idempotency="k" * 64, fingerprint="0" * 64)
    assert place.begin("resp_00000004") == "resp_00000004"
    place.finish()
    assert place.begin("resp_00000005", **again) == R
    place.responses.drop(P, R)
    assert place.begin("resp_00000006", **again) == "resp_00000006"


def test_of_two_at_the_same_time_one_is_begun(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second looked before the first was there, and finds it when it would write."""
    again: dict[str, Any] = {"idempotency": "k" * 64, "fingerprint": "f" * 64}
    place.begin(**again)
    real, first = place.store.begun_by, iter([True])
    monkeypatch.setattr(place.store, "begun_by", lambda *asked: None if next(first, False) else real(*asked))
    assert place.begin("resp_00000002", **again) == R
    with pytest.raises(ResponseNotFound):
        place.responses.get(P, "resp_00000002")
