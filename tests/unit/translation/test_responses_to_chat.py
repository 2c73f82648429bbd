"""Responses said in chat completions: requests, answers, streams, and what cannot be said."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import TetradError
from tetrad.serving import COMPLETIONS, RESPONSES, BadAnswer, RequestRefused, StreamBroken
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation import Translation, find

IMAGE = "data:image/png;base64,AAAA"
SCHEMA = {"type": "object", "properties": {"c": {"type": "string"}}}


def say(
    *, strict: bool = False, stream: bool = False, unsaid: dict[str, Any] | None = None, **body: Any
) -> Translation:
    translate = find("responses", ["chat"])
    assert translate is not None
    body = {"model": "m1", "input": "Hi", **body}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    more = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in (unsaid or {}).items()}
    return translate(ModelCall(RESPONSES, raw, stream=stream, unsaid=more), strict)


def asked(translation: Translation) -> dict[str, Any]:
    return {name: json.loads(bytes(raw)) for name, raw in translation.call.fields.items()}


def chat(message: dict[str, Any], reason: str = "stop", **more: Any) -> bytes:
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    body = {"id": "c1", "model": "m1-2026", "created": 7, "choices": [choice], "usage": usage, **more}
    return json.dumps(body).encode()


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return b"data: " + json.dumps({"model": "m1-2026", "created": 7, "choices": choices, **more}).encode() + b"\n\n"


def events_of(data: bytes) -> list[dict[str, Any]]:
    found = []
    for event in data.decode().split("\n\n")[:-1]:
        name, _, payload = event.partition("\n")
        body = json.loads(payload.removeprefix("data: "))
        assert name == f"event: {body['type']}"
        found.append(body)
    return found


def test_a_text_is_one_message_of_the_user_and_instructions_come_first() -> None:
    body = asked(say(instructions="Be short.", max_output_tokens=9, temperature=0.5))
    assert body == {
        "model": "m1",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
        "temperature": 0.5,
    }


def test_items_become_messages_and_what_an_assistant_did_in_one_go_is_one_message() -> None:
    items = [
        {"role": "developer", "content": "You know the weather."},
        {"role": "user", "content": [{"type": "input_text", "text": "Oslo?"},
                                     {"type": "input_image", "image_url": IMAGE, "detail": "low"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Ask."}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "w", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "w", "arguments": '{"c":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "3 C"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "4 C"}]},
        {"role": "assistant", "content": "Cold."},
        {"role": "assistant", "content": "Very."},
    ]  # fmt: skip
    translation = say(input=items)
    assert translation.dropped == ()
    assert asked(translation)["messages"] == [
        {"role": "system", "content": "You know the weather."},
        {"role": "user", "content": [{"type": "text", "text": "Oslo?"},
                                     {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}}]},
        {"role": "assistant", "content": "I look.", "reasoning_content": "Ask.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "w", "arguments": '{"c":1}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "3 C"},
        {"role": "tool", "tool_call_id": "c2", "content": "4 C"},
        {"role": "assistant", "content": "Cold."},
        {"role": "assistant", "content": "Very."},
    ]  # fmt: skip


def test_tools_formats_and_effort_are_said_in_the_other_words() -> None:
    tool = {"type": "function", "name": "w", "description": "d", "parameters": SCHEMA, "strict": True}
    body = asked(
        say(
            tools=[tool],
            tool_choice={"type": "function", "name": "w"},
            parallel_tool_calls=False,
            text={
                "format": {"type": "json_schema", "name": "out", "schema": SCHEMA, "strict": True},
                "verbosity": "low",
            },
            reasoning={"effort": "low"},
            include=["message.output_text.logprobs"],
        )
    )
    function = {"name": "w", "description": "d", "parameters": SCHEMA, "strict": True}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "w"}}
    assert body["parallel_tool_calls"] is False
    form = {"name": "out", "schema": SCHEMA, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": form}
    assert (body["reasoning_effort"], body["verbosity"], body["logprobs"]) == ("low", "low", True)


def test_parameters_of_a_release_that_responses_cannot_say_still_reach_the_upstream() -> None:
    body = asked(say(unsaid={"seed": 7, "temperature": 1}, temperature=0.5))
    assert (body["seed"], body["temperature"]) == (7, 0.5)


LOSSES: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"include": ["reasoning.encrypted_content"]}, "include[0]"),
    ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
    ({"truncation": "auto"}, "truncation"),
    ({"max_tool_calls": 2}, "max_tool_calls"),
    ({"input": [{"role": "user", "content": "a"}, {"type": "reasoning", "id": "r", "summary": [],
                                                   "encrypted_content": "x"}]}, "input[1]"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0]"),
    ({"tool_choice": {"type": "web_search"}, "tools": [{"type": "function", "name": "w"}]}, "tool_choice"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "path"), LOSSES)
def test_what_chat_cannot_say_is_left_out_and_named_or_refused(body: dict[str, Any], path: str) -> None:
    assert path in say(**body).dropped
    with pytest.raises(RequestRefused) as caught:
        say(strict=True, **body)
    assert (caught.value.code, caught.value.param) == ("cannot_translate", path)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"previous_response_id": "resp_1"}, "state_unavailable"),
        ({"conversation": "conv_1"}, "state_unavailable"),
        ({"background": True}, "cannot_translate"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_not_found"),
        ({"input": [{"role": "king", "content": "a"}]}, "bad_field"),
        ({"input": [{"role": ["user"], "content": "a"}]}, "bad_field"),
        ({"input": [{"role": {}, "content": "a"}]}, "bad_field"),
        ({"input": [{"role": "user", "content": 3}]}, "bad_field"),
        ({"input": [3]}, "bad_field"),
        ({"input": {}}, "bad_field"),
        ({"tools": {}}, "bad_field"),
        ({"text": {"format": {"type": "json_schema"}}}, "bad_field"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "w", "arguments": {}}]}, "bad_field"),
    ],
)
def test_what_is_malformed_or_needs_memory_is_refused_either_way(body: dict[str, Any], code: str) -> None:
    for strict in (False, True):
        with pytest.raises(RequestRefused) as caught:
            say(strict=strict, **body)
        assert caught.value.code == code


def test_a_whole_answer_is_a_response_with_items_and_usage() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
    translation = say(metadata={"a": "b"})
    said = json.loads(
        translation.whole(chat({"content": "Hi.", "reasoning_content": "Hm.", "tool_calls": [call]}, "tool_calls"))
    )
    assert said["object"] == "response"
    assert said["status"] == "completed"
    assert said["id"].startswith("resp_")
    assert said["metadata"] == {"a": "b"}
    assert [item["type"] for item in said["output"]] == ["reasoning", "message", "function_call"]
    assert said["output"][1]["content"][0]["text"] == "Hi."
    assert said["output"][2]["call_id"] == "c1"
    assert len({item["id"] for item in said["output"]}) == 3
    assert said["usage"] == {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 17,
    }
    assert json.loads(translation.outcome(Outcome(output=b"[]")).output) == said["output"]


@pytest.mark.parametrize(("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete_and_says_why(reason: str, told: str) -> None:
    said = json.loads(say().whole(chat({"content": "H"}, reason)))
    assert (said["status"], said["incomplete_details"]) == ("incomplete", {"reason": told})
    stream = say(stream=True).events()
    last = events_of(stream.feed(chunk({"content": "H"}) + chunk({}, reason) + b"data: [DONE]\n\n"))[-1]
    assert (last["type"], last["response"]["incomplete_details"]) == ("response.incomplete", {"reason": told})


def test_a_refusal_is_a_part_of_its_own() -> None:
    said = json.loads(say().whole(chat({"content": None, "refusal": "No."})))
    assert said["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_what_is_no_chat_completion_is_the_upstreams_fault() -> None:
    with pytest.raises(BadAnswer):
        say().whole(b"<html>")
    with pytest.raises(BadAnswer):
        say(stream=True).events().feed(b"data: nonsense\n\n")


STREAM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Hm."}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}),
    chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "w", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "v", "arguments": "{}"}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"c":1}'}}]}),
    chunk({}, "tool_calls"),
    chunk(None, usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
    b"data: [DONE]\n\n",
]
GOLDEN = [
    "response.created", "response.in_progress",
    "response.output_item.added", "response.content_part.added", "response.reasoning_text.delta",
    "response.reasoning_text.done", "response.content_part.done", "response.output_item.done",
    "response.output_item.added", "response.content_part.added", "response.output_text.delta",
    "response.output_text.delta", "response.output_text.done", "response.content_part.done",
    "response.output_item.done",
    "response.output_item.added", "response.output_item.added", "response.function_call_arguments.delta",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done", "response.output_item.done",
    "response.function_call_arguments.done", "response.output_item.done",
    "response.completed",
]  # fmt: skip


def test_a_stream_tells_every_event_in_its_order_and_numbers_them() -> None:
    events = say(stream=True).events()
    said = events_of(b"".join(events.feed(piece) for piece in STREAM) + events.end())
    assert events.done
    assert [event["type"] for event in said] == GOLDEN
    assert [event["sequence_number"] for event in said] == list(range(len(GOLDEN)))
    whole = said[-1]["response"]
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert [item.get("arguments") for item in whole["output"][2:]] == ['{"c":1}', "{}"]
    assert whole["output"] == [event["item"] for event in said if event["type"] == "response.output_item.done"]
    assert whole["usage"]["total_tokens"] == 5
    assert said[0]["response"]["id"] == whole["id"]


def test_a_stream_says_the_same_however_it_is_torn() -> None:
    data = b"".join(STREAM)
    events = say(stream=True).events()
    said = events_of(b"".join(events.feed(data[i : i + 1]) for i in range(len(data))) + events.end())
    assert [event["type"] for event in said] == GOLDEN


def test_an_error_within_a_stream_fails_the_response() -> None:
    events = say(stream=True).events()
    error = b'data: {"error": {"message": "boom", "code": "overloaded"}}\n\n'
    last = events_of(events.feed(chunk({"content": "H"}) + error))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "overloaded", "message": "boom"}
    assert events.done


def test_a_stream_that_ends_too_early_is_broken() -> None:
    events = say(stream=True).events()
    events.feed(chunk({"content": "H"}))
    with pytest.raises(StreamBroken):
        events.end()
    with pytest.raises(StreamBroken):
        say(stream=True).events().feed(b"data: [DONE]\n\n")


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": texts,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": texts, "arguments": texts}),
        }
    ),
    max_size=3,
)


@given(text=st.none() | texts, thought=st.none() | texts, tool_calls=calls)
def test_an_answer_sent_back_as_input_is_the_message_that_it_was(text: Any, thought: Any, tool_calls: Any) -> None:
    message: dict[str, Any] = {"content": text}
    if tool_calls:
        message["tool_calls"] = tool_calls
    if thought:
        message["reasoning_content"] = thought
    items = json.loads(say().whole(chat(message)))["output"]
    sent = asked(say(input=[{"role": "user", "content": "Hi"}, *items]))["messages"][1:]
    if text or tool_calls:
        assert sent == [{"role": "assistant", **message}]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["message", "user", "function", "x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "role", "content", "text", "name", "call_id", "output", "format", "summary"]), inner,
        max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@given(
    body=st.dictionaries(
        st.sampled_from(["input", "tools", "text", "reasoning", "include", "tool_choice"]), json_values
    )
)
def test_no_request_makes_the_translator_fail_otherwise_than_by_an_error_of_ours(body: dict[str, Any]) -> None:
    for strict in (False, True):
        with contextlib.suppress(RequestRefused):
            say(strict=strict, **body)


NOISE = [
    b"data: {}\n\n", b"data: 3\n\n", b"\n\n", b": hi\n\n", b'data: {"error":"x"}\n\n', b"\xff\n\n",
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":7}]}}]}\n\n',
]  # fmt: skip


@given(noise=st.lists(st.sampled_from([*STREAM[:-1], *NOISE])))
@pytest.mark.parametrize("client", ["responses", "completions"])
def test_whatever_an_upstream_streams_only_errors_of_ours_come_of_it(client: str, noise: list[bytes]) -> None:
    translate = find(client, ["chat"])
    assert translate is not None
    fields = {name: msgspec.Raw(b'"x"') for name in ("model", "input" if client == "responses" else "prompt")}
    operation = RESPONSES if client == "responses" else COMPLETIONS
    events = translate(ModelCall(operation, fields, stream=True), False).events()
    with contextlib.suppress(TetradError):
        for piece in noise:
            events.feed(piece)
        events.end()
