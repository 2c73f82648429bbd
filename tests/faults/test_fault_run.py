"""Requests and faults by the thousand through one gateway: every answer is right, and all books agree to the cent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.fault_plan import FAULTS, plan
from support.fault_run import check, fault_run


def test_the_same_seed_plans_the_same_run_and_every_fault_has_its_share() -> None:
    plans = [plan(7, number) for number in range(100_000)]
    assert plans == [plan(7, number) for number in range(100_000)]
    assert plans != [plan(8, number) for number in range(100_000)]
    counts = {fault: sum(each.fault == fault for each in plans) for fault in FAULTS}
    assert all(each >= 200 for each in counts.values()), counts
    assert {each.stream for each in plans} == {each.dialect == "openai" for each in plans} == {True, False}


@pytest.mark.timeout(300)
def test_a_short_run_of_requests_and_faults_keeps_every_promise(tmp_path: Path) -> None:
    books = fault_run(tmp_path, count=16_000, seed=1)
    check(books)
    assert all(books.faults[fault] >= 30 for fault in FAULTS), books.faults


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_a_million_requests_with_thousands_of_every_fault_keep_every_promise(tmp_path: Path) -> None:
    books = fault_run(tmp_path, count=1_000_000, seed=1)
    print(json.dumps(books.summary(), indent=1))
    check(books)
    assert all(books.faults[fault] >= 1_000 for fault in FAULTS), books.faults
    assert books.end_mb <= books.warm_mb * 1.05, books.memory
