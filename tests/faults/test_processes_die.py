"""Whatever dies comes back, answers go on where they can, and no span is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.product import Product, running_product
from support.wait import wait_until

pytestmark = pytest.mark.timeout(240)
BODY = {"model": "app:assistant", "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 4}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running_product(tmp_path_factory.mktemp("faults")) as running:
        yield running


def ask(product: Product, timeout_s: float = 30) -> httpx.Response:
    return httpx.post(
        f"{product.gateway_url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {product.key}"},
        json=BODY,
        timeout=timeout_s,
        trust_env=False,
    )


def kill(product: Product, name: str) -> int:
    """Kill a process and wait until the supervisor has a new one; return the old pid."""
    pid = int(product.processes()[name]["pid"])
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: product.processes()[name]["pid"] not in (None, pid) and product.processes()[name]["state"] == "ready",
        timeout_s=60,
        what=f"{name} to come back",
    )
    return pid


def stored(product: Product, trace_ids: set[str]) -> set[str]:
    found = set()
    for trace_id in trace_ids:
        answer = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}")
        if answer.status_code == 200:
            found.add(trace_id)
    return found


def test_the_gateway_answers_while_control_is_dead_and_its_spans_arrive_later(product: Product) -> None:
    pid = int(product.processes()["control"]["pid"])
    os.kill(pid, signal.SIGSTOP)  # neither dead nor alive: the worst kind
    try:
        answers = [ask(product) for _ in range(5)]
    finally:
        os.kill(pid, signal.SIGKILL)
    assert [answer.status_code for answer in answers] == [200] * 5
    traces = {answer.headers["x-tetrad-trace-id"] for answer in answers}
    wait_until(
        lambda: stored(product, traces) == traces,
        timeout_s=60,
        what="all spans in the store",
        retry_on=(httpx.HTTPError,),
    )


def test_a_gateway_killed_under_load_loses_no_span_of_a_whole_answer(product: Product) -> None:
    whole: set[str] = set()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                answer = ask(product)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                whole.add(answer.headers["x-tetrad-trace-id"])

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            seen = len(whole)
            wait_until(lambda seen=seen: len(whole) >= seen + 6, timeout_s=60, what="answers under load")
            kill(product, "gateway-0")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(whole) >= 18
    wait_until(lambda: stored(product, whole) == whole, timeout_s=60, what="every whole answer's trace")


def test_a_killed_engine_comes_back_and_answers(product: Product) -> None:
    import psutil

    worker = psutil.Process(int(product.processes()["worker"]["pid"]))
    engines = [child for child in worker.children(recursive=True) if "llama_cpp" in " ".join(child.cmdline())]
    assert len(engines) == 1
    engines[0].kill()
    wait_until(lambda: ask(product).status_code == 200, timeout_s=60, what="answers again", retry_on=(httpx.HTTPError,))


def test_while_its_engine_is_away_a_model_answers_503_and_says_when_to_retry(product: Product) -> None:
    import psutil

    worker = psutil.Process(int(product.processes()["worker"]["pid"]))
    engine = next(child for child in worker.children(recursive=True) if "llama_cpp" in " ".join(child.cmdline()))
    engine.kill()
    refusals = []

    def back() -> bool:
        answer = ask(product)
        if answer.status_code != 200:
            refusals.append(answer)
        return answer.status_code == 200

    wait_until(back, timeout_s=60, what="answers again")
    assert {answer.status_code for answer in refusals} <= {502, 503}
    assert all("error" in answer.json() for answer in refusals)


def test_a_killed_worker_takes_its_engines_along_and_both_come_back(product: Product) -> None:
    import psutil

    worker = psutil.Process(int(product.processes()["worker"]["pid"]))
    orphans = worker.children(recursive=True)
    kill(product, "worker")
    wait_until(
        lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in orphans),
        timeout_s=20,
        what="no orphaned engine",
        retry_on=(psutil.NoSuchProcess,),
    )
    wait_until(lambda: ask(product).status_code == 200, timeout_s=60, what="answers again", retry_on=(httpx.HTTPError,))


@pytest.mark.timeout(240)
def test_a_process_that_hangs_is_replaced(tmp_path: Path) -> None:
    with running_product(tmp_path, liveness_s=9, stop_timeout_s=1) as product:
        for name in ("gateway-0", "control"):
            before = int(product.processes()[name]["pid"])
            os.kill(before, signal.SIGSTOP)
            wait_until(
                lambda name=name, before=before: (
                    product.processes()[name]["pid"] not in (None, before)
                    and product.processes()[name]["state"] == "ready"
                ),
                timeout_s=40,
                what=f"a hanging {name} to be replaced",
            )
            assert ask(product).status_code == 200
        assert "gave no answer for 9 s" in product.said()


def test_a_second_supervisor_in_the_same_home_is_refused(product: Product) -> None:
    done = product.cli("up", check=False)
    assert done.returncode == 1
    assert "already runs" in done.stderr
    assert "tetrad down" in done.stderr


def test_two_installations_side_by_side_do_not_meet(product: Product, tmp_path: Path) -> None:
    with running_product(tmp_path, fresh=True) as other:
        assert other.key != product.key
        crossed = httpx.get(
            f"{other.gateway_url}/v1/models", headers={"Authorization": f"Bearer {product.key}"}, trust_env=False
        )
        assert crossed.status_code == 401
        trace = ask(product).headers["x-tetrad-trace-id"]
        wait_until(lambda: stored(product, {trace}), timeout_s=20, what="the trace at home")
        assert not stored(other, {trace})
        assert other.stop() == 0


def test_ctrl_c_stops_everything_and_leaves_nothing_behind(tmp_path: Path) -> None:
    import psutil

    with running_product(tmp_path) as other:
        family = psutil.Process(other.process.pid).children(recursive=True)
        assert len(family) >= 4
        assert other.stop() == 0
        assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert not (other.home / "run" / "state.json").exists()
