"""What a call consumed, in buckets that do not overlap."""

from __future__ import annotations

import msgspec

UNITS: dict[str, int] = {
    "audio_input": 1_000_000,
    "audio_output": 1_000_000,
    "image_input": 1_000_000,
    "image_output": 1_000_000,
    "reasoning": 1_000_000,
    "character": 1_000_000,
    "image": 1,
    "request": 1,
    "search_unit": 1,
    "second": 1,
}
"""What a model may charge for besides tokens of text, and how many of it a price is for: tokens of sound and pictures
and characters by the million, the rest each. `request` comes on top of what else a call costs; where `image`,
`character`, `second` or `search_unit` has a price and is told, it is in place of tokens."""

MOST_TOKENS = 2**30 - 1
"""More tokens of one kind no call has: who tells of more, or of fewer than none, tells nothing."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one call; the buckets are disjoint, so their sum is the total and each has one price.

    `input` excludes cache reads and writes, `output` excludes reasoning (OpenTelemetry's GenAI counts include both).
    `cache_write` is what went into the cache for its usual time (Anthropic: five minutes), `cache_write_1h` what went
    in for an hour, which has a price of its own.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0

    @property
    def plausible(self) -> bool:
        """Tell whether a call can have used this: no count is negative, or past `MOST_TOKENS`."""
        ored = self.input | self.output | self.cache_read | self.cache_write | self.reasoning | self.cache_write_1h
        return 0 <= ored <= MOST_TOKENS  # the bound is all ones: what is below zero or past it shows in the sum of bits

    @property
    def cache_written(self) -> int:
        """Everything that went into the cache, for however long."""
        return self.cache_write + self.cache_write_1h

    @property
    def input_total(self) -> int:
        """Everything that was read: fresh, from the cache and into the cache."""
        return self.input + self.cache_read + self.cache_written

    @property
    def output_total(self) -> int:
        """Everything that was generated, thoughts included."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input_total + self.output_total

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.output + other.output,
            self.reasoning + other.reasoning,
            self.cache_write_1h + other.cache_write_1h,
        )


class DoubtfulUsage(Usage, frozen=True, gc=False):
    """Counts of which one contradicts another: what is said to be a part of something is more than that.

    It is counted beside it then, so that no contradiction makes a call cheaper. Believe it where it is `possible`.
    """

    @property
    def plausible(self) -> bool:
        """Tell that it is not to be believed without a word."""
        return False

    @property
    def possible(self) -> bool:
        """Tell whether a call can have used this, as `Usage.plausible` does."""
        return Usage(*(getattr(self, name) for name in self.__struct_fields__)).plausible


def usage_of_parts(
    read: int, made: int, *, cached: int = 0, written: int = 0, reasoning: int = 0, total: int | None = None
) -> Usage:
    """Return counts in disjoint buckets, where the cache's are part of what was `read`, reasoning of what was `made`.

    Where a `total` says that they stand beside, or one is more than what it is part of, it is counted beside; where no
    total says so, the usage is a doubtful one.
    """
    kept = cached + written
    beside = kept > read >= 0 or (kept > 0 and not reasoning and total == read + made + kept)
    apart = reasoning > made >= 0 or (reasoning > 0 and total == read + made + reasoning)
    counts = read if beside else read - kept, cached, written, made if apart else made - reasoning, reasoning
    if (kept > read or reasoning > made) and total != read + made + kept * beside + reasoning * apart:
        return DoubtfulUsage(*counts)
    return Usage(*counts)
