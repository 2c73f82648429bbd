"""Leases and accounts in both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from support.identity import ADMIN, make_identity
from support.limits import rule
from tetrad.kernel import FixedClock
from tetrad.kit.db import Database
from tetrad.limits import LAST_SEQ, LeaseState, LimitNotFound, Sync, TooManyLimits
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._model import UNIT, money_text
from tetrad.limits._service import Limits
from tetrad.limits._store import SqlLimitStore

WHEN = datetime(2026, 5, 31, 22, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(WHEN)


@pytest.fixture
def store(database: Database) -> SqlLimitStore:
    make_identity(database).projects.create(ADMIN, "default", "Default")
    return SqlLimitStore(database)


class Site:
    def __init__(self, store: SqlLimitStore, clock: FixedClock, max_rules: int = 1000) -> None:
        self.store, self.clock = store, clock
        self.keeper = LeaseKeeper(store, clock)
        self.limits = Limits(store, clock, changed=self.keeper.reload, max_rules=max_rules)


def test_a_lease_is_granted_spent_and_given_back_to_the_last_digit(store: SqlLimitStore, clock: FixedClock) -> None:
    site = Site(store, clock)
    budget = site.limits.put(ADMIN, rule("money", 10), (50, 100)).rule
    state = LeaseState(1, budget.id, "key_a", want=4 * UNIT, need=4 * UNIT, least=4 * UNIT)
    grant = site.keeper.sync(Sync("slot", 1, (state,))).grants[0]
    assert (grant.granted, grant.remaining) == (4 * UNIT, 6 * UNIT)
    assert grant.ends_s == 2 * 3600
    spent = LeaseState(1, budget.id, "key_a", want=4 * UNIT, spent=3 * UNIT + 1, final=True)
    site.keeper.sync(Sync("slot", 2, (spent,)))
    site.keeper.sync(Sync("slot", 2, (spent,)))
    site.keeper.sync(Sync("slot", 3, (spent,)))
    found = site.limits.budgets("default")[0]
    assert (money_text(found.spent), found.held, found.uncertain) == ("3.000000000001", 0, 0)
    assert found.ends_at == datetime(2026, 6, 1, tzinfo=UTC)


def test_spending_outlives_control_and_a_dead_workers_calls_are_uncertain(
    store: SqlLimitStore, clock: FixedClock
) -> None:
    site = Site(store, clock)
    budget = site.limits.put(ADMIN, rule("money", 10)).rule
    site.keeper.sync(Sync("dead", 1, (LeaseState(1, budget.id, "a", want=9 * UNIT, need=9 * UNIT, spent=0),)))
    after = Site(store, clock)
    refused = LeaseState(1, budget.id, "a", want=2 * UNIT, need=2 * UNIT, least=2 * UNIT)
    assert after.keeper.sync(Sync("other", 1, (refused,))).grants[0].granted == 0
    last = LeaseState(1, budget.id, "a", spent=3 * UNIT, reserved=1 * UNIT, final=True)
    for _ in range(2):
        after.keeper.sync(Sync("dead", LAST_SEQ, (last,), ends=True))
    state = after.limits.budgets("default")[0]
    assert (state.spent, state.uncertain, state.held) == (3 * UNIT, UNIT, 0)
    assert after.keeper.sync(Sync("other", 2, (refused,))).grants[0].granted == 2 * UNIT


def test_a_period_that_ends_ends_its_leases_and_begins_a_new_account(store: SqlLimitStore, clock: FixedClock) -> None:
    site = Site(store, clock)
    budget = site.limits.put(ADMIN, rule("money", 10)).rule
    first = LeaseState(1, budget.id, "a", want=9 * UNIT, need=9 * UNIT)
    assert site.keeper.sync(Sync("slot", 1, (first,))).grants[0].granted == 9 * UNIT
    clock.advance(timedelta(hours=3))
    old = LeaseState(1, budget.id, "a", want=10 * UNIT, need=UNIT, spent=8 * UNIT)
    grant = site.keeper.sync(Sync("slot", 2, (old,))).grants[0]
    assert (grant.granted, grant.ends_s) == (8 * UNIT, 0.001)
    new = LeaseState(2, budget.id, "a", want=7 * UNIT, need=7 * UNIT)
    site.keeper.sync(Sync("slot", 3, (LeaseState(1, budget.id, "a", spent=8 * UNIT, final=True), new)))
    states = site.limits.budget("default", budget.id)
    assert [(each.period, each.spent) for each in states] == [("2026-05", 8 * UNIT)]
    site.keeper.sync(Sync("slot", 4, (LeaseState(2, budget.id, "a", want=7 * UNIT, spent=UNIT),)))
    states = site.limits.budget("default", budget.id)
    assert [(each.period, each.spent, each.held) for each in states] == [
        ("2026-06", UNIT, 6 * UNIT), ("2026-05", 8 * UNIT, 0),
    ]  # fmt: skip
    assert states[0].series == ((datetime(2026, 6, 1, 1, tzinfo=UTC), UNIT),)


def test_a_budget_alerts_once_at_each_threshold_of_a_period(store: SqlLimitStore, clock: FixedClock) -> None:
    site = Site(store, clock)
    budget = site.limits.put(ADMIN, rule("money", 10, hard=False), (50, 80, 100)).rule
    for seq, spent in enumerate((4, 5, 6, 9, 12, 13), 1):
        site.keeper.sync(Sync("slot", seq, (LeaseState(1, budget.id, "a", want=0, spent=spent * UNIT),)))
    found = site.limits.alerts("default")
    assert sorted((each.threshold, each.spent) for each in found) == [
        (50, 5 * UNIT), (80, 9 * UNIT), (100, 12 * UNIT),
    ]  # fmt: skip


def test_a_budget_keeps_a_bounded_number_of_accounts(store: SqlLimitStore, clock: FixedClock) -> None:
    site = Site(store, clock)
    budget = site.limits.put(ADMIN, rule("money", 10, subject="user")).rule
    keeper = LeaseKeeper(store, clock, most_accounts=2)
    for number, user in enumerate(("ada", "bob", "cat"), 1):
        state = LeaseState(number, budget.id, user, want=UNIT, need=UNIT, least=UNIT)
        granted = keeper.sync(Sync("slot", 2 * number, (state,))).grants[0].granted
        assert granted == (0 if user == "cat" else UNIT)
        keeper.sync(Sync("slot", 2 * number + 1, (LeaseState(number, budget.id, user, want=UNIT, spent=granted),)))


def test_calls_at_once_of_a_worker_that_fell_silent_come_free(store: SqlLimitStore, clock: FixedClock) -> None:
    site = Site(store, clock)
    limit = site.limits.put(ADMIN, rule("concurrency", 2)).rule
    state = LeaseState(1, limit.id, "a", want=2, need=2, least=1)
    assert site.keeper.sync(Sync("gone", 1, (state,))).grants[0].granted == 2
    assert site.keeper.sync(Sync("other", 1, (state,))).grants[0].granted == 0
    clock.advance(61)
    assert site.keeper.sync(Sync("other", 2, (state,))).grants[0].granted == 2


def test_a_rule_is_set_changed_removed_and_bounded_in_number(store: SqlLimitStore, clock: FixedClock) -> None:
    site = Site(store, clock, max_rules=2)
    first = site.limits.put(ADMIN, rule("requests", 10))
    assert site.limits.put(ADMIN, rule("requests", 10)) == first
    assert site.limits.put(ADMIN, rule("requests", 20)).rule.amount == 20
    site.limits.put(ADMIN, rule("money", 5))
    with pytest.raises(TooManyLimits):
        site.limits.put(ADMIN, rule("tokens", 5))
    grant = site.keeper.sync(Sync("slot", 1, (LeaseState(1, first.rule.id, "a", want=20, need=20),))).grants[0]
    assert grant.granted == 20
    site.limits.drop(ADMIN, "default", first.rule.id)
    with pytest.raises(LimitNotFound):
        site.limits.get("default", first.rule.id)
    with pytest.raises(LimitNotFound):
        site.limits.drop(ADMIN, "elsewhere", site.limits.rules("default", money=True)[0].rule.id)
    assert site.keeper.sync(Sync("slot", 2, (LeaseState(1, first.rule.id, "a", spent=1),))).grants[0].gone


def test_old_periods_are_forgotten_and_budgets_in_all_are_not(store: SqlLimitStore, clock: FixedClock) -> None:
    site = Site(store, clock)
    for period in ("day", "total"):
        made = site.limits.put(ADMIN, rule("money", 5, period=period)).rule
        site.keeper.sync(Sync(period, 1, (LeaseState(1, made.id, "a", spent=UNIT, final=True),), ends=True))
    clock.advance(timedelta(days=401))
    assert site.limits.forget(400) == 1
    assert sorted((each.period, each.spent) for each in site.limits.budgets("default")) == [
        ("2027-07-06", 0), ("total", UNIT),
    ]  # fmt: skip
