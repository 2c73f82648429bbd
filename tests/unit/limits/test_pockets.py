"""What a worker holds of limits, and what becomes of calls that wait for more of it."""

from __future__ import annotations

import pytest

from support.limits import LocalKeeper, NoJournal, rule
from tetrad.limits._pockets import Pocket, Pockets, Refused
from tetrad.serving import LimitRule


def opened(budget: LimitRule) -> tuple[Pockets, Pocket, LocalKeeper]:
    pockets, keeper = Pockets("slot", NoJournal()), LocalKeeper(budget)
    return pockets, pockets.of(budget, "key", 0.0), keeper


def sync(pockets: Pockets, keeper: LocalKeeper, now: float, *, meanwhile: object = None) -> None:
    message = pockets.message(now)
    assert message is not None
    if callable(meanwhile):
        meanwhile()
    pockets.accept(keeper.keeper.sync(message), now)


async def test_a_call_that_waits_while_another_costs_more_than_was_set_aside_is_asked_for_again_not_refused() -> None:
    pockets, pocket, keeper = opened(rule("money", 1))
    first = pockets.wait(pocket, 100)
    sync(pockets, keeper, 0.1)
    await first
    second = pockets.wait(pocket, 100)
    sync(pockets, keeper, 0.2, meanwhile=lambda: pockets.give_back(pocket, 100, 50_000, 0.2))
    assert not second.done()
    assert pockets.needy
    sync(pockets, keeper, 0.3)
    await second
    assert (pocket.spent, pocket.reserved) == (50_000, 100)


async def test_a_call_that_waits_is_refused_where_another_left_too_little() -> None:
    pockets, pocket, keeper = opened(rule("money", 0.000_001))  # a million of the smallest units
    first = pockets.wait(pocket, 100)
    sync(pockets, keeper, 0.1)
    await first
    second = pockets.wait(pocket, 100)
    sync(pockets, keeper, 0.2, meanwhile=lambda: pockets.give_back(pocket, 100, 999_950, 0.2))
    for turn in range(3):
        if not second.done():
            sync(pockets, keeper, 0.3 + turn)
    with pytest.raises(Refused):
        await second
    assert not pockets.needy
