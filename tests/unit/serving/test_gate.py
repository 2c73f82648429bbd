"""A provider's gate in virtual time: who gets a place, who waits, who is sent away, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.simulated import Act, SimReply, Simulation
from tetrad.kit.upstream import TimedOut
from tetrad.serving._gate import Level, adapted

BATCH = {b"x-tetrad-priority": b"batch"}


def gated(limit: int = 2, **more: Any) -> Simulation:
    sim = Simulation()
    sim.upstream = {"max_concurrency": limit, **more}
    sim.install()
    sim.provider.acts["a"] = [Act(wait_s=1.0)]
    return sim


def counts(sim: Simulation) -> dict[str, float]:
    return sim.compiled.health().gates["p"]


def test_no_more_calls_are_under_way_than_allowed_and_the_rest_wait_their_turn() -> None:
    sim = gated(2)

    async def story() -> list[SimReply]:
        tasks = [asyncio.create_task(sim.ask("p/a")) for _ in range(6)]
        await asyncio.sleep(0.5)
        assert len(sim.called) == 2
        assert counts(sim) == {"limit": 2, "in_flight": 2, "waiting": 4, "refused": 0}
        return list(await asyncio.gather(*tasks))

    replies = sim.run(story())
    assert [reply.status for reply in replies] == [200] * 6
    assert [round(reply.begun_at - 1000) for reply in replies] == [1, 1, 2, 2, 3, 3]
    assert counts(sim)["in_flight"] == 0


def test_a_stream_keeps_its_place_until_it_is_over() -> None:
    sim = gated(1)
    sim.provider.acts["a"] = [Act(pieces=[b'data: {"choices":[]}\n\n', 10.0, b"data: [DONE]\n\n"])]

    async def story() -> SimReply:
        first = asyncio.create_task(sim.ask("p/a", stream=True))
        await asyncio.sleep(1)
        second = await sim.ask("p/a", stream=True)
        await first
        return second

    assert sim.run(story()).begun_at - 1000 >= 10
    assert counts(sim)["in_flight"] == 0


def test_past_the_queue_calls_are_refused_at_once_with_when_to_come_back() -> None:
    sim = gated(1, max_queue=2)

    async def story() -> list[SimReply]:
        return list(await asyncio.gather(*(sim.ask("p/a") for _ in range(5))))

    replies = sim.run(story())
    refused = [reply for reply in replies if reply.status == 429]
    assert len(refused) == 2
    assert refused[0].begun_at == 1000
    assert refused[0].json["error"]["code"] == "provider_at_capacity"
    assert int(refused[0].headers[b"retry-after"]) >= 1


def test_people_go_before_batches_in_the_queue_and_take_their_places() -> None:
    sim = gated(1, max_queue=2)

    async def story() -> dict[str, SimReply]:
        tasks = {"first": asyncio.create_task(sim.ask("p/a"))}
        await asyncio.sleep(0.1)
        for name in ("batch 1", "batch 2"):
            tasks[name] = asyncio.create_task(sim.ask("p/a", headers=BATCH))
        await asyncio.sleep(0.1)
        tasks["person"] = asyncio.create_task(sim.ask("p/a"))
        return dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))

    replies = sim.run(story())
    assert replies["batch 2"].status == 429
    assert replies["person"].begun_at < replies["batch 1"].begun_at
    assert {replies[name].status for name in ("first", "person", "batch 1")} == {200}


def test_a_queue_that_does_not_drain_is_refused_before_waits_explode_and_batches_first() -> None:
    sim = gated(1, max_queue=1000, queue_target_s=2.0)
    waits: list[float] = []

    async def one(headers: dict[bytes, bytes] | None) -> int:
        at = sim.clock.now_s
        reply = await sim.ask("p/a", headers=headers)
        if reply.status == 200:
            waits.append(sim.clock.now_s - at)
        return reply.status

    async def story() -> tuple[list[int], list[int]]:
        people, batches = [], []
        for number in range(300):  # three times what it can answer
            people.append(asyncio.create_task(one(None)))
            if number % 10 == 0:
                batches.append(asyncio.create_task(one(BATCH)))
            await asyncio.sleep(0.33)
        return list(await asyncio.gather(*people)), list(await asyncio.gather(*batches))

    people, batches = sim.run(story())
    assert people.count(200) > 80, "what it can answer is answered"
    assert people.count(429) > 100
    assert sorted(waits)[len(waits) // 2] < 15, "without the gate the last would have waited for 200 seconds"
    assert counts(sim)["waiting"] == 0
    assert batches.count(200) / len(batches) < people.count(200) / len(people)


def test_a_burst_that_drains_is_not_refused() -> None:
    sim = gated(5, queue_target_s=2.0)

    async def story() -> list[SimReply]:
        return list(await asyncio.gather(*(sim.ask("p/a") for _ in range(15))))

    assert [reply.status for reply in sim.run(story())] == [200] * 15


def test_a_client_that_leaves_the_queue_leaves_no_place_behind() -> None:
    sim = gated(1)

    async def story() -> None:
        first = asyncio.create_task(sim.ask("p/a"))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(sim.ask("p/a"))
        await asyncio.sleep(0.1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await first
        assert counts(sim)["in_flight"] == counts(sim)["waiting"] == 0
        third, fourth = asyncio.create_task(sim.ask("p/a")), asyncio.create_task(sim.ask("p/a"))
        await asyncio.sleep(0.999_999)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        fourth.cancel()  # in the very turn in which it got the place
        await asyncio.gather(fourth, return_exceptions=True)
        assert counts(sim)["in_flight"] == 0
        assert (await sim.ask("p/a")).status == 200

    sim.run(story())


def test_too_much_for_the_provider_lowers_what_it_gets_and_good_answers_raise_it_again() -> None:
    sim = gated(10)

    async def story() -> None:
        sim.provider.acts["a"] = [Act(status=429, code="rate_limit_exceeded")]
        for _ in range(5):
            await sim.ask("p/a")
            await asyncio.sleep(2)
        assert 3 <= counts(sim)["limit"] <= 4
        sim.provider.acts["a"] = [Act(error=TimedOut("late"))]
        for _ in range(50):
            await sim.ask("p/a")
            await asyncio.sleep(2)
        assert counts(sim)["limit"] == 1
        sim.provider.acts["a"] = [Act()]
        for _ in range(100):
            await sim.ask("p/a")
        assert counts(sim)["limit"] == 10

    sim.run(story())


def test_a_hundred_refusals_of_one_moment_are_one_refusal() -> None:
    level = Level(100.0)
    for _ in range(100):
        level = adapted(level, "rate_limit", 5.0, 100)
    assert level.limit == 80


def test_what_waits_outlives_a_new_table_and_a_higher_limit_lets_it_in() -> None:
    sim = gated(1)

    async def story() -> list[SimReply]:
        tasks = [asyncio.create_task(sim.ask("p/a")) for _ in range(3)]
        await asyncio.sleep(0.5)
        sim.upstream["max_concurrency"] = 3
        sim.install()
        return list(await asyncio.gather(*tasks))

    assert [round(reply.begun_at - 1000, 1) for reply in sim.run(story())] == [1.0, 1.5, 1.5]
    assert counts(sim)["in_flight"] == 0


def test_a_full_provider_is_passed_over_by_a_route_and_not_taken_for_broken() -> None:
    sim = gated(1, max_queue=0)
    sim.route({"model": "p/a"}, {"model": "local/m1"}, retry={"retries": 0}, breaker={"consecutive": 1})

    async def story() -> list[SimReply]:
        return list(await asyncio.gather(*(sim.ask() for _ in range(3))))

    assert [reply.status for reply in sim.run(story())] == [200] * 3
    assert sim.called == ["a", "m1", "m1"]
    assert {each.state for each in sim.compiled.health().targets} == {"closed"}


def test_a_priority_that_is_none_is_refused() -> None:
    reply = gated().one("p/a", headers={b"x-tetrad-priority": b"urgent"})
    assert (reply.status, reply.json["error"]["param"]) == (400, "x-tetrad-priority")
