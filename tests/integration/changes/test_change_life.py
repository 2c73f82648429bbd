"""Change requests, from a patch to a merge and back, on both databases."""

from __future__ import annotations

import threading
from itertools import product
from pathlib import Path

import pytest

from support.changes import CALMER, ONE_PERSON, TWO_PEOPLE, P, Site, wire_changes
from support.evidence import ADA, BEA, CAT
from tetrad.changes import (
    BadChange,
    ChangeBehind,
    ChangeLimits,
    ChangeMoved,
    ChangeNotFound,
    ChangeRequest,
    KeyTaken,
    NothingChanges,
    NotYours,
    OwnWork,
    PartPatch,
    RebaseConflict,
    TooManyChanges,
    WrongState,
    _store,
)
from tetrad.kernel import NotFound, Principal, TetradError, TooLarge
from tetrad.kit.db import Database
from tetrad.prompts import PromptError
from tetrad.registry import GateRefused

EVE = Principal("person_eve", "person", "Eve", frozenset({"control", "review"}), read_only=True)
COOLER = PartPatch("sampling.temperature", 0.1)
WARMER = PartPatch("sampling.temperature", 0.9)
PROMPT = "prompt system bot-system"
OTHER = CALMER.replace("calm", "brief")


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return wire_changes(database, tmp_path)


# -- the whole way --------------------------------------------------------------------------------------------------


def test_a_change_is_reviewed_tested_merged_and_rolled_back(site: Site) -> None:
    site.gated.policies.set(P, "bot/production", TWO_PEOPLE, actor=CAT)
    made = site.open()
    assert (made.number, made.state, made.base) == (1, "open", site.first)
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    done = site.changes.review(P, 1, "approve", actor=CAT, revision=1)
    assert done.state == "approved"
    with pytest.raises(GateRefused, match="no result of the suite 'smoke'"):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    assert site.changes.get(P, 1).state == "approved"
    site.gated.tested(made.candidate)
    assert site.changes.checks(P, 1, actor=CAT).mergeable
    merged = site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    assert (merged.state, site.production()) == ("merged", made.candidate)
    entry = site.gated.tetrads.registry.ref_log(P, "bot/production")[0]
    assert (entry.change_request, entry.reason) == ("#1", "change request #1: Be calmer")
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate) == merged
    kinds = [each.kind for each in site.changes.events(P, 1)]
    assert kinds == ["merged", "approved", "approved", "opened"]
    site.gated.policies.remove(P, "bot/production", actor=CAT, reason="so that rolling back needs no evidence")
    back = site.gated.tetrads.releases.rollbacks.roll_back(P, "bot", "production", actor=ADA)
    assert back.new == site.first


def test_what_happened_is_in_the_audit_log(site: Site) -> None:
    made = site.open()
    site.changes.review(P, 1, "request_changes", actor=BEA, revision=1, comment="too calm")
    site.changes.push(P, 1, [COOLER], actor=ADA, expected_revision=1)
    site.changes.withdraw(P, 1, actor=ADA)
    site.changes.propose(P, 1, actor=ADA)
    now = site.changes.get(P, 1)
    site.changes.merge(P, 1, actor=ADA, expected_candidate=now.candidate)
    site.open()
    site.changes.close(P, 2, actor=ADA, reason="no")
    said = [action for _, action, _ in site.gated.audited.events if action.startswith("change.")]
    assert said == [
        "change.opened", "change.request_changes", "change.pushed", "change.withdrawn", "change.proposed",
        "change.merge", "change.opened", "change.closed",
    ]  # fmt: skip
    assert made.candidate != now.candidate
    assert len(site.told) == 7  # a review changes no candidate


# -- drafts ---------------------------------------------------------------------------------------------------------


def test_a_draft_keeps_nothing_and_becomes_exactly_what_it_said(site: Site) -> None:
    registry = site.gated.tetrads.registry
    draft = site.open(draft=True)
    assert draft.state == "draft"
    assert [each.semver for each in registry.versions(P, "prompt", "bot-system")] == ["1.0.0"]
    with pytest.raises(NotFound):
        registry.artifact(P, draft.candidate)
    [candidate] = site.changes.candidates()
    tried = site.changes.resolve(candidate)
    assert (tried.digest, tried.messages[0].text) == (draft.candidate, "Be {{tone}} and calm.")
    diff = site.changes.diff(P, 1)
    assert (diff.new.digest, [part.change for part in diff.prompt]) == (draft.candidate, ["changed"])
    opened = site.changes.propose(P, 1, actor=ADA)
    assert (opened.state, opened.candidate) == ("open", draft.candidate)
    assert site.changes.propose(P, 1, actor=ADA) == opened
    assert registry.artifact(P, draft.candidate).kind == "release"
    assert site.changes.resolve(candidate).messages == tried.messages
    assert site.changes.diff(P, 1).prompt[0].messages == diff.prompt[0].messages


def test_a_draft_is_neither_judged_nor_merged(site: Site) -> None:
    draft = site.open(draft=True)
    with pytest.raises(WrongState, match="is a draft: it cannot be approved"):
        site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    with pytest.raises(WrongState):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=draft.candidate)
    checks = site.changes.checks(P, 1, actor=ADA)
    assert [each.missing for each in checks.requirements if not each.passed] == [
        "propose it: `tetrad change propose 1`"
    ]


def test_a_reviewer_may_propose_and_comment_and_leaves_others_requests_alone(site: Site) -> None:
    made = site.open(actor=EVE)
    assert made.author == EVE.id
    with pytest.raises(NotYours):
        site.changes.push(P, 1, [COOLER], actor=BEA, expected_revision=1)
    with pytest.raises(NotYours):
        site.changes.close(P, 1, actor=BEA)
    assert "merge" not in site.changes.look(P, 1, actor=EVE).allowed
    assert {"push", "withdraw", "close", "comment"} <= set(site.changes.look(P, 1, actor=EVE).allowed)
    assert set(site.changes.look(P, 1, actor=BEA).allowed) == {"comment", "approve", "request_changes"}
    assert "merge" in site.changes.look(P, 1, actor=ADA).allowed


# -- patches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "error", "words"),
    [
        (PartPatch("prompt.system", content="---\nname: x\nvariables:\n  a: {type: stone}\n---\n# system\n\nHi\n"),
         PromptError, r"bot-system\.md:4"),
        (PartPatch("prompt.system", content="# system\n\nHi {{nobody}}\n"), PromptError, r"bot-system\.md:3"),
        (PartPatch("prompt.nothing", "x"), TetradError, "is no role of prompt"),
        (PartPatch("model.primary", "gone@1.0.0"), TetradError, "gone"),
        (PartPatch("data.fewshot", content="x"), BadChange, "not given as text"),
        (PartPatch("sampling.temperature", 0.5), NothingChanges, "changes nothing"),
        (PartPatch("prompt.system", content="x" * 300_000), TooLarge, "too long"),
        (PartPatch("prompt.system", "a", content="b"), BadChange, "as text and as a value"),
    ],
)  # fmt: skip
def test_a_patch_that_cannot_be_is_refused_and_keeps_nothing(
    site: Site, patch: PartPatch, error: type[TetradError], words: str
) -> None:
    with pytest.raises(error, match=words):
        site.open(patch)
    assert site.changes.find(P) == []
    assert len(site.gated.tetrads.registry.versions(P, "prompt", "bot-system")) == 1


def test_a_text_is_named_by_what_it_says_or_replaces(site: Site) -> None:
    site.open(PartPatch("prompt.system", content="# system\n\nBe calm.\n"))
    forked = site.open(PartPatch("prompt.system", content=CALMER.replace("name: bot-system", "name: bot-formal")))
    other = site.open(PartPatch("prompt.system", content=CALMER, name="bot-named"))
    names = [site.changes.look(P, each, actor=ADA).newest.patch[0].name for each in (1, 2, 3)]
    assert names == ["bot-system", "bot-formal", "bot-named"]
    assert forked.candidate != other.candidate
    assert [each.name for each in site.gated.tetrads.registry.names(P, "prompt")] == [
        "bot-formal", "bot-named", "bot-system",
    ]  # fmt: skip


def test_a_name_without_a_version_is_pinned_when_it_is_pushed(site: Site) -> None:
    site.gated.tetrads.add_model(Path(site.gated.tetrads.database.engine.url.database or ".").parent, "local/other")
    site.open(PartPatch("model.primary", "local/other"))
    assert site.changes.look(P, 1, actor=ADA).newest.patch == (PartPatch("model.primary", "local/other@1.0.0"),)


def test_the_same_key_opens_one_request(site: Site) -> None:
    one, again = site.open(key="k1"), site.open(key="k1")
    assert (one, site.open(key="k2").number) == (again, 2)
    for other in ({"title": "Something else"}, {"actor": BEA}):
        with pytest.raises(KeyTaken, match="opened change request #1"):
            site.open(key="k1", **other)


def test_a_project_sees_its_own_requests_only(site: Site) -> None:
    site.open()
    with pytest.raises(ChangeNotFound):
        site.changes.get("other", 1)
    assert site.changes.find("other") == []
    assert list(site.changes.held("other")) == []


# -- reviews --------------------------------------------------------------------------------------------------------


def test_a_push_voids_the_approvals_of_the_part_that_it_changes_and_of_no_other(site: Site) -> None:
    site.gated.policies.set(P, "bot/production", ONE_PERSON, actor=CAT)
    site.open(PartPatch("prompt.system", content=CALMER), COOLER)
    assert site.changes.review(P, 1, "approve", actor=BEA, revision=1).state == "approved"
    pushed = site.changes.push(
        P, 1, [PartPatch("prompt.system", content=OTHER), COOLER], actor=ADA, expected_revision=1
    )
    assert pushed.state == "open"
    failed = [each for each in site.changes.checks(P, 1, actor=ADA).requirements if not each.passed]
    assert [each.name for each in failed] == [f"approval:{PROMPT}"]  # the sampling is as it was approved
    assert failed[0].who == ("people with the scope review who did not push to it",)
    with pytest.raises(GateRefused, match="prompt system bot-system has 0 of 1 approvals"):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=pushed.candidate)
    site.changes.review(P, 1, "approve", actor=BEA, revision=2, parts=[PROMPT])
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=pushed.candidate).state == "merged"


def test_pushing_back_what_was_approved_lets_the_approval_stand_again(site: Site) -> None:
    site.open()
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    site.changes.push(P, 1, [PartPatch("prompt.system", content=OTHER)], actor=ADA, expected_revision=1)
    back = site.changes.push(P, 1, [PartPatch("prompt.system", content=CALMER)], actor=ADA, expected_revision=2)
    assert (back.state, back.revision) == ("approved", 3)


def test_nobody_approves_what_they_pushed(site: Site) -> None:
    site.gated.policies.set(P, "bot/production", ONE_PERSON, actor=CAT)
    site.open()
    with pytest.raises(OwnWork):
        site.changes.review(P, 1, "approve", actor=ADA, revision=1)
    site.changes.push(P, 1, [PartPatch("prompt.system", content=CALMER), COOLER], actor=CAT, expected_revision=1)
    for author in (ADA, CAT):  # whoever pushed any revision is an author of all of it
        with pytest.raises(OwnWork):
            site.changes.review(P, 1, "approve", actor=author, revision=2)
        # and the gate knows it too, whatever way the approval came
        site.gated.evidence.approve(P, site.changes.get(P, 1).candidate, actor=author)
    assert not site.changes.checks(P, 1, actor=ADA).mergeable
    site.changes.review(P, 1, "approve", actor=BEA, revision=2)
    assert site.changes.checks(P, 1, actor=ADA).mergeable


def test_one_approves_ones_own_work_where_the_policy_says_so(site: Site) -> None:
    policy = {"schema": "tetrad.gate/1", "approvals": {"minimum": 1, "self_approval": True}}
    site.gated.policies.set(P, "bot/production", policy, actor=CAT)
    made = site.open()
    assert site.changes.review(P, 1, "approve", actor=ADA, revision=1).state == "approved"
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate).state == "merged"


def test_asked_for_changes_stop_a_merge_until_they_are_lifted(site: Site) -> None:
    made = site.open()
    with pytest.raises(BadChange, match="needs a comment"):
        site.changes.review(P, 1, "request_changes", actor=BEA, revision=1)
    asked = site.changes.review(P, 1, "request_changes", actor=BEA, revision=1, comment="why?")
    assert asked.state == "changes_requested"
    with pytest.raises(WrongState, match="was sent back: it cannot be merged"):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    site.changes.review(P, 1, "request_changes", actor=BEA, revision=1, comment="why?")  # word for word as before
    assert site.changes.get(P, 1).state == "changes_requested"
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate).state == "merged"


def test_the_same_review_again_is_one_review(site: Site) -> None:
    site.open()
    for _ in range(2):
        site.changes.review(P, 1, "approve", actor=BEA, revision=1, comment="good")
    assert len(site.changes.look(P, 1, actor=ADA).reviews) == 1
    with pytest.raises(ChangeMoved, match="at revision 1"):
        site.changes.review(P, 1, "approve", actor=BEA, revision=2)
    with pytest.raises(BadChange, match="changes no part"):
        site.changes.review(P, 1, "approve", actor=CAT, revision=1, parts=["model primary x"])


def test_an_approval_that_was_revoked_counts_no_more_and_says_why(site: Site) -> None:
    site.gated.policies.set(P, "bot/production", ONE_PERSON, actor=CAT)
    made = site.open()
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    [review] = site.changes.look(P, 1, actor=ADA).reviews
    site.gated.evidence.revoke(P, review.evidence, actor=CAT, reason="by mistake")
    looked = site.changes.look(P, 1, actor=ADA)
    assert looked.problems == {1: "it was revoked: by mistake"}
    assert looked.request.state == "open"
    with pytest.raises(GateRefused):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)  # the same words, said anew
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate).state == "merged"


def test_a_rejection_that_was_revoked_stops_nothing(site: Site) -> None:
    made = site.open()
    site.changes.review(P, 1, "request_changes", actor=BEA, revision=1, comment="no")
    [review] = site.changes.look(P, 1, actor=ADA).reviews
    site.gated.evidence.revoke(P, review.evidence, actor=CAT, reason="she left")
    assert site.changes.checks(P, 1, actor=ADA).mergeable
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate).state == "merged"


def test_changes_that_are_asked_for_while_a_merge_is_on_its_way_stop_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = site.open()
    move = site.gated.tetrads.releases.move_ref

    def later(*arguments: object, **more: object) -> object:
        site.changes.review(P, 1, "request_changes", actor=BEA, revision=1, comment="wait")
        return move(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(site.gated.tetrads.releases, "move_ref", later)
    with pytest.raises(WrongState, match="was sent back"):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    assert site.production() == site.first


# -- a moved ref ----------------------------------------------------------------------------------------------------


def test_a_rebase_keeps_the_approvals_of_parts_that_it_leaves_alone_and_makes_nobody_an_author(site: Site) -> None:
    site.gated.policies.set(P, "bot/other", ONE_PERSON, actor=CAT)
    site.open()
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    moved = site.move(sampling__max_tokens=10)
    assert site.changes.find(P)[0][2]  # behind
    with pytest.raises(ChangeBehind) as behind:
        site.changes.merge(P, 1, actor=ADA, expected_candidate=site.changes.get(P, 1).candidate)
    assert behind.value.current == moved
    plan = site.changes.plan_rebase(P, 1)
    assert ([part.outcome for part in plan.parts], plan.new_base) == (["clean"], moved)
    done = site.changes.rebase(P, 1, actor=CAT, expected_revision=1)
    assert (done.state, done.base, done.authors) == ("approved", moved, (ADA.id,))
    assert site.changes.rebase(P, 1, actor=CAT, expected_revision=1) == done
    site.gated.policies.set(P, "bot/production", {"schema": "tetrad.gate/1", "approvals": {"minimum": 2}}, actor=CAT)
    site.changes.review(P, 1, "approve", actor=CAT, revision=2)  # who rebased may approve
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=done.candidate).state == "merged"


def test_texts_that_changed_in_different_places_are_merged(site: Site) -> None:
    long = "---\nname: bot-system\nvariables:\n  tone: {default: kind}\n---\n# system\n\nBe {{tone}}.\n\nOne.\n\nTwo.\n"
    first = site.open(PartPatch("prompt.system", content=long), title="base")
    site.changes.merge(P, 1, actor=ADA, expected_candidate=first.candidate)
    site.open(PartPatch("prompt.system", content=long.replace("One.", "Uno.")), title="ours")
    theirs = site.open(PartPatch("prompt.system", content=long.replace("Two.", "Due.")), title="theirs")
    site.changes.review(P, 2, "approve", actor=BEA, revision=1)
    site.changes.merge(P, 3, actor=ADA, expected_candidate=theirs.candidate)
    [part] = site.changes.plan_rebase(P, 2).parts
    assert part.outcome == "merged"
    done = site.changes.rebase(P, 2, actor=ADA, expected_revision=1)
    assert done.state == "open"  # the text is a new one, and nobody has approved it
    tried = site.gated.tetrads.releases.resolve(P, done.candidate)
    assert tried.messages[0].text == "Be {{tone}}.\n\nUno.\n\nDue."


def test_what_both_sides_changed_is_shown_and_never_overwritten(site: Site) -> None:
    site.open(PartPatch("prompt.system", content=CALMER), COOLER)
    theirs = site.open(PartPatch("prompt.system", content=OTHER), WARMER)
    site.changes.merge(P, 2, actor=ADA, expected_candidate=theirs.candidate)
    plan = site.changes.plan_rebase(P, 1)
    assert set(plan.conflicts) == {"prompt.system", "sampling.temperature"}
    text = next(part.text for part in plan.parts if part.part == "prompt.system")
    assert text is not None
    assert "<<<<<<< the change request\nBe {{tone}} and calm.\n=======\nBe {{tone}} and brief.\n>>>>>>> the ref" in text
    with pytest.raises(RebaseConflict) as refused:
        site.changes.rebase(P, 1, actor=ADA, expected_revision=1)
    assert [place for place, _ in refused.value.details] == [("prompt.system",), ("sampling.temperature",)]
    assert site.changes.get(P, 1).revision == 1
    with pytest.raises(RebaseConflict):
        site.changes.rebase(P, 1, actor=ADA, expected_revision=1, resolutions=[COOLER])
    both = PartPatch("prompt.system", content=CALMER.replace("calm", "calm and brief"))
    done = site.changes.rebase(P, 1, actor=CAT, expected_revision=1, resolutions=[both, COOLER])
    assert (done.revision, done.authors) == (2, (ADA.id, CAT.id))  # who resolves writes, and is an author


def test_a_ref_that_has_all_of_it_already_leaves_nothing_to_rebase(site: Site) -> None:
    one, two = site.open(), site.open()
    assert one.candidate == two.candidate
    site.changes.merge(P, 1, actor=ADA, expected_candidate=one.candidate)
    assert [part.outcome for part in site.changes.plan_rebase(P, 2).parts] == ["same"]
    with pytest.raises(NothingChanges):
        site.changes.rebase(P, 2, actor=ADA, expected_revision=1)
    assert site.changes.close(P, 2, actor=ADA, reason="merged as #1").state == "closed"


# -- merges ---------------------------------------------------------------------------------------------------------


def test_of_two_merges_at_once_exactly_one_wins(site: Site) -> None:
    candidates = {1: site.open().candidate, 2: site.open(COOLER).candidate}
    gathered = threading.Barrier(2)
    answers: dict[int, object] = {}

    def merge(number: int) -> None:
        gathered.wait()
        try:
            answers[number] = site.changes.merge(P, number, actor=ADA, expected_candidate=candidates[number])
        except ChangeBehind as refused:
            answers[number] = refused

    threads = [threading.Thread(target=merge, args=(number,)) for number in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [number for number, answer in answers.items() if isinstance(answer, ChangeRequest)]
    [lost] = [answer for answer in answers.values() if isinstance(answer, ChangeBehind)]
    assert len(won) == 1
    assert site.production() == candidates[won[0]] == lost.current
    assert {site.changes.get(P, number).state for number in candidates} == {"merged", "open"}


def test_one_merge_asked_for_many_times_at_once_happens_once(site: Site) -> None:
    made = site.open()
    gathered = threading.Barrier(4)
    answers: list[object] = []

    def merge() -> None:
        gathered.wait()
        answers.append(site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate))

    threads = [threading.Thread(target=merge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [site.changes.get(P, 1)] * 4
    assert len(site.gated.tetrads.registry.ref_log(P, "bot/production")) == 2


def test_a_push_between_look_and_merge_stops_the_merge(site: Site) -> None:
    made = site.open()
    site.changes.push(P, 1, [COOLER], actor=ADA, expected_revision=1)
    with pytest.raises(ChangeMoved):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    assert site.production() == site.first


def test_a_merge_that_cannot_end_its_request_moves_no_ref(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made = site.open()
    seen = site.store.update

    def late(project: str, number: int, decide: object, transaction: object = None) -> object:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(site.store, "update", late)
    with pytest.raises(RuntimeError):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate)
    assert site.production() == site.first
    monkeypatch.setattr(site.store, "update", seen)
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate).state == "merged"


def test_broken_glass_merges_once_and_is_audited(site: Site) -> None:
    policy = {**TWO_PEOPLE, "break_glass": {"any_of": ["scope:admin"], "minutes": 5}}
    site.gated.policies.set(P, "bot/production", policy, actor=CAT)
    made = site.open()
    assert site.changes.checks(P, 1, actor=CAT).can_break_glass
    assert not site.changes.checks(P, 1, actor=ADA).can_break_glass
    with pytest.raises(TetradError, match="may not break the glass"):
        site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate, break_glass="fire")
    done = site.changes.merge(P, 1, actor=CAT, expected_candidate=made.candidate, break_glass="fire")
    assert done.merge is not None
    assert (done.merge.broke_glass, done.merge.reason) == (True, "fire")
    assert ("person_cat", "gate.glass_broken", "bot/production") in site.gated.audited.events


def test_checks_name_who_could_supply_what_is_missing(site: Site) -> None:
    policy = {
        "schema": "tetrad.gate/1", "suites": [{"suite": "smoke"}],
        "approvals": {"minimum": 1, "owners": [{"part": "prompt", "any_of": ["person_cat"]}]},
    }  # fmt: skip
    site.gated.policies.set(P, "bot/production", policy, actor=CAT)
    site.open()
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    failed = {each.name: each for each in site.changes.checks(P, 1, actor=ADA).requirements if not each.passed}
    assert failed["suite:smoke"].who[-1] == "ci"
    assert failed[f"approval:{PROMPT}"].who == ("person_cat",)
    assert "of person_cat" in failed[f"approval:{PROMPT}"].reason
    assert set(failed) == {"suite:smoke", f"approval:{PROMPT}"}


# -- limits and ends ------------------------------------------------------------------------------------------------


def test_past_each_limit_nothing_is_kept(database: Database, tmp_path: Path) -> None:
    site = wire_changes(
        database, tmp_path, limits=ChangeLimits(max_open=1, max_revisions=2, max_reviews=1, max_comments=1)
    )
    site.open()
    with pytest.raises(TooManyChanges, match="has 1 change requests"):
        site.open(PartPatch("prompt.system", content=OTHER))
    assert len(site.gated.tetrads.registry.versions(P, "prompt", "bot-system")) == 2  # nothing was kept
    site.changes.push(P, 1, [COOLER], actor=ADA, expected_revision=1)
    with pytest.raises(TooManyChanges, match="2 revisions"):
        site.changes.push(P, 1, [WARMER], actor=ADA, expected_revision=2)
    site.changes.review(P, 1, "approve", actor=BEA, revision=2)
    with pytest.raises(TooManyChanges, match="1 reviews"):
        site.changes.review(P, 1, "approve", actor=CAT, revision=2)
    site.changes.comments.add(P, 1, "one", actor=BEA)
    with pytest.raises(TooManyChanges, match="1 comments"):
        site.changes.comments.add(P, 1, "two", actor=BEA)
    with pytest.raises(BadChange, match="title"):
        site.changes.edit(P, 1, actor=ADA, title="x" * 201)
    site.changes.close(P, 1, actor=ADA)
    assert site.open(COOLER).number == 2


def test_what_has_ended_holds_nothing_and_takes_nothing(site: Site) -> None:
    made = site.open()
    assert set(site.changes.held(P)) == {site.first, made.candidate}
    site.changes.close(P, 1, actor=ADA)
    assert list(site.changes.held(P)) == []
    assert site.changes.candidates() == []
    for refused in (
        lambda: site.changes.push(P, 1, [COOLER], actor=ADA, expected_revision=1),
        lambda: site.changes.review(P, 1, "approve", actor=BEA, revision=1),
        lambda: site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate),
        lambda: site.changes.comments.add(P, 1, "late", actor=BEA),
        lambda: site.changes.edit(P, 1, actor=ADA, title="late"),
    ):
        with pytest.raises(WrongState):
            refused()


def test_a_full_history_lets_a_request_end_and_nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made = site.open()
    monkeypatch.setattr(_store, "MAX_EVENTS", 1)
    with pytest.raises(TooManyChanges, match="history of 1 entries"):
        site.changes.push(P, 1, [COOLER], actor=ADA, expected_revision=1)
    assert site.changes.get(P, 1).revision == 1
    assert site.changes.merge(P, 1, actor=ADA, expected_candidate=made.candidate).state == "merged"


def test_of_two_pushes_at_once_one_is_told_of_the_other(site: Site) -> None:
    site.open()
    gathered = threading.Barrier(2)
    answers: list[object] = []

    def push(patch: PartPatch) -> None:
        gathered.wait()
        try:
            answers.append(site.changes.push(P, 1, [patch], actor=ADA, expected_revision=1).revision)
        except ChangeMoved as refused:
            answers.append(refused.current)

    threads = [threading.Thread(target=push, args=(patch,)) for patch in (COOLER, WARMER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [2, 2]
    assert [each.number for each in site.changes.look(P, 1, actor=ADA).revisions] == [1, 2]


def test_a_draft_that_means_another_prompt_by_now_is_said_to_be_so(site: Site) -> None:
    prompts = site.gated.tetrads.prompts

    def rules(text: str) -> None:
        prompts.commit(P, prompts.read("rules", f"---\ntype: text\n---\n\n{text}\n"), actor=CAT)

    rules("Be brief.")
    draft = site.open(PartPatch("prompt.system", content="# system\n\nBe kind. {{> rules}}\n"), draft=True)
    [candidate] = site.changes.candidates()
    assert site.changes.resolve(candidate).messages[0].text == "Be kind. Be brief."
    kept = site.open(PartPatch("prompt.system", content="# system\n\nBe kind. {{> rules}}\n"))
    assert kept.candidate == draft.candidate  # what is tried is what is kept, includes too
    rules("Be very brief.")
    site.changes._planned.clear()
    with pytest.raises(BadChange, match="parts resolve to"):
        site.changes.resolve(candidate)
    with pytest.raises(BadChange, match="parts resolve to"):
        site.changes.propose(P, 1, actor=ADA)
    pushed = site.changes.push(
        P, 1, [PartPatch("prompt.system", content="# system\n\nBe kind! {{> rules}}\n")], actor=ADA,
        expected_revision=1,
    )  # fmt: skip
    assert site.changes.propose(P, 1, actor=ADA).candidate == pushed.candidate


def test_numbers_are_given_once_under_concurrency(site: Site) -> None:
    gathered = threading.Barrier(4)
    numbers: list[int] = []

    def propose(index: int) -> None:
        gathered.wait()
        numbers.append(site.open(PartPatch("sampling.seed", index)).number)

    threads = [threading.Thread(target=propose, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4]


def test_an_edit_keeps_what_was_said_before(site: Site) -> None:
    site.open()
    site.changes.edit(P, 1, actor=ADA, title="Be much calmer")
    assert site.changes.edit(P, 1, actor=ADA, title="Be much calmer").title == "Be much calmer"
    [edited, _] = site.changes.events(P, 1)
    assert (edited.kind, edited.detail) == ("edited", {"before": {"title": "Be calmer"}})
    with pytest.raises(NotYours):
        site.changes.edit(P, 1, actor=BEA, title="Mine")


def test_a_merge_passes_exactly_where_the_policy_is_met(site: Site) -> None:
    """Try every combination of what a policy asks, against a plain reading of it."""
    policy = {
        "schema": "tetrad.gate/1", "suites": [{"suite": "smoke"}],
        "approvals": {"minimum": 1, "owners": [{"part": "graph", "any_of": ["person_cat"]}]},
    }  # fmt: skip
    site.gated.policies.set(P, "bot/production", policy, actor=CAT)
    for number, (by_bea, by_cat, tested, sent_back) in enumerate(product((False, True), repeat=4), 1):
        made = site.open(PartPatch("sampling.seed", number))  # a part that nobody has judged before
        if by_bea:
            site.changes.review(P, number, "approve", actor=BEA, revision=1)
        if by_cat:
            site.changes.review(P, number, "approve", actor=CAT, revision=1)
        if tested:
            site.gated.tested(made.candidate)
        if sent_back:
            site.changes.review(P, number, "request_changes", actor=EVE, revision=1, comment="no")
        expected = by_cat and tested and not sent_back
        assert site.changes.checks(P, number, actor=ADA).mergeable == expected
        before = site.production()
        if expected:
            site.changes.merge(P, number, actor=ADA, expected_candidate=made.candidate)
            assert site.production() == made.candidate
        else:
            with pytest.raises((GateRefused, WrongState)):
                site.changes.merge(P, number, actor=ADA, expected_candidate=made.candidate)
            assert site.production() == before


@pytest.mark.parametrize("what", ["open", "propose", "review", "push", "rebase"])
def test_what_was_cut_off_before_its_row_is_done_by_doing_it_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Everything that is kept elsewhere is kept before the request's own row: a second try finds it there."""

    def act() -> ChangeRequest:
        match what:
            case "open":
                return site.open(title="again")
            case "propose":
                return site.changes.propose(P, 1, actor=ADA)
            case "review":
                return site.changes.review(P, 1, "approve", actor=BEA, revision=1)
            case "push":
                return site.changes.push(P, 1, [WARMER], actor=ADA, expected_revision=1)
        return site.changes.rebase(P, 1, actor=ADA, expected_revision=1)

    site.open(draft=what == "propose")
    if what == "rebase":
        site.move(sampling__seed=1)

    def cut(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(site.store, "add", cut)
        broken.setattr(site.store, "update", cut)
        with pytest.raises(KeyboardInterrupt):
            act()
    evidence = len(site.gated.evidence.find(P))
    releases = len(site.gated.tetrads.releases.releases(P, "bot"))
    done = act()
    assert done.state == ("approved" if what == "review" else "open")
    assert len(site.gated.evidence.find(P)) == evidence
    assert len(site.gated.tetrads.releases.releases(P, "bot")) == releases


def test_the_registry_lets_what_is_written_beside_a_move_hold_only_with_it(site: Site) -> None:
    releases = site.gated.tetrads.releases
    other = site.open(COOLER).candidate
    seen: list[object] = []

    def refuse(transaction: object) -> None:
        seen.append(transaction)
        raise WrongState("not now")

    with pytest.raises(WrongState):
        releases.move_ref(P, "bot", "production", other, expected=site.first, actor=ADA, within=refuse)
    assert (len(seen), site.production()) == (1, site.first)
    site.gated.policies.set(P, "bot/production", TWO_PEOPLE, actor=CAT)
    with pytest.raises(GateRefused):  # before anything is written beside it
        releases.move_ref(P, "bot", "production", other, expected=site.first, actor=ADA, within=refuse)
    assert len(seen) == 1


def test_a_patch_has_a_size(site: Site) -> None:
    with pytest.raises(BadChange, match="a patch of 101 parts"):
        site.open(*(PartPatch("sampling.seed", number) for number in range(101)))
    with pytest.raises(TooLarge, match="bytes of prompts in one patch"):
        site.open(*(PartPatch("prompt.system", content="x" * 250_000) for _ in range(5)))
    with pytest.raises(BadChange, match="stands twice"):
        site.open(COOLER, WARMER)
