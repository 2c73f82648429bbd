"""Limits and budgets as the API shows them. Money is decimal text."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tetrad.kernel import InvalidInput
from tetrad.kernel.money import Money
from tetrad.limits._model import DEFAULT_THRESHOLDS, MAX_NAME_CHARS, money_text, units
from tetrad.limits._service import BudgetState
from tetrad.limits.ports import AlertRow, StoredRule
from tetrad.serving import LimitRule, LimitSubject

Rate = Literal["requests", "tokens", "concurrency"]
Span = Literal["day", "week", "month", "total"]


class LimitBody(BaseModel):
    """What one subject may use. `name` is its name or id; `*` means each on its own."""

    model_config = ConfigDict(extra="forbid")

    subject: LimitSubject
    name: str = Field(default="*", max_length=MAX_NAME_CHARS)
    measure: Rate
    amount: int = Field(ge=0, description="Calls or tokens a minute, or calls at once")
    hard: bool = Field(default=True, description="Refuse what is past it; otherwise it is only counted")

    def rule(self, project: str) -> LimitRule:
        """Return the rule that is meant."""
        return LimitRule(
            id="", project=project, subject=self.subject, name=self.name, measure=self.measure, amount=self.amount,
            hard=self.hard,
        )  # fmt: skip


class LimitView(LimitBody):
    """A limit of a project."""

    id: str
    created_at: datetime
    created_by: str
    changed_at: datetime

    @classmethod
    def of(cls, stored: StoredRule) -> LimitView:
        """Render a rule."""
        rule = stored.rule
        if rule.measure == "money":
            raise InvalidInput("a budget is no limit of a rate")
        return cls(
            id=rule.id, subject=rule.subject, name=rule.name, measure=rule.measure, amount=rule.amount, hard=rule.hard,
            created_at=stored.created_at, created_by=stored.created_by, changed_at=stored.changed_at,
        )  # fmt: skip


class BudgetBody(BaseModel):
    """What one subject may spend in a period, in UTC. `name` is its name or id; `*` means each on its own."""

    model_config = ConfigDict(extra="forbid")

    subject: LimitSubject
    name: str = Field(default="*", max_length=MAX_NAME_CHARS)
    amount: str = Field(max_length=40, description="Plain decimal, such as 12.50")
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    period: Span = "month"
    hard: bool = Field(default=True, description="Refuse what it does not cover; otherwise only alert")
    unknown: Literal["refuse", "count"] = Field(default="refuse", description="Calls whose price is not known")
    alert_at: list[int] = Field(default=list(DEFAULT_THRESHOLDS), max_length=10, description="Per cent of the amount")

    def rule(self, project: str) -> LimitRule:
        """Return the rule that is meant."""
        return LimitRule(
            id="", project=project, subject=self.subject, name=self.name, measure="money", period=self.period,
            amount=units(Money.parse(self.amount, self.currency)), currency=self.currency, hard=self.hard,
            unknown=self.unknown,
        )  # fmt: skip


class BurnView(BaseModel):
    """How much had been spent by the end of an hour."""

    hour: datetime
    spent: str


class BudgetView(BudgetBody):
    """A budget and how it stands for one subject in one period.

    `spent` is exact; `uncertain` is the estimated cost of calls that were cut off when a gateway died; `held` is what
    gateways may still spend without asking. `unknown_calls` counts calls whose price was not known.
    """

    id: str
    instance: str
    period_name: str
    starts_at: datetime | None
    ends_at: datetime | None
    spent: str
    uncertain: str
    held: str
    remaining: str
    used_percent: float
    unknown_calls: int
    series: list[BurnView]
    created_at: datetime
    created_by: str
    changed_at: datetime

    @classmethod
    def of(cls, state: BudgetState) -> BudgetView:
        """Render the state of a budget."""
        stored, rule = state.stored, state.stored.rule
        if rule.period == "minute":
            raise InvalidInput("a limit of a rate is no budget")
        used = state.spent + state.uncertain
        return cls(
            id=rule.id, subject=rule.subject, name=rule.name, amount=money_text(rule.amount), currency=rule.currency,
            period=rule.period, hard=rule.hard, unknown=rule.unknown, alert_at=list(stored.thresholds),
            instance=state.instance, period_name=state.period, starts_at=state.starts_at, ends_at=state.ends_at,
            spent=money_text(state.spent), uncertain=money_text(state.uncertain), held=money_text(state.held),
            remaining=money_text(max(0, rule.amount - used)),
            used_percent=round(used * 100 / rule.amount, 2) if rule.amount else 100.0, unknown_calls=state.unknown,
            series=[BurnView(hour=hour, spent=money_text(spent)) for hour, spent in state.series],
            created_at=stored.created_at, created_by=stored.created_by, changed_at=stored.changed_at,
        )  # fmt: skip


class AlertView(BaseModel):
    """A budget that went past a threshold."""

    budget: str
    subject: LimitSubject
    name: str
    instance: str
    period_name: str
    threshold: int
    at: datetime
    spent: str
    currency: str

    @classmethod
    def of(cls, alert: AlertRow, rule: LimitRule) -> AlertView:
        """Render an alert of a budget."""
        return cls(
            budget=alert.rule, subject=rule.subject, name=rule.name, instance=alert.instance,
            period_name=alert.period, threshold=alert.threshold, at=alert.at, spent=money_text(alert.spent),
            currency=rule.currency,
        )  # fmt: skip
