"""Gateways and control die under load: budgets hold, and what was spent adds up with the spans."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess
from support.ports import free_port
from support.product import product_environment
from support.wait import wait_until

CUT_OFF = Decimal("0.00014")
"""Four calls, of some 32 millionths each."""
LEFT_BEHIND_S = 45.0
"""By then what a dead gateway left behind was found, every 30 s, and shipped."""
BUDGETS = "/api/v1/projects/default/budgets"
pytestmark = pytest.mark.timeout(400)


class Site:
    """Control and two gateways, without a supervisor: the test kills and starts them itself."""

    def __init__(self, home: Path, upstream: FakeOpenAI) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.gateways: list[GatewayProcess] = []
        try:
            self._start(upstream)
        except BaseException:
            self.close()
            raise

    def _start(self, upstream: FakeOpenAI) -> None:
        self.start_control()
        provider = {
            "base_url": upstream.base_url,
            "models": [
                {
                    "name": "m1",
                    "price": {
                        "input": "0.15",
                        "output": "0.6",
                        "cache_read": "0.075",
                        "cache_write": None,
                        "currency": "USD",
                    },
                }
            ],
        }
        put = self.control("PUT", "/api/v1/projects/default/providers/fake", json=provider)
        assert put.status_code == 200, put.text
        self.gateways = [
            GatewayProcess(self.home, control_url=self.url, index=number, wait=False) for number in range(2)
        ]
        for gateway in self.gateways:
            gateway.start()
        for number in range(2):
            wait_until(lambda at=number: self.ask(at).status_code == 200, timeout_s=60, what="the gateways")

    def start_control(self) -> None:
        environment = product_environment(self.home, control_port=self.port, example_app=False, bundled_model=False)
        with (self.home / "control.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tetrad.processes.control"], env=environment, stdout=log, stderr=log
            )

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.home / "control.log").read_text()
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200

        wait_until(ready, timeout_s=120, what="control", retry_on=(httpx.HTTPError,))

    def kill_control(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def control(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        key = (self.home / "keys" / "admin.key").read_text("utf-8").strip()
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.request(method, self.url + path, headers=headers, timeout=30, trust_env=False, **arguments)

    def ask(self, gateway: int, **fields: Any) -> httpx.Response:
        key = (self.home / "keys" / "app.key").read_text("utf-8").strip()
        body = {"model": "fake/m1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, **fields}
        return httpx.post(
            f"{self.gateways[gateway].url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {key}"}, json=body, timeout=30, trust_env=False,
        )  # fmt: skip

    def budget(self) -> dict[str, Any]:
        answer = self.control("GET", BUDGETS)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["items"][0])

    def set_budget(self, amount: str) -> dict[str, Any]:
        body = {"subject": "user", "name": "load", "amount": amount, "period": "total"}
        answer = self.control("PUT", BUDGETS, json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def spans_cost(self) -> Decimal:
        """Add up what the spans of the load cost, page by page."""
        total, cursor = Decimal(0), None
        while True:
            asked = {"limit": 200, "user": "load", **({"cursor": cursor} if cursor else {})}
            answer = self.control("GET", "/api/v1/projects/default/traces", params=asked)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            total += sum((Decimal(trace["cost"] or 0) for trace in page["items"]), Decimal(0))
            cursor = page["next_cursor"]
            if not cursor:
                return total

    def close(self) -> None:
        for gateway in self.gateways:
            gateway.__exit__()
        self.kill_control()


@pytest.fixture
def site(tetrad_home: Path) -> Iterator[Site]:
    with FakeOpenAI() as upstream, contextlib.closing(Site(tetrad_home, upstream)) as made:
        yield made


def books_agree(site: Site, *, but: Decimal = Decimal(0)) -> None:
    """Wait until the budget and the spans add up; what is still apart once all was shipped is at most `but`."""
    since = time.monotonic()

    def agree() -> bool:
        spent, spans = Decimal(site.budget()["spent"]), site.spans_cost()
        late = time.monotonic() - since > LEFT_BEHIND_S
        assert spans > 0
        assert 0 <= spent - spans <= (but if late else 0), f"the budget says {spent}, the spans {spans}"
        return True

    wait_until(agree, timeout_s=90, what="the budget and the spans to add up", retry_on=(AssertionError,))


@contextlib.contextmanager
def under_load(site: Site) -> Iterator[list[int]]:
    """Ask both gateways from four threads, with streams among it; yield the statuses so far."""
    stop, statuses = threading.Event(), list[int]()

    def one(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            with contextlib.suppress(httpx.HTTPError):  # of a gateway that was just killed
                statuses.append(site.ask(number % 2, stream=count % 2 == 0, user="load").status_code)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def test_a_budget_adds_up_with_the_spans_after_gateways_and_control_were_killed_under_load(site: Site) -> None:
    site.set_budget("100")
    wait_until(lambda: site.ask(0, user="load").is_success and Decimal(site.budget()["spent"]) > 0, what="a count")

    def goes_on() -> None:
        before = Decimal(site.budget()["spent"])
        wait_until(lambda: Decimal(site.budget()["spent"]) > before, timeout_s=60, what="spending to go on")

    with under_load(site) as statuses:
        goes_on()
        for number in range(2):
            process = site.gateways[number].process
            assert process is not None
            process.kill()
            process.wait()
            site.gateways[number].start()
            wait_until(
                lambda at=number: site.ask(at, user="load").is_success,
                timeout_s=60,
                what="the gateway to be back",
                retry_on=(httpx.HTTPError,),
            )
            goes_on()
        site.kill_control()
        answered = statuses.count(200)
        wait_until(lambda: statuses.count(200) > answered, timeout_s=30, what="answers without control")
        site.start_control()
        goes_on()
    # a call that died between its entry in the journal and its span has none: two of each gateway at most
    books_agree(site, but=CUT_OFF)
    # what death cut off is an estimate of its own: two calls of each gateway at most
    assert Decimal(site.budget()["uncertain"]) <= CUT_OFF


def test_no_gateway_spends_past_a_budget_while_control_is_dead(site: Site) -> None:
    amount = Decimal("0.005")
    site.set_budget(str(amount))
    with under_load(site) as statuses:
        wait_until(lambda: Decimal(site.budget()["spent"]) > 0, timeout_s=60, what="spending")
        site.kill_control()
        wait_until(lambda: statuses[-20:].count(503) == 20, timeout_s=60, what="every lease to be used up")
    site.start_control()
    books_agree(site)
    assert Decimal(site.budget()["spent"]) <= amount
