"""What the gateway sends where a prompt has a place for the client's messages."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tetrad.serving import MessageTemplate, ReleaseRoute, Variable
from tetrad.serving._prompting import CompiledRelease, house_compiler
from tetrad.serving.errors import RequestRefused

MESSAGES = (
    MessageTemplate("system", "Be kind."),
    MessageTemplate("placeholder", "history"),
    MessageTemplate("placeholder", "messages"),
    MessageTemplate("user", "Answer now."),
)
HISTORY = Variable("history", "array", msgspec.Raw(b"null"))
MINE = [{"role": "user", "content": "Why? ]"}]


def sent(
    messages: tuple[MessageTemplate, ...], client: list[Any], variables: Any = None, *declared: Variable
) -> list[Any]:
    route = ReleaseRoute(
        digest="d", project="p", app="a", model="m", messages=messages, variables=declared,
        examples=(MessageTemplate("user", "Hi"), MessageTemplate("assistant", "Hello")),
    )  # fmt: skip
    fields = {"messages": msgspec.Raw(json.dumps(client).encode())}
    values = b"" if variables is None else json.dumps(variables).encode()
    CompiledRelease(route, house_compiler).apply(fields, values)
    return list(json.loads(bytes(fields["messages"])))


def test_the_clients_messages_stand_in_their_place() -> None:
    history = [{"role": "assistant", "content": "Earlier."}]
    got = sent(MESSAGES, MINE, {"history": history}, HISTORY)
    assert [each["content"] for each in got] == ["Be kind.", "Hi", "Hello", "Earlier.", "Why? ]", "Answer now."]


def test_a_static_prompt_with_a_place_is_rendered_once() -> None:
    plain = (MESSAGES[0], *MESSAGES[2:])
    assert [each["content"] for each in sent(plain, MINE)] == ["Be kind.", "Hi", "Hello", "Why? ]", "Answer now."]
    assert [each["content"] for each in sent(plain, [])] == ["Be kind.", "Hi", "Hello", "Answer now."]


def test_without_a_place_they_come_last() -> None:
    assert [each["content"] for each in sent(MESSAGES[:1], MINE)] == ["Be kind.", "Hi", "Hello", "Why? ]"]


def test_a_list_that_holds_no_messages_is_refused_by_the_variables_name() -> None:
    with pytest.raises(RequestRefused, match="'history', message 1 has no role"):
        sent(MESSAGES, MINE, {"history": [{"role": "placeholder", "content": "messages"}]}, HISTORY)
