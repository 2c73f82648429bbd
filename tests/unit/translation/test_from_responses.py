"""Upstreams that speak Responses: what is recorded, what fails, and where it ends."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from support.fake_responses import called, events_of_response, reasoning, response, said
from support.translation import call_of, data_of, events_of, translated
from tetrad.adapters.providers._anthropic_wire import UNSIGNED, without_unsigned
from tetrad.kernel import TetradError, Usage
from tetrad.serving import BadAnswer, RequestRefused, StreamBroken
from tetrad.serving.ports import Outcome
from tetrad.serving.translation import Translation, find
from tetrad.serving.translation.openai_signatures import OPENAI_SEALED, Reasoning

ASKED = {"model": "m", "include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}}
OUTPUT = [reasoning(1, "Hm."), said(2, "Hi."), called(3, "Oslo")]
clients = pytest.mark.parametrize("client", ["messages", "chat"])


def made(client: str, **more: Any) -> Translation:
    return translated(client, "responses", {"model": "m", "messages": [], **more}, usage_asked=True)


def stream(client: str, events: list[dict[str, Any]]) -> list[Any]:
    told = made(client, stream=True).events()
    return data_of(told.feed(events_of(events)) + told.end())


MATRIX = {
    "chat": ["responses", "messages", "gemini", "converse", "mistral"],
    "messages": ["chat", "responses", "gemini", "converse", "mistral"],
    "completions": ["chat", "responses", "messages", "gemini", "converse", "mistral"],
    "responses": ["chat", "messages", "gemini", "converse", "mistral"],
}


@pytest.mark.parametrize("client", MATRIX)
def test_every_protocol_of_clients_reaches_every_protocol_of_upstreams(client: str) -> None:
    body: dict[str, Any] = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}
    body = {"completions": {"model": "m", "prompt": "Hi"}, "responses": {"model": "m", "input": "Hi"}}.get(client, body)
    for upstream in MATRIX[client]:
        translation = translated(client, upstream, body, strict=True)
        assert translation.call.operation.name == upstream
        assert "Hi" in json.dumps({name: json.loads(bytes(raw)) for name, raw in translation.call.fields.items()})


def test_a_chat_completion_is_preferred_where_an_upstream_speaks_both() -> None:
    translate = find("messages", ["chat", "responses", "completions"])
    assert translate is not None
    assert translate(call_of("messages", {"model": "m", "messages": []}), True).call.operation.name == "chat"


@pytest.mark.parametrize(("client", "reason"), [("messages", "tool_use"), ("chat", "tool_calls")])
def test_a_record_holds_what_the_client_got(client: str, reason: str) -> None:
    whole = response(OUTPUT, ASKED)
    told = json.loads(made(client).whole(json.dumps(whole).encode()))
    record = Outcome(usage=Usage(1), finish_reasons=("completed",), output=json.dumps(whole["output"]).encode())
    outcome = made(client).outcome(record)
    assert outcome.finish_reasons == (reason,)
    assert outcome.usage == record.usage
    (message,) = json.loads(outcome.output)
    assert message["content"] == (told["content"] if client == "messages" else told["choices"][0]["message"]["content"])


@clients
@pytest.mark.parametrize("output", [b"", b"no JSON", b'[{"type":"function_call","arguments":"no JSON"}]'])
def test_a_record_that_cannot_be_read_stays_as_it_is(client: str, output: bytes) -> None:
    found = made(client).outcome(Outcome(output=output, finish_reasons=("max_output_tokens",)))
    assert found.finish_reasons == (("max_tokens",) if client == "messages" else ("length",))
    assert found.output == output or json.loads(found.output)[0]["role"] == "assistant"


@clients
@pytest.mark.parametrize(
    ("code", "status"), [("rate_limit_exceeded", 429), ("server_error", 502), ("invalid_prompt", 400), (None, 502)]
)
def test_a_response_that_failed_is_an_error_of_its_kind(client: str, code: str | None, status: int) -> None:
    failed = response([], ASKED, status="failed", error={"code": code, "message": "as scripted"})
    with pytest.raises(TetradError, match="as scripted") as caught:
        made(client).whole(json.dumps(failed).encode())
    assert caught.value.status == status


@clients
@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"object":"chat.completion","choices":[]}'])
def test_what_is_no_response_is_the_upstreams_fault(client: str, body: bytes) -> None:
    with pytest.raises(BadAnswer):
        made(client).whole(body)


@clients
def test_a_call_whose_arguments_are_no_object_is_told_as_it_is_or_refused(client: str) -> None:
    item = {**called(1, "x"), "arguments": "[1]"}
    body = json.dumps(response([item], ASKED)).encode()
    if client == "chat":
        call = json.loads(made(client).whole(body))["choices"][0]["message"]["tool_calls"][0]
        assert call["function"]["arguments"] == "[1]"
    else:
        with pytest.raises(BadAnswer, match="'weather'"):
            made(client).whole(body)


@clients
def test_a_stream_that_ends_before_its_answer_does_is_broken(client: str) -> None:
    events = events_of_response(response(OUTPUT, ASKED))
    for count in range(len(events)):
        with pytest.raises(StreamBroken):
            stream(client, events[:count])
    assert stream(client, events)


@clients
def test_a_stream_without_its_first_events_begins_with_what_there_is(client: str) -> None:
    events = events_of_response(response([called(1, "Oslo")], ASKED))
    first = "message_start" if client == "messages" else "chat.completion.chunk"
    for count in range(len(events)):
        told = stream(client, events[count:])
        assert told[0].get("type", told[0].get("object")) == first
        assert told[-1] in ({"type": "message_stop"}, "[DONE]")


@clients
def test_more_items_than_an_answer_may_have_are_refused(client: str) -> None:
    begun, _, added, *_ = events_of_response(response([said(1, "Hi.")], ASKED))
    with pytest.raises(BadAnswer, match="4,096 items"):
        stream(client, [begun, *[{**added, "output_index": number} for number in range(4097)]])


@clients
def test_encrypted_reasoning_without_end_is_the_upstreams_fault(client: str) -> None:
    big = [{**reasoning(number), "encrypted_content": "x" * 3_000_000} for number in range(6)]
    whole = response(big, ASKED)
    events = [event for event in events_of_response(whole) if event["type"].endswith(".done")]
    with pytest.raises(BadAnswer, match="encrypted reasoning"):
        stream(client, [{"type": "response.created", "response": {**whole, "output": []}}, *events])


def test_parameters_of_a_release_that_messages_cannot_say_are_said_where_responses_can() -> None:
    unsaid = {name: msgspec.Raw(raw) for name, raw in (("verbosity", b'"low"'), ("seed", b"1"), ("logit_bias", b"{}"))}
    call = msgspec.structs.replace(call_of("messages", {"model": "m", "messages": []}), unsaid=unsaid)
    translate = find("messages", ["responses"])
    assert translate is not None
    translation = translate(call, False)
    assert json.loads(bytes(translation.call.fields["text"])) == {"verbosity": "low"}
    assert translation.dropped == ("seed",)
    with pytest.raises(RequestRefused, match="'seed'"):
        translate(call, True)


@pytest.mark.parametrize("field", ["signature", "data"])
def test_what_a_model_of_responses_thought_goes_to_nobody_of_anthropics(field: str) -> None:
    kind = "thinking" if field == "signature" else "redacted_thinking"
    sealed = Reasoning("gpt/m", "rs_1", "gAAAA").sealed()
    assert sealed.startswith(OPENAI_SEALED)
    block = {"type": kind, "thinking": "Hm.", field: sealed}
    own = {"type": "thinking", "thinking": "Hm.", "signature": "ErUB"}
    messages = [{"role": "assistant", "content": [block, own, {"type": "text", "text": "Hi."}]}]
    raw = msgspec.Raw(json.dumps(messages).encode())
    assert UNSIGNED.search(raw)
    kept, places = without_unsigned(raw)
    assert places == ("messages[0].content[0]",)
    assert [each["type"] for each in json.loads(bytes(kept))[0]["content"]] == ["thinking", "text"]
    translation = translated("messages", "converse", {"model": "m", "max_tokens": 9, "messages": messages})
    assert translation.dropped == ("messages[0].content[0]",)


@pytest.mark.parametrize(
    ("sealed", "wrong"),
    [("gAAAA", "what came with the answer"), ("tetrad.openai.cut", "cut or changed"), (None, "what came with")],
)
def test_a_chat_client_that_sends_back_something_else_is_told_so(sealed: Any, wrong: str) -> None:
    blocks = [{"type": "reasoning", "encrypted_content": sealed}]
    message = {"role": "assistant", "content": "Hi.", "extra_content": {"openai": {"blocks": blocks}}}
    with pytest.raises(RequestRefused, match=wrong) as caught:
        translated("chat", "responses", {"model": "m", "messages": [message]})
    assert caught.value.param == "messages[0].extra_content.openai.blocks[0].encrypted_content"


RUN = {
    "id": "ctc_1",
    "type": "custom_tool_call",
    "status": "completed",
    "call_id": "c1",
    "name": "shell",
    "input": "ls",
}
RUN_SAID = {"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
CUSTOM = [{"type": "custom", "custom": {"name": "shell"}}]


def test_a_call_of_a_custom_tool_is_told_whole_and_recorded_and_goes_back() -> None:
    translation = made("chat", tools=CUSTOM)
    choice = json.loads(translation.whole(json.dumps(response([RUN], ASKED)).encode()))["choices"][0]
    assert (choice["finish_reason"], choice["message"]["tool_calls"]) == ("tool_calls", [RUN_SAID])
    outcome = translation.outcome(Outcome(finish_reasons=("completed",), output=json.dumps([RUN]).encode()))
    assert outcome.finish_reasons == ("tool_calls",)
    assert json.loads(outcome.output)[0]["tool_calls"] == [RUN_SAID]
    result = {"role": "tool", "tool_call_id": "c1", "content": "a.txt"}
    again = translated("chat", "responses", {"model": "m", "messages": [choice["message"], result]}, strict=True)
    assert json.loads(bytes(again.call.fields["input"])) == [
        {"type": "custom_tool_call", "call_id": "c1", "name": "shell", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "a.txt"},
    ]


@pytest.mark.parametrize("deltas", [[], ["l", "s"]])
def test_a_call_of_a_custom_tool_is_told_in_a_stream(deltas: list[str]) -> None:
    begun = {**response([], ASKED), "status": "in_progress"}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**RUN, "input": ""}},
        *({"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": each} for each in deltas),
        {"type": "response.output_item.done", "output_index": 0, "item": RUN},
        {"type": "response.completed", "response": response([RUN], ASKED)},
    ]
    told = [each["choices"][0] for each in stream("chat", events) if each != "[DONE]" and each["choices"]]
    calls = [call for each in told for call in each["delta"].get("tool_calls", ())]
    assert calls[0] == {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "shell", "input": ""}}
    assert "".join(call["custom"].get("input", "") for call in calls) == "ls"
    assert told[-1]["finish_reason"] == "tool_calls"
