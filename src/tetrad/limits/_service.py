"""Limits and budgets as people set and see them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from tetrad.kernel import Clock, Principal
from tetrad.limits._model import check_rule, check_thresholds, period_of, period_start
from tetrad.limits.errors import LimitNotFound, TooManyLimits
from tetrad.limits.ports import AlertRow, BucketRow, LimitStore, StoredRule
from tetrad.serving import LimitRule

MAX_SHOWN_ALERTS = 200


class Auditor(Protocol):
    """The audit log; `tetrad.identity.Audit.record` fulfils it."""

    def __call__(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append an event; raises where it cannot."""
        ...


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, and how it stands in one period for one subject.

    `held` is what gateways may spend without asking again. `series` says how much was spent by the end of each hour.
    """

    stored: StoredRule
    instance: str
    period: str
    starts_at: datetime | None
    ends_at: datetime | None
    spent: int = 0
    uncertain: int = 0
    held: int = 0
    unknown: int = 0
    series: tuple[tuple[datetime, int], ...] = ()


def rule_id(rule: LimitRule) -> str:
    """Return the id of a rule: by whom it limits, and of what; setting it again changes it."""
    named = f"{rule.project}\n{rule.subject}\n{rule.name}\n{rule.measure}\n{rule.period}"
    return "lim_" + hashlib.sha256(named.encode()).hexdigest()[:24]


class Limits:
    """Limits and budgets of projects. `changed` hears of every change after it is stored."""

    def __init__(
        self,
        store: LimitStore,
        clock: Clock,
        *,
        max_rules: int = 1000,
        audit: Auditor | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._max_rules = max_rules
        self._audit = audit
        self._changed = changed

    def put(self, actor: Principal, rule: LimitRule, thresholds: tuple[int, ...] = ()) -> StoredRule:
        """Set a limit or a budget, or change it. What was spent of it stays spent. The same again changes nothing."""
        check_rule(rule)
        percentages = check_thresholds(thresholds if rule.measure == "money" else ())
        rule = msgspec.structs.replace(rule, id=rule_id(rule))
        now = self._clock.now()
        with self._store.write() as rows:
            known = {each.rule.id: each for each in rows.rules(rule.project)}
            before = known.get(rule.id)
            if before is not None and (before.rule, before.thresholds) == (rule, percentages):
                return before
            if before is None and len(known) >= self._max_rules:
                raise TooManyLimits(
                    f"the project {rule.project!r} has {len(known)} limits and budgets already",
                    hint="remove some, let one rule concern each subject (*), or raise TETRAD_LIMITS_PER_PROJECT",
                )
            if before is not None and before.rule.currency != rule.currency:
                rows.drop_rule(rule.id)  # what was spent in another currency says nothing about this one
            stored = StoredRule(
                rule=rule,
                thresholds=percentages,
                created_at=before.created_at if before else now,
                created_by=before.created_by if before else actor.id,
                changed_at=now,
            )
            rows.put_rule(stored)
        if self._audit is not None:
            self._audit(
                actor, "limit.set", rule.id, rule.project, subject=rule.subject, name=rule.name, measure=rule.measure,
                period=rule.period, amount=str(rule.amount), hard=rule.hard,
            )  # fmt: skip
        self._changed()
        return stored

    def get(self, project: str, rule: str) -> StoredRule:
        """Return a limit or a budget of a project."""
        with self._store.read() as rows:
            for stored in rows.rules(project):
                if stored.rule.id == rule:
                    return stored
        raise LimitNotFound(
            f"the project {project!r} has no limit or budget {rule[:80]!r}",
            hint="`tetrad limit list` and `tetrad budget list` show them",
        )

    def drop(self, actor: Principal, project: str, rule: str) -> None:
        """Remove a limit or a budget, with its account."""
        stored = self.get(project, rule)
        with self._store.write() as rows:
            rows.drop_rule(rule)
        if self._audit is not None:
            self._audit(
                actor, "limit.removed", rule, project, subject=stored.rule.subject, name=stored.rule.name,
                measure=stored.rule.measure,
            )  # fmt: skip
        self._changed()

    def rules(self, project: str, *, money: bool) -> list[StoredRule]:
        """List the budgets of a project, or all its other limits."""
        with self._store.read() as rows:
            return [each for each in rows.rules(project) if (each.rule.measure == "money") == money]

    def every_rule(self) -> tuple[LimitRule, ...]:
        """Return the rules of all projects, as route tables carry them."""
        with self._store.read() as rows:
            return tuple(each.rule for each in rows.rules(None))

    def budgets(self, project: str) -> list[BudgetState]:
        """Return how every budget stands in its present period, one by one for each subject that used it."""
        now, found = self._clock.now(), []
        with self._store.read() as rows:
            stored = [each for each in rows.rules(project) if each.rule.measure == "money"]
            accounts = rows.accounts([each.rule.id for each in stored])
            for each in stored:
                period, _ = period_of(each.rule.period, now)
                mine = [row for row in accounts if row.rule == each.rule.id and row.period == period]
                if not mine:
                    found.append(self._state(each, "" if each.rule.name == "*" else each.rule.name, period, now))
                for row in mine:
                    held = rows.held(row.rule, row.instance, row.period)
                    found.append(self._state(each, row.instance, period, now, row, held))
        return found

    def budget(self, project: str, rule: str) -> list[BudgetState]:
        """Return how a budget stands and stood, the newest period first, with its course."""
        stored, now = self.get(project, rule), self._clock.now()
        if stored.rule.measure != "money":
            raise LimitNotFound(f"{rule[:80]!r} is no budget but a limit", hint="`tetrad limit list` shows limits")
        with self._store.read() as rows:
            found = [
                self._state(
                    stored, row.instance, row.period, now, row, rows.held(row.rule, row.instance, row.period),
                    tuple(rows.series(row.rule, row.instance, row.period)),
                )
                for row in rows.accounts([rule])
            ]  # fmt: skip
        if not found:
            period, _ = period_of(stored.rule.period, now)
            found.append(self._state(stored, "" if stored.rule.name == "*" else stored.rule.name, period, now))
        return found

    def alerts(self, project: str, limit: int = MAX_SHOWN_ALERTS) -> list[AlertRow]:
        """Return the newest alerts of a project's budgets."""
        with self._store.read() as rows:
            return rows.alerts([each.rule.id for each in rows.rules(project)], limit)

    def forget(self, keep_days: int) -> int:
        """Remove the accounts of periods that ended more than so many days ago; return how many."""
        with self._store.write() as rows:
            return rows.forget(self._clock.now() - timedelta(days=keep_days))

    def _state(
        self,
        stored: StoredRule,
        instance: str,
        period: str,
        now: datetime,
        row: BucketRow | None = None,
        held: int = 0,
        series: tuple[tuple[datetime, int], ...] = (),
    ) -> BudgetState:
        current, end = period_of(stored.rule.period, now)
        starts, ends = (period_start(stored.rule.period, end), end) if period == current else (None, None)
        if row is None:
            return BudgetState(stored=stored, instance=instance, period=period, starts_at=starts, ends_at=ends)
        account = row.account
        return BudgetState(
            stored=stored, instance=instance, period=period, starts_at=starts, ends_at=ends, spent=account.spent,
            uncertain=account.uncertain, held=held, unknown=account.unknown, series=series,
        )  # fmt: skip
