"""Answers are cached and cleared on the command line's word; similar questions meet in the real embedder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from support.fake_openai import FakeOpenAI
from support.product import Product, environ_of
from support.wait import wait_until


@pytest.fixture(scope="module")
def upstream(product: Product) -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        product.cli(
            "provider", "set", "cached", "--base-url", fake.base_url, "-m", "m1", "-m", "echo", "--kind", "echo=images",
        )  # fmt: skip
        yield fake
        product.cli("cache", "unset", "-")
        product.cli("provider", "remove", "cached")


@pytest.fixture
def client(product: Product, upstream: FakeOpenAI) -> Iterator[openai.OpenAI]:
    env = environ_of(product)
    with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=0) as made:
        wait_until(
            lambda: "cached/m1" in {model.id for model in made.models.list()}, what="the provider at the gateway"
        )
        yield made


def ask(client: openai.OpenAI, text: str) -> Any:
    raw = client.chat.completions.with_raw_response.create(
        model="cached/m1", messages=[{"role": "user", "content": text}], temperature=0
    )
    assert raw.parse().choices[0].message.content == "Hello world."
    return raw.headers


def test_answers_are_cached_cleared_and_cached_again(product: Product, client: openai.OpenAI) -> None:
    assert "x-tetrad-cache" not in ask(client, "one")
    shown = json.loads(product.cli("cache", "set", "-", "--use", "always", "--ttl", "60", "--json").stdout)
    assert (shown[0]["use"], shown[0]["ttl_s"]) == ("always", 60)
    wait_until(lambda: ask(client, "one").get("x-tetrad-cache") == "hit", what="the policy at the gateway")
    assert json.loads(product.cli("cache", "clear", "-", "--json").stdout) == [{"app": "-"}]
    wait_until(lambda: ask(client, "one").get("x-tetrad-cache") == "miss", what="the clearing at the gateway")
    stats = {row["what"]: row["count"] for row in json.loads(product.cli("cache", "stats", "--json").stdout)}
    assert stats["requests: hit"] >= 1


def test_a_similar_question_gets_the_earlier_answer(
    product: Product, client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    product.cli("cache", "set", "-", "--semantic", "cold", "--threshold", "0.9")
    rounds = iter(range(1000))

    def met() -> Any:
        # equal requests of one round would be answered exactly, so each round has an earlier turn of its own
        talk = {"role": "user", "content": f"round {next(rounds)}"}
        found = []
        for text in ("How do I reset my password?", "How can I reset my password?"):
            raw = client.chat.completions.with_raw_response.create(
                model="cached/m1", messages=[talk, {"role": "user", "content": text}], temperature=0
            )
            found.append(raw.headers)
        return found[1] if "x-tetrad-cache-similarity" in found[1] else None

    headers = wait_until(met, timeout_s=60, what="a similar question")
    assert headers["x-tetrad-cache"] == "hit"
    assert 0.9 <= float(headers["x-tetrad-cache-similarity"]) <= 1


def test_an_app_that_is_not_there_has_no_policy(product: Product) -> None:
    answer = product.control("PUT", "/api/v1/projects/default/caches/nobody", json={"use": "always"})
    assert (answer.status_code, answer.json()["code"]) == (404, "app_not_found")
    answer = product.control("PUT", "/api/v1/projects/default/caches/-", json={"ttl_s": 0})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cache_policy")


def test_a_model_does_what_its_provider_says(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="it does images"):
        client.chat.completions.create(model="cached/echo", messages=[{"role": "user", "content": "hi"}])
