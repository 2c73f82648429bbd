"""Routes in a real gateway, over upstreams that break in every way."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest

from support import gateway as g
from support.fake_control import FakeControl
from support.fake_openai import WORDS, FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home, spooled
from support.wait import wait_until
from tetrad.serving import ModelRoute, RouteTable
from tetrad.traces import Span

BROKEN = ("reset:0", "garbage", "html", "error:500", "error:429", "plain-error")
MODELS = (*BROKEN, "reset:2", "stall", "endless", "slow:0.02")
WHOLE = "".join(WORDS)


def route(name: str, *targets: str, **spec: object) -> ModelRoute:
    given = {"retry": {"retries": 0}, **spec}
    return msgspec.convert(
        {"name": name, "project": "default", "targets": [{"model": f"local/{each}"} for each in targets], **given},
        ModelRoute,
    )


def table(upstream: FakeOpenAI) -> RouteTable:
    routes = [route(f"after-{name.replace(':', '-')}", name.replace(":", "-"), "m1") for name in BROKEN]
    routes += [
        route("retried", "reset-0", "m1", retry={"retries": 2, "first_pause_s": 0.01}),
        route("broken-off", "reset-2", "m1"),
        route("stalled", "stall", "m1", deadlines={"first_token_s": 0.5}),
        route("waiting", "reset-0", "stall"),
        route("pouring", "reset-0", "endless"),
        route("hopeless", "reset-0", breaker={"consecutive": 1, "open_s": 600}),
    ]
    made = make_table(upstream.base_url, models=MODELS)
    return msgspec.structs.replace(made, routes={f"default/{each.name}": each for each in routes})


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def control() -> Iterator[FakeControl]:
    with FakeControl() as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(
    upstream: FakeOpenAI, control: FakeControl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    prepare_home(home, table(upstream))
    with GatewayProcess(home, control_url=control.url) as gateway:
        yield gateway


def spans(gateway: GatewayProcess, control: FakeControl, trace: str) -> list[Span]:
    """Return the spans of a trace once they are anywhere, the root first."""
    found: list[Span] = []

    def there() -> bool:
        found[:] = [span for span in [*control.spans, *spooled(gateway.home)] if span.trace_id == trace]
        return bool(found)

    wait_until(there, what="the spans")
    return sorted({span.span_id: span for span in found}.values(), key=lambda span: span.attempt)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_whatever_breaks_the_client_gets_one_whole_answer(gateway: GatewayProcess, name: str, stream: bool) -> None:
    status, headers, body = gateway.chat(f"after-{name.replace(':', '-')}", stream=stream)
    assert status == 200, body
    paused = name == "error:429" and stream  # it asked for 7 seconds, so the other target was first
    assert headers["x-tetrad-attempts"] == ("1" if paused else "2")
    text = body.decode()
    if stream:
        events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
        text = "".join(each["choices"][0]["delta"].get("content", "") for each in events if each["choices"])
        assert body.endswith(b"data: [DONE]\n\n")
    else:
        text = json.loads(text)["choices"][0]["message"]["content"]
    assert text == WHOLE


def test_every_attempt_is_a_span_that_says_why_it_was_made(gateway: GatewayProcess, control: FakeControl) -> None:
    _, headers, _ = gateway.chat("retried")
    root, *attempts = spans(gateway, control, headers["x-tetrad-trace-id"])
    assert root.attributes["tetrad.route"] == headers["x-tetrad-route"] == "retried"
    assert root.status == "ok"
    reasons = [each.attributes.get("tetrad.attempt.reason", "") for each in attempts]
    assert reasons == ["", "retry", "retry", "fallback"]
    assert [each.error_type for each in attempts] == ["upstream_lost"] * 3 + [""]


def test_a_stream_that_breaks_off_after_its_first_word_is_not_begun_again(gateway: GatewayProcess) -> None:
    status, _, body = gateway.chat("broken-off", stream=True)
    assert status == 200
    assert WORDS[0].encode() in body
    assert b"upstream_lost" in body
    assert WORDS[2].strip().encode() not in body
    assert b"[DONE]" not in body


def test_a_model_that_says_nothing_gives_way_within_the_routes_deadline(gateway: GatewayProcess) -> None:
    began = time.monotonic()
    status, headers, _ = gateway.chat("stalled", stream=True)
    assert (status, headers["x-tetrad-attempts"]) == (200, "2")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("name", "second"), [("waiting", "stall"), ("pouring", "endless")])
def test_a_client_that_leaves_ends_the_upstreams_call_also_after_a_fallback(
    gateway: GatewayProcess, upstream: FakeOpenAI, name: str, second: str
) -> None:
    aborted, seen = upstream.aborted, len(upstream.requests)
    body = json.dumps({"model": name, "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {g.KEY}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        # By its name, not by their count: a call that is reset on a connection used before is made once more.
        wait_until(
            lambda: any(each.body["model"] == second for each in upstream.requests[seen:]), what="the second attempt"
        )
    wait_until(lambda: upstream.aborted > aborted, what="the end of the upstream's call")
    wait_until(lambda: gateway.metric("tetrad_gateway_in_flight") == 0, what="the end of the request")


def test_a_client_that_does_not_read_costs_little_on_a_route_too(gateway: GatewayProcess, upstream: FakeOpenAI) -> None:
    body = json.dumps({"model": "pouring", "stream": True, "messages": []}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {g.KEY}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        client.recv(1000)
        before = gateway.resident_bytes()
        since, written = time.monotonic(), upstream.written

        def held_back() -> bool:
            nonlocal since, written
            if upstream.written != written:
                since, written = time.monotonic(), upstream.written
            return time.monotonic() - since > 1

        wait_until(held_back, what="the upstream to be held back", timeout_s=30)
        assert gateway.resident_bytes() - before < 3_000_000


def test_a_target_that_is_left_alone_is_told_to_people_and_to_control(
    gateway: GatewayProcess, control: FakeControl
) -> None:
    assert gateway.chat("hopeless")[0] == 502
    status, headers, body = gateway.chat("hopeless")
    assert (status, json.loads(body)["error"]["code"]) == (503, "no_target_ready")
    assert int(headers["retry-after"]) > 500
    page = gateway.get("/metrics")[1].decode()
    assert 'tetrad_gateway_target_state{worker="0",route="default/hopeless",model="local/reset-0"} 2' in page

    def told() -> bool:
        reports = [json.loads(body) for body in control.health.values()]
        targets = [each for report in reports for each in report["targets"] if each["route"] == "default/hopeless"]
        return any(each["state"] == "open" for each in targets)

    wait_until(told, what="control to be told", timeout_s=20)
