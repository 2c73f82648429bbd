"""The gateway's HTTP front end reads every request in one way only: that of another parser, in whatever pieces."""

from __future__ import annotations

import asyncio
import re

from hypothesis import given
from hypothesis import strategies as st

from support.fed_http import Core, Fed, feed
from support.http_requests import CHAT, HIDDEN, good_requests, odd_requests, pieces_of, read_by_h11
from tetrad.processes.gateway._http1 import HttpServer


def fed(pieces: list[bytes]) -> Fed:
    return asyncio.run(feed(pieces))


@given(st.data())
def test_what_a_client_may_send_is_understood_in_whatever_pieces_it_comes(data: st.DataObject) -> None:
    requests = data.draw(st.lists(good_requests(), min_size=1, max_size=3))
    whole = b"".join(request for request, _ in requests)
    seen = fed(data.draw(pieces_of(whole)))
    assert seen.asked == [("POST", CHAT.decode(), body) for _, body in requests]
    assert seen.statuses == [200] * len(requests)
    assert not seen.closed
    assert seen.in_flight == 0


@given(st.data())
def test_what_nobody_should_send_is_read_as_another_parser_reads_it_or_refused(data: st.DataObject) -> None:
    whole = data.draw(odd_requests())
    seen = fed([whole])
    theirs, faulty = read_by_h11(whole)
    understood = [(method, body) for method, path, body in seen.asked]
    refused = 400 in seen.statuses or 431 in seen.statuses
    if not refused and not faulty:
        assert [method for method, _ in understood] == [method for method, _ in theirs], (seen, theirs)
    for (method, body), (their_method, their_body) in zip(understood, theirs, strict=False):
        assert method == their_method
        assert not body or body == their_body
    assert len(seen.statuses) <= len(understood) + refused, "a request was answered twice"
    if refused:
        assert seen.closed
    assert seen.in_flight == 0


@given(st.data())
def test_pieces_change_nothing_about_what_nobody_should_send(data: st.DataObject) -> None:
    whole = data.draw(odd_requests())
    at_once, cut = fed([whole]), fed(data.draw(pieces_of(whole)))
    assert cut.closed == at_once.closed
    if (
        at_once.closed
    ):  # what is no HTTP ends it after the answer under way; in pieces, more was answered before it came
        assert cut.asked[: len(at_once.asked)] == at_once.asked
    else:
        assert (cut.asked, cut.statuses) == (at_once.asked, at_once.statuses)


@given(st.binary(max_size=400), st.data())
def test_bytes_of_any_kind_end_in_order(noise: bytes, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([b"", b"POST " + CHAT + b" HTTP/1.1\r\nhost: x\r\n", HIDDEN])) + noise
    seen = fed(data.draw(pieces_of(whole)) if whole else [])
    assert seen.in_flight == 0
    for head in re.findall(rb"HTTP/1.1 4\d\d [^\r]*\r\n(?:[^\r]+\r\n)*", seen.written):
        assert b"connection: close\r\n" in head


@given(st.data())
def test_what_was_learned_of_one_request_is_never_another_ones(data: st.DataObject) -> None:
    """Heads that were read before are not parsed again: a head must stand for itself, whatever came with it."""
    heads = [
        b"POST /nowhere HTTP/1.1\r\nhost: x\r\nContent-Length: %d\r\n\r\n",
        b"POST " + CHAT + b" HTTP/1.1\r\nhost: x\r\nx-a: 1\r\ncontent-length: %d\r\n\r\n",
        b"POST " + CHAT + b" HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\nContent-Length: %d\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: %d\r\nhost: x\r\n\r\n",
    ]
    bodies = st.lists(st.binary(max_size=20), min_size=1, max_size=4)

    async def connections() -> None:
        server = None
        for _ in range(4):
            chosen = [(data.draw(st.sampled_from(heads)), body) for body in data.draw(bodies)]
            whole = b"".join(head % len(body) + body for head, body in chosen)
            expected = [
                ("POST", path := head.split(b" ")[1].decode(), b"" if path == "/nowhere" else body)
                for head, body in chosen
            ]
            if server is None:
                server = HttpServer(Core([], 100_000), header_timeout_s=10, keep_alive_s=10, drain_s=1)
            seen = await feed(data.draw(pieces_of(whole)), server=server)
            assert seen.asked == expected
            assert seen.in_flight == 0

    asyncio.run(connections())
