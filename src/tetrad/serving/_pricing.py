"""What a call cost: exact decimals, None where it is not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Context, Decimal, InvalidOperation

from tetrad.kernel import Usage
from tetrad.serving._model import Price, Tier
from tetrad.serving.errors import BadRouteTable

_MILLION_PLACES = 6
_EXACT = Context(prec=200)
TOKENS = (("audio_input", "input"), ("image_input", "input"), ("audio_output", "output"), ("image_output", "output"))
"""Tokens that are no text, and of which tokens they are part."""
_MAX_PLACES = 30
"""More digits before or behind the point no price has."""


class _Rates:
    """The price of a call of one size, in units of which `Pricer` knows the size."""

    __slots__ = ("cache_read", "cache_write", "input", "output")

    def __init__(self, price: Price | Tier, places: int) -> None:
        self.input = _units(price.input, places)
        self.output = _units(price.output, places)
        self.cache_read = self.input if price.cache_read is None else _units(price.cache_read, places)
        self.cache_write = self.input if price.cache_write is None else _units(price.cache_write, places)


class Pricer:
    """A price that is parsed once, into whole numbers of its smallest unit: exact, and cheaper than decimals."""

    __slots__ = ("_base", "_cache_write_1h", "_most_input", "_places", "_tiers", "currency", "free")

    def __init__(self, price: Price) -> None:
        self.currency = price.currency
        self._most_input = price.max_input_tokens
        said = [*_rates_of(price), *(text for tier in price.tiers for text in _rates_of(tier))]
        self.free = not price.units and not any(map(decimal_of, said))
        places = max(_places(text) for text in said)
        self._places = places + _MILLION_PLACES
        self._base = _Rates(price, places)
        self._tiers = tuple(
            (tier.start, _Rates(tier, places)) for tier in sorted(price.tiers, key=lambda tier: -tier.start)
        )
        self._cache_write_1h: int | None = None
        if price.cache_write_1h is not None:
            self._cache_write_1h = _units(price.cache_write_1h, places)
        elif price.cache_write is None:
            self._cache_write_1h = self._base.input

    def tells(self, currency: str) -> bool:
        """Tell whether it says what a call costs in a currency; what is free is free in each."""
        return self.free or self.currency == currency

    def most(self, input_tokens: int, output_tokens: int) -> str | None:
        """Return the most that a call of so many tokens can cost, whatever part of its input meets the cache."""
        dearer = Usage(cache_write=input_tokens, output=output_tokens)
        plain = Usage(input=input_tokens, output=output_tokens)
        longer = Usage(cache_write_1h=input_tokens, output=output_tokens)
        found = [cost for each in (plain, dearer, longer) if (cost := self.cost(each)) is not None]
        return max(found, key=Decimal, default=None)

    def cost(self, usage: Usage) -> str | None:
        """Return the cost as a plain decimal text, without rounding; None where the price does not cover the call."""
        read = usage.input_total
        if self._most_input and read > self._most_input:
            return None
        rates = self._base
        for start, tier in self._tiers:
            if read > start:
                rates = tier
                break
        amount = rates.input * usage.input + rates.output * usage.output_total
        if read != usage.input:
            amount += rates.cache_read * usage.cache_read + rates.cache_write * usage.cache_write
            if usage.cache_write_1h:
                if self._cache_write_1h is None or rates is not self._base:  # no list tells it of a tier
                    return None
                amount += self._cache_write_1h * usage.cache_write_1h
        if not amount:
            return "0"
        digits = str(amount).rjust(self._places + 1, "0")
        whole, part = digits[: -self._places], digits[-self._places :].rstrip("0")
        return f"{whole}.{part}" if part else whole

    def cost_of(self, usage: Usage | None, units: Mapping[str, Decimal]) -> str | None:
        """Return the cost of a call that used something else than text; None where the price does not tell it.

        What was counted beside tokens changes nothing, unless it has a price; tokens of something else do.
        """
        if usage is None or any(units.get(name) for name, _ in TOKENS):
            return None
        return self.cost(usage)


def _rates_of(price: Price | Tier) -> Iterator[str]:
    yield from (price.input, price.output)
    optional = (price.cache_read, price.cache_write, price.cache_write_1h if isinstance(price, Price) else None)
    yield from (text for text in optional if text is not None)


def _places(text: str) -> int:
    """Return how many digits a price has behind its point."""
    _, _, exponent = decimal_of(text).as_tuple()
    return max(0, -int(exponent))


def _units(text: str, places: int) -> int:
    return int(decimal_of(text).scaleb(places, _EXACT))


def decimal_of(text: str) -> Decimal:
    """Read a price; raises `BadRouteTable` for what is none."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise BadRouteTable(f"{text!r} is no price") from None
    if not value.is_finite() or value < 0 or abs(value.adjusted()) > _MAX_PLACES or len(text) > _MAX_PLACES:
        raise BadRouteTable(f"{text[:60]!r} is no price")
    return value
