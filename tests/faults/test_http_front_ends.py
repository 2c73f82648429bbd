"""HTTP/1.1 as RFC 9112 has it, on both front ends: framing that cannot be read two ways, order, ends of connections."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import gateway as g
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home
from support.http_requests import odd_requests, pieces_of, read_by_h11
from support.wait import wait_until

BODY = b'{"model":"local/m1","messages":[{"role":"user","content":"hi"}]}'
AUTH = b"authorization: Bearer " + g.KEY.encode() + b"\r\n"
OWN = "tetrad"


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module", params=[OWN, "uvicorn"])
def gateway(
    request: pytest.FixtureRequest, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    prepare_home(home, make_table(upstream.base_url, models=("slow:0.02", "stall")))
    with GatewayProcess(home, gateway_server=request.param, gateway_header_timeout_s=2, gateway_keep_alive_s=2) as made:
        yield made


@pytest.fixture
def own(gateway: GatewayProcess, request: pytest.FixtureRequest) -> GatewayProcess:
    """Our own front end, where uvicorn's is known to be laxer."""
    if request.node.callspec.params["gateway"] != OWN:
        pytest.skip("promised of our own front end only")
    return gateway


def talk(gateway: GatewayProcess, *pieces: bytes, timeout_s: float = 10) -> bytes:
    """Send pieces on one connection; return all that comes until it is closed."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=timeout_s) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # it was closed after a refusal
            for piece in pieces:
                client.sendall(piece)
        data = b""
        try:
            while more := client.recv(65_536):
                data += more
        except ConnectionError:
            pass
    return data


def ask(body: bytes = BODY, *, head: bytes = b"", version: bytes = b"1.1", close: bool = True) -> bytes:
    end = b"connection: close\r\n" if close else b""
    return (
        b"POST /v1/chat/completions HTTP/" + version + b"\r\nhost: x\r\n" + AUTH + head + end
        + b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )  # fmt: skip


def statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: +5\r\n",
        b"content-length: 5, 5\r\n",
        b"content-length: 0x5\r\n",
        b"content-length: -1\r\n",
        b"content-length: 99999999999999999999\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, gzip\r\n",
        b"transfer-encoding : chunked\r\n",
        b"transfer-encoding\x0b: chunked\r\n",
        b" content-length: 5\r\n",
        b"x: a\r\n content-length: 5\r\n",
        b"x: a\x00b\r\n",
        b"x: a\rcontent-length: 5\r\n",
        b"content length: 5\r\n",
        b": nothing\r\n",
    ],
)
def test_a_request_that_could_be_framed_two_ways_is_refused_and_the_connection_ends(
    gateway: GatewayProcess, upstream: FakeOpenAI, head: bytes
) -> None:
    seen = len(upstream.requests)
    hidden = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    data = talk(gateway, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + AUTH + head + b"\r\n" + hidden)
    assert 200 not in statuses(data), "the hidden request was answered"
    assert statuses(data)[:1] in ([400], [413], [])
    assert len(upstream.requests) == seen


@pytest.mark.parametrize(
    "head",
    [
        b"transfer-encoding: gzip, chunked\r\n",
        b"transfer-encoding: identity\r\n",
    ],
)
def test_what_is_coded_oddly_is_refused(own: GatewayProcess, head: bytes) -> None:
    data = talk(own, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + AUTH + head + b"\r\n")
    assert statuses(data) == [400]


@pytest.mark.parametrize(
    "head",
    [b"host: y\r\n", b"authorization: Bearer other\r\n", b"Api-Key: one\r\napi-key: two\r\n"],
)
def test_what_may_be_there_only_once_is_refused_the_second_time(gateway: GatewayProcess, head: bytes) -> None:
    data = talk(gateway, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + AUTH + head + b"\r\n")
    assert statuses(data) == [400]


@pytest.mark.parametrize(
    "start", [b"CONNECT x:1 HTTP/1.1", b"POST http:// HTTP/1.1", b"POST http://x:y/ HTTP/1.1", b"GET x HTTP/1.1"]
)
def test_a_target_of_another_kind_gets_one_refusal_that_says_so(own: GatewayProcess, start: bytes) -> None:
    data = talk(own, start + b"\r\nhost: x\r\n\r\n" + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert statuses(data) == [400]
    assert b'"malformed_http"' in data


def test_codings_in_http_1_0_are_refused(own: GatewayProcess) -> None:
    head = b"POST /v1/chat/completions HTTP/1.0\r\n" + AUTH + b"transfer-encoding: chunked\r\n\r\n"
    assert statuses(talk(own, head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))) == [400]


def test_an_offer_to_change_protocols_is_ignored_in_whatever_pieces_it_comes(
    own: GatewayProcess, upstream: FakeOpenAI
) -> None:
    whole = ask(head=b"connection: Upgrade\r\nUpgrade: h2c\r\n", close=False) + ask()
    for cut in range(60, 240, 6):
        assert statuses(talk(own, whole[:cut], whole[cut:])) == [200, 200]
        assert upstream.requests[-1].body["messages"] == [{"role": "user", "content": "hi"}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_what_nobody_should_send_ends_the_connection_and_hides_no_request(
    gateway: GatewayProcess, upstream: FakeOpenAI, data: st.DataObject
) -> None:
    odd = data.draw(odd_requests())
    pieces = data.draw(pieces_of(odd))
    theirs, faulty = read_by_h11(odd)
    seen = len(upstream.requests)
    # what still waits for a body gets one of nothing but zeros, and whoever goes on reading sees that it is no HTTP
    answers = statuses(talk(gateway, *pieces, b"\0" * 70_000))
    assert set(answers) <= {200, 400, 401, 404, 405, 413, 431}, answers
    assert len(upstream.requests) == seen, "a request without a key was called for"
    if not faulty:
        assert len(answers) <= len(theirs) + 1, (answers, theirs)


def test_a_request_without_a_host_is_refused(own: GatewayProcess) -> None:
    assert statuses(talk(own, b"GET /healthz HTTP/1.1\r\n\r\n")) == [400]


@pytest.mark.parametrize("line", [b"GET /healthz HTTP/9.9", b"PRI * HTTP/2.0", b"/ HTTP/1.1", b"G\x00T / HTTP/1.1"])
def test_a_request_line_of_another_kind_is_refused(gateway: GatewayProcess, line: bytes) -> None:
    assert 200 not in statuses(talk(gateway, line + b"\r\nhost: x\r\n\r\n"))


def test_a_client_that_speaks_http_2_at_once_is_told_what_to_speak(own: GatewayProcess) -> None:
    said = talk(own, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/2 is not spoken here: send HTTP/1.1" in said


@pytest.mark.parametrize("target", [b"/healthz", b"/healthz?x=1", b"/%68ealthz", b"http://elsewhere/healthz"])
def test_targets_in_every_form_are_understood(own: GatewayProcess, target: bytes) -> None:
    request = b"GET " + target + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert statuses(talk(own, request)) == [200]


def test_a_body_is_the_same_in_whatever_pieces_it_comes(gateway: GatewayProcess, upstream: FakeOpenAI) -> None:
    whole = ask()
    rolls = random.Random(7)
    for _ in range(20):
        cuts = sorted(rolls.sample(range(1, len(whole)), 4))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert statuses(talk(gateway, *pieces)) == [200]
        assert upstream.requests[-1].body["messages"] == [{"role": "user", "content": "hi"}]


def test_chunks_are_joined_and_extensions_ignored(gateway: GatewayProcess, upstream: FakeOpenAI) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n" + AUTH
    )
    chunks = b"".join(b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:30], BODY[30:]))
    assert statuses(talk(gateway, head + b"\r\n" + chunks + b"0\r\n\r\n")) == [200]


def test_forty_pipelined_requests_are_answered_in_order(gateway: GatewayProcess) -> None:
    requests = [ask(close=False) if number % 3 else b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" for number in range(39)]
    data = talk(gateway, b"".join(requests) + b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert statuses(data) == [200] * 39 + [404]
    kinds = [b"ok\n" in part for part in data.split(b"HTTP/1.1 ")[1:]]
    assert kinds[:39] == [number % 3 == 0 for number in range(39)]


def test_a_request_after_close_is_not_answered(gateway: GatewayProcess) -> None:
    assert statuses(talk(gateway, ask() + ask())) == [200]


def test_expectations_are_met_before_the_body(own: GatewayProcess) -> None:
    with socket.create_connection(("127.0.0.1", own.port), timeout=10) as client:
        head, _, body = ask(head=b"expect: 100-continue\r\n").partition(b"\r\n\r\n")
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_an_expectation_that_will_be_disappointed_gets_no_continue(own: GatewayProcess) -> None:
    head = ask(head=b"expect: 100-continue\r\n").replace(g.KEY.encode(), b"nobody").partition(b"\r\n\r\n")[0]
    with socket.create_connection(("127.0.0.1", own.port), timeout=10) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("expected", [b"200-ok", b"100-continue, more", b"x" * 2000])
def test_what_cannot_be_expected_is_refused_before_the_body(gateway: GatewayProcess, expected: bytes) -> None:
    head = ask(head=b"expect: " + expected + b"\r\n").partition(b"\r\n\r\n")[0]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(head + b"\r\n\r\n")
        data = client.recv(65_536)
    assert data.startswith(b"HTTP/1.1 417 ")
    assert b"expectation_failed" in data


def test_a_client_of_http_1_0_is_never_told_to_continue(own: GatewayProcess) -> None:
    data = talk(own, ask(head=b"expect: 100-continue\r\n", version=b"1.0"))
    assert b" 100 " not in data[:40]
    assert statuses(data) == [200]


def test_a_body_in_chunks_is_expected_too_and_what_follows_it_is_no_part_of_it(own: GatewayProcess) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + AUTH
    head += b"expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", own.port), timeout=10) as client:
        client.sendall(head)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        data = b""
        while data.count(b"HTTP/1.1 ") < 2:
            data += client.recv(65_536)
    assert statuses(data) == [200, 200]


def test_a_body_that_is_longer_than_was_announced_is_no_request_of_its_own(own: GatewayProcess) -> None:
    asked = ask(head=b"expect: 100-continue\r\n", close=False) + b"\0more than was announced\r\n\r\n"
    assert statuses(talk(own, asked)) == [100, 200]  # and the connection is closed


def test_who_never_sends_the_body_of_a_refused_expectation_is_let_go(gateway: GatewayProcess) -> None:
    head = ask(head=b"expect: 100-continue\r\n", close=False).replace(g.KEY.encode(), b"nobody")
    assert statuses(talk(gateway, head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", timeout_s=40)) == [401]


def test_a_body_that_is_announced_too_large_is_not_asked_for(own: GatewayProcess) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + AUTH
    head += b"expect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", own.port), timeout=10) as client:
        client.sendall(head)
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_http_1_0_gets_its_stream_by_the_end_of_the_connection(own: GatewayProcess) -> None:
    body = b'{"model":"local/m1","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    head, _, data = talk(own, ask(body, version=b"1.0", close=False)).partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert data.startswith(b"data: ")
    assert data.endswith(b"data: [DONE]\n\n")


def test_head_has_the_length_and_no_body(own: GatewayProcess) -> None:
    data = talk(own, b"HEAD /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert b"content-length: 3\r\n" in data
    assert data.endswith(b"\r\n\r\n")


def test_an_idle_connection_is_closed_without_a_word(gateway: GatewayProcess) -> None:
    data = talk(gateway, ask(close=False), timeout_s=15)
    assert statuses(data) == [200]


def test_a_flood_of_questions_whose_answers_nobody_reads_costs_little(own: GatewayProcess) -> None:
    before = own.resident_bytes()
    question = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 200
    with socket.create_connection(("127.0.0.1", own.port), timeout=1) as client:
        try:
            for _ in range(2_000):
                client.sendall(question)
        except TimeoutError:
            pass  # the gateway reads no further
        assert own.resident_bytes() - before < 8_000_000
        assert own.get("/healthz")[0] == 200


def test_a_reader_as_slow_as_a_byte_at_a_time_gets_everything(gateway: GatewayProcess) -> None:
    body = b'{"model":"local/m1","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.sendall(ask(body))
        data = b""
        while piece := client.recv(1):
            data += piece
    assert data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_connections_that_vanish_by_the_hundred_leave_nothing_behind(
    gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    for number in range(150):
        client = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        client.sendall(ask(BODY.replace(b"m1", b"stall"))[: 20 + number * 2 if number % 2 else None])
        if number % 3 == 0:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # a reset
        client.close()
    wait_until(lambda: gateway.metric("tetrad_gateway_in_flight") == 0)
    wait_until(lambda: upstream.open_connections <= 8, what="the upstream calls to be closed")
    assert gateway.get("/healthz")[0] == 200


def test_a_head_that_was_read_before_is_taken_with_another_length_and_in_any_pieces(
    gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    texts = ["first", "a longer one than the first", "x" * 3_000, "last"]
    bodies = [BODY.replace(b'"hi"', b'"%s"' % text.encode()) for text in texts]
    asked = [ask(body, close=False) for body in bodies]
    seen = len(upstream.requests)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in asked:
            for cut in (0, request.index(b"\r\n\r\n") + 4, len(request) // 2, len(request) - 1):
                client.sendall(request[:cut])
                client.sendall(request[cut:])
                answer = b""
                while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                    answer += client.recv(65_536)
                assert statuses(answer) == [200]
    told = [request.body["messages"][-1]["content"] for request in upstream.requests[seen:]]
    assert told == [text for text in texts for _ in range(4)]


PAGE = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def teach(gateway: GatewayProcess, request: bytes) -> None:
    """Have a head remembered: one that came twice is."""
    for _ in range(2):
        assert statuses(talk(gateway, request + PAGE)) == [200, 200]


@pytest.mark.parametrize("times", [1, 3])
def test_what_follows_a_request_whose_head_was_read_before_is_a_request_of_its_own(
    gateway: GatewayProcess, times: int
) -> None:
    plain = ask(close=False)
    teach(gateway, plain)
    assert statuses(talk(gateway, plain * times + PAGE)) == [200] * (times + 1)
    assert statuses(talk(gateway, plain[:-1], plain[-1:] + plain + PAGE)) == [200, 200, 200]


def test_a_head_that_was_read_before_hides_nothing_when_its_body_is_not_whole(gateway: GatewayProcess) -> None:
    whole = ask(close=False)
    teach(gateway, whole)
    longer = whole.replace(b"content-length: %d" % len(BODY), b"content-length: %d" % (len(BODY) + 4))
    for pieces in ([whole + longer + PAGE], [whole, longer + PAGE]):
        assert statuses(talk(gateway, *pieces)).count(200) <= 1, "what stands in a body was answered"


def test_a_head_that_was_read_before_is_read_anew_where_it_must_be_refused(own: GatewayProcess) -> None:
    plain = ask(close=False)
    teach(own, plain)
    huge = plain.replace(b"content-length: %d" % len(BODY), b"content-length: 999999999")
    assert statuses(talk(own, plain, huge))[-1:] == [413]
    twice = plain.replace(b"host: x\r\n", b"host: x\r\ncontent-length: 5\r\n")
    assert statuses(talk(own, plain, twice)).count(200) == 1
