"""The official client's Responses and legacy completions over a real gateway, translated and native."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from pydantic import BaseModel

from support import gateway as g
from support.fake_openai import WORDS, FakeOpenAI
from support.gateway import GatewayProcess, spooled

TEXT = "".join(WORDS)


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=g.KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["local/m1", "local/native"])
def test_a_response_is_whole_and_counted(client: openai.OpenAI, gateway: GatewayProcess, model: str) -> None:
    raw = client.responses.with_raw_response.create(model=model, input="Hi", instructions="Be short.", store=False)
    response = raw.parse()
    assert response.output_text == TEXT
    assert response.status == "completed"
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 2
    assert response.usage.output_tokens_details.reasoning_tokens == 1
    trace_id = raw.headers["x-tetrad-trace-id"]
    root, attempt = [span for span in spooled(gateway.home) if span.trace_id == trace_id]
    assert root.name == f"responses {model}"
    assert attempt.usage is not None
    assert (attempt.usage.total, attempt.usage.cache_read) == (17, 2)
    assert attempt.cost is not None
    assert TEXT in str(attempt.output)


@pytest.mark.parametrize("model", ["local/m1", "local/native"])
def test_a_response_streams_into_the_clients_own_accumulator(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input="Hi", store=False) as stream:
        events = list(stream)
        final = stream.get_final_response()
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas == WORDS
    assert final.output_text == TEXT
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")] == list(range(len(events)))


def test_tool_calls_stream_as_items(client: openai.OpenAI) -> None:
    tool = {"type": "function", "name": "w", "parameters": {"type": "object", "properties": {}}, "strict": False}
    with client.responses.stream(model="local/tools", input="Hi", tools=[tool], store=False) as stream:
        final = stream.get_final_response()
    (call,) = final.output
    assert (call.type, call.name, call.call_id, call.arguments) == ("function_call", "w", "c1", '{"c":"Oslo"}')


def test_an_app_answers_in_responses_with_its_prompt_and_parameters(
    client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    raw = client.responses.with_raw_response.create(
        model="app:assistant", input="Hi", store=False, extra_body={"tetrad": {"variables": {"name": "Ada"}}}
    )
    assert raw.headers["x-tetrad-release"] == g.RELEASE
    sent = upstream.requests[-1].body
    assert [message["content"] for message in sent["messages"]] == ["You help Ada.", "2+2?", "4 {{kept}}", "Hi"]
    assert (sent["temperature"], sent["seed"], sent["max_completion_tokens"]) == (0.2, 7, 99)


class Answer(BaseModel):
    city: str


def test_a_pydantic_class_becomes_a_schema_for_chat(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    with pytest.raises(ValueError, match="Invalid JSON"):  # the fake model answers in words
        client.responses.parse(model="local/m1", input="Hi", text_format=Answer, store=False)
    form = upstream.requests[-1].body["response_format"]
    assert form["json_schema"]["name"] == "Answer"
    assert form["json_schema"]["schema"]["required"] == ["city"]


def test_what_was_left_out_is_named_or_refused(client: openai.OpenAI) -> None:
    given = {"model": "local/m1", "input": "Hi", "store": False, "reasoning": {"summary": "auto"}}
    raw = client.responses.with_raw_response.create(**given)
    assert raw.headers["x-tetrad-dropped"] == "reasoning.summary"
    with pytest.raises(openai.BadRequestError, match=r"reasoning.summary"):
        client.responses.create(**given, extra_headers={"x-tetrad-translation": "strict"})


@pytest.mark.parametrize(
    ("model", "error"),
    [("local/error-429", openai.RateLimitError), ("local/html", openai.InternalServerError),
     ("local/none", openai.NotFoundError)],
)  # fmt: skip
def test_failures_are_errors_that_the_client_understands(client: openai.OpenAI, model: str, error: type) -> None:
    with pytest.raises(error):
        client.responses.create(model=model, input="Hi", store=False)


def test_a_stream_that_breaks_ends_with_an_error_event(client: openai.OpenAI) -> None:
    with client.responses.create(model="local/reset-2", input="Hi", store=False, stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "error"
    assert [event.sequence_number for event in events] == list(range(len(events))), "clients need it of errors too"
    assert "response.output_text.delta" in [event.type for event in events]
    assert "response.completed" not in [event.type for event in events]


@pytest.mark.parametrize("model", ["local/m1", "local/native"])
def test_a_legacy_completion_is_answered(client: openai.OpenAI, model: str) -> None:
    found = client.completions.create(model=model, prompt="Say", max_tokens=5)
    assert found.object == "text_completion"
    assert found.choices[0].text == TEXT
    assert found.usage is not None
    assert found.usage.total_tokens == 17


def test_a_legacy_completion_streams(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(model="local/m1", prompt="Say", stream=True, stream_options={"include_usage": True})
    )
    assert [chunk.choices[0].text for chunk in chunks if chunk.choices and chunk.choices[0].text] == WORDS
    assert chunks[-1].usage is not None


def test_several_prompts_and_apps_are_refused_where_the_model_only_chats(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="one prompt"):
        client.completions.create(model="local/m1", prompt=["a", "b"])
    with pytest.raises(openai.BadRequestError, match="chat/completions"):
        client.completions.create(model="app:assistant", prompt="a")
