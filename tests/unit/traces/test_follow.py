from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec
import pytest

from support.wait import wait_until
from tetrad.traces import TraceSummary, Window
from tetrad.traces._follow import Feed
from tetrad.traces._views import SpanRow, TraceSums
from tetrad.traces.errors import TooManyFollowers


def summary(trace_id: str) -> TraceSummary:
    blank: dict[type | str, object] = {"str": "", "int": 0, "bool": False}
    values = {
        field.name: blank.get(
            str(field.type), {} if "dict" in str(field.type) else () if "tuple" in str(field.type) else None
        )
        for field in msgspec.structs.fields(SpanRow)
    }
    return TraceSummary(SpanRow(**{**values, "trace_id": trace_id}), TraceSums())  # type: ignore[arg-type]


def summarise(project: str, trace_ids: Sequence[str], window: Window) -> list[TraceSummary]:
    if project == "broken":
        raise RuntimeError("the store is away")
    return [summary(trace_id) for trace_id in trace_ids]


def test_a_slow_follower_loses_the_oldest_and_is_told_how_many() -> None:
    feed = Feed(summarise, capacity=3)
    follower = feed.join("p", lambda: None)
    follower.put([summary(str(number)) for number in range(10)])
    items, missed = follower.take()
    assert ([item.head.trace_id for item in items], missed) == (["7", "8", "9"], 7)
    assert follower.take() == ([], 0)


def test_a_trace_is_told_to_a_follower_once() -> None:
    follower = Feed(summarise).join("p", lambda: None)
    follower.put([summary("a"), summary("b"), summary("a")])
    follower.put([summary("b")])
    assert [item.head.trace_id for item in follower.take()[0]] == ["a", "b"]


def test_followers_are_limited_and_leaving_makes_room() -> None:
    feed = Feed(summarise, most_followers=1)
    first = feed.join("p", lambda: None)
    with pytest.raises(TooManyFollowers):
        feed.join("p", lambda: None)
    feed.leave(first)
    feed.join("p", lambda: None)


def test_a_store_that_fails_becomes_a_gap_and_the_feed_goes_on() -> None:
    feed = Feed(summarise)
    broken, fine = feed.join("broken", lambda: None), feed.join("fine", lambda: None)
    feed.start()
    try:
        feed.announce([("broken", "a", 5), ("broken", "b", 6), ("fine", "c", 7), ("nobody", "d", 8)])
        heard: list[TraceSummary] = []
        wait_until(lambda: heard.extend(fine.take()[0]) or heard)
        assert [item.head.trace_id for item in heard] == ["c"]
        assert broken.take() == ([], 2)
    finally:
        feed.stop()


def test_entries_wait_in_bounds_while_nobody_delivers_them() -> None:
    feed = Feed(summarise)
    follower = feed.join("p", lambda: None)
    for number in range(300):
        feed.announce([("p", str(number), number)])
    assert len(feed._waiting) == 256
    assert follower.take() == ([], 44)


def test_stopping_wakes_followers_so_that_they_leave() -> None:
    feed, woken = Feed(summarise), threading.Event()
    feed.join("p", woken.set)
    feed.start()
    feed.stop()
    assert woken.is_set()
    assert feed.stopping
