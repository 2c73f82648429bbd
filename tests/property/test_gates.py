"""No evidence, however arranged, gets past a gate that does not ask for it; a gate and a plain reading of it agree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import Digest, digest_json
from tetrad.registry import (
    APPROVAL,
    EXCEPTION,
    TEST_RESULT,
    VERDICT,
    Counted,
    Facts,
    GatePolicy,
    Statement,
    Verdict,
    decide,
    new_key,
    parts_of,
    read_envelope,
    read_policy,
    sign_statement,
)
from tetrad.registry._evidence import from_base64, to_base64
from tetrad.registry._policy import Part
from tetrad.registry._signing import verifying_keys

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PEOPLE = ("ada", "bea", "cat")
SUITES = ("smoke", "safety")
CANDIDATE, BASELINE, OTHER, POLICY = (Digest(f"sha256:{number:064x}") for number in range(1, 5))
PARTS = tuple(Part(kind, digest_json({"part": kind}), "r", kind) for kind in ("prompt", "model", "data"))
KEY = new_key("p", "k", at=NOW, by="x")

seals = st.sets(st.sampled_from([part.seal for part in PARTS]))
ages = st.integers(0, 40)
scopes = st.lists(st.just("admin"), max_size=1)
days_left = st.integers(-2, 2)


@st.composite
def approvals(draw: Any) -> Counted:
    bound = sorted(draw(seals))
    kind = draw(st.sampled_from(["person", "person", "key"]))
    said = draw(st.sampled_from(["approve", "approve", "reject"]))
    predicate = {
        "decision": said, "project": draw(st.sampled_from(["p", "p", "q"])),
        "approver": {"id": draw(st.sampled_from(PEOPLE)), "kind": kind, "scopes": draw(scopes)},
        "parts": [{"kind": "x", "seal": seal} for seal in bound],
    }  # fmt: skip
    subjects = frozenset({CANDIDATE, *(bound if draw(st.integers(0, 5)) else ())})
    return counted(draw, APPROVAL, subjects, predicate)


@st.composite
def results(draw: Any) -> Counted:
    predicate = {
        "result": draw(st.sampled_from(["PASSED", "PASSED", "FAILED", "nonsense"])),
        "suite": {
            "name": draw(st.sampled_from(SUITES)),
            "metrics": draw(st.sampled_from([{}, {"a": 0.5}, {"a": 0.9}])),
        },
    }
    subject = draw(st.sampled_from([CANDIDATE, CANDIDATE, BASELINE, OTHER]))
    return counted(draw, TEST_RESULT, frozenset({subject}), predicate)


def counted(draw: Any, kind: str, subjects: frozenset[str], predicate: dict[str, Any]) -> Counted:
    received = NOW - timedelta(days=draw(ages))
    expires = draw(st.none() | st.integers(-5, 5).map(lambda days: NOW + timedelta(days=days)))
    name = Digest(f"sha256:{draw(st.integers(100, 2**64)):064x}")
    return Counted(name, kind, subjects, predicate, draw(st.sampled_from(["k1", "k2"])), received, expires)


policies = st.builds(
    lambda minimum, self_approval, by, owner, suites, age, signers: read_policy(
        {
            "approvals": {
                "minimum": minimum, "self_approval": self_approval, "by": by,
                "owners": [{"part": "model", "any_of": ["cat", "scope:admin"]}] if owner else [],
            },
            "suites": [
                {"suite": name, "max_age_days": age, "metrics": [{"metric": "a", "min": 0.8, "max_regression": 0.1}]}
                for name in suites
            ],
            "signers": signers,
        }
    ),
    st.integers(0, 2), st.booleans(), st.sampled_from([["person"], ["person", "key"]]), st.booleans(),
    st.lists(st.sampled_from(SUITES), unique=True), st.sampled_from([7, 30]), st.sampled_from([[], ["k1"]]),
)  # fmt: skip
facts = st.builds(
    lambda baseline, before, authors: Facts(
        "p", "bot/production", CANDIDATE, baseline, POLICY, PARTS, frozenset(before),
        {part.seal: frozenset(authors) for part in PARTS},
    ),
    st.sampled_from([None, BASELINE]), seals, st.sets(st.sampled_from(PEOPLE), max_size=2),
)  # fmt: skip
candidates = facts | facts.map(lambda known: msgspec.structs.replace(known, kind="binding"))
evidence = st.lists(approvals() | results(), max_size=14, unique_by=lambda each: each.digest)


def plainly(policy: GatePolicy, found: Sequence[Counted], known: Facts) -> bool:
    """Read the policy word by word, slowly, without the gate's own code."""
    live = [each for each in sorted(found, key=lambda e: e.received_at) if not each.expires_at or each.expires_at > NOW]

    def newest(suite: str, subject: str | None) -> Counted | None:
        mine = [
            each for each in live
            if each.type == TEST_RESULT and subject in each.subjects and each.predicate["suite"]["name"] == suite
            and each.predicate["result"] in ("PASSED", "WARNED", "FAILED")
            and (not policy.signers or each.key_id in policy.signers)
        ]  # fmt: skip
        return mine[-1] if mine else None

    least = policy.approvals.minimum
    if known.kind == "binding" and policy.suites:  # nobody runs a suite on a binding: somebody approves it instead
        least = max(least, 1)
    for rule in policy.suites if known.kind == "release" else ():
        now = newest(rule.suite, known.candidate)
        if now is None or now.predicate["result"] != "PASSED":
            return False
        if NOW - now.received_at > timedelta(days=rule.max_age_days or 10_000):
            return False
        value = now.predicate["suite"]["metrics"].get("a")
        if value is None or value < 0.8:
            return False
        if known.baseline is not None:
            before = newest(rule.suite, known.baseline)
            old = before.predicate["suite"]["metrics"].get("a") if before else None
            if old is None or old - value > 0.1:
                return False
    if not least and not policy.approvals.owners:
        return True
    for part in PARTS:
        if part.seal in known.baseline_seals:
            continue
        last: dict[str, Counted] = {}
        for each in live:
            said = each.predicate
            if each.type != APPROVAL or said["project"] != "p" or said["approver"]["kind"] not in policy.approvals.by:
                continue
            if part.seal in each.subjects and part.seal in [bound["seal"] for bound in said["parts"]]:
                last[said["approver"]["id"]] = each
        if any(each.predicate["decision"] == "reject" for each in last.values()):
            return False
        yes = [who for who in last if policy.approvals.self_approval or who not in known.authors[part.seal]]
        if len(yes) < least:
            return False
        owners = [who for who in yes if who == "cat" or last[who].predicate["approver"]["scopes"]]
        if part.kind == "model" and policy.approvals.owners and not owners:
            return False
    return True


@given(policies, evidence, candidates)
def test_a_gate_decides_as_its_policy_reads(policy: GatePolicy, found: list[Counted], known: Facts) -> None:
    assert decide(policy, found, known, NOW).passed == plainly(policy, found, known)


@given(policies, facts)
def test_no_gate_that_asks_for_anything_lets_a_new_binding_pass_on_nothing(policy: GatePolicy, known: Facts) -> None:
    bound = msgspec.structs.replace(known, kind="binding", baseline_seals=frozenset())
    asks = policy.suites or policy.approvals.minimum or policy.approvals.owners
    assert decide(policy, [], bound, NOW).passed == (not asks)


@given(policies, evidence, candidates)
def test_a_refusal_has_reasons_and_a_pass_rests_on_what_was_given(
    policy: GatePolicy, found: list[Counted], known: Facts
) -> None:
    verdict = decide(policy, found, known, NOW)
    assert verdict.passed or verdict.reasons
    assert verdict.passed == all(check.passed for check in verdict.checks)
    assert set(verdict.inputs) <= {each.digest for each in found}


@given(policies, evidence, candidates)
def test_what_a_pass_rests_on_is_enough_for_it(policy: GatePolicy, found: list[Counted], known: Facts) -> None:
    verdict = decide(policy, found, known, NOW)
    if verdict.passed:
        assert decide(policy, [each for each in found if each.digest in verdict.inputs], known, NOW).passed


def summary(verdict: str, ref: str, policy: str, inputs: Sequence[str] = (), glass: str = "") -> dict[str, Any]:
    return {
        "verificationResult": verdict, "policy": {"digest": {"sha256": policy.removeprefix("sha256:")}},
        "inputAttestations": [{"digest": {"sha256": each.removeprefix("sha256:")}} for each in inputs],
        "tetrad": {"project": "p", "ref": ref, "break_glass": glass},
    }  # fmt: skip


@given(
    facts, st.sampled_from(["PASSED", "FAILED"]), st.sampled_from(["bot/production", "bot/staging"]),
    st.sampled_from([POLICY, OTHER]), st.booleans(), st.booleans(), st.sampled_from([CANDIDATE, OTHER]), days_left,
)  # fmt: skip
def test_an_older_verdict_helps_only_where_it_fits_in_everything(
    known: Facts, outcome: str, ref: str, policy: Digest, glass: bool, revoked: bool, subject: Digest, days: int
) -> None:
    asks = read_policy({"suites": [{"suite": "smoke"}]})
    predicate = summary(outcome, ref, policy, [OTHER] if revoked else [], "sha256:x" if glass else "")
    each = Counted(Digest("sha256:v"), VERDICT, frozenset({subject}), predicate, "k", NOW, NOW + timedelta(days=days))
    fits = (outcome, ref, policy, glass, revoked, subject) == (
        "PASSED",
        "bot/production",
        POLICY,
        False,
        False,
        CANDIDATE,
    )
    assert decide(asks, [each], known, NOW).passed == (fits and days > 0)


@given(
    st.sampled_from([("cat", ["admin"]), ("ada", ["control"])]), st.sampled_from(["p", "q"]),
    st.sampled_from(["bot/production", "bot/staging"]), st.sampled_from([CANDIDATE, OTHER]), st.booleans(),
    st.booleans(), st.integers(-2, 2),
)  # fmt: skip
def test_broken_glass_helps_once_for_one_move_by_one_who_may(
    who: tuple[str, list[str]], project: str, ref: str, subject: Digest, spent: bool, allowed: bool, minutes: int
) -> None:
    asks = read_policy({"suites": [{"suite": "smoke"}], "break_glass": {} if allowed else None})
    actor = {"id": who[0], "kind": "person", "scopes": who[1]}
    predicate = {"project": project, "ref": ref, "actor": actor, "reason": "outage"}
    glass = Counted(
        Digest("sha256:g"), EXCEPTION, frozenset({subject}), predicate, "k", NOW, NOW + timedelta(minutes=minutes)
    )
    used = summary("PASSED", "bot/production", OTHER, ["sha256:g"], "sha256:g")
    # Its verdict has expired: that the glass was used is not forgotten with it.
    before = Counted(Digest("sha256:v"), VERDICT, frozenset({CANDIDATE}), used, "k", NOW, NOW - timedelta(days=1))
    known = Facts("p", "bot/production", CANDIDATE, None, POLICY, PARTS)
    verdict: Verdict = decide(asks, [glass, *([before] if spent else [])], known, NOW)
    fits = (who[0], project, ref, subject) == ("cat", "p", "bot/production", CANDIDATE)
    assert verdict.passed == (fits and allowed and not spent and minutes > 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
manifests = st.dictionaries(st.sampled_from(["code", "data", "model", "config", "x"]), json_values, max_size=4)


@given(manifests, manifests)
def test_nothing_of_a_release_is_outside_of_its_parts(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Whoever approved all parts approved the whole: what differs in anything but order differs in a part."""
    sealed = [{part.seal for part in parts_of("release", CANDIDATE, each)} for each in (one, other)]
    read = [{key: in_any_order(value) for key, value in each.items()} for each in (one, other)]
    same = read[0] == read[1]
    assert (sealed[0] == sealed[1]) == same


def in_any_order(value: object) -> tuple[bool, list[bytes]]:
    listed = isinstance(value, list) and bool(value)
    entries = value if isinstance(value, list) and value else [value]
    return listed, sorted(msgspec.json.encode(each, order="sorted") for each in entries)


@given(st.data())
def test_no_byte_of_an_envelope_can_be_changed_unseen(data: st.DataObject) -> None:
    envelope = sign_statement(
        KEY, Statement(TEST_RESULT, (("r", CANDIDATE),), {"result": "PASSED", "suite": {"name": "s"}})
    )
    document = envelope.document()
    body = bytearray(envelope.body())
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    changed = {**document, "payload": to_base64(bytes(body))}
    assert verifying_keys(read_envelope(document), [KEY]) == [KEY]
    assert verifying_keys(read_envelope(changed), [KEY]) == []
    signature = bytearray(from_base64(document["signatures"][0]["sig"], "signature"))
    signature[data.draw(st.integers(0, 63))] ^= data.draw(st.integers(1, 255))
    forged = {**document, "signatures": [{"keyid": KEY.id, "sig": to_base64(bytes(signature))}]}
    assert verifying_keys(read_envelope(forged), [KEY]) == []
