"""What every keeper of leases promises: control's, and Redis's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.limits import LocalKeeper, rule
from support.redis_server import running_redis, skip_without_server
from tetrad.adapters.limits_redis import RedisKeeper, RedisRefused, RedisUnreachable
from tetrad.kernel import InvalidInput, SystemClock
from tetrad.limits import LeaseState, Refused, Sync
from tetrad.limits.ports import Keeper
from tetrad.processes.gateway._limits import SharedLeases
from tetrad.serving import LimitRule

RATE, LARGE, CALLS = rule("requests", 10), rule("tokens", 100_000), rule("concurrency", 3)
RULES = {each.id: each for each in (RATE, LARGE, CALLS)}


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    skip_without_server("its keeper")
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


_databases = iter(range(1, 16))


@pytest.fixture(params=["control", "redis"])
async def keeper(request: pytest.FixtureRequest) -> AsyncIterator[Keeper]:
    if request.param == "control":
        yield LocalKeeper(*RULES.values(), clock=SystemClock())
        return
    url = request.getfixturevalue("redis_url").removesuffix("/0")
    made = RedisKeeper(f"{url}/{next(_databases)}", RULES.get)
    yield made
    made.close()


def ask(made: LimitRule, want: int, number: int = 1, *, least: int = 1, **told: int) -> LeaseState:
    final = bool(told.pop("final", 0))
    return LeaseState(number, made.id, "key_a", want=want, need=want, least=least, final=final, **told)


async def granted(keeper: Keeper, slot: str, seq: int, state: LeaseState) -> int:
    grants = (await keeper.sync(Sync(slot, seq, (state,)))).grants
    return grants[0].granted if grants else -1


async def test_two_workers_are_granted_what_there_is_and_no_more(keeper: Keeper) -> None:
    assert await granted(keeper, "a", 1, ask(RATE, 7)) == 7
    assert await granted(keeper, "b", 1, ask(RATE, 7)) == 3
    assert await granted(keeper, "b", 2, ask(RATE, 8)) == 3


async def test_nothing_is_granted_that_lets_no_call_through_and_it_says_when_there_will_be(keeper: Keeper) -> None:
    assert await granted(keeper, "a", 1, ask(RATE, 8)) == 8
    (grant,) = (await keeper.sync(Sync("b", 1, (ask(RATE, 5, least=5),)))).grants
    assert (grant.granted, grant.remaining) == (0, 2)
    assert 17 <= grant.retry_s <= 18


async def test_what_is_not_used_comes_back_and_what_is_used_does_not(keeper: Keeper) -> None:
    assert await granted(keeper, "a", 1, ask(RATE, 9)) == 9
    assert await granted(keeper, "a", 2, ask(RATE, 4, spent=3, reserved=1)) == 4
    assert await granted(keeper, "a", 3, ask(RATE, 4, spent=4, final=1)) == 0
    assert await granted(keeper, "b", 1, ask(RATE, 10)) == 6


async def test_what_went_past_the_lease_is_paid_back(keeper: Keeper) -> None:
    assert await granted(keeper, "a", 1, ask(LARGE, 50_000)) == 50_000
    await granted(keeper, "a", 2, ask(LARGE, 120_000, spent=120_000))
    assert await granted(keeper, "b", 1, ask(LARGE, 1)) == 0


async def test_a_message_that_comes_twice_or_late_changes_nothing(keeper: Keeper) -> None:
    first, second = ask(RATE, 9), ask(RATE, 2, spent=2, final=1)
    assert await granted(keeper, "a", 1, first) == 9
    for _ in range(3):
        assert await granted(keeper, "a", 1, first) == 9
    for _ in range(3):
        assert await granted(keeper, "a", 2, second) == 0
    assert await granted(keeper, "a", 1, first) == -1
    assert await granted(keeper, "b", 1, ask(RATE, 10)) == 8


async def test_calls_at_once_are_bounded_over_workers_and_come_free(keeper: Keeper) -> None:
    assert await granted(keeper, "a", 1, ask(CALLS, 2, reserved=0)) == 2
    assert await granted(keeper, "b", 1, ask(CALLS, 2)) == 1
    assert await granted(keeper, "a", 2, ask(CALLS, 1, reserved=1)) == 1
    assert await granted(keeper, "b", 2, ask(CALLS, 2, reserved=1)) == 2
    assert await granted(keeper, "b", 3, ask(CALLS, 0, final=1)) == 0
    assert await granted(keeper, "a", 3, ask(CALLS, 3, reserved=1)) == 3


async def test_workers_are_counted_and_a_rule_that_is_gone_is_said_to_be(keeper: Keeper) -> None:
    await keeper.sync(Sync("a", 1, (ask(RATE, 1),)))
    reply = await keeper.sync(Sync("b", 1, (ask(RATE, 1), LeaseState(2, "lim_gone", "x"))))
    assert reply.workers == 2
    assert {grant.id: grant.gone for grant in reply.grants} == {1: False, 2: True}


async def test_gateways_share_rates_in_redis_and_leave_money_with_control(redis_url: str, tmp_path: Path) -> None:
    money, control = rule("money", 1), LocalKeeper(clock=SystemClock())
    url = f"{redis_url.removesuffix('/0')}/{next(_databases)}"
    workers = [SharedLeases(tmp_path, control, url, SystemClock()) for _ in range(2)]
    for worker in workers:
        worker.use((RATE, money))
        assert worker.pockets(money) is worker.control.pockets
        assert worker.shared is not None
        assert worker.pockets(RATE) is worker.shared.pockets
    tasks = [asyncio.create_task(worker.run()) for worker in workers]

    async def call(worker: SharedLeases) -> bool:
        pockets = worker.pockets(RATE)
        waiting = pockets.wait(pockets.of(RATE, "key_a", 0.0), 1)
        worker.wake()
        try:
            await waiting
        except Refused:
            return False
        return True

    done = await asyncio.gather(*(call(workers[number % 2]) for number in range(30)))
    assert done.count(True) == 10
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for worker in workers:
        await worker.close(1.0)
        assert worker.shared is not None
    assert control.messages == []


async def test_a_redis_that_is_away_or_refuses_says_so(redis_url: str, tmp_path: Path) -> None:
    away = RedisKeeper("redis://127.0.0.1:1/0", RULES.get)
    with pytest.raises(RedisUnreachable, match=r"127\.0\.0\.1:1 does not answer"):
        await away.sync(Sync("a", 1, (ask(RATE, 1),)))
    with running_redis(tmp_path, "--requirepass", "right") as url:
        for login in ("", ":wrong@"):
            refused = RedisKeeper(url.replace("//", f"//{login}"), RULES.get)
            with pytest.raises(RedisRefused):
                await refused.sync(Sync("a", 1, (ask(RATE, 1),)))
        good = RedisKeeper(url.replace("//", "//:right@"), RULES.get)
        assert await granted(good, "a", 1, ask(RATE, 1)) == 1
        good.close()


@pytest.mark.parametrize("url", ["http://x", "redis://", "redis://host:x", "redis://host/name"])
def test_what_is_no_address_of_a_redis_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="TETRAD_LIMITS_URL"):
        RedisKeeper(url, RULES.get)
