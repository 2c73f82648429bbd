"""Upstreams that speak Responses and nothing else, by clients of every other protocol, with the official SDKs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from pydantic import BaseModel

from support.fake_responses import STEPS, FakeResponses
from support.gateway import KEY, RELEASE, GatewayProcess, make_table, prepare_home
from tetrad.serving import AppRoute, ModelEntry, Price, Upstream

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
QUESTION = {"role": "user", "content": "Where is it cold?"}
STRICT = {"x-tetrad-translation": "strict"}
MODELS = ("m1", "thinker", "refusal", "cut", "cut:content_filter", "failing", "failing:event", "ending", "error:429",
          "midway", "reset:0")  # fmt: skip
streamed = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def alone() -> Iterator[FakeResponses]:
    with FakeResponses() as fake:
        yield fake


@pytest.fixture(scope="module")
def front(
    alone: FakeResponses, claude: Any, upstream: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway before two accounts that speak Responses alone, one before chat and one before Anthropic."""
    table = make_table(upstream.base_url)
    for name in ("gpt", "other"):
        table.upstreams[name] = Upstream(name, alone.base_url, provider="openai", operations=("responses",),
                                         first_byte_timeout_s=2.0, idle_timeout_s=2.0)  # fmt: skip
        for model in MODELS:
            public = f"{name}/{model.replace(':', '-')}"
            table.models[public] = ModelEntry(public, name, model, price=Price("1", "8", cache_read="0.1"))
    table.upstreams["an"] = Upstream("an", claude.base_url, adapter="anthropic", provider="anthropic")
    table.models["claude/m1"] = ModelEntry("claude/m1", "an", "m1")
    digest = "sha256:" + "5" * 64
    table.releases[digest] = msgspec.structs.replace(
        table.releases[RELEASE], digest=digest, app="gpt", model="gpt/m1", fixed=("temperature",)
    )
    table.apps["default/gpt"] = AppRoute("default", "gpt", {"production": digest})
    home = tmp_path_factory.mktemp("home")
    prepare_home(home, table)
    with GatewayProcess(home) as gateway:
        yield gateway


@pytest.fixture
def messages(front: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=front.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def chat(front: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def say(client: anthropic.Anthropic, said: list[Any], *, stream: bool, **more: Any) -> anthropic.types.Message:
    """Return an answer, and add it and the results of its calls to what was said."""
    asked: dict[str, Any] = {"model": "gpt/thinker", "max_tokens": 9000, "messages": said,
                             "thinking": {"type": "adaptive"}, "tools": [{"name": "weather", "input_schema": WEATHER}],
                             "extra_headers": STRICT, **more}  # fmt: skip
    if stream:
        with client.messages.stream(**asked) as events:
            answer = events.get_final_message()
    else:
        answer = client.messages.create(**asked)
    said.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]})
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "cold"}
               for block in answer.content if block.type == "tool_use"]  # fmt: skip
    if results:
        said.append({"role": "user", "content": results})
    return answer


@streamed
def test_a_client_of_messages_gets_words_a_reason_and_usage(messages: anthropic.Anthropic, stream: bool) -> None:
    answer = say(
        messages, [QUESTION], stream=stream, model="gpt/m1", thinking=anthropic.omit, tools=[], system="Be kind."
    )
    assert [block.text for block in answer.content if block.type == "text"] == ["Hello world."]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.output_tokens) == (10, 2, 5)


def test_nothing_is_stored_and_the_request_is_what_openai_wants(
    messages: anthropic.Anthropic, alone: FakeResponses
) -> None:
    messages.messages.create(
        model="gpt/m1", max_tokens=100, messages=[QUESTION], system="Be kind.", extra_headers=STRICT
    )
    assert alone.requests[-1].body == {
        "model": "m1", "instructions": "Be kind.", "store": False, "max_output_tokens": 100,
        "input": [{"type": "message", **QUESTION}],
    }  # fmt: skip


@streamed
@pytest.mark.parametrize("shown", ["summarized", "omitted"])
def test_a_loop_of_a_client_of_messages_keeps_every_thought_where_it_stood(
    messages: anthropic.Anthropic, alone: FakeResponses, stream: bool, shown: str
) -> None:
    said: list[Any] = [dict(QUESTION)]
    reasons = [
        say(messages, said, stream=stream, thinking={"type": "adaptive", "display": shown}).stop_reason for _ in STEPS
    ]
    assert reasons == ["tool_use", "tool_use", "end_turn"]
    first = said[1]["content"]
    assert [block["type"] for block in first] == ["thinking" if shown == "summarized" else "redacted_thinking",
                                                  "tool_use", "tool_use"]  # fmt: skip
    if shown == "summarized":
        assert first[0]["thinking"] == "Cities first.\n\nTwo of them."
    sent = [item for item in alone.requests[-1].body["input"] if item["type"] == "reasoning"]
    assert [item["encrypted_content"] for item in sent] == ["gAAAA1==", "gAAAA4==", "gAAAA6=="]
    assert said[-1]["content"][-1]["text"] == "It is cold."


@streamed
def test_a_loop_of_a_chat_client_keeps_every_thought_where_it_stood(
    chat: openai.OpenAI, alone: FakeResponses, stream: bool
) -> None:
    said: list[Any] = [dict(QUESTION)]
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    for _ in STEPS:
        asked: dict[str, Any] = {"model": "gpt/thinker", "messages": said, "tools": tools, "reasoning_effort": "high",
                                 "extra_headers": STRICT}  # fmt: skip
        if stream:
            with chat.chat.completions.stream(**asked) as events:
                answer = events.get_final_completion()
        else:
            answer = chat.chat.completions.create(**asked)
        message = answer.choices[0].message.model_dump(exclude_none=True)
        message.pop("parsed", None)
        for call in message.get("tool_calls", ()):
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        said.append(message)
        said += [{"role": "tool", "tool_call_id": call["id"], "content": "cold"}
                 for call in message.get("tool_calls", ())]  # fmt: skip
    assert answer.choices[0].message.content == "It is cold."
    assert answer.choices[0].finish_reason == "stop"
    sent = [item["type"] for item in alone.requests[-1].body["input"]]
    assert sent == ["message", "reasoning", "function_call", "function_call", "function_call_output",
                    "function_call_output", "reasoning", "message", "reasoning", "function_call",
                    "function_call_output"]  # fmt: skip


@streamed
def test_another_account_and_other_protocols_get_none_of_the_thoughts_and_that_is_said(
    messages: anthropic.Anthropic, alone: FakeResponses, claude: Any, upstream: Any, stream: bool
) -> None:
    said: list[Any] = [dict(QUESTION)]
    say(messages, said, stream=stream)
    for model, fake in (("other/thinker", alone), ("gpt/m1", alone), ("claude/m1", claude), ("local/m1", upstream)):
        raw = messages.messages.with_raw_response.create(model=model, max_tokens=99, messages=said)
        assert raw.headers["x-tetrad-dropped"] == "messages[1].content[0]"
        assert "tetrad.openai" not in json.dumps(fake.requests[-1].body)
        asked = len(fake.requests)
        with pytest.raises(anthropic.BadRequestError, match="lossy"):
            messages.messages.create(model=model, max_tokens=99, messages=said, extra_headers=STRICT)
        assert len(fake.requests) == asked


def test_a_thought_that_was_changed_is_refused_before_anybody_is_called(
    messages: anthropic.Anthropic, alone: FakeResponses
) -> None:
    said: list[Any] = [dict(QUESTION)]
    say(messages, said, stream=False)
    said[1]["content"][0]["signature"] = said[1]["content"][0]["signature"][:-8]
    asked = len(alone.requests)
    with pytest.raises(anthropic.BadRequestError, match="cut or changed"):
        say(messages, said, stream=False)
    assert len(alone.requests) == asked


@streamed
def test_a_thought_without_what_it_led_to_is_left_out(messages: anthropic.Anthropic, stream: bool) -> None:
    said: list[Any] = [dict(QUESTION)]
    say(messages, said, stream=stream)
    cut = [QUESTION, {"role": "assistant", "content": said[1]["content"][:1]}, {"role": "user", "content": "Go on."}]
    raw = messages.messages.with_raw_response.create(model="gpt/thinker", max_tokens=99, messages=cut)
    assert raw.headers["x-tetrad-dropped"] == "messages[1].content[0]"


@streamed
@pytest.mark.parametrize(
    ("model", "reason", "finish"),
    [("refusal", "refusal", "stop"), ("cut", "max_tokens", "length"),
     ("cut-content_filter", "refusal", "content_filter")],
)  # fmt: skip
def test_why_an_answer_ended_is_told_in_the_clients_words(
    messages: anthropic.Anthropic, chat: openai.OpenAI, model: str, reason: str, finish: str, stream: bool
) -> None:
    answer = say(messages, [QUESTION], stream=stream, model=f"gpt/{model}")
    assert answer.stop_reason == reason
    said: Any = [QUESTION]
    if stream:
        chunks = list(chat.chat.completions.create(model=f"gpt/{model}", messages=said, stream=True))
        assert chunks[-1].choices[0].finish_reason == finish
        told = "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks)
    else:
        choice = chat.chat.completions.create(model=f"gpt/{model}", messages=said).choices[0]
        assert choice.finish_reason == finish
        told = choice.message.refusal or ""
    assert told == ("I will not." if model == "refusal" else "")


@pytest.mark.parametrize("model", ["failing", "failing-event"])
def test_an_error_in_the_middle_of_a_stream_is_told_after_what_was_said(
    messages: anthropic.Anthropic, chat: openai.OpenAI, model: str
) -> None:
    heard: list[str] = []

    def listen() -> None:
        with messages.messages.stream(model=f"gpt/{model}", max_tokens=99, messages=[QUESTION]) as events:
            for text in events.text_stream:
                heard.append(text)  # noqa: PERF402 - what came before the error counts

    with pytest.raises(anthropic.APIStatusError, match="as scripted"):
        listen()
    assert "".join(heard) == "Hello world."
    said: Any = [QUESTION]
    with pytest.raises(openai.APIError, match="as scripted"):
        list(chat.chat.completions.create(model=f"gpt/{model}", messages=said, stream=True))


def test_an_answer_that_failed_is_an_error_though_its_status_is_good(
    messages: anthropic.Anthropic, chat: openai.OpenAI
) -> None:
    with pytest.raises(anthropic.RateLimitError, match="as scripted"):
        messages.messages.create(model="gpt/failing", max_tokens=99, messages=[QUESTION])
    said: Any = [QUESTION]
    with pytest.raises(openai.RateLimitError, match="as scripted"):
        chat.chat.completions.create(model="gpt/failing", messages=said)


@pytest.mark.parametrize("model", ["midway", "failing-event", "ending"])
def test_the_error_that_ends_a_stream_is_numbered_like_all_events(chat: openai.OpenAI, model: str) -> None:
    """`midway` tells an error without a number, `ending` just ends."""
    with chat.responses.create(model=f"gpt/{model}", input="Hi", store=False, stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "error"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert len(events) > 2


def test_a_stream_that_ends_too_early_is_an_error(messages: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError, match="ended before"),
        messages.messages.stream(model="gpt/ending", max_tokens=99, messages=[QUESTION]) as events,
    ):
        events.get_final_message()


def test_refusals_of_the_upstream_reach_the_client_in_its_words(messages: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.RateLimitError, match="as scripted") as caught:
        messages.messages.create(model="gpt/error-429", max_tokens=99, messages=[QUESTION])
    assert caught.value.response.headers["retry-after"] == "7"


class Place(BaseModel):
    city: str


def test_structured_output_media_and_choices_reach_the_upstream(
    messages: anthropic.Anthropic, alone: FakeResponses
) -> None:
    pixel, sheet = {"type": "base64", "media_type": "image/png", "data": "aGk="}, {
        "type": "base64", "media_type": "application/pdf", "data": "aGk="}  # fmt: skip
    said: list[Any] = [
        QUESTION,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "x"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "image", "source": pixel}]},
            {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
            {"type": "document", "source": sheet, "title": "a.pdf"},
            {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}},
        ]},
    ]  # fmt: skip
    messages.messages.create(
        model="gpt/refusal", max_tokens=99, messages=said, extra_headers=STRICT,
        tools=[{"name": "weather", "input_schema": WEATHER}],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {
            **Place.model_json_schema(), "additionalProperties": False}}},
    )  # fmt: skip
    body = alone.requests[-1].body
    assert body["input"][2]["output"] == [
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"}
    ]
    assert [part["type"] for part in body["input"][3]["content"]] == ["input_image", "input_file", "input_file"]
    assert body["input"][3]["content"][2] == {"type": "input_file", "file_url": "https://x.example/a.pdf"}
    assert body["text"]["format"]["name"] == "output"
    assert body["tool_choice"] == {"type": "function", "name": "weather"}
    assert (body["parallel_tool_calls"], body["reasoning"]) == (False, {"effort": "low"})


def test_what_responses_cannot_say_is_named_or_refused_by_the_clients_name_for_it(
    messages: anthropic.Anthropic, alone: FakeResponses
) -> None:
    asked: dict[str, Any] = {
        "model": "gpt/m1", "max_tokens": 1, "stop_sequences": ["END"], "extra_body": {"top_k": 3}, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}],
    }  # fmt: skip
    raw = messages.messages.with_raw_response.create(**asked)
    assert raw.headers["x-tetrad-dropped"].split(", ") == [
        "messages[0].content[0].cache_control", "stop_sequences", "top_k", "max_tokens"
    ]  # fmt: skip
    assert alone.requests[-1].body["max_output_tokens"] == 16
    count = len(alone.requests)
    for name, value in (("stop_sequences", ["END"]), ("top_k", 3)):
        with pytest.raises(anthropic.BadRequestError, match=f"'{name}'.*lossy"):
            messages.messages.create(
                model="gpt/m1", max_tokens=99, messages=[QUESTION], extra_headers=STRICT, extra_body={name: value}
            )
    assert len(alone.requests) == count


@streamed
def test_an_app_whose_model_speaks_responses_alone_has_its_prompt(
    messages: anthropic.Anthropic, chat: openai.OpenAI, alone: FakeResponses, stream: bool
) -> None:
    more: Any = {"model": "app:gpt", "extra_body": {"tetrad": {"variables": {"name": "Ada"}}}}
    answer = say(messages, [QUESTION], stream=stream, thinking=anthropic.omit, tools=[], extra_headers={}, **more)
    assert answer.stop_reason == "end_turn"
    assert alone.requests[-1].body["instructions"] == "You help Ada."
    assert alone.requests[-1].body["temperature"] == 0.2
    said: Any = [QUESTION]
    told = chat.chat.completions.create(messages=said, stream=stream, **more)
    assert "world" in (str(list(told)) if stream else told.model_dump_json())
    assert alone.requests[-1].body["input"][0] == {"type": "message", "role": "system", "content": "You help Ada."}


def test_tokens_are_estimated_where_the_upstream_speaks_responses_alone(messages: anthropic.Anthropic) -> None:
    raw = messages.messages.with_raw_response.count_tokens(model="gpt/m1", messages=[QUESTION])
    assert raw.parse().input_tokens > 0
    assert raw.headers["x-tetrad-estimated"] == "input_tokens"


@streamed
def test_completions_reach_it_too(chat: openai.OpenAI, stream: bool) -> None:
    if stream:
        chunks = chat.completions.create(model="gpt/m1", prompt="Hi", stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello world."
    else:
        assert chat.completions.create(model="gpt/m1", prompt="Hi").choices[0].text == "Hello world."


def test_a_client_of_responses_is_passed_on_as_it_is(chat: openai.OpenAI, alone: FakeResponses) -> None:
    answer = chat.responses.create(model="gpt/thinker", input="Hi", reasoning={"summary": "auto"}, store=False)
    assert answer.output[0].type == "reasoning"
    assert alone.requests[-1].body["input"] == "Hi"
