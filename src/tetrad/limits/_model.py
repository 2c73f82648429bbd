"""Limits and budgets: what a rule may say, periods, and money as whole numbers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

from tetrad.kernel.money import PLACES, Money
from tetrad.limits.errors import BadLimit
from tetrad.serving.ports import LimitMeasure, LimitPeriod, LimitRule, LimitSubject

SUBJECTS: tuple[LimitSubject, ...] = get_args(LimitSubject)
MEASURES: tuple[LimitMeasure, ...] = get_args(LimitMeasure)
BUDGET_PERIODS: tuple[LimitPeriod, ...] = ("day", "week", "month", "total")
UNIT = 10**PLACES
"""Money is counted in whole 10^-12 of its currency, in which `kernel.Money` is exact."""
LARGEST = 10**15
DEFAULT_THRESHOLDS = (50, 80, 100)
MAX_NAME_CHARS = 256
MAX_THRESHOLDS = 10


def units(amount: Money) -> int:
    """Return an amount of money as a whole number of 10^-12."""
    return int(amount.amount.scaleb(PLACES))


def money_text(amount: int) -> str:
    """Return whole 10^-12 as plain decimal text, exactly."""
    sign, digits = "-" if amount < 0 else "", str(abs(amount)).rjust(PLACES + 1, "0")
    fraction = digits[-PLACES:].rstrip("0")
    return f"{sign}{digits[:-PLACES]}" + (f".{fraction}" if fraction else "")


def cost_units(text: str) -> int:
    """Return a cost as whole 10^-12, rounded up, so that what is counted is never less than what was spent."""
    scaled = Decimal(text).scaleb(PLACES)
    whole = int(scaled)
    return whole + (scaled > whole)


def check_rule(rule: LimitRule) -> LimitRule:
    """Return the rule, or raise `BadLimit` saying what is wrong with it."""
    if rule.subject not in SUBJECTS or rule.measure not in MEASURES:
        raise BadLimit(
            f"there is no limit of {rule.measure!r} for {rule.subject!r}",
            hint=f"subjects: {', '.join(SUBJECTS)}; measures: {', '.join(MEASURES)}",
        )
    if not 1 <= len(rule.name) <= MAX_NAME_CHARS or not rule.name.isprintable():
        raise BadLimit(f"{rule.name[:80]!r} cannot name a subject", hint="its name or id, or * for each")
    if rule.subject == "project" and rule.name != "*":
        raise BadLimit("a limit of the project has no name of its own", hint="leave the name out")
    if rule.measure == "money":
        if rule.period not in BUDGET_PERIODS:
            raise BadLimit(f"a budget has no period {rule.period!r}", hint=f"one of {', '.join(BUDGET_PERIODS)}")
        if not 0 <= rule.amount <= LARGEST * UNIT:
            raise BadLimit("the amount of a budget is out of range", hint="0 to 10^15 of the currency")
        Money(Decimal(0), rule.currency)
        return rule
    if rule.period != "minute":
        raise BadLimit(f"a limit of {rule.measure} has no period {rule.period!r}", hint="it is per minute, or at once")
    if not 0 <= rule.amount <= LARGEST:
        raise BadLimit(f"{rule.amount} is out of range", hint="0 to 10^15")
    return rule


def check_thresholds(given: Iterable[int]) -> tuple[int, ...]:
    """Return the percentages of a budget at which to alert, in order, or raise `BadLimit`."""
    found = tuple(sorted(set(given)))
    if len(found) > MAX_THRESHOLDS or not all(1 <= each <= 1000 for each in found):
        raise BadLimit("a threshold of a budget is out of range", hint=f"up to {MAX_THRESHOLDS} of 1 to 1000 per cent")
    return found


def period_of(period: LimitPeriod, now: datetime) -> tuple[str, datetime | None]:
    """Return a period's name and its end, in UTC; weeks are ISO 8601's. The end of `total` is None."""
    now = now.astimezone(UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return f"{day:%Y-%m-%d}", day + timedelta(days=1)
    if period == "week":
        year, week, weekday = day.isocalendar()
        return f"{year}-W{week:02}", day + timedelta(days=8 - weekday)
    if period == "month":
        first = day.replace(day=1)
        return f"{day:%Y-%m}", (first + timedelta(days=32)).replace(day=1)
    return "total", None


def period_start(period: LimitPeriod, end: datetime | None) -> datetime | None:
    """Return when the period with that end began; None for `total`."""
    if end is None:
        return None
    if period == "month":
        return (end - timedelta(days=1)).replace(day=1)
    return end - timedelta(days=7 if period == "week" else 1)
