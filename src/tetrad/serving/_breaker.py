"""Circuit breakers and budgets as values: what was, what happened, and what is then. The caller brings the time."""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from tetrad.serving._route_spec import BreakerPolicy, RetryPolicy

BreakerState = Literal["closed", "open", "half_open"]


class Breaker(msgspec.Struct, frozen=True, gc=False):
    """What is known of a target. Two windows, the running one and the one before, stand for a sliding one."""

    in_a_row: int = 0
    window_at: float = 0.0
    calls: int = 0
    failures: int = 0
    calls_before: int = 0
    failures_before: int = 0
    open_until: float = 0.0
    openings: int = 0
    probing: bool = False


CLOSED = Breaker()


def state_of(breaker: Breaker, now: float) -> BreakerState:
    """Return what a breaker is at a time."""
    if not breaker.openings:
        return "closed"
    return "open" if now < breaker.open_until else "half_open"


def may_call(breaker: Breaker, now: float) -> bool:
    """Tell whether the target may be called: always while closed, one call at a time while half open."""
    if not breaker.openings:
        return True
    return now >= breaker.open_until and not breaker.probing


def called(breaker: Breaker, now: float) -> Breaker:
    """Return the breaker once a call was begun that `may_call` allowed."""
    if not breaker.openings or now < breaker.open_until:
        return breaker
    return msgspec.structs.replace(breaker, probing=True)


def after(breaker: Breaker, ok: bool | None, now: float, policy: BreakerPolicy) -> Breaker:
    """Return the breaker once a call ended: well, badly, or (None) without telling anything of the target."""
    if breaker.openings:
        return _after_probe(breaker, ok, now, policy)
    if ok is None:
        return breaker
    calls, failures, before, failed_before, at = _turned(breaker, now, policy.window_s)
    calls += 1
    failures += not ok
    in_a_row = 0 if ok else breaker.in_a_row + 1
    # the share of the older window that a sliding one would still see
    share = max(0.0, 1 - (now - at) / policy.window_s)
    seen, failed = calls + before * share, failures + failed_before * share
    if not ok and (in_a_row >= policy.consecutive or (seen >= policy.min_calls and failed / seen >= policy.ratio)):
        return Breaker(open_until=now + policy.open_s, openings=1)
    return Breaker(in_a_row, at, calls, failures, before, failed_before)


def _after_probe(breaker: Breaker, ok: bool | None, now: float, policy: BreakerPolicy) -> Breaker:
    if now < breaker.open_until:  # calls that began before it opened tell nothing new
        return breaker
    if ok:
        return CLOSED
    if ok is None:
        return msgspec.structs.replace(breaker, probing=False)
    openings = min(breaker.openings + 1, 64)
    pause = min(policy.open_s * 2.0 ** (openings - 1), policy.longest_open_s)
    return Breaker(open_until=now + pause, openings=openings)


def _turned(breaker: Breaker, now: float, window_s: float) -> tuple[int, int, int, int, float]:
    age = now - breaker.window_at
    if age < window_s:
        return breaker.calls, breaker.failures, breaker.calls_before, breaker.failures_before, breaker.window_at
    if age < 2 * window_s:
        return 0, 0, breaker.calls, breaker.failures, breaker.window_at + window_s
    return 0, 0, 0, 0, now


class Budget:
    """A token bucket that requests fill: each adds `percent` hundredths, each extra call takes one.

    So extra calls are at most that part of requests, after a burst of `burst`. It needs no clock.
    """

    __slots__ = ("_burst", "_percent", "tokens")

    def __init__(self, percent: float, burst: float = 10.0) -> None:
        self._percent = percent
        self._burst = burst
        self.tokens = burst if percent else 0.0

    def earn(self) -> None:
        """Count a request."""
        self.tokens = min(self._burst, self.tokens + self._percent / 100)

    def spend(self) -> bool:
        """Take the right to one extra call; tell whether there was one."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def pause_s(policy: RetryPolicy, retry: int, asked_s: float | None, rng: random.Random) -> float | None:
    """Return how long to wait before a retry (0 is the first); None where the upstream asks for too long a pause.

    Full jitter (M. Brooker, "Exponential Backoff And Jitter", 2015): a random part of the doubled pause. What the
    upstream asks for is the least.
    """
    if asked_s is not None and asked_s > policy.longest_pause_s:
        return None
    most = min(policy.first_pause_s * 2.0 ** min(retry, 32), policy.longest_pause_s)
    return max(asked_s or 0.0, rng.uniform(0, most))
