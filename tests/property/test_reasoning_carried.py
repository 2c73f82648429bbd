"""Whatever a model of Responses thinks, says and calls goes through clients of other protocols and comes back equal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fake_responses import events_of_response, response
from support.translation import data_of, events_of, gathered, translated
from tetrad.serving import RequestRefused
from tetrad.serving.translation import Translation
from tetrad.serving.translation.openai_signatures import Reasoning, open_reasoning

USER = {"role": "user", "content": "x"}
ASKED = {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}, "model": "m"}
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
thoughts = st.builds(
    lambda summary, sealed: {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": each} for each in summary],
        "encrypted_content": sealed,
    },
    st.lists(texts, max_size=3),
    texts,
)
said = st.builds(
    lambda parts: {"type": "message", "role": "assistant", "content": [
        {"type": "output_text", "text": each, "annotations": []} for each in parts]},
    st.lists(texts, min_size=1, max_size=2),
)  # fmt: skip
uses = st.builds(
    lambda city: {"type": "function_call", "name": "weather", "arguments": json.dumps({"city": city})}, texts
)


@st.composite
def answers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Items in any order, of which the last is no thought, as in every whole answer."""
    items = [*draw(st.lists(thoughts | said | uses, max_size=8)), draw(said | uses)]
    for number, item in enumerate(items):
        item["id"] = f"{item['type'][:2]}_{number}"
        if item["type"] == "function_call":
            item["call_id"] = f"call_{number}"
    return items


def shape(items: list[dict[str, Any]], *, texts_first: bool = False) -> list[Any]:
    """Return what has to come back; texts that follow each other are one.

    Between two thoughts, chat completions know texts and calls apart, and not their order.
    """
    found: list[tuple[str, Any]] = []
    for item in items:
        if item["type"] == "reasoning":
            found.append(("reasoning", (item["id"], item["summary"], item["encrypted_content"])))
        elif item["type"] == "function_call":
            found.append(("call", (item["call_id"], item["name"], json.loads(item["arguments"]))))
        else:
            found.append(("_text", "".join(part["text"] for part in item["content"])))
    if texts_first:
        parts: list[list[tuple[str, Any]]] = [[]]
        for each in found:
            if each[0] == "reasoning":
                parts += [[each], []]
            else:
                parts[-1].append(each)
        found = [each for part in parts for each in sorted(part, key=lambda each: each[0])]
    joined: list[Any] = []
    for kind, value in found:
        if kind == "_text" and joined and joined[-1][0] == "_text":
            joined[-1] = (kind, joined[-1][1] + value)
        else:
            joined.append((kind, value))
    return joined


def back(client: str, message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the items that the upstream gets for a message that a client sends back; strictly."""
    translation = translated(client, "responses", {"model": "m", "messages": [USER, message]}, strict=True)
    assert translation.dropped == ()
    items: list[dict[str, Any]] = json.loads(bytes(translation.call.fields["input"]))[1:]
    return items


def asked(client: str, *, stream: bool = False) -> Translation:
    return translated(client, "responses", {"model": "m", "messages": [], "stream": stream})


def torn(client: str, items: list[dict[str, Any]], size: int) -> list[Any]:
    events, data = asked(client, stream=True).events(), events_of(events_of_response(response(items, ASKED)))
    told = b"".join(events.feed(data[at : at + size]) for at in range(0, len(data), size)) + events.end()
    assert events.done
    return data_of(told)


@given(answers())
def test_a_whole_answer_comes_back_through_messages(items: list[dict[str, Any]]) -> None:
    told = json.loads(asked("messages").whole(json.dumps(response(items, ASKED)).encode()))
    assert shape(back("messages", {"role": "assistant", "content": told["content"]})) == shape(items)


@given(answers(), st.integers(1, 60))
def test_a_streamed_answer_comes_back_through_messages(items: list[dict[str, Any]], size: int) -> None:
    content = gathered(torn("messages", items, size))["content"]
    assert shape(back("messages", {"role": "assistant", "content": content})) == shape(items)


@given(answers())
def test_a_whole_answer_comes_back_through_chat(items: list[dict[str, Any]]) -> None:
    told = json.loads(asked("chat").whole(json.dumps(response(items, ASKED)).encode()))
    message = told["choices"][0]["message"]
    assert shape(back("chat", message)) == shape(items, texts_first=True)


@given(answers(), st.integers(1, 60))
def test_a_streamed_answer_comes_back_through_chat(items: list[dict[str, Any]], size: int) -> None:
    message: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in torn("chat", items, size):
        delta = chunk["choices"][0]["delta"] if isinstance(chunk, dict) and chunk["choices"] else {}
        for name in ("content", "reasoning_content"):
            message[name] += delta.get(name) or ""
        message.update({name: delta[name] for name in ("extra_content",) if name in delta})
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                message["tool_calls"].append({**call, "function": dict(call["function"])})
            else:
                message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    assert shape(back("chat", message)) == shape(items, texts_first=True)


@given(texts, texts, st.lists(texts, max_size=3), st.booleans(), st.integers(0, 200))
def test_what_is_sealed_is_opened_as_it_was_or_not_at_all(
    maker: str, content: str, parts: list[str], aloud: bool, at: int
) -> None:
    thought = Reasoning(maker, "rs_1", content, tuple(map(len, parts)), aloud)
    sealed = thought.sealed()
    assert open_reasoning(sealed, "x") == thought
    item = thought.item(thought.between.join(parts))
    assert [each["text"] for each in item["content" if aloud else "summary"]] == parts
    cut = sealed[: at % len(sealed)] + sealed[at % len(sealed) + 1 :]
    with pytest.raises(RequestRefused, match="cut or changed"):
        open_reasoning(cut, "x")
