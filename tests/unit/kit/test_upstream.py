"""The HTTP/1.1 client against servers that behave, and many that do not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.raw_server import Act, answering, raw_server, read_request
from support.wait import async_wait_until
from tetrad.kit.upstream import (
    BadRequest,
    BrokenAnswer,
    Client,
    ConnectFailed,
    ConnectionLost,
    Limits,
    TimedOut,
    Timeouts,
    UpstreamBusy,
    UpstreamFailure,
    parse_address,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client(Limits(high_water_bytes=65_536))
    yield client
    await client.close()


def post(client: Client, url: str, path: str = "/x"):
    return client.prepare("POST", parse_address(url), path)


async def fetch(client: Client, url: str, method: str = "POST", **options) -> tuple[int, bytes]:
    response = await client.send(client.prepare(method, parse_address(url), "/x"), b"{}", **options)
    return response.status, await response.read_all(1 << 24)


async def test_a_connection_is_used_again_after_a_whole_answer(client: Client) -> None:
    async with raw_server(answering(OK)) as server:
        for _ in range(5):
            assert await fetch(client, server.url) == (200, b"hi")
        assert server.accepted == 1


async def test_the_newest_connection_is_used_first(client: Client) -> None:
    async with raw_server(answering(OK)) as server:
        await asyncio.gather(*(fetch(client, server.url) for _ in range(3)))
        opened = server.accepted
        for _ in range(5):
            await fetch(client, server.url)
        assert server.accepted == opened
        [(open_, idle, waiting)] = client.counts().values()
        assert (open_, idle, waiting) == (opened, opened, 0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n4;x=y\r\n you\r\n0\r\nt: r\r\n\r\n",
            (200, b"hi you"),
        ),
        (b"HTTP/1.1 204 None\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 304 Same\r\ncontent-length: 10\r\n\r\n", (304, b"")),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (200, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + OK, (200, b"hi")),
    ],
)
async def test_every_framing_is_read_at_every_split_and_keeps_the_connection(
    client: Client, answer: bytes, expected: tuple[int, bytes]
) -> None:
    async def byte_by_byte(reader, writer):
        while True:
            await read_request(reader)
            for i in range(len(answer)):
                writer.write(answer[i : i + 1])
                await asyncio.sleep(0)

    async with raw_server(byte_by_byte) as server:
        assert await fetch(client, server.url) == expected
        assert await fetch(client, server.url) == expected
        assert server.accepted == 1


async def test_an_answer_without_length_ends_with_its_connection(client: Client) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True)) as server:
        assert await fetch(client, server.url) == (200, b"all of it")
        assert await fetch(client, server.url) == (200, b"all of it")
        assert server.accepted == 2


async def test_the_answer_to_head_has_no_body_whatever_it_claims(client: Client) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")) as server:
        assert await fetch(client, server.url, "HEAD") == (200, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"\x16\x03\x01\x00 not http at all\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2x\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nhi\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxx\r\nhi\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi!!\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 777 What\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    ],
)
async def test_an_answer_that_could_be_taken_two_ways_is_refused(client: Client, answer: bytes) -> None:
    async with raw_server(answering(answer)) as server:
        with pytest.raises(BrokenAnswer):
            await fetch(client, server.url, timeouts=Timeouts(first_byte_s=5, idle_s=5))
        await async_wait_until(lambda: server.open == 0, what="the connection to be closed")
        assert client.counts() == {server.url: (0, 0, 0)}


@given(st.binary(max_size=400))
async def test_no_garbage_hangs_or_crashes_the_client(garbage: bytes) -> None:
    client = Client()
    async with raw_server(answering(garbage, close=True)) as server:
        try:
            status, _ = await fetch(client, server.url, timeouts=Timeouts(first_byte_s=5, idle_s=5))
        except UpstreamFailure:
            pass
        else:
            assert garbage.startswith(b"HTTP/1")
            assert 200 <= status < 600
        await async_wait_until(lambda: server.open == 0)
    await client.close()


@given(st.integers(0, len(OK) * 2 + 3))
async def test_a_cut_anywhere_is_an_error_and_never_a_short_answer(cut: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    client = Client()
    async with raw_server(answering(answer[:cut], close=True)) as server:
        if cut >= len(answer):
            assert await fetch(client, server.url) == (200, b"hi")
        else:
            with pytest.raises(ConnectionLost):
                await fetch(client, server.url)
    await client.close()


async def test_bytes_that_nobody_asked_for_never_answer_the_next_request(client: Client) -> None:
    poisoned = OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
    async with raw_server(answering(poisoned, close=False), answering(OK)) as server:
        assert await fetch(client, server.url) == (200, b"hi")
        assert await fetch(client, server.url) == (200, b"hi")
        assert server.accepted == 2


async def test_an_idle_connection_that_speaks_is_dropped(client: Client) -> None:
    async def later(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n")
        await reader.read()

    async with raw_server(later, answering(OK)) as server:
        assert await fetch(client, server.url) == (200, b"hi")
        await async_wait_until(lambda: server.open == 0, what="the client to hang up")
        assert await fetch(client, server.url) == (200, b"hi")


async def test_a_stale_connection_gives_way_once_to_a_fresh_one(client: Client) -> None:
    async def once_then_hang_up(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await read_request(reader)  # the next request is read, and answered by closing

    async with raw_server(once_then_hang_up, answering(OK)) as server:
        assert await fetch(client, server.url) == (200, b"hi")
        assert await fetch(client, server.url) == (200, b"hi")
        assert server.accepted == 2


async def test_a_fresh_connection_that_closes_is_not_tried_again(client: Client) -> None:
    async def hang_up(reader, writer):
        await read_request(reader)

    async with raw_server(hang_up) as server:
        with pytest.raises(ConnectionLost) as caught:
            await fetch(client, server.url)
        assert not caught.value.received
        assert server.accepted == 1


async def test_a_request_that_was_worked_on_is_not_sent_twice(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from tetrad.kit.upstream import _client

    monkeypatch.setattr(_client, "STALE_S", 0.05)

    async def dies_at_work(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await read_request(reader)
        await asyncio.sleep(0.2)

    async with raw_server(dies_at_work, answering(OK)) as server:
        await fetch(client, server.url)
        with pytest.raises(ConnectionLost):
            await fetch(client, server.url)
        assert server.accepted == 1


async def test_part_of_an_answer_is_never_followed_by_a_retry(client: Client) -> None:
    async def half(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await read_request(reader)
        writer.write(b"HTTP/1.1 200")
        await writer.drain()

    async with raw_server(half) as server:
        await fetch(client, server.url)
        with pytest.raises(ConnectionLost) as caught:
            await fetch(client, server.url)
        assert caught.value.received
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("answer", "timeouts"),
    [
        (b"", Timeouts(first_byte_s=0.1)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", Timeouts(idle_s=0.1)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", Timeouts(total_s=0.1)),
    ],
)
async def test_every_deadline_ends_a_silent_upstream(client: Client, answer: bytes, timeouts: Timeouts) -> None:
    async with raw_server(answering(answer)) as server:
        with pytest.raises(TimedOut):
            await fetch(client, server.url, timeouts=timeouts)
        await async_wait_until(lambda: server.open == 0, what="the connection to be closed")


async def test_trickling_bytes_do_not_outlive_the_total(client: Client) -> None:
    async def trickle(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(trickle) as server:
        with pytest.raises(TimedOut):
            await fetch(client, server.url, timeouts=Timeouts(idle_s=5, total_s=0.2))


async def test_connecting_has_a_deadline_and_a_refusal_says_where(client: Client) -> None:
    async with raw_server(answering(OK)) as server:
        url = server.url
    with pytest.raises(ConnectFailed, match=url):
        await fetch(client, url)
    assert client.counts() == {url: (0, 0, 0)}


async def test_a_slow_consumer_stops_the_upstream_and_loses_nothing(client: Client) -> None:
    total = 8 * 1024 * 1024
    sent = 0

    async def flood(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.transport.set_write_buffer_limits(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await writer.drain()
        await reader.read()

    async with raw_server(flood) as server:
        response = await client.send(post(client, server.url), b"", timeouts=Timeouts(idle_s=0.3))
        before = -1
        while before != sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.1)
        assert sent < total - 1024 * 1024, "the upstream was read although nobody consumed"
        await asyncio.sleep(0.5)  # longer than the idle bound: a consumer's pause is not the upstream's fault
        assert len(await response.read_all(total)) == total


async def test_too_large_an_answer_is_cut_off(client: Client) -> None:
    async with raw_server(
        answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 9_000_000)
    ) as server:
        response = await client.send(post(client, server.url))
        with pytest.raises(BrokenAnswer, match="larger"):
            await response.read_all(1000)
        await async_wait_until(lambda: server.open == 0)


@pytest.mark.parametrize("begun", [False, True])
async def test_cancelling_closes_the_connection_at_once(client: Client, begun: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi"
    async with raw_server(answering(head if begun else b"")) as server:
        task = asyncio.create_task(fetch(client, server.url))
        await async_wait_until(lambda: server.open == 1)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await async_wait_until(lambda: server.open == 0, timeout_s=0.5, what="the upstream connection to end")
        assert client.counts() == {server.url: (0, 0, 0)}


async def test_calls_beyond_the_limit_wait_their_turn_and_all_succeed() -> None:
    client = Client(Limits(max_connections=2))
    async with raw_server(answering(OK)) as server:
        answers = await asyncio.gather(*(fetch(client, server.url) for _ in range(50)))
        assert answers == [(200, b"hi")] * 50
        assert server.accepted <= 2
    await client.close()


async def test_two_pools_of_one_origin_keep_their_own_limits() -> None:
    client = Client()
    async with raw_server(answering(b"")) as server:
        wide = [
            asyncio.create_task(fetch(client, server.url, pool="wide", max_connections=3)) for _ in range(3)
        ]  # fmt: skip
        narrow = [
            asyncio.create_task(fetch(client, server.url, pool="narrow", max_connections=1)) for _ in range(2)
        ]  # fmt: skip
        await async_wait_until(lambda: client.counts().get(server.url) == (4, 0, 1))
        wide.append(asyncio.create_task(fetch(client, server.url, pool="wide", max_connections=4)))
        await async_wait_until(lambda: client.counts().get(server.url) == (5, 0, 1))
        for task in (*wide, *narrow):
            task.cancel()
        await asyncio.gather(*wide, *narrow, return_exceptions=True)
    await client.close()


async def test_a_full_queue_refuses_at_once_and_a_long_wait_ends() -> None:
    client = Client(Limits(max_connections=1, max_waiting=1))
    async with raw_server(answering(b"")) as server:
        tasks = [asyncio.create_task(fetch(client, server.url, timeouts=Timeouts(connect_s=0.2))) for _ in range(2)]
        await async_wait_until(lambda: client.counts().get(server.url) == (1, 0, 1))
        with pytest.raises(UpstreamBusy, match="waiting"):
            await fetch(client, server.url)
        with pytest.raises(UpstreamBusy, match="became free"):
            await tasks[1]
        assert client.counts()[server.url] == (1, 0, 0)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await async_wait_until(lambda: client.counts()[server.url] == (0, 0, 0))
    await client.close()


async def test_a_cancelled_wait_gives_its_place_on() -> None:
    client = Client(Limits(max_connections=1))
    release = asyncio.Event()

    async def held(reader, writer):
        while True:
            await read_request(reader)
            await release.wait()
            writer.write(OK)

    async with raw_server(held) as server:
        tasks = [asyncio.create_task(fetch(client, server.url)) for _ in range(4)]
        await async_wait_until(lambda: client.counts().get(server.url) == (1, 0, 3))
        tasks[1].cancel()
        release.set()
        tasks[2].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] == results[3] == (200, b"hi")
        assert client.counts()[server.url] == (1, 1, 0)
    await client.close()


async def test_an_early_answer_to_a_body_still_being_sent_ends_the_connection(client: Client) -> None:
    async def impatient(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(1)

    async with raw_server(impatient, answering(OK)) as server:
        response = await client.send(post(client, server.url), b"x" * 30_000_000)
        assert (response.status, await response.read_all(10)) == (413, b"")
        assert await fetch(client, server.url) == (200, b"hi")
        assert server.accepted == 2


async def test_a_unix_socket_is_an_upstream_like_any_other(client: Client, tmp_path: Path) -> None:
    async def act(reader, writer):
        head, _ = await read_request(reader)
        assert head.startswith("POST /v1/x HTTP/1.1\r\nhost: localhost\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    path = tmp_path / "s"
    server = await asyncio.start_unix_server(act, str(path))
    assert await fetch(client, f"unix://{path}#/v1") == (200, b"hi")
    server.close()


async def test_tls_is_verified_and_names_the_server(tmp_path: Path) -> None:
    key, certificate = tmp_path / "k.pem", tmp_path / "c.pem"
    subprocess.run(  # noqa: ASYNC221 - nothing else runs yet
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def act(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await answering(OK)(reader, writer)
        writer.close()

    server = await asyncio.start_server(act, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    strict = Client()
    with pytest.raises(ConnectFailed, match="not trusted"):
        await fetch(strict, f"https://localhost:{port}")
    trusting = Client(ssl_context=ssl.create_default_context(cafile=str(certificate)))
    for _ in range(3):
        assert await fetch(trusting, f"https://localhost:{port}") == (200, b"hi")
    with pytest.raises(ConnectFailed, match="not trusted"):
        await fetch(trusting, f"https://127.0.0.1:{port}")
    await strict.close()
    await trusting.close()
    server.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "b\r\nx-injected: 1"),
        ("x-a", "b\nc"),
        ("x-a", "b\0c"),
        ("x a", "b"),
        ("x-a:", "b"),
        ("", "b"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Host", "evil"),
    ],
)
def test_a_header_that_could_change_the_request_is_refused(name: str, value: str) -> None:
    with pytest.raises(BadRequest):
        Client.prepare("POST", parse_address("http://h"), "/x", [(name, value)])


@pytest.mark.parametrize("path", ["x", "/a b", "/a\r\nb", "/ü", "/a\tb"])
def test_a_target_that_could_change_the_request_is_refused(path: str) -> None:
    with pytest.raises(BadRequest):
        Client.prepare("POST", parse_address("http://h"), path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "ftp://h",
        "http://",
        "http://u:p@h",
        "http://h?x",
        "http://h#f",
        "http://h h",
        "http://h:99999",
        "unix://x",
    ],
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(BadRequest):
        parse_address(url)


@pytest.mark.parametrize(
    ("url", "origin", "authority", "prefix"),
    [
        ("http://h/v1/", ("http", "h", 80), "h", "/v1"),
        ("https://h:8443", ("https", "h", 8443), "h:8443", ""),
        ("http://[::1]:80/a", ("http", "::1", 80), "[::1]", "/a"),
        ("unix:///run/x.sock#/v1", ("unix", "/run/x.sock", 0), "localhost", "/v1"),
    ],
)
def test_an_address_has_origin_authority_and_prefix(url: str, origin: tuple, authority: str, prefix: str) -> None:
    address = parse_address(url)
    assert (tuple(address.origin), address.authority, address.prefix) == (origin, authority, prefix)


def chunks(*texts: bytes, end: bool = True) -> Act:
    """Send pieces of a body one by one, each once the last was taken."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for text in texts:
            writer.write(b"%x\r\n%b\r\n" % (len(text), text))
            await writer.drain()
            await asyncio.sleep(0)
        if end:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    return act


async def test_a_body_flows_to_its_listener_until_its_end(client: Client) -> None:
    async with raw_server(chunks(b"one", b"two", b"three")) as server:
        response = await client.send(post(client, server.url), b"")
        heard: list[bytes] = []
        await response.flow(lambda piece: heard.append(piece) is None)
        assert (b"".join(heard), response.complete) == (b"onetwothree", True)
        assert await response.read() == b""


async def test_a_listener_that_has_enough_leaves_the_rest_to_be_read(client: Client) -> None:
    async with raw_server(chunks(b"one", b"two", b"three")) as server:
        response = await client.send(post(client, server.url), b"")
        heard: list[bytes] = []

        def once(piece: bytes) -> bool:
            heard.append(piece)
            return False

        await response.flow(once)
        assert len(heard) == 1
        await response.flow(once)
        assert len(heard) == 2
        assert b"".join(heard) + await response.read_all(100) == b"onetwothree"


async def test_a_flow_hands_on_what_came_before_a_break_and_read_tells_of_it(client: Client) -> None:
    async with raw_server(chunks(b"one", b"two", end=False)) as server:
        response = await client.send(post(client, server.url), b"")
        heard: list[bytes] = []
        await response.flow(lambda piece: heard.append(piece) is None)
        assert b"".join(heard) == b"onetwo"
        with pytest.raises(ConnectionLost):
            await response.read()


async def test_a_flow_that_stops_is_told_within_its_deadline_though_others_have_longer_ones(client: Client) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await reader.read()

    async with raw_server(stall) as server:
        patient = await client.send(post(client, server.url), b"", timeouts=Timeouts(idle_s=30))
        response = await client.send(post(client, server.url), b"", timeouts=Timeouts(idle_s=0.1))
        heard: list[bytes] = []
        await response.flow(lambda piece: heard.append(piece) is None)
        with pytest.raises(TimedOut, match=r"0\.1 s"):
            await response.read()
        assert await patient.read() == b"one"
        patient.close()


async def test_a_cancelled_flow_closes_its_connection(client: Client) -> None:
    async with raw_server(chunks(b"one", *[b"more"] * 1000)) as server:
        response = await client.send(post(client, server.url), b"")
        begun = asyncio.Event()

        def hear(_piece: bytes) -> bool:
            begun.set()
            return True

        task = asyncio.create_task(response.flow(hear))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await async_wait_until(lambda: client.counts() == {server.url: (0, 0, 0)})
