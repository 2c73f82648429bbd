"""Conversations that go on: the official client, a real gateway, control's real routes over a real database."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
from fastapi import FastAPI

from support import gateway as g
from support.background import NoWork, StandIns
from support.databases import SqliteTemplate, opened
from support.fake_anthropic import FakeAnthropic, agent_steps
from support.fake_gemini import FakeGemini
from support.fake_openai import WORDS, FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home
from support.traces_api import served
from tetrad.kernel import Principal, SystemClock, Unauthenticated
from tetrad.kit.http import PROBLEM_RESPONSES, Credential, guard
from tetrad.responses import Background, Responses
from tetrad.responses._background_store import SqlBackgroundStore
from tetrad.responses._store import SqlResponseStore
from tetrad.responses.routes import conversation_router, router
from tetrad.serving import ModelEntry, Upstream

TEXT = "".join(WORDS)
PAGE = "https://app.example.com"


class InternalOnly:
    """An authenticator of one process."""

    def authenticate(self, credential: Credential) -> Principal:
        if credential.secret != g.TOKEN:
            raise Unauthenticated("unknown key")
        return Principal("process:gateway", "process", "gateway", frozenset({"internal"}))

    def in_project(self, principal: Principal, _project: str) -> Principal:
        return principal


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def gemini() -> Iterator[FakeGemini]:
    with FakeGemini() as fake:
        yield fake


@pytest.fixture(scope="module")
def claude() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as fake:
        yield fake


@pytest.fixture(scope="module", params=["tetrad", "uvicorn"])
def gateway(
    upstream: FakeOpenAI,
    gemini: FakeGemini,
    claude: FakeAnthropic,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[GatewayProcess]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("db")
    table = make_table(upstream.base_url, models=("tools",))
    google = Upstream("google", gemini.base_url, adapter="gemini", provider="google", secret="google-secret-012")
    accounts = {
        name: Upstream(name, claude.base_url, adapter="anthropic", provider=provider, secret="sk-ant-0123456789")
        for name, provider in (("claude", "anthropic"), ("second", "anthropic"), ("other", "another"))
    }
    signing = {
        name: ModelEntry(name, *name.split("/"))
        for name in ("google/agent", "claude/agent", "second/agent", "other/m1")
    }
    table = msgspec.structs.replace(
        table,
        upstreams={**table.upstreams, "google": google, **accounts},
        models={**table.models, **signing},
    )
    prepare_home(home, table)
    with opened(SqliteTemplate(folder).copy(folder / "tetrad.db")) as database:
        app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
        responses = Responses(SqlResponseStore(database), SystemClock())
        background = Background(responses, SqlBackgroundStore(database), NoWork(), StandIns(), SystemClock())
        app.include_router(router(responses, background))
        app.include_router(conversation_router(responses))
        guard(app, InternalOnly())
        with (
            served(app) as url,
            GatewayProcess(home, control_url=url, gateway_server=request.param, gateway_cors_origins=PAGE) as gateway,
        ):
            yield gateway


@contextlib.contextmanager
def client_of(gateway: GatewayProcess, key: str = g.KEY, **options: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, **options) as client:
        yield client


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with client_of(gateway) as client:
        yield client


def contents(upstream: FakeOpenAI) -> list[Any]:
    return [message["content"] for message in upstream.requests[-1].body["messages"]]


def test_a_conversation_goes_on_is_shown_and_deleted(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    first = client.responses.create(model="local/m1", input="One")
    assert first.store is True
    second = client.responses.create(model="local/m1", input="Two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert contents(upstream) == ["One", TEXT, "Two"]
    third = client.responses.create(model="local/m1", input="Three", previous_response_id=second.id)
    assert contents(upstream) == ["One", TEXT, "Two", TEXT, "Three"]
    assert client.responses.retrieve(third.id).output_text == TEXT
    items = list(client.responses.input_items.list(third.id, order="asc", limit=2))
    assert [item.content[0].text for item in items] == ["One", TEXT, "Two", TEXT, "Three"]  # type: ignore[union-attr]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError, match="is gone") as caught:
        client.responses.create(model="local/m1", input="Four", previous_response_id=third.id)
    assert caught.value.code == "previous_response_not_found"


def test_a_conversation_has_a_name_and_items_that_come_and_go(client: openai.OpenAI) -> None:
    made = client.conversations.create(
        metadata={"topic": "rain"}, items=[{"type": "message", "role": "user", "content": "Hello"}]
    )
    assert (made.object, made.metadata) == ("conversation", {"topic": "rain"})
    assert client.conversations.retrieve(made.id) == made
    changed = client.conversations.update(made.id, metadata={"topic": "snow"})
    assert (changed.metadata, changed.created_at) == ({"topic": "snow"}, made.created_at)
    added: Any = client.conversations.items.create(
        made.id, items=[{"role": "user", "content": text} for text in ("two", "three")]
    )
    assert [item.content[0].text for item in added.data] == ["two", "three"]
    listed: Any = list(client.conversations.items.list(made.id, order="asc", limit=2))
    assert [item.content[0].text for item in listed] == ["Hello", "two", "three"]
    newest: Any = next(iter(client.conversations.items.list(made.id)))
    assert newest.id == listed[-1].id
    one: Any = client.conversations.items.retrieve(listed[1].id, conversation_id=made.id)
    assert one.content[0].text == "two"
    client.conversations.items.delete(listed[1].id, conversation_id=made.id)
    assert len(list(client.conversations.items.list(made.id))) == 2
    with pytest.raises(openai.NotFoundError, match="no item"):
        client.conversations.items.retrieve(listed[1].id, conversation_id=made.id)
    assert client.conversations.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        client.conversations.retrieve(made.id)
    assert caught.value.code == "conversation_not_found"


def test_responses_of_a_conversation_know_what_was_said_and_add_to_it(
    client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    made = client.conversations.create()
    first = client.responses.create(model="local/m1", input="One", conversation=made.id)
    assert first.conversation is not None
    assert first.conversation.id == made.id
    with client.responses.stream(model="local/m1", input="Two", conversation={"id": made.id}) as stream:
        stream.get_final_response()
    assert contents(upstream) == ["One", TEXT, "Two"]
    client.responses.create(model="local/m1", input="Three", conversation=made.id, store=False)
    assert contents(upstream) == ["One", TEXT, "Two", TEXT, "Three"]
    said: Any = list(client.conversations.items.list(made.id, order="asc"))
    assert [item.content[0].text for item in said] == ["One", TEXT, "Two", TEXT, "Three", TEXT]


def test_an_app_puts_its_prompt_before_a_conversation_each_time(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    made = client.conversations.create(items=[{"role": "user", "content": "Zero"}])
    more: Any = {"extra_body": {"tetrad": {"variables": {"name": "Ada"}}}}
    client.responses.create(model="app:assistant", input="One", conversation=made.id, **more)
    assert contents(upstream) == ["You help Ada.", "2+2?", "4 {{kept}}", "Zero", "One"]


def test_a_conversation_that_is_not_there_or_not_alone_is_refused(
    gateway: GatewayProcess, client: openai.OpenAI
) -> None:
    made = client.conversations.create()
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="local/m1", input="One", conversation="conv_00000000")
    assert caught.value.code == "conversation_not_found"
    first = client.responses.create(model="local/m1", input="One")
    with pytest.raises(openai.BadRequestError, match="not both"):
        client.responses.create(model="local/m1", input="Two", conversation=made.id, previous_response_id=first.id)
    for wrong in ({"name": "x"}, 5, ""):
        with pytest.raises(openai.BadRequestError, match="names no conversation"):
            client.responses.create(model="local/m1", input="Two", conversation=wrong)  # type: ignore[call-overload]
    with client_of(gateway, g.OTHER_KEY) as other:
        with pytest.raises(openai.NotFoundError):
            other.responses.create(model="local/m1", input="One", conversation=made.id)
        with pytest.raises(openai.NotFoundError):
            other.conversations.delete(made.id)
    with client_of(gateway, g.REDACTED_KEY) as careful, pytest.raises(openai.PermissionDeniedError, match="kept"):
        careful.responses.create(model="local/m1", input="One", conversation=made.id)
    with pytest.raises(openai.BadRequestError):
        client.conversations.items.create(made.id, items=[])
    with pytest.raises(openai.BadRequestError, match="metadata"):
        client.conversations.update(made.id, metadata={"a": "x" * 600})


def test_a_streamed_response_is_stored_before_its_end_is_told(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    with client.responses.stream(model="local/m1", input="One") as stream:
        first = stream.get_final_response()
    assert first.store is True
    with client.responses.stream(model="local/m1", input="Two", previous_response_id=first.id) as stream:
        events = list(stream)
    assert contents(upstream) == ["One", TEXT, "Two"]
    created = next(event for event in events if event.type == "response.created")
    assert created.response.previous_response_id == first.id


def test_an_app_puts_its_prompt_once_before_the_whole_conversation(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    more = {"extra_body": {"tetrad": {"variables": {"name": "Ada"}}}}
    first = client.responses.create(model="app:assistant", input="One", **more)
    client.responses.create(model="app:assistant", input="Two", previous_response_id=first.id, **more)
    assert contents(upstream) == ["You help Ada.", "2+2?", "4 {{kept}}", "One", TEXT, "Two"]


def test_calls_of_tools_go_on_with_their_results(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    with client.responses.stream(model="local/tools", input="Weather?") as stream:
        first = stream.get_final_response()
    result = {"type": "function_call_output", "call_id": "c1", "output": "3 C"}
    client.responses.create(model="local/m1", input=[result], previous_response_id=first.id)  # type: ignore[list-item]
    asked, called, answered = upstream.requests[-1].body["messages"]
    assert asked["content"] == "Weather?"
    assert called["tool_calls"][0]["function"] == {"name": "w", "arguments": '{"c":"Oslo"}'}
    assert answered == {"role": "tool", "tool_call_id": "c1", "content": "3 C"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_tool_loop_keeps_what_google_signed(client: openai.OpenAI, stream: bool) -> None:
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]
    asked: dict[str, Any] = {"model": "google/agent", "tools": tools}
    if stream:
        with client.responses.stream(**asked, input="Weather in Oslo?") as events:
            first = events.get_final_response()
    else:
        first = client.responses.create(**asked, input="Weather in Oslo?")
    use = next(item for item in first.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": use.call_id, "output": "cold"}
    second = client.responses.create(**asked, previous_response_id=first.id, input=[result])
    assert second.output_text == "It is cold."


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_tool_loop_keeps_what_claude_thought_and_a_second_account_goes_on_with_it(
    client: openai.OpenAI, claude: FakeAnthropic, stream: bool
) -> None:
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]

    def answer(**more: Any) -> openai.types.responses.Response:
        asked: dict[str, Any] = {"tools": tools, **more}
        if not stream:
            return client.responses.create(**asked)  # type: ignore[no-any-return]
        with client.responses.stream(**asked) as events:
            return events.get_final_response()

    last = answer(model="claude/agent", input="Where is it cold?")
    for model in ("claude/agent", "second/agent", "claude/agent"):
        results = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "cold"}
            for item in last.output
            if item.type == "function_call"
        ]
        last = answer(model=model, input=results, previous_response_id=last.id)
    assert last.output_text == "It is cold."
    sent = [each["content"] for each in claude.requests[-1].body["messages"] if each["role"] == "assistant"]
    assert sent == agent_steps("agent")[:-1]


def test_another_provider_gets_no_stored_thoughts_and_that_is_said(
    client: openai.OpenAI, claude: FakeAnthropic, upstream: FakeOpenAI
) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
    first = client.responses.create(model="claude/agent", input="Where is it cold?", tools=tools)
    results: Any = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "cold"}
        for item in first.output
        if item.type == "function_call"
    ]
    for model, fake in (("other/m1", claude), ("local/m1", upstream), ("local/native", upstream)):
        raw = client.responses.with_raw_response.create(
            model=model, input=results, previous_response_id=first.id, tools=tools
        )
        assert raw.headers["x-tetrad-dropped"] == "previous_response_id.reasoning"
        assert "thinking" not in json.dumps(fake.requests[-1].body)
        assert "tetrad.anthropic" not in json.dumps(fake.requests[-1].body)
        asked = len(fake.requests)
        with pytest.raises(openai.BadRequestError, match="the model that answered before") as caught:
            client.responses.create(
                model=model, input=results, previous_response_id=first.id, tools=tools,
                extra_headers={"x-tetrad-translation": "strict"},
            )  # fmt: skip
        assert (caught.value.code, caught.value.param) == ("cannot_translate", "previous_response_id")
        assert len(fake.requests) == asked


def test_a_conversation_goes_on_when_somebody_put_a_damaged_thought_into_it(client: openai.OpenAI) -> None:
    damaged: Any = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "tetrad.anthropic.cut"}
    conversation = client.conversations.create(items=[damaged])
    raw = client.responses.with_raw_response.create(model="other/m1", input="Hi", conversation=conversation.id)
    assert raw.headers["x-tetrad-dropped"] == "conversation.reasoning"
    assert raw.parse().output_text == TEXT


def test_an_upstream_that_keeps_responses_itself_is_asked_to_go_on(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    first = client.responses.create(model="local/native", input="One")
    client.responses.create(model="local/native", input="Two", previous_response_id=first.id)
    sent = upstream.requests[-1].body
    assert (sent["input"], sent["previous_response_id"]) == ("Two", first.id)
    second = client.responses.create(model="local/m1", input="Two", previous_response_id=first.id)
    assert contents(upstream) == ["One", TEXT, "Two"]
    third = client.responses.create(model="local/native", input="Three", previous_response_id=second.id)
    sent = upstream.requests[-1].body
    assert "previous_response_id" not in sent
    assert [item.get("id") for item in sent["input"]] == [None] * 5
    assert third.previous_response_id == second.id


@pytest.mark.parametrize("key", [g.REDACTED_KEY, g.OFF_KEY])
def test_what_may_not_be_recorded_is_not_stored(gateway: GatewayProcess, key: str) -> None:
    with client_of(gateway, key) as client:
        made = client.responses.create(model="local/m1", input="One")
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)


def test_store_false_and_other_projects_find_nothing(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    unkept = client.responses.create(model="local/m1", input="One", store=False)
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="local/m1", input="Two", previous_response_id=unkept.id)
    kept = client.responses.create(model="local/m1", input="One")
    with client_of(gateway, g.OTHER_KEY) as other:
        with pytest.raises(openai.NotFoundError):
            other.responses.retrieve(kept.id)
        with pytest.raises(openai.NotFoundError):
            other.responses.delete(kept.id)
        with pytest.raises(openai.BadRequestError):
            other.responses.create(model="local/m1", input="Two", previous_response_id=kept.id)
    assert client.responses.retrieve(kept.id).id == kept.id


def test_what_is_not_served_says_so(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    kept = client.responses.create(model="local/m1", input="One")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(kept.id)
    assert gateway.get("/v1/responses/resp_12345678/nothing", g.KEY)[0] == 404
    for below, methods in (("", "GET, DELETE"), ("/input_items", "GET"), ("/cancel", "POST")):
        answer = httpx.put(
            f"{gateway.url}/v1/responses/{kept.id}{below}", headers={"x-api-key": g.KEY}, trust_env=False
        )
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)
    assert gateway.get("/v1/responses/..%2f..%2fstatus", g.KEY)[0] == 404
    assert gateway.get(f"/v1/responses/{kept.id}")[0] == 401
    assert gateway.get(f"/v1/responses/{kept.id}/input_items?limit=0&project=other", g.KEY)[0] == 400


def test_without_control_single_requests_are_answered_and_conversations_say_why_not(
    upstream: FakeOpenAI, tetrad_home: Path
) -> None:
    prepare_home(tetrad_home, make_table(upstream.base_url))
    with GatewayProcess(tetrad_home) as gateway, client_of(gateway) as client:
        made = client.responses.create(model="local/m1", input="One")
        assert (made.output_text, made.store) == (TEXT, False)
        with client.responses.stream(model="local/m1", input="One") as stream:
            assert stream.get_final_response().store is False
        with pytest.raises(openai.InternalServerError) as caught:
            client.responses.create(model="local/m1", input="Two", previous_response_id=made.id)
        assert (caught.value.status_code, caught.value.code) == (503, "state_unavailable")
        status, body = gateway.get(f"/v1/responses/{made.id}", g.KEY)
        assert (status, json.loads(body)["error"]["code"]) == (503, "state_unavailable")


def test_pages_of_a_named_origin_read_all_answers_and_others_none(gateway: GatewayProcess) -> None:
    asked = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for path in ("/v1/responses", "/v1/responses/resp_12345678", "/v1/files", "/v1/chat/completions"):
        told = httpx.request("OPTIONS", gateway.url + path, headers=asked)
        assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, PAGE), "without a key"
        assert told.headers["access-control-allow-headers"] == "authorization"
        assert httpx.request("OPTIONS", gateway.url + path, headers={**asked, "origin": "null"}).status_code == 403
    for origin in (PAGE, "https://evil.example", "null"):
        wanted = origin if origin == PAGE else None
        with client_of(gateway, default_headers={"origin": origin}) as client:
            made = client.responses.with_raw_response.create(model="local/m1", input="One")
            streamed = client.responses.with_raw_response.create(model="local/m1", input="One", stream=True)
            assert list(streamed.parse())
            shown = client.responses.with_raw_response.retrieve(made.parse().id)
            for raw in (made, streamed, shown, client.models.with_raw_response.list()):
                assert raw.headers.get("access-control-allow-origin") == wanted
                assert raw.headers["vary"] == "origin"
            with pytest.raises(openai.APIStatusError) as caught:
                client.responses.retrieve("resp_nothing12")
            assert caught.value.response.headers.get("access-control-allow-origin") == wanted


def test_a_stored_response_is_shown_under_an_id(gateway: GatewayProcess) -> None:
    with client_of(gateway) as client:
        made = client.responses.create(model="local/m1", input="One")
        first, second = client.responses.retrieve(made.id), client.responses.retrieve(made.id)
        assert len({made._request_id, first._request_id, second._request_id}) == 3
        assert len(first._request_id or "") == 32
        raw = client.responses.input_items.with_raw_response.list(made.id)
        assert len(raw.headers["x-request-id"]) == 32
