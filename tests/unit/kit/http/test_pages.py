"""Cursors come back as they went out, to their own list only."""

from __future__ import annotations

import base64
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tetrad.kernel import InvalidInput
from tetrad.kit.http import cursor_time, decode_cursor, encode_cursor, parse_sort


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    st.integers(-(2**60), 2**60),
    st.none() | st.booleans(),
)
def test_a_cursor_comes_back_as_it_went_out(text: str, number: int, flag: bool | None) -> None:
    cursor = encode_cursor("list", [text, number, flag])
    assert decode_cursor("list", cursor, [str, int, (bool, type(None))]) == (text, number, flag)


def test_a_cursor_of_another_list_sort_or_shape_is_refused() -> None:
    cursor = encode_cursor("keys default", ["a"])
    for listing, types in (("keys other", [str]), ("keys default", [int]), ("keys default", [str, str])):
        with pytest.raises(InvalidInput, match="does not belong"):
            decode_cursor(listing, cursor, types)


@given(st.text(max_size=200))
def test_what_nobody_handed_out_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor("list", text, [str])


@pytest.mark.parametrize(
    ("value", "kind"),
    [("a\0b", str), ("\ud800", str), (2**63, int), (-(2**63) - 1, int), (10**400, int)],
)
def test_what_no_database_can_store_is_refused(value: str | int, kind: type) -> None:
    with pytest.raises(InvalidInput, match="does not belong"):
        decode_cursor("list", encode_cursor("list", [value]), [kind])


def test_numbers_that_are_none_are_refused() -> None:
    body = f"[{zlib.crc32(b'list')},NaN]".encode()
    cursor = base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).rstrip(b"=").decode()
    with pytest.raises(InvalidInput, match="does not belong"):
        decode_cursor("list", cursor, [float])


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_in_a_cursor_comes_back_in_utc(at: datetime) -> None:
    try:
        utc = at.astimezone(UTC)
    except OverflowError:
        with pytest.raises(InvalidInput, match="does not belong"):
            cursor_time(at.isoformat())
    else:
        assert cursor_time(at.isoformat()) == utc


@given(st.text(max_size=40) | st.datetimes().map(datetime.isoformat))
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59-14:00")
def test_what_is_no_time_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="does not belong"):
        cursor_time(text)


def test_a_damaged_cursor_is_refused() -> None:
    cursor = encode_cursor("list", ["abc", 12])
    for place in range(len(cursor)):
        damaged = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        try:
            found = decode_cursor("list", damaged, [str, int])
        except InvalidInput:
            continue
        assert found == ("abc", 12), "only bits that carry nothing may differ"


def test_sorts_are_read_and_unknown_fields_refused() -> None:
    assert parse_sort(None, {"start"}, "-start") == ("start", True)
    assert parse_sort("start", {"start"}, "-start") == ("start", False)
    with pytest.raises(InvalidInput, match="cannot be sorted by 'x'"):
        parse_sort("-x", {"start"}, "-start")
