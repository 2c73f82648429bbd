"""Gateways and control die under load: budgets hold, and what was spent adds up with the spans."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from support.fake_openai import FakeOpenAI
from support.product import Product, running_product
from support.wait import wait_until

BUDGETS = "/api/v1/projects/default/budgets"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("limits")
    with FakeOpenAI() as upstream, running_product(folder, bundled_model=False, gateway_workers=2) as running:
        running.cli("provider", "set", "fake", "--base-url", upstream.base_url, "--model", "gpt-4o-mini")
        wait_until(lambda: ask(running).status_code == 200, what="the provider at the gateway")
        yield running


def ask(product: Product, **fields: Any) -> httpx.Response:
    return httpx.post(
        f"{product.gateway_url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {product.key}"},
        json={
            "model": "fake/gpt-4o-mini",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 50,
            **fields,
        },
        timeout=30,
        trust_env=False,
    )


def load(product: Product, stop: threading.Event) -> list[threading.Thread]:
    """Ask from four threads, with streams among it, until told to stop."""

    def one(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            try:
                ask(product, stream=(number + count) % 2 == 0, user=f"load-{number}")
            except httpx.HTTPError:
                continue

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    return threads


def budget(product: Product) -> dict[str, Any]:
    answer = product.control("GET", BUDGETS)
    assert answer.status_code == 200, answer.text
    return next(each for each in answer.json()["items"] if each["subject"] == "project")


def spans_cost(product: Product) -> Decimal:
    """Add up what the spans of the load cost, page by page."""
    total, cursor = Decimal(0), None
    while True:
        answer = product.control(
            "GET", "/api/v1/projects/default/traces", params={"limit": 200, **({"cursor": cursor} if cursor else {})}
        )
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for trace in page["items"]:
            if trace["user"].startswith("load-"):
                total += Decimal(trace["cost"] or 0)
        cursor = page["next_cursor"]
        if not cursor:
            return total


def gateways(product: Product) -> list[int]:
    return [
        int(each["pid"]) for name, each in product.processes().items() if name.startswith("gateway") and each["pid"]
    ]


def test_a_budget_adds_up_with_the_spans_after_gateways_and_control_were_killed_under_load(product: Product) -> None:
    product.cli("budget", "set", "project", "100", "--period", "total")
    wait_until(
        lambda: ask(product).status_code == 200 and Decimal(budget(product)["spent"]) > 0, what="the budget to count"
    )
    product.cli("budget", "remove", budget(product)["id"])
    product.cli("budget", "set", "project", "100", "--period", "total")
    stop = threading.Event()
    threads = load(product, stop)
    try:
        wait_until(lambda: Decimal(budget(product)["spent"]) > Decimal("0.0001"), timeout_s=60, what="some spending")
        for name in ("gateway", "control", "gateway"):
            pids = gateways(product)[:1] if name == "gateway" else [int(product.processes()["control"]["pid"])]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda dead=pids: not set(dead) & {int(each["pid"] or 0) for each in product.processes().values()},
                timeout_s=60,
                what=f"{name} to come back",
            )
            before = Decimal(
                wait_until(lambda: budget(product)["spent"], timeout_s=60, what="control", retry_on=(httpx.HTTPError,))
            )
            wait_until(
                lambda at=before: Decimal(budget(product)["spent"]) > at,
                timeout_s=60,
                what="spending to go on",
                retry_on=(httpx.HTTPError,),
            )
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)

    def adds_up() -> bool:
        return Decimal(budget(product)["spent"]) == spans_cost(product) > 0

    wait_until(adds_up, timeout_s=90, what="the budget and the spans to add up")
    assert Decimal(budget(product)["uncertain"]) < Decimal("0.001")  # the calls that death cut off, at most eight
