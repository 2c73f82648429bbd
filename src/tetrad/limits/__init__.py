"""Limits and budgets: who may use how much, and leases that make it hold in every gateway worker."""

from tetrad.limits._gate import Gate, counted_as
from tetrad.limits._layer import LimitLayer
from tetrad.limits._model import check_rule, cost_units, money_text, period_of, units
from tetrad.limits._pockets import Pocket, Pockets, Refused
from tetrad.limits._protocol import LAST_SEQ, Account, Flow, Grant, Held, LeaseState, Sync, SyncReply
from tetrad.limits._tools import ToolLimits
from tetrad.limits.errors import (
    BadLimit,
    BudgetSpent,
    LimitNotFound,
    LimitReached,
    LimitsUnavailable,
    PriceUnknown,
    TooManyLimits,
)

__all__ = [
    "LAST_SEQ",
    "Account",
    "BadLimit",
    "BudgetSpent",
    "Flow",
    "Gate",
    "Grant",
    "Held",
    "LeaseState",
    "LimitLayer",
    "LimitNotFound",
    "LimitReached",
    "LimitsUnavailable",
    "Pocket",
    "Pockets",
    "PriceUnknown",
    "Refused",
    "Sync",
    "SyncReply",
    "TooManyLimits",
    "ToolLimits",
    "check_rule",
    "cost_units",
    "counted_as",
    "money_text",
    "period_of",
    "units",
]
