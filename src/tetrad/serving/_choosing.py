"""In which order the targets of a route are tried: pure functions of what is known of them."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from tetrad.serving._model import Price
from tetrad.serving._route_spec import Condition, RouteTarget, Strategy

_HALF_LIFE_S = 10.0
_RECENT = 100
_messages = msgspec.json.Decoder(list[msgspec.Raw])


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What conditions ask about a request, and what it belongs to; empty where nobody said."""

    segment: str = ""
    sensitivity: str = ""
    region: str = ""
    affinity: str = ""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What a strategy asks about a target now. `latency_s` is 0 where it is not known; `price` None likewise."""

    in_flight: int = 0
    latency_s: float = 0.0
    price: Decimal | None = None


def fits(when: Condition, facts: Facts) -> bool:
    """Tell whether a request is one that a target may answer."""
    return (
        (not when.segments or facts.segment in when.segments)
        and (not when.sensitivities or facts.sensitivity in when.sensitivities)
        and (not when.regions or facts.region in when.regions)
    )


def ranked(
    targets: Sequence[RouteTarget], strategy: Strategy, seen: Sequence[Seen], affinity: str, rng: random.Random
) -> list[int]:
    """Return the places of targets in the order in which they are tried: by priority, then affinity or strategy."""
    score = _affine(targets, affinity) if affinity else _SCORES[strategy](targets, seen, rng)
    return sorted(range(len(targets)), key=lambda place: (targets[place].priority, score[place], place))


def _affine(targets: Sequence[RouteTarget], affinity: str) -> list[float]:
    """Weighted rendezvous hashing (Thaler and Ravishankar 1998): a target that goes moves nobody else's units."""
    return [
        -target.weight / -math.log(_draw(affinity, target.model)) if target.weight else math.inf for target in targets
    ]


def _draw(unit: str, name: str) -> float:
    head = hashlib.sha256(unit.encode() + b"\x1f" + name.encode()).digest()[:8]
    return (int.from_bytes(head, "big") + 0.5) / 2.0**64 * (1 - 1e-12)


def _listed(targets: Sequence[RouteTarget], _seen: Sequence[Seen], _rng: random.Random) -> list[float]:
    return [0.0] * len(targets)


def _weighted(targets: Sequence[RouteTarget], _seen: Sequence[Seen], rng: random.Random) -> list[float]:
    """Exponential races (Efraimidis and Spirakis 2006): the first by weight, the rest by weight of what is left."""
    return [rng.expovariate(1.0) / target.weight if target.weight else math.inf for target in targets]


def _least_busy(targets: Sequence[RouteTarget], seen: Sequence[Seen], rng: random.Random) -> list[float]:
    return [
        (each.in_flight + rng.random() / 2) / target.weight if target.weight else math.inf
        for target, each in zip(targets, seen, strict=True)
    ]


def _latency(_targets: Sequence[RouteTarget], seen: Sequence[Seen], _rng: random.Random) -> list[float]:
    """A target that nobody has timed yet is tried while it has nothing to do."""
    slowest = max((each.latency_s for each in seen), default=0.0)
    return [(each.latency_s or slowest * min(each.in_flight, 1)) * (each.in_flight + 1) for each in seen]


def _cost(_targets: Sequence[RouteTarget], seen: Sequence[Seen], _rng: random.Random) -> list[float]:
    """What has no known price comes last: it is not free."""
    return [math.inf if each.price is None else float(each.price) for each in seen]


_SCORES: dict[Strategy, Callable[[Sequence[RouteTarget], Sequence[Seen], random.Random], list[float]]] = {
    "order": _listed,
    "weighted": _weighted,
    "least-busy": _least_busy,
    "latency": _latency,
    "cost": _cost,
}


def blended_price(price: Price | None) -> Decimal | None:
    """Return one number to compare prices by: three parts of input to one of output, as chats have; None: unknown."""
    return None if price is None else (3 * Decimal(price.input) + Decimal(price.output)) / 4


def prompt_affinity(messages: bytes) -> str:
    """Return the digest of the first message, which is the system message where there is one; empty for none."""
    try:
        found = _messages.decode(messages)
    except msgspec.MsgspecError:
        return ""
    return hashlib.sha256(bytes(found[0])).hexdigest() if found else ""


class PeakEwma:
    """A mean of first-token times that rises at once and falls slowly (as in Finagle's load balancer)."""

    __slots__ = ("_at", "_value", "recent")

    def __init__(self) -> None:
        self._value = 0.0
        self._at = 0.0
        self.recent: list[float] = []

    def note(self, seconds: float, now: float) -> None:
        """Take in one more time."""
        if len(self.recent) >= _RECENT:
            del self.recent[0]
        self.recent.append(seconds)
        if seconds >= self._value:
            self._value = seconds
        else:
            part = 1 - 0.5 ** (max(now - self._at, 0.0) / _HALF_LIFE_S)
            self._value += (seconds - self._value) * part
        self._at = now

    def value(self, now: float) -> float:
        """Return the mean; what was long ago counts less, so that a target that was slow once is tried again."""
        return self._value * math.pow(0.5, max(now - self._at - _HALF_LIFE_S, 0.0) / (4 * _HALF_LIFE_S))

    def quantile(self, part: float, least: int) -> float | None:
        """Return a quantile of the recent times (nearest rank); None with fewer than `least` of them."""
        if len(self.recent) < least:
            return None
        return sorted(self.recent)[min(math.ceil(part * len(self.recent)), len(self.recent)) - 1]
