"""Revocations, erasures, collections, bindings and change requests meet: none goes unseen by another."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.apps import YAML
from support.bindings import document, make_bindings
from support.changes import P, wire_changes
from support.collecting import wire_collector
from support.evidence import ADA, CAT
from support.staleness import wire_aging
from support.tetrads import wire
from support.weights import hub_folder, lora_folder
from tetrad.changes import PartPatch
from tetrad.kernel import Digest, TetradError, digest_bytes
from tetrad.kit.db import Database
from tetrad.models import ModelVersion, Origin
from tetrad.registry import ArtifactRevoked, Edge, GateRefused

LATER = timedelta(days=60)
SMOKE = {"schema": "tetrad.gate/1", "suites": [{"suite": "smoke"}]}
EN = {"q": "Hi?", "lang": "en"}
DE = {"q": "Na?", "lang": "de"}
FR = {"q": "Et?", "lang": "fr"}
MODEL = "  - {name: local/smollm2-135m}\n"


def imported(tetrads: Any, name: str, folder: Path, base: ModelVersion | None = None) -> ModelVersion:
    files = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        files[path.name] = digest_bytes(data)
        with path.open("rb") as stream:
            tetrads.models.receive_file(P, stream, files[path.name], actor=ADA)
    made: ModelVersion = tetrads.models.import_files(
        P, name, files, actor=ADA, kind="adapter" if base else "weights",
        origin=Origin(base.digest, "finetune") if base else None,
    )  # fmt: skip
    return made


# -- revocations and staleness --------------------------------------------------------------------------------------


def test_a_revoked_adapter_reaches_the_releases_that_pin_it_and_no_ref_moves_there(
    database: Database, tmp_path: Path
) -> None:
    aging = wire_aging(database)
    gated, registry = aging.gated, aging.tetrads.registry
    base = imported(aging.tetrads, "base", hub_folder(tmp_path / "m"))
    adapter = imported(aging.tetrads, "ada", lora_folder(tmp_path / "a"), base)
    pinned = YAML.replace(MODEL, "  - {name: base, adapters: [{name: ada}]}\n")
    release = Digest(aging.app(tmp_path / "app", tetrad_DOT_yaml=pinned))
    without = Digest(aging.app(tmp_path / "other", tetrad_DOT_yaml=YAML.replace(MODEL, "  - {name: base}\n")))
    gated.tested(release)
    gated.policies.set(P, "bot/production", SMOKE, actor=CAT)
    _, impact = gated.revocations.revoke(P, adapter.digest, actor=CAT, reason="trained on what it must not be")
    touched = {each.digest for each in impact.touched}
    assert release in touched
    assert without not in touched
    assert aging.look(digest=release).items[0].state == "BROKEN"
    assert aging.look(digest=without).items[0].state != "BROKEN"
    (check,) = gated.policies.check(P, "bot/production", release, actor=ADA)
    assert not check.passed
    with pytest.raises(GateRefused, match="trained on what it must not be"):
        registry.move_ref(P, "bot/production", release, expected=None, actor=ADA)
    with pytest.raises(ArtifactRevoked, match="trained on what it must not be"):
        registry.move_ref(P, "bot/canary", release, expected=None, actor=ADA)


@pytest.mark.parametrize("kind", ["model", "prompt", "dataset", "code"])
def test_a_revoked_part_breaks_its_release_for_staleness_and_for_refs(
    database: Database, tmp_path: Path, kind: str
) -> None:
    aging = wire_aging(database)
    aging.tetrads.add_model(tmp_path)
    release = Digest(aging.app(tmp_path / "app"))
    aging.gated.tested(release)
    assert aging.look(digest=release).items[0].state == "FRESH"
    parts = aging.tetrads.registry.parts(P, release)
    part = next(each for each, _ in parts if aging.tetrads.registry.artifact(P, each).kind == kind)
    aging.gated.revocations.revoke(P, part, actor=CAT, reason="bad")
    assert aging.look(digest=release).items[0].state == "BROKEN"
    with pytest.raises(ArtifactRevoked):
        aging.tetrads.registry.move_ref(P, "bot/production", release, expected=None, actor=ADA)
    aging.gated.revocations.reinstate(P, part, actor=CAT, reason="it was not")
    assert aging.look(digest=release).items[0].state == "FRESH"
    aging.tetrads.registry.move_ref(P, "bot/production", release, expected=None, actor=ADA)


@pytest.mark.parametrize("by", ["derive_again", "derive from another dataset"])
def test_what_was_made_again_identically_of_sound_rows_is_fresh_and_moves(database: Database, by: str) -> None:
    aging = wire_aging(database)
    bad = aging.rows("faq", EN, DE)
    made = aging.filtered("faq", "faq-en")
    aging.gated.revocations.revoke(P, bad, actor=CAT, reason="somebody's address is in it")
    registry, datasets = aging.tetrads.registry, aging.tetrads.datasets
    assert aging.look(digest=made).items[0].state == "BROKEN"
    with pytest.raises(ArtifactRevoked):
        registry.move_ref(P, "faq-en/used", made, expected=None, actor=ADA)
    if by == "derive_again":
        aging.rows("faq", EN, FR)
        again, new = datasets.derive_again(P, "faq-en", datasets.version(P, "faq"), actor=ADA)
        assert not new
    else:
        aging.rows("faq-clean", EN, FR)
        step = {"op": "filter", "where": {"path": "/lang", "eq": "en"}}
        for _ in range(2):
            again = datasets.derive(P, datasets.version(P, "faq-clean"), "faq-en", [step], actor=ADA)
        assert len(registry.makers(P, [made])) == 2
    assert again.digest == made
    assert aging.look(digest=made).items[0].state == "FRESH"
    assert registry.move_ref(P, "faq-en/used", made, expected=None, actor=ADA).digest == made


def test_the_same_bytes_that_came_in_from_outside_prove_nothing_of_their_origin(database: Database) -> None:
    aging = wire_aging(database)
    bad = aging.rows("faq", EN, DE)
    made = aging.filtered("faq", "faq-en")
    aging.gated.revocations.revoke(P, bad, actor=CAT, reason="somebody's address is in it")
    datasets = aging.tetrads.datasets
    assert aging.rows("faq", EN) == made
    datasets.derive_again(P, "faq-en", datasets.version(P, "faq"), actor=ADA)
    with pytest.raises(ArtifactRevoked):
        aging.tetrads.registry.move_ref(P, "faq-en/used", made, expected=None, actor=ADA)
    assert datasets.version(P, "faq-en").digest == made
    slot = aging.tetrads.registry.version(P, "dataset", "faq-en")
    assert slot.digest == made
    assert aging.look(digest=made).items[0].state == "BROKEN"


# -- collections ----------------------------------------------------------------------------------------------------


def test_bindings_that_are_in_force_or_can_be_gone_back_to_outlive_collections(database: Database) -> None:
    tetrads = wire(database)
    bindings = make_bindings(tetrads.registry)
    digests = []
    for provider in ("us", "eu"):
        ref = tetrads.registry.find_ref(P, "bindings/production")
        done = bindings.put(
            P, "production", document(provider), actor=ADA, expected=ref.digest if ref else None, create=ref is None
        )
        digests.append(done.bound.ref.digest)
    loose = tetrads.registry.put_document(P, "binding", document("us", max_concurrency=9), actor=ADA).digest
    collector = wire_collector(tetrads)
    tetrads.clock.advance(LATER)
    collector.collect_all(actor=CAT, run=True, versions_older_than=timedelta(days=30))
    assert tetrads.registry.artifact(P, loose).erased_at is not None
    for digest in digests:
        assert tetrads.registry.artifact(P, digest).erased_at is None
    holders = [each.why for each in collector.explain(P, digests[1]).holders]
    assert "ref bindings/production" in holders
    assert bindings.current(P, "production").kept is not None
    assert bindings.roll_back(P, "production", actor=ADA).new == digests[0]


def test_running_work_holds_what_it_names_with_all_that_is_in_it_until_it_ends(database: Database) -> None:
    tetrads = wire(database)
    part = tetrads.registry.put_document(P, "note", {"part": 1}, actor=ADA).digest
    source = tetrads.registry.put_document(P, "note", {"whole": 1}, actor=ADA, parts=[(part, "part")]).digest
    done = tetrads.registry.put_document(P, "note", {"done": 1}, actor=ADA).digest
    failed = tetrads.registry.put_document(P, "note", {"failed": 1}, actor=ADA).digest
    none = tetrads.registry.put_document(P, "note", {"none": 1}, actor=ADA).digest
    tetrads.registry.record(
        P, "train", [Edge(source, "in", "data", "rebuild"), Edge(none, "in", "", "none")], actor=ADA, state="running"
    )
    tetrads.registry.record(P, "train", [Edge(done, "in")], actor=ADA, state="done")
    tetrads.registry.record(P, "train", [Edge(failed, "in")], actor=ADA, state="failed")
    tetrads.clock.advance(LATER)
    wire_collector(tetrads).collect_all(actor=CAT, run=True)
    gone = [tetrads.registry.artifact(P, each).erased_at is not None for each in (part, source, none, done, failed)]
    assert gone == [False, False, False, True, True]


# -- change requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "ref"), [("bindings", "production"), ("bot", "bindings/production"), ("bindings/production", "bot")]
)
def test_a_change_request_for_a_binding_says_how_bindings_change(
    database: Database, tmp_path: Path, app: str, ref: str
) -> None:
    site = wire_changes(database, tmp_path)
    bindings = make_bindings(site.gated.tetrads.registry)
    bindings.put(P, "production", document("us"), actor=ADA, create=True)
    with pytest.raises(TetradError) as refused:
        site.changes.open(P, app, ref, title="Elsewhere", patch=[PartPatch("prompt.system", "x@1.0.0")], actor=ADA)
    assert refused.value.status in (404, 409, 422, 400)
    assert "tetrad binding" in refused.value.hint
    assert site.changes.find(P) == []
