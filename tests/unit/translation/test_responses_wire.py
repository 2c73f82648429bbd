"""Responses as native upstreams say them: where a stream ends, what a torn one still tells, and noise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tetrad.adapters.providers._responses_wire import ResponsesReader, end_of_response, read_response

ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}


def whole(status: str = "completed", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 1}}
    return {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "status": status,
        "output": [ITEM],
        "usage": usage,
        **more,
    }


def event(kind: str, **more: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind, **more}).encode())


def test_a_whole_response_tells_its_outcome() -> None:
    found = read_response(json.dumps(whole("incomplete", incomplete_details={"reason": "max_output_tokens"})).encode())
    assert (found.response_id, found.response_model, found.finish_reasons) == ("resp_1", "m", ("max_output_tokens",))
    assert found.usage is not None
    assert (found.usage.input, found.usage.output, found.usage.reasoning) == (9, 3, 1)
    assert json.loads(found.output) == [ITEM]
    failed = read_response(json.dumps(whole("failed", error={"code": "boom", "message": "no"})).encode())
    assert (failed.error_type, failed.error_message) == ("boom", "no")


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed", "error"])
def test_a_stream_ends_with_the_event_that_says_so_and_not_where_a_client_wrote_so(kind: str) -> None:
    trap = event("response.created", response=whole(metadata={"type": "response.completed"}))
    said = event("response.output_text.delta", delta='"type":"response.completed"')
    last = event(kind, response=whole())
    assert end_of_response(trap + said) is None
    assert end_of_response(trap + said + last + b"data: [DONE]\n\n") == len(trap + said + last)


def test_a_stream_that_was_left_keeps_what_was_said() -> None:
    reader = ResponsesReader()
    reader.feed(event("response.created", response=whole(output=[])) + event("response.output_text.delta", delta="Hel"))
    assert (reader.id, reader.finish_reasons, reader.usage) == ("resp_1", (), None)
    assert "Hel" in reader.messages.decode()


def test_an_answer_that_is_no_utf_8_is_not_recorded_as_one() -> None:
    said = event("response.completed", response=whole()).replace(b"Hi", b"\x80i")
    assert b"\x80" in said
    reader = ResponsesReader()
    reader.feed(said)
    assert reader.messages == b""
    assert reader.finish_reasons == ("completed",)
