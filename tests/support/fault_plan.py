"""What becomes of request number N of a seeded fault run: the upstream acts by it, client and test judge by it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Fault = Literal["", "reset", "stall", "garbage", "half_closed", "storm", "dns", "gone_waiting", "gone_mid"]

FAULTS: tuple[Fault, ...] = ("reset", "stall", "garbage", "half_closed", "storm", "dns", "gone_waiting", "gone_mid")
_SCATTERED: tuple[Fault, ...] = ("reset", "stall", "garbage", "half_closed", "dns", "gone_waiting", "gone_mid")
_PER_MILLE = 3
"""Each of the scattered faults has so many of a thousand requests."""
STORM_EVERY, STORM_LENGTH = 5_000, 25
"""A storm refuses so many neighbours in so many requests: providers refuse in bursts."""
RETRY_AFTER_S = 7
PRICE = {"input": "0.15", "output": "0.6", "cache_read": "0.075"}
_INPUT_UNITS, _OUTPUT_UNITS, _CACHED_UNITS = 150_000, 600_000, 75_000
"""The same price for one token, in 10^-12 of the currency: all costs of a run are whole numbers."""
_MASK = (1 << 64) - 1


class Plan(NamedTuple):
    """One request: how it is asked and what its upstream does; `late` faults begin in the middle of the answer."""

    number: int
    fault: Fault
    late: bool
    stream: bool
    dialect: Literal["openai", "anthropic"]
    routed: bool
    """Whether it goes by a route that has a healthy model behind the one at fault."""
    words: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    bit: bool
    """A coin for whoever needs one more."""

    @property
    def text(self) -> str:
        """The whole answer: it carries the request's number in every word."""
        return f"r-{self.number}-" + "".join(f" w{place}.{self.number}" for place in range(self.words))

    @property
    def usage(self) -> dict[str, Any]:
        """What the upstream says that the call consumed."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    @property
    def cost_units(self) -> int:
        """What a call costs that was served whole, in 10^-12 of the currency."""
        return (
            (self.prompt_tokens - self.cached_tokens) * _INPUT_UNITS
            + self.cached_tokens * _CACHED_UNITS
            + self.completion_tokens * _OUTPUT_UNITS
        )


def plan(seed: int, number: int) -> Plan:
    """Return the plan of a request: the same for everybody who knows the seed."""
    dice = _mixed(seed * 0x9E3779B97F4A7C15 + number)
    place = dice % 1000
    fault: Fault = ""
    if number % STORM_EVERY >= STORM_EVERY - STORM_LENGTH:
        fault = "storm"
    elif place < _PER_MILLE * len(_SCATTERED):
        fault = _SCATTERED[place // _PER_MILLE]
    stream = fault == "gone_mid" or (dice >> 10) % 10 < 3
    prompt = 11 + (dice >> 14) % 500
    return Plan(
        number=number,
        fault=fault,
        late=fault in ("reset", "stall", "garbage", "half_closed") and bool((dice >> 23) & 1),
        stream=stream,
        dialect="anthropic" if (dice >> 24) % 10 == 0 else "openai",
        routed=fault in ("reset", "stall", "garbage", "half_closed", "storm") and (dice >> 30) % 4 == 0,
        words=600 if (dice >> 34) % 100 == 0 else 1 + (dice >> 41) % 9,
        prompt_tokens=prompt,
        cached_tokens=(dice >> 45) % 10,
        completion_tokens=1 + (dice >> 49) % 300,
        bit=bool((dice >> 60) & 1),
    )


def trace_id(seed: int, number: int) -> str:
    """Return the trace of a request, by which answers and spans are known to be of it."""
    return f"{seed & _MASK:016x}{number + 1:016x}"


def _mixed(value: int) -> int:
    """Spread a number over 64 bits (SplitMix64's finaliser)."""
    value &= _MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)
