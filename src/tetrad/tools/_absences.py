"""Which servers had to be left out of answers for all: said when it changes, not at each request."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator

from tetrad.kernel import Clock, TetradError

log = logging.getLogger(__name__)

AGAIN_S = 600.0
"""After so long it is said once more of a server that is still left out."""
QUIET_S = 5.0
"""So long nothing more is said of a server that comes and goes."""
_MAX_COUNTED = 600
_TEMPORARY = frozenset(("overloaded", "tool_server_not_found"))


class _State:
    __slots__ = ("at", "code", "said")

    def __init__(self) -> None:
        self.code = ""
        self.said = ""
        self.at = float("-inf")


class Absences:
    """What one worker knows of servers that take no part, by project and name; an empty code is one that does.

    What is refused to a client for its own doings, its limits or an old session, says nothing of the server.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[tuple[str, str], _State] = {}
        self._counts: dict[tuple[str, str, str], int] = {}

    def gone(self, project: str, server: str, error: TetradError) -> None:
        """Note that a server is left out of an answer."""
        place = (project, server, error.code)
        if place not in self._counts and len(self._counts) >= _MAX_COUNTED:
            place = ("other", "other", "other")
        self._counts[place] = self._counts.get(place, 0) + 1
        if error.status < 500 and error.code not in _TEMPORARY:
            return
        state = self._states.setdefault((project, server), _State())
        state.code = error.code
        if self._is_news(state):
            log.warning("the MCP server %r of %r is left out of answers for all: %s", server, project, error.message)

    def back(self, project: str, server: str) -> None:
        """Note that a server took part."""
        state = self._states.get((project, server))
        if state is None:
            return
        state.code = ""
        if self._is_news(state):
            log.info("the MCP server %r of %r takes part in answers for all again", server, project)

    def _is_news(self, state: _State) -> bool:
        now = self._clock.monotonic()
        since = now - state.at
        if state.code == state.said:
            if not state.code or since < AGAIN_S:
                return False
        elif since < QUIET_S:
            return False
        state.said, state.at = state.code, now
        return True

    def keep(self, known: Container[str]) -> None:
        """Forget servers that are no more; `known` has `project/name` of the others."""
        for project, server in list(self._states):
            if f"{project}/{server}" not in known:
                del self._states[project, server]

    def now(self) -> Iterator[tuple[str, str, bool]]:
        """Yield project, name and whether it is left out now, of all that ever were."""
        for (project, server), state in sorted(self._states.items()):
            yield project, server, bool(state.code)

    def counts(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield how often which server was left out, with project and reason."""
        for (project, server, code), count in sorted(self._counts.items()):
            yield project, server, code, count
