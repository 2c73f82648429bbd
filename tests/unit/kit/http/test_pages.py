"""Cursors come back as they went out, to their own list only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import InvalidInput
from tetrad.kit.http import decode_cursor, encode_cursor, parse_sort


@given(st.text(max_size=40), st.integers(-(2**60), 2**60), st.none() | st.booleans())
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
