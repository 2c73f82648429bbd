"""A batch under way whose worker and whose control are killed: it goes on, and no answered line is called again."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from support.batch_client import begun, client_of, client_of_a_key, ended, look, results
from support.fake_openai import WORDS, FakeOpenAI
from support.product import Product, running_product
from support.wait import wait_until

AT_ONCE = 4
LINES = 60
LATER = "fake/later:0.2"


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, upstream: FakeOpenAI) -> Iterator[Product]:
    with running_product(
        tmp_path_factory.mktemp("batches"), bundled_model=False, batch_concurrency=AT_ONCE, jobs_poll_s=0.2
    ) as running:
        subprocess.run(
            [sys.executable, "-m", "tetrad", "secret", "set", "fake-key"],
            env=running.environment, input="sk-upstream", text=True, check=True, timeout=60, capture_output=True,
        )  # fmt: skip
        running.cli(
            "provider", "set", "fake", "--base-url", upstream.base_url, "--secret", "fake-key",
            "--model", "later:0.2", "--model", "m1",
        )  # fmt: skip
        yield running


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    with client_of(product, "fake/m1") as made:
        yield made


@pytest.mark.parametrize("victim", ["worker", "control"])
def test_a_batch_goes_on_where_it_was(
    product: Product, client: openai.OpenAI, upstream: FakeOpenAI, victim: str
) -> None:
    batch = begun(client, victim, LINES, LATER)
    wait_until(lambda: look(client, batch).request_counts.completed >= 8, timeout_s=60, what="some answers")
    os.kill(int(product.processes()[victim]["pid"]), signal.SIGKILL)
    done = ended(client, batch)
    assert done.status == "completed"
    assert done.request_counts.completed == LINES
    found = results(client, done.output_file_id)
    assert list(found) == [f"{victim}-{number}" for number in range(LINES)]
    said = {line["response"]["body"]["choices"][0]["message"]["content"] for line in found.values()}
    assert said == {"".join(WORDS)}
    called = collections.Counter(
        request.body["messages"][0]["content"]
        for request in upstream.requests
        if request.body.get("messages") and str(request.body["messages"][0]["content"]).startswith(f"{victim}-")
    )
    assert len(called) == LINES
    again = sum(count - 1 for count in called.values())
    assert again <= (AT_ONCE if victim == "worker" else 0)


def test_spans_name_the_batch_and_the_key_that_made_it(product: Product, client: openai.OpenAI) -> None:
    batch = begun(client, "span", 2, "fake/m1")
    done = ended(client, batch)
    trace_id = results(client, done.output_file_id)["span-0"]["response"]["request_id"]

    def trace() -> dict[str, Any] | None:
        answer = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}")
        return answer.json() if answer.status_code == 200 else None

    found = wait_until(trace, timeout_s=30, what="the trace")
    assert found is not None
    root = next(span for span in found["spans"] if not span["parent_id"])
    assert root["attributes"]["tetrad.batch"] == batch.id
    shown = json.loads(product.cli("batch", "show", batch.id, "--json").stdout)
    assert shown["key_id"] == root["key_id"]
    assert batch.id in product.cli("batch", "list").stdout
    told = product.cli("batch", "cancel", batch.id, check=False)
    assert told.returncode != 0
    assert "is completed" in told.stderr


def test_a_revoked_key_stops_its_batch(product: Product) -> None:
    with client_of_a_key(product, "short-lived") as (client, key):
        batch = begun(client, "revoked", LINES, LATER)
        wait_until(lambda: look(client, batch).request_counts.completed > 0, timeout_s=60, what="an answer")
        product.control("DELETE", f"/api/v1/projects/default/keys/{key}").raise_for_status()

    def stopped() -> dict[str, Any] | None:
        shown = json.loads(product.cli("batch", "show", batch.id, "--json").stdout)
        return shown if shown["status"] == "failed" else None

    shown = wait_until(stopped, timeout_s=60, what="the batch to stop")
    assert shown is not None
    assert shown["errors"][0]["code"] == "batch_key_gone"
    assert 0 < shown["completed"] < LINES
