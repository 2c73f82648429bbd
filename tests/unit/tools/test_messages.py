"""Messages and events of MCP, read as strictly as they have to be judged."""

from __future__ import annotations

import json

import msgspec
import pytest

from tetrad.kernel import Overloaded
from tetrad.tools import BadMessage, Event, EventReader, ServerBroken, error_message, read_message, same_id


def test_requests_notifications_and_responses_are_told_apart() -> None:
    request = read_message(b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x"},"more":1}')
    assert (request.kind, request.method, request.text("name")) == ("request", "tools/call", "x")
    assert json.loads(request.encoded()) == {
        "jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "x"}
    }  # fmt: skip
    assert read_message(b'{"jsonrpc":"2.0","method":"notifications/x"}').kind == "notification"
    assert read_message(b'{"jsonrpc":"2.0","id":1,"result":{}}').kind == "response"
    assert read_message(b'{"jsonrpc":"2.0","id":null,"error":{"code":1}}').kind == "response"


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"x","result":{}}',
        b'{"jsonrpc":"2.0","id":true,"method":"x"}',
        b'{"jsonrpc":"1.0","id":1,"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":""}',
        b"null",
    ],
)
def test_what_is_two_things_or_none_is_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        read_message(body)


def test_an_id_is_compared_by_type_and_value() -> None:
    def raw(text: bytes) -> msgspec.Raw:
        return msgspec.Raw(text)

    assert same_id(raw(b"1"), raw(b"1"))
    assert same_id(raw(b'"\\u0061"'), raw(b'"a"'))
    assert not same_id(raw(b"1"), raw(b'"1"'))
    assert not same_id(raw(b""), raw(b""))


def test_an_error_says_what_to_do_next() -> None:
    told = json.loads(error_message(Overloaded("too much", hint="wait"), msgspec.Raw(b"7")))
    assert told["id"] == 7
    assert told["error"] == {"code": -32600, "message": "too much (wait)", "data": {"code": "overloaded"}}


def test_events_are_read_as_the_standard_says() -> None:
    reader = EventReader(1000)
    events = list(
        reader.feed(b":hi\r\n\r\nid: 7\rretry: 500\rdata: a\rdata: b\r\revent: message\ndata:c\n\ndata: open")
    )
    assert events == [Event(), Event(b"a\nb", b"7", b"500"), Event(b"c", name=b"message")]
    assert list(reader.feed(b"\n\n")) == [Event(b"open")]
    assert Event(b"a\nb", b"7").encoded() == b"event: message\nid: 7\ndata: a\ndata: b\n\n"
    assert Event().encoded() == b":\n\n"


def test_an_event_without_an_end_is_refused_at_its_bound() -> None:
    reader = EventReader(100)
    for _ in range(14):
        assert not list(reader.feed(b"data: x"))
    with pytest.raises(ServerBroken, match="100 bytes"):
        list(reader.feed(b"data: x"))
    reader = EventReader(100)
    with pytest.raises(ServerBroken):
        list(reader.feed(b"data: x\n" * 50))
