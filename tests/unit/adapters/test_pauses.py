"""However long a pause an upstream asks for, and in whatever words, clients are told one that ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from support.raw_server import answering, raw_server
from tetrad.adapters.providers._answers import LONGEST_PAUSE_S, sane
from tetrad.kernel import SystemClock
from tetrad.kit.upstream import Client
from tetrad.serving import CHAT, ProviderShelf, Upstream
from tetrad.serving.ports import ModelCall


def told(*values: bytes, name: bytes = b"retry-after") -> list[bytes]:
    return [value for _, value in sane([(name, each) for each in values])]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"7", [b"7"]),
        (b"0", [b"0"]),
        (b" 1.5 ", [b"2"]),
        (b"86400", [b"86400"]),
        (b"86401", [b"86400"]),
        (b"99999999999999999999", [b"86400"]),
        (b"1e300", [b"86400"]),
        (b"-1", []),
        (b"nan", []),
        (b"inf", []),
        (b"", []),
        (b"soon", []),
        (b"Wed, 21 Oct 2015 07:28:00 GMT", []),
        (b"Wed, 21 Oct 9999 07:28:00 GMT", [b"86400"]),
        (b"Wed, 21 Oct 99999 07:28:00 GMT", []),
        (b"7" * 1_000_000, []),
        (b"\xff\xb2", []),
    ],
)
def test_a_pause_is_a_number_of_seconds_up_to_a_day_or_is_not_told(said: bytes, expected: list[bytes]) -> None:
    assert told(said) == expected


def test_a_date_to_come_is_told_in_seconds() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True).encode()
    (pause,) = told(date)
    assert 0 < int(pause) <= 101


def test_milliseconds_are_bounded_too() -> None:
    assert told(b"250", name=b"retry-after-ms") == [b"250"]
    assert told(b"99999999999", name=b"retry-after-ms") == [b"%d" % (LONGEST_PAUSE_S * 1000)]


def test_a_pause_that_is_said_twice_is_told_once() -> None:
    assert told(b"7", b"99") == [b"7"]


def test_whether_to_try_again_is_yes_or_no() -> None:
    assert told(b"false", name=b"x-should-retry") == [b"false"]
    assert told(b"maybe", name=b"x-should-retry") == []
    assert told(b"anything", name=b"request-id") == [b"anything"]


@pytest.mark.parametrize("delay", ["9" * 5000, "1", "999999999"])
async def test_a_pause_in_the_body_is_bounded_as_one_in_the_head(delay: str) -> None:
    body = (
        b'{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED","retryDelay":"%bs"}}'
        % delay.encode()
    )
    head = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    async with raw_server(answering(head % len(body) + body)) as server:
        shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=100_000, answer_bytes=1_000_000)
        try:
            call = ModelCall(CHAT, {"model": b'"m"', "messages": b'[{"role":"user","content":"hi"}]'}, False)  # type: ignore[dict-item]
            answer = await shelf["gemini"].endpoint(Upstream("up", server.url + "/v1", adapter="gemini")).call(call)
        finally:
            await shelf.close()
    pauses = [value for name, value in answer.headers if name == b"retry-after"]
    assert answer.status == 429
    assert pauses == {"1": [b"1"], "999999999": [b"86400"]}.get(delay, [])
