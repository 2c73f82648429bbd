"""Clients that follow a response at a gateway that is stopped: told so at once, and gone on with at another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from support import gateway as g
from support.background_place import Place, client_of, running_place, table_of
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, prepare_home
from support.wait import wait_until

WHOLE = "".join(f"w{number} " for number in range(100))


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def place(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where the call is made, and who is stopped is another gateway."""
    with running_place(upstream, tmp_path_factory, "tetrad") as running:
        yield running


@pytest.fixture(params=["tetrad", "uvicorn"])
def stopping(
    place: Place, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[GatewayProcess]:
    """A gateway that would wait long for what is under way."""
    home = tmp_path_factory.mktemp("stopping")
    prepare_home(home, table_of(place.upstream))
    control = place.gateway._environment["TETRAD_CONTROL_URL"]
    with GatewayProcess(
        home, control_url=control, index=1, gateway_drain_s=3600, gateway_server=request.param
    ) as running:
        yield running


@pytest.fixture
def client(stopping: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stopping.url}/v1", api_key=g.KEY, max_retries=0) as made:
        yield made


def said(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def test_a_stream_ends_at_once_and_goes_on_elsewhere_from_its_last_number(
    place: Place, stopping: GatewayProcess, client: openai.OpenAI
) -> None:
    """A client that keeps the number of whatever it saw last comes back for exactly what it lacks."""
    assert stopping.process is not None
    created = client.responses.create(model="local/slow-0.1", input="One", background=True, stream=True)
    events, last = [], -1
    for event in created:
        last = event.sequence_number
        events.append(event)
        if len(events) == 8:
            identity = events[0].response.id
            later = client.responses.retrieve(identity, stream=True, starting_after=2)
            first_later = next(iter(later))
            stopping.process.terminate()
    ending = events.pop()
    assert (ending.type, ending.code, ending.sequence_number) == ("error", "shutting_down", last)
    assert f"starting_after={last}" in ending.message
    assert first_later.sequence_number == 3
    other = list(later)
    assert (other[-1].type, other[-1].sequence_number) == ("error", other[-2].sequence_number)
    assert stopping.process.wait(30) == 0
    with client_of(place) as elsewhere:
        assert elsewhere.responses.retrieve(identity).status == "in_progress"
        events += elsewhere.responses.retrieve(identity, stream=True, starting_after=last)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[-1].type, said(events)) == ("response.completed", WHOLE)


def test_who_waits_for_what_is_not_said_yet_is_sent_away(
    place: Place, stopping: GatewayProcess, client: openai.OpenAI
) -> None:
    """Nothing of the stream is out: it is an answer that clients try again by themselves."""
    assert stopping.process is not None
    with client_of(place) as elsewhere, ThreadPoolExecutor(1) as pool:
        response = elsewhere.responses.create(model="local/stall", input="One", background=True, stream=True)
        events = iter(response)
        identity = next(events).response.id
        while next(events).type != "response.in_progress":
            continue
        response.close()
        asked = pool.submit(client.responses.retrieve, identity, stream=True, starting_after=2)
        wait_until(lambda: stopping.metric("tetrad_gateway_in_flight") == 1, what="the stream to be asked for")
        stopping.process.terminate()
        with pytest.raises(openai.InternalServerError, match="the response goes on") as caught:
            asked.result(30)
        assert (caught.value.status_code, caught.value.code) == (503, "shutting_down")
        assert caught.value.response.headers["retry-after"] == "1"
        assert stopping.process.wait(30) == 0
        assert elsewhere.responses.cancel(identity).status == "cancelled"
