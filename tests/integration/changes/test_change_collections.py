"""What change requests rest on, beside collections, erasures and revocations: nothing goes unseen."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.changes import ONE_PERSON, P, Site, wire_changes
from support.collecting import wire_collector
from support.evidence import ADA, BEA, CAT
from tetrad.changes import ChangeRequest, PartPatch
from tetrad.kernel import Digest
from tetrad.kit.db import Database
from tetrad.processes.control._served import OpenChanges
from tetrad.registry import ArtifactErased, Collector, GateRefused

LATER = timedelta(days=60)
OLD = timedelta(days=30)
INCLUDING = PartPatch("prompt.system", content="# system\n\nBe kind. {{> rules@1.0.0}}\n")
OTHER = PartPatch("prompt.system", "other@1.0.0")


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return wire_changes(database, tmp_path)


@pytest.fixture
def collector(site: Site) -> Collector:
    return wire_collector(site.gated.tetrads, more_roots=[OpenChanges(site.changes)])


def commit(site: Site, name: str, text: str, kind: str = "chat") -> Digest:
    prompts = site.gated.tetrads.prompts
    head = "---\ntype: text\n---\n\n" if kind == "text" else "# system\n\n"
    return prompts.commit(P, prompts.read(name, f"{head}{text}\n"), actor=CAT).kept.version.digest


def two_old_versions(site: Site, name: str, kind: str = "chat") -> Digest:
    first = commit(site, name, "Be brief.", kind)
    commit(site, name, "Be very brief.", kind)
    return first


def gone(site: Site, digest: Digest) -> bool:
    return site.gated.tetrads.registry.artifact(P, digest).erased_at is not None


def collect(site: Site, collector: Collector) -> None:
    site.gated.tetrads.clock.advance(LATER)
    collector.collect_all(actor=CAT, run=True, versions_older_than=OLD)


@pytest.mark.parametrize("draft", [True, False], ids=["draft", "open"])
def test_a_collection_leaves_what_a_request_rests_on_until_it_ends(
    site: Site, collector: Collector, draft: bool
) -> None:
    rules = two_old_versions(site, "rules", "text")
    made = site.open(INCLUDING, draft=draft)
    site.move(sampling__temperature=0.7)
    collect(site, collector)
    assert not gone(site, rules)
    assert not gone(site, made.base)
    [candidate] = site.changes.candidates()
    assert site.changes.resolve(candidate).messages[0].text == "Be kind. Be brief."
    site.changes.close(P, 1, actor=ADA)
    collect(site, collector)
    assert gone(site, rules) is draft  # the version that was kept for an open one includes it


def test_a_draft_holds_the_version_that_it_names(site: Site, collector: Collector) -> None:
    other = two_old_versions(site, "other")
    draft = site.open(OTHER, draft=True)
    collect(site, collector)
    assert not gone(site, other)
    assert site.changes.propose(P, 1, actor=ADA).candidate == draft.candidate


@pytest.mark.parametrize("push", [True, False], ids=["pushed", "opened"])
def test_what_a_collection_takes_meanwhile_is_told_and_nothing_is_kept(
    site: Site, collector: Collector, monkeypatch: pytest.MonkeyPatch, push: bool
) -> None:
    other = two_old_versions(site, "other")
    if push:
        site.open(draft=True)
    wrapped = "update" if push else "add"
    real = getattr(site.store, wrapped)

    def late(*args: Any, **kwargs: Any) -> ChangeRequest | None:
        collect(site, collector)
        found: ChangeRequest | None = real(*args, **kwargs)
        return found

    monkeypatch.setattr(site.store, wrapped, late)

    def do() -> ChangeRequest:
        if push:
            return site.changes.push(P, 1, [OTHER], actor=ADA, expected_revision=1)
        return site.open(OTHER, draft=True)

    with pytest.raises(ArtifactErased):
        do()
    assert gone(site, other)
    assert [each.revision for each in site.store.unended(P)] == ([1] if push else [])


def test_a_draft_of_what_was_collected_once_is_made_again(site: Site, collector: Collector) -> None:
    made = site.open()
    site.changes.close(P, 1, actor=ADA)
    later = site.move(sampling__temperature=0.7)
    collect(site, collector)
    site.gated.tetrads.releases.move_ref(P, "bot", "production", site.first, expected=later, actor=CAT)
    assert gone(site, made.candidate)
    draft = site.open(draft=True)
    assert draft.candidate == made.candidate
    site.changes.propose(P, 2, actor=ADA)
    assert not gone(site, made.candidate)


def test_a_revoked_part_is_told_by_the_checks_and_stops_the_merge(site: Site) -> None:
    site.gated.policies.set(P, "bot/production", ONE_PERSON, actor=CAT)
    other = two_old_versions(site, "other")
    made = site.open(OTHER)
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    assert site.changes.checks(P, 1, actor=CAT).mergeable
    site.gated.revocations.revoke(P, other, actor=CAT, reason="it leaks names")
    checks = site.changes.checks(P, 1, actor=CAT)
    assert not checks.mergeable
    assert any("it leaks names" in each.reason for each in checks.requirements if each.kind == "revoked")
    with pytest.raises(GateRefused, match="it leaks names"):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    assert site.production() == site.first


def test_without_any_gate_a_revoked_part_stops_the_merge_too(site: Site) -> None:
    other = two_old_versions(site, "other")
    made = site.open(OTHER)
    site.gated.revocations.revoke(P, other, actor=CAT, reason="it leaks names")
    checks = site.changes.checks(P, 1, actor=CAT)
    assert not checks.mergeable
    with pytest.raises(Exception, match="it leaks names"):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    assert site.production() == site.first
