"""Stored responses on both databases: kept once, put together, bounded, forgotten."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tetrad.kit.db import Database
from tetrad.responses import (
    BadResponse,
    KeptResponse,
    ResponseLimits,
    ResponseNotFound,
    Responses,
    ResponseTooLarge,
    TooManyResponses,
)
from tetrad.responses._store import SqlResponseStore

P = "default"


@dataclass
class Watch:
    """A clock that tests turn."""

    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def now_ns(self) -> int:
        return int(self.at.timestamp() * 1e9)


@pytest.fixture
def clock() -> Watch:
    return Watch()


@pytest.fixture
def responses(database: Database, clock: Watch) -> Responses:
    limits = ResponseLimits(keep_days=30, most=4, most_bytes=2000, conversation_bytes=3000, most_turns=3)
    return Responses(SqlResponseStore(database), clock, limits)


def kept(number: int, *, previous: int = 0, project: str = P, said: str = "Hi", **more: Any) -> KeptResponse:
    item = {"id": f"msg_{number}", "type": "message", "role": "assistant", "content": [f"answer {number}"]}
    return KeptResponse(
        id=f"resp_{number:08d}",
        project=project,
        created_s=1,
        input=msgspec.Raw(json.dumps([{"role": "user", "content": f"{said} {number}"}]).encode()),
        response=msgspec.Raw(json.dumps({"id": f"resp_{number:08d}", "output": [item]}).encode()),
        previous=f"resp_{previous:08d}" if previous else "",
        **more,
    )


def said(responses: Responses, number: int) -> list[Any]:
    found = responses.conversation(P, f"resp_{number:08d}")
    return [item["content"] for item in json.loads(bytes(found.items))]


def test_a_conversation_is_put_together_in_its_order(responses: Responses) -> None:
    assert responses.keep(kept(1, upstream="openai", native=True))
    assert responses.keep(kept(2, previous=1, upstream="local"))
    assert responses.keep(kept(3, previous=1))
    assert said(responses, 2) == ["Hi 1", ["answer 1"], "Hi 2", ["answer 2"]]
    assert said(responses, 3) == ["Hi 1", ["answer 1"], "Hi 3", ["answer 3"]]
    first, second = responses.conversation(P, "resp_00000001"), responses.conversation(P, "resp_00000002")
    assert (first.upstream, first.native, second.upstream, second.native) == ("openai", True, "local", False)


def test_keeping_again_changes_nothing(responses: Responses) -> None:
    assert responses.keep(kept(1))
    assert not responses.keep(kept(1, said="Forged"))
    assert said(responses, 1) == ["Hi 1", ["answer 1"]]


def test_another_project_finds_nothing(responses: Responses) -> None:
    responses.keep(kept(1))
    for look in (responses.get, responses.conversation, responses.drop):
        with pytest.raises(ResponseNotFound):
            look("other", "resp_00000001")
    with pytest.raises(ResponseNotFound):
        responses.keep(kept(2, previous=1, project="other"))
    assert responses.keep(kept(1, project="other", said="Own"))
    assert said(responses, 1) == ["Hi 1", ["answer 1"]]


def test_what_is_deleted_is_gone_and_so_are_conversations_that_go_on_from_it(responses: Responses) -> None:
    responses.keep(kept(1))
    responses.keep(kept(2, previous=1))
    responses.drop(P, "resp_00000001")
    with pytest.raises(ResponseNotFound):
        responses.drop(P, "resp_00000001")
    with pytest.raises(ResponseNotFound, match="resp_00000001 is gone"):
        responses.conversation(P, "resp_00000002")
    assert responses.get(P, "resp_00000002").previous == "resp_00000001"


def test_a_conversation_that_goes_on_keeps_its_beginning(responses: Responses, clock: Watch) -> None:
    responses.keep(kept(1))
    clock.at += timedelta(days=29)
    responses.keep(kept(2, previous=1))
    clock.at += timedelta(days=29)
    assert said(responses, 2) == ["Hi 1", ["answer 1"], "Hi 2", ["answer 2"]]
    clock.at += timedelta(days=1)
    with pytest.raises(ResponseNotFound):
        responses.get(P, "resp_00000002")


def test_the_limits_hold_and_what_expired_makes_room(responses: Responses, clock: Watch) -> None:
    with pytest.raises(ResponseTooLarge, match="at most 2,000"):
        responses.keep(kept(9, said="x" * 2000))
    responses.keep(kept(1, said="x" * 1500))
    responses.keep(kept(2, previous=1, said="x" * 1500))
    with pytest.raises(ResponseTooLarge, match="the most is 3,000"):
        responses.conversation(P, "resp_00000002")
    responses.keep(kept(3, previous=2))
    with pytest.raises(ResponseTooLarge, match="3 turns"):
        responses.keep(kept(4, previous=3))
    responses.keep(kept(5))
    with pytest.raises(TooManyResponses):
        responses.keep(kept(6))
    clock.at += timedelta(days=31)
    assert responses.keep(kept(6))


@pytest.mark.parametrize("identity", ["", "short", "a/b/c/d/e/f", "resp_" + "x" * 200, "resp_12345\n"])
def test_an_id_that_could_be_a_path_is_refused(responses: Responses, identity: str) -> None:
    with pytest.raises(BadResponse):
        responses.keep(msgspec.structs.replace(kept(1), id=identity))


@pytest.mark.parametrize("torn", [b'{"output": 3}', b"[]", b'"x"'])
def test_what_is_no_response_is_refused(responses: Responses, torn: bytes) -> None:
    with pytest.raises(BadResponse):
        responses.keep(msgspec.structs.replace(kept(1), response=msgspec.Raw(torn)))


def test_input_items_are_paged_and_named(responses: Responses) -> None:
    responses.keep(kept(1))
    responses.keep(kept(2, previous=1))
    identity = "resp_00000002"
    page = responses.input_items(P, identity, limit=2, after="", newest_first=False)
    assert [item["content"] for item in page.data] == [[{"type": "input_text", "text": "Hi 1"}], ["answer 1"]]
    assert page.has_more
    assert page.last_id == "msg_1"
    rest = responses.input_items(P, identity, limit=2, after=page.last_id, newest_first=False)
    assert [item["content"][0]["text"] for item in rest.data] == ["Hi 2"]
    assert not rest.has_more
    newest = responses.input_items(P, identity, limit=1, after="", newest_first=True)
    assert newest.data == rest.data
    with pytest.raises(ResponseNotFound):
        responses.input_items(P, identity, limit=1, after="nothing", newest_first=False)
