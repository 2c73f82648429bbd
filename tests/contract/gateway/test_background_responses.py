"""Responses in the background: the official client, a real gateway, control's real routes, the worker's real job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from support import gateway as g
from support.background import STAND_IN
from support.background_place import AT_ONCE, TEXT, Place, begun, client_of, ended, running_place, table_of
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, prepare_home
from support.wait import wait_until


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


def contents(upstream: FakeOpenAI) -> list[Any]:
    return [message["content"] for message in upstream.requests[-1].body["messages"]]


@pytest.mark.parametrize("model", ["local/m1", "local/native"])
def test_a_response_is_begun_at_once_and_retrieved_until_it_is_complete(client: openai.OpenAI, model: str) -> None:
    first = begun(client, model, metadata={"topic": "rain"}, instructions="Be brief.")
    assert (first.status, first.background, first.output, first.error) == ("queued", True, [], None)
    assert (first.metadata, first.instructions, first.model) == ({"topic": "rain"}, "Be brief.", model)
    done = ended(client, first)
    assert (done.id, done.status, done.background, done.output_text) == (first.id, "completed", True, TEXT)
    assert done.created_at == first.created_at
    assert done.usage.total_tokens > 0
    items: Any = list(client.responses.input_items.list(first.id))
    assert [item.content[0].text for item in items] == ["One"]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_conversation_goes_on_from_it_once_it_is_complete(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    first = begun(client, "local/later-0.5")
    with pytest.raises(openai.BadRequestError, match="cannot be gone on from yet") as caught:
        client.responses.create(model="local/m1", input="Two", previous_response_id=first.id)
    assert caught.value.code == "response_not_complete"
    with pytest.raises(openai.BadRequestError, match="cannot be gone on from yet"):
        begun(client, said="Two", previous_response_id=first.id)
    ended(client, first)
    second = begun(client, said="Two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert ended(client, second).previous_response_id == first.id
    assert contents(upstream) == ["One", TEXT, "Two"]
    client.responses.create(model="local/m1", input="Three", previous_response_id=second.id)
    assert contents(upstream) == ["One", TEXT, "Two", TEXT, "Three"]


def test_it_adds_to_the_conversation_that_it_belongs_to(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    made = client.conversations.create(items=[{"type": "message", "role": "user", "content": "Zero"}])
    first = begun(client, conversation=made.id)
    assert first.conversation.id == made.id
    assert ended(client, first).conversation.id == made.id
    assert contents(upstream) == ["Zero", "One"]
    said: Any = list(client.conversations.items.list(made.id, order="asc"))
    assert [item.content[0].text for item in said] == ["Zero", "One", TEXT]


def test_calls_of_tools_come_back_whole(client: openai.OpenAI) -> None:
    done = ended(client, begun(client, "local/tools", "Weather?"))
    call = next(item for item in done.output if item.type == "function_call")
    assert (call.name, call.arguments) == ("w", '{"c":"Oslo"}')


def test_what_goes_wrong_is_told_as_its_error(place: Place, client: openai.OpenAI) -> None:
    before = len(place.upstream.requests)
    refused = ended(client, begun(client, "local/error-400"))
    assert (refused.status, refused.output) == ("failed", [])
    assert refused.error.message
    assert refused.error.code
    assert len(place.upstream.requests) == before + 1
    failed = ended(client, begun(client, "local/error-500"))
    assert (failed.status, len(place.upstream.requests)) == ("failed", before + 4)
    with pytest.raises(openai.BadRequestError, match="nothing to go on from"):
        client.responses.create(model="local/m1", input="Two", previous_response_id=failed.id)


def test_what_cannot_be_called_is_refused_at_once(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        begun(client, "local/nothing")
    with pytest.raises(openai.BadRequestError):
        begun(client, "app:assistant")  # its prompt has a variable
    with pytest.raises(openai.BadRequestError) as caught:
        begun(client, previous_response_id="resp_00000000")
    assert caught.value.code == "previous_response_not_found"
    with pytest.raises(openai.NotFoundError):
        begun(client, conversation="conv_00000000")


def test_what_cannot_be_kept_is_refused_with_a_way_out(place: Place, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="has to be stored") as unstored:
        begun(client, store=False)
    assert (unstored.value.code, unstored.value.param) == ("background_not_stored", "store")
    for key in (g.REDACTED_KEY, g.OFF_KEY):
        with client_of(place, key) as careful, pytest.raises(openai.PermissionDeniedError, match="nothing may be kept"):
            begun(careful)


def test_a_cancelled_response_ends_its_call_and_stays_cancelled(place: Place, client: openai.OpenAI) -> None:
    first = begun(client, "local/stall")
    wait_until(lambda: client.responses.retrieve(first.id).status == "in_progress", what="the call")
    aborted = place.upstream.aborted
    assert client.responses.cancel(first.id).status == "cancelled"
    wait_until(lambda: place.upstream.aborted > aborted, what="the call to be given up")
    assert client.responses.cancel(first.id).status == "cancelled"
    assert client.responses.retrieve(first.id).status == "cancelled"


def test_cancelling_what_has_ended_changes_nothing(place: Place, client: openai.OpenAI) -> None:
    done = ended(client, begun(client))
    assert client.responses.cancel(done.id) == done
    at_once = client.responses.create(model="local/m1", input="One")
    with pytest.raises(openai.BadRequestError, match="background") as caught:
        client.responses.cancel(at_once.id)
    assert caught.value.code == "not_in_background"
    with client_of(place, g.OTHER_KEY) as other:
        for ask in (other.responses.cancel, other.responses.retrieve, other.responses.delete):
            with pytest.raises(openai.NotFoundError):
                ask(done.id)


def test_a_deleted_response_ends_its_call(place: Place, client: openai.OpenAI) -> None:
    first = begun(client, "local/stall")
    wait_until(lambda: client.responses.retrieve(first.id).status == "in_progress", what="the call")
    aborted = place.upstream.aborted
    client.responses.delete(first.id)
    wait_until(lambda: place.upstream.aborted > aborted, what="the call to be given up")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_no_more_are_under_way_than_the_project_may_have(client: openai.OpenAI) -> None:
    many = [begun(client, "local/stall") for _ in range(AT_ONCE)]
    with pytest.raises(openai.RateLimitError, match="under way") as caught:
        begun(client)
    assert caught.value.code == "too_many_in_background"
    assert caught.value.response.headers["retry-after"] == "5"
    for each in many:
        client.responses.cancel(each.id)
    assert ended(client, begun(client)).status == "completed"


def test_a_key_that_is_revoked_meanwhile_ends_the_call(place: Place, client: openai.OpenAI) -> None:
    first = begun(client, "local/stall")
    wait_until(lambda: client.responses.retrieve(first.id).status == "in_progress", what="the call")
    place.keys.gone = True
    try:
        done = ended(client, first)
    finally:
        place.keys.gone = False
    assert (done.status, done.error.code) == ("failed", "response_key_gone")


def test_an_app_is_called_with_its_prompt_and_its_variables(place: Place, client: openai.OpenAI) -> None:
    asked: Any = {"extra_body": {"tetrad": {"variables": {"name": "Ada"}}}}
    first = begun(client, "app:assistant", **asked)
    assert ended(client, first).output_text == TEXT
    assert contents(place.upstream) == ["You help Ada.", "2+2?", "4 {{kept}}", "One"]


def test_a_call_is_made_as_the_release_it_was_begun_with_wherever_the_ref_points_now(place: Place) -> None:
    pinned: Any = {"extra_headers": {"x-tetrad-background-release": g.STATIC_RELEASE}}
    with client_of(place, STAND_IN) as worker:
        raw = worker.responses.with_raw_response.create(model="app:assistant", input="One", **pinned)
        assert raw.headers["x-tetrad-release"] == g.STATIC_RELEASE
        assert raw.headers["x-tetrad-background-upstream"] == "up"
        assert contents(place.upstream)[0] == "Be brief."
        gone: Any = {"extra_headers": {"x-tetrad-background-release": "sha256:" + "7" * 64}}
        with pytest.raises(openai.InternalServerError, match="not in the route table"):
            worker.responses.create(model="app:assistant", input="One", **gone)
        with pytest.raises(openai.NotFoundError):
            worker.responses.retrieve(raw.parse().id)  # whoever had it called keeps it


def test_the_call_is_a_span_of_the_trace_that_began_it(place: Place, client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(model="local/m1", input="One", background=True)
    first, trace = raw.parse(), raw.headers["x-tetrad-trace-id"]
    ended(client, first)

    def told() -> list[Any]:
        mine = [span for span in g.spooled(place.home) if span.trace_id == trace]
        return mine if len(mine) == 3 else []

    spans = wait_until(told, what="the spans")
    roots = [span for span in spans if span.attributes.get("tetrad.background") == first.id]
    asked, called = sorted(roots, key=lambda span: span.start_ns)
    assert called.parent_id == asked.span_id
    assert {span.key_id for span in spans} == {"key_full"}


def test_nobody_else_says_what_the_worker_says(place: Place, client: openai.OpenAI) -> None:
    """Headers that pin a release hold for the worker's keys alone."""
    forged = {"x-tetrad-background-release": g.STATIC_RELEASE, "x-tetrad-background": "resp_00000000"}
    more: Any = {"extra_headers": forged, "extra_body": {"tetrad": {"variables": {"name": "Ada"}}}}
    raw = client.responses.with_raw_response.create(model="app:assistant", input="One", **more)
    assert raw.headers["x-tetrad-release"] == g.RELEASE
    assert "x-tetrad-background-upstream" not in raw.headers
    later = begun(client, "app:assistant", **more)
    assert later.id != "resp_00000000"
    ended(client, later)
    assert contents(place.upstream)[0] == "You help Ada."


def test_without_control_it_says_to_try_again(upstream: FakeOpenAI, tetrad_home: Path) -> None:
    prepare_home(tetrad_home, table_of(upstream))
    with (
        GatewayProcess(tetrad_home) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=g.KEY, max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError) as caught:
            begun(client)
        assert (caught.value.status_code, caught.value.code) == (503, "state_unavailable")
        status, body = gateway.get("/v1/responses/resp_12345678", g.KEY)
        assert (status, json.loads(body)["error"]["code"]) == (503, "state_unavailable")


def test_what_the_upstream_was_not_told_is_named_on_retrieval(client: openai.OpenAI) -> None:
    first = begun(client, max_tool_calls=3)
    ended(client, first)
    raw = client.responses.with_raw_response.retrieve(first.id)
    assert raw.headers["x-tetrad-dropped"] == "max_tool_calls"
    told = begun(client)
    ended(client, told)
    assert "x-tetrad-dropped" not in client.responses.with_raw_response.retrieve(told.id).headers
