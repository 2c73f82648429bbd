"""Responses in the background as operators see them, on both databases: found, paged, ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from support.background import NoWork, StandIns
from tetrad.kernel import Principal, SystemClock, Unavailable
from tetrad.kit.db import Database
from tetrad.responses import (
    Background,
    BackgroundAnswer,
    BackgroundCall,
    BackgroundRequest,
    KeptResponse,
    Records,
    ResponseNotFound,
    Responses,
)
from tetrad.responses._background_store import SqlBackgroundStore
from tetrad.responses._model import RecordSearch
from tetrad.responses._record_store import SqlRecordStore
from tetrad.responses._store import SqlResponseStore

P = "default"
ADA = Principal("key_ada", "key", "Ada", frozenset(("control",)))


class Ticking(SystemClock):
    """A clock that is a second later each time that it is looked at."""

    at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


class Place:
    """What operators ask, and what they ask it of."""

    def __init__(self, database: Database) -> None:
        clock = Ticking()
        self.responses = Responses(SqlResponseStore(database), clock)
        self.background = Background(self.responses, SqlBackgroundStore(database), NoWork(), StandIns(), clock)
        self.records = Records(SqlRecordStore(database), self.responses, self.background, self.audit)
        self.audited: list[tuple[Any, ...]] = []
        self.audit_full = False

    def audit(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        if self.audit_full:
            raise Unavailable("the audit log cannot be written")
        self.audited.append((actor.id, action, target, project, detail))

    def begin(self, number: int, *, app: str = "", model: str = "m1", key: str = "key_1", project: str = P) -> str:
        identity = f"resp_{number:08d}"
        shown = json.dumps({"id": identity, "status": "queued", "background": True, "output": []}).encode()
        kept = KeptResponse(identity, project, 7, msgspec.Raw(b"[]"), msgspec.Raw(shown), "", key)
        self.background.begin(BackgroundRequest(kept, BackgroundCall(msgspec.Raw(b"{}")), app, model))
        return identity

    def found(self, *, after: Any = None, limit: int = 10, **search: Any) -> list[int]:
        records = self.records.search(P, RecordSearch(**search), after, limit)
        return [int(each.id[5:]) for each in records]


@pytest.fixture
def place(database: Database) -> Place:
    return Place(database)


def test_they_are_found_by_their_state_and_by_what_they_hold(place: Place) -> None:
    place.begin(1, app="bot", model="app:bot")
    place.begin(2, model="openai/gpt_x", key="key_2")
    place.begin(3)
    place.begin(4, project="other")
    place.background.take(P, "resp_00000001")
    failed = BackgroundAnswer(code="server_error", message="The upstream is gone")
    place.background.finish(P, "resp_00000002", failed)
    place.background.cancel(P, "resp_00000003")
    assert place.found() == [3, 2, 1]
    assert place.found(oldest_first=True) == [1, 2, 3]
    assert place.found(status="open") == [1]
    assert place.found(status="in_progress") == [1]
    assert place.found(status="failed") == [2]
    assert place.found(contains="BOT") == [1]
    assert place.found(contains="gpt_x") == [2]
    assert place.found(contains="g_t") == []
    assert place.found(contains="key_2", status="cancelled") == []
    record, error = place.records.get(P, "resp_00000002")
    assert error is not None
    assert (record.model, record.key_id, error.code, error.message) == (
        "openai/gpt_x", "key_2", "server_error", "The upstream is gone",
    )  # fmt: skip
    assert record.ended_at is not None
    assert record.ended_at > record.created_at


def test_a_page_goes_on_where_the_last_one_ended(place: Place) -> None:
    for number in range(1, 6):
        place.begin(number)
    for oldest_first, order in ((False, [5, 4, 3, 2, 1]), (True, [1, 2, 3, 4, 5])):
        seen: list[int] = []
        after = None
        while found := place.records.search(P, RecordSearch(oldest_first=oldest_first), after, 2):
            seen += [int(each.id[5:]) for each in found]
            after = found[-1].created_at, found[-1].id
        assert seen == order


def test_an_operator_ends_one_and_what_was_dropped_is_told(place: Place) -> None:
    one, two = place.begin(1), place.begin(2)
    record, error = place.records.cancel(ADA, P, one)
    assert (record.status, error) == ("cancelled", None)
    answer = BackgroundAnswer(msgspec.Raw(b'{"status":"completed","output":[]}'), "up", dropped="seed, top_k")
    place.background.finish(P, two, answer)
    assert place.records.cancel(ADA, P, two)[0].status == "completed"
    assert place.records.get(P, two)[0].dropped == place.background.dropped(P, two) == "seed, top_k"
    place.responses.drop(P, one)
    assert place.found() == [2]
    for project, gone in ((P, one), ("other", two)):
        with pytest.raises(ResponseNotFound):
            place.records.get(project, gone)
        with pytest.raises(ResponseNotFound):
            place.records.cancel(ADA, project, gone)


def test_a_cancellation_is_in_the_audit_log_before_it_happens_and_once(place: Place) -> None:
    """Asked again it changes nothing, and neither does it where the response has ended by itself."""
    one, two = place.begin(1, app="bot", model="app:bot", key="key_7"), place.begin(2)
    place.audit_full = True
    with pytest.raises(Unavailable):
        place.records.cancel(ADA, P, one)
    assert place.found(status="open") == [2, 1]
    place.audit_full = False
    for _ in range(2):
        assert place.records.cancel(ADA, P, one)[0].status == "cancelled"
    place.background.finish(P, two, BackgroundAnswer(msgspec.Raw(b'{"status":"completed","output":[]}'), "up"))
    place.records.cancel(ADA, P, two)
    with pytest.raises(ResponseNotFound):
        place.records.cancel(ADA, "other", one)
    detail = {"status": "queued", "app": "bot", "model": "app:bot", "key": "key_7"}
    assert place.audited == [("key_ada", "response.cancelled", one, P, detail)]
