"""Gates on both databases: what lets a ref move, what never does, and what is written down of it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from support.evidence import ADA, BEA, BOT, CAT, PROD, Gated, wire_gated
from tetrad.kernel import Digest, Forbidden, InvalidInput
from tetrad.kit.db import Database
from tetrad.registry import VERDICT, BadPolicy, GateRefused, RefMoved


@pytest.fixture
def gated(database: Database) -> Gated:
    return wire_gated(database)


def govern(gated: Gated, **policy: Any) -> None:
    gated.policies.set("default", "*/production", {"schema": "tetrad.gate/1", **policy}, actor=CAT)


def move(gated: Gated, digest: str, *, actor: Any = ADA) -> str:
    return gated.tetrads.registry.move_ref("default", PROD, digest, expected=None, actor=actor).digest


def verdicts(gated: Gated, digest: str) -> list[str]:
    found = gated.evidence.find("default", subject=digest, predicate_type=VERDICT)
    assert all(each.counts for each in found)
    return [each.statement.predicate["verificationResult"] for each in found if each.statement]


def test_a_ref_moves_only_with_the_result_that_its_policy_asks_for(gated: Gated) -> None:
    one = gated.release()
    govern(gated, suites=[{"suite": "smoke", "metrics": [{"metric": "accuracy", "min": 0.9}], "min_cases": 5}])
    with pytest.raises(GateRefused, match="no result of the suite 'smoke'"):
        move(gated, one)
    gated.tested(one, accuracy=0.5)
    with pytest.raises(GateRefused, match=r"accuracy is 0\.5"):
        move(gated, one)
    gated.tested(one, accuracy=0.95, cases=1)
    with pytest.raises(GateRefused, match="ran 1 cases"):
        move(gated, one)
    assert gated.tetrads.registry.find_ref("default", PROD) is None
    gated.tested(one, accuracy=0.95)
    assert move(gated, one) == one
    assert verdicts(gated, one)[0] == "PASSED"
    assert verdicts(gated, one).count("FAILED") == 3


def test_a_refusal_is_recorded_once_per_reason(gated: Gated) -> None:
    one = gated.release()
    govern(gated, suites=[{"suite": "smoke"}])
    for _ in range(3):
        with pytest.raises(GateRefused):
            move(gated, one)
    assert verdicts(gated, one) == ["FAILED"]


def test_a_worse_release_does_not_replace_a_better_one(gated: Gated) -> None:
    one, two = gated.release("one"), gated.release("two")
    govern(gated, suites=[{"suite": "smoke", "metrics": [{"metric": "accuracy", "max_regression": 0.02}]}])
    gated.tested(one, accuracy=0.9)
    assert move(gated, one) == one
    gated.tested(two, accuracy=0.85)
    with pytest.raises(GateRefused, match=r"went from 0\.9 to 0\.85"):
        move(gated, two)
    gated.tested(two, accuracy=0.89)
    assert move(gated, two) == two


def test_approvals_come_from_others_than_the_authors(gated: Gated) -> None:
    one = gated.release(actor=ADA)
    govern(gated, approvals={"minimum": 1})
    gated.evidence.approve("default", one, actor=ADA)
    with pytest.raises(GateRefused, match="their own authors"):
        move(gated, one)
    gated.evidence.approve("default", one, actor=BOT)
    with pytest.raises(GateRefused):
        move(gated, one)
    gated.evidence.approve("default", one, actor=BEA)
    assert move(gated, one) == one


def test_an_approval_outlives_a_release_that_leaves_its_parts_alone(gated: Gated) -> None:
    one, two = gated.release("one", model="m"), gated.release("one", model="n")
    govern(gated, approvals={"minimum": 1})
    gated.evidence.approve("default", one, actor=BEA)
    assert move(gated, one) == one
    with pytest.raises(GateRefused, match="model primary n has 0 of 1") as refused:
        move(gated, two)
    assert "prompt" not in refused.value.message
    gated.evidence.approve("default", two, actor=BEA, parts=[("model", "n")])
    with pytest.raises(GateRefused, match="graph answer has 0 of 1"):
        move(gated, two)
    gated.evidence.approve("default", two, actor=BEA, parts=[("graph", "")])
    assert move(gated, two) == two


def test_a_push_to_a_part_voids_its_approvals(gated: Gated) -> None:
    one, two = gated.release("one"), gated.release("two")
    govern(gated, approvals={"minimum": 1})
    gated.evidence.approve("default", one, actor=BEA)
    with pytest.raises(GateRefused, match="prompt system hello has 0 of 1"):
        move(gated, two)


def test_a_kind_of_part_needs_its_owner(gated: Gated) -> None:
    one = gated.release()
    govern(gated, approvals={"minimum": 1, "owners": [{"part": "prompt", "any_of": [CAT.id]}]})
    gated.evidence.approve("default", one, actor=BEA)
    with pytest.raises(GateRefused, match="0 of 1 approvals of person_cat"):
        move(gated, one)
    gated.evidence.approve("default", one, actor=CAT, parts=[("prompt", "system")])
    assert move(gated, one) == one


def test_a_rejection_stops_a_move_until_it_is_taken_back(gated: Gated) -> None:
    one = gated.release()
    govern(gated, approvals={"minimum": 1})
    gated.evidence.approve("default", one, actor=BEA)
    gated.evidence.approve("default", one, actor=CAT, reject=True, comment="rude")
    with pytest.raises(GateRefused, match="Cat rejected"):
        move(gated, one)
    gated.evidence.approve("default", one, actor=CAT)
    assert move(gated, one) == one


def test_only_allowed_licences_go_out(gated: Gated) -> None:
    one = gated.release()
    govern(gated, licences=["MIT"])
    with pytest.raises(GateRefused, match=r"Apache-2\.0, not allowed"):
        move(gated, one)
    govern(gated, licences=["MIT", "Apache-2.0"])
    assert move(gated, one) == one


def test_adapters_of_a_model_are_licensed_like_weights_and_their_makers_are_authors(gated: Gated) -> None:
    registry = gated.tetrads.registry
    adapter = registry.put_document("default", "model", {"adapter": 1}, actor=BEA).digest
    manifest = registry.document("default", gated.release())
    manifest["model"][0]["adapters"] = [{"digest": adapter, "scale": 1.0}]
    one = registry.put_document("default", "release", manifest, actor=ADA, parts=[(adapter, "adapter")]).digest
    govern(gated, licences=["Apache-2.0"])
    with pytest.raises(GateRefused, match=r"the adapter .* of model primary m has no recorded licence"):
        move(gated, one)
    registry.add_version("default", "model", "ada", adapter, actor=BEA, meta={"licence": "CC-BY-NC-4.0"})
    with pytest.raises(GateRefused, match=r"the adapter .* of model primary m is licensed CC-BY-NC-4\.0, not allowed"):
        move(gated, one)
    govern(gated, licences=["Apache-2.0", "CC-BY-NC-4.0"], approvals={"minimum": 1})
    gated.evidence.approve("default", one, actor=BEA)
    with pytest.raises(GateRefused, match=r"model primary m has 0 of 1 approvals \(1 of their own authors"):
        move(gated, one)


def test_old_results_are_not_fresh(gated: Gated) -> None:
    one = gated.release()
    govern(gated, suites=[{"suite": "smoke", "max_age_days": 7}])
    gated.tested(one)
    gated.tetrads.clock.advance(timedelta(days=8))
    with pytest.raises(GateRefused, match="older than 7 days"):
        move(gated, one)


def test_a_ref_goes_back_by_the_verdict_that_let_it_through(gated: Gated) -> None:
    one, two = gated.release("one"), gated.release("two")
    govern(gated, suites=[{"suite": "smoke", "max_age_days": 7, "metrics": [{"metric": "a", "max_regression": 0}]}],
           verdict_days=30)  # fmt: skip
    first = gated.tested(one, a=1)
    move(gated, one)
    gated.tested(two, a=2)
    move(gated, two)
    gated.tetrads.clock.advance(timedelta(days=20))
    assert move(gated, one) == one
    assert move(gated, two) == two
    gated.tetrads.clock.advance(timedelta(days=11))  # going back and forth makes no verdict younger
    with pytest.raises(GateRefused, match="older than 7 days"):
        move(gated, one)
    assert first.counts


def test_a_verdict_falls_with_what_it_rests_on(gated: Gated) -> None:
    one, two = gated.release("one"), gated.release("two")
    govern(gated, suites=[{"suite": "smoke"}])
    first = gated.tested(one)
    gated.tested(two)
    for digest in (one, two, one, two):
        move(gated, digest)
    gated.evidence.revoke("default", first.row.digest, actor=CAT, reason="the runner was broken")
    with pytest.raises(GateRefused, match="no result"):
        move(gated, one)


def test_another_policy_asks_anew(gated: Gated) -> None:
    one, two = gated.release("one"), gated.release("two")
    govern(gated)
    move(gated, one)
    move(gated, two)
    govern(gated, suites=[{"suite": "smoke"}])
    with pytest.raises(GateRefused, match="no result"):
        move(gated, one)


def test_glass_is_broken_once_by_those_who_may_and_is_audited(gated: Gated) -> None:
    one, two = gated.release("one"), gated.release("two")
    govern(gated, suites=[{"suite": "smoke"}], break_glass={"any_of": ["scope:admin"], "minutes": 5})
    with pytest.raises(Forbidden, match="may not break the glass"):
        gated.policies.break_glass("default", PROD, one, actor=ADA, reason="outage")
    with pytest.raises(InvalidInput):
        gated.policies.break_glass("default", PROD, one, actor=CAT, reason="  ")
    gated.policies.break_glass("default", PROD, one, actor=CAT, reason="outage")
    assert (CAT.id, "gate.glass_broken", PROD) in gated.audited.events
    with pytest.raises(GateRefused):
        move(gated, two, actor=CAT)
    assert move(gated, one) == one
    gated.tested(two)
    move(gated, two)
    with pytest.raises(GateRefused):  # neither the glass nor its verdict lets it pass again
        move(gated, one)
    gated.policies.break_glass("default", PROD, one, actor=CAT, reason="again")
    gated.tetrads.clock.advance(timedelta(minutes=6))
    with pytest.raises(GateRefused):
        move(gated, one)


def test_glass_stays_whole_where_the_policy_has_none(gated: Gated) -> None:
    one = gated.release()
    govern(gated, suites=[{"suite": "smoke"}])
    with pytest.raises(Forbidden, match="glass"):
        gated.policies.break_glass("default", PROD, one, actor=CAT, reason="outage")


def test_what_cannot_be_audited_does_not_happen(database: Database) -> None:
    def deaf(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    gated = wire_gated(database)
    one = gated.release()
    govern(gated, suites=[{"suite": "smoke"}], break_glass={})
    gated.evidence._audit = deaf
    with pytest.raises(OSError, match="disk full"):
        gated.policies.break_glass("default", PROD, one, actor=CAT, reason="outage")
    with pytest.raises(GateRefused):
        move(gated, one)


def test_a_governed_ref_is_not_deleted(gated: Gated) -> None:
    one = gated.release()
    govern(gated)
    move(gated, one)
    with pytest.raises(GateRefused, match="not deleted"):
        gated.tetrads.registry.delete_ref("default", PROD, expected=one, actor=CAT)
    gated.policies.remove("default", "*/production", actor=CAT, reason="")
    gated.tetrads.registry.delete_ref("default", PROD, expected=one, actor=CAT)


def test_every_gate_that_matches_must_let_it_pass(gated: Gated) -> None:
    one = gated.release()
    govern(gated, suites=[{"suite": "smoke"}])
    gated.policies.set("default", "bot/*", {"suites": [{"suite": "safety"}]}, actor=CAT)
    gated.tested(one)
    with pytest.raises(GateRefused, match="safety"):
        move(gated, one)
    gated.tested(one, suite="safety")
    assert move(gated, one) == one


def test_a_rule_without_a_readable_policy_lets_nothing_pass(gated: Gated) -> None:
    one = gated.release()
    gated.tetrads.registry.govern("default", "*/production", "evidence", actor=CAT)
    with pytest.raises(GateRefused, match="no policy"):
        move(gated, one)
    gated.tetrads.registry.govern("default", "*/production", "evidence", actor=CAT, policy=one)
    with pytest.raises(GateRefused, match="cannot be applied"):
        move(gated, one)
    assert gated.policies.all("default")[0].problem


@pytest.mark.parametrize(
    "policy",
    [
        {"suites": [{"suite": ""}]},
        {"suites": [{"suite": "a"}, {"suite": "a"}]},
        {"approvals": {"minimum": -1}},
        {"approvals": {"by": ["process"]}},
        {"approvals": {"owners": [{"part": "prompt", "any_of": []}]}},
        {"schema": "tetrad.gate/2"},
        {"suites": [{"suite": "a", "metrics": [{"metric": "b", "min": "0.9"}]}]},
        {"typo": 1},
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(gated: Gated, policy: dict[str, Any]) -> None:
    with pytest.raises(BadPolicy):
        gated.policies.set("default", "*/production", policy, actor=CAT)
    assert gated.policies.all("default") == []


def test_a_check_says_what_a_move_would_meet_and_changes_nothing(gated: Gated) -> None:
    one = gated.release()
    govern(gated, suites=[{"suite": "smoke"}])
    (answer,) = gated.policies.check("default", PROD, one, actor=ADA)
    assert not answer.passed
    assert verdicts(gated, one) == []
    gated.tested(one)
    assert gated.policies.check("default", PROD, one, actor=ADA)[0].passed
    assert gated.tetrads.registry.find_ref("default", PROD) is None
    assert gated.policies.check("default", "bot/staging", one, actor=ADA) == []


def test_a_policy_is_a_version_with_its_reasons(gated: Gated) -> None:
    _, first = gated.policies.set("default", "*/production", {}, actor=CAT, reason="a start")
    _, second = gated.policies.set("default", "*/production", {"approvals": {"minimum": 2}}, actor=CAT)
    assert [first.name, first.semver, second.semver] == ["any/production", "1.0.0", "1.1.0"]
    assert gated.tetrads.registry.document("default", second.digest)["approvals"]["minimum"] == 2


def test_the_verdict_and_the_move_are_one(gated: Gated, database: Database) -> None:
    """A move that fails after its gate passed leaves no verdict behind, and no move is without one."""
    one, two = gated.release("one"), gated.release("two")
    govern(gated)
    move(gated, one)
    name = "ref_log"
    with database.write() as connection:
        if database.dialect == "sqlite":
            connection.execute(
                sa.text(f"CREATE TRIGGER full BEFORE INSERT ON {name} BEGIN SELECT RAISE(ABORT, 'full'); END")
            )
        else:
            connection.execute(sa.text(f"ALTER TABLE {name} ADD CONSTRAINT shut CHECK (seq < 2)"))
    with pytest.raises(sa.exc.IntegrityError):
        move(gated, two)
    assert verdicts(gated, two) == []
    assert gated.tetrads.registry.ref("default", PROD).digest == one


def test_of_many_who_move_at_once_one_wins_and_all_are_judged(gated: Gated) -> None:
    start = gated.release("start")
    releases = [gated.release(f"p{number}") for number in range(24)]
    govern(gated, suites=[{"suite": "smoke"}])
    for digest in (start, *releases[::2]):
        gated.tested(digest)
    move(gated, start)
    outcomes: dict[Digest, str] = {}

    def race(digest: Digest) -> None:
        try:
            gated.tetrads.registry.move_ref("default", PROD, digest, expected=start, actor=ADA)
            outcomes[digest] = "moved"
        except (RefMoved, GateRefused) as error:
            outcomes[digest] = error.code

    threads = [threading.Thread(target=race, args=(digest,)) for digest in releases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == len(releases)
    (winner,) = [digest for digest, outcome in outcomes.items() if outcome == "moved"]
    assert winner in releases[::2]
    assert gated.tetrads.registry.ref("default", PROD).digest == winner
