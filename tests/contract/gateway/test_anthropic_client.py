"""The real `anthropic` client, and the `openai` client, against upstreams of either protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from support import gateway as g
from support.fake_anthropic import SIGNATURE, THOUGHTS, FakeAnthropic
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, spooled
from tetrad.kernel import Usage
from tetrad.traces import Span

MESSAGES = [{"role": "user", "content": "hi"}]
TOOL = {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}


@pytest.fixture
def client(both: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=both.url, api_key=g.KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def chat(both: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=both.url + "/v1", api_key=g.KEY, max_retries=0) as client:
        yield client


def spans_of(gateway: GatewayProcess, trace_id: str) -> list[Span]:
    return [span for span in spooled(gateway.home) if span.trace_id == trace_id]


def test_a_message_passes_as_it_is_and_costs_what_each_bucket_costs(
    client: anthropic.Anthropic, both: GatewayProcess, claude: FakeAnthropic
) -> None:
    raw = client.messages.with_raw_response.create(
        model="claude/m1",
        max_tokens=10,
        system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        messages=MESSAGES,
        extra_headers={"anthropic-beta": "a-2026,b-2026"},
    )
    message = raw.parse()
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello world."}]
    assert (message.stop_reason, message.usage.cache_creation_input_tokens) == ("end_turn", 7)
    seen = claude.requests[-1]
    assert (seen.target, seen.headers["x-api-key"], seen.headers["anthropic-version"]) == (
        "/v1/messages", g.SECRET, client.default_headers["anthropic-version"],
    )  # fmt: skip
    assert seen.headers["anthropic-beta"] == "a-2026,b-2026"
    assert "authorization" not in seen.headers
    assert seen.body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "41"
    assert raw.headers["request-id"] == "req_1"
    assert "anthropic-organization-id" not in raw.headers
    assert "x-tetrad-dropped" not in raw.headers
    root, child = spans_of(both, raw.headers["x-tetrad-trace-id"])
    assert child.usage == Usage(input=10, cache_read=2, cache_write=4, output=4, reasoning=1, cache_write_1h=3)
    assert child.cost == "0.0001386"  # 10x3 + 2x0.3 + 4x3.75 + 3x6 + 5x15, per million
    assert (child.provider, child.response_id, child.finish_reasons) == ("anthropic", "msg_1", ("end_turn",))
    assert json.loads(root.input)[0]["role"] == "system"
    assert json.loads(root.output) == [{"role": "assistant", "content": [{"type": "text", "text": "Hello world."}]}]


@pytest.mark.parametrize("model", ["claude/m1", "claude/split", "local/m1", "local/split"])
def test_the_streaming_helper_gathers_the_message_whatever_the_upstream_speaks(
    client: anthropic.Anthropic, both: GatewayProcess, model: str
) -> None:
    with client.messages.stream(model=model, max_tokens=10, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
        trace_id = stream.response.headers["x-tetrad-trace-id"]
    assert text == "Hello world."
    assert (final.stop_reason, final.content[0].type) == ("end_turn", "text")
    assert final.usage.output_tokens == 5
    _, child = spans_of(both, trace_id)
    assert child.stream
    assert child.usage is not None
    assert child.usage.output_total == 5
    assert json.loads(child.output) == [{"role": "assistant", "content": [{"type": "text", "text": "Hello world."}]}]
    assert child.finish_reasons == ("end_turn",)


async def test_the_async_client_streams_events_by_name(both: GatewayProcess) -> None:
    async with anthropic.AsyncAnthropic(base_url=both.url, api_key=g.KEY, max_retries=0) as client:
        for model in ("claude/m1", "local/m1"):
            events = await client.messages.create(model=model, max_tokens=10, messages=MESSAGES, stream=True)
            names = [event.type async for event in events]
            assert names[0] == "message_start"
            assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
            answer = await client.messages.create(model=model, max_tokens=10, messages=MESSAGES)
            assert answer.content[0].to_dict() == {"type": "text", "text": "Hello world."}


def test_tools_come_back_whole_and_streamed(client: anthropic.Anthropic) -> None:
    wanted = [("weather", {"city": "Oslo"}), ("weather", {"city": "Bergen"}), ("now", {})]
    whole = client.messages.create(model="claude/tools", max_tokens=10, messages=MESSAGES, tools=[TOOL])
    assert [(block.name, block.input) for block in whole.content if block.type == "tool_use"] == wanted
    with client.messages.stream(model="claude/tools", max_tokens=10, messages=MESSAGES, tools=[TOOL]) as stream:
        final = stream.get_final_message()
    assert [(block.name, block.input) for block in final.content if block.type == "tool_use"] == wanted
    with client.messages.stream(model="local/tools", max_tokens=10, messages=MESSAGES, tools=[TOOL]) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert [block.to_dict() for block in final.content] == [
        {"type": "tool_use", "id": "c1", "name": "w", "input": {"c": "Oslo"}}
    ]


def test_tokens_are_counted_by_the_upstream_and_estimated_where_it_cannot(
    client: anthropic.Anthropic, claude: FakeAnthropic
) -> None:
    assert client.messages.count_tokens(model="claude/m1", messages=MESSAGES).input_tokens == 14
    assert claude.requests[-1].target == "/v1/messages/count_tokens"
    counted = client.messages.count_tokens(
        model="app:claude", messages=MESSAGES, extra_body={"tetrad": {"variables": {"name": "Bo"}}}
    )
    assert counted.input_tokens == 14
    assert set(claude.requests[-1].body) == {"model", "messages", "system"}
    raw = client.messages.with_raw_response.count_tokens(model="local/m1", messages=MESSAGES)
    assert raw.headers["x-tetrad-estimated"] == "input_tokens", "nobody counts there: the estimate says what it is"
    assert 1 <= raw.parse().input_tokens < 40


def test_an_app_answers_with_its_release_before_the_clients_system(
    client: anthropic.Anthropic, claude: FakeAnthropic
) -> None:
    raw = client.messages.with_raw_response.create(
        model="app:claude",
        max_tokens=10,
        system="Be brief.",
        messages=MESSAGES,
        extra_body={"tetrad": {"variables": {"name": "Bo"}}},
    )
    assert raw.headers["x-tetrad-release"] == "sha256:" + "7" * 64
    assert raw.headers["x-tetrad-dropped"] == "seed", "a parameter of the release that Anthropic cannot be told"
    body = claude.requests[-1].body
    assert body["system"] == [{"type": "text", "text": "You help Bo."}, {"type": "text", "text": "Be brief."}]
    assert [message["content"] for message in body["messages"]] == ["2+2?", "4 {{kept}}", "hi"]
    assert (body["temperature"], body["max_tokens"]) == (0.2, 10)
    assert "seed" not in body
    assert claude.requests[-1].headers["anthropic-version"] == "2023-06-01", "later ones refuse a temperature"
    variables = json.dumps({"name": "Bo"})
    client.messages.create(
        model="app:claude",
        max_tokens=10,
        messages=MESSAGES,
        metadata={"tetrad.variables": variables},  # type: ignore[typeddict-unknown-key]
    )
    assert claude.requests[-1].body["system"] == "You help Bo."
    assert "metadata" not in claude.requests[-1].body
    with pytest.raises(anthropic.BadRequestError, match="fixes 'temperature'"):
        client.messages.create(
            model="app:claude", max_tokens=10, messages=MESSAGES,
            extra_body={"temperature": 1, "tetrad": {"variables": {"name": "Bo"}}},
        )  # fmt: skip


def test_an_app_on_a_chat_upstream_keeps_parameters_that_anthropic_cannot_say(
    client: anthropic.Anthropic, upstream: FakeOpenAI
) -> None:
    client.messages.create(
        model="app:assistant", max_tokens=10, messages=MESSAGES, extra_body={"tetrad": {"variables": {"name": "Bo"}}}
    )
    body = upstream.requests[-1].body
    assert (body["seed"], body["temperature"], body["max_completion_tokens"]) == (7, 0.2, 10)
    assert [message["content"] for message in body["messages"]] == ["You help Bo.", "2+2?", "4 {{kept}}", "hi"]


def test_what_gets_lost_is_told_or_refused(client: anthropic.Anthropic, both: GatewayProcess) -> None:
    marked = [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
    asked = {"model": "local/m1", "max_tokens": 10, "system": marked, "messages": MESSAGES, "top_k": 5}
    status, headers, _ = both.post("/v1/messages", asked)
    assert (status, headers["x-tetrad-dropped"]) == (200, "system[0].cache_control, top_k")
    status, headers, body = both.post("/v1/messages", asked, headers={"x-tetrad-translation": "strict"})
    assert status == 400
    error = json.loads(body)
    assert (error["type"], error["error"]["code"]) == ("error", "cannot_translate")
    assert "'system[0].cache_control'" in error["error"]["message"]
    status, _, body = both.post("/v1/messages", asked, headers={"x-tetrad-translation": "perhaps"})
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_field")


@pytest.mark.parametrize(
    ("model", "error", "kind"),
    [
        ("nope", anthropic.NotFoundError, "not_found_error"),
        ("claude/error-400", anthropic.BadRequestError, "error_400"),
        ("claude/error-429", anthropic.RateLimitError, "rate_limit_error"),
        ("claude/error-529", anthropic.APIStatusError, "overloaded_error"),
        ("claude/error-401", anthropic.InternalServerError, "api_error"),
        ("claude/html", anthropic.InternalServerError, "api_error"),
        ("claude/stall", anthropic.APIStatusError, "timeout_error"),
        ("local/error-429", anthropic.RateLimitError, "rate_limit_error"),
        ("local/error-401", anthropic.InternalServerError, "api_error"),
        ("local/plain-error", anthropic.InternalServerError, "api_error"),
    ],
)
def test_every_failure_has_anthropics_shape(
    client: anthropic.Anthropic, both: GatewayProcess, model: str, error: type[anthropic.APIStatusError], kind: str
) -> None:
    with pytest.raises(error) as caught:
        client.messages.create(model=model, max_tokens=10, messages=MESSAGES)
    assert caught.value.body["error"]["type"] == kind  # type: ignore[index]
    assert g.SECRET not in caught.value.message
    if model in ("claude/error-429", "local/error-429"):
        assert caught.value.response.headers["retry-after"] == "7"
    assert spans_of(both, caught.value.response.headers["x-tetrad-trace-id"])[0].status == "error"


@pytest.mark.parametrize("model", ["claude/overloaded", "claude/reset-2", "local/reset-2", "local/stallmid"])
def test_a_stream_that_breaks_raises_in_the_client(client: anthropic.Anthropic, model: str) -> None:
    pieces: list[str] = []
    with (
        pytest.raises(anthropic.APIStatusError),
        client.messages.stream(model=model, max_tokens=10, messages=MESSAGES) as stream,
    ):
        pieces.extend(stream.text_stream)
    assert "".join(pieces).startswith("Hel")


def test_wrong_keys_are_refused_in_anthropics_shape(both: GatewayProcess) -> None:
    with (
        anthropic.Anthropic(base_url=both.url, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(model="claude/m1", max_tokens=10, messages=MESSAGES)
    assert caught.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


def test_the_beta_client_reaches_its_path_with_a_query(client: anthropic.Anthropic, claude: FakeAnthropic) -> None:
    for model in ("claude/m1", "local/m1"):
        answer = client.beta.messages.create(model=model, max_tokens=9, messages=MESSAGES, betas=["x-2026"])
        assert answer.stop_reason == "end_turn"
    assert claude.requests[-1].headers["anthropic-beta"] == "x-2026"


def test_every_answer_and_error_has_an_id(client: anthropic.Anthropic) -> None:
    assert client.messages.create(model="claude/m1", max_tokens=9, messages=MESSAGES)._request_id == "req_1", (
        "Anthropic's"
    )
    raw = client.messages.with_raw_response.create(model="local/m1", max_tokens=9, messages=MESSAGES)
    assert raw.parse()._request_id == raw.headers["x-tetrad-trace-id"]
    for model in ("nope", "local/error-429"):
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model=model, max_tokens=9, messages=MESSAGES)
        assert caught.value.request_id == caught.value.response.headers["x-tetrad-trace-id"]
        assert caught.value.body["request_id"] == caught.value.request_id  # type: ignore[index]


def test_pages_have_an_id_too_where_these_clients_look(client: anthropic.Anthropic) -> None:
    listed = client.models.with_raw_response.list()
    assert re.fullmatch("[0-9a-f]{32}", listed.headers["request-id"])
    for ask in (
        lambda: client.models.retrieve("nope"),
        lambda: client.messages.batches.retrieve("msgbatch_12345678"),
        client.beta.files.list,
        lambda: client.get("/v1/messages", cast_to=object),
        lambda: client.post("/v1/nothing", cast_to=object),
    ):
        with pytest.raises(anthropic.APIStatusError) as caught:
            ask()
        assert caught.value.request_id
        assert caught.value.body["request_id"] == caught.value.request_id  # type: ignore[index]


def test_an_upstreams_own_id_stays_in_its_errors(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="claude/error-400", max_tokens=9, messages=MESSAGES)
    assert caught.value.request_id
    assert caught.value.body["request_id"] == caught.value.request_id  # type: ignore[index]


def test_files_of_anthropics_are_refused_in_its_shape_with_what_to_do_instead(client: anthropic.Anthropic) -> None:
    asked = [
        lambda: client.beta.files.upload(file=("a.txt", b"hi", "text/plain")),
        client.beta.files.list,
        lambda: client.beta.files.delete("file_1"),
    ]
    for ask in asked:
        with pytest.raises(anthropic.NotFoundError, match="into the message itself") as caught:
            ask()
        assert caught.value.body["type"] == "error"  # type: ignore[index]


def test_a_client_whose_base_url_ends_in_v1_is_told_the_right_place(both: GatewayProcess) -> None:
    with (
        anthropic.Anthropic(base_url=both.url + "/v1", api_key=g.KEY, max_retries=0) as client,
        pytest.raises(anthropic.NotFoundError, match="base URL ends before /v1"),
    ):
        client.messages.create(model="claude/m1", max_tokens=9, messages=MESSAGES)


def test_models_are_listed_in_the_clients_words(client: anthropic.Anthropic) -> None:
    listed = [model.id for model in client.models.list()]
    assert {"app:claude", "claude/m1", "local/m1"} <= set(listed)
    assert client.models.retrieve("claude/m1").display_name == "claude/m1"
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("claude/none")
    assert caught.value.body["type"] == "error"  # type: ignore[index]


# the `openai` client, upstreams that speak Anthropic's protocol


def test_a_chat_client_reaches_claude_whole_and_streamed(chat: openai.OpenAI, both: GatewayProcess) -> None:
    raw = chat.chat.completions.with_raw_response.create(model="claude/m1", messages=MESSAGES, seed=4)
    answer = raw.parse()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello world.", "stop")
    assert raw.headers["x-tetrad-dropped"] == "seed"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (19, 5, 24)
    _, child = spans_of(both, raw.headers["x-tetrad-trace-id"])
    assert child.cost == "0.0001386"
    assert json.loads(child.output) == [{"role": "assistant", "content": "Hello world."}]
    chunks = list(chat.chat.completions.create(model="claude/m1", messages=MESSAGES, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello world."
    assert chunks[-1].choices[0].finish_reason == "stop"
    *_, last = chat.chat.completions.create(
        model="claude/m1", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert last.usage is not None
    assert last.usage.total_tokens == 24


def test_a_chat_clients_tool_loop_keeps_thinking_and_its_signature(chat: openai.OpenAI, claude: FakeAnthropic) -> None:
    for model, blocks in (("claude/thinking-one", 1), ("claude/thinking", 2)):
        answer = chat.chat.completions.create(model=model, messages=MESSAGES)
        message = answer.choices[0].message.to_dict()
        assert message["reasoning_content"] == "".join(THOUGHTS)
        gathered: dict[str, object] = {"role": "assistant", "content": "4", "reasoning_content": ""}
        for chunk in chat.chat.completions.create(model=model, messages=MESSAGES, stream=True):
            delta = chunk.choices[0].delta.to_dict()
            gathered["reasoning_content"] += delta.get("reasoning_content", "")  # type: ignore[operator]
            if "extra_content" in delta:
                gathered["extra_content"] = delta["extra_content"]
        for said in (message, gathered):
            chat.chat.completions.create(model=model, messages=[*MESSAGES, said, *MESSAGES])  # type: ignore[list-item]
            content = claude.requests[-1].body["messages"][1]["content"]
            assert content[0] == {"type": "thinking", "thinking": "".join(THOUGHTS), "signature": SIGNATURE}
            assert content[-1] == {"type": "text", "text": "4"}
            assert len(content) == blocks + 1


def test_a_chat_client_gets_parallel_tools_and_refusals(chat: openai.OpenAI) -> None:
    answer = chat.chat.completions.create(model="claude/tools", messages=MESSAGES)
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in calls if call.type == "function"] == [
        {"city": "Oslo"}, {"city": "Bergen"}, {},
    ]  # fmt: skip
    with chat.chat.completions.stream(model="claude/tools", messages=MESSAGES) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(call.id, json.loads(call.function.arguments)) for call in calls] == [
        ("toolu_1", {"city": "Oslo"}), ("toolu_2", {"city": "Bergen"}), ("toolu_3", {}),
    ]  # fmt: skip
    refused = chat.chat.completions.create(model="claude/refusal", messages=MESSAGES).choices[0]
    assert (refused.finish_reason, refused.message.refusal) == ("content_filter", "no")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("exclude_none", [False, True])
def test_a_loop_that_sends_messages_back_as_the_client_writes_them_gets_all_calls_of_tools(
    chat: openai.OpenAI, claude: FakeAnthropic, exclude_none: bool, stream: bool
) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": each}} for each in ("weather", "now")]
    said: list[Any] = list(MESSAGES)
    for turn in range(3):
        asked: Any = {"model": "claude/tools", "messages": said, "tools": tools}
        if stream:
            with chat.chat.completions.stream(**asked) as events:
                choice: Any = events.get_final_completion().choices[0]
        else:
            choice = chat.chat.completions.create(**asked).choices[0]
        message = choice.message
        assert (choice.finish_reason, message.function_call) == ("tool_calls", None)
        assert [call.function.name for call in message.tool_calls] == ["weather", "weather", "now"]
        # without nulls only what a client may send: `parsed` is the SDK's own
        written = message.model_dump(exclude_none=exclude_none, exclude={"parsed": True})
        assert ("function_call" in written) is not exclude_none, "the client writes what was not said"
        for call in written["tool_calls"]:
            call["function"].pop("parsed_arguments", None)
        said.append(written)
        said += [{"role": "tool", "tool_call_id": call.id, "content": str(turn)} for call in message.tool_calls]
    sent = claude.requests[-1].body["messages"]
    assert [len(each["content"]) for each in sent[1:]] == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("claude/error-400", openai.BadRequestError, "error_400"),
        ("claude/error-429", openai.RateLimitError, "rate_limit_error"),
        ("claude/error-529", openai.InternalServerError, "overloaded_error"),
        ("claude/error-401", openai.InternalServerError, "upstream_credential_refused"),
    ],
)
def test_claudes_failures_have_openais_shape_for_chat_clients(
    chat: openai.OpenAI, model: str, error: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(error) as caught:
        chat.chat.completions.create(model=model, messages=MESSAGES)
    assert caught.value.code == code


@pytest.mark.parametrize("model", ["claude/overloaded", "claude/nodone", "claude/reset-2"])
def test_a_broken_stream_of_claude_raises_in_a_chat_client(chat: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.APIError):
        list(chat.chat.completions.create(model=model, messages=MESSAGES, stream=True))


def test_an_image_and_a_pdf_reach_claude(chat: openai.OpenAI, claude: FakeAnthropic) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]
    chat.chat.completions.create(model="claude/m1", messages=[{"role": "user", "content": parts}])  # type: ignore[list-item, misc]
    content = claude.requests[-1].body["messages"][0]["content"]
    assert content == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            "title": "a.pdf",
        },
    ]
