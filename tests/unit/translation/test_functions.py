"""Clients that speak of functions as before there were tools, to upstreams that speak other protocols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.translation import call_of, claude_message, claude_stream, data_of, events_of, translated
from tetrad.serving import RequestRefused
from tetrad.serving.ports import Outcome
from tetrad.serving.translation._kinds import Translation
from tetrad.serving.translation.functions_to_tools import with_functions

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
TOOLS = [{"type": "function", "function": FUNCTION}, {"type": "function", "function": {"name": "function_call"}}]
USED = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "call_one1", "type": "function", "function": {"name": "function_call", "arguments": "{}"}}]}  # fmt: skip
TOLD = {"role": "tool", "tool_call_id": "call_one1", "content": "noon"}
WORDS = {"role": "user", "content": '"function_call" and "role": "function" are words'}
WRITTEN = {**USED, "refusal": None, "annotations": None, "audio": None, "function_call": None}
"""A message as the official client writes it, fields that were not said as null."""
OF_TOOLS: list[dict[str, Any]] = [
    {"messages": [USER, WRITTEN, TOLD]},
    {"messages": [USER, USED, TOLD], "functions": None, "function_call": None},
    {"messages": [WORDS, USED, TOLD]},
]


def told_whole_and_streamed(made: Translation) -> list[tuple[str, int]]:
    """Return why the answer ended and how many calls of tools it has, whole and in a stream."""
    whole = json.loads(made.whole(msgspec.json.encode(claude_message(GOLDEN["content"]))))["choices"][0]
    events = made.events()
    chunks = data_of(events.feed(claude_stream(GOLDEN["content"])) + events.end())
    choices = [choice for chunk in chunks if chunk != "[DONE]" for choice in chunk["choices"]]
    calls = {call["index"] for each in choices for call in each["delta"].get("tool_calls") or ()}
    reasons = [each["finish_reason"] for each in choices if each["finish_reason"]]
    recorded = [{"role": "assistant", "content": GOLDEN["content"]}]
    outcome = made.outcome(Outcome(finish_reasons=("tool_use",), output=msgspec.json.encode(recorded)))
    kept = json.loads(outcome.output)[0]
    return [
        (whole["finish_reason"], len(whole["message"].get("tool_calls", ()))),
        (reasons[-1], len(calls)),
        (outcome.finish_reasons[0], len(kept.get("tool_calls", ()))),
    ]


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("fields", OF_TOOLS)
def test_what_only_looks_like_functions_is_said_as_the_tools_that_it_is(fields: dict[str, Any], upstream: str) -> None:
    plain = [{name: value for name, value in each.items() if value is not None} for each in fields["messages"]]
    expected = sent(upstream, asked(upstream, messages=plain, tools=TOOLS))
    assert sent(upstream, asked(upstream, **fields, tools=TOOLS)) == expected
    assert expected[1] == ()


@pytest.mark.parametrize("fields", OF_TOOLS)
def test_who_declares_tools_gets_all_calls_of_them_whatever_looks_like_functions(fields: dict[str, Any]) -> None:
    made = translated("chat", "messages", asked("messages", **fields, tools=TOOLS, stream=True), usage_asked=True)
    assert told_whole_and_streamed(made) == [("tool_calls", 2)] * 3


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_who_declares_tools_is_answered_with_them_after_a_conversation_of_functions(upstream: str) -> None:
    named = {"id": "call_function1", "type": "function", "function": CALL["function_call"]}
    new = [USER, {"role": "assistant", "content": None, "tool_calls": [named]},
           {"role": "tool", "tool_call_id": "call_function1", "content": "noon"}]  # fmt: skip
    body = asked(upstream, messages=[USER, CALL, RESULT], tools=TOOLS)
    assert sent(upstream, body) == sent(upstream, asked(upstream, messages=new, tools=TOOLS))
    if upstream == "messages":
        made = translated("chat", "messages", {**body, "stream": True}, usage_asked=True, strict=True)
        assert told_whole_and_streamed(made) == [("tool_calls", 2)] * 3
        assert made.dropped == ()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_conversation_of_functions_goes_on_without_any_declared(upstream: str, strict: bool) -> None:
    said, dropped = sent(upstream, asked(upstream, messages=[USER, CALL, RESULT]), strict=strict)
    assert (dropped, "noon" in json.dumps(said)) == ((), True)
    only = sent(upstream, asked(upstream, messages=[USER, {"role": "function", "content": "noon"}]), strict=False)
    assert only[1] == ("messages[1]",), "a result without its call"


class Looked(dict[str, msgspec.Raw]):
    """Fields that tell which of them were looked at."""

    def __init__(self, fields: Any) -> None:
        super().__init__(fields)
        self.at: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        self.at.append(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> msgspec.Raw:
        self.at.append(name)
        return super().__getitem__(name)


def test_messages_of_who_speaks_of_tools_are_read_by_the_translator_alone() -> None:
    made = translated("chat", "messages", asked("messages", messages=[WORDS, WRITTEN, TOLD], tools=TOOLS))
    call = call_of("chat", asked("messages", messages=[WORDS, WRITTEN, TOLD], tools=TOOLS))
    fields = Looked(call.fields)
    translate = with_functions("messages", lambda *_: made)
    assert translate(msgspec.structs.replace(call, fields=fields), True) is made
    assert "functions" in fields.at
    assert "messages" not in fields.at


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"functions": []}, ("functions",)),
        ({"functions": [], "tools": TOOLS}, ("functions",)),
        ({"function_call": "none"}, ("function_call",)),
        ({"function_call": "auto", "tools": TOOLS}, ("function_call",)),
        ({"functions": [], "function_call": "auto", "messages": [USER, CALL, RESULT], "tools": TOOLS},
         ("functions", "function_call")),
    ],
)  # fmt: skip
def test_a_choice_among_no_functions_is_left_out_and_named(
    fields: dict[str, Any], lost: tuple[str, ...], upstream: str
) -> None:
    body = asked(upstream, **{"messages": [USER], **fields})
    said, dropped = sent(upstream, body, strict=False)
    assert set(dropped) == set(lost)
    assert said == sent(upstream, {name: value for name, value in body.items() if name not in lost})[0]
    with pytest.raises(RequestRefused) as caught:
        sent(upstream, body)
    assert (caught.value.code, caught.value.param in lost) == ("cannot_translate", True)


def test_empty_tools_beside_functions_are_none() -> None:
    body = asked("messages", messages=[USER], functions=[FUNCTION])
    assert sent("messages", {**body, "tools": []}) == sent("messages", body)


def test_calls_that_a_message_has_no_room_for_are_named() -> None:
    body = asked("gemini", messages=[USER], functions=[FUNCTION])
    parts = [{"functionCall": {"name": "now", "args": {"at": at}}} for at in range(3)]
    answer = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    lost = ("choices[0].message.tool_calls[1]", "choices[0].message.tool_calls[2]")
    made = translated("chat", "gemini", body, strict=True)
    assert made.dropped == ()
    message = json.loads(made.whole(msgspec.json.encode(answer)))["choices"][0]["message"]
    assert json.loads(message["function_call"]["arguments"]) == {"at": 0}
    assert made.dropped == lost
    assert made.outcome(Outcome()).attributes == {"answer.left_out": ", ".join(lost)}
    streamed = translated("chat", "gemini", {**body, "stream": True}, strict=True)
    events = streamed.events()
    events.feed(events_of([answer]))
    events.end()
    assert streamed.outcome(Outcome()).attributes == {"answer.left_out": ", ".join(lost)}
    one = translated("chat", "gemini", body, strict=True)
    answer["candidates"][0]["content"] = {"role": "model", "parts": parts[:1]}
    one.whole(msgspec.json.encode(answer))
    assert (one.dropped, one.outcome(Outcome()).attributes) == ((), {})


CUSTOM = {"id": "call_one1", "type": "custom", "custom": {"name": "run", "input": "x"}}
PLAIN = {"id": "call_two2", "type": "function", "function": {"name": "now", "arguments": "{}"}}
RAN = {"role": "tool", "tool_call_id": "call_one1", "content": "ran"}


@pytest.mark.parametrize("upstream", [each for each in UPSTREAMS if each != "responses"])
def test_a_result_is_lost_with_the_call_of_a_tool_that_an_upstream_does_not_have(upstream: str) -> None:
    alone = [USER, {"role": "assistant", "content": None, "tool_calls": [CUSTOM]}, RAN, USER]
    said, dropped = sent(upstream, asked(upstream, messages=alone), strict=False)
    assert dropped == ("messages[1].tool_calls[0]", "messages[2]")
    assert said == sent(upstream, asked(upstream, messages=[USER, USER]))[0], "no message is left empty"
    now = {"role": "tool", "tool_call_id": "call_two2", "content": "noon"}
    both = [USER, {"role": "assistant", "content": "ok", "tool_calls": [CUSTOM, PLAIN]}, RAN, now]
    left = [USER, {"role": "assistant", "content": "ok", "tool_calls": [PLAIN]}, now]
    said, dropped = sent(upstream, asked(upstream, messages=both), strict=False)
    assert dropped == ("messages[1].tool_calls[0]", "messages[2]")
    assert said == sent(upstream, asked(upstream, messages=left))[0]
    again = [{"role": "assistant", "content": None, "tool_calls": [{**PLAIN, "id": "call_one1"}]}, RAN]
    said, dropped = sent(upstream, asked(upstream, messages=[*alone, *again]), strict=False)
    assert dropped == ("messages[1].tool_calls[0]", "messages[2]"), "an id may be used again"
    assert said == sent(upstream, asked(upstream, messages=[USER, USER, *again]))[0]
    with pytest.raises(RequestRefused) as caught:
        sent(upstream, asked(upstream, messages=alone))
    assert (caught.value.code, caught.value.param) == ("cannot_translate", "messages[1].tool_calls[0]")


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
    ({"functions": {"name": "now"}}, "functions"),
    ({"functions": ["now"]}, "functions[0]"),
    ({"functions": [{"description": "d"}]}, "functions[0].name"),
    ({"functions": {}}, "functions"),
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
