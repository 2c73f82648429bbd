"""Clients that leave, dawdle, flood and babble, on both HTTP front ends."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from support import gateway as g
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home, spooled
from support.wait import wait_until

MODELS = ("slow:0.02", "stall", "endless", "unparsed")


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module", params=["tetrad", "uvicorn"])
def gateway(
    request: pytest.FixtureRequest, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    prepare_home(home, make_table(upstream.base_url, models=MODELS))
    with GatewayProcess(
        home,
        gateway_server=request.param,
        gateway_header_timeout_s=1,
        gateway_body_timeout_s=1,
        gateway_max_in_flight=8,
    ) as gateway:
        yield gateway


def connect(gateway: GatewayProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=15)


def request(model: str, *, key: str = g.KEY, stream: bool = False, head: str = "", body: bytes | None = None) -> bytes:
    if body is None:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{head}"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


def chunked_head(key: str = g.KEY) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        "transfer-encoding: chunked\r\n\r\n"
    ).encode()


def read_all(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65_536):
        data += piece
    return data


def read_answer(client: socket.socket) -> tuple[int, bytes]:
    """Read one answer with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65_536)
        assert piece, f"closed after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += client.recv(65_536)
    return int(head.split(b" ")[1]), body


def last_record(gateway: GatewayProcess, error_type: str) -> list:
    def found() -> list:
        roots = [s for s in spooled(gateway.home) if s.kind == "SERVER" and s.error_type == error_type]
        return roots and [s for s in spooled(gateway.home) if s.trace_id == roots[-1].trace_id]

    return wait_until(found, what=f"a record with {error_type}")


def test_a_client_that_leaves_mid_stream_ends_the_upstream_call_at_once(
    gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    with connect(gateway) as client:
        client.sendall(request("local/slow-0.02", stream=True))
        while b"w3 " not in client.recv(65_536):
            pass
        assert upstream.open_connections >= 1
        open_before = upstream.open_connections
    wait_until(lambda: upstream.open_connections < open_before, timeout_s=0.5, what="the upstream call to be closed")
    root, child = last_record(gateway, "client_disconnected")
    assert (root.status, root.http_status, child.error_type) == ("error", 499, "cancelled")
    assert json.loads(child.output)[0]["content"].startswith("w0 w1 w2 w3 ")


def test_a_client_that_leaves_while_waiting_ends_the_upstream_call_at_once(
    gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    before = upstream.aborted
    with connect(gateway) as client:
        seen = len(upstream.requests)
        client.sendall(request("local/stall"))
        wait_until(lambda: len(upstream.requests) > seen)
    wait_until(lambda: upstream.aborted > before, timeout_s=0.5, what="the upstream call to be closed")
    assert gateway.metric("tetrad_gateway_in_flight") == 0


def test_a_client_that_leaves_before_its_body_is_whole_costs_no_call(
    gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    seen = len(upstream.requests)
    with connect(gateway) as client:
        client.sendall(request("local/m1")[:-5])
    wait_until(lambda: gateway.metric("tetrad_gateway_in_flight") == 0)
    assert len(upstream.requests) == seen


@pytest.mark.parametrize("kept_alive", [False, True])
def test_a_head_that_trickles_in_is_cut_off(gateway: GatewayProcess, kept_alive: bool) -> None:
    with connect(gateway) as client:
        if kept_alive:
            client.sendall(request("local/m1"))
            assert read_answer(client)[0] == 200
        began = time.monotonic()
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        try:
            while time.monotonic() - began < 10:
                client.sendall(b"x-slow: 1\r\n")
                client.settimeout(0.1)
                try:
                    answer = client.recv(65_536)
                    break
                except TimeoutError:
                    continue
        except ConnectionError:
            pytest.fail("the connection was cut without a word")
        assert b" 408 " in answer
        assert b"header_timeout" in answer
        assert 0.5 < time.monotonic() - began < 4


def test_a_connection_that_says_nothing_is_closed(gateway: GatewayProcess) -> None:
    with connect(gateway) as client:
        assert b" 408 " in read_all(client)


def test_a_body_that_trickles_in_is_cut_off(gateway: GatewayProcess) -> None:
    with connect(gateway) as client:
        client.sendall(request("local/m1")[:-10])
        status, body = read_answer(client)
        assert (status, json.loads(body)["error"]["code"]) == (408, "body_timeout")


def test_endless_headers_are_refused(gateway: GatewayProcess) -> None:
    with connect(gateway) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 70_000)
        assert b" 431 " in read_all(client)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"GET /healthz HTTP/1.1\r\nbad header\r\n\r\n",
    ],
)
def test_what_is_no_http_or_could_be_read_two_ways_is_a_clear_400(gateway: GatewayProcess, garbage: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(garbage)
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "malformed_http"


@pytest.mark.parametrize("chunk", [b"-1\r\n\r\n", b"fffffffffffffffff\r\n", b"2\n{}"])
def test_a_broken_chunk_is_told_before_the_connection_is_cut(gateway: GatewayProcess, chunk: bytes) -> None:
    with connect(gateway) as client:
        client.sendall(chunked_head() + chunk)
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "malformed_http"


def test_a_trailer_does_not_pose_as_a_header(gateway: GatewayProcess) -> None:
    body = request("local/m1").partition(b"\r\n\r\n")[2]
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with connect(gateway) as client:
        client.sendall(head + b"%x\r\n%s\r\n0\r\nauthorization: Bearer %s\r\n\r\n" % (len(body), body, g.KEY.encode()))
        assert read_answer(client)[0] == 401


@pytest.mark.parametrize("tail", [b"0\r\nx: ", b"1;"])
@pytest.mark.parametrize("key", [g.KEY, "nobody"])
def test_endless_trailers_and_chunk_extensions_cost_no_memory(gateway: GatewayProcess, key: str, tail: bytes) -> None:
    before = gateway.resident_bytes()
    sent = 0
    with connect(gateway) as client:
        try:
            client.sendall(chunked_head(key) + b"1\r\n{\r\n" + tail)
            while sent < 60_000_000:
                sent += client.send(b"a" * 65_536)
        except ConnectionError:
            pass
    assert sent < 30_000_000
    assert gateway.resident_bytes() - before < 8_000_000


def test_a_body_in_tiny_chunks_is_read_whole(gateway: GatewayProcess) -> None:
    body = request("local/m1").partition(b"\r\n\r\n")[2] + b" " * 30_000
    with connect(gateway) as client:
        client.sendall(chunked_head() + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert read_answer(client)[0] == 200


@pytest.mark.parametrize(
    ("key", "status", "code"), [(g.KEY, 413, "body_too_large"), ("nobody", 401, "invalid_api_key")]
)
def test_a_50_mb_body_is_refused_early_and_the_client_hears_why(
    gateway: GatewayProcess, key: str, status: int, code: str
) -> None:
    before = gateway.resident_bytes()
    body = b"x" * 50_000_000
    with connect(gateway) as client:
        answered = threading.Event()
        answer: list[tuple[int, bytes]] = []

        def listen() -> None:
            answer.append(read_answer(client))
            answered.set()

        listener = threading.Thread(target=listen)
        listener.start()
        client.sendall(request("local/m1", key=key, body=body)[: -len(body)] + body[:100_000])
        assert answered.wait(5), "the refusal must not wait for the body"
        client.sendall(body[100_000:])
        listener.join()
        assert (answer[0][0], json.loads(answer[0][1])["error"]["code"]) == (status, code)
        client.sendall(request("local/m1"))  # the connection is still good
        assert read_answer(client)[0] == 200
    assert gateway.resident_bytes() - before < 8_000_000


def test_a_chunked_body_without_end_is_refused_at_the_limit(gateway: GatewayProcess) -> None:
    with connect(gateway) as client:
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {g.KEY}\r\n"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )
        piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        for _ in range(34):
            client.sendall(piece)
        status, body = read_answer(client)
        assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")


def test_a_compressed_body_is_refused_not_guessed_at(gateway: GatewayProcess) -> None:
    with connect(gateway) as client:
        client.sendall(request("local/m1", head="content-encoding: gzip\r\n"))
        assert read_answer(client)[0] == 415


def test_a_client_that_stops_reading_costs_little_memory_and_stops_the_upstream(
    gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    resident = [gateway.resident_bytes()]
    with contextlib.ExitStack() as clients:
        for _ in range(6):
            written = upstream.written
            client = clients.enter_context(connect(gateway))
            client.sendall(request("local/endless", stream=True))
            client.recv(1000)
            seen = -1
            while seen != upstream.written:
                seen = upstream.written
                time.sleep(0.3)
            # what the kernel's socket buffers swallow on both legs is not the gateway's memory
            assert upstream.written - written < 40_000_000
            resident.append(gateway.resident_bytes())
        assert resident[1] - resident[0] <= 3_000_000
        assert (resident[-1] - resident[0]) / (len(resident) - 1) <= 3_000_000
    wait_until(lambda: gateway.metric("tetrad_gateway_in_flight") == 0)


def test_past_its_limit_of_requests_a_worker_says_429_and_recovers(gateway: GatewayProcess) -> None:
    clients = [connect(gateway) for _ in range(8)]
    for client in clients:
        client.sendall(request("local/stall"))
    wait_until(lambda: gateway.metric("tetrad_gateway_in_flight") == 8)
    status, headers, body = gateway.chat("local/m1")
    assert (status, headers["retry-after"], json.loads(body)["error"]["type"]) == (429, "1", "rate_limit_error")
    assert gateway.get("/healthz")[0] == 200
    for client in clients:
        client.close()
    wait_until(lambda: gateway.chat("local/m1")[0] == 200)


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_an_offer_to_switch_protocols_is_ignored_and_the_body_is_read(gateway: GatewayProcess, offer: str) -> None:
    with connect(gateway) as client:
        client.sendall(request("local/m1", head=f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {offer}\r\n"))
        assert read_answer(client)[0] == 200


def test_what_the_engine_cannot_parse_is_the_callers_fault(gateway: GatewayProcess) -> None:
    with connect(gateway) as client:
        client.sendall(request("local/unparsed"))
        status, body = read_answer(client)
    error = json.loads(body)["error"]
    assert (status, error["code"], error["type"]) == (400, "bad_field", "invalid_request_error")
    assert "type must be string" in error["message"]


def test_pipelined_requests_are_answered_in_order(gateway: GatewayProcess) -> None:
    with connect(gateway) as client:
        client.sendall(request("local/m1") + request("nope") + request("local/m1"))
        data = b""
        while data.count(b"HTTP/1.1 ") < 3 or not data.endswith(b"}"):
            data += client.recv(65_536)
    assert [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]] == [200, 404, 200]


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/", "GET", 404, "unknown_url"),
        ("/v1/realtime", "POST", 404, "protocol_not_served"),
        ("/v1/messages", "GET", 405, "method_not_allowed"),
        ("/v1/chat/completions", "GET", 405, "method_not_allowed"),
        ("/v1/models", "DELETE", 405, "method_not_allowed"),
        ("/v1/models", "GET", 401, "missing_api_key"),
    ],
)
def test_wrong_places_and_methods_are_told_in_the_protocols_shape(
    gateway: GatewayProcess, path: str, method: str, status: int, code: str
) -> None:
    with connect(gateway) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        got, body = read_answer(client)
    assert (got, json.loads(body)["error"]["code"]) == (status, code)
