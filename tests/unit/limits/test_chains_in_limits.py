"""Chains in limits: each step counts under the model that it calls, and what it costs is counted to the last digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import gateway as g
from support.limited import Reply, SlowAnswer, Upstream, Worker, keeper_of, running
from support.limits import LocalKeeper, rule
from tetrad.kernel import SystemClock, Unavailable, Usage
from tetrad.limits import Gate, LimitLayer
from tetrad.serving import Chaining, MessageTemplate, ModelEntry, Pipeline, Price, Readiness, ReleaseRoute
from tetrad.serving.ports import Answer, ModelCall, Outcome

SMALL, BIG = "local/m1", "local/big"


class Says(SlowAnswer):
    def outcome(self) -> Outcome:
        return Outcome(usage=self._upstream.usage, output=b'[{"role": "assistant", "content": "so"}]')


class Speaking(Upstream):
    def __init__(self) -> None:
        super().__init__()
        self.fail_at = 0

    async def call(self, call: ModelCall) -> Answer:
        self.calls += 1
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
    def __init__(self, folder: Path, keeper: LocalKeeper, *steps: ReleaseRoute) -> None:
        def change(table: Any) -> Any:
            release = ReleaseRoute(g.RELEASE, "default", "assistant", SMALL, steps=steps or STEPS)
            big = ModelEntry(BIG, "up", "big", ("chat",), Price("3", "15"))
            return msgspec.structs.replace(
                table, releases={f"default/{g.RELEASE}": release}, models={**table.models, BIG: big}
            )

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
