"""What can go wrong with limits and budgets."""

from __future__ import annotations

from collections.abc import Sequence

from tetrad.kernel import Conflict, Forbidden, InvalidInput, NotFound, Overloaded, Unavailable


class BadLimit(InvalidInput):
    """A limit or a budget cannot be described that way."""

    code = "bad_limit"


class LimitNotFound(NotFound):
    """The project has no limit or budget of that id."""

    code = "limit_not_found"


class TooManyLimits(Conflict):
    """A project has all the limits that it may have."""

    code = "too_many_limits"


class LimitReached(Overloaded):
    """A rate limit is used up for now; `headers` tell clients how much of it there is."""

    code = "rate_limit_exceeded"
    headers: Sequence[tuple[bytes, bytes]] = ()


class BudgetSpent(LimitReached):
    """A budget is spent, or what is left of it does not cover the call."""

    code = "insufficient_quota"


class PriceUnknown(Forbidden):
    """A budget cannot count a call of a model without a price."""

    code = "price_unknown"


class LimitsUnavailable(Unavailable):
    """A limit cannot be checked now, and this worker holds nothing of it any more."""

    code = "limits_unavailable"
    next_step = "try again in a moment"
