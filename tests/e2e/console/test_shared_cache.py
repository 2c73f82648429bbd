"""A Valkey or Redis that gateways share answers in, as the console and the command line show it: up, then gone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from support.fake_openai import FakeOpenAI
from support.product import Product, running_product
from support.redis_server import RedisServer, lent_redis, skip_without_server
from support.wait import wait_until

pytestmark = pytest.mark.browser
API = "/api/v1/projects/default"
Shot = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    skip_without_server("the console's view of shared answers")
    with lent_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def product(shared: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    settings = {"gateway_cache_url": shared.url, "gateway_cache_deadline_s": 2.0}
    with running_product(tmp_path_factory.mktemp("product"), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


def ask(product: Product, text: str) -> str:
    """Return what the cache did for a call; nothing while gateways do not know the model."""
    answered = httpx.post(
        f"{product.gateway_url}/v1/chat/completions",
        json={"model": "shared/m1", "messages": [{"role": "user", "content": text}]},
        headers={"authorization": f"Bearer {product.key}", "x-tetrad-cache": "on"},
        timeout=60,
        trust_env=False,
    )
    return answered.headers["x-tetrad-cache"] if answered.status_code == 200 else ""


@pytest.mark.timeout(240)
def test_the_server_of_shared_answers_is_seen_up_and_gone(
    product: Product, console: Page, shared: RedisServer, upstream: FakeOpenAI, shot: Shot
) -> None:
    body = {"base_url": upstream.base_url, "models": [{"name": "m1"}]}
    assert product.control("PUT", f"{API}/providers/shared", json=body).status_code == 200
    wait_until(lambda: ask(product, "Is it shared?") == "hit", timeout_s=60, what="a hit")
    page = console
    page.goto(f"{product.control_url}/p/default/gateway/cache?window=1h")
    panel = page.get_by_role("region", name="Shared by gateways")
    kept = re.compile(r"up.*Shared by [1-9]\d* gateway worker.*[1-9]\d* kept", re.DOTALL)
    expect(panel).to_contain_text(kept, timeout=30_000)
    expect(page.get_by_label(re.compile("What the cache did")).first).to_contain_text("From the shared cache")
    shot(page, "shared-cache")
    stats = {row["what"]: row["count"] for row in json.loads(product.cli("cache", "stats", "--json").stdout)}
    assert stats["server: stored"] >= 1
    assert stats["workers that the server answers"] >= 1
    shared.kill()
    assert ask(product, "Is it gone?") == "miss"
    gone = re.compile(rf"down.*127\.0\.0\.1:{shared.port} does not answer", re.DOTALL)
    expect(panel).to_contain_text(gone, timeout=30_000)
    assert product.control("GET", f"{API}/cache-server").json()["state"] == "down"
