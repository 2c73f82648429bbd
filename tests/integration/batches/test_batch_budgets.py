"""What a batch that its provider does holds and spends of budgets: each line once, whoever dies in between."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from integration.batches.test_batches import begun
from support.batching import NoJobs, OneKey, make_batches
from support.identity import ADMIN, make_identity
from support.limits import rule
from tetrad.batches import Batch, BatchError, BudgetPart, Carriage, LineAnswer
from tetrad.kernel import FixedClock, Unavailable
from tetrad.kit.db import Database
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._service import Limits
from tetrad.limits._store import SqlLimitStore
from tetrad.processes.control._batching import BudgetHolds
from tetrad.serving import LimitRule

P = "default"


class Dying(BudgetHolds):
    """Holds of a control that dies before (`before`) or after it told the budgets."""

    def __init__(self, keeper: LeaseKeeper) -> None:
        super().__init__(partial(keeper.sync, works=False))
        self.before = self.after = False

    def spend(self, batch: str, parts: Sequence[BudgetPart]) -> None:
        self._told(super().spend, batch, parts)

    def release(self, batch: str, parts: Sequence[BudgetPart]) -> None:
        self._told(super().release, batch, parts)

    def _told(self, tell: Any, batch: str, parts: Sequence[BudgetPart]) -> None:
        before, after, self.before, self.after = self.before, self.after, False, False
        if before:
            raise Unavailable("control dies")
        tell(batch, parts)
        if after:
            raise Unavailable("control dies")


class Site:
    def __init__(self, database: Database, folder: Path, keys: OneKey) -> None:
        self.clock = FixedClock()
        self.store = SqlLimitStore(database)
        self.keeper = LeaseKeeper(self.store, self.clock)
        self.limits = Limits(self.store, self.clock, changed=self.keeper.reload)
        self.holds = Dying(self.keeper)
        self.batches = make_batches(database, folder, NoJobs(), keys, clock=self.clock, holds=self.holds)

    def budget(self, amount: float, **more: Any) -> LimitRule:
        return self.limits.put(ADMIN, rule("money", amount, **more)).rule

    def handed_over(self, *holds: tuple[LimitRule, int], lines: int = 3) -> Batch:
        batch = begun(self.batches, lines)
        self.batches.validate(batch.id)
        work = self.batches.carry(batch.id, carriage(*holds))
        assert work.carriage.way == "native"
        self.batches.carry(batch.id, msgspec.structs.replace(work.carriage, batch="provider_1"))
        return batch

    def stands(self, budget: LimitRule) -> tuple[int, int, int]:
        (found,) = self.limits.budget(P, budget.id)
        with self.store.read() as rows:  # an account is there once something is spent
            return found.spent, rows.held(budget.id, "key_1", found.period), found.unknown


def carriage(*holds: tuple[LimitRule, int]) -> Carriage:
    return Carriage(way="native", provider="p", adapter="openai", holds=[(of.id, "key_1", each) for of, each in holds])


def answer(number: int, *spent: tuple[LimitRule, int], unknown: int = 0) -> LineAnswer:
    return LineAnswer(
        number, 200, body=msgspec.Raw(b"{}"), spent=[(of.id, "key_1", amount, unknown) for of, amount in spent]
    )


@pytest.fixture
def keys() -> OneKey:
    return OneKey()


@pytest.fixture
def site(database: Database, tmp_path: Path, keys: OneKey) -> Site:
    make_identity(database).projects.create(ADMIN, P, "Default")
    return Site(database, tmp_path, keys)


def test_what_is_held_is_spent_line_by_line_and_the_rest_given_back_at_the_end(site: Site) -> None:
    hard, soft = site.budget(1), site.budget(5, subject="project", hard=False)
    batch = site.handed_over((hard, 900))
    assert site.stands(hard) == (0, 900, 0)
    site.batches.answer(batch.id, [answer(0, (hard, 100), (soft, 100)), answer(1, (hard, 50), (soft, 50))])
    assert site.stands(hard) == (150, 750, 0)
    site.batches.answer(batch.id, [answer(2, (hard, 0), unknown=1)])
    assert site.stands(hard) == (150, 750, 1)
    site.batches.finish(batch.id)
    site.batches.finish(batch.id)
    assert (site.stands(hard), site.stands(soft)) == ((150, 0, 1), (150, 0, 0))


def test_a_line_that_is_settled_again_counts_once(site: Site) -> None:
    budget = site.budget(1)
    batch = site.handed_over((budget, 900))
    for spent in (100, 100, 120):  # the worker died before it heard that the answer was kept
        site.batches.answer(batch.id, [answer(0, (budget, spent))])
    site.batches.answer(batch.id, [answer(0, (budget, 100)), answer(1, (budget, 7))])
    assert site.stands(budget) == (107, 793, 0)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_control_that_dies_while_it_tells_the_budgets_tells_them_in_the_end(site: Site, moment: str) -> None:
    budget = site.budget(1)
    batch = site.handed_over((budget, 900))
    setattr(site.holds, moment, True)
    with pytest.raises(Unavailable):
        site.batches.answer(batch.id, [answer(0, (budget, 100))])
    site.batches.answer(batch.id, [answer(0, (budget, 100))])
    assert site.stands(budget)[0] == 100
    setattr(site.holds, moment, True)
    with pytest.raises(Unavailable):
        site.batches.answer(batch.id, [answer(1, (budget, 10))])
    setattr(site.holds, moment, True)
    with pytest.raises(Unavailable):
        site.batches.finish(batch.id, BatchError("worker_failed", "nobody is left"))
    site.batches.tend()
    assert site.stands(budget) == (110, 0, 0)
    site.batches.remove(P, batch.id)
    site.batches.tend()
    assert site.stands(budget) == (110, 0, 0)


def test_a_batch_that_no_budget_covers_is_calls_and_holds_nothing(site: Site) -> None:
    wide, narrow = site.budget(1), site.budget(0.0001, subject="project")
    batch = begun(site.batches)
    site.batches.validate(batch.id)
    work = site.batches.carry(batch.id, carriage((wide, 900), (narrow, 200_000_000)))
    assert (work.carriage.way, "budget" in work.carriage.why) == ("calls", True)
    assert (site.stands(wide)[1], site.stands(narrow)[1]) == (0, 0)


def test_a_batch_that_is_rendered_anew_holds_what_it_costs_now(site: Site) -> None:
    first, second = site.budget(0.000001), site.budget(1, subject="project")
    batch = begun(site.batches)
    site.batches.validate(batch.id)
    for holds in (((first, 900_000), (second, 5)), ((first, 950_000),), ((first, 10), (second, 7))):
        assert site.batches.carry(batch.id, carriage(*holds)).carriage.way == "native"
        held = dict(zip((first.id, second.id), (site.stands(first)[1], site.stands(second)[1]), strict=True))
        assert held == {first.id: 0, second.id: 0, **{of.id: amount for of, amount in holds}}
    noted = site.batches.carry(batch.id, Carriage(way="native", provider="p", adapter="openai", asked_s=1))
    assert (noted.carriage.asked_s, site.stands(first)[1]) == (1, 10)


def test_a_batch_that_its_provider_refuses_gives_back_what_it_held(site: Site) -> None:
    budget = site.budget(1)
    batch = site.handed_over((budget, 900))
    site.batches.carry(batch.id, Carriage(way="calls", why="refused"))
    assert site.stands(budget) == (0, 0, 0)


def test_batches_take_no_share_of_the_workers(site: Site) -> None:
    site.handed_over((site.budget(1), 900))
    site.handed_over((site.budget(1), 900))
    assert site.keeper.workers == 1


def test_a_batch_that_its_provider_has_can_be_watched_when_its_key_is_gone(site: Site, keys: OneKey) -> None:
    watched, other = site.handed_over(), begun(site.batches)
    keys.gone = True
    work = site.batches.work(watched.id)
    assert work.problem is not None
    assert (work.problem.code, work.secret) == ("batch_key_gone", keys.given)
    assert site.batches.work(other.id).secret == ""
