"""What Anthropic signed goes through clients of Responses and back to its maker, where it stood, and to nobody else."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from support.translation import call_of, claude_message, claude_stream, data_of
from tetrad.adapters.providers._responses_wire import FOREIGN, own_reasoning
from tetrad.serving import BadAnswer, RequestRefused
from tetrad.serving.ports import Outcome
from tetrad.serving.translation import Translation, find, maker_of, read_thought

MAKER = maker_of("anthropic", "claude-2026")
USER = {"role": "user", "content": "Weather?"}
HM = {"type": "thinking", "thinking": "Hm. Ö 🌧", "signature": "EqoB+sig/one=="}
AHA = {"type": "thinking", "thinking": "Aha.", "signature": "EqoB+sig/two=="}
OMITTED = {"type": "thinking", "thinking": "", "signature": "EqoB+sig/none=="}
HIDDEN = {"type": "redacted_thinking", "data": "b3BhcXVl+/=="}
LOOK = {"type": "text", "text": "I look. 🌦"}
THEN = {"type": "text", "text": "And there."}
OSLO = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
BERGEN = {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Bergen"}}
RESULTS = [
    {"type": "function_call_output", "call_id": "toolu_1", "output": "cold"},
    {"type": "function_call_output", "call_id": "toolu_2", "output": "wet"},
]


def made(
    said: Any, *, upstream: str = "messages", maker: str = MAKER, strict: bool = False, **more: Any
) -> Translation:
    translate = find("responses", [upstream])
    assert translate is not None
    call = call_of("responses", {"model": "claude-2026", "input": said, **more})
    return translate(msgspec.structs.replace(call, maker=maker), strict)


def output_of(content: list[dict[str, Any]], *, stream: bool, upstream: str = "messages") -> list[dict[str, Any]]:
    """Return the items that a client gets of an answer, and check that all events tell of the same."""
    if not stream:
        return list(
            json.loads(made([USER], upstream=upstream).whole(json.dumps(claude_message(content)).encode()))["output"]
        )
    events = made([USER], stream=True).events()
    told = data_of(events.feed(claude_stream(content)) + events.end())
    output: list[dict[str, Any]] = told[-1]["response"]["output"]
    done = {each["output_index"]: each["item"] for each in told if each["type"] == "response.output_item.done"}
    added = [each["item"]["id"] for each in told if each["type"] == "response.output_item.added"]
    assert [done[place] for place in sorted(done)] == output
    assert [item["id"] for item in output] == added
    assert len(set(added)) == len(added)
    return output


def sent(translation: Translation) -> list[dict[str, Any]]:
    return list(json.loads(bytes(translation.call.fields["messages"])))


ANSWERS = [
    [HM, OSLO],
    [HM, LOOK, OSLO, BERGEN],
    [OMITTED, OSLO],
    [HIDDEN, OSLO],
    [HM, HIDDEN, AHA, LOOK, OSLO],
    [HM, AHA, OSLO, BERGEN],
    [LOOK, HM, OSLO],
    [LOOK, HIDDEN, THEN, OMITTED, OSLO],
    [HM, OSLO, AHA, BERGEN],
    [HM, LOOK, OSLO, HIDDEN, THEN, BERGEN],
    [OSLO, HM, THEN, BERGEN],
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content", ANSWERS, ids=lambda content: "-".join(block["type"] for block in content))
def test_thoughts_go_through_a_client_and_back_to_where_they_stood(content: list[dict[str, Any]], stream: bool) -> None:
    calls = {block["id"] for block in content if block["type"] == "tool_use"}
    results = [result for result in RESULTS if result["call_id"] in calls]
    again = made([USER, *output_of(content, stream=stream), *results], strict=True)
    said = sent(again)
    assert [each["role"] for each in said] == ["user", "assistant", "user"]
    assert said[1]["content"] == content
    assert again.dropped == ()


@pytest.mark.parametrize("stream", [False, True])
def test_people_see_what_was_thought_in_items_of_their_own(stream: bool) -> None:
    output = output_of([HM, HIDDEN, AHA, LOOK, OSLO], stream=stream)
    assert [item["type"] for item in output] == ["reasoning", "reasoning", "reasoning", "message", "function_call"]
    texts = ["".join(part["text"] for part in item["content"]) for item in output[:3]]
    assert texts == [HM["thinking"], "", AHA["thinking"]]
    assert all(item["status"] == "completed" for item in output)


def test_a_client_that_keeps_nothing_but_what_is_sealed_loses_nothing() -> None:
    """As Codex and the AI SDK do."""
    output = output_of([HM, OSLO], stream=True)
    bare = {"type": "reasoning", "summary": [], "encrypted_content": output[0]["encrypted_content"]}
    assert sent(made([USER, bare, output[1], RESULTS[0]], strict=True))[1]["content"] == [HM, OSLO]


def test_each_turn_of_a_loop_keeps_its_own_thoughts() -> None:
    first, second = output_of([HM, OSLO], stream=False), output_of([AHA, BERGEN], stream=False)
    said = sent(made([USER, *first, RESULTS[0], *second, RESULTS[1]], strict=True))
    assert [each["content"] for each in said if each["role"] == "assistant"] == [[HM, OSLO], [AHA, BERGEN]]


def test_a_text_that_follows_a_call_is_a_message_of_its_own() -> None:
    said = sent(made([USER, *output_of([HM, OSLO, THEN, BERGEN], stream=True), *RESULTS], strict=True))
    assert [each["content"] for each in said[1:3]] == [[HM, OSLO], [THEN, BERGEN]]


def test_refusals_count_among_the_texts_that_come_before_a_thought() -> None:
    refused = {"type": "message", "role": "assistant", "content": [
        {"type": "refusal", "refusal": "No."}, {"type": "output_text", "text": " But this:"}]}  # fmt: skip
    sealed = output_of([HM, OSLO], stream=False)
    said = sent(made([USER, refused, *sealed, RESULTS[0]], strict=True))[1]["content"]
    assert said == [{"type": "text", "text": "No."}, {"type": "text", "text": " But this:"}, HM, OSLO]


def test_an_answer_without_signatures_has_nothing_to_send_back() -> None:
    unsigned = {**HM, "signature": ""}
    for stream in (False, True):
        output = output_of([unsigned, AHA, OSLO], stream=stream)
        assert "encrypted_content" not in output[0]
        again = made([USER, *output, RESULTS[0]])
        assert sent(again)[1]["content"] == [AHA, OSLO]
        assert again.dropped == ("input[1]",)


def test_what_is_recorded_of_an_answer_has_the_same_items() -> None:
    translation = made([USER])
    output = json.dumps([{"role": "assistant", "content": [HM, LOOK, OSLO]}]).encode()
    items = json.loads(translation.outcome(Outcome(output=output)).output)
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call"]


def test_bedrocks_converse_keeps_them_too() -> None:
    answer = {"output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s1"}}},
        {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
        {"toolUse": {"toolUseId": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}},
    ]}}, "stopReason": "tool_use", "usage": {"inputTokens": 1, "outputTokens": 1}}  # fmt: skip
    output = json.loads(made([USER], upstream="converse").whole(json.dumps(answer).encode()))["output"]
    again = made([USER, *output, RESULTS[0]], upstream="converse", strict=True)
    assert sent(again)[1]["content"] == answer["output"]["message"]["content"]  # type: ignore[index]


# to nobody else, and whole or not at all


@pytest.mark.parametrize("upstream", ["chat", "gemini", "mistral"])
def test_they_go_to_nobody_who_speaks_another_protocol_and_are_named(upstream: str) -> None:
    output = output_of([HIDDEN, OSLO], stream=False)
    translation = made([USER, *output, RESULTS[0]], upstream=upstream)
    body = b"".join(bytes(raw) for raw in translation.call.fields.values())
    assert output[0]["encrypted_content"].encode() not in body
    assert translation.dropped == ("input[1]",)
    with pytest.raises(RequestRefused) as caught:
        made([USER, *output, RESULTS[0]], upstream=upstream, strict=True)
    assert (caught.value.code, caught.value.param) == ("cannot_translate", "input[1]")


@pytest.mark.parametrize("upstream", ["messages", "converse"])
@pytest.mark.parametrize("maker", [maker_of("deepseek", "claude-2026"), maker_of("anthropic", "claude-2027")])
def test_they_go_to_no_other_provider_or_model_of_the_same_protocol(upstream: str, maker: str) -> None:
    items = [USER, *output_of([HM, OSLO], stream=False), RESULTS[0]]
    translation = made(items, upstream=upstream, maker=maker)
    assert b"EqoB" not in bytes(translation.call.fields["messages"])
    assert translation.dropped == ("input[1]",)
    with pytest.raises(RequestRefused):
        made(items, upstream=upstream, maker=maker, strict=True)


def test_what_google_or_openai_sealed_does_not_go_to_anthropic_and_is_named() -> None:
    for sealed in ("tetrad.google.call.s", "gAAAAB-of-openai", 7, None):
        item = {"type": "reasoning", "summary": [], "encrypted_content": sealed}
        assert made([USER, item, {"role": "assistant", "content": "Hi."}, USER]).dropped == ("input[1]",)


@pytest.mark.parametrize("turn", [[], [{"role": "user", "content": "and?"}], [RESULTS[0]]])
def test_a_thought_that_nothing_followed_is_named(turn: list[dict[str, Any]]) -> None:
    sealed = output_of([HM, OSLO], stream=False)[0]
    translation = made([USER, sealed, *turn])
    assert translation.dropped == ("input[1]",)
    assert all(each["role"] == "user" for each in sent(translation))


def _mangled() -> list[str]:
    good = output_of([HM, OSLO], stream=False)[0]["encrypted_content"]
    prefix, digest, body = good.rsplit(".", 2)
    other = base64.urlsafe_b64encode(b'{"maker":"anthropic/claude-2026","type":"thinking"}').decode()
    return [good[:-1], good[:-8], good + "AAAA", f"{prefix}.{digest}.{body.swapcase()}", f"{prefix}.{digest}.{other}",
            f"{prefix}.{digest[::-1]}.{body}", "tetrad.anthropic.", "tetrad.anthropic..", "tetrad.anthropic.x.ÿ",
            "tetrad.anthropic.e3b0c44298fc1c14."]  # fmt: skip


@pytest.mark.parametrize("number", range(10))
def test_what_was_cut_or_changed_on_the_way_is_refused_with_its_place(number: int) -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": _mangled()[number]}
    for strict in (False, True):
        with pytest.raises(RequestRefused, match="cut or changed") as caught:
            made([USER, item, {"role": "assistant", "content": "Hi."}], strict=strict)
        assert (caught.value.status, caught.value.code) == (400, "bad_field")
        assert caught.value.param == "input[1].encrypted_content"


def test_what_is_sealed_names_its_maker_and_holds_the_whole_block() -> None:
    thought = read_thought(output_of([HM, OSLO], stream=False)[0]["encrypted_content"])
    assert thought is not None
    assert (thought.maker, thought.block()) == (MAKER, HM)


def test_a_turn_holds_no_more_thoughts_than_an_answer_can() -> None:
    sealed = output_of([HM, OSLO], stream=False)
    assert made([USER, *[sealed[0]] * 1024, sealed[1], RESULTS[0]]).dropped == ()
    with pytest.raises(RequestRefused, match="too many"):
        made([USER, *[sealed[0]] * 1025, sealed[1], RESULTS[0]])


def test_an_upstream_of_responses_gets_its_own_reasoning_only() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAB"}
    foreign = output_of([HM, OSLO], stream=False)[0]
    call = call_of("responses", {"model": "gpt", "input": [own, foreign, USER]})
    assert FOREIGN.search(call.fields["input"])
    kept = own_reasoning(call)
    assert json.loads(bytes(kept.fields["input"])) == [own, USER]
    assert tuple(kept.unsaid) == ("input[1]",)


def test_signatures_without_end_are_the_upstreams_fault() -> None:
    huge = {**HM, "signature": "x" * (5 * 1024 * 1024)}
    with pytest.raises(BadAnswer):
        output_of([huge, OSLO], stream=False)


def test_a_plain_chat_upstream_says_what_it_likes_in_the_same_place() -> None:
    extra = {"anthropic": {"signature": "s", "blocks": "none of ours"}}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi.", "extra_content": extra}}
    answer = json.loads(made([USER], upstream="chat").whole(json.dumps({"choices": [choice]}).encode()))
    assert [item["type"] for item in answer["output"]] == ["message"]


# chat completions have a place of their own for them


def chatted(content: list[dict[str, Any]], *, stream: bool) -> dict[str, Any]:
    """Return the message that a client of chat completions puts together."""
    translate = find("chat", ["messages"])
    assert translate is not None
    translation = translate(call_of("chat", {"model": "c", "messages": [USER], "stream": stream}), False)
    if not stream:
        return dict(
            json.loads(translation.whole(json.dumps(claude_message(content)).encode()))["choices"][0]["message"]
        )
    events = translation.events()
    said: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in data_of(events.feed(claude_stream(content)) + events.end()):
        if chunk == "[DONE]":
            continue
        delta = chunk["choices"][0]["delta"]
        said["content"] += delta.get("content") or ""
        said["reasoning_content"] += delta.get("reasoning_content") or ""
        if "extra_content" in delta:
            said["extra_content"] = delta["extra_content"]
        for call in delta.get("tool_calls", ()):
            if call["index"] == len(said["tool_calls"]):
                said["tool_calls"].append(call)
            else:
                said["tool_calls"][-1]["function"]["arguments"] += call["function"]["arguments"]
    return said


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content", ANSWERS, ids=lambda content: "-".join(block["type"] for block in content))
def test_a_chat_client_that_sends_its_message_back_keeps_every_thought_where_it_stood(
    content: list[dict[str, Any]], stream: bool
) -> None:
    translate = find("chat", ["messages"])
    assert translate is not None
    messages = [USER, chatted(content, stream=stream)]
    assert sent(translate(call_of("chat", {"model": "c", "messages": messages}), True))[1]["content"] == content


def test_a_chat_client_that_shortened_its_message_loses_no_thought() -> None:
    translate = find("chat", ["messages"])
    assert translate is not None
    said = {**chatted([LOOK, HM, OSLO], stream=False), "content": "I"}
    messages = [USER, said]
    content = sent(translate(call_of("chat", {"model": "c", "messages": messages}), True))[1]["content"]
    assert content == [{"type": "text", "text": "I"}, HM, OSLO]


@pytest.mark.parametrize("name", ["chars", "after_chars", "after_calls"])
@pytest.mark.parametrize("count", [-1, "3", True, 1.5, None])
def test_a_place_that_is_no_number_is_refused(name: str, count: Any) -> None:
    translate = find("chat", ["messages"])
    assert translate is not None
    block = {"type": "thinking", "chars": 1, "signature": "s", name: count}
    said = {"role": "assistant", "content": "Hi", "reasoning_content": "x",
            "extra_content": {"anthropic": {"blocks": [block]}}}  # fmt: skip
    with pytest.raises(RequestRefused) as caught:
        translate(call_of("chat", {"model": "c", "messages": [USER, said]}), False)
    assert caught.value.param == f"messages[1].extra_content.anthropic.blocks[0].{name}"
