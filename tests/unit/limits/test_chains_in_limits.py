"""Chains in limits: each step counts under the model that it calls, and what it costs is counted to the last digit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import gateway as g
from support.limited import Reply, SlowAnswer, Upstream, Worker, keeper_of, running
from support.limits import LocalKeeper, rule
from tetrad.kernel import SystemClock, Unavailable, Usage
from tetrad.limits import Gate, LimitLayer
from tetrad.serving import (
    Chaining,
    MessageTemplate,
    ModelEntry,
    ModelRoute,
    Pipeline,
    Price,
    Readiness,
    ReleaseRoute,
    RetryPolicy,
    RouteTarget,
)
from tetrad.serving.ports import Answer, ModelCall, Outcome

SMALL, BIG, SPARE = "local/m1", "local/big", "local/spare"


class Says(SlowAnswer):
    def outcome(self) -> Outcome:
        return Outcome(usage=self._upstream.usage, output=b'[{"role": "assistant", "content": "so"}]')


class Speaking(Upstream):
    def __init__(self) -> None:
        super().__init__()
        self.fail_at = 0
        self.hang_at = 0
        self.let_go = asyncio.Event()

    async def call(self, call: ModelCall) -> Answer:
        self.calls += 1
        if self.calls == self.hang_at:
            await self.let_go.wait()
        if self.calls == self.fail_at:
            raise Unavailable("away", code="gone")
        return Says(call, self)


def step(name: str, model: str, **params: int) -> ReleaseRoute:
    raw = {each: msgspec.Raw(str(value).encode()) for each, value in params.items()}
    return ReleaseRoute(
        g.RELEASE, "default", "assistant", model, messages=(MessageTemplate("system", "Work."),), step=name,
        params=raw, inputs={},
    )  # fmt: skip


STEPS = (step("gather", SMALL), step("draft", BIG), step("polish", SMALL))


class Chained(Worker):
    """A worker with a chain; `smart` is a route to the big model, and then to the spare one."""

    def __init__(
        self, folder: Path, keeper: LocalKeeper, *steps: ReleaseRoute, weights: tuple[int, int] | None = None
    ) -> None:
        def change(table: Any) -> Any:
            release = ReleaseRoute(g.RELEASE, "default", "assistant", SMALL, steps=steps or STEPS)
            big = ModelEntry(BIG, "up", "big", ("chat",), Price("3", "15"))
            spare = ModelEntry(SPARE, "up", "spare", ("chat",), Price("3", "15"))
            targets = tuple(map(RouteTarget, (BIG, SPARE), weights or (1, 1)))
            smart = ModelRoute(
                name="smart", project="default", targets=targets, retry=RetryPolicy(retries=0),
                strategy="weighted" if weights else "order",
            )  # fmt: skip
            return msgspec.structs.replace(
                table, releases={f"default/{g.RELEASE}": release}, models={**table.models, BIG: big, SPARE: spare},
                routes={"default/smart": smart},
            )  # fmt: skip

        super().__init__(folder, keeper)
        self.upstream = Speaking()
        gate = Gate(lambda _: self.leases.pockets, SystemClock(), wake=self.leases.wake, wait_s=5.0, assumed_output=100)
        limits = tuple(each.rule for each in keeper.store.all.values())
        self.pipeline = Pipeline(
            {"openai": self.upstream}, record=self.records.append, clock=SystemClock(), stages=(Readiness(),),
            layers=(LimitLayer(gate), Chaining(SystemClock())),
        )  # fmt: skip
        self.pipeline.install(change(msgspec.structs.replace(g.make_table("http://127.0.0.1:1/v1"), limits=limits)))

    async def run(self, **fields: Any) -> Reply:
        return await self.ask("app:assistant", **fields)


def spent_by(keeper: LocalKeeper) -> dict[str, int]:
    """What each instance used, by its name."""
    return {instance: account.spent for (_, instance, _), account in keeper.store.book.items() if account.spent}


async def test_each_step_is_counted_under_its_own_model_to_the_last_digit(tmp_path: Path) -> None:
    # 10 tokens in and 20 out: 13.5 millionths of a small step, 330 of a big one
    keeper = keeper_of(rule("money", 1, subject="model"))
    worker = Chained(tmp_path, keeper)
    async with running(worker):
        assert (await worker.run()).status == 200
        assert (await worker.run()).status == 200
    assert spent_by(keeper) == {SMALL: 4 * 13_500_000, BIG: 2 * 330_000_000}


async def test_a_budget_of_the_project_counts_all_steps(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1, subject="project"))
    worker = Chained(tmp_path, keeper)
    async with running(worker):
        assert (await worker.run()).status == 200
    assert spent_by(keeper) == {"": 2 * 13_500_000 + 330_000_000}


async def test_a_budget_of_a_later_steps_model_refuses_the_chain_before_it_costs_anything(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 0.0001, subject="model", name=BIG))
    worker = Chained(tmp_path, keeper)
    async with running(worker):
        refused = await worker.run(max_tokens=100)
        assert (await worker.ask(SMALL)).status == 200, "other models are not concerned"
    assert (refused.status, refused.code) == (429, "insufficient_quota")
    assert BIG in refused.message
    assert worker.upstream.calls == 1


async def test_a_budget_is_set_aside_for_all_steps_with_what_earlier_ones_may_say(tmp_path: Path) -> None:
    # 100 out of each of three: 2 small ones at 60 millionths, a big one at 1500, besides their inputs of up to 200
    worker = Chained(tmp_path / "a", keeper := keeper_of(rule("money", 0.0016, subject="project")))
    async with running(worker):
        refused = await worker.run(max_tokens=100)
    assert (refused.status, refused.code) == (429, "insufficient_quota")
    assert (worker.upstream.calls, spent_by(keeper)) == (0, {})


async def test_a_step_that_bounds_its_own_answer_sets_aside_no_more(tmp_path: Path) -> None:
    steps = (step("draft", BIG, max_tokens=20), step("polish", SMALL))
    worker = Chained(tmp_path, keeper := keeper_of(rule("money", 0.0009, subject="model", name=BIG)), *steps)
    async with running(worker):
        assert (await worker.run()).status == 200
    assert spent_by(keeper) == {BIG: 330_000_000}


async def test_calls_of_a_model_are_its_steps_and_calls_of_a_key_are_chains(tmp_path: Path) -> None:
    for folder, subject, through in (("m", "model", 2), ("k", "key", 5)):
        keeper = keeper_of(rule("requests", 5, subject=subject, name="*"))
        worker = Chained(tmp_path / folder, keeper)
        async with running(worker):
            statuses = [(await worker.run()).status for _ in range(6)]
        assert statuses.count(200) == through, subject
        assert statuses.count(429) == 6 - through


async def test_a_chain_takes_one_place_of_a_model_that_it_calls_twice(tmp_path: Path) -> None:
    worker = Chained(tmp_path, keeper_of(rule("concurrency", 1, subject="model")))
    async with running(worker):
        assert [(await worker.run()).status for _ in range(3)] == [200, 200, 200]


async def test_tokens_of_a_model_are_those_of_its_steps(tmp_path: Path) -> None:
    worker = Chained(tmp_path, keeper := keeper_of(rule("tokens", 10_000, subject="model", name=BIG)))
    async with running(worker):
        reply = await worker.run()
        assert reply.status == 200
        pocket = worker.leases.pockets.of(next(iter(keeper.store.all.values())).rule, BIG, 0.0)
        assert pocket.remaining + max(0, pocket.free) <= 10_000 - 30
        assert worker.records[0].attempts[1].outcome is not None
        assert worker.records[0].attempts[1].outcome.usage == Usage(input=10, output=20)


@pytest.mark.parametrize(
    ("fail_at", "expected"),
    [(1, {}), (2, {SMALL: 13_500_000}), (3, {SMALL: 13_500_000, BIG: 330_000_000})],
)
async def test_a_chain_that_ends_in_the_middle_costs_what_was_done(
    tmp_path: Path, fail_at: int, expected: dict[str, int]
) -> None:
    worker = Chained(tmp_path, keeper := keeper_of(rule("money", 1, subject="model")))
    worker.upstream.fail_at = fail_at
    async with running(worker):
        assert (await worker.run()).status == 503
    assert spent_by(keeper) == expected


ROUTED = (step("gather", SMALL), step("draft", "smart"), step("polish", SMALL))


def of_models(measure: str, amount: float, *models: str) -> LocalKeeper:
    return keeper_of(*(rule(measure, amount, subject="model", name=model) for model in models))


def models_of(worker: Chained) -> list[list[str]]:
    return [[made.model.name for made in record.attempts] for record in worker.records]


async def test_a_chain_is_refused_before_its_first_step_where_no_target_of_a_later_one_has_room(tmp_path: Path) -> None:
    worker = Chained(tmp_path, of_models("requests", 2, BIG, SPARE), *ROUTED)
    async with running(worker):
        replies = await asyncio.gather(*(worker.run() for _ in range(9)))
    assert sorted(reply.status for reply in replies) == [200] * 4 + [429] * 5
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.message.startswith("the step 'draft': ")
    assert worker.upstream.calls == 4 * 3, "no step of a chain is paid for that does not end"
    assert sorted(made[1] for made in models_of(worker) if made) == [BIG, BIG, SPARE, SPARE]


@pytest.mark.parametrize("measure", ["tokens", "money"])
async def test_what_a_later_step_may_use_of_its_targets_is_set_aside_before_the_first(
    tmp_path: Path, measure: str
) -> None:
    worker = Chained(tmp_path, keeper := of_models(measure, 10 if measure == "tokens" else 0.0001, BIG, SPARE), *ROUTED)
    async with running(worker):
        refused = await worker.run(max_tokens=1000)
    assert refused.status == 429
    assert (worker.upstream.calls, spent_by(keeper)) == (0, {})


async def test_chains_at_once_never_stop_in_the_middle_for_places_of_their_models(tmp_path: Path) -> None:
    worker = Chained(tmp_path, of_models("concurrency", 1, BIG, SPARE), *ROUTED)
    worker.upstream.going.clear()
    async with running(worker):
        chains = [asyncio.create_task(worker.run()) for _ in range(6)]
        async with asyncio.timeout(20):
            while sum(chain.done() for chain in chains) < 4:  # noqa: ASYNC110 - chains have no event in common
                await asyncio.sleep(0)
        assert worker.upstream.calls == 2, "the others were refused before they asked anybody"
        worker.upstream.going.set()
        replies = await asyncio.gather(*chains)
        assert sorted(reply.status for reply in replies) == [200, 200, 429, 429, 429, 429]
        assert (await worker.run()).status == 200, "places come free again"


@pytest.mark.parametrize(
    "steps",
    [
        (step("a", BIG), step("b", "smart"), step("c", "smart")),
        (step("a", "smart"), step("b", "smart"), step("c", BIG)),
    ],
)
async def test_steps_of_a_chain_take_one_place_of_a_model_by_whichever_name_they_call_it(
    tmp_path: Path, steps: tuple[ReleaseRoute, ...]
) -> None:
    worker = Chained(tmp_path, of_models("concurrency", 1, BIG), *steps)
    async with running(worker):
        assert [(await worker.run()).status for _ in range(3)] == [200, 200, 200]
    assert {name for made in models_of(worker) for name in made} == {BIG}


async def test_what_was_set_aside_at_a_target_that_is_not_called_is_given_back(tmp_path: Path) -> None:
    """The big model fails in its turn, so that the spare one answers, which has room of its own."""
    worker = Chained(tmp_path, keeper := of_models("requests", 5, BIG, SPARE), *ROUTED)
    worker.upstream.fail_at = 2
    async with running(worker):
        assert (await worker.run()).status == 200
        rules = {each.rule.name: each.rule for each in keeper.store.all.values()}
        pockets = {name: worker.leases.pockets.of(rule, name, 0.0) for name, rule in rules.items()}
        assert {name: pocket.reserved for name, pocket in pockets.items()} == {BIG: 0, SPARE: 0}
    assert models_of(worker) == [[SMALL, BIG, SPARE, SMALL]]


async def test_a_chain_that_ends_early_gives_back_what_its_later_steps_had_set_aside(tmp_path: Path) -> None:
    worker = Chained(tmp_path, of_models("requests", 1, BIG, SPARE), *ROUTED)
    worker.upstream.fail_at = 1
    async with running(worker):
        assert (await worker.run()).status == 503
        assert [(await worker.run()).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("measure", ["requests", "concurrency"])
async def test_a_step_that_another_target_is_asked_for_holds_nothing_at_the_first(tmp_path: Path, measure: str) -> None:
    # the route's first target has room, so it is set aside; nearly all calls go to the second
    worker = Chained(tmp_path, of_models(measure, 1, BIG), *ROUTED, weights=(1, 10_000_000))
    worker.upstream.hang_at = 2
    async with running(worker):
        chain = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while worker.upstream.calls < 2:  # noqa: ASYNC110 - the upstream has no event for it
                await asyncio.sleep(0)
        assert (await worker.ask(BIG)).status == 200, "nobody else calls it"
        worker.upstream.let_go.set()
        assert (await chain).status == 200
    assert [SMALL, SPARE, SMALL] in models_of(worker)
