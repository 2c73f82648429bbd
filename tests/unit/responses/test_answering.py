"""The worker's side of a response in the background, against a control and a gateway of the test's own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from tetrad.kit.jobs import JobCutOff
from tetrad.processes.worker import _background as answering
from tetrad.processes.worker._background import _Answering, _read
from tetrad.processes.worker._batch_control import Callers, Control, WorkGone
from tetrad.responses import BackgroundAnswer, BackgroundWork

CALLERS = Callers("http://control", "token", "http://gateway", 2, 1000)
GOOD = {"id": "resp_of_upstream", "status": "completed", "output": []}
Gateway = Callable[[httpx.Request], httpx.Response]


class Desk:
    """Control's routes of one response, in memory."""

    def __init__(self, in_s: float = 3600, **work: Any) -> None:
        body = msgspec.Raw(b'{"model":"m","input":[]}')
        self.work = BackgroundWork("resp_00000001", "secret", int(time.time() + in_s), body, **work)
        self.over = False
        self.taken = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.over:
            return httpx.Response(404, text="over")
        if request.url.path.endswith("/take"):
            self.taken += 1
            return httpx.Response(200, content=msgspec.json.encode(self.work))
        return httpx.Response(204)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("_PAUSE_S", "_LONGEST_PAUSE_S", "_LOOK_S"):
        monkeypatch.setattr(answering, name, 0.001)
    monkeypatch.setattr(answering, "_LAST_S", 0.05)
    return


def run(desk: Desk, gateway: Any, stopping: threading.Event | None = None) -> BackgroundAnswer:
    async def go() -> BackgroundAnswer:
        event = stopping or threading.Event()
        control = Control(CALLERS, event, "default/resp_00000001", "/internal/v1/background")
        control._http = httpx.AsyncClient(transport=httpx.MockTransport(desk), base_url="http://control")
        async with httpx.AsyncClient(transport=httpx.MockTransport(gateway), base_url="http://gateway") as client:
            return await _Answering(CALLERS, event, control, client).run()

    return asyncio.run(go())


def body_of(answer: BackgroundAnswer) -> Any:
    return json.loads(bytes(answer.response))


def test_a_call_says_what_it_is_as_whom_and_what_the_client_said_beside_it() -> None:
    desk, seen = Desk(headers={"x-tetrad-user": "Jos\u00c3\u00a9", "traceparent": "00-x"}, release="sha256:1"), []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=GOOD, headers={"x-tetrad-background-upstream": "openai"})

    found = run(desk, gateway)
    assert (body_of(found), found.upstream) == (GOOD, "openai")
    headers = seen[0].headers
    assert dict(headers.raw)[b"x-tetrad-user"] == "José".encode()
    assert (headers["authorization"], headers["traceparent"]) == ("Bearer secret", "00-x")
    assert (headers["x-tetrad-background"], headers["x-tetrad-background-release"]) == ("resp_00000001", "sha256:1")
    assert json.loads(seen[0].content) == {"model": "m", "input": []}


def test_a_stream_is_read_to_what_it_came_to() -> None:
    seen = []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content)["stream"])
        told = [{"type": "response.created", "response": {}}, {"type": "response.completed", "response": GOOD}]
        text = "".join(f"event: {each['type']}\r\ndata: {json.dumps(each)}\r\n\r\n" for each in told)
        return httpx.Response(200, text=text, headers={"content-type": "text/event-stream; charset=utf-8"})

    assert body_of(run(Desk(stream=True), gateway)) == GOOD
    assert seen == [True]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('data: {"type":"error","code":"stream_truncated","message":"it broke off"}\n\n', "stream_truncated"),
        ('data: {"type":"error"}\n\n', "server_error"),
        ('data: {"type":"response.created","response":{}}\n\ndata: {"type":"resp', "stream_truncated"),
        ("", "stream_truncated"),
    ],
)
def test_a_stream_without_its_end_is_an_error(text: str, code: str) -> None:
    found = _read(200, httpx.Headers({"content-type": "text/event-stream"}), text.encode())
    assert (found.answered, found.code, bool(found.message)) == (False, code, True)


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (400, b'{"error":{"code":"bad_field","message":"wrong"}}', "bad_field", "wrong"),
        (400, b'{"error":{"code":null,"type":"invalid_request_error","message":"w"}}', "invalid_request_error", "w"),
        (400, b'{"error":{"code":400,"message":"numbered"}}', "server_error", "numbered"),
        (502, b'{"error":"plain"}', "server_error", "plain"),
        (502, b"<html>", "server_error", "the call was answered with 502"),
        (200, b"<html>", "answer_unreadable", "the answer (200) is no JSON"),
    ],
)
def test_a_refusal_is_told_with_its_code_and_its_words(status: int, body: bytes, code: str, said: str) -> None:
    found = _read(status, httpx.Headers(), body)
    assert (found.answered, found.code, found.message) == (False, code, said)


def test_an_answer_that_is_too_large_is_not_read_to_its_end() -> None:
    found = run(Desk(), lambda _: httpx.Response(200, content=b"x" * 5000))
    assert (found.answered, found.code) == (False, "answer_too_large")


def test_a_limit_that_is_used_up_is_waited_for_and_counts_as_no_call() -> None:
    desk, seen = Desk(), []

    def gateway(_request: httpx.Request) -> httpx.Response:
        seen.append(time.monotonic())
        if len(seen) == 1:
            return httpx.Response(429, json={"error": {"code": "rate_limit_exceeded"}}, headers={"retry-after": "1"})
        return httpx.Response(200, json=GOOD)

    assert body_of(run(desk, gateway)) == GOOD
    assert seen[1] - seen[0] >= 1
    assert desk.taken == 1


def test_a_wait_past_the_deadline_is_an_answer() -> None:
    told = httpx.Response(429, json={"error": {"code": "insufficient_quota"}}, headers={"retry-after": "86400"})
    assert run(Desk(in_s=60), lambda _: told).code == "insufficient_quota"


def test_an_upstream_that_fails_is_asked_a_few_times() -> None:
    seen = []

    def gateway(_request: httpx.Request) -> httpx.Response:
        seen.append(1)
        return httpx.Response(502, json={"error": {"code": "upstream_broken", "message": "broken"}})

    assert run(Desk(), gateway).code == "upstream_broken"
    assert len(seen) == answering._TRIES


def test_a_gateway_that_is_away_is_waited_for_and_one_that_dies_costs_a_call() -> None:
    desk, errors = Desk(), [httpx.ConnectError("a"), httpx.ConnectError("b"), httpx.ReadError("c")]

    def gateway(_request: httpx.Request) -> httpx.Response:
        if errors:
            raise errors.pop(0)
        return httpx.Response(200, json=GOOD)

    assert body_of(run(desk, gateway)) == GOOD
    assert desk.taken == 2


def test_a_key_that_gateways_do_not_know_yet_is_waited_for_and_one_that_is_gone_is_not() -> None:
    desk, seen = Desk(), []

    def gateway(_request: httpx.Request) -> httpx.Response:
        seen.append(1)
        if len(seen) < 3:
            return httpx.Response(401, json={"error": {"code": "invalid_api_key"}})
        return httpx.Response(200, json=GOOD)

    assert body_of(run(desk, gateway)) == GOOD

    def never(_request: httpx.Request) -> httpx.Response:
        desk.over = True
        return httpx.Response(401, json={"error": {"code": "invalid_api_key"}})

    with pytest.raises(WorkGone):
        run(desk, never)


def test_what_is_over_gives_its_call_up() -> None:
    desk, given_up = Desk(), []

    async def gateway(_request: httpx.Request) -> httpx.Response:
        desk.over = True
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.append(1)
            raise
        raise AssertionError("nobody ends this wait")

    with pytest.raises(WorkGone):
        run(desk, gateway)
    assert given_up == [1]


def test_a_worker_that_stops_leaves_what_does_not_end_for_its_next_start() -> None:
    stopping = threading.Event()

    async def gateway(_request: httpx.Request) -> httpx.Response:
        stopping.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody ends this wait")

    with pytest.raises(JobCutOff):
        run(Desk(), gateway, stopping)


def test_a_worker_that_stops_keeps_an_answer_that_comes_in_time() -> None:
    stopping = threading.Event()

    async def gateway(_request: httpx.Request) -> httpx.Response:
        stopping.set()
        await asyncio.sleep(0)
        return httpx.Response(200, json=GOOD)

    assert body_of(run(Desk(), gateway, stopping)) == GOOD
