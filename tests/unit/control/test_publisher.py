"""Route tables are compiled when something changed, and pushed to every gateway."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta

from support.wait import wait_until
from tetrad.kernel import FixedClock
from tetrad.kit.seal import Keyring, new_seal_key
from tetrad.processes.control._publisher import RouteTablePublisher
from tetrad.serving import ROUTE_TABLE_AAD, RouteTable, decode_route_table

KEYRING = Keyring(new_seal_key())


def publisher(compile_table: object = None) -> RouteTablePublisher:
    def plain(version: int) -> RouteTable:
        return RouteTable(version=version, made_ns=0)

    return RouteTablePublisher(compile_table or plain, KEYRING, FixedClock())  # type: ignore[arg-type]


def opened(frame: bytes) -> RouteTable:
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return decode_route_table(KEYRING.unseal(frame[4:], ROUTE_TABLE_AAD))


async def test_a_gateway_gets_the_newest_table_at_once_and_every_later_one() -> None:
    made = publisher()
    made.start()
    stream = made.stream()
    first = opened(await anext(stream))
    made.changed()
    second = opened(await anext(stream))
    assert second.version > first.version
    assert made.gateways == 1
    made.stop()
    assert [frame async for frame in stream] == [], "a stream ends when control ends"
    assert made.gateways == 0


async def test_versions_grow_even_when_the_clock_stands_still() -> None:
    made = publisher()
    made.start()
    seen = [made.version]
    for _ in range(5):
        before = made.version
        made.changed()
        await asyncio.to_thread(wait_until, lambda before=before: made.version > before, what="the next table")
        seen.append(made.version)
    made.stop()
    assert seen == sorted(set(seen))


def test_a_burst_of_changes_costs_two_tables() -> None:
    entered, release = threading.Event(), threading.Event()
    compiled: list[int] = []

    def slow(version: int) -> RouteTable:
        compiled.append(version)
        if len(compiled) == 2:
            entered.set()
            assert release.wait(10)
        return RouteTable(version=version, made_ns=0)

    made = publisher(slow)
    made.start()
    made.changed()
    assert entered.wait(10)
    for _ in range(100):
        made.changed()
    release.set()
    wait_until(lambda: len(compiled) == 3 and made.version == compiled[-1], what="the table after the burst")
    made.stop()
    assert len(compiled) == 3


def test_a_table_that_cannot_be_made_leaves_the_last_one_in_force_and_is_told() -> None:
    broken = threading.Event()

    def compile_table(version: int) -> RouteTable:
        if broken.is_set():
            raise RuntimeError("the store is away")
        return RouteTable(version=version, made_ns=0)

    made = publisher(compile_table)
    made.start()
    good = made.sealed
    broken.set()
    made.changed()
    wait_until(lambda: made.error, what="the error")
    assert "the store is away" in made.error
    assert made.sealed == good
    broken.clear()
    made.changed()
    wait_until(lambda: not made.error and made.sealed != good, what="the next table")
    made.stop()


def test_a_table_is_made_anew_when_a_price_begins_and_not_again_after_that() -> None:
    clock = FixedClock()
    begins = clock.now() + timedelta(milliseconds=50)
    asked: list[datetime] = []

    def due(after: datetime) -> datetime | None:
        asked.append(after)
        if len(asked) == 1:
            clock.advance(timedelta(seconds=1))
        return begins if begins > after else None

    compiled: list[int] = []

    def compile_table(version: int) -> RouteTable:
        compiled.append(version)
        return RouteTable(version=version, made_ns=0)

    made = RouteTablePublisher(compile_table, KEYRING, clock, due=due)
    made.start()
    wait_until(lambda: len(asked) > 1, what="the table with the price")
    assert asked[1] >= begins, "it is asked for what comes after this table"
    made.stop()
    assert len(compiled) == 2


def test_a_database_that_is_away_does_not_end_the_publisher() -> None:
    told, compiled = threading.Event(), threading.Event()

    def compile_table(version: int) -> RouteTable:
        if told.is_set():
            compiled.set()
        return RouteTable(version=version, made_ns=0)

    def due(after: datetime) -> datetime | None:
        told.set()
        raise RuntimeError("the store is away")

    made = RouteTablePublisher(compile_table, KEYRING, FixedClock(), due=due)
    made.start()
    assert told.wait(10)
    made.changed()
    assert compiled.wait(10), "the next table"
    made.stop()
