"""What every store of shared answers promises: files of a machine, and a Valkey or Redis of many."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.raw_server import Act, raw_server
from support.redis_server import RedisServer, lent_redis, skip_without_server
from support.wait import async_wait_until
from tetrad.adapters.answers_redis import RedisAnswers
from tetrad.kernel import InvalidInput
from tetrad.kit.home import Home
from tetrad.kit.seal import BadSealKey, Keyring, load_keyring, new_seal_key
from tetrad.serving import FileAnswers
from tetrad.serving.ports import SharedAnswers

KEYS = Keyring(b"k" * 32)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    skip_without_server("the store of shared answers")
    with lent_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    shared_server.say("FLUSHALL")
    return shared_server


class Time:
    """A clock of the test's own, for rests; deadlines go by the real one."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@contextlib.contextmanager
def answers(url: str, *, keys: Keyring = KEYS, **more: Any) -> Iterator[RedisAnswers]:
    made = RedisAnswers(url, lambda: keys, **{"deadline_s": 5.0, **more})
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=["disk", "server"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SharedAnswers]:
    if request.param == "disk":
        yield FileAnswers(tmp_path / "cache", most_bytes=100_000_000)
        return
    with answers(request.getfixturevalue("server").url) as made:
        yield made


# what all promise


async def test_what_was_put_is_found_and_what_was_not_is_none(store: SharedAnswers) -> None:
    await store.put("aa.whole", b"one", 60)
    await store.put("aa.stream", b"", 60)
    assert await store.get(["aa.whole", "bb.whole", "aa.stream"]) == [b"one", None, b""]


async def test_what_is_put_again_stands_in_the_place_of_the_first(store: SharedAnswers) -> None:
    await store.put("aa.whole", b"one", 60)
    await store.put("aa.whole", b"two", 60)
    assert await store.get(["aa.whole"]) == [b"two"]


async def test_large_answers_come_back_whole_and_many_do_at_once(store: SharedAnswers) -> None:
    wanted = {f"{number:02}.whole": bytes([number]) * 700_000 for number in range(20)}
    for name, data in wanted.items():
        await store.put(name, data, 60)
    found = await asyncio.gather(*(store.get([name]) for name in wanted))
    assert [each[0] for each in found] == list(wanted.values())


# what the server does beside


async def test_gateways_of_one_installation_find_each_others_answers_and_others_do_not(server: RedisServer) -> None:
    with (
        answers(server.url) as one,
        answers(server.url) as two,
        answers(server.url, keys=Keyring(new_seal_key())) as stranger,
        answers(server.url, prefix="other:") as elsewhere,
    ):
        await one.put("a", b"x", 60)
        assert await two.get(["a"]) == [b"x"]
        assert await stranger.get(["a"]) == await elsewhere.get(["a"]) == [None]
        assert (two.state.counts["found"], stranger.state.counts["absent"], stranger.state.counts["broken"]) == (
            1,
            1,
            0,
        )


async def test_what_lies_there_is_named_by_the_prefix_sealed_and_goes_with_its_time(server: RedisServer) -> None:
    with answers(server.url, prefix="acme:") as made:
        await made.put("feedbeef.whole", b"The answer is a secret of ours.", 60)
        await made.put("brief", b"x", 0.05)
        (name,) = [each for each in server.names() if 50_000 < int(server.say("PTTL", each)[1:]) <= 60_000]
        assert name.startswith(b"acme:")
        assert b"feedbeef" not in name
        assert b"secret" not in server.say("GET", name)
        await async_wait_until(lambda: len(server.names()) == 1, what="the end of the brief one")
        assert await made.get(["brief"]) == [None]


@pytest.mark.parametrize("planted", [b"", b"garbage", b"\x01" * 200, b"x" * 3_000_000], ids=len)
async def test_what_somebody_else_put_there_is_passed_over_and_replaced(server: RedisServer, planted: bytes) -> None:
    with answers(server.url) as made:
        await made.put("a", b"x", 60)
        (name,) = server.names()
        server.say("SET", name, planted)
        assert await made.get(["a"]) == [None]
        assert made.state.state == "up"
        assert made.state.counts["broken"] == (1 if planted else 0)
        await made.put("a", b"y", 60)
        assert await made.get(["a"]) == [b"y"]


async def test_an_entry_of_another_kind_or_moved_from_another_name_is_passed_over(server: RedisServer) -> None:
    with answers(server.url) as made:
        await made.put("a", b"a", 60)
        (first,) = server.names()
        await made.put("b", b"b", 60)
        (second,) = set(server.names()) - {first}
        server.say("COPY", first, second, "REPLACE")
        assert await made.get(["a", "b"]) == [b"a", None]
        server.say("DEL", first)
        server.say("LPUSH", first, "x")
        assert await made.get(["a"]) == [None]
        assert (made.state.state, made.state.counts["broken"]) == ("up", 2)
        await made.put("a", b"again", 60)
        assert await made.get(["a"]) == [b"again"]


async def test_an_answer_that_is_too_large_is_not_sent(server: RedisServer) -> None:
    with answers(server.url, entry_bytes=2000) as made:
        await made.put("a", os.urandom(2500), 60)  # does not pack
        await made.put("b", b"x" * 1_000_000, 60)  # packs well, and is more than would be unpacked
        assert (server.names(), made.state.counts["dropped"]) == ([], 2)


async def test_a_hung_server_delays_one_call_by_the_deadline_and_no_other_until_it_is_back(
    server: RedisServer,
) -> None:
    clock = Time()
    with answers(server.url, deadline_s=1.0, now_s=clock) as made:
        await made.put("a", b"x", 60)
        assert await made.get(["a"]) == [b"x"]
        server.pause()
        try:
            started = time.monotonic()
            found = await asyncio.wait_for(asyncio.gather(*(made.get(["a"]) for _ in range(50))), 30)
            assert found == [[None]] * 50
            assert time.monotonic() - started >= 0.99
            assert (made.state.state, made.state.why) == ("down", "it did not answer in 1 s")
            failed = made.state.counts["failed"]
            assert await made.get(["a"]) == [None]
            await made.put("b", b"y", 60)
            assert (made.state.counts["failed"], made.state.counts["dropped"]) == (failed, 1), "nobody asked"
            clock.now_s += 5.01
            await asyncio.gather(*(made.get(["a"]) for _ in range(50)))
            assert made.state.counts["failed"] == failed + 1, "one asked, for all"
        finally:
            server.go_on()
        clock.now_s += 5.01

        async def back() -> bool:
            clock.now_s += 5.01
            return await made.get(["a"]) == [b"x"]

        await async_wait_until(back, what="the server")
        assert made.state.state == "up"


async def test_a_server_that_starts_anew_is_asked_again_at_once(tmp_path: Path, server: RedisServer) -> None:
    with lent_redis(tmp_path) as own, answers(own.url) as made:
        await asyncio.gather(*(made.get([str(number)]) for number in range(20)))
        await made.put("a", b"x", 60)
        own.kill()
        own.start()
        assert await made.get(["a"]) == [None]
        await made.put("a", b"x", 60)
        assert await made.get(["a"]) == [b"x"]
        assert (made.state.state, made.state.counts["failed"]) == ("up", 0)


async def test_a_server_that_is_gone_costs_nothing_but_misses(tmp_path: Path, server: RedisServer) -> None:
    clock = Time()
    with lent_redis(tmp_path) as own, answers(own.url, now_s=clock) as made:
        await made.put("a", b"x", 60)
        own.kill()
        assert await made.get(["a"]) == [None]
        assert made.state.state == "down"
        assert f"127.0.0.1:{own.port} does not answer" in made.state.why
        own.start()
        assert await made.get(["a"]) == [None]
        assert made.state.counts["passed"] == 1
        clock.now_s += 5.01
        await made.put("a", b"x", 60)
        assert (await made.get(["a"]), made.state.state) == ([b"x"], "up")


async def test_a_full_server_is_read_and_not_written_for_a_while(server: RedisServer) -> None:
    clock = Time()
    with answers(server.url, now_s=clock) as made:
        await made.put("a", b"x", 60)
        server.say("CONFIG", "SET", "maxmemory", "1")
        try:
            await made.put("b", b"y", 60)
            assert made.state.state == "read_only"
            assert "OOM" in made.state.why
            await made.put("b", b"y", 60)
            assert (made.state.counts["failed"], made.state.counts["dropped"]) == (1, 1)
            assert await made.get(["a"]) == [b"x"]
        finally:
            server.say("CONFIG", "SET", "maxmemory", "0")
        clock.now_s += 5.01
        await made.put("b", b"y", 60)
        assert (made.state.state, await made.get(["b"])) == ("up", [b"y"])


async def test_a_wrong_password_or_a_missing_right_is_told_of(tmp_path: Path, server: RedisServer) -> None:
    acl = ["--user", "default", "off", "--user", "cache", "on", ">right", "~tetrad:answer:*", "+set", "+getrange"]
    with lent_redis(tmp_path, *acl) as own:
        at = f"127.0.0.1:{own.port}/0"
        with answers(f"redis://cache:right@{at}") as made:
            await made.put("a", b"x", 60)
            assert await made.get(["a"]) == [b"x"], "two commands and the names under the prefix suffice"
        with answers(f"redis://cache:wrong@{at}") as made:
            assert await made.get(["a"]) == [None]
            assert made.state.state == "down"
            assert "WRONGPASS" in made.state.why
        with answers(f"redis://cache:right@{at}", prefix="elsewhere:") as made:
            assert await made.get(["a"]) == [None]
            assert "NOPERM" in made.state.why


def answering(lie: bytes, *, close: bool = False) -> Act:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 20):
            writer.write(lie)
            await writer.drain()
            if close:
                return

    return act


LIES: dict[str, Act] = {
    "garbage": answering(b"garbage\r\n"),
    "no end of line": answering(b"x" * 200_000),
    "too much": answering(b"$999999999999\r\n"),
    "a number": answering(b":1\r\n"),
    "a list in lists": answering(b"*1\r\n" * 50),
    "many in lists": answering(b"*100000\r\n" * 50_000),
    "no number": answering(b"$x\r\n"),
    "half": answering(b"$10\r\nhalf", close=True),
    "nothing": answering(b"", close=True),
    "more than was asked": answering(b"$1\r\na\r\n$1\r\nb\r\n"),
    "steering": answering(b"-ERR \x1b[2J\x07 no\r\n"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_server_that_lies_costs_nothing_but_misses(lie: str) -> None:
    async with raw_server(LIES[lie]) as liar:
        with answers(f"redis://127.0.0.1:{liar.port}/0", deadline_s=10.0) as made:
            assert await made.get(["a"]) == [None]
            await made.put("a", b"x", 60)
            assert made.state.counts["found"] == made.state.counts["stored"] == 0
            assert made.state.why.isprintable()
            assert "did not answer in" not in made.state.why, "it is seen for what it is, not waited for"
            assert made.state.counts["failed"] + made.state.counts["broken"] >= 1


async def test_connections_that_a_firewall_forgot_cost_one_silence_and_not_one_each() -> None:
    clock, silent = Time(), asyncio.Event()

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            if not silent.is_set():
                writer.write(b"$0\r\n\r\n")

    async def fresh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(b"$0\r\n\r\n")

    async with raw_server(*[old] * 8, fresh) as server:
        with answers(f"redis://127.0.0.1:{server.port}/0", deadline_s=2.0, now_s=clock) as made:
            await asyncio.gather(*(made.get([str(number)]) for number in range(8)))
            assert server.accepted == 8
            silent.set()
            assert await made.get(["a"]) == [None]
            assert made.state.state == "down"
            clock.now_s += 5.01
            assert await made.get(["a"]) == [None]
            await asyncio.gather(*(made.get([str(number)]) for number in range(8)))
            assert (made.state.state, made.state.counts["failed"]) == ("up", 1)


async def greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ready: asyncio.Event) -> None:
    assert b"AUTH" in await reader.read(1000)
    await ready.wait()
    writer.write(b"+OK\r\n")


@pytest.mark.parametrize("slow", ["connecting", "the first answer"])
async def test_a_connection_that_takes_longer_than_a_search_may_last_comes_up_for_the_next_one(slow: str) -> None:
    clock, ready, at_once = Time(), asyncio.Event(), asyncio.Event()
    at_once.set()

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeting(reader, writer, ready if slow == "connecting" else at_once)
        while await reader.read(1000):
            await ready.wait()
            writer.write(b"$0\r\n\r\n")

    async with raw_server(act) as server:
        with answers(f"redis://:word@127.0.0.1:{server.port}/0", deadline_s=0.3, now_s=clock) as made:
            assert await made.get(["a"]) == [None]
            assert (made.state.state, made.state.why) == ("down", "it did not answer in 0.3 s")
            ready.set()
            await async_wait_until(lambda: made._idle, what="the connection")
            assert await made.get(["a"]) == [None]
            assert made.state.counts["passed"] == 1, "it rests all the same"
            clock.now_s += 5.01
            assert await made.get(["a"]) == [None]
            assert (made.state.state, made.state.counts["absent"], server.accepted) == ("up", 1, 1)


async def test_a_server_that_answers_is_not_down_because_one_more_connection_is_slow_but_because_it_fails() -> None:
    at_once, answer, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
    at_once.set()

    async def quick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeting(reader, writer, at_once)
        while await reader.read(1000):
            await answer.wait()
            writer.write(b"$0\r\n\r\n")

    async def hung(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeting(reader, writer, never)

    async with raw_server(quick, hung) as server:
        with answers(f"redis://:word@127.0.0.1:{server.port}/0", deadline_s=0.5) as made:
            answer.set()
            await made.get(["warm"])
            answer.clear()
            first, second = (asyncio.create_task(made.get(["a"])) for _ in range(2))
            await async_wait_until(lambda: server.accepted == 2, what="the second connection")
            answer.set()
            assert [await first, await second] == [[None], [None]]
            assert (made.state.state, made.state.counts["passed"], made.state.counts["failed"]) == ("up", 1, 0)
            await async_wait_until(lambda: made.state.state == "down", what="the end of the second connection")
            assert "does not answer" in made.state.why
            assert made.state.counts["failed"] == 1


async def test_a_large_answer_is_not_waited_for_longer_than_the_deadline_where_threads_are_busy(
    server: RedisServer,
) -> None:
    free, busy = threading.Event(), threading.Event()
    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    large, small = os.urandom(600_000), os.urandom(100_000)
    with answers(server.url, deadline_s=1.0) as made:
        await made.put("large", large, 60)
        await made.put("small", small, 60)
        pool.submit(lambda: (busy.set(), free.wait(60)))
        try:
            await async_wait_until(busy.is_set, what="the thread")
            assert await asyncio.wait_for(made.get(["large"]), 20) == [None]
            assert (made.state.state, made.state.counts["passed"], made.state.counts["failed"]) == ("up", 1, 0)
            assert await asyncio.wait_for(made.get(["small"]), 20) == [small]
        finally:
            free.set()
        assert await made.get(["large"]) == [large]


async def test_writes_that_do_not_keep_up_are_left_out_and_counted(server: RedisServer) -> None:
    with answers(server.url, entry_bytes=1_000_000) as made:
        await made.put("first", b"x", 60)
        server.pause()
        try:
            writes = [asyncio.create_task(made.put(str(number), b"x" * 1_000_000, 60)) for number in range(30)]
            await asyncio.wait_for(asyncio.gather(*writes), 20)
        finally:
            server.go_on()
        counts = made.state.counts
        assert counts["stored"] == 1
        assert counts["failed"] == 1, "the others did not wait for the same silence"
        assert counts["dropped"] == 29


async def test_a_call_that_is_cancelled_leaves_no_answer_to_the_next(server: RedisServer) -> None:
    with answers(server.url) as made:
        await made.put("a", b"a", 60)
        await made.put("b", b"b", 60)
        server.pause()
        task = asyncio.create_task(made.get(["a"]))
        await async_wait_until(lambda: not made._idle and made._slots._value < 8, what="the question on its way")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.go_on()
        assert await made.get(["b"]) == [b"b"]
        assert made.state.counts["broken"] == 0


async def test_a_gateway_whose_key_is_not_there_yet_shares_nothing_until_it_is(
    tmp_path: Path, server: RedisServer
) -> None:
    clock, path = Time(), Home(tmp_path).keys / "seal.key"
    made = RedisAnswers(server.url, lambda: load_keyring(path, create=False), deadline_s=5.0, now_s=clock)
    with contextlib.closing(made):
        await made.put("a", b"x", 60)
        assert await made.get(["a"]) == [None]
        assert "is missing" in made.state.why
        with pytest.raises(BadSealKey):
            load_keyring(path, create=False)
        load_keyring(path)
        clock.now_s += 5.01
        await made.put("a", b"x", 60)
        assert await made.get(["a"]) == [b"x"]


@pytest.mark.parametrize(
    "url",
    ["http://x", "redis://", "redis://host:x", "redis://host/name", "redis://host/٣", "redis://:s3cr[et@host/0",
     "redis://:s3cr[et]x@host/0", "redis://:s3cr\u2100et@host/0"],
)  # fmt: skip
def test_what_is_no_address_of_a_redis_is_refused_and_its_password_is_not_told(url: str) -> None:
    with pytest.raises(InvalidInput, match="TETRAD_GATEWAY_CACHE_URL") as refused:
        RedisAnswers(url, lambda: KEYS)
    told = "".join(traceback.format_exception(refused.value)) + (refused.value.hint or "")
    assert "redis://host:6379/0" in told
    assert "s3cr" not in told


@pytest.mark.parametrize("prefix", ["", "a b", "\n", "ä", "x" * 101])
def test_what_cannot_begin_a_name_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        RedisAnswers("redis://host", lambda: KEYS, prefix=prefix)
    assert "TETRAD_GATEWAY_CACHE_PREFIX" in (refused.value.hint or "")
