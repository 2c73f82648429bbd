"""Money: exact decimals with a currency. Floats never enter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from tetrad.kernel.errors import InvalidInput

SCALE = Decimal("0.000000000001")
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount to 12 decimal places and its ISO 4217 currency code."""

    amount: Decimal
    currency: str = "USD"

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise InvalidInput(f"an amount of money is a Decimal, not a {type(self.amount).__name__}", code="bad_money")
        if not self.amount.is_finite():
            raise InvalidInput(f"{self.amount} is no amount of money", code="bad_money")
        if not _CURRENCY.fullmatch(self.currency):
            raise InvalidInput(f"{self.currency!r} is no currency", code="bad_money", hint="three capitals, like USD")

    @classmethod
    def parse(cls, text: str, currency: str = "USD") -> Money:
        """Read `12.50`; refuse anything that is not a plain decimal."""
        try:
            return cls(Decimal(text), currency)
        except InvalidOperation:
            raise InvalidInput(f"{text!r} is no amount of money", code="bad_money", hint="write 12.50") from None

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __mul__(self, factor: int | Decimal) -> Money:
        if isinstance(factor, float):
            raise InvalidInput("money is multiplied by integers and decimals, not floats", code="bad_money")
        return Money(self.amount * factor, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other)

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"

    def _same(self, other: Money) -> Decimal:
        if other.currency != self.currency:
            raise InvalidInput(f"{self} and {other} are of different currencies", code="bad_money")
        return other.amount
