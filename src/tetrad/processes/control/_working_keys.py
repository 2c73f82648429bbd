"""Which keys work, for those who ask all the time on behalf of a key: workers do after each answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from tetrad.identity import KeyGrant
from tetrad.kernel import Clock

_KNOWN_S = 1.0


class WorkingKeys:
    """The keys that may call models, as they were a second ago at most.

    One that is not among them is looked for anew: what was made a moment ago works, and is not taken for revoked.
    """

    def __init__(self, granted: Callable[[], Iterable[KeyGrant]], clock: Clock) -> None:
        self._granted = granted
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[tuple[str, str], KeyGrant] = {}
        self._known_until = 0.0

    def get(self, key: tuple[str, str]) -> KeyGrant | None:
        """Return what a key, by its project and id, may do; None where it does not work."""
        with self._lock:
            now = self._clock.monotonic()
            if now >= self._known_until or key not in self._known:
                self._known = by_key(self._granted())
                self._known_until = now + _KNOWN_S
            return self._known.get(key)


def by_key(grants: Iterable[KeyGrant]) -> dict[tuple[str, str], KeyGrant]:
    """Return one grant of each key that may call models, by project and key.

    It is the one that works longest, while an older secret ends.
    """
    found: dict[tuple[str, str], KeyGrant] = {}
    for grant in grants:
        known = found.get((grant.project, grant.key_id))
        longer = known is None or (known.expires_ns and (not grant.expires_ns or grant.expires_ns > known.expires_ns))
        if "data" in grant.scopes and longer:
            found[grant.project, grant.key_id] = grant
    return found
