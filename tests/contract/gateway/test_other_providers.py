"""The official clients, through the gateway, to providers that speak protocols of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import msgspec
import openai
import pytest

from support.fake_bedrock import FakeBedrock
from support.fake_gemini import SIGNATURE, FakeGemini
from support.gateway import KEY, GatewayProcess, make_table, prepare_home, spooled
from support.wait import wait_until
from tetrad.serving import ModelEntry, Price, Upstream

AWS = json.dumps({"access_key_id": "AKIDEXAMPLE", "secret_access_key": "aws-secret-0123456789"})
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PRICE = Price("3", "15", cache_read="0.3", cache_write="3.75", cache_write_1h="6")


@pytest.fixture(scope="module")
def gemini() -> Iterator[FakeGemini]:
    with FakeGemini() as fake:
        yield fake


@pytest.fixture(scope="module")
def bedrock() -> Iterator[FakeBedrock]:
    with FakeBedrock() as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(
    gemini: FakeGemini, bedrock: FakeBedrock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    table = make_table("http://127.0.0.1:1/v1")
    upstreams = {
        "google": Upstream("google", gemini.base_url, adapter="gemini", provider="google", secret="google-secret-012"),
        "aws": Upstream(
            "aws", bedrock.base_url, adapter="bedrock", provider="aws", secret=AWS, options={"region": "us-east-1"}
        ),
        "odd": Upstream("odd", bedrock.base_url, adapter="unheard-of"),
    }
    models = {
        name: ModelEntry(name, name.partition("/")[0], name.partition("/")[2], price=PRICE)
        for name in ("google/m1", "google/agent", "google/thinking", "google/blocked", "aws/m1", "aws/anthropic.m1",
                     "aws/tools", "aws/damaged", "odd/m1")
    }  # fmt: skip
    home = tmp_path_factory.mktemp("home")
    prepare_home(
        home,
        msgspec.structs.replace(table, upstreams={**table.upstreams, **upstreams}, models={**table.models, **models}),
    )
    with GatewayProcess(home) as made:
        yield made


@pytest.fixture
def chat(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def messages(gateway: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        yield client


def test_a_tool_loop_of_chat_completions_keeps_what_google_signed(chat: openai.OpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    said = [{"role": "user", "content": "Weather in Oslo?"}]
    first = chat.chat.completions.create(model="google/agent", messages=said, tools=tools).choices[0]  # type: ignore[call-overload]
    assert first.finish_reason == "tool_calls"
    message = first.message.model_dump(exclude_none=True)
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "cold"}
    second = chat.chat.completions.create(model="google/agent", messages=[*said, message, result], tools=tools)  # type: ignore[call-overload]
    assert second.choices[0].message.content == "It is cold."


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_speaks_of_functions_as_of_old_works_with_google(chat: openai.OpenAI, stream: bool) -> None:
    asked: Any = {"model": "google/agent", "functions": [{"name": "weather", "parameters": WEATHER}]}
    strict = {"x-tetrad-translation": "strict"}
    said: list[Any] = [{"role": "user", "content": "Weather in Oslo?"}]
    if stream:
        call: dict[str, Any] = {"name": "", "arguments": ""}
        reasons = []
        for chunk in chat.chat.completions.create(**asked, messages=said, stream=True, extra_headers=strict):
            told = chunk.choices[0].delta.function_call
            assert chunk.choices[0].delta.tool_calls is None
            reasons += [reason] if (reason := chunk.choices[0].finish_reason) else []
            for name, value in (told.model_dump(exclude_none=True) if told else {}).items():
                call[name] = call[name] + value if isinstance(value, str) else value
        assert reasons == ["function_call"]
    else:
        first = chat.chat.completions.create(**asked, messages=said, extra_headers=strict).choices[0]
        assert (first.finish_reason, first.message.tool_calls) == ("function_call", None)
        assert first.message.function_call is not None
        call = first.message.function_call.model_dump()
    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Oslo"})
    message = {"role": "assistant", "content": None, "function_call": call}
    result = {"role": "function", "name": "weather", "content": "cold"}
    second = chat.chat.completions.create(**asked, messages=[*said, message, result], extra_headers=strict)
    assert second.choices[0].message.content == "It is cold.", "with what Google signed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_bedrocks_is_one_of_a_function_and_recorded_as_one(
    chat: openai.OpenAI, gateway: GatewayProcess, stream: bool
) -> None:
    raw = chat.chat.completions.with_raw_response.create(
        model="aws/tools", messages=[{"role": "user", "content": "x"}], stream=stream,
        functions=[{"name": "weather", "parameters": WEATHER}], function_call="auto",
    )  # fmt: skip
    answer: Any = raw.parse()
    reasons = [chunk.choices[0].finish_reason for chunk in answer] if stream else [answer.choices[0].finish_reason]
    assert reasons[-1] == "function_call"
    _, child = [span for span in spooled(gateway.home) if span.trace_id == raw.headers["x-tetrad-trace-id"]]
    assert child.finish_reasons == ("function_call",)
    (message,) = json.loads(child.output)
    assert set(message["function_call"]) == {"name", "arguments"}
    assert "tool_calls" not in message
    second = "choices[0].message.tool_calls[1]"
    assert child.attributes["answer.left_out"] == second, "a message has room for one call"
    assert raw.headers.get("x-tetrad-dropped") == (None if stream else second), "which a stream's head cannot know"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_of_messages_keeps_what_google_signed(messages: anthropic.Anthropic, stream: bool) -> None:
    tools = [{"name": "weather", "input_schema": WEATHER}]
    said: list[dict[str, object]] = [{"role": "user", "content": "Weather in Oslo?"}]
    asked = {"model": "google/agent", "max_tokens": 100, "tools": tools}

    def answer() -> anthropic.types.Message:
        if not stream:
            return messages.messages.create(**asked, messages=said)  # type: ignore[call-overload,no-any-return]
        with messages.messages.stream(**asked, messages=said) as events:  # type: ignore[arg-type]
            return events.get_final_message()

    first = answer()
    assert first.stop_reason == "tool_use"
    use = next(block for block in first.content if block.type == "tool_use")
    said.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]})
    said.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "cold"}]})
    second = answer()
    assert [block.text for block in second.content if block.type == "text"] == ["It is cold."]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_of_responses_keeps_what_google_signed(chat: openai.OpenAI, stream: bool) -> None:
    tools = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}]
    said: list[dict[str, object]] = [{"role": "user", "content": "Weather in Oslo?"}]
    asked = {"model": "google/agent", "tools": tools, "store": False, "include": ["reasoning.encrypted_content"]}

    def answer() -> openai.types.responses.Response:
        if not stream:
            return chat.responses.create(**asked, input=said)  # type: ignore[call-overload,no-any-return]
        with chat.responses.stream(**asked, input=said) as events:  # type: ignore[arg-type]
            return events.get_final_response()

    first = answer()
    use = next(item for item in first.output if item.type == "function_call")
    sealed = [item for item in first.output if item.type == "reasoning" and item.encrypted_content]
    assert len(sealed) == 1
    said += [item.model_dump(exclude_none=True) for item in first.output]
    said.append({"type": "function_call_output", "call_id": use.call_id, "output": "cold"})
    assert answer().output_text == "It is cold."


def test_thoughts_and_usage_come_whole(chat: openai.OpenAI) -> None:
    whole = chat.chat.completions.create(model="google/thinking", messages=[{"role": "user", "content": "2+2?"}])
    assert whole.choices[0].message.content == "4"
    assert whole.choices[0].message.reasoning_content == "Two and two are four."  # type: ignore[attr-defined]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (12, 5)
    with chat.chat.completions.stream(
        model="google/thinking", messages=[{"role": "user", "content": "2+2?"}]
    ) as events:
        assert events.get_final_completion().choices[0].message.content == "4"


def test_a_blocked_prompt_is_told_as_a_filters_answer(chat: openai.OpenAI, messages: anthropic.Anthropic) -> None:
    asked = [{"role": "user", "content": "x"}]
    choice = chat.chat.completions.create(model="google/blocked", messages=asked).choices[0]  # type: ignore[arg-type]
    assert choice.finish_reason == "content_filter"
    said = messages.messages.create(model="google/blocked", max_tokens=9, messages=asked)  # type: ignore[arg-type]
    assert said.stop_reason == "refusal"


def test_a_mark_for_the_cache_reaches_bedrock_and_what_it_cannot_be_told_is_named(
    messages: anthropic.Anthropic, bedrock: FakeBedrock
) -> None:
    raw = messages.messages.with_raw_response.create(
        model="aws/m1",
        max_tokens=9,
        system=[{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": "x"}],
        service_tier="auto",
    )
    assert bedrock.requests[-1].body["system"] == [{"text": "long"}, {"cachePoint": {"type": "default"}}]
    assert raw.headers["x-tetrad-dropped"] == "service_tier"
    usage = raw.parse().usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (10, 2, 7)


def test_anthropics_models_on_bedrock_are_asked_in_their_own_words(
    messages: anthropic.Anthropic, chat: openai.OpenAI, bedrock: FakeBedrock
) -> None:
    asked = [{"role": "user", "content": "x"}]
    with messages.messages.stream(
        model="aws/anthropic.m1",
        max_tokens=9,
        messages=asked,
        extra_headers={"anthropic-beta": "context-1m"},  # type: ignore[arg-type]
    ) as events:
        assert events.get_final_text() == "Hello world."
    seen = bedrock.requests[-1]
    assert seen.target == "/model/anthropic.m1/invoke-with-response-stream"
    assert seen.body["anthropic_version"] == "bedrock-2023-05-31"
    assert seen.body["anthropic_beta"] == ["context-1m"]
    assert "model" not in seen.body
    assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    answer = chat.chat.completions.create(model="aws/anthropic.m1", messages=asked)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "Hello world."
    assert messages.messages.count_tokens(model="aws/anthropic.m1", messages=asked).input_tokens == 14  # type: ignore[arg-type]


def test_a_damaged_event_stream_is_an_error_and_no_answer(chat: openai.OpenAI) -> None:
    with (
        pytest.raises(openai.APIError),
        chat.chat.completions.create(
            model="aws/damaged", messages=[{"role": "user", "content": "x"}], stream=True
        ) as events,
    ):
        list(events)


def test_a_client_of_responses_reaches_them_too(chat: openai.OpenAI) -> None:
    for model in ("google/m1", "aws/m1"):
        answer = chat.responses.create(model=model, input="hi", store=False)
        assert answer.output_text == "Hello world."
        with chat.responses.stream(model=model, input="hi", store=False) as events:
            assert events.get_final_response().output_text == "Hello world."


def test_what_a_client_of_responses_loses_is_named_by_its_item_and_part(chat: openai.OpenAI) -> None:
    asked: Any = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
        {"role": "user", "content": [
            {"type": "input_text", "text": "What is it?"},
            {"type": "input_image", "image_url": "https://example.test/a.png", "detail": "auto"}]},
    ]  # fmt: skip
    place = "input[2].content[1].image_url"
    raw = chat.responses.with_raw_response.create(model="google/m1", input=asked, store=False, instructions="Be kind.")
    assert raw.headers["x-tetrad-dropped"] == place
    with pytest.raises(openai.BadRequestError) as caught:
        chat.responses.create(
            model="google/m1", input=asked, store=False, extra_headers={"x-tetrad-translation": "strict"}
        )
    assert (caught.value.param, caught.value.code) == (place, "cannot_translate")


def test_an_upstream_whose_protocol_nobody_here_speaks_takes_nothing_else_with_it(
    chat: openai.OpenAI, gateway: GatewayProcess
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        chat.chat.completions.create(model="odd/m1", messages=[{"role": "user", "content": "x"}])
    assert "unheard-of" in str(caught.value)
    assert "odd/m1" in gateway.log()


def test_calls_cost_what_the_providers_count(chat: openai.OpenAI, gateway: GatewayProcess) -> None:
    chat.chat.completions.create(model="google/m1", messages=[{"role": "user", "content": "price me"}])

    def costs() -> list[str]:
        return [str(span.cost) for span in spooled(gateway.home) if "price me" in str(span.input) and span.cost]

    found = wait_until(costs, what="the span")
    # 10 fresh, 2 cached, 4 said and 1 thought: $3, $0.30 and $15 per million
    assert "0.0001056" in found
