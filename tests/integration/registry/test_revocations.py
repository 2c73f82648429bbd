"""Revocations on both databases: what they reach, what they stop, and how they are taken back."""

from __future__ import annotations

import threading

import pytest

from support.evidence import ADA, CAT, PROD, Gated, wire_gated
from tetrad.kernel import Digest, InvalidInput
from tetrad.kit.db import Database
from tetrad.registry import (
    REVOCATION,
    ArtifactNotFound,
    ArtifactRevoked,
    Edge,
    GateRefused,
    Live,
    RefNotFound,
    RevocationNotFound,
)


@pytest.fixture
def gated(database: Database) -> Gated:
    return wire_gated(database)


def move(gated: Gated, digest: str, ref: str = PROD) -> str:
    return gated.tetrads.registry.move_ref("default", ref, digest, expected=None, actor=ADA).digest


def document(gated: Gated, text: str, kind: str = "dataset") -> Digest:
    return gated.tetrads.registry.put_document("default", kind, {"text": text}, actor=ADA).digest


def made(gated: Gated, source: Digest, out: Digest, policy: str = "rebuild") -> None:
    edges = [Edge(source, "in", "source", policy), Edge(out, "out")]  # type: ignore[arg-type]
    gated.tetrads.registry.record("default", "train", edges, actor=ADA)


class Serving:
    """Deployments that a test chose."""

    def __init__(self, *live: Live) -> None:
        self._live = live

    def live(self, project: str) -> tuple[Live, ...]:
        assert project == "default"
        return self._live


def test_a_revocation_names_everything_that_contains_or_derives_from_it(gated: Gated) -> None:
    release = gated.release("one")
    move(gated, release)
    weights = next(d for d, role in gated.tetrads.registry.parts("default", release) if role == "model")
    data, other = document(gated, "rows"), document(gated, "others")
    made(gated, data, weights)
    made(gated, other, weights, "none")
    gated.revocations.serve_from(Serving(Live("bot", "production", release), Live("bot", "", data)))
    revocation, impact = gated.revocations.revoke("default", data, actor=CAT, reason="licence withdrawn")
    assert revocation.stands
    assert {each.digest for each in impact.touched} == {data, weights, release}
    by_digest = {each.digest: each for each in impact.touched}
    assert by_digest[release].path == (data, weights, release)
    assert by_digest[release].refs == (PROD,)
    assert [version.name for version in by_digest[weights].versions] == ["m"]
    assert Live("bot", "production", release) in impact.live
    broken = gated.revocations.served()
    assert [(each.project, each.live.ref, each.causes[0].path) for each in broken] == [
        ("default", "production", (data, weights, release)),
        ("default", "", (data,)),
    ]
    assert impact.complete
    assert gated.revocations.impact("default", other).touched[1:] == ()
    assert gated.audited.events[-1] == (CAT.id, "artifact.revoked", data)
    (signed,) = gated.evidence.find("default", subject=data, predicate_type=REVOCATION)
    assert signed.counts
    assert signed.statement is not None
    assert signed.statement.predicate["reason"] == "licence withdrawn"


def test_no_ref_moves_to_what_contains_or_derives_from_something_revoked(gated: Gated) -> None:
    release = gated.release("one")
    weights = next(d for d, role in gated.tetrads.registry.parts("default", release) if role == "model")
    data = document(gated, "rows")
    made(gated, data, weights)
    gated.revocations.revoke("default", data, actor=CAT, reason="poisoned")
    with pytest.raises(ArtifactRevoked, match="poisoned") as refused:
        move(gated, release)
    assert refused.value.status == 403
    with pytest.raises(ArtifactRevoked):
        move(gated, data, "labels/rows/latest")
    with pytest.raises(RefNotFound):
        gated.tetrads.registry.ref("default", PROD)
    causes = gated.tetrads.registry.revoked("default", release)
    assert [cause.path for cause in causes] == [(data, weights, release)]


def test_an_edge_that_invalidates_nothing_carries_no_revocation(gated: Gated) -> None:
    base, release = document(gated, "base"), gated.release("one")
    made(gated, base, release, "none")
    gated.revocations.revoke("default", base, actor=CAT, reason="poisoned")
    assert move(gated, release) == release


def test_a_release_that_passed_before_does_not_come_back_when_revoked(gated: Gated) -> None:
    one, two = gated.release("one"), gated.release("two")
    policy = {"schema": "tetrad.gate/1", "suites": [{"suite": "smoke"}]}
    gated.policies.set("default", "*/production", policy, actor=CAT)
    for digest in (one, two):
        gated.tested(digest)
        move(gated, digest)
    gated.revocations.revoke("default", one, actor=CAT, reason="it leaks")
    with pytest.raises(GateRefused, match="it leaks"):
        move(gated, one)
    (answer,) = gated.policies.check("default", PROD, one, actor=ADA)
    assert not answer.passed
    gated.revocations.reinstate("default", one, actor=CAT, reason="it was another one")
    assert move(gated, one) == one


def test_only_broken_glass_moves_a_ref_to_what_was_revoked(gated: Gated) -> None:
    one = gated.release("one")
    policy = {"schema": "tetrad.gate/1", "break_glass": {"any_of": [CAT.id], "minutes": 5}}
    gated.policies.set("default", "*/production", policy, actor=CAT)
    gated.revocations.revoke("default", one, actor=CAT, reason="it leaks")
    with pytest.raises(GateRefused):
        move(gated, one)
    gated.policies.break_glass("default", PROD, one, actor=CAT, reason="the rest is worse")
    assert move(gated, one) == one


def test_what_points_there_already_stays_and_is_named(gated: Gated) -> None:
    one = gated.release("one")
    move(gated, one)
    _, impact = gated.revocations.revoke("default", one, actor=CAT, reason="it leaks")
    assert gated.tetrads.registry.ref("default", PROD).digest == one
    assert impact.touched[0].refs == (PROD,)


def test_revoking_twice_and_reinstating_twice(gated: Gated) -> None:
    one = document(gated, "one")
    first, _ = gated.revocations.revoke("default", one, actor=CAT, reason="bad")
    again, _ = gated.revocations.revoke("default", one, actor=ADA, reason="worse")
    assert again == first
    back = gated.revocations.reinstate("default", one, actor=CAT, reason="it was fine")
    assert (back.id, back.stands, back.reinstated_because) == (first.id, False, "it was fine")
    with pytest.raises(RevocationNotFound):
        gated.revocations.reinstate("default", one, actor=CAT, reason="again")
    second, _ = gated.revocations.revoke("default", one, actor=CAT, reason="bad")
    assert second.id != first.id
    assert [each.id for each in gated.revocations.all("default")] == [second.id, first.id]
    assert [each.id for each in gated.revocations.all("default", standing=True)] == [second.id]
    assert len(gated.evidence.find("default", subject=one, predicate_type=REVOCATION)) == 3


def test_a_revocation_needs_a_reason_and_an_artifact_of_the_project(gated: Gated) -> None:
    one = document(gated, "one")
    for reason in ("", "  ", "x" * 4001):
        with pytest.raises(InvalidInput):
            gated.revocations.revoke("default", one, actor=CAT, reason=reason)
    with pytest.raises(ArtifactNotFound):
        gated.revocations.revoke("other", one, actor=CAT, reason="bad")
    assert gated.revocations.all("default") == []
    assert gated.revocations.all("other") == []


def test_too_many_ancestors_to_tell_is_a_refusal(database: Database) -> None:
    gated = wire_gated(database, max_reached=2)
    release, other = gated.release("one"), document(gated, "other")
    assert move(gated, release) == release  # nothing is revoked: nothing needs to be proven
    gated.revocations.revoke("default", other, actor=CAT, reason="bad")
    with pytest.raises(ArtifactRevoked, match="more than 2"):
        move(gated, release, "bot/staging")


def test_a_move_that_races_with_a_revocation_is_refused_or_named(gated: Gated) -> None:
    for number in range(8):
        release = gated.release(f"race {number}")
        ref, outcome = f"bot/race-{number}", []
        together = threading.Barrier(2)

        def mover(release: Digest = release, ref: str = ref, out: list[str] = outcome,
                  gate: threading.Barrier = together) -> None:  # fmt: skip
            gate.wait()
            try:
                move(gated, release, ref)
                out.append("moved")
            except ArtifactRevoked:
                out.append("refused")

        thread = threading.Thread(target=mover)
        thread.start()
        together.wait()
        _, impact = gated.revocations.revoke("default", release, actor=CAT, reason="bad")
        thread.join()
        named = any(ref in each.refs for each in impact.touched)
        assert outcome == (["moved"] if named else ["refused"])


def test_what_was_also_made_of_sound_inputs_only_is_sound(gated: Gated) -> None:
    release = gated.release("one")
    weights = next(d for d, role in gated.tetrads.registry.parts("default", release) if role == "model")
    bad, clean, seed = document(gated, "rows"), document(gated, "clean rows"), document(gated, "seed")
    made(gated, bad, weights)
    gated.revocations.serve_from(Serving(Live("bot", "production", release)))
    gated.revocations.revoke("default", bad, actor=CAT, reason="poisoned")
    assert [each.live.digest for each in gated.revocations.served()] == [release]
    edges = [Edge(clean, "in", "rows", "rebuild"), Edge(seed, "in", "seed", "rebuild"), Edge(weights, "out")]
    for unproven in ("failed", "running"):  # what has not ended well proves nothing
        gated.tetrads.registry.record("default", "train", edges, actor=ADA, state=unproven)  # type: ignore[arg-type]
    gated.tetrads.registry.record("default", "import", [Edge(weights, "out")], actor=ADA)  # nor what came from outside
    made(gated, clean, weights, "revalidate")
    with pytest.raises(ArtifactRevoked, match="poisoned"):
        move(gated, release)
    gated.tetrads.registry.record("default", "train", edges, actor=ADA)
    assert gated.tetrads.registry.revoked("default", release) == ()
    assert gated.revocations.served() == []
    assert {each.digest for each in gated.revocations.impact("default", bad).touched} == {bad}
    assert move(gated, release) == release
    _, impact = gated.revocations.revoke("default", seed, actor=CAT, reason="stolen")  # one bad input spoils a way
    assert {each.digest: each.path for each in impact.touched} == {
        seed: (seed,), weights: (seed, weights), release: (seed, weights, release),
    }  # fmt: skip
    with pytest.raises(ArtifactRevoked):
        move(gated, release, "bot/staging")
    assert {cause.revocation.digest for cause in gated.tetrads.registry.revoked("default", release)} == {bad, seed}
