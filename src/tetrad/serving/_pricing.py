"""What a call cost: exact decimals, None where it is not known."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from tetrad.kernel import Usage
from tetrad.serving._model import Price
from tetrad.serving.errors import BadRouteTable

_MILLION = Decimal(1_000_000)


class Pricer:
    """A price that is parsed once."""

    __slots__ = ("_cache_read", "_cache_write", "_input", "_most_input", "_output", "currency")

    def __init__(self, price: Price) -> None:
        self.currency = price.currency
        self._most_input = price.max_input_tokens
        self._input = _decimal(price.input)
        self._output = _decimal(price.output)
        self._cache_read = self._input if price.cache_read is None else _decimal(price.cache_read)
        self._cache_write = self._input if price.cache_write is None else _decimal(price.cache_write)

    def most(self, input_tokens: int, output_tokens: int) -> str | None:
        """Return the most that a call of so many tokens can cost, whatever part of its input meets the cache."""
        dearer = Usage(cache_write=input_tokens, output=output_tokens)
        plain = Usage(input=input_tokens, output=output_tokens)
        found = [cost for cost in (self.cost(plain), self.cost(dearer)) if cost is not None]
        return max(found, key=Decimal, default=None)

    def cost(self, usage: Usage) -> str | None:
        """Return the cost as a plain decimal text, without rounding; None where the price does not cover the call."""
        if self._most_input and usage.input_total > self._most_input:
            return None
        amount = self._input * usage.input + self._output * usage.output_total
        if usage.cache_read:
            amount += self._cache_read * usage.cache_read
        if usage.cache_write:
            amount += self._cache_write * usage.cache_write
        return format((amount / _MILLION).normalize(), "f") if amount else "0"


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise BadRouteTable(f"{text!r} is no price") from None
    if not value.is_finite() or value < 0:
        raise BadRouteTable(f"{text!r} is no price")
    return value
