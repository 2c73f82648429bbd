"""What Google signed goes through clients of Responses and back, and to nobody else."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from support.translation import call_of, events_of
from tetrad.adapters.providers._responses_wire import own_reasoning
from tetrad.serving import RequestRefused
from tetrad.serving.translation import Translation, find

SIGNED = "CsYBAVKhWnq/sig+nature=="
CALL = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": SIGNED}
TEXT = {"text": "I look.", "thoughtSignature": "text-sig"}
USER = {"role": "user", "content": "Weather?"}


def made(said: list[dict[str, Any]], *, upstream: str = "gemini", strict: bool = False) -> Translation:
    translate = find("responses", [upstream])
    assert translate is not None
    return translate(call_of("responses", {"model": "gemini-3-pro", "input": said}), strict)


def piece(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": parts}, **more}], "modelVersion": "g"}


def output_of(parts: list[dict[str, Any]], *, stream: bool) -> list[dict[str, Any]]:
    if not stream:
        found = json.loads(made([USER]).whole(json.dumps(piece(parts, finishReason="STOP")).encode()))
        return list(found["output"])
    events = made([USER]).events()
    data = events.feed(events_of([*(piece([each]) for each in parts), piece([], finishReason="STOP")])) + events.end()
    told = [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]
    output: list[dict[str, Any]] = told[-1]["response"]["output"]
    done = {each["output_index"]: each["item"] for each in told if each["type"] == "response.output_item.done"}
    assert [done[place] for place in sorted(done)] == output
    assert len({each["id"] for each in output}) == len(output)
    return output


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("parts", [[CALL], [TEXT], [TEXT, CALL], [{"text": "Hm.", "thought": True}, TEXT, CALL, CALL]])
def test_signatures_go_through_a_client_and_back(parts: list[dict[str, Any]], stream: bool) -> None:
    output = output_of(parts, stream=stream)
    again = made([USER, *output], strict=True)
    contents = json.loads(bytes(again.call.fields["contents"]))
    assert contents[1]["parts"] == [each for each in parts if not each.get("thought")]


@pytest.mark.parametrize("upstream", ["chat", "mistral", "messages"])
def test_signatures_go_to_nobody_but_google_and_are_named(upstream: str) -> None:
    said = [USER, *output_of([CALL], stream=False)]
    translation = made(said, upstream=upstream)
    sent = b"".join(bytes(raw) for raw in translation.call.fields.values())
    assert SIGNED.encode() not in sent
    if upstream == "chat":
        assert translation.dropped == ("input[1]",)
        with pytest.raises(RequestRefused):
            made(said, upstream=upstream, strict=True)


@pytest.mark.parametrize(
    ("items", "lost"),
    [
        ([{"type": "reasoning", "encrypted_content": "tetrad.google.call.s", "summary": []}, USER], "input[0]"),
        ([USER, {"type": "reasoning", "encrypted_content": "tetrad.google.text.s", "summary": []}], "input[1]"),
        ([USER, {"type": "reasoning", "encrypted_content": "tetrad.google.call.s", "summary": []}], "input[1]"),
        ([USER, {"type": "reasoning", "encrypted_content": "gAAAAB-of-another", "summary": []}], "input[1]"),
        ([USER, {"type": "reasoning", "encrypted_content": 7, "summary": []}], "input[1]"),
    ],
)
def test_a_signature_of_nothing_is_named(items: list[dict[str, Any]], lost: str) -> None:
    assert made(items).dropped == (lost,)


def test_an_upstream_of_responses_gets_its_own_reasoning_only() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAB"}
    foreign = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "tetrad.google.call.s"}
    told = {"role": "user", "content": "is tetrad.google.call a prefix?"}
    call = own_reasoning(call_of("responses", {"model": "gpt", "input": [told, own, foreign]}))
    assert json.loads(bytes(call.fields["input"])) == [told, own]
    assert tuple(call.unsaid) == ("input[2]",)
    text = call_of("responses", {"model": "gpt", "input": "tetrad.google."})
    assert own_reasoning(text) is text
    assert isinstance(call.fields["input"], msgspec.Raw)
