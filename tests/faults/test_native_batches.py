"""Batches that their provider's own batch API does: whole products, the official clients, and kills in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from support import batch_client
from support.batch_client import client_of, client_of_a_key, ended, look, results
from support.fake_batches import TEXT, FakeBatches, Lines
from support.product import Product, running_product
from support.wait import wait_until

OPENAI, CLAUDE = "its-openai/m1", "its-anthropic/m1"
PRICE = ["--price", "m1=input:2", "--price", "m1=output:4", "--price", "m1=batch:0.5"]


@pytest.fixture(scope="module")
def fakes() -> Iterator[dict[str, FakeBatches]]:
    with FakeBatches("openai") as first, FakeBatches("anthropic") as second:
        yield {"openai": first, "anthropic": second}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, fakes: dict[str, FakeBatches]) -> Iterator[Product]:
    with running_product(
        tmp_path_factory.mktemp("native"),
        bundled_model=False,
        jobs_poll_s=0.2,
        batch_poll_s=0.5,
        batch_concurrency=2,
        batch_doubt_s=5,
    ) as running:
        subprocess.run(
            [sys.executable, "-m", "tetrad", "secret", "set", "fake-key"],
            env=running.environment, input="sk-upstream", text=True, check=True, timeout=60, capture_output=True,
        )  # fmt: skip
        for name, fake in fakes.items():
            running.cli(
                "provider", "set", f"its-{name}", "--base-url", fake.base_url, "--secret", "fake-key",
                "--adapter", name, "--batches", "native", "--model", "m1", *PRICE, "--model", "m2",
            )  # fmt: skip
        yield running


@pytest.fixture(autouse=True)
def behaved(fakes: dict[str, FakeBatches]) -> Iterator[None]:
    yield
    for fake in fakes.values():
        fake.lose, fake.refuse, fake.fail, fake.results = 0, "", "", lambda lines: lines
        fake.hide = False
        fake.release.set()


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    with client_of(product, OPENAI, CLAUDE) as made:
        yield made


@pytest.fixture
def claude(product: Product, client: openai.OpenAI) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=product.gateway_url, api_key=client.api_key, max_retries=3) as made:
        yield made


def begun(client: openai.OpenAI, name: str, lines: int = 3, models: tuple[str, ...] = (OPENAI,)) -> Any:
    return batch_client.begun(client, name, lines, *models)


def handed(client: openai.OpenAI, batch: Any) -> bool:
    return bool(look(client, batch).tetrad.get("provider_batch"))


def test_a_batch_is_handed_over_and_each_line_is_recorded_at_its_price(
    product: Product, client: openai.OpenAI, fakes: dict[str, FakeBatches]
) -> None:
    batch = begun(client, "plain")
    done = ended(client, batch)
    assert (done.status, done.request_counts.completed, done.tetrad["way"]) == ("completed", 3, "native")
    found = results(client, done.output_file_id)
    assert list(found) == ["plain-0", "plain-1", "plain-2"]
    assert {each["response"]["body"]["choices"][0]["message"]["content"] for each in found.values()} == {TEXT}
    (made,) = fakes["openai"].named("plain-0")
    assert made["metadata"] == {"tetrad_batch": batch.id}
    assert {each["body"]["model"] for each in made["requests"]} == {"m1"}

    trace_id = found["plain-1"]["response"]["request_id"]

    def trace() -> dict[str, Any] | None:
        answer = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}")
        return answer.json() if answer.status_code == 200 else None

    told = wait_until(trace, timeout_s=60, what="the trace")
    assert told is not None
    root, child = sorted(told["spans"], key=lambda span: bool(span["parent_id"]))
    assert root["attributes"]["tetrad.batch"] == batch.id
    assert child["cost"] == "0.000022"  # half of 12 x 2 and 5 x 4 by the million
    shown = json.loads(product.cli("batch", "show", batch.id, "--json").stdout)
    assert (shown["way"], shown["provider"], shown["provider_batch"]) == ("native", "its-openai", made["id"])
    assert {made["input_file_id"], f"output_of_{made['id']}"} <= set(fakes["openai"].deleted)


def test_batches_that_wait_for_their_provider_keep_no_other_waiting(
    product: Product, client: openai.OpenAI, fakes: dict[str, FakeBatches]
) -> None:
    fakes["openai"].release.clear()
    waiting = [begun(client, f"waiting-{number}") for number in range(6)]  # more than `jobs_at_once`
    for batch in waiting:
        wait_until(lambda batch=batch: handed(client, batch), timeout_s=60, what="the provider to have the batch")
    other = ended(client, begun(client, "by-calls", models=("its-openai/m1", "its-openai/m2")))
    assert (other.status, other.tetrad["way"]) == ("completed", "calls")
    fakes["openai"].release.set()
    assert {ended(client, batch).status for batch in waiting} == {"completed"}


def test_anthropics_batches_are_handed_over_and_told_in_its_words(
    claude: anthropic.Anthropic, fakes: dict[str, FakeBatches]
) -> None:
    params: Any = {"model": "its-anthropic/m1", "max_tokens": 20, "messages": [{"role": "user", "content": "claude."}]}
    batch = claude.messages.batches.create(requests=[{"custom_id": "one", "params": params}])

    def over() -> Any:
        now = claude.messages.batches.retrieve(batch.id)
        return now if now.processing_status == "ended" else None

    wait_until(over, timeout_s=60, what="the batch to end")
    (result,) = claude.messages.batches.results(batch.id)
    assert result.custom_id == "one"
    assert result.result.type == "succeeded"
    assert result.result.message.content[0].text == TEXT  # type: ignore[union-attr]
    assert len(fakes["anthropic"].named("claude.")) == 1


def test_lines_in_openais_words_are_translated_for_anthropics_batches(
    client: openai.OpenAI, fakes: dict[str, FakeBatches]
) -> None:
    done = ended(client, begun(client, "translated", models=("its-anthropic/m1", "its-anthropic/m2")))
    assert (done.status, done.tetrad["way"]) == ("completed", "native")
    found = results(client, done.output_file_id)
    assert found["translated-2"]["response"]["body"]["choices"][0]["message"]["content"] == TEXT
    assert len(fakes["anthropic"].named("translated-0.")) == 1


@pytest.mark.parametrize(
    ("name", "models", "why"),
    [
        ("mixed", ("its-openai/m1", "its-anthropic/m1"), "more than one provider"),
        ("two", ("its-openai/m1", "its-openai/m2"), "more than one model"),
    ],
)
def test_what_a_providers_batch_cannot_do_goes_by_calls_and_says_so(
    client: openai.OpenAI, fakes: dict[str, FakeBatches], name: str, models: tuple[str, ...], why: str
) -> None:
    done = ended(client, begun(client, name, models=models))
    assert (done.status, done.request_counts.completed, done.tetrad["way"]) == ("completed", 3, "calls")
    assert why in done.tetrad["why"]
    assert not fakes["openai"].named(f"{name}-0.")


@pytest.mark.parametrize("fault", ["refuse", "fail"])
def test_a_batch_that_its_provider_refuses_goes_by_calls(
    client: openai.OpenAI, fakes: dict[str, FakeBatches], fault: str
) -> None:
    setattr(fakes["openai"], fault, "enqueued token limit reached")
    done = ended(client, begun(client, fault))
    assert (done.status, done.request_counts.completed, done.tetrad["way"]) == ("completed", 3, "calls")
    assert "enqueued token limit" in done.tetrad["why"]


def _lying(lines: Lines) -> Lines:
    first, *rest = lines
    strange = {**first, "custom_id": "somebody-elses-1"}
    failed = {**rest[0], "response": {"status_code": 400, "body": {"error": {"message": "bad", "code": "bad"}}}}
    twice = {**failed, "response": first["response"]}
    return [strange, failed, twice, {"custom_id": 7}, *rest[1:]]  # type: ignore[list-item]


def test_what_a_provider_tells_wrong_is_an_error_of_the_line(
    client: openai.OpenAI, fakes: dict[str, FakeBatches]
) -> None:
    fakes["openai"].results = _lying
    done = ended(client, begun(client, "lying"))
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 1, 2)
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert list(good) == ["lying-0"]
    assert bad["lying-1"]["response"]["status_code"] == 400
    assert bad["lying-2"]["error"]["code"] == "batch_result_missing"


def test_a_cancelled_batch_is_cancelled_at_its_provider(client: openai.OpenAI, fakes: dict[str, FakeBatches]) -> None:
    fakes["openai"].release.clear()
    batch = begun(client, "cancelled")
    wait_until(lambda: handed(client, batch), timeout_s=60, what="the batch to be handed over")
    client.batches.cancel(batch.id)
    done = ended(client, batch)
    assert done.status == "cancelled"
    (made,) = fakes["openai"].named("cancelled-0.")
    assert made["cancelled"]
    assert {each["error"]["code"] for each in results(client, done.error_file_id).values()} == {"batch_cancelled"}


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_a_batch_whose_submission_was_answered_to_nobody_is_found_and_not_submitted_again(
    client: openai.OpenAI, fakes: dict[str, FakeBatches], protocol: str
) -> None:
    name = f"lost-{protocol}"
    fakes[protocol].lose = 1
    done = ended(client, begun(client, name, models=(f"its-{protocol}/m1",)))
    assert (done.status, done.request_counts.completed, done.tetrad["way"]) == ("completed", 3, "native")
    assert len(fakes[protocol].named(f"{name}-0.")) == 1


@pytest.mark.parametrize("victim", ["worker", "control"])
def test_a_batch_whose_process_is_killed_goes_on_and_is_paid_once(
    product: Product, client: openai.OpenAI, fakes: dict[str, FakeBatches], victim: str
) -> None:
    fakes["openai"].release.clear()
    batch = begun(client, f"killed-{victim}", 20)
    wait_until(lambda: handed(client, batch), timeout_s=60, what="the batch to be handed over")
    os.kill(int(product.processes()[victim]["pid"]), signal.SIGKILL)
    fakes["openai"].release.set()
    done = ended(client, batch)
    assert (done.status, done.request_counts.completed) == ("completed", 20)
    assert len(fakes["openai"].named(f"killed-{victim}-0.")) == 1


def test_a_worker_killed_while_it_submits_submits_nothing_twice(
    product: Product, client: openai.OpenAI, fakes: dict[str, FakeBatches]
) -> None:
    fake = fakes["openai"]
    fake.release.clear()
    fake.lose = 1
    with fake.looking:  # the provider has it, and tells nobody
        batch = begun(client, "torn")
        wait_until(lambda: fake.named("torn-0."), timeout_s=60, what="the batch at its provider")
        os.kill(int(product.processes()["worker"]["pid"]), signal.SIGKILL)
    fake.release.set()
    done = ended(client, batch)
    assert (done.status, done.request_counts.completed, done.tetrad["way"]) == ("completed", 3, "native")
    assert len(fake.named("torn-0.")) == 1


def test_a_budget_is_held_for_a_batch_and_counts_what_it_cost(
    product: Product, client: openai.OpenAI, fakes: dict[str, FakeBatches]
) -> None:
    with client_of_a_key(product, "thrifty") as (thrifty, key):
        budget = _budget(product, key, "0.0001")
        done = ended(thrifty, begun(thrifty, "small", 1))
        assert done.tetrad["way"] == "native"
        wait_until(lambda: _spent(product, budget) == "0.000022", timeout_s=60, what="what it cost")
        large = begun(thrifty, "large", 3)
        wait_until(lambda: look(thrifty, large).tetrad.get("way"), timeout_s=60, what="how the batch is done")
        assert look(thrifty, large).tetrad["way"] == "calls"
        assert "budget" in look(thrifty, large).tetrad["why"]
        thrifty.batches.cancel(large.id)  # a spent budget is waited for
    assert not fakes["openai"].named("large-0.")


@pytest.mark.timeout(400)  # nine processes are killed, and start again
@pytest.mark.parametrize("victim", ["gateway-0", "worker", "control"])
def test_whoever_is_killed_while_answers_are_settled_each_line_counts_once(
    product: Product, client: openai.OpenAI, victim: str
) -> None:
    lines = 60
    with client_of_a_key(product, f"counted-{victim}") as (counted, key):
        budget = _budget(product, key, "1")
        batch = begun(counted, f"counted-{victim}", lines)
        for settled in (4, 20, 40):  # in the middle, again and again
            wait_until(lambda least=settled: _settled(counted, batch) >= least, timeout_s=120, what="some answers")
            os.kill(int(product.processes()[victim]["pid"]), signal.SIGKILL)
        done = ended(counted, batch)
        assert (done.status, done.request_counts.completed, done.tetrad["way"]) == ("completed", lines, "native")
    assert _spent(product, budget) == "0.00132"  # 60 times 0.000022
    held = product.control("GET", f"/api/v1/projects/default/budgets/{budget}").json()["items"][0]
    assert {held[name] for name in ("held", "uncertain")} == {"0"}


def test_a_revoked_key_cancels_its_batch_at_the_provider_whose_files_are_deleted(
    product: Product, client: openai.OpenAI, fakes: dict[str, FakeBatches]
) -> None:
    fake = fakes["openai"]
    fake.release.clear()
    with client_of_a_key(product, "leaked") as (leaked, key):
        batch = begun(leaked, "leaked")
        wait_until(lambda: handed(leaked, batch), timeout_s=60, what="the batch to be handed over")
        product.control("DELETE", f"/api/v1/projects/default/keys/{key}").raise_for_status()
    (made,) = fake.named("leaked-0.")
    wait_until(lambda: made["cancelled"], timeout_s=60, what="the batch to be cancelled at its provider")

    def stopped() -> dict[str, Any] | None:
        shown = json.loads(product.cli("batch", "show", batch.id, "--json").stdout)
        return shown if shown["status"] == "failed" else None

    shown = wait_until(stopped, timeout_s=60, what="the batch to end")
    assert shown is not None
    assert shown["errors"][0]["code"] == "batch_key_gone"
    assert made["input_file_id"] in fake.deleted


def test_a_batch_that_its_provider_took_and_never_lists_is_not_paid_again(
    client: openai.OpenAI, fakes: dict[str, FakeBatches]
) -> None:
    fake = fakes["openai"]
    fake.lose, fake.hide = 1, True
    done = ended(client, begun(client, "hidden"))
    assert (done.status, done.request_counts.failed) == ("completed", 3)
    told = results(client, done.error_file_id)
    assert {each["error"]["code"] for each in told.values()} == {"batch_submission_unknown"}
    assert len(fake.named("hidden-0.")) == 1
    assert not any("hidden-" in json.dumps(call) for call in fake.calls)


def _settled(client: openai.OpenAI, batch: Any) -> int:
    return int(look(client, batch).request_counts.completed)


def _budget(product: Product, key: str, amount: str) -> str:
    budget = {"subject": "key", "name": key, "amount": amount, "period": "total"}
    stored = product.control("PUT", "/api/v1/projects/default/budgets", json=budget)
    stored.raise_for_status()
    return str(stored.json()["id"])


def _spent(product: Product, rule: str) -> str:
    found = product.control("GET", f"/api/v1/projects/default/budgets/{rule}").json()["items"]
    return str(found[0]["spent"]) if found else ""
