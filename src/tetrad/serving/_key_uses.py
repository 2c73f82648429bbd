"""When keys were last used, as a gateway worker knows it, until control has heard of it."""

from __future__ import annotations

from collections.abc import Mapping

EVERY_NS = 60 * 1_000_000_000
"""How seldom control hears of a key that is in use all the time."""
MAX_USES = 1_000
"""Keys in one report."""


class KeyUses:
    """The last use of each key by its id, in nanoseconds since the epoch; of one event loop."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def note(self, key_id: str, at_ns: int) -> None:
        """Take in a use."""
        self._used[key_id] = at_ns

    def take(self, now_ns: int, *, all_of_them: bool = False) -> dict[str, int]:
        """Return what control should hear now, at most `MAX_USES` keys; `give_back` what it did not.

        A key that it heard of within the last minute waits, unless `all_of_them` are asked for.
        """
        # a clock that was set back must not silence a key
        self._told = {key: at for key, at in self._told.items() if 0 <= now_ns - at < EVERY_NS}
        due = [key for key in self._used if all_of_them or key not in self._told][:MAX_USES]
        self._told.update(dict.fromkeys(due, now_ns))
        return {key: self._used.pop(key) for key in due}

    def give_back(self, uses: Mapping[str, int]) -> None:
        """Take back what control did not hear; a later use of a key stays."""
        for key, at in uses.items():
            self._told.pop(key, None)
            self._used.setdefault(key, at)
