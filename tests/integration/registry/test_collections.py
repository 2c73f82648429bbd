"""Collections and erasures on both databases: what stays, what goes, and what meets them half-way."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.apps import write_app
from support.collecting import Holding, wire_collector
from support.tetrads import ALICE, SYSTEM, Tetrads, wire
from tetrad.kernel import Digest, InvalidInput
from tetrad.kit.db import Database
from tetrad.registry import (
    ArtifactErased,
    ArtifactNotFound,
    ArtifactServed,
    CollectLimits,
    Collector,
    Edge,
    Live,
    TooManyToCollect,
)

OLD = timedelta(days=40)


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database)


@pytest.fixture
def holding() -> Holding:
    return Holding()


@pytest.fixture
def collector(tetrads: Tetrads, holding: Holding) -> Collector:
    return wire_collector(tetrads, holding)


def put(tetrads: Tetrads, text: str, *parts: Digest, kind: str = "note", project: str = "default") -> Digest:
    named = [(part, "part") for part in parts]
    return tetrads.registry.put_document(project, kind, {"text": text}, actor=ALICE, parts=named).digest


def gone(tetrads: Tetrads, digest: str, project: str = "default") -> bool:
    return tetrads.registry.artifact(project, digest).erased_at is not None


def test_what_nothing_holds_goes_and_leaves_a_tombstone(tetrads: Tetrads, collector: Collector) -> None:
    part, lonely = put(tetrads, "part"), put(tetrads, "lonely")
    held = put(tetrads, "held", part)
    tetrads.registry.move_ref("default", "bot/production", held, expected=None, actor=ALICE)
    tetrads.registry.record("default", "make", [Edge(lonely, "in"), Edge(held, "out")], actor=ALICE)
    tetrads.clock.advance(OLD)
    looked = collector.collect_all(actor=SYSTEM)
    assert not looked.ran
    assert looked.projects[0].digests == (lonely,)
    assert (looked.blobs.count, looked.blobs.bytes) == (1, len(tetrads.blobs.held[lonely]))
    assert not gone(tetrads, lonely)
    done = collector.collect_all(actor=SYSTEM, run=True)
    assert done.projects[0].gone["note"].count == 1
    assert done.projects[0].kept == {"ref": 2}
    assert done.blobs == looked.blobs
    assert gone(tetrads, lonely)
    assert lonely not in tetrads.blobs.held
    assert not gone(tetrads, part)
    assert tetrads.registry.document("default", held) == {"text": "held"}
    with pytest.raises(ArtifactErased, match="nothing needed it") as refused:
        tetrads.registry.read("default", lonely)
    assert refused.value.status == 410
    (activity,) = tetrads.registry.lineage("default", held).activities
    assert lonely in {edge.digest for edge in activity.edges}
    again = collector.collect_all(actor=SYSTEM, run=True)
    assert again.projects[0].total.count == again.blobs.count == 0


def test_what_was_made_lately_stays(tetrads: Tetrads, collector: Collector) -> None:
    one = put(tetrads, "one")
    tetrads.clock.advance(timedelta(hours=23))
    assert collector.collect_all(actor=SYSTEM, run=True).projects[0].kept == {"kept lately": 1}
    put(tetrads, "one")  # kept again: counts as made now
    tetrads.clock.advance(timedelta(hours=23))
    collector.collect_all(actor=SYSTEM, run=True)
    assert tetrads.registry.document("default", one) == {"text": "one"}
    tetrads.clock.advance(timedelta(hours=2))
    collector.collect_all(actor=SYSTEM, run=True)
    assert gone(tetrads, one)


def test_what_was_collected_comes_back_when_it_is_kept_again(tetrads: Tetrads, collector: Collector) -> None:
    part = put(tetrads, "part")
    one = put(tetrads, "one", part)
    tetrads.clock.advance(OLD)
    collector.collect_all(actor=SYSTEM, run=True)
    assert gone(tetrads, one)
    with pytest.raises(ArtifactErased):
        put(tetrads, "one", part)
    put(tetrads, "part")
    assert put(tetrads, "one", part) == one
    assert tetrads.registry.document("default", one) == {"text": "one"}
    assert tetrads.registry.parts("default", one) == [(part, "part")]


def test_the_last_moves_of_a_ref_stay_so_that_it_can_go_back(tetrads: Tetrads) -> None:
    collector = wire_collector(tetrads, limits=CollectLimits(kept_moves=2))
    made = [put(tetrads, f"release {number}") for number in range(5)]
    for digest in made:
        tetrads.registry.move_ref("default", "bot/production", digest, expected=None, actor=ALICE)
    dropped = put(tetrads, "of a ref that was deleted")
    tetrads.registry.move_ref("default", "bot/old", dropped, expected=None, actor=ALICE)
    tetrads.registry.delete_ref("default", "bot/old", expected=dropped, actor=ALICE)
    tetrads.clock.advance(OLD)
    collector.collect("default", actor=SYSTEM, run=True)
    assert [gone(tetrads, digest) for digest in made] == [True, True, False, False, False]
    assert gone(tetrads, dropped)
    assert tetrads.registry.move_ref("default", "bot/production", made[2], expected=None, actor=ALICE).digest == made[2]
    with pytest.raises(ArtifactErased):
        tetrads.registry.move_ref("default", "bot/production", made[0], expected=None, actor=ALICE)


def test_versions_stay_unless_old_ones_that_nothing_needs_may_go(tetrads: Tetrads, collector: Collector) -> None:
    made = []
    for number in range(3):
        made.append(put(tetrads, f"version {number}"))
        tetrads.registry.add_version("default", "note", "n", made[-1], actor=ALICE)
    release = put(tetrads, "release", made[0], kind="release")
    tetrads.registry.move_ref("default", "bot/production", release, expected=None, actor=ALICE)
    tetrads.clock.advance(OLD)
    collector.collect("default", actor=SYSTEM, run=True)
    assert not any(gone(tetrads, digest) for digest in made)
    with pytest.raises(InvalidInput):
        collector.collect("default", actor=SYSTEM, versions_older_than=timedelta(days=-1))
    done = collector.collect("default", actor=SYSTEM, run=True, versions_older_than=timedelta(days=30))
    assert done.versions == 1
    assert [gone(tetrads, digest) for digest in made] == [False, True, False]  # in a release; free; the newest
    assert [each.semver for each in tetrads.registry.versions("default", "note", "n")] == ["1.2.0", "1.0.0"]
    put(tetrads, "version 1")
    assert tetrads.registry.add_version("default", "note", "n", made[1], actor=ALICE).semver == "1.3.0"


def test_gates_running_work_deployments_and_upper_slices_hold(
    tetrads: Tetrads, collector: Collector, holding: Holding
) -> None:
    policy, running, deployed, proposed = (put(tetrads, text) for text in ("policy", "running", "deployed", "proposed"))
    source = put(tetrads, "source of what is deployed")
    tetrads.registry.govern("default", "*/production", "evidence", actor=ALICE, policy=policy)
    tetrads.registry.record("default", "train", [Edge(running, "in")], actor=ALICE, state="running")
    tetrads.registry.record("default", "train", [Edge(source, "in", "", "rebuild"), Edge(deployed, "out")], actor=ALICE)
    holding.deployed.append(Live("bot", "production", deployed))
    holding.held.append(proposed)
    tetrads.clock.advance(OLD)
    done = collector.collect_all(actor=SYSTEM, run=True)
    assert done.projects[0].gone == {}
    assert done.projects[0].kept == {"change request": 1, "deployment": 2, "gate": 1, "running": 1}
    assert [holder.why for holder in collector.explain("default", source).holders] == ["deployment of bot"]
    assert collector.explain("default", source).holders[0].path == (deployed, source)
    holding.deployed.clear()
    holding.held.clear()
    collector.collect_all(actor=SYSTEM, run=True)
    assert [gone(tetrads, digest) for digest in (policy, running, deployed, proposed)] == [False, False, True, True]
    explained = collector.explain("default", deployed)
    assert (explained.kept, explained.holders, explained.erased_because) == (False, (), "nothing needed it")
    with pytest.raises(ArtifactNotFound):
        collector.explain("other", deployed)


def test_bytes_that_another_project_has_stay(tetrads: Tetrads, collector: Collector, holding: Holding) -> None:
    mine, theirs = put(tetrads, "shared"), put(tetrads, "shared", project="other")
    assert mine == theirs
    bundled = tetrads.registry.put_part(b"a model that comes with the product")
    orphan = tetrads.registry.put_part(b"put by an upload that was given up")
    holding.kept.append(bundled)
    tetrads.registry.move_ref("other", "bot/production", theirs, expected=None, actor=ALICE)
    tetrads.clock.advance(OLD)
    done = collector.collect_all(actor=SYSTEM, run=True)
    assert [each.total.count for each in done.projects] == [1, 0]
    assert done.blobs.count == 1
    assert set(tetrads.blobs.held) == {mine, bundled}
    assert orphan not in tetrads.blobs.held
    assert tetrads.registry.document("other", theirs) == {"text": "shared"}
    with pytest.raises(ArtifactErased):
        tetrads.registry.read("default", mine)


def test_a_kill_between_rows_and_bytes_is_made_good_by_the_next_run(tetrads: Tetrads, collector: Collector) -> None:
    lonely = put(tetrads, "lonely")
    tetrads.clock.advance(OLD)
    collector.collect("default", actor=SYSTEM, run=True)  # as if killed here: the tombstone is there, the bytes too
    assert lonely in tetrads.blobs.held
    with pytest.raises(ArtifactErased):
        tetrads.registry.read("default", lonely)
    assert collector.collect_all(actor=SYSTEM, run=True).blobs.count == 1
    assert lonely not in tetrads.blobs.held


def test_more_than_can_be_gone_through_is_refused_and_nothing_goes(tetrads: Tetrads) -> None:
    parts = [put(tetrads, f"part {number}") for number in range(5)]
    whole = put(tetrads, "whole", *parts)
    lonely = put(tetrads, "lonely")
    tetrads.registry.move_ref("default", "bot/production", whole, expected=None, actor=ALICE)
    tetrads.clock.advance(OLD)
    with pytest.raises(TooManyToCollect):
        wire_collector(tetrads, limits=CollectLimits(max_reached=3)).collect("default", actor=SYSTEM, run=True)
    assert not any(gone(tetrads, digest) for digest in [*parts, whole, lonely])


def test_rows_of_dataset_versions_go_with_them(tetrads: Tetrads, collector: Collector) -> None:
    line = '{"id": "%s", "text": "%s"}\n'
    first = (line % ("a", "one") + line % ("b", "two")).encode()
    second = (line % ("a", "one") + line % ("b", "three")).encode()
    third = (line % ("a", "four") + line % ("b", "three")).encode()
    made = [
        tetrads.datasets.import_jsonl("default", "d", data, actor=ALICE, key="id") for data in (first, second, third)
    ]
    tetrads.clock.advance(OLD)
    done = collector.collect("default", actor=SYSTEM, run=True, versions_older_than=timedelta(days=1))
    assert done.versions == 2
    assert done.gone["dataset"].count == 2
    assert done.rows == 2
    kept = tetrads.datasets.version("default", "d")
    assert [row.value["text"] for row in tetrads.datasets.all_rows(kept)] == ["four", "three"]
    assert tetrads.datasets.verify(kept)
    with pytest.raises(ArtifactErased):
        tetrads.datasets.by_digest("default", made[0].digest)
    back = tetrads.datasets.import_jsonl("default", "d", first, actor=ALICE, key="id")
    assert back.digest == made[0].digest
    assert [row.value["text"] for row in tetrads.datasets.all_rows(back)] == ["one", "two"]
    assert tetrads.datasets.verify(back)


def test_a_whole_app_survives(tetrads: Tetrads, collector: Collector, tmp_path: Path) -> None:
    tetrads.add_model(tmp_path)
    folder = write_app(tmp_path / "app")
    digest = tetrads.releases.ensure_app("default", folder, actor=ALICE).release.digest
    tetrads.clock.advance(OLD)
    old = timedelta(days=1)
    assert collector.collect_all(actor=SYSTEM, run=True, versions_older_than=old).projects[0].gone == {}
    tetrads.releases.forget_resolved("default")
    parts = tetrads.releases.parts("default", digest)
    assert tetrads.code.read_file("default", parts.code.digest, "bot.py") == b"print('hello')\n"
    for _, version in parts.models:
        assert tetrads.registry.read("default", version.record.digest) == b"weights"


def test_an_app_composed_again_after_its_collection_is_whole(
    tetrads: Tetrads, collector: Collector, tmp_path: Path
) -> None:
    tetrads.add_model(tmp_path)
    folder = write_app(tmp_path / "app")
    first = tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    (folder / "bot.py").write_text("print('changed')\n", "utf-8")
    tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    tetrads.clock.advance(OLD)
    collector.collect_all(actor=SYSTEM, run=True, versions_older_than=timedelta(days=1))
    assert gone(tetrads, first.digest)
    write_app(tmp_path / "app")
    back = tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False)
    assert back.digest == first.digest
    parts = tetrads.releases.parts("default", back.digest)
    assert tetrads.code.read_file("default", parts.code.digest, "bot.py") == b"print('hello')\n"


def test_a_move_that_races_with_a_collection_fails_cleanly_or_keeps_its_target(tetrads: Tetrads) -> None:
    collector = wire_collector(tetrads)
    for number in range(10):
        part = put(tetrads, f"part of {number}")
        target = put(tetrads, f"race {number}", part)
        tetrads.clock.advance(OLD)
        together, outcome = threading.Barrier(2), []

        def mover(
            target: Digest = target,
            number: int = number,
            together: threading.Barrier = together,
            outcome: list[str] = outcome,
        ) -> None:
            together.wait()
            try:
                tetrads.registry.move_ref("default", f"bot/race-{number}", target, expected=None, actor=ALICE)
                outcome.append("moved")
            except ArtifactErased:
                outcome.append("refused")

        thread = threading.Thread(target=mover)
        thread.start()
        together.wait()
        collector.collect_all(actor=SYSTEM, run=True)
        thread.join()
        if outcome == ["moved"]:
            assert tetrads.registry.document("default", target) == {"text": f"race {number}"}
            assert tetrads.registry.document("default", part) == {"text": f"part of {number}"}
        else:
            assert outcome == ["refused"]
            assert gone(tetrads, target)


def test_collections_while_apps_are_composed_take_nothing_of_them(tetrads: Tetrads, tmp_path: Path) -> None:
    collector = wire_collector(tetrads)
    tetrads.add_model(tmp_path)
    stop, problems = threading.Event(), []

    def collecting() -> None:
        while not stop.is_set():
            try:
                collector.collect_all(actor=SYSTEM, run=True, versions_older_than=timedelta(0))
            except Exception as error:  # noqa: BLE001 - told by the assertion below
                problems.append(error)

    thread = threading.Thread(target=collecting)
    thread.start()
    made = []
    try:
        for number in range(6):
            tetrads.clock.advance(timedelta(hours=1))
            folder = write_app(tmp_path / "app")
            (folder / "bot.py").write_text(f"print({number})\n", "utf-8")
            (folder / "data/shots.jsonl").write_text(f'{{"input": "{number}", "output": "o"}}\n', "utf-8")
            made.append(tetrads.releases.compose_folder("default", folder, actor=ALICE, git=False).digest)
    finally:
        stop.set()
        thread.join()
    assert problems == []
    tetrads.releases.forget_resolved("default")
    for digest in made:
        parts = tetrads.releases.parts("default", digest)
        for file in parts.code.files:
            tetrads.registry.read("default", file.digest)


# -- erasing ------------------------------------------------------------------------------------------------------


def test_an_erased_artifact_leaves_a_tombstone_with_its_reason(tetrads: Tetrads, collector: Collector) -> None:
    one = put(tetrads, "a person's letter")
    whole = put(tetrads, "whole", one)
    tetrads.registry.add_version("default", "note", "letters", one, actor=ALICE)
    done = collector.erase("default", one, actor=SYSTEM, reason="asked to be forgotten")
    assert (done.freed.count, done.blobs_left) == (1, 0)
    assert one not in tetrads.blobs.held
    for read in (tetrads.registry.read, tetrads.registry.open):
        with pytest.raises(ArtifactErased, match="asked to be forgotten"):
            read("default", one)
    assert not tetrads.registry.sees("default", one)
    assert tetrads.registry.parts("default", whole) == [(one, "part")]
    assert [each.name for each in tetrads.registry.versions_of("default", one)] == ["letters"]
    with pytest.raises(ArtifactErased):
        put(tetrads, "a person's letter")
    with pytest.raises(ArtifactErased):
        tetrads.registry.add_version("default", "note", "again", one, actor=ALICE)
    again = collector.erase("default", one, actor=SYSTEM, reason="another reason")
    assert again.artifact.erased_because == "asked to be forgotten"


def test_what_is_served_is_erased_by_force_only(tetrads: Tetrads, collector: Collector, holding: Holding) -> None:
    one = put(tetrads, "one")
    whole = put(tetrads, "whole", one)
    holding.deployed.append(Live("bot", "production", whole))
    with pytest.raises(ArtifactServed, match="bot/production"):
        collector.erase("default", one, actor=SYSTEM, reason="forgotten")
    assert not gone(tetrads, one)
    told: list[Digest] = []
    collector.subscribe(lambda _project, digests: told.extend(digests))
    done = collector.erase("default", one, actor=SYSTEM, reason="forgotten", force=True)
    assert done.was_live == (Live("bot", "production", whole),)
    assert told == [one]
    for reason in ("", "x" * 4001):
        with pytest.raises(InvalidInput):
            collector.erase("default", whole, actor=SYSTEM, reason=reason)


def test_an_erased_dataset_loses_its_rows_and_what_columns_say_of_them(
    tetrads: Tetrads, collector: Collector, database: Database
) -> None:
    shared = b'{"id": "a", "text": "shared"}\n'
    data = shared + b'{"id": "b", "text": "secret"}\n'
    first = tetrads.datasets.import_jsonl("default", "d", data, actor=ALICE, key="id")
    other = tetrads.datasets.import_jsonl("default", "e", shared, actor=ALICE, key="id")
    tetrads.datasets.set_column(first, "label", {"a": "good", "b": "bad"}, actor=ALICE)
    done = collector.erase("default", first.digest, actor=SYSTEM, reason="forgotten")
    assert done.rows == 1
    with database.read() as connection:
        for table in ("dataset_rows", "dataset_columns"):
            assert connection.execute(sa.text(f"SELECT COUNT(*) FROM {table}")).scalar() == 1
    assert [row.value["text"] for row in tetrads.datasets.all_rows(other)] == ["shared"]
    with pytest.raises(ArtifactErased):
        tetrads.datasets.version("default", "d")
    with pytest.raises(ArtifactErased):
        tetrads.datasets.import_jsonl("default", "d", data, actor=ALICE, key="id")
    after = tetrads.datasets.import_jsonl("default", "d", shared, actor=ALICE, key="id")
    assert [row.value["text"] for row in tetrads.datasets.all_rows(after)] == ["shared"]


def test_bytes_of_an_erased_artifact_that_others_hold_stay(tetrads: Tetrads, collector: Collector) -> None:
    shared = tetrads.registry.put_part(b"a file of both")
    alone = tetrads.registry.put_part(b"a file of one")
    one = tetrads.registry.put_document(
        "default", "code", {"n": 1}, actor=ALICE, parts=[(shared, "file"), (alone, "file")]
    ).digest
    two = tetrads.registry.put_document("default", "code", {"n": 2}, actor=ALICE, parts=[(shared, "file")]).digest
    put(tetrads, "letter", project="other")
    letter = put(tetrads, "letter")
    done = collector.erase("default", one, actor=SYSTEM, reason="forgotten")
    assert (done.freed.count, done.blobs_left) == (2, 1)
    assert tetrads.registry.read("default", shared) == b"a file of both"
    with pytest.raises(ArtifactNotFound):
        tetrads.registry.read("default", alone)
    assert not gone(tetrads, two)
    assert collector.erase("default", letter, actor=SYSTEM, reason="forgotten").blobs_left == 1
    assert tetrads.registry.document("other", letter) == {"text": "letter"}
