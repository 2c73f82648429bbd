"""Requests in Anthropic's protocol: what a release does to them, and what reaches the provider."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from tetrad.kernel import TetradError, Usage
from tetrad.serving import (
    MESSAGES,
    OPERATIONS,
    BadRouteTable,
    Exchange,
    MessagesUsage,
    MessageTemplate,
    Pipeline,
    Price,
    ReleaseRoute,
    Variable,
)
from tetrad.serving._pricing import Pricer
from tetrad.serving._prompting import CompiledRelease, house_compiler
from tetrad.serving.translation.usage import chat_usage, messages_usage, usage_of_chat

COUNT = next(operation for operation in OPERATIONS if operation.name == "count_tokens")
HI = [{"role": "user", "content": "hi"}]


def compiled(**changes: Any) -> CompiledRelease:
    route = ReleaseRoute(
        "sha256:" + "1" * 64,
        "default",
        "bot",
        "local/m1",
        messages=(MessageTemplate("system", "Help {{name}}."), MessageTemplate("user", "Begin.")),
        variables=(Variable("name", "string", msgspec.Raw(b'"all"')),),
        examples=(MessageTemplate("user", "a"), MessageTemplate("assistant", "b")),
    )
    return CompiledRelease(msgspec.structs.replace(route, **changes), house_compiler)


def put(release: CompiledRelease, body: dict[str, Any], variables: bytes = b"", operation: Any = MESSAGES) -> Any:
    fields = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()}
    unused, unsaid = release.put(operation, fields, variables)
    said = {name: json.loads(bytes(raw)) for name, raw in fields.items()}
    return said, unused, {name: json.loads(bytes(raw)) for name, raw in unsaid.items()}


def test_a_prompt_goes_into_system_and_before_the_clients_messages() -> None:
    said, unused, unsaid = put(compiled(), {"messages": HI}, b'{"name": "Bo", "new": 1}')
    assert said["system"] == "Help Bo."
    assert [message["content"] for message in said["messages"]] == ["a", "b", "Begin.", "hi"]
    assert (unused, unsaid) == (("new",), {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Be brief.", [{"type": "text", "text": "Help all."}, {"type": "text", "text": "Be brief."}]),
        (
            [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            [
                {"type": "text", "text": "Help all."},
                {"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}},
            ],
        ),
        ("", "Help all."),
        ([], "Help all."),
        (None, "Help all."),
    ],
)
def test_the_clients_instructions_follow_the_releases(given: Any, expected: Any) -> None:
    release = compiled()
    for _ in range(2):  # the second time from what was kept
        assert put(release, {"messages": HI, "system": given})[0]["system"] == expected


def test_instructions_that_are_no_text_are_refused() -> None:
    with pytest.raises(TetradError, match="'system' must be") as caught:
        put(compiled(), {"messages": HI, "system": 5})
    assert caught.value.status == 400


def test_a_prompt_that_changes_is_rendered_each_time_and_one_that_does_not_is_kept() -> None:
    release = compiled(messages=(MessageTemplate("system", "Static."),), variables=())
    assert put(release, {"messages": HI})[0] == put(release, {"messages": HI})[0]
    dynamic = compiled()
    assert put(dynamic, {"messages": HI}, b'{"name": "A"}')[0]["system"] == "Help A."
    assert put(dynamic, {"messages": HI}, b'{"name": "B"}')[0]["system"] == "Help B."
    assert put(dynamic, {"messages": HI})[0]["system"] == "Help all."


def test_a_placeholder_says_where_the_clients_messages_stand() -> None:
    release = compiled(
        messages=(
            MessageTemplate("system", "S."),
            MessageTemplate("placeholder", "messages"),
            MessageTemplate("user", "Now answer."),
        ),
        variables=(),
        examples=(),
    )
    said, _, _ = put(release, {"messages": HI})
    assert [message["content"] for message in said["messages"]] == ["hi", "Now answer."]


def test_parameters_are_said_in_anthropics_words_and_what_cannot_be_said_is_kept_apart() -> None:
    params = {
        "max_completion_tokens": 50, "temperature": 0.5, "stop": "END", "seed": 7, "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "reasoning_effort": "low",
    }  # fmt: skip
    release = compiled(
        params={name: msgspec.Raw(json.dumps(value).encode()) for name, value in params.items()},
        fixed=("temperature",),
    )
    said, _, unsaid = put(release, {"messages": HI, "max_tokens": 9})
    assert said["max_tokens"] == 9
    assert (said["temperature"], said["stop_sequences"]) == (0.5, ["END"])
    assert said["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert said["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert (said["output_config"], said["thinking"]) == ({"effort": "low"}, {"type": "adaptive"})
    assert unsaid == {"seed": 7}
    with pytest.raises(TetradError, match=r"fixes 'temperature' at 0\.5"):
        put(release, {"messages": HI, "temperature": 1})
    counted, _, unsaid = put(release, {"messages": HI}, operation=COUNT)
    assert set(counted) == {"messages", "system", "tools", "tool_choice", "output_config", "thinking"}
    assert unsaid == {}


def test_broken_parameters_break_this_protocol_only() -> None:
    release = compiled(params={"stop": msgspec.Raw(b"5")})
    with pytest.raises(BadRouteTable):
        put(release, {"messages": HI})
    release.apply({"messages": msgspec.Raw(b"[]")}, b"")


def test_no_message_at_all_is_refused() -> None:
    release = compiled(messages=(MessageTemplate("system", "S."),), variables=(), examples=())
    with pytest.raises(TetradError, match="there is no message"):
        put(release, {"messages": []})


@pytest.mark.parametrize(("metadata", "user"), [({"user_id": "ann"}, "ann"), ({"user_id": 5}, ""), ("odd", "")])
def test_who_asks_is_read_from_metadata(metadata: Any, user: str) -> None:
    exchange = Exchange(MESSAGES, {}, time.time_ns())
    fields = {"messages": msgspec.Raw(b"[]"), "metadata": msgspec.Raw(json.dumps(metadata).encode())}
    Pipeline._note_who(exchange, fields)
    assert exchange.user == user


def test_an_hour_in_the_cache_has_its_own_price_or_none() -> None:
    usage = Usage(input=1_000_000, cache_write=1_000_000, cache_write_1h=1_000_000)
    assert Pricer(Price("3", "15", cache_write="3.75", cache_write_1h="6")).cost(usage) == "12.75"
    assert Pricer(Price("3", "15", cache_write="3.75")).cost(usage) is None
    assert Pricer(Price("3", "15")).cost(usage) == "9"
    assert usage.input_total == (usage + Usage()).input_total == 3_000_000


def test_usage_is_the_same_in_every_protocols_words() -> None:
    said = MessagesUsage(input_tokens=10, output_tokens=5, cache_read_input_tokens=2, cache_creation_input_tokens=7)
    assert said.usage() == Usage(input=10, cache_read=2, cache_write=7, output=5)
    chat = chat_usage(said.usage())
    assert chat["prompt_tokens"] == 19
    assert usage_of_chat(json.dumps(chat).encode()) == said.usage()
    assert messages_usage(None)["input_tokens"] == 0
    later = said.updated(MessagesUsage(output_tokens=9))
    assert (later.output_tokens, later.input_tokens) == (9, 10)
