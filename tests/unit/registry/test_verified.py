"""What was verified is remembered, and only for exactly the same bytes and keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tetrad.kernel import canonical_json, digest_bytes
from tetrad.registry import TEST_RESULT, Statement, new_key, sign_statement
from tetrad.registry import _verified as module
from tetrad.registry._signing import make_receipt, receipt_facts
from tetrad.registry._verified import Verifier
from tetrad.registry.ports import EvidenceRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OURS = new_key("", "installation", at=NOW, by="x")


def row(text: str = "s") -> EvidenceRow:
    about = (("release", digest_bytes(b"release")),)
    envelope = sign_statement(OURS, Statement(TEST_RESULT, about, {"result": "PASSED", "suite": {"name": text}}))
    receipt = make_receipt(OURS, receipt_facts("default", envelope.digest, NOW, "ada", None))
    return EvidenceRow(
        "default", envelope.digest, "1", TEST_RESULT, canonical_json(envelope.document()).decode(), receipt, NOW, "ada"
    )


def test_the_same_row_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = module._verify
    monkeypatch.setattr(module, "_verify", lambda *given: calls.append("") or real(*given))
    verifier, one = Verifier(), row()
    assert verifier.verify(one, [OURS]) == verifier.verify(one, [OURS])
    assert (len(calls), verifier.verify(one, [OURS]).signers) == (1, (OURS.id,))


@pytest.mark.parametrize(
    "change",
    [
        {"project": "other"},
        {"received_at": NOW + timedelta(seconds=1)},
        {"received_by": "eve"},
        {"expires_at": NOW},
        {"digest": digest_bytes(b"x")},
        {"receipt": "x:y"},
        {"envelope": "{}"},
        {"envelope": '"\ud800"'},
    ],
)
def test_a_change_is_seen_although_the_row_was_sound_before(change: dict[str, object]) -> None:
    verifier, one = Verifier(), row()
    assert not verifier.verify(one, [OURS]).problem
    assert verifier.verify(msgspec.structs.replace(one, **change), [OURS]).problem


def test_another_key_under_the_same_name_does_not_inherit_what_was_verified() -> None:
    verifier, one = Verifier(), row()
    other = msgspec.structs.replace(new_key("", "x", at=NOW, by="x"), id=OURS.id)
    assert not verifier.verify(one, [OURS]).problem
    assert verifier.verify(one, [other]).problem


def test_what_is_remembered_has_a_limit() -> None:
    rows = [row(str(number)) for number in range(20)]
    verifier = Verifier(max_bytes=3 * len(rows[0].envelope) + 30)
    for each in rows:
        assert verifier.verify(each, [OURS]).signers
    assert len(verifier._known) == 3
