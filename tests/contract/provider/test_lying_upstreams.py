"""Upstreams whose status says one thing and whose words another: what a client hears of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from support.raw_server import answering, raw_server
from support.spoken import SECRET
from tetrad.kernel import SystemClock, TetradError, Usage
from tetrad.kit.upstream import Client
from tetrad.serving import CHAT, EMBEDDINGS, MESSAGES, OPERATIONS, Operation, ProviderShelf, Upstream
from tetrad.serving._failures import classify
from tetrad.serving.ports import Answer, ModelCall

MODERATIONS = next(each for each in OPERATIONS if each.name == "moderations")
BOOM = {"error": {"message": "too many at once", "type": "server_error", "code": 529}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "too many at once"}}
GOOGLE = {"error": {"code": 503, "message": "too many at once", "status": "UNAVAILABLE"}}
WORD = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]}
END = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
STARTED = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": []}}
SAID = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}}


def whole(body: Any) -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)


def events(*said: Any, before: bytes = b"", after: bytes = b"") -> bytes:
    data = before + b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in said) + after
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)


def asked(operation: Operation, **fields: Any) -> ModelCall:
    said = {"model": "m", operation.input: [{"role": "user", "content": "hi"}], **fields}
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in said.items()}
    return ModelCall(operation, raw, bool(fields.get("stream")))


async def told(adapter: str, sent: bytes, call: ModelCall) -> tuple[Answer, bytes]:
    async with raw_server(answering(sent)) as server:
        shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=100_000, answer_bytes=1_000_000)
        endpoint = shelf[adapter].endpoint(Upstream("up", server.url + "/v1", adapter=adapter, secret=SECRET))
        try:
            answer = await endpoint.call(call)
            data = b""
            async with asyncio.timeout(10):
                while not answer.done:
                    data += await answer.read()
                data = data or await answer.read()
            answer.close()
            return answer, data
        finally:
            await shelf.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("adapter", "operation", "sent", "status", "kind"),
    [
        ("openai", CHAT, BOOM, 529, "overloaded"),
        ("openai", CHAT, {"error": {"message": "who knows"}}, 502, "unavailable"),
        ("openai", CHAT, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, 502, "rate_limit"),
        ("openai", MESSAGES, BOOM, 529, "overloaded"),
        ("openai", EMBEDDINGS, BOOM, 529, "overloaded"),
        ("openai", MODERATIONS, BOOM, 529, "overloaded"),
        ("mistral", CHAT, BOOM, 529, "overloaded"),
        ("anthropic", MESSAGES, OVERLOADED, 502, "overloaded"),
        ("anthropic", CHAT, OVERLOADED, 502, "overloaded"),
        ("gemini", CHAT, GOOGLE, 502, "unavailable"),
    ],
)
async def test_an_error_that_comes_with_200_is_a_failure_and_says_what_it_said(
    adapter: str, operation: Operation, sent: Any, status: int, kind: str, stream: bool
) -> None:
    call = asked(operation, max_tokens=5, **({"stream": True} if stream and operation.streams else {}))
    answer, data = await told(adapter, whole(sent), call)
    outcome = answer.outcome()
    assert answer.status == status
    assert json.loads(data)["error"]["message"] == sent["error"]["message"]
    assert outcome.error_message == sent["error"]["message"]
    assert classify(answer.status, outcome.error_type, outcome.error_message) == kind


@pytest.mark.parametrize("code", [401, 403])
async def test_a_secret_that_is_refused_with_200_is_our_operators_problem(code: int) -> None:
    sent = whole({"error": {"message": f"the key {SECRET} is not known", "code": code}})
    with pytest.raises(TetradError) as caught:
        await told("openai", sent, asked(CHAT))
    assert caught.value.code == "upstream_credential_refused"
    assert SECRET not in caught.value.message


@pytest.mark.parametrize("operation", [CHAT, MESSAGES, EMBEDDINGS])
@pytest.mark.parametrize("body", [{}, {"choices": []}, {"data": []}, {"error": None}, {"error": "as a text"}])
async def test_an_answer_with_nothing_in_it_is_none(operation: Operation, body: Any) -> None:
    with pytest.raises(TetradError) as caught:
        await told("openai", whole(body), asked(operation, max_tokens=5))
    assert caught.value.code == "upstream_broken"


@pytest.mark.parametrize(
    ("adapter", "operation", "sent"),
    [
        ("openai", CHAT, events()),
        ("openai", CHAT, events(WORD)),
        ("openai", CHAT, events(WORD, after=b'data: {"id": "c", "choices": [{"index": 0, "del')),
        ("openai", MESSAGES, events(WORD)),
        ("anthropic", MESSAGES, events()),
        ("anthropic", MESSAGES, events(STARTED, SAID)),
        ("anthropic", CHAT, events(STARTED, SAID)),
    ],
)
async def test_a_stream_that_ends_well_before_its_answer_does_is_told_to_be_broken_off(
    adapter: str, operation: Operation, sent: bytes
) -> None:
    with pytest.raises(TetradError) as caught:
        await told(adapter, sent, asked(operation, max_tokens=5, stream=True))
    assert caught.value.code == "stream_truncated"


@pytest.mark.parametrize("after", [b"", b"data: [DONE]", b"data: [DONE]\n\n"])
async def test_a_stream_that_told_why_it_ended_needs_no_marker(after: bytes) -> None:
    answer, data = await told("openai", events(WORD, END, after=after), asked(CHAT, stream=True))
    assert answer.outcome().finish_reasons == ("stop",)
    assert not answer.outcome().error_type
    assert b"Hel" in data


@pytest.mark.parametrize(("adapter", "operation"), [("openai", CHAT), ("openai", MESSAGES)])
async def test_a_mark_of_the_byte_order_before_a_stream_takes_nothing_of_it(adapter: str, operation: Operation) -> None:
    sent = events(WORD, END, before=b"\xef\xbb\xbf", after=b"data: [DONE]\n\n")
    answer, data = await told(adapter, sent, asked(operation, max_tokens=5, stream=True))
    assert b"Hel" in data
    assert b"Hel" in answer.outcome().output


@pytest.mark.parametrize(
    ("adapter", "operation", "said"),
    [
        ("openai", CHAT, {"error": {"message": f"no such key: {SECRET}", "code": "x"}}),
        ("openai", MESSAGES, {"error": {"message": f"no such key: {SECRET}", "code": "x"}}),
        ("anthropic", MESSAGES, {"type": "error", "error": {"type": "x", "message": f"no such key: {SECRET}"}}),
        ("anthropic", CHAT, {"type": "error", "error": {"type": "x", "message": f"no such key: {SECRET}"}}),
    ],
)
@pytest.mark.parametrize("ends", [b"\n\n", b""])
async def test_a_secret_is_not_shown_in_a_stream_either(
    adapter: str, operation: Operation, said: Any, ends: bytes
) -> None:
    sent = events(after=b"data: " + json.dumps(said).encode() + ends)
    answer, data = await told(adapter, sent, asked(operation, max_tokens=5, stream=True))
    assert b"no such key: [secret]" in data
    assert SECRET.encode() not in data
    assert SECRET not in answer.outcome().error_message


ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}


@pytest.mark.parametrize("operation", [CHAT, MESSAGES])
async def test_a_whole_answer_to_who_waits_for_a_stream_is_told_as_one(operation: Operation) -> None:
    answer, data = await told("openai", whole(ANSWER), asked(operation, max_tokens=5, stream=True))
    assert answer.stream
    assert not any(name == b"content-type" for name, _ in answer.headers)
    assert data.startswith((b"data: ", b"event: message_start\ndata: "))
    assert b'"Hello"' in data
    assert data.rstrip().endswith((b"data: [DONE]", b'data: {"type":"message_stop"}'))
    assert b"prompt_tokens" not in data  # nobody asked for it
    outcome = answer.outcome()
    assert outcome.usage == Usage(input=12, output=5)
    assert outcome.finish_reasons in (("stop",), ("end_turn",))  # in the words of each protocol
