"""Which servers are let rest, since they cost answers for all their whole time; one request at a time asks them again.

A server that refuses at once costs nothing, and is asked each time. One that let others wait is left out without being
asked for what it did not answer, for a time that doubles with each failure. Then one request asks it again, and waits
for it no longer than `PROBE_S`, as do those that ask it something else meanwhile. Should it answer later than that, it
takes part in the requests that follow.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import NamedTuple

from tetrad.kernel import Clock, TetradError, Unavailable
from tetrad.serving import RestState, ServerRest

PROBE_S = 1.0
"""What waits longer for a server has been delayed by it."""
FIRST_S = 5.0
LONGEST_S = 300.0
FORGOTTEN_S = 3600.0
"""So long after its time a rest is forgotten that nobody has asked about: it says nothing of the server any more."""
_MAX_KNOWN = 10_000
_MAX_REASON = 500


class Asked(NamedTuple):
    """What a server is asked: a method, empty for what is not answered."""

    project: str
    server: str
    method: str


class _Rest:
    __slots__ = ("error", "failures", "probing", "since", "until")

    def __init__(self, since: float) -> None:
        self.since = since
        self.failures = 0
        self.until = 0.0
        self.probing = False
        self.error: TetradError = Unavailable("it did not answer", hint="try again")


class Rests:
    """What one worker knows of servers that rest: by project and name, and by what they did not answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._servers: dict[tuple[str, str], dict[str, _Rest]] = {}

    def resting(self, project: str, server: str) -> bool:
        """Tell whether there is anything that a server did not answer and has not answered since."""
        return (project, server) in self._servers

    def why(self, asked: Asked) -> TetradError | None:
        """Return why a server is not asked now; None where it may be, as it does not rest or it is time to try."""
        rest = self._of(asked)
        if rest is None:
            return None
        left_s = rest.until - self._clock.monotonic()
        if left_s <= 0 and not rest.probing:
            return None
        when = f"it is asked again in {max(left_s, 1):.0f} s" if left_s > 0 else "it is being asked again"
        return Unavailable(f"{rest.error.message}; {when}", hint="try again", code=rest.error.code)

    def begin(self, asked: Asked) -> None:
        """Note that a server is asked: others need not find out the same."""
        if (rest := self._of(asked)) is not None:
            rest.probing = True

    def failed(self, asked: Asked, error: TetradError, took_s: float) -> None:
        """Note that a server did not answer, or answered what is none; it rests if others waited for that."""
        if not asked.method:
            return
        now, rest = self._clock.monotonic(), self._of(asked)
        if error.status < 500 or took_s < PROBE_S:
            self.back(asked)  # nobody waited for it
            return
        if rest is None:
            if len(self._servers) >= _MAX_KNOWN:
                return
            rest = self._servers.setdefault(asked[:2], {}).setdefault(asked.method, _Rest(now))
        elif not rest.probing and now < rest.until:
            return  # asked at the same time as another, which has said it
        rest.probing, rest.error = False, error
        rest.until = now + min(FIRST_S * 2.0**rest.failures, LONGEST_S)
        rest.failures = min(rest.failures + 1, 32)

    def left(self, asked: Asked) -> None:
        """Note that whoever asked waits no more, which says nothing of the server."""
        if (rest := self._of(asked)) is not None:
            rest.probing = False

    def back(self, asked: Asked) -> None:
        """Note that a server answered; it gets its time again also for what it was not asked since its rest is over."""
        rests = self._servers.get(asked[:2])
        if rests is not None:
            rests.pop(asked.method, None)
            now = self._clock.monotonic()
            for method in [method for method, rest in rests.items() if rest.until <= now and not rest.probing]:
                del rests[method]
            if not rests:
                del self._servers[asked[:2]]

    def keep(self, known: Container[str]) -> None:
        """Forget servers that are no more, or are somewhere else now; `known` has `project/name` of the others."""
        for project, server in list(self._servers):
            if f"{project}/{server}" not in known:
                del self._servers[project, server]

    def now(self) -> Iterator[ServerRest]:
        """Yield what rests, with since when, until when and why."""
        now = self._clock.monotonic()
        for (project, server), rests in list(self._servers.items()):
            for method, rest in list(rests.items()):
                if now - rest.until > FORGOTTEN_S and not rest.probing:
                    del rests[method]
                    continue
                left_s = max(rest.until - now, 0.0)
                state: RestState = "probing" if rest.probing else "resting" if left_s else "due"
                error = rest.error
                yield ServerRest(
                    project, server, method, state, rest.failures, round(now - rest.since, 3), round(left_s, 3),
                    error.code, error.message[:_MAX_REASON],
                )  # fmt: skip
            if not rests:
                self._servers.pop((project, server), None)

    def _of(self, asked: Asked) -> _Rest | None:
        return self._servers.get(asked[:2], {}).get(asked.method)
