"""What a call cost: exact decimals, None where it is not known."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from tetrad.kernel import Usage
from tetrad.serving._model import Price
from tetrad.serving.errors import BadRouteTable

_MILLION = Decimal(1_000_000)


class Pricer:
    """A price that is parsed once."""

    __slots__ = ("_cache_read", "_cache_write", "_cache_write_1h", "_input", "_most_input", "_output", "currency")

    def __init__(self, price: Price) -> None:
        self.currency = price.currency
        self._most_input = price.max_input_tokens
        self._input = _decimal(price.input)
        self._output = _decimal(price.output)
        self._cache_read = self._input if price.cache_read is None else _decimal(price.cache_read)
        self._cache_write = self._input if price.cache_write is None else _decimal(price.cache_write)

        self._cache_write_1h: Decimal | None = None
        if price.cache_write_1h is not None:
            self._cache_write_1h = _decimal(price.cache_write_1h)
        elif price.cache_write is None:
            self._cache_write_1h = self._input

    def cost(self, usage: Usage) -> str | None:
        """Return the cost as a plain decimal text, without rounding; None where the price does not cover the call."""
        if self._most_input and usage.input_total > self._most_input:
            return None
        amount = self._input * usage.input + self._output * usage.output_total
        if usage.cache_read:
            amount += self._cache_read * usage.cache_read
        if usage.cache_write:
            amount += self._cache_write * usage.cache_write
        if usage.cache_write_1h:
            if self._cache_write_1h is None:
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
