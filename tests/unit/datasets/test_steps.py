"""Filter, split, dedupe, map: what they do, and what they refuse to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from tetrad.datasets import BadStep, check_steps, split_steps
from tetrad.datasets._patterns import MAX_SEARCHED_CHARS, found, safe_pattern
from tetrad.datasets._scratch import Seen
from tetrad.datasets._steps import apply_steps

ROWS = [
    {"id": 1, "lang": "en", "n": 5, "messages": [{"role": "user", "content": "Hello there"}]},
    {"id": 2, "lang": "de", "n": 7, "messages": [{"role": "user", "content": "Hallo"}, {"role": "assistant"}]},
    {"id": 3, "lang": "en", "n": "7", "messages": []},
    {"id": 4, "lang": None, "flag": True},
]


@contextmanager
def memories() -> Iterator[Callable[[], Callable[[bytes], bool]]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Seen())).before


def run(*steps: dict[str, Any]) -> list[tuple[str, Any]]:
    rows = ((str(row["id"]), row) for row in ROWS)
    with memories() as memory:
        return list(apply_steps(check_steps(list(steps)), rows, memory))


def kept(where: dict[str, Any]) -> list[int]:
    return [value["id"] for _, value in run({"op": "filter", "where": where})]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"path": "/lang", "eq": "en"}, [1, 3]),
        ({"path": "/lang", "ne": "en"}, [2, 4]),
        ({"path": "/n", "gt": 5}, [2]),
        ({"path": "/n", "le": 7}, [1, 2]),
        ({"path": "/n", "in": [5, "7"]}, [1, 3]),
        ({"path": "/flag", "eq": 1}, []),
        ({"path": "/flag", "exists": True}, [4]),
        ({"path": "/messages/*/role", "eq": "assistant"}, [2]),
        ({"path": "/messages/0/content", "matches": "^H.ll?o"}, [1, 2]),
        ({"path": "/messages/0/content", "contains": "there"}, [1]),
        ({"path": "/messages", "min_length": 1}, [1, 2]),
        ({"path": "$key", "in": ["2", "4"]}, [2, 4]),
        ({"all": [{"path": "/lang", "eq": "en"}, {"not": {"path": "/id", "eq": 1}}]}, [3]),
        ({"any": [{"path": "/id", "eq": 1}, {"path": "/lang", "eq": None}]}, [1, 4]),
        ({"path": "/nothing", "exists": False}, [1, 2, 3, 4]),
    ],
    ids=str,
)
def test_a_filter_keeps_what_its_condition_says(where: dict[str, Any], ids: list[int]) -> None:
    assert kept(where) == ids


def test_a_map_changes_fields_and_leaves_keys_and_sources_alone() -> None:
    changes = [
        {"rename": "/lang", "to": "/meta/lang"},
        {"copy": "/messages/0/content", "to": "/question"},
        {"lower": "/question"},
        {"set": "/source", "value": {"a": 1}},
        {"remove": "/n"},
        {"keep": ["question", "meta", "source"]},
    ]
    made = run({"op": "map", "do": changes})
    assert made[0] == ("1", {"meta": {"lang": "en"}, "question": "hello there", "source": {"a": 1}})
    assert made[3] == ("4", {"meta": {"lang": None}, "source": {"a": 1}})
    assert ROWS[0]["lang"] == "en"


def test_duplicates_leave_the_first() -> None:
    assert [key for key, _ in run({"op": "dedupe", "by": ["/lang"]})] == ["1", "2", "4"]
    assert len(run({"op": "dedupe"})) == 4


def test_a_split_takes_every_row_once_and_always_the_same() -> None:
    rows = [(f"k{n}", {"user": n % 50}) for n in range(5000)]
    for by in ("", "/user"):
        steps = split_steps({"train": 0.8, "eval": 0.15, "rest": 0.05}, salt="s", by=by)
        with memories() as memory:
            parts = {name: {key for key, _ in apply_steps([step], iter(rows), memory)} for name, step in steps.items()}
            again = {key for key, _ in apply_steps([steps["train"]], iter(rows[:100]), memory)}
        assert sum(map(len, parts.values())) == 5000
        assert set().union(*parts.values()) == {key for key, _ in rows}
        assert again == parts["train"] & {key for key, _ in rows[:100]}
    assert 3000 < len(parts["train"]) < 4900
    users = {name: {n % 50 for n in range(5000) if f"k{n}" in part} for name, part in parts.items()}
    assert not users["train"] & users["eval"]


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"op": "exec", "code": "1"},
        {"op": "filter"},
        {"op": "filter", "where": {"path": "/a"}},
        {"op": "filter", "where": {"path": "a", "eq": 1}},
        {"op": "filter", "where": {"path": "/a", "eq": 1, "ne": 2}},
        {"op": "filter", "where": {"path": "/a", "eq": float("nan")}},
        {"op": "filter", "where": {"path": "/a", "matches": "("}},
        {"op": "split", "salt": "x", "from": 5, "to": 5},
        {"op": "split", "from": 0, "to": 10},
        {"op": "dedupe", "by": "/a"},
        {"op": "map", "do": [{"set": "/a"}]},
        {"op": "map", "do": [{"set": "/a/*", "value": 1}]},
        {"op": "map", "do": []},
        {"op": "filter", "where": {"path": "/a", "eq": 1}, "and": 1},
    ],
    ids=str,
)
def test_a_step_that_says_nothing_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(BadStep):
        check_steps([step])


def test_shares_of_more_than_the_whole_are_refused() -> None:
    for parts in ({}, {"a": 0.6, "b": 0.6}, {"a": 0}, {"a": -1}):
        with pytest.raises(BadStep):
            split_steps(parts, salt="")


@pytest.mark.parametrize("text", ["(a+)+$", "(a|a)*b+c*d*", r"(a*)\1", "(?=a)b", "(?:x{1,50}){1,50}", "a" * 400])
def test_patterns_that_can_take_for_ever_are_refused(text: str) -> None:
    with pytest.raises(BadStep):
        safe_pattern(text)


def test_an_allowed_pattern_ends_soon_on_the_worst_text() -> None:
    began = time.process_time()
    assert not found(safe_pattern("^a*a*b"), "a" * 2000)
    assert not found(safe_pattern("z"), "a" * MAX_SEARCHED_CHARS + "z")
    assert time.process_time() - began < 5
