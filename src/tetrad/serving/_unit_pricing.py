"""What calls cost that used something else than tokens of text: sound, pictures, characters, seconds, requests."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal

import msgspec

from tetrad.kernel import UNITS, Usage
from tetrad.serving._model import Price
from tetrad.serving._pricing import TOKENS, Pricer, decimal_of
from tetrad.serving.errors import BadRouteTable

_EXACT = Context(prec=200)
_WHOLE = ("image", "character", "second", "search_unit")


class UnitPricer(Pricer):
    """A price that names more than tokens of text."""

    __slots__ = ("_units",)

    def __init__(self, price: Price) -> None:
        super().__init__(price)
        unknown = set(price.units) - set(UNITS)
        if unknown:
            raise BadRouteTable(f"{min(unknown)[:40]!r} has no price in a route table")
        self._units = {
            name: _EXACT.divide(decimal_of(text), Decimal(UNITS[name])) for name, text in price.units.items()
        }

    def cost(self, usage: Usage) -> str | None:
        thoughts = self._units.get("reasoning")
        if thoughts is not None and usage.reasoning:
            plain = Usage(usage.input, usage.cache_read, usage.cache_write, usage.output, 0, usage.cache_write_1h)
            return self._sum(super().cost(plain), _EXACT.multiply(thoughts, Decimal(usage.reasoning)))
        return self._sum(super().cost(usage), Decimal(0))

    def cost_of(self, usage: Usage | None, units: Mapping[str, Decimal]) -> str | None:
        """Return the cost by what was used; None where anything that was used has no price."""
        whole = [name for name in _WHOLE if name in units and name in self._units]
        if whole:
            amount = Decimal(0)
            for name in whole:
                amount = _EXACT.add(amount, _EXACT.multiply(self._units[name], units[name]))
            return self._sum("0", amount)
        if usage is None:
            return None
        left = {"input": usage.input, "output": usage.output}
        amount = Decimal(0)
        for name, kind in TOKENS:
            if units.get(name):
                if name not in self._units:
                    return None
                amount = _EXACT.add(amount, _EXACT.multiply(self._units[name], units[name]))
                left[kind] = max(left[kind] - int(units[name]), 0)
        rest = Usage(
            left["input"], usage.cache_read, usage.cache_write, left["output"], usage.reasoning, usage.cache_write_1h
        )
        cost = self.cost(rest)
        return None if cost is None else _text(_EXACT.add(Decimal(cost), amount))

    def _sum(self, cost: str | None, more: Decimal) -> str | None:
        if cost is None:
            return None
        more = _EXACT.add(more, self._units.get("request", Decimal(0)))
        return _text(_EXACT.add(Decimal(cost), more))


def pricer_of(price: Price) -> Pricer:
    """Return a price made ready; one of text alone stays as quick as it is."""
    return UnitPricer(price) if price.units else Pricer(price)


def batch_pricer_of(price: Price) -> Pricer | None:
    """Return what calls of the provider's own batches cost; None where the price does not tell.

    What is charged by tokens is reduced; of other charges nobody says that they are, so what has one is not known.
    """
    if price.batch is None:
        return None
    part = decimal_of(price.batch)

    def reduced(text: str | None) -> str | None:
        return None if text is None else _text(_EXACT.multiply(decimal_of(text), part))

    names = ("input", "output", "cache_read", "cache_write")
    tiers = tuple(
        msgspec.structs.replace(tier, **{name: reduced(getattr(tier, name)) for name in names}) for tier in price.tiers
    )
    kept = {name: text for name, each in price.units.items() if UNITS[name] > 1 and (text := reduced(each)) is not None}
    if len(kept) < len(price.units):
        return None
    return pricer_of(
        msgspec.structs.replace(
            price,
            **{name: reduced(getattr(price, name)) for name in (*names, "cache_write_1h")},
            tiers=tiers,
            units=kept,
            batch=None,
        )
    )


def _text(amount: Decimal) -> str:
    return format(amount.normalize(_EXACT), "f") if amount else "0"
