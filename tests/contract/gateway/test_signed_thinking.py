"""Loops of tools with Claude's thinking, by the official client of Responses: every thought comes back as it was.

The upstream refuses a loop as Anthropic does, where a signature is wrong or a thought is missing, changed or moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from openai.types.responses import Response

from support.fake_anthropic import FakeAnthropic, agent_steps
from support.fake_openai import ALOUD, FakeOpenAI
from support.gateway import KEY, GatewayProcess

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}]
QUESTION = {"role": "user", "content": "Where is it cold?"}


@pytest.fixture
def client(both: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{both.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, said: list[Any], *, stream: bool, model: str = "claude/agent", **more: Any) -> Response:
    asked: dict[str, Any] = {"model": model, "tools": TOOLS, "store": False, "reasoning": {"effort": "high"},
                             "include": ["reasoning.encrypted_content"], "input": said, **more}  # fmt: skip
    if not stream:
        return client.responses.create(**asked)  # type: ignore[no-any-return]
    with client.responses.stream(**asked) as events:
        return events.get_final_response()


def results_of(answer: Response) -> list[dict[str, Any]]:
    return [{"type": "function_call_output", "call_id": item.call_id, "output": "cold"}
            for item in answer.output if item.type == "function_call"]  # fmt: skip


def first_turn(client: openai.OpenAI, *, stream: bool = False, **more: Any) -> list[Any]:
    """Return the input of the second request of a loop."""
    answer = ask(client, [QUESTION], stream=stream, **more)
    return [QUESTION, *(item.model_dump(exclude_none=True) for item in answer.output), *results_of(answer)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_a_loop_keeps_every_thought_where_it_stood(
    client: openai.OpenAI, claude: FakeAnthropic, stream: bool, bare: bool
) -> None:
    said: list[Any] = [QUESTION]
    for _ in range(10):
        answer = ask(client, said, stream=stream, extra_headers={"x-tetrad-translation": "strict"})
        items = [item.model_dump(exclude_none=True) for item in answer.output]
        if bare:  # some clients send nothing of reasoning back but what is sealed
            items = [item if item["type"] != "reasoning" else
                     {"type": "reasoning", "summary": [], "encrypted_content": item["encrypted_content"]}
                     for item in items]  # fmt: skip
        results = results_of(answer)
        said += [*items, *results]
        if not results:
            break
    assert answer.output_text == "It is cold."
    sent = [message["content"] for message in claude.requests[-1].body["messages"] if message["role"] == "assistant"]
    assert sent == agent_steps("agent")[:-1]


def test_thoughts_of_turns_that_are_over_come_back_too(client: openai.OpenAI, claude: FakeAnthropic) -> None:
    answer = ask(client, [QUESTION], stream=True)
    said = [QUESTION, *(item.model_dump(exclude_none=True) for item in answer.output), *results_of(answer)]
    assert ask(client, [*said, {"role": "user", "content": "And now?"}], stream=True).output[0].type == "reasoning"
    assert claude.requests[-1].body["messages"][1]["content"] == agent_steps("agent")[0]


def test_an_app_in_front_loses_none(client: openai.OpenAI, claude: FakeAnthropic) -> None:
    """The release's model is called by another name than the client's, with its prompt around the conversation."""
    said = first_turn(client)
    answer = ask(
        client, said, stream=False, model="app:claude-agent", extra_body={"tetrad": {"variables": {"name": "Ada"}}}
    )
    assert answer.output[0].type == "reasoning"
    assert claude.requests[-1].body["system"] == "You help Ada."
    assert agent_steps("agent")[0] in [each["content"] for each in claude.requests[-1].body["messages"]]


@pytest.mark.parametrize("stream", [False, True])
def test_another_model_or_provider_gets_none_of_them_and_that_is_said(
    client: openai.OpenAI, claude: FakeAnthropic, upstream: FakeOpenAI, stream: bool
) -> None:
    said = first_turn(client, stream=stream)
    for model, fake, names in (
        ("claude/m1", claude, "input[1], input[2]"),
        ("local/m1", upstream, "include[0], input[1].encrypted_content, input[2]"),
    ):
        raw = client.responses.with_raw_response.create(
            model=model, input=said, store=False, include=["reasoning.encrypted_content"]
        )
        assert raw.parse().output_text == "Hello world."
        assert sorted(raw.headers["x-tetrad-dropped"].split(", ")) == sorted(names.split(", "))
        assert "tetrad.anthropic" not in json.dumps(fake.requests[-1].body)
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(
                model=model, input=said, store=False, extra_headers={"x-tetrad-translation": "strict"}
            )
        assert caught.value.code == "cannot_translate"


def test_what_was_changed_on_the_way_is_refused_before_anybody_is_called(
    client: openai.OpenAI, claude: FakeAnthropic
) -> None:
    said = first_turn(client)
    said[1]["encrypted_content"] = said[1]["encrypted_content"][:-9]
    asked = len(claude.requests)
    with pytest.raises(openai.BadRequestError, match="cut or changed") as caught:
        ask(client, said, stream=False)
    assert caught.value.param == "input[1].encrypted_content"
    assert len(claude.requests) == asked


@pytest.mark.parametrize("how", ["lost", "moved"])
def test_a_client_that_loses_or_moves_a_thought_is_told_so_by_anthropic(client: openai.OpenAI, how: str) -> None:
    said = first_turn(client)
    if how == "lost":
        said = [item for item in said if item.get("type") != "reasoning"]
    else:
        said[1], said[2] = said[2], said[1]
    with pytest.raises(openai.BadRequestError, match="thinking"):
        ask(client, said, stream=False)


# the other way: clients of Anthropic's


@pytest.fixture
def messages(both: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=both.url, api_key=KEY, max_retries=0) as client:
        yield client


def say(client: anthropic.Anthropic, model: str, said: list[Any], *, stream: bool) -> list[dict[str, Any]]:
    """Return the blocks of an answer, and add them and the results of its calls to what was said."""
    asked: dict[str, Any] = {"model": model, "max_tokens": 9000, "messages": said,
                             "tools": [{"name": "weather", "input_schema": WEATHER}]}  # fmt: skip
    if stream:
        with client.messages.stream(**asked) as events:
            answer = events.get_final_message()
    else:
        answer = client.messages.create(**asked)
    content = [block.model_dump(exclude_none=True) for block in answer.content]
    results = [{"type": "tool_result", "tool_use_id": block["id"], "content": "cold"}
               for block in content if block["type"] == "tool_use"]  # fmt: skip
    said.append({"role": "assistant", "content": content})
    if results:
        said.append({"role": "user", "content": results})
    return content


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_anthropics_keeps_claudes_thoughts(messages: anthropic.Anthropic, stream: bool) -> None:
    said: list[Any] = [dict(QUESTION)]
    for _ in agent_steps("agent"):
        content = say(messages, "claude/agent", said, stream=stream)
    assert content[-1]["text"] == "It is cold."


@pytest.mark.parametrize("stream", [False, True])
def test_claudes_answers_reach_such_a_client_byte_by_byte(
    both: GatewayProcess, claude: FakeAnthropic, stream: bool
) -> None:
    asked = {"max_tokens": 9, "messages": [QUESTION], "stream": stream}
    with httpx.Client(trust_env=False) as http:
        through = http.post(
            f"{both.url}/v1/messages", json={"model": "claude/agent", **asked}, headers={"x-api-key": KEY}
        )
        directly = http.post(f"{claude.base_url}/messages", json={"model": "agent", **asked})
    assert through.content == directly.content
    assert b"thinking" in through.content


@pytest.mark.parametrize("stream", [False, True])
def test_such_a_client_sends_what_a_chat_model_thought_back_to_it_and_to_nobody_else(
    messages: anthropic.Anthropic, upstream: FakeOpenAI, claude: FakeAnthropic, stream: bool
) -> None:
    said: list[Any] = [dict(QUESTION)]
    content = say(messages, "local/agent-aloud", said, stream=stream)
    assert content[0] == {"type": "thinking", "thinking": ALOUD, "signature": ""}
    assert say(messages, "local/agent-aloud", list(said), stream=stream)[-1]["text"] == "It is cold."
    assert upstream.requests[-1].body["messages"][1]["reasoning_content"] == ALOUD
    raw = messages.messages.with_raw_response.create(model="claude/m1", max_tokens=9, messages=said)
    assert raw.headers["x-tetrad-dropped"] == "messages[1].content[0]"
    assert ALOUD not in json.dumps(claude.requests[-1].body)


def test_such_a_client_sends_what_claude_thought_to_no_chat_model(
    messages: anthropic.Anthropic, upstream: FakeOpenAI
) -> None:
    said: list[Any] = [dict(QUESTION)]
    say(messages, "claude/agent", said, stream=False)
    raw = messages.messages.with_raw_response.create(model="local/m1", max_tokens=9, messages=said)
    assert raw.headers["x-tetrad-dropped"] == "messages[1].content[0], messages[1].content[1]"
    assert "thinking" not in json.dumps(upstream.requests[-1].body)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_responses_sends_what_a_chat_model_thought_back_to_it(client: openai.OpenAI, stream: bool) -> None:
    answer = ask(client, [QUESTION], stream=stream, model="local/agent-aloud")
    items = [item.model_dump(exclude_none=True) for item in answer.output]
    assert ask(client, [QUESTION, *items, *results_of(answer)], stream=stream,
               model="local/agent-aloud").output_text == "It is cold."  # fmt: skip


def test_an_upstream_that_speaks_responses_is_not_asked_strictly_with_what_others_thought(
    client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    said = first_turn(client)
    raw = client.responses.with_raw_response.create(model="local/native", input=said, store=False)
    assert raw.headers["x-tetrad-dropped"] == "input[1], input[2]"
    asked = len(upstream.requests)
    with pytest.raises(openai.BadRequestError, match="lossy") as caught:
        client.responses.create(
            model="local/native", input=said, store=False, extra_headers={"x-tetrad-translation": "strict"}
        )
    assert (caught.value.code, caught.value.param) == ("cannot_translate", "input[1]")
    assert len(upstream.requests) == asked
