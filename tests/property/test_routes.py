"""Breakers, budgets, pauses, choices and next steps hold their promises whatever happens."""

from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tetrad.serving import BreakerPolicy, Condition, RetryPolicy, RouteTarget
from tetrad.serving._attempts import Situation, next_step
from tetrad.serving._breaker import CLOSED, Budget, after, called, may_call, pause_s, state_of
from tetrad.serving._choosing import Facts, PeakEwma, Seen, fits, ranked
from tetrad.serving._failures import TREATMENTS, classify
from tetrad.serving._first_content import content_of
from tetrad.serving._key_pool import FRESH, KeyState, best_key, rested

SECONDS = st.floats(0, 100, allow_nan=False)
KINDS = st.sampled_from(sorted(TREATMENTS))
TARGETS = st.lists(
    st.builds(RouteTarget, st.uuids().map(str), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=8
)
STRATEGIES = st.sampled_from(["order", "weighted", "least-busy", "latency", "cost"])


@given(st.lists(st.tuples(SECONDS, st.sampled_from([True, False, None])), max_size=60))
def test_a_breaker_opens_only_after_failures_and_lets_one_call_through_at_a_time(events: list) -> None:
    policy = BreakerPolicy(consecutive=3, ratio=0.5, min_calls=6, window_s=20, open_s=5, longest_open_s=40)
    breaker, now, failures = CLOSED, 0.0, 0
    for pause, ok in events:
        now += pause
        if may_call(breaker, now):
            breaker = called(breaker, now)
            if state_of(breaker, now) == "half_open":
                assert not may_call(breaker, now)
        failures += ok is False
        before = state_of(breaker, now)
        breaker = after(breaker, ok, now, policy)
        if state_of(breaker, now) == "open":
            assert failures >= 1
            assert breaker.open_until <= now + 40
            assert before == "open" or ok is False
    assert may_call(breaker, now + 41) or breaker.probing


@given(st.integers(1, 20), SECONDS)
def test_so_many_failures_in_a_row_always_open_a_breaker_and_one_success_after_the_pause_closes_it(
    most: int, at: float
) -> None:
    policy = BreakerPolicy(consecutive=most, ratio=1.0, min_calls=1000)
    breaker = CLOSED
    for _ in range(most):
        assert state_of(breaker, at) == "closed"
        breaker = after(called(breaker, at), False, at, policy)
    assert state_of(breaker, at) == "open"
    later = breaker.open_until
    assert after(called(breaker, later), True, later, policy) == CLOSED


@given(st.integers(1, 50), SECONDS)
def test_a_cancelled_probe_gives_its_place_back(most: int, at: float) -> None:
    policy = BreakerPolicy(consecutive=1)
    breaker = after(CLOSED, False, at, policy)
    later = breaker.open_until + most
    probing = called(breaker, later)
    assert not may_call(probing, later)
    assert may_call(after(probing, None, later, policy), later)


@given(st.floats(0, 100), st.lists(st.booleans(), max_size=400))
def test_a_budget_never_allows_more_than_its_part_of_requests_and_its_burst(percent: float, spends: list) -> None:
    budget, spent = Budget(percent), 0
    for wanted in spends:
        budget.earn()
        spent += wanted and budget.spend()
    assert spent <= (10 + len(spends) * percent / 100 + 1e-6 if percent else 0)


@given(st.integers(0, 2000), st.none() | st.floats(0, 1e6), st.integers())
def test_a_pause_is_bounded_and_never_shorter_than_asked(retry: int, asked: float | None, seed: int) -> None:
    policy = RetryPolicy(first_pause_s=0.2, longest_pause_s=5)
    pause = pause_s(policy, retry, asked, random.Random(seed))
    if pause is None:
        assert asked is not None
        assert asked > 5
    else:
        assert (asked or 0) <= pause <= 5


@given(TARGETS, STRATEGIES, st.text(max_size=8), st.integers())
def test_a_ranking_is_a_permutation_by_priority(targets: list, strategy: str, unit: str, seed: int) -> None:
    rng = random.Random(seed)
    seen = [Seen(rng.randrange(9), rng.random(), rng.choice([None, Decimal(1), Decimal(2)])) for _ in targets]
    order = ranked(targets, strategy, seen, unit, rng)
    assert sorted(order) == list(range(len(targets)))
    priorities = [targets[place].priority for place in order]
    assert priorities == sorted(priorities)


@given(TARGETS, st.text(min_size=1, max_size=8), st.integers(0, 7))
def test_a_target_that_goes_moves_nothing_but_what_was_its_own(targets: list, unit: str, gone: int) -> None:
    rng = random.Random(1)
    names = [targets[place].model for place in ranked(targets, "order", [Seen()] * len(targets), unit, rng)]
    left = [target for place, target in enumerate(targets) if place != gone]
    after_it = [left[place].model for place in ranked(left, "order", [Seen()] * len(left), unit, rng)]
    assert after_it == [name for name in names if name in {target.model for target in left}]


def test_weights_are_what_units_and_requests_get() -> None:
    targets = [RouteTarget("a", weight=3), RouteTarget("b", weight=1), RouteTarget("c", weight=0)]
    rng, seen = random.Random(5), [Seen()] * 3
    by_unit = sum(ranked(targets, "order", seen, f"u{number}", rng)[0] == 0 for number in range(4000))
    by_chance = sum(ranked(targets, "weighted", seen, "", rng)[0] == 0 for _ in range(4000))
    assert 2880 <= by_unit <= 3120  # 3000 expected, four standard deviations
    assert 2880 <= by_chance <= 3120
    assert all(ranked(targets, "weighted", seen, "", rng)[2] == 2 for _ in range(200))


@given(st.lists(st.sampled_from(["x", "y"]), max_size=2), st.sampled_from(["", "x", "y", "z"]))
def test_a_condition_lets_through_only_what_it_names(labels: list, said: str) -> None:
    when = Condition(sensitivities=tuple(labels))
    assert fits(when, Facts(sensitivity=said)) is (not labels or said in labels)


@given(KINDS, st.integers(0, 10), st.integers(1, 8), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_the_next_step_is_always_one_that_is_possible(
    kind: str, attempts: int, most: int, keys: bool, retry: bool, targets: bool, fallbacks: bool
) -> None:
    step = next_step(Situation(kind, attempts, most, keys, retry, targets, fallbacks))
    assert {"stop": True, "rotate": keys, "retry": retry, "next": targets, "fall_back": fallbacks}[step]
    if attempts >= most or kind == "caller":
        assert step == "stop"
    if kind in ("context_window", "content_policy"):
        assert step in ("stop", "fall_back")


@given(st.integers(0, 999), st.text(max_size=30), st.text(max_size=200))
def test_whatever_an_upstream_says_has_a_kind(status: int, code: str, message: str) -> None:
    assert classify(status, code, message) in TREATMENTS


@given(st.binary(max_size=300))
def test_whatever_a_stream_carries_is_looked_at_without_harm(data: bytes) -> None:
    assert content_of(b"data: " + data + b"\n\n") in ("none", "some", "error")


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=150))
def test_a_peak_mean_lies_between_what_was_seen_and_its_quantiles_were_seen(times: list) -> None:
    mean, now = PeakEwma(), 0.0
    for pause, seconds in times:
        now += pause
        mean.note(seconds, now)
        assert mean.value(now) >= min(each for _, each in times) - 1e-9
        assert mean.value(now) <= max(each for _, each in times) + 1e-9
    assert mean.quantile(0.95, 1) in {each for _, each in times}
    assert len(mean.recent) <= 100


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "rate_limit", "credential", "quota", "caller"]), st.none() | SECONDS, SECONDS),
        max_size=40,
    )
)
def test_a_pool_always_has_a_key_and_prefers_one_that_is_ready(events: list) -> None:
    states: list[KeyState] = [FRESH] * 3
    now = 0.0
    for kind, asked, pause in events:
        now += pause
        place = best_key(states, now)
        ready = [each for each in states if not each.retired_at and each.cooling_until <= now]
        assert not ready or states[place] in ready
        states[place] = rested(states[place], kind, asked, now)
