"""The gateway's HTTP front end reads every request in one way only: that of another parser, in whatever pieces."""

from __future__ import annotations

import asyncio
import re

from hypothesis import given
from hypothesis import strategies as st

from support.fed_http import Fed, feed
from support.http_requests import CHAT, HIDDEN, good_requests, odd_requests, pieces_of, read_by_h11


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
