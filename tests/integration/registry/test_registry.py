"""The registry on both databases: what is kept, who sees it, who wins, what cannot be changed unseen."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from support.tetrads import ALICE, BOB, Tetrads, wire
from tetrad.kernel import Digest, InvalidInput, NotCanonical, digest_json
from tetrad.kit.db import Database
from tetrad.registry import (
    ABSENT,
    ArtifactConflict,
    ArtifactNotFound,
    ArtifactTooLarge,
    BadVersion,
    Edge,
    GateMissing,
    GateRefused,
    RefMoved,
    RefNotFound,
    RefReserved,
    RegistryLimits,
    VersionNotFound,
    VersionTaken,
)
from tetrad.registry.ports import RefMove


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database)


def document(tetrads: Tetrads, number: int, project: str = "default", kind: str = "prompt") -> Digest:
    return tetrads.registry.put_document(project, kind, {"n": number}, actor=ALICE).digest


# -- artifacts


def test_the_stored_bytes_are_the_hashed_bytes(tetrads: Tetrads) -> None:
    artifact = tetrads.registry.put_document("default", "prompt", {"b": 1, "a": [1.0, "ü"]}, actor=ALICE)
    assert artifact.digest == digest_json({"a": [1, "ü"], "b": 1})
    assert tetrads.registry.read("default", artifact.digest) == '{"a":[1,"ü"],"b":1}'.encode()
    assert tetrads.registry.document("default", artifact.digest) == {"a": [1, "ü"], "b": 1}


def test_putting_it_again_changes_nothing(tetrads: Tetrads) -> None:
    first = tetrads.registry.put_document("default", "prompt", {"n": 1}, actor=ALICE)
    puts = tetrads.blobs.puts
    tetrads.clock.advance(60)
    assert tetrads.registry.put_document("default", "prompt", {"n": 1}, actor=BOB) == first
    assert tetrads.blobs.puts == puts


def test_a_digest_grants_nothing_in_another_project(tetrads: Tetrads) -> None:
    part = tetrads.registry.put_part(b"file")
    digest = tetrads.registry.put_bytes("secret", "code", b"{}", actor=ALICE, parts=[(part, "file")]).digest
    for name in (digest, part):
        with pytest.raises(ArtifactNotFound):
            tetrads.registry.read("default", name)
        with pytest.raises(ArtifactNotFound):
            tetrads.registry.open("default", name)
    for ask in (tetrads.registry.artifact, tetrads.registry.parts, tetrads.registry.lineage):
        with pytest.raises(ArtifactNotFound):
            ask("default", digest)
    with pytest.raises(ArtifactNotFound):
        tetrads.registry.add_version("default", "code", "a", digest, actor=ALICE)
    with pytest.raises(ArtifactNotFound):
        tetrads.registry.move_ref("default", "a/b", digest, expected=None, actor=ALICE)
    with pytest.raises(ArtifactNotFound):
        tetrads.registry.record("default", "train", [Edge(digest, "in")], actor=ALICE)
    assert tetrads.registry.versions_of("default", digest) == []
    assert tetrads.registry.read("secret", part) == b"file"


def test_bytes_that_no_artifact_names_are_seen_by_nobody(tetrads: Tetrads) -> None:
    with pytest.raises(ArtifactNotFound):
        tetrads.registry.read("default", tetrads.registry.put_part(b"orphan"))


def test_what_is_damaged_or_too_much_is_refused(database: Database) -> None:
    tetrads = wire(database, registry_limits=RegistryLimits(max_document_bytes=20, max_parts=1))
    with pytest.raises(ArtifactTooLarge):
        tetrads.registry.put_document("default", "prompt", {"text": "x" * 20}, actor=ALICE)
    parts = [(tetrads.registry.put_part(b"1"), "a"), (tetrads.registry.put_part(b"2"), "a")]
    with pytest.raises(ArtifactTooLarge):
        tetrads.registry.put_bytes("default", "code", b"", actor=ALICE, parts=parts)
    with pytest.raises(NotCanonical):
        tetrads.registry.put_document("default", "prompt", {"x": float("nan")}, actor=ALICE)
    with pytest.raises(InvalidInput):
        tetrads.registry.artifact("default", "sha256:short")


def test_the_same_bytes_are_not_two_kinds(tetrads: Tetrads) -> None:
    document(tetrads, 1)
    with pytest.raises(ArtifactConflict):
        tetrads.registry.put_document("default", "code", {"n": 1}, actor=ALICE)


# -- versions


def test_versions_count_up_and_remember_where_they_came_from(tetrads: Tetrads) -> None:
    one, two = document(tetrads, 1), document(tetrads, 2)
    first = tetrads.registry.add_version(
        "default", "prompt", "p", one, actor=ALICE, reason="why", expected_outcome="what"
    )
    second = tetrads.registry.add_version("default", "prompt", "p", two, actor=BOB, bump="major")
    assert (first.semver, first.parent, first.reason, first.expected_outcome) == ("1.0.0", None, "why", "what")
    assert (second.semver, second.parent, second.author, second.author_name) == ("2.0.0", one, "key_bob", "Bob")
    assert tetrads.registry.add_version("default", "prompt", "p", one, actor=BOB) == first
    assert tetrads.registry.versions("default", "prompt", "p") == [second, first]
    assert tetrads.registry.version("default", "prompt", "p") == second
    assert tetrads.registry.version("default", "prompt", "p", "1.0.0") == first
    assert tetrads.registry.names("default", "prompt") == [second]
    assert tetrads.registry.versions_of("default", one) == [first]


def test_a_number_is_taken_once_and_only_grows(tetrads: Tetrads) -> None:
    one, two = document(tetrads, 1), document(tetrads, 2)
    tetrads.registry.add_version("default", "prompt", "p", one, actor=ALICE, semver="1.5.0")
    with pytest.raises(VersionTaken):
        tetrads.registry.add_version("default", "prompt", "p", two, actor=ALICE, semver="1.5.0")
    with pytest.raises(BadVersion) as caught:
        tetrads.registry.add_version("default", "prompt", "p", two, actor=ALICE, semver="1.4.9")
    assert "1.5.1 is free" in caught.value.hint
    assert (
        tetrads.registry.add_version("default", "prompt", "q", two, actor=ALICE, semver="0.1.0-rc.1").semver
        == "0.1.0-rc.1"
    )
    with pytest.raises(VersionNotFound):
        tetrads.registry.version("default", "prompt", "p", "9.9.9")
    with pytest.raises(VersionNotFound):
        tetrads.registry.version("other", "prompt", "p")


def test_many_authors_at_once_get_a_number_each(tetrads: Tetrads) -> None:
    digests = [document(tetrads, number) for number in range(12)]

    def add(digest: Digest) -> None:
        tetrads.registry.add_version("default", "prompt", "p", digest, actor=ALICE)

    assert at_once(*((add, digest) for digest in digests)) == [None] * 12
    found = tetrads.registry.versions("default", "prompt", "p", limit=100)
    assert [version.seq for version in found] == list(range(12, 0, -1))
    assert {version.digest for version in found} == set(digests)
    assert [version.parent for version in found[:-1]] == [version.digest for version in found[1:]]


# -- refs


def at_once(*calls: Any) -> list[BaseException | None]:
    """Make calls in as many threads, started together; return what each raised."""
    start = threading.Barrier(len(calls))
    raised: list[BaseException | None] = [None] * len(calls)

    def run(number: int) -> None:
        function, *arguments = calls[number]
        start.wait(30)
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            raised[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def test_of_concurrent_movers_exactly_one_wins(tetrads: Tetrads) -> None:
    start = document(tetrads, 0)
    targets = [document(tetrads, number) for number in range(1, 9)]
    tetrads.registry.move_ref("default", "app/production", start, expected=ABSENT, actor=ALICE)

    def move(digest: Digest) -> None:
        tetrads.registry.move_ref("default", "app/production", digest, expected=start, actor=ALICE)

    raised = at_once(*((move, digest) for digest in targets))
    assert raised.count(None) == 1
    now = tetrads.registry.ref("default", "app/production").digest
    assert now == targets[raised.index(None)]
    for error in raised:
        if error is not None:
            assert isinstance(error, RefMoved)
            assert (error.current, error.status) == (now, 409)
    assert len(tetrads.registry.ref_log("default")) == 2
    assert tetrads.registry.verify_log("default").sound


def test_movers_of_different_refs_share_one_chain(tetrads: Tetrads) -> None:
    digest = document(tetrads, 1)

    def move(name: str) -> None:
        tetrads.registry.move_ref("default", name, digest, expected=ABSENT, actor=ALICE)

    assert at_once(*((move, f"app/r{number}") for number in range(8))) == [None] * 8
    check = tetrads.registry.verify_log("default")
    assert (check.sound, check.entries) == (True, 8)


def test_a_ref_is_made_once_moved_and_moved_back(tetrads: Tetrads) -> None:
    one, two = document(tetrads, 1), document(tetrads, 2)
    heard: list[Any] = []
    tetrads.registry.subscribe(heard.append)
    move = tetrads.registry.move_ref
    assert move("default", "app/production", one, expected=ABSENT, actor=ALICE).revision == 1
    with pytest.raises(RefMoved):
        move("default", "app/production", two, expected=ABSENT, actor=ALICE)
    with pytest.raises(RefMoved):
        move("default", "app/production", two, expected=two, actor=ALICE)
    with pytest.raises(RefMoved):
        move("default", "app/new", two, expected=one, actor=ALICE)
    tetrads.clock.advance(5)
    assert move("default", "app/production", two, expected=one, actor=BOB, reason="better").moved_by_name == "Bob"
    assert move("default", "app/production", one, expected=two, actor=ALICE, reason="rolled back").revision == 3
    assert move("default", "app/production", one, expected=one, actor=BOB).revision == 3
    log = tetrads.registry.ref_log("default", "app/production")
    assert [(entry.old, entry.new, entry.reason) for entry in log] == [
        (two, one, "rolled back"), (one, two, "better"), (None, one, ""),
    ]  # fmt: skip
    assert [(event.old, event.new) for event in heard] == [(None, one), (one, two), (two, one)]
    with pytest.raises(RefNotFound):
        tetrads.registry.ref("other", "app/production")


def test_a_deaf_listener_does_not_undo_a_move(tetrads: Tetrads, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    def deaf(event: object) -> None:
        raise RuntimeError("deaf")

    tetrads.registry.subscribe(deaf)
    tetrads.registry.subscribe(heard.append)
    digest = document(tetrads, 1)
    tetrads.registry.move_ref("default", "app/production", digest, expected=ABSENT, actor=ALICE)
    assert len(heard) == 1
    assert "a listener failed" in caplog.text


def test_the_name_of_a_deleted_ref_is_never_used_again(tetrads: Tetrads) -> None:
    one = document(tetrads, 1)
    tetrads.registry.move_ref("default", "app/old", one, expected=ABSENT, actor=ALICE)
    with pytest.raises(RefMoved):
        tetrads.registry.delete_ref("default", "app/old", expected=document(tetrads, 2), actor=ALICE)
    tetrads.registry.delete_ref("default", "app/old", expected=one, actor=ALICE)
    assert tetrads.registry.refs("default") == []
    with pytest.raises(RefReserved):
        tetrads.registry.move_ref("default", "app/old", one, expected=ABSENT, actor=ALICE)
    with pytest.raises(RefNotFound):
        tetrads.registry.delete_ref("default", "app/old", expected=one, actor=ALICE)
    assert tetrads.registry.verify_log("default").sound


def test_a_change_in_the_database_is_found(tetrads: Tetrads, database: Database) -> None:
    for number in range(4):
        digest = document(tetrads, number)
        tetrads.registry.move_ref("default", "app/production", digest, expected=None, actor=ALICE, reason=f"r{number}")
    assert tetrads.registry.verify_log("default").sound
    with database.write() as connection:
        connection.execute(sa.text("UPDATE ref_log SET reason = 'forged' WHERE seq = 2"))
    assert tetrads.registry.verify_log("default").broken_at == 2
    with database.write() as connection:
        connection.execute(sa.text("UPDATE ref_log SET reason = 'r1' WHERE seq = 2"))
    assert tetrads.registry.verify_log("default").sound
    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM ref_log WHERE seq = 4"))
    assert tetrads.registry.verify_log("default").broken_at == 4


# -- gates


class Gate:
    """Refuses what it is told to; counts what it sees in the open transaction."""

    def __init__(self, refuse: bool) -> None:
        self.refuse = refuse
        self.seen: list[tuple[RefMove, int]] = []

    def check(self, move: RefMove, transaction: Any) -> None:
        count = transaction.execute(sa.text("SELECT count(*) FROM artifacts")).scalar_one()
        self.seen.append((move, count))
        if self.refuse:
            raise GateRefused("2 approvals are missing", hint="ask for them")


def test_a_governed_ref_without_its_gate_does_not_move(tetrads: Tetrads) -> None:
    one, two = document(tetrads, 1), document(tetrads, 2)
    tetrads.registry.move_ref("default", "app/production", one, expected=ABSENT, actor=ALICE)
    tetrads.registry.govern("default", "*/production", "evidence", actor=BOB)
    for expected in (one, None):
        with pytest.raises(GateMissing):
            tetrads.registry.move_ref("default", "app/production", two, expected=expected, actor=ALICE)
    with pytest.raises(GateMissing):
        tetrads.registry.move_ref("default", "other/production", two, expected=ABSENT, actor=ALICE)
    with pytest.raises(GateMissing):
        tetrads.registry.delete_ref("default", "app/production", expected=one, actor=ALICE)
    assert tetrads.registry.ref("default", "app/production").digest == one
    assert tetrads.registry.ref("default", "app/production").governed
    assert not tetrads.registry.move_ref("default", "app/staging", two, expected=ABSENT, actor=ALICE).governed
    assert tetrads.registry.move_ref("other", "x/y", document(tetrads, 1, "other"), expected=ABSENT, actor=ALICE)
    tetrads.registry.release_rule("default", "*/production")
    assert tetrads.registry.move_ref("default", "app/production", two, expected=one, actor=ALICE).digest == two


def test_a_gate_decides_inside_the_transaction_that_moves(database: Database) -> None:
    gate = Gate(refuse=True)
    tetrads = wire(database, gates={"evidence": gate})
    one = document(tetrads, 1)
    tetrads.registry.govern("default", "*/production", "evidence", actor=BOB)
    with pytest.raises(GateRefused, match="2 approvals"):
        tetrads.registry.move_ref("default", "app/production", one, expected=ABSENT, actor=ALICE, reason="please")
    assert tetrads.registry.find_ref("default", "app/production") is None
    assert tetrads.registry.ref_log("default") == []
    gate.refuse = False
    assert tetrads.registry.move_ref("default", "app/production", one, expected=ABSENT, actor=ALICE).digest == one
    move, count = gate.seen[0]
    assert (move.new, move.old, move.actor, move.reason, move.rule.pattern, count) == (
        one, None, ALICE, "please", "*/production", 1,
    )  # fmt: skip


# -- lineage


def test_lineage_runs_from_artifact_over_activity_to_artifact(tetrads: Tetrads) -> None:
    raw, data, model, adapter = (document(tetrads, n, kind="x") for n in range(4))
    record = tetrads.registry.record
    record("default", "curate", [Edge(raw, "in", "raw", "rebuild"), Edge(data, "out", "data")], actor=ALICE)
    record("default", "train", [Edge(data, "in", "train", "rebuild"), Edge(model, "out", "model")], actor=ALICE)
    record("default", "finetune", [Edge(model, "in", "base", "rebuild"), Edge(adapter, "out", "model")], actor=ALICE)
    up = tetrads.registry.lineage("default", adapter)
    assert [activity.kind for activity in up.activities] == ["finetune", "train", "curate"]
    assert up.complete
    down = tetrads.registry.lineage("default", raw, direction="downstream")
    assert [activity.kind for activity in down.activities] == ["curate", "train", "finetune"]
    short = tetrads.registry.lineage("default", adapter, depth=1)
    assert ([activity.kind for activity in short.activities], short.complete) == (["finetune"], False)
    assert up.activities[0].edges[0] == Edge(model, "in", "base", "rebuild")


def test_a_circle_in_the_lineage_ends(tetrads: Tetrads) -> None:
    one, two = document(tetrads, 1), document(tetrads, 2)
    tetrads.registry.record("default", "a", [Edge(one, "in"), Edge(two, "out")], actor=ALICE)
    tetrads.registry.record("default", "b", [Edge(two, "in"), Edge(one, "out")], actor=ALICE)
    found = tetrads.registry.lineage("default", one, depth=50)
    assert (len(found.activities), found.complete) == (2, True)
