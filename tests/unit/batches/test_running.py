"""The worker's side of a batch, against a control and a gateway of the test's own."""

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

from tetrad.batches import BatchError, LineAnswer, Work, WorkLine
from tetrad.kit.jobs import JobCutOff
from tetrad.processes.worker import _batches as running
from tetrad.processes.worker._batch_control import Callers, Control
from tetrad.processes.worker._batches import _Run

CALLERS = Callers("http://control", "token", "http://gateway", 2, 1000)
Answering = Callable[[httpx.Request], httpx.Response]


class Desk:
    """Control's routes of one batch, in memory."""

    def __init__(self, lines: int, expires_in_s: float = 3600) -> None:
        self.lines = [WorkLine(n, "/v1/chat/completions", msgspec.Raw(b'{"n":%d}' % n)) for n in range(lines)]
        self.answers: dict[int, LineAnswer] = {}
        self.work = Work("batch_1", "openai", "in_progress", int(time.time() + expires_in_s), lines, lines, "secret")
        self.away = 0
        self.posts = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            self.away -= 1
            return httpx.Response(503, text="starting")
        if request.url.path.endswith("/lines"):
            after = int(request.url.params["after"])
            found = [line for line in self.lines if line.number > after and line.number not in self.answers]
            return httpx.Response(200, content=msgspec.json.encode(found[:3]))
        if request.url.path.endswith("/answers"):
            self.posts += 1
            for each in msgspec.json.decode(request.content, type=dict[str, list[LineAnswer]])["answers"]:
                self.answers.setdefault(each.number, each)
        return httpx.Response(200, content=msgspec.json.encode(self.work))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("_PAUSE_S", "_LONGEST_PAUSE_S", "_LOOK_S"):
        monkeypatch.setattr(running, name, 0.001)
    monkeypatch.setattr(running, "_LAST_S", 0.05)
    return


def run(desk: Desk, gateway: Answering, stopping: threading.Event | None = None) -> BatchError | None:
    async def go() -> BatchError | None:
        event = stopping or threading.Event()
        control = Control(CALLERS, event, "batch_1")
        control._http = httpx.AsyncClient(transport=httpx.MockTransport(desk), base_url="http://control")
        async with httpx.AsyncClient(transport=httpx.MockTransport(gateway), base_url="http://gateway") as client:
            return await _Run(CALLERS, event, control, client).run()

    return asyncio.run(go())


def good(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=json.loads(request.content), headers={"x-tetrad-trace-id": "t"})


def test_every_line_is_called_once_and_its_answer_kept() -> None:
    desk, seen = Desk(8), []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers["authorization"], request.headers["x-tetrad-priority"]))
        return good(request)

    assert run(desk, gateway) is None
    assert seen == [("/v1/chat/completions", "Bearer secret", "batch")] * 8
    assert [json.loads(bytes(desk.answers[n].body)) for n in range(8)] == [{"n": n} for n in range(8)]


def test_a_line_that_is_told_to_wait_is_called_again() -> None:
    desk, seen = Desk(1), []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(time.monotonic())
        if len(seen) == 1:
            return httpx.Response(429, json={"error": {"code": "rate_limit_exceeded"}}, headers={"retry-after": "1"})
        return good(request)

    assert run(desk, gateway) is None
    assert desk.answers[0].status == 200
    assert seen[1] - seen[0] >= 1


def test_a_wait_past_the_end_of_the_batch_is_an_answer() -> None:
    desk = Desk(1, expires_in_s=60)
    told = httpx.Response(429, json={"error": {"code": "insufficient_quota"}}, headers={"retry-after": "86400"})
    assert run(desk, lambda _: told) is None
    assert desk.answers[0].status == 429


def test_an_upstream_that_fails_is_tried_again_a_few_times() -> None:
    desk, seen = Desk(1), []

    def gateway(_request: httpx.Request) -> httpx.Response:
        seen.append(1)
        return httpx.Response(502, json={"error": {"message": "broken"}})

    assert run(desk, gateway) is None
    assert (len(seen), desk.answers[0].status) == (running._TRIES, 502)


def test_a_gateway_and_a_control_that_are_away_are_waited_for() -> None:
    desk, seen = Desk(2), []
    desk.away = 3

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(1)
        if len(seen) < 4:
            raise httpx.ConnectError("nobody there")
        return good(request)

    assert run(desk, gateway) is None
    assert len(desk.answers) == 2


def test_a_key_that_control_gives_up_stops_the_batch_and_no_line_is_answered_by_that() -> None:
    desk = Desk(5)

    def gateway(_request: httpx.Request) -> httpx.Response:
        desk.work = msgspec.structs.replace(desk.work, problem=BatchError("batch_key_gone", "revoked"))
        return httpx.Response(401, json={"error": {"code": "invalid_api_key"}})

    problem = run(desk, gateway)
    assert problem is not None
    assert problem.code == "batch_key_gone"
    assert not desk.answers


def test_a_key_that_gateways_do_not_know_yet_is_tried_until_they_do() -> None:
    desk, seen = Desk(1), []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(1)
        return good(request) if len(seen) > 3 else httpx.Response(401, json={"error": {"code": "invalid_api_key"}})

    assert run(desk, gateway) is None
    assert desk.answers[0].status == 200


@pytest.mark.parametrize("change", [{"status": "cancelling"}, {"expires_s": 1}])
def test_a_batch_that_is_cancelled_or_too_late_calls_nothing_more(change: dict[str, Any]) -> None:
    desk = Desk(9)

    def gateway(request: httpx.Request) -> httpx.Response:
        desk.work = msgspec.structs.replace(desk.work, **change)
        return good(request)

    assert run(desk, gateway) is None
    assert 0 < len(desk.answers) <= 2 * CALLERS.concurrency


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (httpx.Response(200, content=b"data: hello"), "answer_unreadable"),
        (httpx.Response(200, content=b"1" * 1001), "answer_too_large"),
    ],
)
def test_an_answer_that_cannot_be_kept_is_an_error_of_its_line(answer: httpx.Response, code: str) -> None:
    desk = Desk(1)
    assert run(desk, lambda _: httpx.Response(200, content=answer.content)) is None
    assert (desk.answers[0].status, desk.answers[0].code) == (0, code)


def test_a_worker_that_stops_keeps_what_was_answered_and_leaves_the_rest() -> None:
    desk, stopping, seen = Desk(50), threading.Event(), []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(1)
        if len(seen) == 10:
            stopping.set()
        return good(request)

    with pytest.raises(JobCutOff):
        run(desk, gateway, stopping)
    assert len(desk.answers) == len(seen) < 50
