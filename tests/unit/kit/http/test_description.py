"""The description of an API is made once, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from support.wait import async_wait_until
from tetrad.kit.http import PROBLEM_RESPONSES, public, render_problems, serve_description


class Gated(FastAPI):
    """An app whose description is not ready before the gate opens, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__(title="Gated", openapi_url=None, responses=PROBLEM_RESPONSES)
        self.gate = threading.Event()
        self.begun = 0
        self.fails = False

    def openapi(self) -> dict[str, Any]:
        self.begun += self.openapi_schema is None
        assert self.gate.wait(60)
        if self.fails:
            raise RuntimeError("as scripted")
        return super().openapi()


@pytest.fixture
def app() -> Gated:
    app = Gated()

    @app.get("/healthz", dependencies=[public()])
    async def healthz() -> str:
        return "ok"

    serve_description(app)
    render_problems(app)
    return app


@pytest.fixture
async def http(app: Gated) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://h") as lent:
        yield lent
    app.gate.set()


async def test_others_are_answered_while_the_description_is_made(app: Gated, http: httpx.AsyncClient) -> None:
    asked = [asyncio.create_task(http.get("/openapi.json")) for _ in range(3)]
    await async_wait_until(lambda: app.begun > 0)
    assert (await http.get("/healthz")).json() == "ok"
    assert not any(each.done() for each in asked)
    asked[0].cancel()  # who does not wait any longer takes it from nobody
    app.gate.set()
    first, second = await asyncio.gather(*asked[1:])
    assert first.content == second.content
    said = first.json()
    assert (said["info"]["title"], list(said["paths"])) == ("Gated", ["/healthz"])
    assert "Problem" in said["components"]["schemas"]
    assert first.headers["content-type"] == "application/json"
    assert (await http.get("/openapi.json")).content == first.content
    assert app.begun == 1, "it is made once"


async def test_a_description_that_failed_is_made_again(app: Gated, http: httpx.AsyncClient) -> None:
    app.fails = True
    app.gate.set()
    assert (await http.get("/openapi.json")).status_code == 500
    app.fails = False
    assert (await http.get("/openapi.json")).json()["info"]["title"] == "Gated"
