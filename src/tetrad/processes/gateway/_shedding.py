"""Turn some calls away before all of them fail: by how many are under way, and by how late the loop is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from tetrad.kernel import Overloaded
from tetrad.serving import Priority

PRIORITY_HEADER = b"x-tetrad-priority"
Reason = Literal["in_flight", "lag"]
_KEPT_FREE: dict[Priority, int] = {"low": 4, "normal": 20, "high": 0}
"""Of a worker's places one in so many is kept for those above; 0: none."""
_PATIENCE: dict[Priority, float] = {"low": 0.5, "normal": 1.0, "high": 2.0}
"""The lag past which calls of a priority are turned away, as a multiple of the setting."""
_RETRY_AFTER_S: dict[Priority, float] = {"low": 5.0, "normal": 2.0, "high": 1.0}
_TICK_S = 0.1
_DECAY = 0.8


class Shedder:
    """Decide who is turned away. With a `lag_s` of 0 the loop is not watched.

    The lag is how late a timer of the event loop fires: the time that every call waits at every step. It rises at once
    and falls by a fifth in each tenth of a second, so that the door does not flap.
    """

    def __init__(self, most: int, lag_s: float) -> None:
        self.lag_s = 0.0
        self.shed: dict[tuple[Priority, Reason], int] = {}
        self._bound_s = lag_s
        self._places: dict[Priority, int] = {
            priority: most - (most // kept if kept else 0) for priority, kept in _KEPT_FREE.items()
        }

    def refusal(self, in_flight: int, priority: Priority) -> Overloaded | None:
        """Return why a call is turned away, None for one that is let in."""
        if in_flight >= self._places[priority]:
            return self._refused(priority, "in_flight", f"has {in_flight} requests under way")
        if self._bound_s and self.lag_s > self._bound_s * _PATIENCE[priority]:
            return self._refused(priority, "lag", f"is {self.lag_s:.1f} s behind")
        return None

    def _refused(self, priority: Priority, reason: Reason, said: str) -> Overloaded:
        self.shed[priority, reason] = self.shed.get((priority, reason), 0) + 1
        return Overloaded(
            f"this gateway worker {said}, and takes no calls of the priority {priority!r} now",
            hint="try again later, or add workers",
            code="too_many_requests",
            retry_after_s=_RETRY_AFTER_S[priority],
        )

    def note(self, late_s: float) -> None:
        """Note how late a timer was."""
        self.lag_s = max(late_s, self.lag_s * _DECAY)

    async def watch(self) -> None:
        """Measure the loop for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.note(max(0.0, loop.time() - due))


def priority_of(granted: Priority, headers: Mapping[bytes, bytes]) -> Priority:
    """Return a call's priority: its key's, or `low` where the client says that it can wait; it cannot ask for more."""
    return "low" if headers.get(PRIORITY_HEADER) == b"batch" else granted
