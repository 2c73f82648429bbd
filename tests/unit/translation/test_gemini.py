"""Chat completions and messages in Google's words, and back: nothing lost in silence, nothing that Gemini refuses."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.translation import data_of, events_of, translated
from tetrad.kernel import TetradError
from tetrad.serving import RequestRefused
from tetrad.serving.errors import BadAnswer
from tetrad.serving.translation._saying import Losses
from tetrad.serving.translation.chat_to_gemini import UNSIGNED
from tetrad.serving.translation.gemini_schema import MAX_NODES, clean_schema

USER = {"role": "user", "content": "hi"}
ALLOWED = {
    "type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties", "required",
    "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "anyOf", "propertyOrdering", "default",
    "items", "minimum", "maximum",
}  # fmt: skip


def asked(body: dict[str, Any], client: str = "chat") -> tuple[dict[str, Any], tuple[str, ...]]:
    made = translated(client, "gemini", {"model": "gemini-2.5-flash", "messages": [USER], **body})
    return {name: json.loads(bytes(raw)) for name, raw in made.call.fields.items()}, made.dropped


def cleaned(schema: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    losses = Losses(strict=False)
    return clean_schema(schema, losses, "s"), losses.paths


def test_a_request_is_said_in_googles_words() -> None:
    body, dropped = asked(
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CCCC"}},
                ]},
            ],
            "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": "END",
            "presence_penalty": 0.1, "frequency_penalty": 0.2, "reasoning_effort": "low",
        }
    )  # fmt: skip
    assert dropped == ()
    assert body["systemInstruction"] == {"parts": [{"text": "Be kind."}]}
    assert body["contents"] == [
        {"role": "user", "parts": [
            {"text": "What is this?"},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "BBBB"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "CCCC"}},
        ]}
    ]  # fmt: skip
    assert body["generationConfig"] == {
        "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.9, "seed": 3, "stopSequences": ["END"],
        "presencePenalty": 0.1, "frequencyPenalty": 0.2,
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "effort", "wanted"),
    [
        ("gemini-2.5-pro", "none", {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24_576, "includeThoughts": True}),
        ("gemini-3-pro", "high", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-4-argon", "minimal", {"thinkingLevel": "minimal", "includeThoughts": True}),
    ],
)
def test_effort_is_a_budget_before_the_third_generation_and_a_level_since(
    model: str, effort: str, wanted: dict[str, Any]
) -> None:
    body, dropped = asked({"model": model, "reasoning_effort": effort})
    assert (body["generationConfig"]["thinkingConfig"], dropped) == (wanted, ())


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("n", 2, "n"),
        ("logit_bias", {"1": 2}, "logit_bias"),
        ("parallel_tool_calls", False, "parallel_tool_calls"),
        ("logprobs", True, "logprobs"),
        ("user", "u1", "user"),
        ("service_tier", "flex", "service_tier"),
        ("reasoning_effort", "odd", "reasoning_effort"),
        ("unheard_of", 1, "unheard_of"),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}],
         "messages[0].content[0].image_url.url"),
    ],
)  # fmt: skip
def test_what_google_cannot_be_told_is_listed_or_refused_and_never_lost_in_silence(
    field: str, value: Any, path: str
) -> None:
    _, dropped = asked({field: value})
    assert dropped == (path,)
    with pytest.raises(RequestRefused) as caught:
        translated("chat", "gemini", {"model": "g", "messages": [USER], field: value}, strict=True)
    assert caught.value.param == path


SIGNED = {"google": {"thought_signature": "sig+/="}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}


def test_a_tool_loop_keeps_the_signature_of_its_thoughts() -> None:
    history = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "extra_content": SIGNED}, {**CALL, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"degrees": 3}'},
        {"role": "tool", "tool_call_id": "c2", "content": "cold"},
    ]
    body, dropped = asked({"model": "gemini-3-pro", "messages": history})
    assert dropped == ()
    call = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}
    assert body["contents"][1] == {"role": "model", "parts": [{**call, "thoughtSignature": "sig+/="}, call]}
    assert body["contents"][2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "weather", "response": {"degrees": 3}}},
            {"functionResponse": {"name": "weather", "response": {"result": "cold"}}},
        ],
    }


@pytest.mark.parametrize(("model", "signature"), [("gemini-3-flash", UNSIGNED), ("gemini-2.5-pro", None)])
def test_calls_that_another_model_made_are_taken_by_a_generation_that_checks(model: str, signature: str | None) -> None:
    body, _ = asked({"model": model, "messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]})
    assert body["contents"][1]["parts"][0].get("thoughtSignature") == signature


def test_a_signature_goes_through_a_client_of_messages_and_back() -> None:
    history = {"model": "gemini-3-pro", "max_tokens": 50, "messages": [USER]}
    made = translated("messages", "gemini", history)
    parts = [
        {"text": "I should look.", "thought": True},
        {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "sig+/="},
    ]
    answer = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": {}}
    message = json.loads(made.whole(json.dumps(answer).encode()))
    assert message["stop_reason"] == "tool_use"
    use = next(block for block in message["content"] if block["type"] == "tool_use")
    streamed = translated("messages", "gemini", {**history, "stream": True}).events()
    said = streamed.feed(events_of([answer])) + streamed.end()
    blocks = [each["content_block"] for each in data_of(said) if each["type"] == "content_block_start"]
    assert [block["type"] for block in blocks] == [block["type"] for block in message["content"]]
    hidden = [block for block in message["content"] if block["type"] == "redacted_thinking"]
    assert [block for block in blocks if block["type"] == "redacted_thinking"] == hidden
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "cold"}
    later = {**history, "messages": [
        USER, {"role": "assistant", "content": message["content"]}, {"role": "user", "content": [result]},
    ]}  # fmt: skip
    again = translated("messages", "gemini", later)
    contents = json.loads(bytes(again.call.fields["contents"]))
    assert contents[1]["parts"][-1]["thoughtSignature"] == "sig+/="
    to_openai = translated("messages", "chat", later)
    assert b"sig+" not in bytes(to_openai.call.fields["messages"]), "only Google gets what Google signed"


def test_tools_that_users_complained_of_are_said_in_geminis_subset() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "$defs": {"unit": {"type": "string", "enum": ["C", "F"]}, "tree": {
            "type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}},
        "properties": {
            "unit": {"$ref": "#/$defs/unit", "description": "The unit."},
            "kind": {"const": "weather"},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "either": {"oneOf": [{"type": "string", "format": "uuid"}, {"type": "integer", "exclusiveMinimum": 0}]},
            "some": {"type": ["string", "null"]},
            "mixed": {"type": ["string", "array"], "items": {"type": "string"}},
            "level": {"type": "integer", "enum": [1, 2]},
            "list": {"type": "array"},
            "tree": {"$ref": "#/$defs/tree"},
        },
        "required": ["unit", "gone"],
    }  # fmt: skip
    said, lost = cleaned(schema)
    properties = said["properties"]
    assert said["required"] == ["unit"]
    assert properties["unit"] == {"type": "string", "format": "enum", "enum": ["C", "F"], "description": "The unit."}
    assert properties["kind"] == {"type": "string", "format": "enum", "enum": ["weather"]}
    assert properties["maybe"] == {"type": "integer", "nullable": True}
    assert properties["either"] == {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 1}]}
    assert properties["some"] == {"type": "string", "nullable": True}
    assert properties["mixed"] == {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    assert properties["level"] == {"type": "integer", "description": "One of: 1, 2."}
    assert properties["list"] == {"type": "array", "items": {"type": "string"}}
    assert properties["tree"]["properties"]["kids"]["items"] == {"type": "object"}
    assert set(lost) == {
        "s.properties.either.oneOf[0].format",
        "s.properties.level.enum",
        "s.properties.list.items",
        "s.properties.tree.properties.kids.items.$ref",
    }


JSON_SCHEMAS = st.recursive(
    st.fixed_dictionaries({}, optional={
        "type": st.sampled_from(["string", "integer", "boolean", ["string", "null"], ["integer", "string"], "null"]),
        "enum": st.lists(st.one_of(st.text(max_size=3), st.integers(), st.none(), st.booleans()), min_size=1),
        "const": st.one_of(st.text(max_size=3), st.integers(), st.none()),
        "format": st.sampled_from(["uuid", "date-time", "int32"]),
        "exclusiveMinimum": st.integers(),
        "$ref": st.sampled_from(["#", "#/$defs/a", "other.json"]),
    }),
    lambda inner: st.fixed_dictionaries({}, optional={
        "type": st.sampled_from(["object", "array", ["object", "null"]]),
        "properties": st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
        "items": inner, "prefixItems": st.lists(inner, min_size=1, max_size=2),
        "anyOf": st.lists(inner, min_size=1, max_size=3), "oneOf": st.lists(inner, min_size=1, max_size=2),
        "allOf": st.lists(inner, min_size=1, max_size=2),
        "additionalProperties": st.one_of(st.booleans(), inner), "not": inner,
        "required": st.lists(st.text("abc", min_size=1, max_size=2), max_size=2),
    }),
    max_leaves=8,
)  # fmt: skip


@given(JSON_SCHEMAS, JSON_SCHEMAS)
def test_no_schema_leaves_anything_in_it_that_gemini_refuses(schema: dict[str, Any], part: dict[str, Any]) -> None:
    said, _ = cleaned({**schema, "$defs": {"a": part}})
    rest = [said]
    while rest:
        each = rest.pop()
        assert set(each) <= ALLOWED
        assert "anyOf" not in each or set(each) == {"anyOf"}
        assert "enum" not in each or (each["type"] == "string" and all(isinstance(v, str) for v in each["enum"]))
        assert each.get("type") != "array" or "items" in each
        assert isinstance(each.get("type", "x"), str)
        assert set(each.get("required", ())) <= set(each.get("properties", ()))
        rest += [*each.get("properties", {}).values(), *each.get("anyOf", ())]
        rest += [each["items"]] if "items" in each else []


def test_a_schema_that_explodes_is_refused_in_time() -> None:
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for number in range(1, 40):
        ref = {"$ref": f"#/$defs/d{number - 1}"}
        defs[f"d{number}"] = {"type": "object", "properties": dict.fromkeys("abcd", ref)}
    with pytest.raises(RequestRefused, match=f"{MAX_NODES:,}"):
        cleaned({"$defs": defs, "$ref": "#/$defs/d39"})


def test_a_tool_without_parameters_and_choices_of_tools_are_said() -> None:
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
    body, _ = asked({"tools": tools, "tool_choice": "required"})
    assert body["tools"] == [{"functionDeclarations": [{"name": "now"}]}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    body, _ = asked({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "now"}}})
    assert body["toolConfig"]["functionCallingConfig"] == {"mode": "ANY", "allowedFunctionNames": ["now"]}


@pytest.mark.parametrize(
    ("reason", "wanted"), [("SAFETY", "content_filter"), ("RECITATION", "content_filter"), ("MAX_TOKENS", "length")]
)
def test_reasons_are_told_in_the_clients_words(reason: str, wanted: str) -> None:
    made = translated("chat", "gemini", {"model": "g", "messages": [USER]})
    answer = {"candidates": [{"content": {"parts": []}, "finishReason": reason}]}
    choice = json.loads(made.whole(json.dumps(answer).encode()))["choices"][0]
    assert choice["finish_reason"] == wanted
    assert ("refusal" in choice["message"]) is (wanted == "content_filter")


def test_a_blocked_prompt_is_a_filters_answer_and_a_malformed_call_can_be_tried_again() -> None:
    made = translated("chat", "gemini", {"model": "g", "messages": [USER]})
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}}
    said = json.loads(made.whole(json.dumps(blocked).encode()))
    assert said["choices"][0]["finish_reason"] == "content_filter"
    assert "PROHIBITED_CONTENT" in said["choices"][0]["message"]["refusal"]
    assert said["usage"]["prompt_tokens"] == 3
    with pytest.raises(BadAnswer):
        made.whole(b'{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}')


def test_counts_are_said_and_read() -> None:
    made = translated("count_tokens", "gemini_count", {"model": "g", "messages": [USER], "system": "Be kind."})
    asked_for = json.loads(bytes(made.call.fields["generateContentRequest"]))
    assert asked_for == {
        "model": "models/g", "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
    }  # fmt: skip
    assert json.loads(made.whole(b'{"totalTokens":7}')) == {"input_tokens": 7}


@given(st.binary(max_size=200))
def test_no_bytes_of_an_upstream_are_a_traceback(data: bytes) -> None:
    made = translated("chat", "gemini", {"model": "g", "messages": [USER], "stream": True})
    made.error(500, data)
    for attempt in (lambda: made.whole(data), lambda: made.events().feed(b"data: " + data + b"\n\n")):
        with contextlib.suppress(TetradError):
            attempt()
