"""MCP servers that gateways let rest, since answers for all had to wait for them: as workers tell it, and added up.

Workers tell times as seconds from now, since their clocks and control's need not agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

RestState = Literal["resting", "due", "probing"]
"""It is left out at once; the next request asks it again; one request is asking it again."""
_LONGEST_S = 1e8


class ServerRest(msgspec.Struct, frozen=True):
    """What one worker tells of a server that does not answer a method: for `since_s`, and for `left_s` not asked."""

    project: str
    server: str
    method: str
    state: RestState
    failures: int
    since_s: float
    left_s: float
    code: str
    reason: str


class RestSummary(msgspec.Struct, frozen=True):
    """A server that does not answer a method, over all workers that told of it lately.

    `state` is that of the worker that will know first whether it is back. `next_probe_at` is None where the next
    request asks it, or one is asking.
    """

    method: str
    state: RestState
    workers: int
    failures: int
    since: datetime
    next_probe_at: datetime | None
    code: str
    reason: str


_FIRST: Mapping[RestState, int] = {"probing": 0, "due": 1, "resting": 2}


def summaries(present: datetime, reports: Iterable[tuple[datetime, ServerRest]]) -> dict[str, tuple[RestSummary, ...]]:
    """Return what rests by the server's name, from reports, each with the time at which it was taken in."""
    found: dict[tuple[str, str], list[tuple[datetime, ServerRest]]] = {}
    for at, rest in reports:
        found.setdefault((rest.server, rest.method), []).append((at, rest))
    by_server: dict[str, tuple[RestSummary, ...]] = {}
    for (server, method), told in sorted(found.items(), key=lambda each: each[0]):
        by_server[server] = (*by_server.get(server, ()), _summary(present, method, told))
    return by_server


def _summary(present: datetime, method: str, told: list[tuple[datetime, ServerRest]]) -> RestSummary:
    worst = max((rest for _, rest in told), key=lambda rest: rest.failures)
    ends = [(at + _seconds(rest.left_s), rest) for at, rest in told]
    states: list[RestState] = [
        "due" if rest.state == "resting" and end <= present else rest.state for end, rest in ends
    ]
    state = min(states, key=_FIRST.__getitem__)
    return RestSummary(
        method=method,
        state=state,
        workers=len(told),
        failures=worst.failures,
        since=min(at - _seconds(rest.since_s) for at, rest in told),
        next_probe_at=min(end for end, _ in ends) if state == "resting" else None,
        code=worst.code,
        reason=worst.reason,
    )


def _seconds(told_s: float) -> timedelta:
    return timedelta(seconds=min(max(told_s, 0.0), _LONGEST_S))
