"""What manifests say of parts, what a rebase makes of them, who may supply what is missing: without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tetrad.changes import ChangeRequest, PartPatch, replaced
from tetrad.changes._checks import requirements
from tetrad.changes._model import part_in, same_part, say_part
from tetrad.changes._rebase import rebased
from tetrad.kernel import Digest, Principal
from tetrad.registry import Check, Gate, GateCheck, RefRule, Verdict, read_policy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE, TWO = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)
MANIFEST = {
    "prompt": [{"role": "system", "name": "hello", "digest": ONE, "semver": "1.2.0"}],
    "data": [
        {"role": "eval", "name": "easy", "digest": ONE},
        {"role": "eval", "name": "hard", "digest": TWO},
    ],
    "model": [],
    "graph": [{"step": "answer", "sampling": {"seed": 7}}],
}
ADA = Principal("person_ada", "person", "Ada", frozenset({"control", "review"}))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("prompt.system", "hello@1.2.0"),
        ("data.eval", "easy@sha256:111111111111, hard@sha256:222222222222"),
        ("data.eval/hard", "hard@sha256:222222222222"),
        ("data.train", "nothing"),
        ("model.primary", "nothing"),
        ("sampling.seed", "7"),
        ("sampling.top_p", "nothing"),
    ],
)
def test_a_part_is_found_in_a_manifest_and_said(part: str, said: str) -> None:
    assert say_part(part_in(MANIFEST, part)) == said


def test_a_value_of_null_is_not_the_same_as_no_value() -> None:
    with_null = {"graph": [{"sampling": {"stop": None}}]}
    without: dict[str, Any] = {"graph": [{"sampling": {}}]}
    assert not same_part(part_in(with_null, "sampling.stop"), part_in(without, "sampling.stop"))


def test_a_prompt_that_was_named_is_never_merged_into_a_text_unasked() -> None:
    def manifest(digest: str) -> dict[str, Any]:
        return {"prompt": [{"role": "system", "name": "hello", "digest": digest}]}

    def text(entry: Mapping[str, Any]) -> str:
        return {"base": "a\nb\nc\n", "ours": "A\nb\nc\n", "theirs": "a\nb\nC\n"}[entry["digest"]]

    [part] = rebased(
        [PartPatch("prompt.system", "hello@1.1.0")], manifest("base"), manifest("ours"), manifest("theirs"), text
    )
    assert (part.outcome, part.patch, part.text) == ("conflict", None, "A\nb\nC\n")  # shown, to be taken or not


def test_a_line_that_moves_to_another_message_is_found_there() -> None:
    place = replaced(1, 2, ["one\ntwo", "three"], ["one", "two\nthree"])
    assert (place.state, place.message, place.line) == ("moved", 2, 1)
    assert replaced(1, 9, ["one"], ["one"]).state == "outdated"


def request(**changes: Any) -> ChangeRequest:
    found: dict[str, Any] = {
        "project": "p", "number": 7, "app": "bot", "ref": "production", "title": "t", "description": "",
        "expected_outcome": "", "state": "open", "author": "a", "author_name": "A", "created_at": NOW,
        "updated_at": NOW, "revision": 1, "base": ONE, "candidate": TWO, "authors": ("a",), "parts": (),
    }  # fmt: skip
    return ChangeRequest(**{**found, **changes})


def answered(
    policy: Mapping[str, Any], *checks: Check, passed: bool = False
) -> tuple[list[GateCheck], dict[str, Gate]]:
    rule = RefRule("p", "*/production", "evidence", ONE, NOW, "root")
    read = read_policy({"schema": "tetrad.gate/1", **policy})
    return [GateCheck(rule, Verdict(passed, checks), ())], {rule.pattern: Gate(rule, read)}


def test_who_could_supply_what_is_missing_is_read_from_the_policy() -> None:
    policy = {
        "approvals": {"minimum": 1, "owners": [{"part": "prompt", "name": "legal-*", "any_of": ["person_lee"]}]},
        "signers": ["key-of-ci"], "suites": [{"suite": "smoke"}],
    }  # fmt: skip
    answers, gates = answered(
        policy,
        Check("approval:prompt system legal-notice", False, "0 of 1"),
        Check("approval:data eval easy", False, "0 of 1"),
        Check("suite:smoke", False, "no result"),
        Check("licences", True, "every licence is allowed"),
    )
    found = {each.name: each for each in requirements(request(), ONE, answers, gates, ["other"], ADA).requirements}
    assert found["approval:prompt system legal-notice"].who == ("person_lee",)
    assert found["approval:data eval easy"].who == ("people with the scope review who did not push to it",)
    assert found["suite:smoke"].who == ("key-of-ci",)
    assert (found["licences"].kind, found["licences"].passed) == ("licence", True)


def test_a_gate_whose_policy_cannot_be_read_stops_a_merge_and_says_who_mends_it() -> None:
    rule = RefRule("p", "*/production", "evidence", None, NOW, "root")
    broken = [GateCheck(rule, None, (), "the gate has no policy")]
    checks = requirements(request(), ONE, broken, {rule.pattern: Gate(rule, None)}, [], ADA)
    assert (checks.mergeable, checks.can_break_glass) == (False, False)
    assert checks.requirements[-1].who == ("scope:admin",)


@pytest.mark.parametrize(
    ("state", "current", "mergeable"),
    [
        ("open", ONE, True), ("approved", ONE, True), ("open", TWO, False), ("open", None, False),
        ("draft", ONE, False), ("changes_requested", ONE, False), ("merged", ONE, False), ("closed", ONE, False),
    ],
)  # fmt: skip
def test_every_merge_needs_a_state_and_the_refs_release_as_base(
    state: str, current: Digest | None, mergeable: bool
) -> None:
    assert requirements(request(state=state), current, [], {}, [], ADA).mergeable == mergeable
