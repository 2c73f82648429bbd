"""Conversations that clients name, on both databases: extended once, bounded, kept apart, forgotten."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tetrad.kernel import FixedClock
from tetrad.kit.db import Database
from tetrad.responses import (
    BadResponse,
    ConversationNotFound,
    ResponseLimits,
    Responses,
    ResponseTooLarge,
    TooManyResponses,
)
from tetrad.responses._store import SqlResponseStore

P = "default"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def responses(database: Database, clock: FixedClock) -> Responses:
    limits = ResponseLimits(keep_days=30, most=3, conversation_bytes=2000, most_items=6)
    return Responses(SqlResponseStore(database), clock, limits)


def raw(*items: dict[str, Any]) -> list[msgspec.Raw]:
    return [msgspec.Raw(json.dumps(item).encode()) for item in items]


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def texts(responses: Responses, identity: str) -> list[str]:
    return [item["content"] for item in json.loads(bytes(responses.said(P, identity).items))]


def test_a_response_adds_its_turn_once(responses: Responses) -> None:
    made = responses.begin(P, {"a": "b"}, raw(user("zero")))
    for _ in range(2):
        responses.extend(P, made.id, "resp_00000001", raw(user("one"), user("two")))
    responses.extend(P, made.id, "resp_00000002", raw(user("three")))
    assert texts(responses, made.id) == ["zero", "one", "two", "three"]
    assert responses.rename(P, made.id, {"c": "d"}).metadata == {"c": "d"}
    assert responses.talk(P, made.id).metadata == {"c": "d"}


def test_turns_that_come_at_once_are_all_there_and_none_is_torn(responses: Responses) -> None:
    made = responses.begin(P, {}, [])
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(
            lambda n: responses.extend(P, made.id, f"resp_0000000{n}", raw(user(f"q{n}"), user(f"a{n}"))), range(3)
        ))  # fmt: skip
    found = texts(responses, made.id)
    assert sorted(found) == ["a0", "a1", "a2", "q0", "q1", "q2"]
    assert all(found[place + 1] == "a" + found[place][1:] for place in (0, 2, 4))


def test_a_conversation_has_a_limit_and_stays_whole_at_it(responses: Responses) -> None:
    made = responses.begin(P, {}, raw(*(user(str(n)) for n in range(5))))
    with pytest.raises(ResponseTooLarge):
        responses.extend(P, made.id, "resp_00000001", raw(user("five"), user("six")))
    assert texts(responses, made.id) == [str(n) for n in range(5)]
    with pytest.raises(ResponseTooLarge):
        responses.add(P, made.id, raw(user("x" * 2000)))
    for _ in range(3):  # what was refused leaves nothing behind that counts
        with pytest.raises(ResponseTooLarge):
            responses.begin(P, {}, raw(*(user(str(n)) for n in range(7))))


def test_a_project_keeps_so_many_conversations(responses: Responses) -> None:
    for _ in range(3):
        responses.begin(P, {}, [])
    with pytest.raises(TooManyResponses):
        responses.begin(P, {}, [])
    responses.begin("other", {}, [])


def test_a_conversation_is_kept_while_it_goes_on(responses: Responses, clock: FixedClock) -> None:
    made, left = responses.begin(P, {}, []), responses.begin(P, {}, raw(user("left")))
    clock.advance(timedelta(days=20))
    responses.extend(P, made.id, "resp_00000001", raw(user("one")))
    clock.advance(timedelta(days=20))
    assert texts(responses, made.id) == ["one"]
    with pytest.raises(ConversationNotFound):
        responses.said(P, left.id)
    responses.begin(P, {}, [])
    responses.begin(P, {}, [])  # the one that has expired counts no more


def test_another_project_sees_no_conversation(responses: Responses) -> None:
    made = responses.begin(P, {}, raw(user("zero", id="msg_00000001")))
    for ask in (
        lambda: responses.talk("other", made.id),
        lambda: responses.rename("other", made.id, {}),
        lambda: responses.end_talk("other", made.id),
        lambda: responses.add("other", made.id, raw(user("x"))),
        lambda: responses.extend("other", made.id, "resp_00000001", raw(user("x"))),
        lambda: responses.said("other", made.id),
        lambda: responses.item("other", made.id, "msg_00000001"),
        lambda: responses.drop_item("other", made.id, "msg_00000001"),
    ):
        with pytest.raises(ConversationNotFound):
            ask()
    responses.end_talk(P, made.id)
    with pytest.raises(ConversationNotFound):
        responses.talk(P, made.id)


@pytest.mark.parametrize(
    "items",
    [[msgspec.Raw(b"5")], [msgspec.Raw(b"[]")], raw(user("a", id="msg_00000001"), user("b", id="msg_00000001"))],
)
def test_what_is_no_item_is_refused(responses: Responses, items: list[msgspec.Raw]) -> None:
    made = responses.begin(P, {}, [])
    with pytest.raises(BadResponse):
        responses.add(P, made.id, items)
    assert texts(responses, made.id) == []
