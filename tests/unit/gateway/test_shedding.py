"""Who is turned away when a worker has too much to do."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.wait import async_wait_until
from tetrad.processes.gateway._core import GatewayCore
from tetrad.processes.gateway._metrics import Metrics
from tetrad.processes.gateway._shedding import Shedder, priority_of
from tetrad.serving import BY_PATH, Exchange, KeyEntry

PRIORITIES = ("low", "normal", "high")


@given(st.integers(1, 5000), st.integers(0, 5000), st.floats(0, 10), st.floats(0, 5))
def test_a_higher_priority_is_never_turned_away_before_a_lower_one(
    most: int, in_flight: int, late_s: float, bound_s: float
) -> None:
    shedder = Shedder(most, bound_s)
    shedder.note(late_s)
    let_in = [shedder.refusal(in_flight, priority) is None for priority in PRIORITIES]  # type: ignore[arg-type]
    assert let_in == sorted(let_in)
    assert let_in[2] or in_flight >= most or (bound_s and late_s > bound_s)
    if in_flight == 0 and not late_s:
        assert all(let_in), "an idle worker takes everybody"


def test_places_are_kept_for_those_above() -> None:
    shedder = Shedder(100, 1.0)
    for priority, most in (("low", 75), ("normal", 95), ("high", 100)):
        assert shedder.refusal(most - 1, priority) is None  # type: ignore[arg-type]
        refused = shedder.refusal(most, priority)  # type: ignore[arg-type]
        assert refused is not None
        assert (refused.status, refused.code) == (429, "too_many_requests")
        assert refused.retry_after_s
    assert shedder.shed == {("low", "in_flight"): 1, ("normal", "in_flight"): 1, ("high", "in_flight"): 1}


def test_a_late_loop_turns_low_calls_away_first_and_forgets_slowly() -> None:
    shedder = Shedder(100, 1.0)
    shedder.note(0.7)
    assert shedder.refusal(0, "low") is not None
    assert shedder.refusal(0, "normal") is None
    shedder.note(3.0)
    assert shedder.refusal(0, "high") is not None
    shedder.note(0.0)
    assert shedder.lag_s == pytest.approx(2.4)
    for _ in range(20):
        shedder.note(0.0)
    assert shedder.refusal(0, "low") is None


def test_without_a_bound_the_loop_may_be_as_late_as_it_likes() -> None:
    shedder = Shedder(10, 0.0)
    shedder.note(100.0)
    assert shedder.refusal(0, "low") is None


async def test_a_blocked_loop_is_seen() -> None:
    shedder = Shedder(10, 0.01)
    watch = asyncio.create_task(shedder.watch())
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - this is the fault
    await async_wait_until(lambda: shedder.lag_s > 0, timeout_s=10, what="the tick that was late")
    assert shedder.refusal(0, "low") is not None
    watch.cancel()


@pytest.mark.parametrize(
    ("granted", "asked", "found"),
    [
        ("normal", b"", "normal"),
        ("normal", b"batch", "low"),
        ("normal", b"interactive", "normal"),
        ("low", b"interactive", "low"),
        ("low", b"high", "low"),
        ("high", b"interactive", "high"),
        ("high", b"batch", "low"),
        ("high", b"urgent", "high"),
    ],
)
def test_a_client_may_only_ask_for_less(granted: str, asked: bytes, found: str) -> None:
    headers = {b"x-tetrad-priority": asked} if asked else {}
    assert priority_of(granted, headers) == found  # type: ignore[arg-type]


class _KnowsOneKey:
    def __init__(self, priority: str) -> None:
        self.key = KeyEntry("key_1", "p", ("data",), priority=priority)  # type: ignore[arg-type]

    def authenticate(self, exchange: Exchange) -> None:
        exchange.key = self.key


@pytest.mark.parametrize(
    ("priority", "asked", "admitted"), [("normal", b"", 95), ("normal", b"batch", 75), ("high", b"", 100)]
)
def test_the_gateway_turns_away_by_the_keys_priority(priority: str, asked: bytes, admitted: int) -> None:
    metrics = Metrics("0")
    core = GatewayCore(
        _KnowsOneKey(priority),  # type: ignore[arg-type]
        metrics, metrics_page=lambda: b"", max_body=1024, body_timeout_s=1.0, max_in_flight=100, shed_lag_s=1.0,
    )  # fmt: skip
    headers = {b"x-tetrad-priority": asked} if asked else {}
    for in_flight in (0, admitted - 1, admitted):
        metrics.in_flight = in_flight
        refused = core.admit(Exchange(BY_PATH["/v1/chat/completions"], headers, 0), 10)
        assert (refused is None) == (in_flight < admitted)
    assert refused is not None
    assert (refused.status, refused.code) == (429, "too_many_requests")
    assert refused.retry_after_s
