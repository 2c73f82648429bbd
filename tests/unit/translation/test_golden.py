"""Requests, answers and streams as the public API references of both protocols describe them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.translation import call_of, data_of, events_of, translated
from tetrad.serving import OPERATIONS, RequestRefused

FOLDER = Path(__file__).parents[2] / "golden" / "translation"
NAMED = {operation.name: operation for operation in OPERATIONS}


def cases(name: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{case.get('client', name)}: {case['name']}")
        for case in json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    ]


@pytest.mark.parametrize("case", cases("chat_to_messages"))
def test_a_chat_request_in_anthropics_words(case: dict[str, Any]) -> None:
    check(case, "chat", "messages")


@pytest.mark.parametrize("case", cases("messages_to_chat"))
def test_a_message_request_in_openais_words(case: dict[str, Any]) -> None:
    check(case, "messages", "chat")


@pytest.mark.parametrize("case", cases("chat_to_responses"))
def test_a_chat_request_in_the_words_of_responses(case: dict[str, Any]) -> None:
    check(case, "chat", "responses")


@pytest.mark.parametrize("case", cases("messages_to_responses"))
def test_a_message_request_in_the_words_of_responses(case: dict[str, Any]) -> None:
    check(case, "messages", "responses")


def check(case: dict[str, Any], client: str, upstream: str) -> None:
    translation = translated(client, upstream, case["request"])
    sent = {name: json.loads(bytes(raw)) for name, raw in translation.call.fields.items()}
    assert sent == case["sent"]
    assert list(translation.dropped) == case["dropped"]
    assert translation.call.operation is NAMED[upstream]
    if case["dropped"]:
        with pytest.raises(RequestRefused) as caught:
            translated(client, upstream, case["request"], strict=True)
        assert caught.value.param == case["dropped"][0]
        assert (caught.value.code, caught.value.status) == ("cannot_translate", 400)
    else:
        assert translated(client, upstream, case["request"], strict=True).call.fields == translation.call.fields


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("role", ["wizard", "", None, 5, ["user"], {"role": "user"}])
@pytest.mark.parametrize("upstream", ["messages", "gemini", "responses"])
def test_a_message_whose_role_is_none_is_refused_and_never_left_out(upstream: str, role: Any, strict: bool) -> None:
    said = [{"role": "user", "content": "hi"}, {"role": role, "content": "Never say a price."}]
    with pytest.raises(RequestRefused) as caught:
        translated("chat", upstream, {"model": "m", "messages": said}, strict=strict)
    assert (caught.value.code, caught.value.param) == ("bad_field", "messages[1].role")


@pytest.mark.parametrize("upstream", ["messages", "gemini", "responses"])
def test_a_message_of_a_role_of_old_is_named_where_it_is_left_out_and_refused_where_nothing_may_be(
    upstream: str,
) -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "function", "name": "f", "content": "x"}]
    assert translated("chat", upstream, {"model": "m", "messages": said}).dropped == ("messages[1]",)
    with pytest.raises(RequestRefused) as caught:
        translated("chat", upstream, {"model": "m", "messages": said}, strict=True)
    assert (caught.value.code, caught.value.param) == ("cannot_translate", "messages[1]")


@pytest.mark.parametrize("case", cases("answers"))
def test_an_answer_in_the_clients_words(case: dict[str, Any]) -> None:
    translation = translated(case["client"], case["upstream"], {"model": "m", "messages": []})
    told = json.loads(translation.whole(msgspec.json.encode(case["answer"])))
    wanted = case["told"]
    if "created" in told:
        told["created"] = wanted["created"]
    assert told == wanted


@pytest.mark.parametrize("case", cases("streams"))
def test_a_stream_in_the_clients_words(case: dict[str, Any]) -> None:
    raw = events_of(case["events"])
    request = {"model": "m", "messages": [], "stream": True}
    whole = stream(case, request, [raw])
    assert [plain(item) for item in data_of(whole)] == [plain(item) for item in case["told"]]
    wanted = without_time(whole)
    for cut in range(1, len(raw)):
        said = stream(case, request, [raw[:cut], raw[cut:]])
        assert said == whole or without_time(said) == wanted
    assert without_time(stream(case, request, [raw[i : i + 1] for i in range(len(raw))])) == wanted
    carriage = raw.replace(b"\n", b"\r\n")
    pieces = [carriage[i : i + 1] for i in range(len(carriage))]
    assert without_time(stream(case, request, pieces)) == wanted


def stream(case: dict[str, Any], request: dict[str, Any], pieces: list[bytes]) -> bytes:
    translation = translated(case["client"], case["upstream"], request, usage_asked=case.get("usage_asked", False))
    events = translation.events()
    said = b"".join(events.feed(piece) for piece in pieces)
    said += events.end()
    assert events.done
    return said


def plain(item: Any) -> Any:
    return {**item, "created": 1} if isinstance(item, dict) and "created" in item else item


def without_time(data: bytes) -> list[Any]:
    return [plain(item) for item in data_of(data)]


def test_the_helpers_read_what_they_write() -> None:
    events = [{"type": "ping"}, "[DONE]"]
    assert data_of(events_of(events)) == events
    assert call_of("chat", {"model": "m"}).operation is NAMED["chat"]
