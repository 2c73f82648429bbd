"""A provider is added on the command line; its models answer through the gateway, and calls cost what they cost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest

from support.fake_anthropic import FakeAnthropic
from support.fake_gemini import FakeGemini
from support.fake_openai import FakeOpenAI
from support.product import Product, environ_of
from support.wait import wait_until

SECRET = "sk-very-secret-upstream-key"


@pytest.fixture(scope="module")
def upstream(product: Product) -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        subprocess.run(
            [sys.executable, "-m", "tetrad", "secret", "set", "fake-key"],
            env=product.environment,
            input=SECRET,
            text=True,
            check=True,
            timeout=60,
            capture_output=True,
        )
        product.cli(
            "provider", "set", "fake", "--base-url", fake.base_url, "--secret", "fake-key",
            "--model", "gpt-4o-mini", "--model", "m1", "--model", "error:429",
        )  # fmt: skip
        yield fake
        product.cli("provider", "remove", "fake")


@pytest.fixture
def client(product: Product, upstream: FakeOpenAI) -> Iterator[openai.OpenAI]:
    env = environ_of(product)
    with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=0) as made:
        wait_until(lambda: "fake/m1" in {model.id for model in made.models.list()}, what="the provider at the gateway")
        yield made


def call_span(product: Product, trace_id: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        answer = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}")
        return answer.json() if answer.status_code == 200 else None

    trace = wait_until(found, timeout_s=20, what="the trace")
    assert trace is not None
    return next(span for span in trace["spans"] if span["parent_id"])


def test_the_secret_reaches_the_provider_and_nobody_else(
    product: Product, upstream: FakeOpenAI, client: openai.OpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="fake/m1", messages=[{"role": "user", "content": "Hello"}]
    )
    assert raw.parse().choices[0].message.content
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert product.key not in json.dumps([seen.headers for seen in upstream.requests])
    call_span(product, raw.headers["x-tetrad-trace-id"])
    kept = [path for path in product.home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert kept == [], "the secret is in no file in plain text"
    assert SECRET not in product.cli("provider", "list", "--json").stdout
    assert SECRET not in product.cli("secret", "list", "--json").stdout


def test_a_model_with_a_public_price_costs_exactly_that(product: Product, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="fake/gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}]
    )
    assert raw.parse().usage is not None
    span = call_span(product, raw.headers["x-tetrad-trace-id"])
    # 12 prompt tokens of which 2 cached, 5 completion tokens; $0.15, $0.075 and $0.60 per million.
    assert Decimal(span["cost"]) == (10 * Decimal("0.15") + 2 * Decimal("0.075") + 5 * Decimal("0.60")) / 1_000_000


def test_a_model_without_a_known_price_has_an_unknown_cost_not_a_zero(product: Product, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="fake/m1", messages=[{"role": "user", "content": "Hello"}]
    )
    assert call_span(product, raw.headers["x-tetrad-trace-id"])["cost"] is None


def test_a_provider_that_refuses_is_passed_on_and_recorded(product: Product, client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(model="fake/error:429", messages=[{"role": "user", "content": "Hello"}])
    span = call_span(product, refusal.value.response.headers["x-tetrad-trace-id"])
    assert span["status"] == "error"
    assert span["http_status"] == 429


def test_another_project_does_not_see_the_provider(product: Product, upstream: FakeOpenAI) -> None:
    product.control("POST", "/api/v1/projects", json={"name": "other"})
    made = product.control("POST", "/api/v1/projects/other/keys", json={"name": "k", "scopes": ["data"]}).json()

    with openai.OpenAI(base_url=f"{product.gateway_url}/v1", api_key=made["secret"], max_retries=0) as stranger:

        def listed() -> set[str] | None:
            try:
                return {model.id for model in stranger.models.list()}
            except openai.AuthenticationError:
                return None

        names = wait_until(listed, what="the new key at the gateway")
        assert names is not None
        assert "local/smollm2-135m" in names
        assert not any(name.startswith(("fake/", "app:")) for name in names)
        with pytest.raises(openai.NotFoundError):
            stranger.chat.completions.create(model="fake/m1", messages=[{"role": "user", "content": "Hello"}])
    taken = product.control(
        "PUT",
        "/api/v1/projects/other/providers/fake",
        json={"base_url": "http://127.0.0.1:1/v1", "models": [{"name": "x"}]},
    )
    assert taken.status_code == 409
    assert taken.json()["code"] == "bad_provider"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"base_url": "ftp://x/v1", "models": [{"name": "m"}]}, "HTTP"),
        ({"base_url": "https://user:pw@x/v1", "models": [{"name": "m"}]}, "credentials"),
        ({"base_url": "https://x/v1", "models": []}, "models"),
        ({"base_url": "https://x/v1", "models": [{"name": "m"}, {"name": "m"}]}, "twice"),
    ],
)
def test_an_impossible_provider_is_refused_with_the_reason(product: Product, body: dict[str, Any], told: str) -> None:
    refused = product.control("PUT", "/api/v1/projects/default/providers/bad", json=body)
    assert refused.status_code == 400
    assert told in refused.json()["detail"] + refused.json()["hint"]


def test_a_provider_of_anthropics_protocol_answers_clients_of_both(product: Product, client: openai.OpenAI) -> None:
    env = environ_of(product)
    with FakeAnthropic() as claude:
        product.cli(
            "provider", "set", "claude", "--adapter", "anthropic", "--base-url", claude.base_url,
            "--secret", "fake-key", "--model", "claude-sonnet-4-5",
        )  # fmt: skip
        wait_until(
            lambda: "claude/claude-sonnet-4-5" in {model.id for model in client.models.list()}, what="the provider"
        )
        with anthropic.Anthropic(
            base_url=env["ANTHROPIC_BASE_URL"], api_key=env["ANTHROPIC_API_KEY"], max_retries=0
        ) as messages:
            raw = messages.messages.with_raw_response.create(
                model="claude/claude-sonnet-4-5", max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
            )
        assert claude.requests[-1].headers["x-api-key"] == SECRET
        span = call_span(product, raw.headers["x-tetrad-trace-id"])
        assert span["provider"] == "anthropic"
        # $3 input, $0.30 from the cache, $3.75 into it for five minutes and $6 for an hour, $15 output, per million
        spent = 10 * Decimal(3) + 2 * Decimal("0.3") + 4 * Decimal("3.75") + 3 * Decimal(6) + 5 * Decimal(15)
        assert Decimal(span["cost"]) == spent / 1_000_000
        assert span["usage"]["cache_write"] == 7
        answer = client.chat.completions.create(
            model="claude/claude-sonnet-4-5", messages=[{"role": "user", "content": "Hello"}]
        )
        assert answer.choices[0].message.content == "Hello world."
        product.cli("provider", "remove", "claude")


def test_a_known_provider_is_added_by_its_name_asked_for_its_models_and_tried(
    product: Product, client: openai.OpenAI
) -> None:
    with FakeGemini() as google:
        product.cli(
            "provider", "set", "google", "--preset", "gemini", "--base-url", google.base_url, "--secret", "fake-key"
        )
        listed = json.loads(product.cli("provider", "models", "google", "--json").stdout)
        assert [each["name"] for each in listed] == ["gemini-2.5-flash", "gemini-3-pro"]
        wait_until(lambda: "google/gemini-3-pro" in {model.id for model in client.models.list()}, what="the provider")
        answer = client.chat.completions.create(
            model="google/gemini-3-pro", messages=[{"role": "user", "content": "Hello"}]
        )
        assert answer.choices[0].message.content == "Hello world."
        assert {seen.headers["x-goog-api-key"] for seen in google.requests} == {SECRET}
        product.cli(
            "provider", "set", "google", "--preset", "gemini", "--base-url", google.base_url, "--secret", "fake-key",
            "--model", "tools",
        )  # fmt: skip
        tried = json.loads(product.cli("provider", "test", "google", "--json").stdout)
        assert {each["what"]: each["works"] for each in tried} == dict.fromkeys(
            ("chat", "stream", "tools", "count_tokens", "models"), True
        )
        product.cli("provider", "remove", "google")


def test_what_a_provider_refuses_is_told_by_the_test_without_the_secret(product: Product) -> None:
    with FakeGemini() as google:
        product.cli(
            "provider", "set", "google", "--preset", "gemini", "--base-url", google.base_url, "--secret", "fake-key",
            "--model", "badkey",
        )  # fmt: skip
        answer = product.control("POST", "/api/v1/projects/default/providers/google/test")
        checks = {each["what"]: each for each in answer.json()["items"]}
        assert (checks["chat"]["works"], checks["models"]["works"]) == (False, True)
        assert "refused this gateway's credential" in checks["chat"]["detail"]
        assert SECRET not in answer.text
        product.cli("provider", "remove", "google")
    gone = product.control("GET", "/api/v1/projects/default/providers/google/models")
    assert gone.status_code == 404
