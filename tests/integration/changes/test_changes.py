"""Change requests, from a patch to a merge and back, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.changes import CALMER, TWO_PEOPLE, P, Site, wire_changes
from support.evidence import ADA, BEA, CAT
from tetrad.kit.db import Database


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return wire_changes(database, tmp_path)


def test_a_change_is_reviewed_tested_merged_and_rolled_back(site: Site) -> None:
    site.gated.policies.set(P, "bot/production", TWO_PEOPLE, actor=CAT)
    made = site.open()
    assert (made.number, made.state, made.base) == (1, "open", site.first)
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    done = site.changes.review(P, 1, "approve", actor=CAT, revision=1)
    assert done.state == "approved"
    assert not site.changes.checks(P, 1, actor=CAT).mergeable
    site.gated.tested(made.candidate)
    assert site.changes.checks(P, 1, actor=CAT).mergeable
    merged = site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    assert merged.state == "merged"
    assert site.production() == made.candidate
    assert site.gated.tetrads.registry.ref_log(P, "bot/production")[0].change_request == "#1"
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate) == merged
    assert [each.kind for each in site.changes.events(P, 1)] == ["merged", "approved", "approved", "opened"]
    assert CALMER
