"""Lists that are at hand as a whole: in every order, page by page, each item once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import InvalidInput
from tetrad.kit.http import PageQuery, encode_cursor, page_of_all
from tetrad.kit.http._pages import Page

Item = tuple[str, int]


def page(items: list[Item], sort: str, limit: int, cursor: str | None = None, q: str = "") -> Page[Item]:
    return page_of_all(
        "all", PageQuery(limit, cursor), items, q=q, texts=lambda each: (each[0], str(each[1])),
        sort=sort, name=lambda each: each[0],
        sorts={"name": lambda each: each[0], "size": lambda each: each[1]},
    )  # fmt: skip


ITEMS = st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.integers(0, 3)), unique_by=lambda each: each[0])


@given(ITEMS, st.sampled_from(["name", "-name", "size", "-size"]), st.integers(1, 4))
def test_going_through_pages_shows_each_item_once_and_in_order(items: list[Item], sort: str, limit: int) -> None:
    found: list[Item] = []
    cursor: str | None = None
    while True:
        got = page(items, sort, limit, cursor)
        found += got.items
        cursor = got.next_cursor
        if cursor is None:
            break
    place = (lambda each: each) if sort.endswith("name") else (lambda each: (each[1], each[0]))
    assert found == sorted(items, key=place, reverse=sort.startswith("-"))


@given(ITEMS.filter(lambda items: len(items) > 2), st.sampled_from(["name", "-name", "size", "-size"]))
def test_what_goes_between_two_pages_is_not_repeated_and_hides_nothing_else(items: list[Item], sort: str) -> None:
    first = page(items, sort, 1)
    gone = page([each for each in items if each != first.items[0]], sort, 100, first.next_cursor)
    assert first.items + gone.items == page(items, sort, 100).items


@pytest.mark.parametrize("place", [("x",), (1, "x"), ("x", 1), (None, "x"), (1.5, "x"), (True, "x")])
def test_a_cursor_of_another_order_is_refused(place: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput, match="does not belong"):
        page([("a", 1), ("b", 2)], "name", 1, encode_cursor("all '' name False", place))  # type: ignore[arg-type]


def test_an_order_that_there_is_not_is_refused_with_those_there_are() -> None:
    for sort in ("", "-", "weight", "--name"):
        with pytest.raises(InvalidInput, match="cannot be sorted by") as caught:
            page([("a", 1)], sort, 1)
        assert caught.value.hint == "one of name, size"


@given(ITEMS, st.text("aB1", max_size=2))
def test_what_is_looked_for_is_found_in_any_text_in_capitals_or_not(items: list[Item], q: str) -> None:
    found = page(items, "name", 100, q=q).items
    assert found == sorted(each for each in items if q.lower() in each[0].lower() or q in str(each[1]))


def test_a_cursor_of_another_search_is_refused() -> None:
    first = page([("a", 1), ("ab", 2)], "name", 1, q="a")
    with pytest.raises(InvalidInput, match="does not belong"):
        page([("a", 1), ("ab", 2)], "name", 1, first.next_cursor, q="b")
