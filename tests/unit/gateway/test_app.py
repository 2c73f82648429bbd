"""The ASGI application on a server that is not ours."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from support import gateway as g
from tetrad.kernel import SystemClock
from tetrad.processes.gateway._app import GatewayApp
from tetrad.processes.gateway._metrics import Metrics
from tetrad.serving import Exchange, Pipeline, Upstream
from tetrad.serving.ports import Answer, ModelCall


class Hanging:
    """A provider that never answers."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.cancelled = False

    def endpoint(self, upstream: Upstream) -> Hanging:
        return self

    async def call(self, call: ModelCall) -> Answer:
        self.called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        raise AssertionError

    async def close(self) -> None:
        return None


class Server:
    """The least of an ASGI server."""

    def __init__(self, body: bytes) -> None:
        self.gone = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))


@pytest.fixture
def made() -> tuple[GatewayApp, Hanging, list[Exchange]]:
    provider, records = Hanging(), []
    metrics = Metrics("0")
    pipeline = Pipeline({"openai": provider}, record=records.append, clock=SystemClock())
    pipeline.install(g.make_table("http://127.0.0.1:1/v1"))
    app = GatewayApp(pipeline, metrics, metrics_page=lambda: b"page", max_body=1000, body_timeout_s=1, max_in_flight=4)
    return app, provider, records


def scope(path: str = "/v1/chat/completions", method: str = "POST") -> dict[str, Any]:
    return {
        "type": "http",
        "path": path,
        "method": method,
        "headers": [(b"authorization", f"Bearer {g.KEY}".encode())],
    }


BODY = json.dumps({"model": "local/m1", "messages": []}).encode()


async def test_a_disconnect_told_by_receive_cancels_the_call(made: tuple[GatewayApp, Hanging, list[Exchange]]) -> None:
    app, provider, records = made
    server = Server(BODY)
    task = asyncio.create_task(app(scope(), server.receive, server.send))
    await provider.called.wait()
    began = time.monotonic()
    server.gone.set()
    await task  # ends normally: a client that left is no fault
    assert provider.cancelled
    assert time.monotonic() - began < 0.5
    assert [(record.status, record.error_type) for record in records] == [(499, "client_disconnected")]
    assert server.sent == []


async def test_cancelled_by_its_server_it_says_503_and_lets_the_cancellation_through(
    made: tuple[GatewayApp, Hanging, list[Exchange]],
) -> None:
    app, provider, records = made
    server = Server(BODY)
    task = asyncio.create_task(app(scope(), server.receive, server.send))
    await provider.called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.sent[0]["status"] == 503
    assert json.loads(server.sent[1]["body"])["error"]["code"] == "shutting_down"
    assert len(records) == 1


async def test_while_draining_it_is_not_ready_but_alive(made: tuple[GatewayApp, Hanging, list[Exchange]]) -> None:
    app, _, _ = made
    app.draining = True
    for path, status in (("/readyz", 503), ("/healthz", 200), ("/metrics", 200)):
        server = Server(b"")
        await app(scope(path, "GET"), server.receive, server.send)
        assert server.sent[0]["status"] == status


async def test_a_body_past_the_limit_in_one_message_is_refused(
    made: tuple[GatewayApp, Hanging, list[Exchange]],
) -> None:
    app, _, _ = made
    server = Server(b"x" * 1001)
    await app(scope(), server.receive, server.send)
    assert server.sent[0]["status"] == 413
