"""What a call cost: exact decimals, None where it is not known."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from tetrad.kernel import Usage
from tetrad.serving._model import Price, Tier
from tetrad.serving.errors import BadRouteTable

_MILLION = Decimal(1_000_000)


class _Rates:
    """The price of a call of one size."""

    __slots__ = ("cache_read", "cache_write", "input", "output")

    def __init__(self, price: Price | Tier) -> None:
        self.input = _decimal(price.input)
        self.output = _decimal(price.output)
        self.cache_read = self.input if price.cache_read is None else _decimal(price.cache_read)
        self.cache_write = self.input if price.cache_write is None else _decimal(price.cache_write)


class Pricer:
    """A price that is parsed once."""

    __slots__ = ("_base", "_cache_write_1h", "_most_input", "_tiers", "currency")

    def __init__(self, price: Price) -> None:
        self.currency = price.currency
        self._most_input = price.max_input_tokens
        self._base = _Rates(price)
        self._tiers = tuple((tier.start, _Rates(tier)) for tier in sorted(price.tiers, key=lambda tier: -tier.start))
        self._cache_write_1h: Decimal | None = None
        if price.cache_write_1h is not None:
            self._cache_write_1h = _decimal(price.cache_write_1h)
        elif price.cache_write is None:
            self._cache_write_1h = self._base.input

    def most(self, input_tokens: int, output_tokens: int) -> str | None:
        """Return the most that a call of so many tokens can cost, whatever part of its input meets the cache."""
        dearer = Usage(cache_write=input_tokens, output=output_tokens)
        plain = Usage(input=input_tokens, output=output_tokens)
        longer = Usage(cache_write_1h=input_tokens, output=output_tokens)
        found = [cost for each in (plain, dearer, longer) if (cost := self.cost(each)) is not None]
        return max(found, key=Decimal, default=None)

    def cost(self, usage: Usage) -> str | None:
        """Return the cost as a plain decimal text, without rounding; None where the price does not cover the call."""
        if self._most_input and usage.input_total > self._most_input:
            return None
        rates = self._base
        for start, tier in self._tiers:
            if usage.input_total > start:
                rates = tier
                break
        amount = rates.input * usage.input + rates.output * usage.output_total
        if usage.cache_read:
            amount += rates.cache_read * usage.cache_read
        if usage.cache_write:
            amount += rates.cache_write * usage.cache_write
        if usage.cache_write_1h:
            if self._cache_write_1h is None or rates is not self._base:  # no list tells it of a tier
                return None
            amount += self._cache_write_1h * usage.cache_write_1h
        return format((amount / _MILLION).normalize(), "f") if amount else "0"


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise BadRouteTable(f"{text!r} is no price") from None
    if not value.is_finite() or value < 0:
        raise BadRouteTable(f"{text!r} is no price")
    return value
