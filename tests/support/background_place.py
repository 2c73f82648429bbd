"""A place where responses are answered in the background: a gateway, control's routes, the worker's job in a thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from fastapi import FastAPI

from support import gateway as g
from support.background import STAND_IN, StandIns, ThreadWork, callers_of
from support.batching import InternalOnly
from support.databases import SqliteTemplate, opened
from support.fake_openai import WORDS, FakeOpenAI
from support.gateway import GatewayProcess, key_hash, make_table, prepare_home
from support.traces_api import served
from support.wait import wait_until
from tetrad.kernel import SystemClock
from tetrad.kit.http import PROBLEM_RESPONSES, guard
from tetrad.responses import Background, ResponseLimits, Responses
from tetrad.responses._background_store import SqlBackgroundStore
from tetrad.responses._store import SqlResponseStore
from tetrad.responses.routes import background_router, conversation_router, router
from tetrad.serving import KeyEntry, RouteTable

TEXT = "".join(WORDS)
MODELS = ("later:0.5", "error:400", "error:500", "stall", "stallmid", "slow:0.05", "slow:0.1", "torn", "tools")
ENDED = ("completed", "failed", "cancelled", "incomplete")
AT_ONCE = 3


@dataclass
class Place:
    """What runs."""

    home: Path
    gateway: GatewayProcess
    background: Background
    keys: StandIns
    upstream: FakeOpenAI


def table_of(upstream: FakeOpenAI) -> RouteTable:
    table = make_table(upstream.base_url, models=MODELS)
    stand_in = KeyEntry("key_full", "default", ("data",), background=True)
    return msgspec.structs.replace(table, keys={**table.keys, key_hash(STAND_IN): stand_in})


@contextlib.contextmanager
def running_place(
    upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory, server: str, **limits: int
) -> Iterator[Place]:
    """Run all of it, with one of the gateway's two servers."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("db")
    prepare_home(home, table_of(upstream))
    jobs, keys, clock = ThreadWork(), StandIns(), SystemClock()
    with opened(SqliteTemplate(folder).copy(folder / "tetrad.db")) as database:
        responses = Responses(SqlResponseStore(database), clock, ResponseLimits(background_most=AT_ONCE, **limits))
        background = Background(responses, SqlBackgroundStore(database), jobs, keys, clock)
        app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
        for made in (router(responses, background), background_router(background), conversation_router(responses)):
            app.include_router(made)
        guard(app, InternalOnly())
        with served(app) as url, GatewayProcess(home, control_url=url, gateway_server=server) as gateway:
            jobs.callers = callers_of(url, gateway.url)
            try:
                yield Place(home, gateway, background, keys, upstream)
            finally:
                jobs.stop()


@contextlib.contextmanager
def client_of(place: Place, key: str = g.KEY) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{place.gateway.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def begun(client: openai.OpenAI, model: str = "local/m1", said: Any = "One", **more: Any) -> Any:
    return client.responses.create(model=model, input=said, background=True, **more)


def ended(client: openai.OpenAI, response: Any) -> Any:
    def look() -> Any:
        found = client.responses.retrieve(response.id)
        return found if found.status in ENDED else None

    return wait_until(look, timeout_s=30, what="the response to end")
