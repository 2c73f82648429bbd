"""Responses in the background on both databases: begun, taken, ended once, bounded, in time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from support.background import NoWork, StandIns
from tetrad.kernel import Unavailable
from tetrad.kit.db import Database
from tetrad.responses import (
    Background,
    BackgroundAnswer,
    BackgroundCall,
    BackgroundRequest,
    KeptResponse,
    NotInBackground,
    ResponseKeyGone,
    ResponseLimits,
    ResponseNotComplete,
    ResponseNotFound,
    Responses,
    TooManyInBackground,
)
from tetrad.responses._background_store import SqlBackgroundStore
from tetrad.responses._store import SqlResponseStore

P = "default"
ITEMS = b'[{"role":"user","content":"Hi"}]'


@dataclass
class Watch:
    """A clock that tests turn."""

    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def now_ns(self) -> int:
        return int(self.at.timestamp() * 1e9)

    def monotonic(self) -> float:
        return self.at.timestamp()


@dataclass
class Place:
    """The service with what it stands on."""

    background: Background
    responses: Responses
    jobs: NoWork
    keys: StandIns
    clock: Watch

    def shown(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(bytes(self.responses.get(P, name(number)).response))
        return found


@pytest.fixture
def place(database: Database) -> Place:
    clock, jobs, keys = Watch(), NoWork(), StandIns()
    limits = ResponseLimits(most=10, most_bytes=2000, background_most=2, background_s=600)
    responses = Responses(SqlResponseStore(database), clock, limits)
    return Place(Background(responses, SqlBackgroundStore(database), jobs, keys, clock), responses, jobs, keys, clock)


def name(number: int) -> str:
    return f"resp_{number:08d}"


def asked(number: int, *, previous: int = 0, **call: Any) -> BackgroundRequest:
    shown = {"id": name(number), "status": "queued", "background": True, "output": [], "created_at": 7}
    kept = KeptResponse(
        id=name(number),
        project=P,
        created_s=7,
        input=msgspec.Raw(ITEMS),
        response=msgspec.Raw(json.dumps(shown).encode()),
        previous=name(previous) if previous else "",
        key_id="key_1",
    )
    return BackgroundRequest(kept, BackgroundCall(msgspec.Raw(b'{"model":"m"}'), **call))


def answered(text: str = "Hello", status: str = "completed") -> BackgroundAnswer:
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    said = {"id": "resp_of_upstream", "status": status, "output": [item], "created_at": 99}
    return BackgroundAnswer(msgspec.Raw(json.dumps(said).encode()), "openai")


def test_it_is_begun_taken_and_ended(place: Place) -> None:
    place.background.begin(asked(1, headers={"x-tetrad-user": "ada"}, release="sha256:1", stream=True))
    assert place.jobs.started == [(P, name(1))]
    assert place.keys.asked == [(P, "key_1")]
    place.background.look(P, name(1))
    work = place.background.take(P, name(1))
    assert json.loads(bytes(work.body)) == {"model": "m", "input": json.loads(ITEMS)}
    assert (work.headers, work.release, work.stream) == ({"x-tetrad-user": "ada"}, "sha256:1", True)
    assert place.shown(1)["status"] == "in_progress"
    place.background.finish(P, name(1), answered())
    shown = place.shown(1)
    assert (shown["id"], shown["status"], shown["created_at"], shown["background"]) == (name(1), "completed", 7, True)
    found = place.responses.conversation(P, name(1))
    assert [item["role"] for item in json.loads(bytes(found.items))] == ["user", "assistant"]
    assert (found.upstream, found.native) == ("openai", False)


def test_what_has_ended_stays_as_it_is(place: Place) -> None:
    place.background.begin(asked(1))
    place.background.finish(P, name(1), answered("first"))
    place.background.finish(P, name(1), answered("second"))
    place.background.finish(P, name(1), BackgroundAnswer(code="server_error", message="late"))
    assert json.loads(bytes(place.background.cancel(P, name(1)).response))["status"] == "completed"
    assert place.shown(1)["output"][0]["content"][0]["text"] == "first"
    for late in (place.background.look, place.background.take):
        with pytest.raises(ResponseNotFound):
            late(P, name(1))


def test_a_late_answer_does_not_undo_a_cancellation(place: Place) -> None:
    place.background.begin(asked(1))
    place.background.take(P, name(1))
    place.background.cancel(P, name(1))
    place.background.finish(P, name(1), answered())
    shown = place.shown(1)
    assert (shown["status"], shown["output"]) == ("cancelled", [])
    with pytest.raises(ResponseNotComplete, match="is cancelled"):
        place.responses.conversation(P, name(1))


def test_what_is_under_way_cannot_be_gone_on_from(place: Place) -> None:
    place.background.begin(asked(1))
    with pytest.raises(ResponseNotComplete, match="is queued"):
        place.responses.conversation(P, name(1))
    place.background.take(P, name(1))
    with pytest.raises(ResponseNotComplete, match="is in_progress"):
        place.responses.conversation(P, name(1))
    assert place.responses.input_items(P, name(1), limit=5, after="", newest_first=False).data[0]["role"] == "user"
    with pytest.raises(ResponseNotFound):
        place.background.begin(asked(2, previous=9))


def test_so_many_are_under_way_and_no_more(place: Place) -> None:
    place.background.begin(asked(1))
    place.background.begin(asked(2))
    with pytest.raises(TooManyInBackground, match="2 responses under way"):
        place.background.begin(asked(3))
    with pytest.raises(ResponseNotFound):
        place.responses.get(P, name(3))
    place.background.cancel(P, name(1))
    place.background.begin(asked(3))


def test_what_is_deleted_is_over(place: Place) -> None:
    place.background.begin(asked(1))
    place.responses.drop(P, name(1))
    with pytest.raises(ResponseNotFound):
        place.background.take(P, name(1))
    place.background.finish(P, name(1), answered())
    with pytest.raises(ResponseNotFound):
        place.responses.get(P, name(1))
    place.background.begin(asked(2))
    place.background.begin(asked(3))


def test_it_has_its_time(place: Place) -> None:
    place.background.begin(asked(1))
    place.background.begin(asked(2))
    place.clock.at += timedelta(seconds=599)
    place.background.lapse(P, name(1))
    assert place.shown(1)["status"] == "queued"
    place.clock.at += timedelta(seconds=1)
    place.background.lapse(P, name(1))
    assert (place.shown(1)["status"], place.shown(1)["error"]["code"]) == ("failed", "deadline_exceeded")
    with pytest.raises(ResponseNotFound):
        place.background.take(P, name(2))
    assert place.shown(2)["error"]["code"] == "deadline_exceeded"


def test_a_call_that_is_cut_off_again_and_again_is_not_paid_for_for_ever(place: Place) -> None:
    place.background.begin(asked(1))
    for _ in range(5):
        place.background.take(P, name(1))
    with pytest.raises(ResponseNotFound):
        place.background.take(P, name(1))
    assert (place.shown(1)["status"], place.shown(1)["error"]["code"]) == ("failed", "interrupted")


def test_a_key_that_is_gone_begins_nothing_and_ends_what_it_began(place: Place) -> None:
    place.background.begin(asked(1))
    place.keys.gone = True
    with pytest.raises(ResponseKeyGone):
        place.background.begin(asked(2))
    with pytest.raises(ResponseNotFound):
        place.responses.get(P, name(2))
    with pytest.raises(ResponseNotFound):
        place.background.look(P, name(1))
    assert place.shown(1)["error"]["code"] == "response_key_gone"


def test_what_nobody_can_take_is_not_begun(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(project: str, identity: str) -> None:
        raise Unavailable("the database of jobs is not there yet")

    monkeypatch.setattr(place.jobs, "start", refuse)
    with pytest.raises(Unavailable):
        place.background.begin(asked(1))
    with pytest.raises(ResponseNotFound):
        place.responses.get(P, name(1))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (BackgroundAnswer(code="rate_limit_exceeded", message="Too many"), "rate_limit_exceeded"),
        (BackgroundAnswer(msgspec.Raw(b'"text"')), "answer_unreadable"),
        (BackgroundAnswer(msgspec.Raw(b'{"status":"completed","output":5}')), "answer_unreadable"),
        (BackgroundAnswer(msgspec.Raw(b'{"status":"dancing"}')), "answer_unreadable"),
        (answered("x" * 3000), "response_too_large"),
    ],
)
def test_an_answer_that_is_none_is_told_as_an_error(place: Place, answer: BackgroundAnswer, code: str) -> None:
    place.background.begin(asked(1))
    place.background.finish(P, name(1), answer)
    shown = place.shown(1)
    assert (shown["status"], shown["error"]["code"]) == ("failed", code)
    assert shown["error"]["message"]


def test_a_response_that_the_model_failed_says_why(place: Place) -> None:
    place.background.begin(asked(1))
    said = {"status": "failed", "output": [], "error": {"code": "server_error", "message": "overloaded"}}
    place.background.finish(P, name(1), BackgroundAnswer(msgspec.Raw(json.dumps(said).encode())))
    assert place.shown(1)["error"] == {"code": "server_error", "message": "overloaded"}
    with pytest.raises(ResponseNotComplete, match="is failed"):
        place.responses.conversation(P, name(1))


def test_it_adds_to_its_conversation_once(place: Place) -> None:
    made = place.responses.begin(P, {}, [])
    place.background.begin(asked(1, conversation=made.id))
    place.background.finish(P, name(1), answered())
    place.background.finish(P, name(1), answered())
    items = place.responses.items(P, made.id, limit=10, after="", newest_first=False).data
    assert [item["role"] for item in items] == ["user", "assistant"]
    assert place.shown(1)["conversation"] == {"id": made.id}
    place.background.begin(asked(2, conversation=made.id))
    place.responses.end_talk(P, made.id)
    place.background.finish(P, name(2), answered())
    assert (place.shown(2)["status"], place.shown(2)["conversation"]) == ("completed", None)


@pytest.mark.parametrize("how", ["cancelled", "deleted", "answered"])
def test_an_answer_that_comes_with_a_cancellation_leaves_nothing_in_the_conversation(
    place: Place, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What ends it comes between what is added and the end; of two workers with one answer each it is the first's."""
    made = place.responses.begin(P, {}, [])
    place.background.begin(asked(1, conversation=made.id))
    store = place.background._store
    settle = store.settle

    def meanwhile(*given: Any, **more: Any) -> bool:
        monkeypatch.setattr(store, "settle", settle)
        if how == "cancelled":
            place.background.cancel(P, name(1))
        elif how == "deleted":
            place.responses.drop(P, name(1))
        else:
            place.background.finish(P, name(1), answered())
        return settle(*given, **more)

    monkeypatch.setattr(store, "settle", meanwhile)
    place.background.finish(P, name(1), answered())
    items = place.responses.items(P, made.id, limit=10, after="", newest_first=False).data
    assert [item["role"] for item in items] == (["user", "assistant"] if how == "answered" else [])


def test_tending_begins_what_nobody_works_on_and_ends_what_nobody_can(place: Place) -> None:
    place.background.begin(asked(1))
    assert place.background.tend() == {"begun": 0, "ended": 0}
    place.jobs.why = None
    assert place.background.tend() == {"begun": 1, "ended": 0}
    assert place.jobs.started == [(P, name(1))] * 2
    place.jobs.why = "the worker died each time it ran"
    assert place.background.tend() == {"begun": 0, "ended": 1}
    assert place.shown(1)["error"] == {"code": "worker_failed", "message": "the worker died each time it ran"}
    place.background.begin(asked(2))
    place.clock.at += timedelta(seconds=600)
    assert place.background.tend() == {"begun": 0, "ended": 1}
    assert place.shown(2)["error"]["code"] == "deadline_exceeded"


def test_a_response_that_was_answered_at_once_cannot_be_cancelled(place: Place) -> None:
    place.responses.keep(
        msgspec.structs.replace(asked(1).kept, response=msgspec.Raw(b'{"status":"completed","output":[]}'))
    )
    with pytest.raises(NotInBackground):
        place.background.cancel(P, name(1))


def test_other_projects_find_nothing(place: Place) -> None:
    place.background.begin(asked(1))
    for ask in (place.background.look, place.background.take, place.background.cancel):
        with pytest.raises(ResponseNotFound):
            ask("other", name(1))
    place.background.finish("other", name(1), answered())
    assert place.shown(1)["status"] == "queued"
