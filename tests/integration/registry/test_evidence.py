"""Evidence on both databases: what is kept, what counts, and that nothing that was changed ever does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from support.evidence import ADA, BEA, BOT, CAT, PROD, Gated, signed_result, wire_gated
from tetrad.kernel import Digest, InvalidInput
from tetrad.kit.db import Database
from tetrad.kit.seal import Keyring, new_seal_key
from tetrad.registry import (
    APPROVAL,
    PROVENANCE,
    TEST_RESULT,
    VERDICT,
    BadEvidence,
    BadSigningKey,
    Evidence,
    EvidenceExpired,
    EvidenceLimits,
    EvidenceNotFound,
    EvidenceTooLarge,
    Judged,
    SignatureRefused,
    SigningKeyNotFound,
    Statement,
    new_key,
    sign_statement,
)
from tetrad.registry._evidence_store import SqlEvidenceStore
from tetrad.registry._store import SqlRegistryStore


@pytest.fixture
def gated(database: Database) -> Gated:
    return wire_gated(database)


def counts(gated: Gated, digest: str) -> bool:
    """Tell whether evidence counts, for those who read it and for gates alike."""
    judged = gated.evidence.get("default", digest)
    subjects = [subject for _, subject in judged.statement.subjects] if judged.statement else []
    counted, _ = gated.evidence.counted("default", subjects)
    assert (digest in {each.digest for each in counted}) == judged.counts
    return judged.counts


def test_sending_a_result_again_changes_nothing(gated: Gated) -> None:
    one = gated.release()
    envelope = signed_result(gated.ci, one, metrics={"a": 1})
    first = gated.evidence.add("default", envelope, actor=BOT)
    gated.tetrads.clock.advance(60)
    assert gated.evidence.add("default", envelope, actor=ADA).row == first.row
    assert [each.row for each in gated.evidence.find("default", subject=one)] == [first.row]


def test_another_project_does_not_see_it(gated: Gated) -> None:
    kept = gated.tested(gated.release())
    with pytest.raises(EvidenceNotFound):
        gated.evidence.get("other", kept.row.digest)
    assert gated.evidence.find("other") == []
    with pytest.raises(SignatureRefused):  # and the runner's key is trusted in its own project only
        gated.evidence.add("other", signed_result(gated.ci, gated.release()), actor=BOT)


def test_a_stranger_signs_nothing_that_counts(gated: Gated) -> None:
    stranger = new_key("default", "ci", at=gated.tetrads.clock.now(), by="x")
    envelope = signed_result(stranger, gated.release())
    with pytest.raises(SignatureRefused):
        gated.evidence.add("default", envelope, actor=CAT)
    envelope["signatures"][0]["keyid"] = gated.ci.id
    with pytest.raises(SignatureRefused):
        gated.evidence.add("default", envelope, actor=CAT)


@pytest.mark.parametrize("kind", [APPROVAL, VERDICT, "https://tetrad.dev/attestation/exception/v1", "x"])
def test_only_results_and_provenance_can_be_sent(gated: Gated, kind: str) -> None:
    statement = Statement(kind, (("release", gated.release()),), {})
    with pytest.raises(BadEvidence, match="cannot be sent"):
        gated.evidence.add("default", sign_statement(gated.ci, statement).document(), actor=CAT)
    with pytest.raises(BadSigningKey, match="cannot state"):
        gated.evidence.trust("default", "x", gated.ci.public, actor=CAT, types=[kind])


def test_a_key_states_what_it_is_trusted_for(gated: Gated) -> None:
    builder = new_key("default", "builder", at=gated.tetrads.clock.now(), by="x")
    gated.evidence.trust("default", "builder", builder.public, actor=CAT, types=[PROVENANCE])
    one = gated.release()
    with pytest.raises(SignatureRefused):
        gated.evidence.add("default", signed_result(builder, one), actor=BOT)
    provenance = sign_statement(builder, Statement(PROVENANCE, (("release", one),), {"buildDefinition": {}}))
    assert gated.evidence.add("default", provenance.document(), actor=BOT).counts


@pytest.mark.parametrize(
    "predicate",
    [{}, {"result": "GREAT", "suite": {"name": "s"}}, {"result": "PASSED"},
     {"result": "PASSED", "suite": {"name": "s", "metrics": {"a": "1"}}},
     {"result": "PASSED", "suite": {"name": "s", "metrics": {"a": True}}}],
)  # fmt: skip
def test_a_result_that_says_nothing_is_refused(gated: Gated, predicate: dict[str, Any]) -> None:
    statement = Statement(TEST_RESULT, (("release", gated.release()),), predicate)
    with pytest.raises(BadEvidence):
        gated.evidence.add("default", sign_statement(gated.ci, statement).document(), actor=BOT)
    assert gated.evidence.find("default") == []


def test_a_statement_has_a_size(gated: Gated) -> None:
    gated.evidence._limits = EvidenceLimits(max_envelope_bytes=2000)
    with pytest.raises(EvidenceTooLarge):
        gated.tested(gated.release(), suite="s" * 3000)


def test_evidence_expires(gated: Gated) -> None:
    one = gated.release()
    gated.policies.set("default", PROD, {"suites": [{"suite": "smoke"}]}, actor=CAT)
    until = gated.tetrads.clock.now() + timedelta(hours=1)
    gated.evidence.add("default", signed_result(gated.ci, one), actor=BOT, expires_at=until)
    assert gated.policies.check("default", PROD, one, actor=ADA)[0].passed
    gated.tetrads.clock.advance(timedelta(hours=1))
    assert not gated.policies.check("default", PROD, one, actor=ADA)[0].passed
    with pytest.raises(InvalidInput, match="expired already"):
        gated.evidence.add("default", signed_result(gated.ci, one), actor=BOT, expires_at=until)


def test_the_same_result_of_another_run_counts_after_the_first_has_expired(gated: Gated) -> None:
    one = gated.release()
    gated.policies.set("default", PROD, {"suites": [{"suite": "smoke", "max_age_days": 1}]}, actor=CAT)
    envelope, clock = signed_result(gated.ci, one), gated.tetrads.clock

    def sent(days: int) -> Judged:
        until = clock.now() + timedelta(days=days)
        return gated.evidence.add("default", envelope, actor=BOT, expires_at=until)

    first = sent(1)
    clock.advance(timedelta(days=1, seconds=1))
    assert not gated.policies.check("default", PROD, one, actor=ADA)[0].passed
    second = sent(2)
    assert (second.row.digest, second.counts) == (first.row.digest, True)
    assert second.row.expires_at == clock.now() + timedelta(days=2)
    assert gated.policies.check("default", PROD, one, actor=ADA)[0].passed
    clock.advance(60)
    assert sent(9).row == second.row  # nothing has expired: the same request, sent again
    gated.evidence.revoke("default", first.row.digest, actor=CAT, reason="wrong machine")
    clock.advance(timedelta(days=3))
    assert not sent(2).counts


def test_a_result_that_says_when_it_ended_is_as_old_as_that_and_is_not_renewed(gated: Gated) -> None:
    one, clock = gated.release(), gated.tetrads.clock
    gated.policies.set("default", PROD, {"suites": [{"suite": "smoke", "max_age_days": 1}]}, actor=CAT)
    ended = (clock.now() - timedelta(hours=23)).isoformat()
    envelope = signed_result(gated.ci, one, finished_at=ended)
    gated.evidence.add("default", envelope, actor=BOT, expires_at=clock.now() + timedelta(hours=2))
    assert gated.policies.check("default", PROD, one, actor=ADA)[0].passed
    clock.advance(timedelta(hours=1, seconds=1))
    assert not gated.policies.check("default", PROD, one, actor=ADA)[0].passed
    clock.advance(timedelta(hours=1))
    with pytest.raises(EvidenceExpired, match="has expired"):
        gated.evidence.add("default", envelope, actor=BOT, expires_at=clock.now() + timedelta(hours=2))
    with pytest.raises(BadEvidence, match="finished_at"):
        gated.evidence.add("default", signed_result(gated.ci, one, finished_at="2026-01-01T00:00:00"), actor=BOT)


def test_who_changes_their_mind_twice_has_approved(gated: Gated) -> None:
    one = gated.release()
    gated.policies.set("default", PROD, {"approvals": {"minimum": 1}}, actor=CAT)

    def judged(*, reject: bool = False) -> bool:
        said = gated.evidence.approve("default", one, actor=BEA, reject=reject, comment="as discussed")
        again = gated.evidence.approve("default", one, actor=BEA, reject=reject, comment="as discussed")
        assert again.row == said.row
        return gated.policies.check("default", PROD, one, actor=ADA)[0].passed

    assert [judged(), judged(reject=True), judged(), judged(reject=True), judged()] == [True, False, True, False, True]
    last = gated.evidence.approve("default", one, actor=BEA, comment="as discussed")
    gated.evidence.revoke("default", last.row.digest, actor=CAT, reason="a slip")
    assert judged()
    until = gated.tetrads.clock.now() + timedelta(hours=1)
    ends = gated.evidence.approve("default", one, actor=BEA, comment="as discussed", expires_at=until)
    assert ends.row.expires_at == until


def test_what_was_taken_back_stays_to_be_read(gated: Gated) -> None:
    kept = gated.tested(gated.release())
    gone = gated.evidence.revoke("default", kept.row.digest, actor=CAT, reason="wrong machine")
    assert (gone.counts, gone.problem) == (False, "it was revoked: wrong machine")
    assert (CAT.id, "evidence.revoked", kept.row.digest) in gated.audited.events
    gated.tetrads.clock.advance(60)
    again = gated.evidence.revoke("default", kept.row.digest, actor=ADA, reason="me too")
    assert (again.row.revoked_at, again.row.revoked_by) == (gone.row.revoked_at, CAT.id)
    assert not counts(gated, kept.row.digest)


# -- tampering


def payload_of(envelope: str, change: Callable[[dict[str, Any]], None]) -> str:
    parsed = json.loads(envelope)
    statement = json.loads(base64.b64decode(parsed["payload"]))
    change(statement)
    parsed["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(parsed)


def better(statement: dict[str, Any]) -> None:
    statement["predicate"]["result"] = "PASSED"


def moved_to(other: str) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        statement["subject"][0]["digest"]["sha256"] = other.removeprefix("sha256:")

    return change


@pytest.mark.parametrize("column", ["envelope", "subject", "receipt", "received_at", "received_by", "expires_at"])
def test_whoever_writes_into_the_database_makes_nothing_count(gated: Gated, database: Database, column: str) -> None:
    one, two = gated.release("one"), gated.release("two")
    kept = gated.tested(one, "FAILED").row
    assert counts(gated, kept.digest)
    value: Any = {
        "envelope": payload_of(kept.envelope, better), "subject": payload_of(kept.envelope, moved_to(two)),
        "receipt": kept.receipt[:-8] + "AAAAAAA=", "received_at": 1_900_000_000_000_000, "received_by": "person_cat",
        "expires_at": 1_900_000_000_000_000,
    }[column]  # fmt: skip
    with database.write() as connection:
        name = "envelope" if column == "subject" else column
        done = connection.execute(sa.text(f"UPDATE evidence SET {name} = :value"), {"value": value})
        assert done.rowcount == 1
    assert not counts(gated, kept.digest)
    assert "changed" in gated.evidence.get("default", kept.digest).problem


def test_a_row_copied_into_another_project_does_not_count(gated: Gated, database: Database) -> None:
    one = gated.release()
    verdict = gated.evidence.approve("default", one, actor=BEA).row
    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM evidence_subjects"))
        connection.execute(sa.text("UPDATE evidence SET project = 'other'"))
    assert not gated.evidence.get("other", verdict.digest).counts


def test_the_index_proves_nothing(gated: Gated, database: Database) -> None:
    one, two = gated.release("one"), gated.release("two")
    gated.policies.set("default", PROD, {"suites": [{"suite": "smoke"}]}, actor=CAT)
    gated.tested(one)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE evidence_subjects SET subject = :two"), {"two": two})
    assert not gated.policies.check("default", PROD, two, actor=ADA)[0].passed


def test_a_key_that_was_put_into_the_database_is_not_trusted(gated: Gated, database: Database) -> None:
    thief = new_key("default", "thief", at=gated.tetrads.clock.now(), by="x")
    sealed = Keyring(new_seal_key()).seal(msgspec.json.encode(thief), f"tetrad signing key/default/{thief.id}".encode())
    with database.write() as connection:
        connection.execute(
            sa.text("INSERT INTO signing_keys (project, id, sealed, created_at) VALUES ('default', :id, :sealed, 0)"),
            {"id": thief.id, "sealed": sealed},
        )
        connection.execute(sa.text("UPDATE signing_keys SET project = '' WHERE id = :id"), {"id": gated.ci.id})
    assert [key.name for key in gated.evidence.keys("default")] == ["installation 2026-01-01"]
    with pytest.raises(SignatureRefused):
        gated.evidence.add("default", signed_result(thief, gated.release()), actor=BOT)


def test_private_keys_are_sealed_at_rest(gated: Gated, database: Database) -> None:
    (key,) = gated.evidence.keys(None)
    assert key.private
    with database.read() as connection:
        stored = b"".join(bytes(row[0]) for row in connection.execute(sa.text("SELECT sealed FROM signing_keys")))
    assert key.private.encode() not in stored
    assert base64.b64decode(key.private) not in stored
    assert key.private not in repr(key)


# -- keys over time


def test_what_an_old_key_signed_stands_after_a_rotation(gated: Gated) -> None:
    one = gated.release()
    before = gated.evidence.approve("default", one, actor=BEA)
    gated.tetrads.clock.advance(60)
    new = gated.evidence.rotate(CAT)
    after = gated.evidence.approve("default", one, actor=CAT)
    assert before.key is not None
    assert after.key is not None
    assert (before.key.id == new.id, after.key.id) == (False, new.id)
    assert counts(gated, before.row.digest)
    assert counts(gated, after.row.digest)
    assert gated.evidence.first_start(CAT) == new


def test_what_a_revoked_key_signed_counts_if_it_came_before(gated: Gated) -> None:
    one, two = gated.release("one"), gated.release("two")
    before = gated.tested(one)
    gated.tetrads.clock.advance(60)
    gated.evidence.revoke_key("default", gated.ci.id, actor=CAT, reason="stolen")
    with pytest.raises(SignatureRefused):
        gated.tested(two)
    assert counts(gated, before.row.digest)
    with pytest.raises(BadSigningKey, match="known already"):
        gated.evidence.trust("default", "ci again", gated.ci.public, actor=CAT)
    with pytest.raises(SigningKeyNotFound):
        gated.evidence.revoke_key("other", gated.ci.id, actor=CAT, reason="not theirs")


def test_a_statement_that_came_after_the_revocation_does_not_count(gated: Gated, database: Database) -> None:
    """Also when it is in the database already: another control process took it before it knew."""
    kept = gated.tested(gated.release())
    gated.evidence.revoke_key("default", gated.ci.id, actor=CAT, reason="stolen")  # at the same moment
    assert not counts(gated, kept.row.digest)


def test_a_revoked_installation_key_is_replaced(gated: Gated) -> None:
    old = gated.evidence.keys(None)[-1]
    before = gated.evidence.approve("default", gated.release(), actor=BEA)
    gated.tetrads.clock.advance(60)
    gated.evidence.revoke_key(None, old.id, actor=CAT, reason="the backup leaked")
    after = gated.evidence.approve("default", gated.release(), actor=CAT)
    assert after.key is not None
    assert after.key.id != old.id
    assert counts(gated, before.row.digest)
    assert counts(gated, after.row.digest)


def test_without_its_seal_key_an_installation_trusts_nothing_and_goes_on(gated: Gated, database: Database) -> None:
    one = gated.release()
    kept = gated.tested(one)
    fresh = Evidence(
        SqlEvidenceStore(database), SqlRegistryStore(database), gated.tetrads.blobs, Keyring(new_seal_key()),
        gated.tetrads.clock,
    )  # fmt: skip
    assert fresh.keys("default") == []
    fresh.first_start(CAT)
    assert not fresh.get("default", kept.row.digest).counts
    assert fresh.approve("default", one, actor=BEA).counts


# -- the ref log's head


def test_an_exported_head_proves_what_was_before_it(gated: Gated, database: Database) -> None:
    registry, digests = gated.tetrads.registry, [gated.release(str(number)) for number in range(4)]
    empty = gated.evidence.export_head("default")
    for digest in digests[:3]:
        registry.move_ref("default", "bot/staging", digest, expected=None, actor=ADA)
    head = gated.evidence.export_head("default")
    registry.move_ref("default", "bot/staging", digests[3], expected=None, actor=ADA)
    for each in (empty, head):
        assert gated.evidence.check_head("default", each).sound
    gated.evidence.rotate(CAT)
    assert gated.evidence.check_head("default", head).sound
    with pytest.raises(BadEvidence, match="no head"):
        gated.evidence.check_head("other", head)
    rewrite_log(database)
    assert registry.verify_log("default").sound  # the chain alone cannot know
    found = gated.evidence.check_head("default", head)
    assert (found.sound, found.problem) == (False, "entry 3 is gone")


def test_a_forged_head_is_refused(gated: Gated) -> None:
    stranger = new_key("", "x", at=gated.tetrads.clock.now(), by="x")
    said = {"project": "default", "seq": 0, "head": "sha256:" + "0" * 64, "at": "2026-01-01T00:00:00.000000Z"}
    kind = "https://tetrad.dev/attestation/ref-log-head/v1"
    forged = sign_statement(stranger, Statement(kind, (("x", Digest(str(said["head"]))),), said)).document()
    with pytest.raises(SignatureRefused):
        gated.evidence.check_head("default", forged)


def rewrite_log(database: Database) -> None:
    """Cut the log to its first move, head and all, as somebody with the database can."""
    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM ref_log WHERE seq > 1"))
        first = connection.execute(sa.text("SELECT hash FROM ref_log")).scalar_one()
        connection.execute(sa.text("UPDATE ref_log_heads SET seq = 1, hash = :hash"), {"hash": first})
