"""Wait for a condition instead of sleeping for a guess."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.1


def wait_until(
    predicate: Callable[[], T],
    *,
    timeout_s: float = 10.0,
    what: str = "the condition",
    retry_on: tuple[type[Exception], ...] = (),
) -> T:
    """Call `predicate` until it returns something true, and return that; fail after `timeout_s`.

    Exceptions of the kinds in `retry_on` count as "not yet"; all others end the wait at once.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        seen: object
        try:
            value = predicate()
            if value:
                return value
            seen = value
        except retry_on as error:
            seen = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout_s:g} s for {what}; last seen: {seen!r}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)


async def async_wait_until(
    predicate: Callable[[], T | Awaitable[T]],
    *,
    timeout_s: float = 10.0,
    what: str = "the condition",
    retry_on: tuple[type[Exception], ...] = (),
) -> T:
    """`wait_until` for the event loop; the predicate may be a plain or an async function."""
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        seen: object
        try:
            found = predicate()
            value: T = await found if isinstance(found, Awaitable) else found
            if value:
                return value
            seen = value
        except retry_on as error:
            seen = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout_s:g} s for {what}; last seen: {seen!r}")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
