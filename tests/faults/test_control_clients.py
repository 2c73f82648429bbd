"""Strangers at the control plane's door: endless, slow and ambiguous requests."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from support.wait import wait_until
from tetrad.kit.http_protocol import MAX_HEAD_BYTES, bounded

Seen = dict[bytes, bytes]


class Door:
    """A server with the protocol of control and an application that says which headers it saw."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        config = uvicorn.Config(
            _echo, http=bounded(0.5), lifespan="off", log_config=None, timeout_keep_alive=30, access_log=False
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve(sockets=[self.listening])))
        self.thread.start()
        wait_until(lambda: self.server.started)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, data: bytes) -> tuple[int, dict[str, Any]]:
        with self.connect() as client:
            client.sendall(data)
            return _answer(client)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if message["type"] == "http.disconnect":
        return
    seen = {name.decode(): value.decode() for name, value in scope["headers"]}
    body = json.dumps({"headers": seen, "size": size}).encode()
    head = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _answer(client: socket.socket) -> tuple[int, dict[str, Any]]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65_536)
        assert piece, f"closed without an answer after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += client.recv(65_536)
    return int(head.split(b" ")[1]), json.loads(body)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.stop()


def test_an_endless_head_is_refused(door: Door) -> None:
    status, problem = door.ask(b"GET / HTTP/1.1\r\nx: " + b"a" * (MAX_HEAD_BYTES + 1000))
    assert (status, problem["code"]) == (431, "malformed_http")


def test_a_head_that_never_ends_is_cut_off(door: Door) -> None:
    assert door.ask(b"GET / HTTP/1.1\r\nhost: x\r\n")[0] == 408


def test_a_connection_that_says_nothing_is_closed_without_a_word(door: Door) -> None:
    with door.connect() as client:
        assert client.recv(100) == b""


def test_an_idle_connection_outlives_the_deadline_of_heads(door: Door) -> None:
    with door.connect() as client:
        for _ in range(2):
            client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi")
            assert _answer(client)[1]["size"] == 2
            client.settimeout(1.0)
            with pytest.raises(TimeoutError):  # nothing comes: it is still open and silent
                client.recv(1)
            client.settimeout(10)


def test_a_trailer_does_not_pose_as_a_header(door: Door) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    status, seen = door.ask(head + b"2\r\nhi\r\n0\r\nauthorization: Bearer stolen\r\norigin: http://evil\r\n\r\n")
    assert (status, seen["size"]) == (200, 2)
    assert sorted(seen["headers"]) == ["host", "transfer-encoding"]


def test_endless_trailers_are_refused(door: Door) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    status, problem = door.ask(head + b"x: " + b"a" * (MAX_HEAD_BYTES * 12))
    assert (status, problem["code"]) == (400, "malformed_http")


def test_a_body_in_tiny_chunks_is_read_whole(door: Door) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert door.ask(head + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")[1]["size"] == 50_000


def test_a_broken_chunk_is_told_before_the_connection_is_cut(door: Door) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert door.ask(head + b"-1\r\n\r\n")[0] == 400
