"""Money: exact decimals with a currency. Floats never enter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from tetrad.kernel.errors import InvalidInput

PLACES = 12
SCALE = Decimal(1).scaleb(-PLACES)
LARGEST = Decimal(10) ** 18
_CURRENCY = re.compile(r"[A-Z]{3}")
_PLAIN = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,12})?")
# The default context keeps 28 digits, of which 30 may be needed; it would round without a word.
_EXACT = Context(prec=64, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount to 12 decimal places, at most 10^18, and its ISO 4217 currency code.

    Sums are exact; a product is rounded to 12 places, half to even.
    """

    amount: Decimal
    currency: str = "USD"

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise InvalidInput(f"an amount of money is a Decimal, not a {type(self.amount).__name__}", code="bad_money")
        if not self.amount.is_finite():
            raise InvalidInput(f"{self.amount} is no amount of money", code="bad_money")
        if abs(self.amount) > LARGEST:
            raise InvalidInput(
                f"{self.amount:.6g} is beyond the largest amount of money", code="bad_money", hint="at most 10^18"
            )
        if self.amount.normalize(_EXACT).as_tuple().exponent < -PLACES:  # type: ignore[operator] # finite, see above
            raise InvalidInput(f"{self.amount} has more than {PLACES} decimal places", code="bad_money")
        if not _CURRENCY.fullmatch(self.currency):
            raise InvalidInput(f"{self.currency!r} is no currency", code="bad_money", hint="three capitals, like USD")

    @classmethod
    def parse(cls, text: str, currency: str = "USD") -> Money:
        """Read `12.50`; refuse anything that is not a plain decimal."""
        if not _PLAIN.fullmatch(text):
            raise InvalidInput(f"{text[:60]!r} is no amount of money", code="bad_money", hint="write 12.50")
        return cls(Decimal(text), currency)

    def __add__(self, other: Money) -> Money:
        return Money(_EXACT.add(self.amount, self._same(other)), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(_EXACT.subtract(self.amount, self._same(other)), self.currency)

    def __mul__(self, factor: int | Decimal) -> Money:
        if isinstance(factor, (float, bool)):
            raise InvalidInput("money is multiplied by integers and decimals, not floats", code="bad_money")
        product = _EXACT.multiply(self.amount, Decimal(factor))
        if not product.is_finite() or abs(product) > LARGEST:
            raise InvalidInput(f"{self} times {factor} is no amount of money", code="bad_money")
        return Money(product.quantize(SCALE, context=_EXACT), self.currency)

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
