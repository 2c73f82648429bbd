"""Which events of a stream are content, in the words of several protocols."""

from __future__ import annotations

import pytest

from tetrad.serving._first_content import content_of


@pytest.mark.parametrize(
    ("event", "found"),
    [
        ('data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}', "none"),
        ('data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null,"refusal":null}}]}', "none"),
        ('data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}', "none"),
        ('data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}', "some"),
        ('data: {"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}]}', "some"),
        ('data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c"}]}}]}', "some"),
        ('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}', "some"),
        ('data: {"choices":[{"index":0,"text":"Hi"}]}', "some"),
        ('data: {"error":{"message":"no","code":500}}', "error"),
        ('data: {"choices":[{"delta":{"content":"Hi"}}],"error":null}', "some"),
        ("data: [DONE]", "some"),
        (": keep-alive", "none"),
        ("data:", "none"),
        ("data: not json", "some"),
        ('event: message_start\ndata: {"type":"message_start","message":{"id":"m"}}', "none"),
        ('event: ping\ndata: {"type":"ping"}', "none"),
        ('data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}', "none"),
        ('data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}', "some"),
        ('data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}', "some"),
        ('event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "error"),
        ('data: {"type":"response.created","response":{"id":"r"}}', "none"),
        ('data: {"type":"response.output_text.delta","delta":"Hi"}', "some"),
        ('data: {"type":"response.failed","response":{}}', "error"),
    ],
)
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
def test_an_event_is_content_an_error_or_neither(event: str, found: str, end: str) -> None:
    assert content_of((event.replace("\n", end[: len(end) // 2]) + end).encode()) == found


def test_the_first_event_that_says_something_decides() -> None:
    role = b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'
    word = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    error = b'data: {"error":{"message":"no"}}\n\n'
    assert content_of(role + word + error) == "some"
    assert content_of(role + error + word) == "error"
