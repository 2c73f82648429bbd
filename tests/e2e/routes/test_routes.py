"""A route is made on the command line; it answers through the gateway when its first model fails, and tells so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import openai
import pytest

from support.fake_openai import FakeOpenAI
from support.product import Product, environ_of
from support.wait import wait_until


@pytest.fixture(scope="module")
def upstream(product: Product) -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        for name in ("routed-1", "routed-2"):
            subprocess.run(
                [sys.executable, "-m", "tetrad", "secret", "set", name],
                env=product.environment, input=f"sk-{name}", text=True, check=True, timeout=60, capture_output=True,
            )  # fmt: skip
        product.cli(
            "provider", "set", "routed", "--base-url", fake.base_url, "--model", "m1", "--model", "reset:0",
            "--model", "error:429", "--secret", "routed-1", "--secret", "routed-2",
        )  # fmt: skip
        product.cli("route", "set", "smart", "-t", "routed/reset:0", "-t", "routed/m1", "--retries", "0")
        product.cli("route", "set", "tired", "-t", "routed/error:429", "--fallback", "rate_limit=routed/m1")
        yield fake
        product.cli("route", "remove", "smart")
        product.cli("route", "remove", "tired")
        product.cli("provider", "remove", "routed")


@pytest.fixture
def client(product: Product, upstream: FakeOpenAI) -> Iterator[openai.OpenAI]:
    env = environ_of(product)
    with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=0) as made:
        wait_until(lambda: "tired" in {model.id for model in made.models.list()}, what="the routes at the gateway")
        yield made


def ask(client: openai.OpenAI, model: str) -> tuple[str, dict[str, str]]:
    answer = client.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": "hi"}])
    return answer.parse().choices[0].message.content or "", dict(answer.headers)


def test_a_model_that_fails_gives_way_and_people_can_see_it(product: Product, client: openai.OpenAI) -> None:
    text, headers = ask(client, "smart")
    assert text == "Hello world."
    assert (headers["x-tetrad-route"], headers["x-tetrad-attempts"]) == ("smart", "2")
    path = f"/api/v1/projects/default/traces/{headers['x-tetrad-trace-id']}"
    wait_until(lambda: product.control("GET", path).status_code == 200, timeout_s=20, what="the trace")
    spans = product.control("GET", path).json()["spans"]
    assert [span["error_type"] for span in spans if span["parent_id"]] == ["upstream_lost", ""]

    def told() -> bool:
        rows = json.loads(product.cli("route", "health", "--json").stdout)
        outcomes = {row["model"]: row["outcomes"] for row in rows if row["route"] == "smart"}
        return bool(outcomes.get("routed/reset:0", {}).get("unavailable") and outcomes.get("routed/m1", {}).get("ok"))

    wait_until(told, timeout_s=30, what="control to know how the targets do")


def test_both_keys_are_tried_before_the_fallback_and_neither_is_shown(
    product: Product, client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    seen = len(upstream.requests)
    text, headers = ask(client, "tired")
    assert text == "Hello world."
    assert headers["x-tetrad-attempts"] == "3"
    keys = [request.headers["authorization"] for request in upstream.requests[seen : seen + 2]]
    assert sorted(keys) == ["Bearer sk-routed-1", "Bearer sk-routed-2"]
    assert "sk-routed" not in product.cli("provider", "list", "--json").stdout
