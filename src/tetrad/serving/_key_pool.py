"""Several keys for one provider: which one is sent, and which ones rest."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import msgspec

from tetrad.kernel import Clock, TetradError
from tetrad.serving._failures import classify, retry_after_s
from tetrad.serving.ports import Answer, Handler, ModelCall

log = logging.getLogger(__name__)

COOL_S = 5.0
"""How long a key rests after a refusal that names no time."""
LONGEST_COOL_S = 600.0


class KeyState(msgspec.Struct, frozen=True, gc=False):
    """What is known of a key; times are of a monotonic clock."""

    cooling_until: float = 0.0
    retired_at: float = 0.0
    used: int = 0


FRESH = KeyState()


def best_key(states: Sequence[KeyState], now: float) -> int:
    """Return the place of the key to send: of those that neither rest nor are retired, the least used.

    Where all rest, the one that rests the shortest; where all are retired, the one retired the longest ago: a provider
    that refused every key may have been wrong, and somebody must find out when it is over.
    """
    alive = [place for place, state in enumerate(states) if not state.retired_at]
    ready = [place for place in alive if states[place].cooling_until <= now]
    if ready:
        return min(ready, key=lambda place: (states[place].used, place))
    if alive:
        return min(alive, key=lambda place: (states[place].cooling_until, place))
    return min(range(len(states)), key=lambda place: (states[place].retired_at, place))


def ready_keys(states: Sequence[KeyState], now: float) -> int:
    """Return how many keys neither rest nor are retired."""
    return sum(1 for state in states if not state.retired_at and state.cooling_until <= now)


def rested(state: KeyState, kind: str, asked_s: float | None, now: float) -> KeyState:
    """Return a key's state after an answer of a kind ("" is a good one)."""
    if kind in ("credential", "quota"):
        return KeyState(state.cooling_until, max(now, 1e-9), state.used)
    if kind == "rate_limit":
        pause = COOL_S if asked_s is None else min(asked_s, LONGEST_COOL_S)
        return KeyState(max(state.cooling_until, now + pause), 0.0, state.used)
    if not kind and state.retired_at:
        return KeyState(state.cooling_until, 0.0, state.used)
    return state


def key_name(secret: str) -> str:
    """Return what a key is known by here: it tells keys apart and nobody what they are."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


class KeyPool:
    """The keys of one upstream. It outlives route tables as far as keys stay the same; a changed key begins anew."""

    def __init__(self, upstream: str, clock: Clock) -> None:
        self.upstream = upstream
        self._clock = clock
        self._names: tuple[str, ...] = ()
        self._states: list[KeyState] = []

    def hold(self, secrets: Sequence[str]) -> None:
        """Have exactly these keys from now on; what is known of those that stay is kept."""
        known = dict(zip(self._names, self._states, strict=True))
        self._names = tuple(map(key_name, secrets))
        self._states = [known.get(name, FRESH) for name in self._names]

    def counts(self) -> dict[str, int]:
        """Return how many keys are ready, cooling and retired now."""
        now = self._clock.monotonic()
        retired = sum(1 for state in self._states if state.retired_at)
        ready = ready_keys(self._states, now)
        return {"ready": ready, "cooling": len(self._states) - retired - ready, "retired": retired}

    @property
    def ready(self) -> bool:
        """Tell whether a key neither rests nor is retired."""
        return ready_keys(self._states, self._clock.monotonic()) > 0

    def __len__(self) -> int:
        return len(self._names)

    def bind(self, handlers: Sequence[Handler], secrets: Sequence[str]) -> Handler:
        """Return what calls with the best key; `handlers` send `secrets`, in their order."""
        by_name = dict(zip(map(key_name, secrets), handlers, strict=True))

        async def call(call: ModelCall) -> Answer:
            # a table that is older than the pool's keys still serves requests under way
            names = [name for name in self._names if name in by_name] or list(by_name)
            states = [self._state(name) for name in names]
            name = names[best_key(states, self._clock.monotonic())]
            self._used(name)
            try:
                answer = await by_name[name](call)
            except TetradError as error:
                self._note(name, classify(0, error.code, error.message), error.retry_after_s)
                raise
            if answer.status < 400:
                self._note(name, "", None)
            else:
                outcome = answer.outcome()
                kind = classify(answer.status, outcome.error_type, outcome.error_message)
                self._note(name, kind, retry_after_s(answer.headers))
            return answer

        return call

    def _state(self, name: str) -> KeyState:
        return self._states[self._names.index(name)] if name in self._names else FRESH

    def _used(self, name: str) -> None:
        if name in self._names:
            place = self._names.index(name)
            self._states[place] = msgspec.structs.replace(self._states[place], used=self._states[place].used + 1)

    def _note(self, name: str, kind: str, asked_s: float | None) -> None:
        if name not in self._names:
            return
        place = self._names.index(name)
        before = self._states[place]
        after = rested(before, kind, asked_s, self._clock.monotonic())
        if after is before:
            return
        self._states[place] = after
        if after.retired_at and not before.retired_at:
            log.error(
                "key %d of %d of the provider %r is retired: it was refused (%s); it rests until its secret changes",
                place + 1, len(self._names), self.upstream, kind,
            )  # fmt: skip
