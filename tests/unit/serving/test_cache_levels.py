"""Where answers are looked for, and in which order: memory asks nobody, and what is found far away comes nearer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from support import gateway as g
from support.caching import OFF, REFRESH, Bench
from support.wait import async_wait_until
from tetrad.kernel import FixedClock
from tetrad.serving import CachePolicy


class Store:
    """`SharedAnswers` that keeps a list of what it was asked."""

    def __init__(self, level: str) -> None:
        self.level = level
        self.kept: dict[str, bytes] = {}
        self.ttls: list[float] = []
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.puts = asyncio.Event()
        self.puts.set()
        self.fails = False

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        self.asked.append(list(names))
        await self.gate.wait()
        if self.fails:
            raise OSError("it fails")
        return [self.kept.get(name) for name in names]

    async def put(self, name: str, data: bytes, ttl_s: float) -> None:
        await self.puts.wait()
        if self.fails:
            raise OSError("it fails")
        self.kept[name] = data
        self.ttls.append(ttl_s)


@pytest.fixture
def near() -> Store:
    return Store("disk")


@pytest.fixture
def far() -> Store:
    return Store("server")


async def test_what_is_in_memory_is_asked_of_nobody_in_either_form(near: Store, far: Store) -> None:
    bench = Bench(shared=[near, far])
    assert (await bench.chat()).cache == "miss"
    assert (len(near.asked), len(far.asked)) == (1, 1)
    assert [(await bench.chat()).cache, (await bench.chat(stream=True)).cache] == ["hit", "hit"]
    assert (len(near.asked), len(far.asked)) == (1, 1)
    assert bench.cache.counts.found == {"memory": 2, "disk": 0, "server": 0}


async def test_both_forms_are_asked_for_at_once_and_either_answers(far: Store) -> None:
    one, two = Bench(shared=[far]), Bench(shared=[far])
    await one.chat(stream=True)
    await one.cache.close()
    assert (await two.chat()).cache == "hit"
    assert [name.rsplit(".", 1)[1] for name in far.asked[-1]] == ["whole", "stream"]
    assert two.records[-1].attempts[-1].outcome.attributes["cache.level"] == "server"


async def test_what_is_found_far_away_comes_nearer_with_the_time_that_it_has_left(near: Store, far: Store) -> None:
    one, two = Bench(CachePolicy(use="always", ttl_s=60), shared=[far]), Bench(shared=[near, far])
    await one.chat()
    await one.cache.close()
    assert (await two.chat()).cache == "hit"
    await two.cache.close()
    assert near.kept == far.kept
    assert len(far.ttls) == 1, "it is not written where it was found"
    assert 0 < near.ttls[0] <= far.ttls[0] <= 60
    assert two.cache.counts.found == {"memory": 0, "disk": 0, "server": 1}
    await two.chat()
    assert len(far.asked) == 2, "one search of each gateway"


@pytest.mark.parametrize("key", [g.OFF_KEY, g.REDACTED_KEY])
async def test_contents_that_must_not_be_recorded_are_neither_sent_nor_looked_for(far: Store, key: str) -> None:
    bench = Bench(shared=[far])
    assert [(await bench.chat(key=key)).cache for _ in range(2)] == ["miss", "hit"]
    await bench.cache.close()
    assert (far.asked, far.kept) == ([], {})


async def test_off_asks_nobody_and_refresh_replaces_what_lies_there(far: Store) -> None:
    bench = Bench(shared=[far])
    await bench.chat(headers=OFF)
    await bench.cache.close()
    assert (far.asked, far.kept) == ([], {})
    await bench.chat()
    await bench.cache.close()
    (before,) = far.kept.values()
    bench.upstreams.body = bench.upstreams.body.replace(b"Paris", b"Lyons")
    assert (await bench.chat(headers=REFRESH)).cache == "refresh"
    await bench.cache.close()
    (after,) = far.kept.values()
    assert b"Paris" in before
    assert b"Lyons" in after


async def test_an_answer_that_came_while_a_store_was_asked_is_not_paid_twice(far: Store) -> None:
    bench = Bench(shared=[far])
    far.gate.clear()
    late = asyncio.create_task(bench.chat())
    await async_wait_until(lambda: far.asked, what="the search")
    slow, far.gate = far.gate, asyncio.Event()
    far.gate.set()
    assert (await bench.chat()).cache == "miss"
    slow.set()
    assert (await late).cache == "hit"
    assert len(bench.upstreams.calls) == 1


async def test_a_store_that_fails_is_passed_over_for_the_next(near: Store, far: Store) -> None:
    one, two = Bench(shared=[far]), Bench(shared=[near, far])
    near.fails = True
    await one.chat()
    await one.cache.close()
    assert (await two.chat()).cache == "hit"
    await two.cache.close()
    assert two.cache.counts.store_failures == 2, "one search and one write"


async def test_what_another_version_kept_is_read_where_it_says_all_that_is_needed_and_is_a_miss_where_not(
    far: Store,
) -> None:
    one = Bench(shared=[far])
    await one.chat()
    await one.cache.close()
    ((name, kept),) = far.kept.items()
    fields = msgspec.msgpack.decode(kept)
    for told, expected in (
        ({**fields, "of_tomorrow": [1]}, "hit"),
        ({each: value for each, value in fields.items() if each != "expires_ns"}, "miss"),
        ({**fields, "body": 1}, "miss"),
        ({**fields, "key": b"of another question"}, "miss"),
        ({**fields, "stream": True}, "miss"),
        ([1], "miss"),
    ):
        far.kept[name] = msgspec.msgpack.encode(told)
        assert (await Bench(shared=[far]).chat()).cache == expected


async def test_writes_never_hold_answers_up_and_those_that_pile_up_are_left_out_and_counted(far: Store) -> None:
    bench = Bench(shared=[far])
    far.puts.clear()
    assert [(await bench.chat(f"{number}")).cache for number in range(70)] == ["miss"] * 70
    assert bench.cache.counts.dropped == {"server": 6, "questions": 0}, "64 are under way"
    assert bench.cache.counts.store_failures == 0, "nothing failed"
    far.puts.set()
    await bench.cache.close()
    assert (len(far.kept), bench.cache.counts.stored) == (64, 70)


async def test_a_slow_store_takes_no_room_from_another_or_from_the_index_of_questions(near: Store, far: Store) -> None:
    class Index:
        failures = 0
        added = 0

        async def find(self, partition: str, text: str, threshold: float) -> None:
            return None

        async def add(self, partition: str, text: str, key: bytes, ttl_s: int) -> None:
            await asyncio.sleep(0)
            self.added += 1

    index = Index()
    bench = Bench(CachePolicy(use="always", semantic="any"), shared=[near, far], similar=index)
    far.puts.clear()
    for number in range(1, 101):
        await bench.chat(f"{number}")
        await async_wait_until(lambda n=number: index.added == len(near.kept) == n, what="the quick ones")
    far.puts.set()
    await bench.cache.close()
    assert (len(far.kept), bench.cache.counts.dropped) == (64, {"disk": 0, "server": 36, "questions": 0})
    assert bench.cache.counts.store_failures == 0


async def test_an_answer_whose_time_is_up_is_not_taken_from_a_store_that_still_has_it(far: Store) -> None:
    clock = FixedClock()
    policy = CachePolicy(use="always", ttl_s=60)
    one, two = (Bench(policy, shared=[far], clock=clock) for _ in range(2))
    await one.chat()
    await one.cache.close()
    clock.advance(60)
    assert (await two.chat()).cache == "miss"
