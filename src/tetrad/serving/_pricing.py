"""What a call cost: exact decimals, None where it is not known."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from tetrad.kernel import Usage
from tetrad.serving._model import UNITS, Price, Tier
from tetrad.serving.errors import BadRouteTable

_MILLION = Decimal(1_000_000)
_WHOLE = ("image", "character", "second", "search_unit")
_TOKENS = (("audio_input", "input"), ("image_input", "input"), ("audio_output", "output"), ("image_output", "output"))


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

    def cost_of(self, usage: Usage | None, units: Mapping[str, Decimal]) -> str | None:
        """Return the cost of a call that used something else than text; None where the price does not tell it.

        What was counted beside tokens changes nothing, unless it has a price; tokens of something else do.
        """
        if usage is None or any(units.get(name) for name, _ in _TOKENS):
            return None
        return self.cost(usage)


class UnitPricer(Pricer):
    """A price that names more than tokens of text."""

    __slots__ = ("_units",)

    def __init__(self, price: Price) -> None:
        super().__init__(price)
        unknown = set(price.units) - set(UNITS)
        if unknown:
            raise BadRouteTable(f"{min(unknown)[:40]!r} has no price in a route table")
        self._units = {name: _decimal(text) / UNITS[name] for name, text in price.units.items()}

    def cost(self, usage: Usage) -> str | None:
        thoughts = self._units.get("reasoning")
        if thoughts is not None and usage.reasoning:
            plain = Usage(usage.input, usage.cache_read, usage.cache_write, usage.output, 0, usage.cache_write_1h)
            return self._sum(super().cost(plain), thoughts * usage.reasoning)
        return self._sum(super().cost(usage), Decimal(0))

    def cost_of(self, usage: Usage | None, units: Mapping[str, Decimal]) -> str | None:
        """Return the cost by what was used; None where anything that was used has no price."""
        whole = [name for name in _WHOLE if name in units and name in self._units]
        if whole:
            return self._sum("0", sum((self._units[name] * units[name] for name in whole), Decimal(0)))
        if usage is None:
            return None
        left = {"input": usage.input, "output": usage.output}
        amount = Decimal(0)
        for name, kind in _TOKENS:
            if units.get(name):
                if name not in self._units:
                    return None
                amount += self._units[name] * units[name]
                left[kind] = max(left[kind] - int(units[name]), 0)
        rest = Usage(
            left["input"], usage.cache_read, usage.cache_write, left["output"], usage.reasoning, usage.cache_write_1h
        )
        cost = self.cost(rest)
        return None if cost is None else _text(Decimal(cost) + amount)

    def _sum(self, cost: str | None, more: Decimal) -> str | None:
        if cost is None:
            return None
        return _text(Decimal(cost) + more + self._units.get("request", Decimal(0)))


def pricer_of(price: Price) -> Pricer:
    """Return a price made ready; one of text alone stays as quick as it is."""
    return UnitPricer(price) if price.units else Pricer(price)


def _text(amount: Decimal) -> str:
    return format(amount.normalize(), "f") if amount else "0"


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise BadRouteTable(f"{text!r} is no price") from None
    if not value.is_finite() or value < 0:
        raise BadRouteTable(f"{text!r} is no price")
    return value
