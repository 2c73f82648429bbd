"""Answers whose events were not all kept: whatever is missing is told once, and adds up to the whole answer."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fake_responses import STEPS, events_of_response, response, said
from tetrad.responses._closing import Told

OUTPUTS = [
    *STEPS,
    [said(1, "Hello you, ", "and goodbye."), said(2, "I will not.", kind="refusal")],
    [{"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}}],
    [{"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "run", "input": "print(1)"}],
    [],
]


def whole_of(output: list[dict[str, Any]]) -> dict[str, Any]:
    asked = {"model": "m1", "include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}}
    return response(output, asked)


def after(events: list[dict[str, Any]], output: list[Any]) -> list[dict[str, Any]]:
    """What is told of an answer after these events."""
    return list(Told(json.dumps(event).encode() for event in events).closing(output))


def read(events: list[dict[str, Any]]) -> dict[tuple[Any, ...], str]:
    """Texts as a client puts them together from deltas, which must agree with what their ends say."""
    texts: dict[tuple[Any, ...], str] = {}
    for event in events:
        kind, _, what = event["type"].rpartition(".")
        name = (kind, event.get("output_index"), event.get("content_index", event.get("summary_index")))
        if what == "delta":
            texts[name] = texts.get(name, "") + event["delta"]
        elif what == "done" and name in texts:
            told = next(event[field] for field in ("text", "refusal", "arguments", "input") if field in event)
            assert texts[name] == told
    return texts


def ends(events: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    names = ("output_index", "content_index", "summary_index")
    told = [event for event in events if event["type"].endswith((".added", ".done"))]
    return Counter((event["type"], *(event.get(name) for name in names)) for event in told)


@given(st.sampled_from(OUTPUTS), st.data())
def test_wherever_it_was_cut_the_rest_makes_the_answer_whole(output: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = whole_of(output)
    events = [event for event in events_of_response(whole) if "response" not in event]
    cut = data.draw(st.integers(0, len(events)))
    told = events[:cut] + after(events[:cut], whole["output"])
    assert read(told).items() >= {name: text for name, text in read(events).items() if text}.items()
    assert set(ends(told)) >= set(ends(events))
    assert set(ends(told).values()) <= {1}
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert done == whole["output"]
    assert after(told, whole["output"]) == []


def test_what_begins_only_now_begins_empty() -> None:
    (message,) = [said(1, "Hello.")]
    first, part, delta, *_ = after([], [message])
    assert first["item"] == {**message, "status": "in_progress", "content": []}
    assert part["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert (delta["item_id"], delta["delta"], delta["logprobs"]) == ("msg_1", "Hello.", [])
    (call,) = [item for item in whole_of(STEPS[1])["output"] if item["type"] == "function_call"]
    assert after([], [call])[0]["item"]["arguments"] == ""


def test_a_text_that_was_told_otherwise_is_not_gone_on_with() -> None:
    """Its end says what it is."""
    message = said(1, "Hello.")
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    told = [
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        {"type": "response.output_text.delta", **where, "delta": "Good"},
    ]
    kinds = [event["type"].removeprefix("response.") for event in after(told, [message])]
    assert kinds == ["content_part.added", "output_text.done", "content_part.done", "output_item.done"]


@pytest.mark.parametrize(
    "odd",
    [7, {}, {"type": None}, {"type": "message"}, {"type": "message", "content": [3, {"type": "x"}], "id": 4},
     {"type": "function_call", "arguments": 5, "name": 6}, {"type": "reasoning", "summary": "x", "content": {}}],
)  # fmt: skip
def test_odd_items_and_events_do_no_harm(odd: Any) -> None:
    told = [{"type": "response.output_text.delta", "output_index": "x"}, {"type": 3}, {"type": "delta"}, []]
    found = after(told, [odd, said(1, "Hello.")])  # type: ignore[arg-type]
    assert found[-1] == {"type": "response.output_item.done", "output_index": 1, "item": said(1, "Hello.")}
