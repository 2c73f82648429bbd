"""Uploads that are large, slow, torn or refused: the gateway passes them on, and neither swells nor hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

from support import gateway as g
from support.gateway import GatewayProcess, make_table, prepare_home
from support.wait import wait_until

MIB = 2**20
HEAD = (
    f"POST /v1/files HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {g.KEY}\r\n"
    "content-type: multipart/form-data; boundary=x\r\n"
).encode()


class Holding:
    """A control that takes connections and reads only when it is told to; then it answers."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        self.at_once = False
        self.taken = 0
        self.heads: list[bytes] = []
        self.ends: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(1024)
                if not piece:
                    return
                head += piece
            if b"/internal/v1/data/" not in head:
                return
            self.heads.append(head)
            if self.at_once:
                connection.sendall(self.answer)
            self.go.wait(60)
            tail = head
            while not tail.endswith(b"0\r\n\r\n"):
                piece = connection.recv(65_536)
                if not piece:
                    self.ends.append("torn")
                    return
                self.taken += len(piece)
                tail = (tail + piece)[-16:]
            self.ends.append("whole")
            connection.sendall(self.answer)


@pytest.fixture
def control() -> Iterator[Holding]:
    with Holding() as holding:
        yield holding


@pytest.fixture(params=["tetrad", "uvicorn"])
def gateway(control: Holding, tetrad_home: Path, request: pytest.FixtureRequest) -> Iterator[GatewayProcess]:
    prepare_home(tetrad_home, make_table("http://127.0.0.1:1/v1"))
    with GatewayProcess(
        tetrad_home, control_url=control.url, gateway_server=request.param, gateway_body_timeout_s=1.0
    ) as gateway:
        yield gateway


@contextmanager
def client(gateway: GatewayProcess, length: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % length)
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    found = b""
    with suppress(OSError):
        while piece := connection.recv(65_536):
            found += piece
            if b"}" in found:
                break
    return found


def test_an_upload_waits_in_the_clients_hands_while_control_does_not_read(
    gateway: GatewayProcess, control: Holding
) -> None:
    size = 96 * MIB
    before = gateway.resident_bytes()
    with client(gateway, size) as connection:
        sending = threading.Thread(target=connection.sendall, args=(b"x" * size,), daemon=True)
        sending.start()
        wait_until(lambda: len(control.heads) == 1, what="control to be asked")
        sending.join(1.5)
        assert sending.is_alive()
        assert gateway.resident_bytes() - before < 24 * MIB
        control.go.set()
        assert b"200 OK" in answer_of(connection)
        sending.join(20)
    assert control.taken >= size
    assert gateway.resident_bytes() - before < 24 * MIB
    head = control.heads[0].lower()
    assert b"x-tetrad-project: default" in head
    assert b"x-tetrad-key-id: key_full" in head
    assert g.KEY.encode() not in control.heads[0]


def test_a_client_that_leaves_tears_the_upload_and_costs_no_place(gateway: GatewayProcess, control: Holding) -> None:
    control.go.set()
    with client(gateway, MIB) as connection:
        connection.sendall(b"x" * 1000)
        wait_until(lambda: len(control.heads) == 1, what="control to be asked")
    wait_until(lambda: control.ends == ["torn"], what="control to see the end")
    wait_until(lambda: gateway.metric("tetrad_gateway_in_flight") == 0, what="its place to be free")


def test_a_client_that_stops_sending_is_told(gateway: GatewayProcess, control: Holding) -> None:
    control.go.set()
    with client(gateway, MIB) as connection:
        connection.sendall(b"x" * 1000)
        assert b"408" in answer_of(connection).split(b"\r\n")[0]
    wait_until(lambda: control.ends == ["torn"], what="control to see the end")


def test_a_refusal_in_the_middle_reaches_the_client(gateway: GatewayProcess, control: Holding) -> None:
    problem = b'{"detail": "too much", "code": "file_too_large"}'
    control.answer = b"HTTP/1.1 413 No\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(problem), problem)
    control.at_once = True
    with client(gateway, 8 * MIB) as connection:
        connection.sendall(b"x" * 1000)
        found = answer_of(connection)
    assert b" 413 " in found.split(b"\r\n")[0]
    assert b"file_too_large" in found


def test_a_stranger_is_refused_before_control_is_asked(gateway: GatewayProcess, control: Holding) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall(HEAD.replace(g.KEY.encode(), b"tetrad_data_nobody") + b"content-length: 1000000\r\n\r\nxx")
        assert b" 401 " in answer_of(connection).split(b"\r\n")[0]
    assert not control.heads


def test_control_that_is_away_is_said(tetrad_home: Path) -> None:
    prepare_home(tetrad_home, make_table("http://127.0.0.1:1/v1"))
    with GatewayProcess(tetrad_home) as gateway:
        status, headers, body = gateway.post("/v1/files", b"xx", headers={"content-type": "multipart/form-data"})
    assert (status, headers["retry-after"]) == (503, "2")
    assert b"state_unavailable" in body
