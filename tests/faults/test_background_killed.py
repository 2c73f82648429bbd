"""Responses in the background whose worker, control or gateway is killed: each is answered, none is forgotten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from support.fake_openai import WORDS, FakeOpenAI
from support.product import Product, environ_of, running_product
from support.wait import wait_until

TEXT = "".join(WORDS)
ENDED = ("completed", "failed", "cancelled", "incomplete")
AWAY = (openai.APIConnectionError, openai.InternalServerError, httpx.TransportError)


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, upstream: FakeOpenAI) -> Iterator[Product]:
    with running_product(
        tmp_path_factory.mktemp("background"),
        bundled_model=False,
        jobs_poll_s=0.2,
        background_at_once=2,
        response_background_s=600,
    ) as running:
        subprocess.run(
            [sys.executable, "-m", "tetrad", "secret", "set", "fake-key"],
            env=running.environment, input="sk-upstream", text=True, check=True, timeout=60, capture_output=True,
        )  # fmt: skip
        running.cli(
            "provider", "set", "fake", "--base-url", upstream.base_url, "--secret", "fake-key",
            "--model", "later:4", "--model", "stall", "--model", "m1", "--model", "slow:0.1",
        )  # fmt: skip
        yield running


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    env = environ_of(product)
    with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=3) as made:
        wait_until(lambda: "fake/m1" in {model.id for model in made.models.list()}, what="the provider at the gateway")
        yield made


def begun(client: openai.OpenAI, said: str, model: str = "fake/later:4") -> Any:
    return client.responses.create(model=model, input=said, background=True)


def looked(client: openai.OpenAI, response: Any) -> Any:
    try:
        return client.responses.retrieve(response.id)
    except (openai.InternalServerError, openai.APIConnectionError):  # a process starts again
        return response


def ended(client: openai.OpenAI, response: Any) -> Any:
    def found() -> Any:
        now = looked(client, response)
        return now if now.status in ENDED else None

    return wait_until(found, timeout_s=120, what="the response to end")


def calls(upstream: FakeOpenAI, said: str) -> int:
    """How often an upstream was asked something."""
    return sum(said in json.dumps(request.body) for request in upstream.requests)


@pytest.mark.parametrize(("victim", "most"), [("worker", 2), ("control", 1), ("gateway-0", 2)])
def test_a_response_is_answered_whoever_is_killed_during_its_call(
    product: Product, client: openai.OpenAI, upstream: FakeOpenAI, victim: str, most: int
) -> None:
    """A call that is cut off is made again; that control is away cuts off none."""
    said = f"during-{victim}"
    response = begun(client, said)
    wait_until(lambda: calls(upstream, said) == 1, timeout_s=60, what="the call")
    os.kill(int(product.processes()[victim]["pid"]), signal.SIGKILL)
    done = ended(client, response)
    assert (done.id, done.status, done.output_text) == (response.id, "completed", TEXT)
    assert calls(upstream, said) == most


def came_back(client: openai.OpenAI, identity: str, after: int) -> Any:
    """Follow a response again, whatever of the product starts again meanwhile."""

    def followed() -> Any:
        try:
            return client.responses.retrieve(identity, stream=True, starting_after=after)
        except AWAY:
            return None

    return wait_until(followed, timeout_s=120, what="the stream to be there again")


@pytest.mark.parametrize(("victim", "most"), [("worker", 2), ("control", 1), ("gateway-0", 2)])
def test_a_stream_goes_on_after_the_last_event_whoever_is_killed(
    product: Product, client: openai.OpenAI, upstream: FakeOpenAI, victim: str, most: int
) -> None:
    """No number is missing or comes twice, and no half of a second answer is put behind that of the first."""
    said = f"streamed-{victim}"
    stream = client.responses.create(model="fake/slow:0.1", input=said, background=True, stream=True)
    events: list[Any] = []
    killed = False
    while not events or events[-1].type.removeprefix("response.") not in ENDED:
        try:
            for event in stream:
                if event.type == "error":  # it tells to come back
                    break
                events.append(event)
                if not killed and text_of(events).count(" ") >= 5:
                    killed = True
                    os.kill(int(product.processes()[victim]["pid"]), signal.SIGKILL)
        except AWAY:
            pass  # the gateway was the victim: its client comes back, as after any end without a last event
        if events[-1].type.removeprefix("response.") not in ENDED:
            stream = came_back(client, events[0].response.id, events[-1].sequence_number)
    last = events[-1]
    whole = "".join(f"w{number} " for number in range(100))
    assert killed
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (last.type, last.response.output_text) == ("response.completed", whole)
    assert calls(upstream, said) == most
    assert text_of(events) == whole if most == 1 else whole.startswith(text_of(events))
    assert sum(event.type == "response.in_progress" for event in events) == most
    assert list(client.responses.retrieve(last.response.id, stream=True)) == events


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def test_what_waits_for_its_turn_survives_a_killed_worker_and_is_called_once(
    product: Product, client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    blocking = [begun(client, f"blocking-{number}", "fake/stall") for number in range(2)]
    wait_until(lambda: calls(upstream, "blocking-") == 2, timeout_s=60, what="both places to be taken")
    waiting = begun(client, "waits-its-turn", "fake/m1")
    gone = begun(client, "never-called", "fake/m1")
    assert client.responses.cancel(gone.id).status == "cancelled"
    os.kill(int(product.processes()["worker"]["pid"]), signal.SIGKILL)
    wait_until(lambda: calls(upstream, "blocking-") == 4, timeout_s=60, what="the calls to be made again")
    for each in blocking:
        assert client.responses.cancel(each.id).status == "cancelled"
    assert ended(client, waiting).output_text == TEXT
    assert client.responses.retrieve(gone.id).status == "cancelled"
    assert (calls(upstream, "waits-its-turn"), calls(upstream, "never-called")) == (1, 0)


def test_a_revoked_key_ends_what_it_asked_for(product: Product, upstream: FakeOpenAI, client: openai.OpenAI) -> None:
    made = product.control(
        "POST", "/api/v1/projects/default/keys", json={"name": "short-lived", "scopes": ["data"]}
    ).json()
    with openai.OpenAI(base_url=f"{product.gateway_url}/v1", api_key=made["secret"], max_retries=3) as short:

        def known() -> bool:
            try:
                return bool(short.models.list())
            except openai.AuthenticationError:
                return False

        wait_until(known, what="the key at the gateway")
        response = begun(short, "revoked-meanwhile", "fake/stall")
        wait_until(lambda: calls(upstream, "revoked-meanwhile") == 1, timeout_s=60, what="the call")
        aborted = upstream.aborted
        product.control("DELETE", f"/api/v1/projects/default/keys/{made['key']['id']}").raise_for_status()
    done = ended(client, response)
    assert (done.status, done.error.code) == ("failed", "response_key_gone")
    wait_until(lambda: upstream.aborted > aborted, what="the call to be given up")


def test_the_trace_shows_who_asked_what_and_what_became_of_it(product: Product, client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(model="fake/m1", input="traced", background=True)
    response, trace_id = raw.parse(), raw.headers["x-tetrad-trace-id"]
    assert ended(client, response).status == "completed"

    def trace() -> Any:
        answer = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}")
        found = answer.json()["spans"] if answer.status_code == 200 else []
        return found if len(found) == 3 else None

    spans = wait_until(trace, timeout_s=30, what="the trace")
    named = [span for span in spans if span["attributes"].get("tetrad.background") == response.id]
    root = next(span for span in named if not span["parent_id"])
    assert [span["parent_id"] for span in named if span["parent_id"]] == [
        root["id"] if "id" in root else root["span_id"]
    ]
