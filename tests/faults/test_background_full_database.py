"""Responses in the background while the database has no room: what is under way waits, and nothing of it is lost."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from support.background_place import Place, begun, client_of, running_place
from support.fake_openai import FakeOpenAI
from support.wait import wait_until
from tetrad.kit.db import DatabaseUnavailable

WHOLE = "".join(f"w{number} " for number in range(100))


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with FakeOpenAI() as upstream, running_place(upstream, tmp_path_factory, "tetrad") as running:
        yield running


@contextlib.contextmanager
def full(place: Place) -> Iterator[None]:
    """Let the database have no more pages than it has now."""
    engine = place.background._store._database.engine  # type: ignore[attr-defined]
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def bound(connection: Any, most: int) -> None:
        connection.execute(f"PRAGMA max_page_count = {most}")

    def bounded(connection: Any, *_: Any) -> None:
        bound(connection, pages)

    def free(connection: Any, *_: Any) -> None:
        bound(connection, 2**30)

    sa.event.listen(engine, "checkout", bounded)
    try:
        yield
    finally:
        sa.event.remove(engine, "checkout", bounded)
        sa.event.listen(engine, "checkout", free)


def test_a_stream_waits_for_room_and_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[Exception] = []
    say = place.background.say

    def watched(*given: Any) -> None:
        try:
            say(*given)
        except DatabaseUnavailable as error:
            refused.append(error)
            raise

    monkeypatch.setattr(place.background, "say", watched)
    with client_of(place) as client:
        stream = client.responses.create(model="local/slow-0.1", input="One", background=True, stream=True)
        events: list[Any] = []
        for event in stream:
            events.append(event)
            if len(events) == 8:
                break
        with full(place):
            with pytest.raises(openai.InternalServerError, match="is full") as caught:
                begun(client, said=secrets.token_hex(200_000))
            assert (caught.value.status_code, caught.value.code) == (503, "database_unavailable")
            assert client.responses.retrieve(events[0].response.id).status == "in_progress"
            wait_until(lambda: len(refused) > 1, timeout_s=30, what="events that find no room")
        events += stream
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[-1].type, events[-1].response.output_text) == ("response.completed", WHOLE)
    told = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert told == WHOLE
