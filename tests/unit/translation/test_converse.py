"""Messages and chat completions in Bedrock's Converse, held to Amazon's own description of its API."""

from __future__ import annotations

import base64
import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from support.translation import data_of, events_of, translated
from tetrad.kernel import Usage
from tetrad.serving import RequestRefused

USER = {"role": "user", "content": "hi"}
MODEL = "amazon.nova-lite-v1:0"
PNG = base64.b64encode(b"png").decode()
EPHEMERAL = {"type": "ephemeral"}
SHAPES = botocore.session.get_session().get_service_model("bedrock-runtime")


def asked(client: str, body: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the request and what was left out of it; it must fit Amazon's own model of the API, to the last name."""
    more = {"max_tokens": 64} if client == "messages" else {}
    made = translated(client, "converse", {"model": MODEL, "messages": [USER], **more, **body})
    said = {name: json.loads(bytes(raw)) for name, raw in made.call.fields.items() if name != "stream"}
    known = {**said, "modelId": said["model"]}
    del known["model"]
    shape = SHAPES.operation_model("Converse").input_shape
    report = ParamValidator().validate(known, shape)
    assert not report.has_errors(), report.generate_report()
    _no_stranger(known, shape)
    return said, made.dropped


def _no_stranger(value: Any, shape: Any) -> None:
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        assert set(value) <= set(shape.members), set(value) - set(shape.members)
        for name, each in value.items():
            _no_stranger(each, shape.members[name])
    elif shape.type_name == "list":
        for each in value:
            _no_stranger(each, shape.member)


HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": [
        {"type": "text", "text": "Look", "cache_control": EPHEMERAL},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "title": "A/B: c?.pdf",
         "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}},
    ]},
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}},
    ]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "cold"}], "is_error": True},
    ]},
    {"role": "user", "content": "And now?"},
]  # fmt: skip
TOOL = {
    "name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}},
    "cache_control": {"type": "ephemeral", "ttl": "1h"},
}  # fmt: skip


def test_a_request_of_messages_is_said_whole() -> None:
    said, dropped = asked("messages", {
        "messages": HISTORY,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": EPHEMERAL}],
        "tools": [TOOL], "tool_choice": {"type": "any"}, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["X"],
        "metadata": {"user_id": "u-1"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    })  # fmt: skip
    assert dropped == ()
    assert said["system"] == [{"text": "Be kind."}, {"cachePoint": {"type": "default"}}]
    assert said["messages"][0]["content"][:2] == [{"text": "Look"}, {"cachePoint": {"type": "default"}}]
    assert said["messages"][0]["content"][3]["document"]["name"] == "A B c pdf"
    assert said["messages"][1]["content"][0] == {
        "reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}
    }
    assert said["messages"][2] == {"role": "user", "content": [
        {"toolResult": {"toolUseId": "t1", "content": [{"text": "cold"}], "status": "error"}}, {"text": "And now?"},
    ]}  # fmt: skip
    assert said["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert said["toolConfig"]["toolChoice"] == {"any": {}}
    assert said["inferenceConfig"] == {"maxTokens": 64, "temperature": 0.5, "topP": 0.9, "stopSequences": ["X"]}


def test_a_mark_for_the_cache_is_never_dropped_whoever_sets_it() -> None:
    for client, system in (
        ("messages", {"system": [{"type": "text", "text": "long", "cache_control": EPHEMERAL}]}),
        ("chat", {"messages": [
            {"role": "system", "content": [{"type": "text", "text": "long", "cache_control": EPHEMERAL}]}, USER]}),
    ):  # fmt: skip
        said, dropped = asked(client, system)
        assert said["system"] == [{"text": "long"}, {"cachePoint": {"type": "default"}}]
        assert dropped == ()
    said, _ = asked("messages", {"cache_control": EPHEMERAL})
    assert said["messages"][-1]["content"][-1] == {"cachePoint": {"type": "default"}}


def test_a_client_of_chat_completions_gets_no_limit_that_it_did_not_set() -> None:
    said, _ = asked("chat", {"temperature": 0.1})
    assert said["inferenceConfig"] == {"temperature": 0.1}
    said, _ = asked("chat", {"max_tokens": 7})
    assert said["inferenceConfig"] == {"maxTokens": 7}


def test_tools_that_are_forbidden_are_not_told_of_where_converse_lets_that_be() -> None:
    said, dropped = asked("chat", {"tool_choice": "none", "tools": [
        {"type": "function", "function": {"name": "weather"}}]})  # fmt: skip
    assert ("toolConfig" in said, dropped) == (False, ())
    said, dropped = asked(
        "messages", {"tools": [{**TOOL, "cache_control": EPHEMERAL}], "tool_choice": {"type": "none"}}
    )
    assert ("toolConfig" in said, dropped) == (False, ("tools[0].cache_control",)), (
        "no mark for the cache is lost unsaid"
    )
    said, dropped = asked("messages", {"messages": HISTORY, "tools": [TOOL], "tool_choice": {"type": "none"}})
    assert said["toolConfig"]["tools"][0]["toolSpec"]["name"] == "weather", "Converse wants those that were used"
    assert dropped == ("tool_choice",), "Converse cannot forbid tools"


def test_thinking_and_effort_go_to_the_models_that_know_them() -> None:
    said, dropped = asked("messages", {"model": "us.anthropic.claude-opus-5", "thinking": {"type": "adaptive"},
                                       "output_config": {"effort": "high"}, "top_k": 5})  # fmt: skip
    assert said["additionalModelRequestFields"] == {
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}, "top_k": 5,
    }  # fmt: skip
    assert dropped == ()
    said, _ = asked("chat", {"model": "openai.gpt-oss-120b-1:0", "reasoning_effort": "low"})
    assert said["additionalModelRequestFields"] == {"reasoning_effort": "low"}
    _, dropped = asked("chat", {"model": "meta.llama", "reasoning_effort": "low"})
    assert dropped == ("reasoning_effort",)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, {"type": "text", "text": "a"}]}]},
         "messages[0].content[0].source"),
        ({"top_k": 5, "model": "meta.llama"}, "top_k"),
        ({"tools": [{"type": "web_search_20260101", "name": "web_search"}]}, "tools[0]"),
        ({"service_tier": "auto"}, "service_tier"),
    ],
)  # fmt: skip
def test_what_converse_cannot_be_told_is_listed_or_refused(body: dict[str, Any], path: str) -> None:
    _, dropped = asked("messages", body)
    assert dropped == (path,)
    with pytest.raises(RequestRefused) as caught:
        translated("messages", "converse", {"model": MODEL, "messages": [USER], "max_tokens": 1, **body}, strict=True)
    assert caught.value.param == path


def test_a_stream_says_usage_after_its_end_and_is_whole_without_it() -> None:
    begun = {"messageStart": {"role": "assistant"}}
    word = {"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}}
    stop = {"messageStop": {"stopReason": "end_turn"}}
    usage = {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2, "cacheReadInputTokens": 1}}}
    for last, wanted in (([stop, usage], (3, 1, 2)), ([stop], (0, 0, 0))):
        events = translated("messages", "converse", {"model": MODEL, "messages": [USER], "stream": True}).events()
        found = data_of(events.feed(events_of([begun, word, *last])) + events.end())
        assert [each["type"] for each in found][-3:] == ["content_block_stop", "message_delta", "message_stop"]
        told = found[-2]["usage"]
        assert (told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"]) == wanted


def test_counts_are_asked_in_amazons_words() -> None:
    made = translated("count_tokens", "converse_count", {"model": MODEL, "messages": [USER], "tools": [TOOL]})
    body = {name: json.loads(bytes(raw)) for name, raw in made.call.fields.items()}
    known = {"modelId": body.pop("model"), **body}
    report = ParamValidator().validate(known, SHAPES.operation_model("CountTokens").input_shape)
    assert not report.has_errors(), report.generate_report()
    assert json.loads(made.whole(b'{"inputTokens":9}')) == {"input_tokens": 9}


def test_usage_is_read_into_disjoint_buckets() -> None:
    from tetrad.serving.translation.converse_answers import ConverseUsage, _Written

    said = ConverseUsage(10, 5, 2, 7, [_Written(4, "5m"), _Written(3, "1h")])
    assert said.usage() == Usage(input=10, cache_read=2, cache_write=4, output=5, cache_write_1h=3)
