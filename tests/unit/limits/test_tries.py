"""Limits along routes: each try counts as the model that it calls, and calls that overlap are each set aside for."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from support import gateway as g
from support.limited import SlowAnswer, Upstream, Worker, keeper_of, running
from support.limits import LocalKeeper, rule
from support.simulated import DONE, word
from tetrad.kernel import Unavailable
from tetrad.limits import Pocket
from tetrad.serving import ModelRoute, Price, RouteTable
from tetrad.serving.ports import Answer, ModelCall

T0, T1 = "local/t0", "local/t1"
PRICE = Price("0.15", "0.6")
COST = 13_500_000
"""Of 10 tokens in and 20 out, in 10^-12 USD."""


class Spoken(SlowAnswer):
    """A stream of one word, or a whole answer."""

    async def read(self) -> bytes:
        await super().read()
        return DONE if self.done else word("well")


class Targets(Upstream):
    """Targets that answer, fail, or wait until they may."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()
        self.waiting: dict[str, asyncio.Event] = {}
        self.called: list[str] = []

    async def call(self, call: ModelCall) -> Answer:
        name = json.loads(bytes(call.fields["model"]))
        self.called.append(name)
        if name in self.waiting:
            await self.waiting[name].wait()
        if name in self.failing:
            raise Unavailable("away", code="upstream_unreachable")
        return Spoken(call, self)


class Routed(Worker):
    """A worker with a route `smart` to two models."""

    def __init__(self, folder: Path, keeper: LocalKeeper, prices: tuple[Price, ...] = (PRICE, PRICE), **spec: Any):
        def change(table: RouteTable) -> RouteTable:
            entry = table.models["local/m1"]
            models = {
                name: msgspec.structs.replace(entry, name=name, upstream_model=name, price=price)
                for name, price in zip((T0, T1), prices, strict=True)
            }
            given = {"targets": [{"model": T0}, {"model": T1}], "retry": {"retries": 0}, **spec}
            route = msgspec.convert({"name": "smart", "project": "default", **given}, ModelRoute)
            return msgspec.structs.replace(table, models={**table.models, **models}, routes={"default/smart": route})

        super().__init__(folder, keeper)
        self.targets = self.upstream = Targets()
        self.pipeline._providers = {"openai": self.upstream}
        limits = tuple(each.rule for each in keeper.store.all.values())
        self.pipeline.install(change(msgspec.structs.replace(g.make_table("http://127.0.0.1:1/v1"), limits=limits)))

    def pocket(self, instance: str) -> Pocket:
        return next(each for each in self.leases.pockets if each.instance == instance)


async def called(worker: Routed, *names: str) -> None:
    async with asyncio.timeout(20):
        while Counter(names) - Counter(worker.targets.called):  # noqa: ASYNC110 - the upstream has no event for it
            await asyncio.sleep(0.001)


async def test_a_model_at_its_limit_lets_the_next_target_answer(tmp_path: Path) -> None:
    worker = Routed(tmp_path, keeper_of(rule("requests", 2, subject="model", name=T0)))
    async with running(worker):
        assert [(await worker.ask("smart")).status for _ in range(4)] == [200] * 4
        assert worker.targets.called == [T0, T0, T1, T1]
        assert (worker.pocket(T0).spent, worker.pocket(T0).reserved) == (2, 0)
        health = {each.model: each for each in worker.pipeline.current().health().targets}
    assert health[T0].counts == {"ok": 2, "own_limit": 2}
    assert (health[T0].state, health[T0].in_flight) == ("closed", 0)


async def test_a_call_is_refused_in_the_words_of_the_limit_where_every_target_is_at_its_own(tmp_path: Path) -> None:
    worker = Routed(tmp_path, keeper_of(rule("requests", 1, subject="model")), retry={"retries": 2})
    async with running(worker):
        assert [(await worker.ask("smart")).status for _ in range(2)] == [200, 200]
        refused = await worker.ask("smart")
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
    assert f"the model '{T1}' may use 1 requests a minute" in refused.message
    assert int(refused.headers["retry-after"]) >= 1
    assert worker.targets.called == [T0, T1]
    assert worker.records[-1].attempts == []


async def test_a_fallback_counts_as_the_model_that_it_calls_and_the_failed_call_as_its_own(tmp_path: Path) -> None:
    keeper = keeper_of(rule("requests", 100, subject="model"), rule("tokens", 10**6, subject="model"))
    worker = Routed(tmp_path, keeper)
    worker.targets.failing.add(T0)
    async with running(worker):
        reply = await worker.ask("smart")
        assert reply.status == 200
        used = {(each.rule.measure, each.instance): (each.spent, each.reserved) for each in worker.leases.pockets}
    assert used == {
        ("requests", T0): (1, 0), ("requests", T1): (1, 0), ("tokens", T0): (0, 0), ("tokens", T1): (30, 0),
    }  # fmt: skip
    assert reply.headers["x-ratelimit-remaining-requests"] == "99"


async def test_every_retry_counts(tmp_path: Path) -> None:
    worker = Routed(
        tmp_path, keeper_of(rule("requests", 3, subject="model", name=T0)), targets=[{"model": T0}],
        retry={"retries": 5, "first_pause_s": 0.001},
    )  # fmt: skip
    worker.targets.failing.add(T0)
    async with running(worker):
        assert (await worker.ask("smart")).status == 429
    assert worker.targets.called == [T0] * 3


async def test_limits_of_targets_are_exact_over_workers_whichever_is_drawn(tmp_path: Path) -> None:
    keeper = keeper_of(rule("requests", 10, subject="model", name=T0), rule("requests", 7, subject="model", name=T1))
    workers = [Routed(tmp_path, keeper, strategy="weighted") for _ in range(2)]
    async with running(*workers):
        replies = await asyncio.gather(*(workers[number % 2].ask("smart") for number in range(60)))
    assert sorted(reply.status for reply in replies) == [200] * 17 + [429] * 43
    assert Counter(name for worker in workers for name in worker.targets.called) == {T0: 10, T1: 7}


async def test_a_place_of_a_model_is_free_as_soon_as_its_call_has_failed(tmp_path: Path) -> None:
    worker = Routed(tmp_path, keeper_of(rule("concurrency", 1, subject="model")))
    worker.targets.waiting = {T0: asyncio.Event(), T1: asyncio.Event()}
    worker.targets.failing.add(T0)
    async with running(worker):
        first = asyncio.create_task(worker.ask("smart"))
        await called(worker, T0)
        second = asyncio.create_task(worker.ask("smart"))
        await called(worker, T0, T1)
        assert (await worker.ask("smart")).status == 429, "both have their only place taken"
        worker.targets.waiting[T1].set()
        assert (await second).status == 200
        worker.targets.waiting[T0].set()
        assert (await first).status == 200
        assert worker.targets.called == [T0, T1, T1]
        assert worker.pocket(T0).reserved == worker.pocket(T1).reserved == 0


async def test_the_budget_of_a_model_pays_for_what_that_model_did_and_for_nothing_else(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 0.0001, subject="model", name=T0), rule("money", 1, subject="model", name=T1))
    worker = Routed(tmp_path, keeper, (PRICE, Price("1.5", "6")))
    async with running(worker):
        assert [(await worker.ask("smart", max_tokens=100)).status for _ in range(5)] == [200] * 5
    assert worker.targets.called == [T0, T0, T0, T1, T1]
    spent = {instance: account.spent for (_, instance, _), account in keeper.store.book.items()}
    assert spent == {T0: 3 * COST, T1: 2 * 10 * COST}


HEDGE = {"enabled": True, "min_samples": 5, "min_wait_s": 0.001, "budget_percent": 100}


async def made_quick(worker: Routed) -> None:
    """Let the first target be known to answer at once: what is slower is hedged from the next call on."""
    for _ in range(HEDGE["min_samples"]):
        assert (await worker.ask("smart", stream=True, max_tokens=100)).status == 200


async def kept_back(worker: Routed, model: str) -> None:
    health = worker.pipeline.current()._states["default/smart"].of(model)
    async with asyncio.timeout(20):
        while not health.counts.get("own_limit"):  # noqa: ASYNC110 - health has no event
            await asyncio.sleep(0.001)


async def both_called(worker: Routed) -> tuple[asyncio.Task[Any], dict[str, int], dict[str, int]]:
    """Ask until both targets are being called; tell what was spent before, and what is held now, by measure."""
    await made_quick(worker)
    worker.targets.waiting = {T0: asyncio.Event(), T1: asyncio.Event()}
    before = {each.rule.measure: each.spent for each in worker.leases.pockets}
    task = asyncio.create_task(worker.ask("smart", stream=True, max_tokens=100))
    await called(worker, *[T0] * 6, T1)
    return task, before, {each.rule.measure: each.reserved for each in worker.leases.pockets}


async def test_both_calls_of_a_hedge_are_set_aside_for_and_settled(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1, subject="project"), rule("tokens", 10**6, subject="key"))
    worker = Routed(tmp_path, keeper, hedge=HEDGE)
    async with running(worker):
        task, before, held = await both_called(worker)
        worker.targets.waiting[T1].set()
        assert (await task).status == 200
        pockets = {each.rule.measure: each for each in worker.leases.pockets}
        lost, won = worker.records[-1].attempts
    assert (lost.error_type, lost.reason, won.reason) == ("cancelled", "", "hedge")
    assert lost.outcome is not None
    assert lost.outcome.attributes["tetrad.cost.estimated"] == "true"
    asked = len(json.dumps([{"role": "user", "content": "hi"}])) // 3 + 1
    assert held == {"tokens": 2 * (asked + 100), "money": 2 * (asked * 150_000 + 100 * 600_000)}
    estimate = asked * 150_000
    assert {name: each.spent - before[name] for name, each in pockets.items()} == {
        "money": COST + estimate, "tokens": 30 + asked,
    }  # fmt: skip
    assert all(each.reserved == 0 for each in pockets.values())


async def test_a_call_that_is_hedged_keeps_its_place_under_the_limits_of_its_model(tmp_path: Path) -> None:
    rules = [rule(measure, 10**6, subject="model", name=T0) for measure in ("requests", "tokens", "concurrency")]
    keeper = keeper_of(*rules, rule("money", 1, subject="model", name=T0))
    worker = Routed(tmp_path, keeper, hedge=HEDGE)
    async with running(worker):
        task, before, held = await both_called(worker)
        worker.targets.waiting[T0].set()
        assert (await task).status == 200
        spent = {each.rule.measure: each.spent - before[each.rule.measure] for each in worker.leases.pockets}
        assert all(each.reserved == 0 for each in worker.leases.pockets)
    assert all(held.values()), held
    assert (spent["requests"], spent["tokens"], spent["money"]) == (1, 30, COST)


async def test_nothing_is_hedged_that_the_budget_does_not_cover_twice(tmp_path: Path) -> None:
    # one call may cost 61.8 millionths; five have cost 67.5, and what is left covers one more but not two
    keeper = keeper_of(rule("money", 0.00018, subject="project"))
    worker = Routed(tmp_path, keeper, hedge=HEDGE)
    async with running(worker):
        await made_quick(worker)
        worker.targets.waiting[T0] = asyncio.Event()
        task = asyncio.create_task(worker.ask("smart", stream=True, max_tokens=100))
        await kept_back(worker, T1)
        worker.targets.waiting[T0].set()
        assert (await task).status == 200
    assert worker.targets.called == [T0] * 6
    assert sum(account.spent for account in keeper.store.book.values()) == 6 * COST


async def test_a_target_that_was_not_hedged_for_want_of_money_still_takes_over(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 0.00018, subject="project"))
    worker = Routed(tmp_path, keeper, hedge=HEDGE)
    async with running(worker):
        await made_quick(worker)
        worker.targets.waiting[T0] = asyncio.Event()
        worker.targets.failing.add(T0)
        task = asyncio.create_task(worker.ask("smart", stream=True, max_tokens=100))
        await kept_back(worker, T1)
        worker.targets.waiting[T0].set()
        assert (await task).status == 200
    assert worker.targets.called == [*[T0] * 6, T1]
