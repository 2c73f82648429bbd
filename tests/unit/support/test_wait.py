"""Waiting ends when the condition holds, and says what it waited for when it never does."""

from __future__ import annotations

import pytest

from support.ports import free_port, listening
from support.wait import async_wait_until, wait_until


def test_waiting_returns_what_was_awaited() -> None:
    values = iter([0, None, "", "ready"])
    assert wait_until(lambda: next(values)) == "ready"


def test_a_condition_that_never_holds_is_named_with_what_was_last_seen() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.05 s for the moon; last seen: 0"):
        wait_until(lambda: 0, timeout_s=0.05, what="the moon")


def test_only_the_expected_errors_count_as_not_yet() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0)
    with pytest.raises(AssertionError, match="division by zero"):
        wait_until(lambda: 1 / 0, timeout_s=0.05, retry_on=(ZeroDivisionError,))


async def test_waiting_in_the_event_loop_takes_plain_and_async_conditions() -> None:
    values = iter([0, 7])

    async def condition() -> int:
        return next(values)

    assert await async_wait_until(condition) == 7
    assert await async_wait_until(lambda: 3) == 3
    with pytest.raises(AssertionError, match="nothing"):
        await async_wait_until(lambda: None, timeout_s=0.05, what="nothing")


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert not listening(ports[0])
