"""Clients that speak of functions as before there were tools, to upstreams that speak other protocols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.translation import claude_message, claude_stream, data_of, translated
from tetrad.serving import RequestRefused
from tetrad.serving.ports import Outcome

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "translation" / "functions.json").read_text("utf-8"))
UPSTREAMS = ("messages", "gemini", "mistral", "responses", "converse")
FUNCTION = {"name": "now", "parameters": {"type": "object", "properties": {}}}
USER = {"role": "user", "content": "hi"}


def asked(upstream: str, **fields: Any) -> dict[str, Any]:
    return {"model": "amazon.titan" if upstream == "converse" else "m", **fields}


def sent(upstream: str, body: dict[str, Any], *, strict: bool = True) -> tuple[dict[str, Any], tuple[str, ...]]:
    made = translated("chat", upstream, body, strict=strict)
    return {name: json.loads(bytes(raw)) for name, raw in made.call.fields.items()}, made.dropped


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_functions_their_calls_and_results_reach_each_upstream(upstream: str, strict: bool) -> None:
    body = asked(
        upstream, messages=GOLDEN["history"], functions=GOLDEN["functions"], function_call={"name": "now"},
        max_tokens=16,
    )  # fmt: skip
    assert sent(upstream, body, strict=strict) == (GOLDEN["sent"][upstream], ())


def without_times(told: list[Any]) -> list[Any]:
    return [{k: v for k, v in each.items() if k != "created"} if isinstance(each, dict) else each for each in told]


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_the_first_call_of_an_answer_is_told_whole_and_in_a_stream(size: int) -> None:
    body = asked("messages", messages=[USER], functions=GOLDEN["functions"], stream=True)
    made = translated("chat", "messages", body, usage_asked=True)
    whole = json.loads(made.whole(msgspec.json.encode(claude_message(GOLDEN["content"]))))
    assert without_times([whole]) == [GOLDEN["answer"]]
    stream, events = claude_stream(GOLDEN["content"]), made.events()
    told = b"".join(events.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + events.end()
    assert events.done
    assert without_times(data_of(told)) == GOLDEN["chunks"]


def test_what_became_of_an_answer_is_recorded_as_the_client_got_it() -> None:
    made = translated("chat", "messages", asked("messages", messages=[USER], functions=[FUNCTION]))
    content = [{"type": "tool_use", "id": "t1", "name": "now", "input": {}}]
    said = [{"role": "assistant", "content": content}]
    outcome = made.outcome(Outcome(finish_reasons=("tool_use",), output=msgspec.json.encode(said)))
    assert outcome.finish_reasons == ("function_call",)
    assert json.loads(outcome.output)[0]["function_call"] == {"name": "now", "arguments": "{}"}
    assert "tool_calls" not in json.loads(outcome.output)[0]


def test_who_speaks_of_tools_is_answered_with_tools() -> None:
    tools = [{"type": "function", "function": FUNCTION}]
    made = translated("chat", "messages", asked("messages", messages=[USER], tools=tools))
    whole = json.loads(made.whole(msgspec.json.encode(claude_message(GOLDEN["content"]))))
    assert len(whole["choices"][0]["message"]["tool_calls"]) == 2
    assert whole["choices"][0]["finish_reason"] == "tool_calls"


CALL = {"role": "assistant", "content": None, "function_call": {"name": "now", "arguments": "{}"}}
RESULT = {"role": "function", "name": "now", "content": "noon"}
LOST: list[tuple[str, dict[str, Any], str]] = [
    ("messages", {"messages": [USER, RESULT, USER]}, "messages[1]"),
    ("messages", {"messages": [USER, CALL, {**RESULT, "name": "other"}]}, "messages[2]"),
    ("gemini", {"messages": [USER, CALL, RESULT, RESULT]}, "messages[3]"),
    ("messages", {"messages": [USER, RESULT, {**USER, "name": "Bo"}]}, "messages[2].name"),
    ("messages", {"messages": [USER], "functions": [FUNCTION, {**FUNCTION, "name": "b", "x": 1}]}, "functions[1].x"),
    ("responses", {"messages": [{**CALL, "function_call": {"name": "now", "arguments": "{}", "x": 1}}]},
     "messages[0].function_call.x"),
]  # fmt: skip


@pytest.mark.parametrize(("upstream", "fields", "path"), LOST)
def test_what_gets_lost_is_named_as_the_client_wrote_it(upstream: str, fields: dict[str, Any], path: str) -> None:
    assert path in sent(upstream, asked(upstream, **fields), strict=False)[1]
    with pytest.raises(RequestRefused) as caught:
        sent(upstream, asked(upstream, **fields))
    assert caught.value.code == "cannot_translate"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"functions": [FUNCTION], "tools": [{"type": "function", "function": FUNCTION}]}, "functions"),
    ({"functions": []}, "functions"),
    ({"functions": {"name": "now"}}, "functions"),
    ({"functions": ["now"]}, "functions[0]"),
    ({"functions": [{"description": "d"}]}, "functions[0].name"),
    ({"function_call": "auto"}, "function_call"),
    ({"functions": [FUNCTION], "function_call": {"name": 5}}, "function_call.name"),
    ({"functions": [FUNCTION], "function_call": "always"}, "function_call"),
    ({"messages": [{**USER, "function_call": {"name": "now", "arguments": "{}"}}]}, "messages[0].function_call"),
    ({"messages": [{**CALL, "function_call": {"name": "now", "arguments": "[]"}}]},
     "messages[0].function_call.arguments"),
    ({"messages": [{**CALL, "function_call": {"arguments": "{}"}}]}, "messages[0].function_call.name"),
    ({"messages": [{**CALL, "function_call": "now"}]}, "messages[0].function_call"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "path"), WRONG)
def test_what_is_malformed_is_refused_as_the_client_wrote_it(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        sent("messages", asked("messages", **{"messages": [USER], **fields}), strict=False)
    assert (caught.value.param, caught.value.code) == (path, "bad_field")


# round trips

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
names = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
arguments = st.dictionaries(texts, texts | st.integers(-9, 9), max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same conversation twice: with functions, and with tools."""
    old: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 4))):
        user, text = {"role": "user", "content": draw(texts)}, draw(st.none() | texts)
        old.append(user)
        new.append(user)
        function = {"name": draw(names), "arguments": json.dumps(draw(arguments))}
        identity, result = f"call_function{len(old)}", draw(texts)
        old.append({"role": "assistant", "content": text, "function_call": function})
        old.append({"role": "function", "name": function["name"], "content": result})
        call = {"id": identity, "type": "function", "function": function}
        new.append({"role": "assistant", "content": text, "tool_calls": [call]})
        new.append({"role": "tool", "tool_call_id": identity, "content": result})
    return old, new


@pytest.mark.parametrize("upstream", UPSTREAMS)
@given(conversations())
def test_functions_are_said_as_the_same_conversation_with_tools_is(
    upstream: str, both: tuple[list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    old, new = both
    tools = [{"type": "function", "function": FUNCTION}]
    one = {} if upstream in ("gemini", "converse") else {"parallel_tool_calls": False}
    assert sent(upstream, asked(upstream, messages=old, functions=[FUNCTION])) == sent(
        upstream, asked(upstream, messages=new, tools=tools, **one)
    )


@given(st.none() | texts, names, arguments, st.integers(1, 40))
def test_a_call_that_was_told_goes_back_as_it_came(
    text: str | None, name: str, given_: dict[str, Any], size: int
) -> None:
    use = {"type": "tool_use", "id": "t1", "name": name, "input": given_}
    content = [use] if text is None else [{"type": "text", "text": text}, use]
    made = translated("chat", "messages", asked("messages", messages=[USER], functions=[FUNCTION], stream=True))
    message = json.loads(made.whole(msgspec.json.encode(claude_message(content))))["choices"][0]["message"]
    stream, events = claude_stream(content), made.events()
    told = b"".join(events.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + events.end()
    deltas = [chunk["choices"][0]["delta"] for chunk in data_of(told) if chunk != "[DONE]"]
    calls = [delta["function_call"] for delta in deltas if "function_call" in delta]
    assert "".join(delta.get("content") or "" for delta in deltas) == (text or "")
    assert "".join(call.get("name", "") for call in calls) == message["function_call"]["name"] == name
    streamed = "".join(call.get("arguments", "") for call in calls)
    assert json.loads(streamed) == json.loads(message["function_call"]["arguments"]) == given_
    again, dropped = sent(
        "messages", asked("messages", messages=[USER, message, {"role": "function", "name": name, "content": "x"}])
    )
    assert dropped == ()
    back = [block for block in again["messages"][1]["content"] if block["type"] == "tool_use"]
    assert back == [{**use, "id": "call_function1"}]
