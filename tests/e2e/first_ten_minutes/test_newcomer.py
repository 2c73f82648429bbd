"""A newcomer's first ten minutes: an answer through any OpenAI client, and its trace."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from support.product import Product, environ_of
from support.wait import wait_until

ROOT = Path(__file__).parents[3]
QUESTION = "What is the capital of France?"


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    env = environ_of(product)
    with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=0) as made:
        yield made


def trace_of(product: Product, trace_id: str) -> dict[str, Any]:
    """Wait until a trace is in the store and return it."""

    def found() -> dict[str, Any] | None:
        answer = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}")
        return answer.json() if answer.status_code == 200 else None

    trace = wait_until(found, timeout_s=20, what=f"the trace {trace_id}")
    assert trace is not None
    return trace


def test_a_plain_call_is_answered_by_the_app_and_leaves_its_trace(product: Product, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="app:assistant", messages=[{"role": "user", "content": QUESTION}], max_tokens=24
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage is not None
    release, trace_id = raw.headers["x-tetrad-release"], raw.headers["x-tetrad-trace-id"]
    assert release.startswith("sha256:")

    trace = trace_of(product, trace_id)
    spans = trace["spans"]
    root = next(span for span in spans if not span["parent_id"])
    attempt = next(span for span in spans if span["parent_id"] == root["span_id"])
    assert {span["release"] for span in spans} == {release}
    usage = attempt["usage"]
    assert usage["input"] + usage["cache_read"] + usage["cache_write"] == answer.usage.prompt_tokens
    assert usage["output"] + usage["reasoning"] == answer.usage.completion_tokens
    assert float(attempt["cost"]) == 0.0, "a local model has a price, and it is nothing"
    path = f"/api/v1/projects/default/traces/{trace_id}/spans/"
    asked = product.control("GET", path + root["span_id"]).json()
    assert QUESTION in json.dumps(asked["input"])
    assert answer.choices[0].message.content in json.dumps(asked["output"], ensure_ascii=False)
    sent = product.control("GET", path + attempt["span_id"]).json()
    assert len(sent["input"]) > 1, "the release's prompt and examples stand before the question"


def test_an_engine_costs_what_the_project_says_until_it_takes_that_back(
    product: Product, client: openai.OpenAI
) -> None:
    def cost() -> str:
        raw = client.chat.completions.with_raw_response.create(
            model="app:assistant", messages=[{"role": "user", "content": QUESTION}], max_tokens=4
        )
        spans = trace_of(product, raw.headers["x-tetrad-trace-id"])["spans"]
        return str(next(span for span in spans if span["parent_id"])["cost"])

    product.cli("model", "price", "set", "local/smollm2-135m", "input:1000", "output:2000")
    try:
        paid = wait_until(lambda: (told := cost()) != "0" and told, timeout_s=30, what="the price to be counted")
        assert Decimal(paid) > Decimal("0.001"), "the prompt and the question have more than one token"
        used = json.loads(product.cli("budget", "usage", "--by", "app", "--json").stdout)
        assert sum(Decimal(each["amount"]) for app in used for each in app["costs"]) >= Decimal(paid)
    finally:
        listed = product.control("GET", "/api/v1/projects/default/model-prices").json()["items"]
        for each in listed:
            if each["model"] == "local/smollm2-135m" and each["price"]["source"] == "manual":
                product.cli("model", "price", "remove", each["id"])
    wait_until(lambda: cost() == "0", timeout_s=30, what="the price to be taken back")


def test_the_key_that_was_used_tells_when(product: Product, client: openai.OpenAI) -> None:
    begun = datetime.now(UTC)
    client.models.list()

    def last_used() -> str | None:
        keys = product.control("GET", "/api/v1/projects/default/keys").json()["items"]
        return max(
            (key["last_used_at"] for key in keys if key["scopes"] == ["data"] and key["last_used_at"]), default=None
        )

    told = wait_until(last_used, timeout_s=30, what="the gateway to tell of the key")
    assert told is not None
    # a call of a test before this one may have been told less than a minute ago
    assert begun - timedelta(seconds=90) < datetime.fromisoformat(told) <= datetime.now(UTC)
    listed = json.loads(product.cli("key", "list", "--json").stdout)
    assert any(key["last_used_at"] and key["last_used_at"] >= told for key in listed)


def test_the_model_itself_may_be_named(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="local/smollm2-135m", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )
    assert answer.choices[0].message.content


def test_a_stream_arrives_in_pieces_and_is_recorded_whole(product: Product, client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="app:assistant", messages=[{"role": "user", "content": QUESTION}], max_tokens=24, stream=True
    ) as response:
        trace_id = response.headers["x-tetrad-trace-id"]
        pieces = [chunk.choices[0].delta.content or "" for chunk in response.parse() if chunk.choices]
    assert len([piece for piece in pieces if piece]) > 1
    spans = trace_of(product, trace_id)["spans"]
    root = next(span for span in spans if not span["parent_id"])
    attempt = next(span for span in spans if span["parent_id"])
    assert attempt["usage"]["output"] > 0
    assert attempt["first_token_ms"] > 0
    recorded = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}/spans/{root['span_id']}").json()
    assert "".join(pieces) in json.dumps(recorded["output"], ensure_ascii=False)


async def test_async_clients_work_side_by_side(product: Product) -> None:
    env = environ_of(product)
    async with openai.AsyncOpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"]) as client:

        async def ask(question: str) -> str:
            stream = await client.chat.completions.create(
                model="app:assistant", messages=[{"role": "user", "content": question}], max_tokens=12, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

        answers = await asyncio.gather(*(ask(f"Name the number {n}.") for n in range(4)))
    assert all(answers)


def test_embeddings_tell_kin_from_strangers(client: openai.OpenAI) -> None:
    texts = ["How do I reset my password?", "I forgot my password and cannot log in.", "Bananas are rich in potassium."]
    answer = client.embeddings.create(model="local/minilm-l6-v2", input=texts)
    vectors = [item.embedding for item in answer.data]

    def cosine(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / (sum(x * x for x in a) ** 0.5 * sum(y * y for y in b) ** 0.5)

    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.2


def test_models_are_listed(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"app:assistant", "local/smollm2-135m"} <= names


def test_a_wrong_key_is_refused_with_a_way_out(product: Product) -> None:
    wrong = openai.OpenAI(base_url=f"{product.gateway_url}/v1", api_key="tetrad_data_wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError) as refusal:
        wrong.models.list()
    assert "tetrad env" in str(refusal.value)


def test_the_example_app_runs_and_announces_its_code(product: Product) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "assistant" / "assistant.py"), QUESTION],
        env={**os.environ, **environ_of(product)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip()

    def announced() -> list[dict[str, Any]]:
        listed = product.control("GET", "/api/v1/projects/default/traces", params={"app": "assistant"}).json()
        return [trace for trace in listed["items"] if trace.get("code_match") == "match"]

    assert wait_until(announced, timeout_s=20, what="a trace whose code matches its release")


def test_the_command_line_lists_and_shows_traces(product: Product, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="app:assistant", messages=[{"role": "user", "content": "Count to three."}], max_tokens=12
    )
    trace_id = raw.headers["x-tetrad-trace-id"]
    trace_of(product, trace_id)
    listed = json.loads(product.cli("trace", "list", "--json").stdout)
    assert trace_id in {trace["trace_id"] for trace in listed}
    shown = product.cli("trace", "show", trace_id).stdout
    assert "Count to three." in shown


def test_status_names_every_process(product: Product) -> None:
    seen = json.loads(product.cli("status", "--json").stdout)
    processes = {process["name"]: process["state"] for process in seen["supervisor"]["processes"]}
    assert processes == {"control": "ready", "inference": "ready", "worker": "ready", "gateway-0": "ready"}
    assert {engine["state"] for engine in seen["control"]["engines"]} == {"ready"}


def test_the_console_is_served_and_asks_strangers_to_sign_in(product: Product) -> None:
    page = httpx.get(product.control_url, trust_env=False)
    assert page.status_code == 200
    assert '<div id="root"' in page.text
    refused = httpx.get(f"{product.control_url}/api/v1/projects", trust_env=False)
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_call_that_costs_nothing_is_listed_as_nothing_not_as_unknown(product: Product, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="local/smollm2-135m", messages=[{"role": "user", "content": "Hi."}], max_tokens=4
    )
    trace_id = raw.headers["x-tetrad-trace-id"]
    trace_of(product, trace_id)
    listed = product.control("GET", "/api/v1/projects/default/traces").json()["items"]
    found = next(trace for trace in listed if trace["trace_id"] == trace_id)
    assert found["unpriced_calls"] == 0
    assert float(found["cost"]) == 0.0
