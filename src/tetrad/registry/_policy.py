"""Gate policies, and the decision whether a ref may move: pure, so that it can be proven never to be bypassed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from tetrad.kernel import Digest, canonical_json, digest_json, short
from tetrad.registry._evidence import (
    APPROVAL,
    EXCEPTION,
    TEST_RESULT,
    VERDICT,
    Approval,
    ApprovedPart,
    Counted,
    GlassBroken,
    Summary,
    TestResult,
    read_predicate,
)
from tetrad.registry.errors import BadEvidence, BadPolicy

POLICY_SCHEMA: Final = "tetrad.gate/1"
RELEASE = "release"
BINDING = "binding"
MAX_REASON_CHARS = 500
_Count = Annotated[int, msgspec.Meta(ge=0, le=100)]
_Days = Annotated[float, msgspec.Meta(gt=0, le=3650)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
T = TypeVar("T")


class MetricRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a metric of a suite must be. `max_regression` is in the metric's unit, against the current release."""

    metric: _Name
    min: float | None = None
    max: float | None = None
    max_regression: Annotated[float, msgspec.Meta(ge=0)] | None = None
    better: Literal["higher", "lower"] = "higher"


class SuiteRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A suite that must have passed on the candidate; the newest result is the one that counts."""

    suite: _Name
    digest: str = ""
    metrics: tuple[MetricRule, ...] = ()
    min_cases: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_age_days: _Days | None = None


class OwnerRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose approval a part of a kind needs when it changes. `any_of` holds ids of actors, or `scope:admin`."""

    part: _Name
    any_of: tuple[_Name, ...]
    name: _Name = "*"
    minimum: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1


class ApprovalRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many must approve each part that changes, and who may. Keys do not, unless `by` names them."""

    minimum: _Count = 0
    self_approval: bool = False
    by: tuple[Literal["person", "key"], ...] = ("person",)
    owners: tuple[OwnerRule, ...] = ()
    max_age_days: _Days | None = None


class BreakGlass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may let one move pass all the same, giving a reason, and for how long that holds."""

    any_of: tuple[_Name, ...] = ("scope:admin",)
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 60


class GatePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which evidence a ref needs before it may move.

    `licences` None asks nothing; else every weight must have one of them. `signers` are the ids of the keys whose test
    results count (empty: all trusted ones). `verdict_days` is how long a passed verdict lets a ref move back.
    """

    schema: Literal["tetrad.gate/1"] = POLICY_SCHEMA
    suites: tuple[SuiteRule, ...] = ()
    approvals: ApprovalRule = ApprovalRule()
    licences: tuple[_Name, ...] | None = None
    signers: tuple[_Name, ...] = ()
    verdict_days: _Days = 90
    break_glass: BreakGlass | None = None

    def document(self) -> dict[str, Any]:
        """Return it with every default written out: the form whose digest is the policy."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def read_policy(value: object) -> GatePolicy:
    """Read a policy from JSON, or refuse with `BadPolicy`, which says where it is wrong."""
    try:
        canonical_json(value)
        policy = msgspec.convert(value, GatePolicy)
    except msgspec.ValidationError as error:
        raise BadPolicy(f"the policy is wrong: {error}", hint="see docs/how-to/gate-a-ref.md") from None
    names = [rule.suite for rule in policy.suites]
    if len(set(names)) != len(names):
        raise BadPolicy("a suite stands twice in the policy", hint="put all its metrics under one entry")
    if any(not rule.any_of for rule in policy.approvals.owners):
        raise BadPolicy("an owner rule without owners can never be met", hint="name actors in any_of")
    return policy


# -- parts --------------------------------------------------------------------------------------------------------


class Part(msgspec.Struct, frozen=True):
    """A piece of what a ref points to. `seal` is the digest of all that is said of it, its kind included.

    `adapters` are those that a model is loaded with.
    """

    kind: str
    seal: Digest
    role: str = ""
    name: str = ""
    digest: Digest | None = None
    weights: bool = False
    adapters: tuple[Digest, ...] = ()

    def label(self) -> str:
        """Say which part it is, for people."""
        return " ".join(filter(None, (self.kind, self.role, self.name)))

    def bound(self) -> ApprovedPart:
        """Return what an approval says of it."""
        return ApprovedPart(self.kind, self.seal, self.role, self.name)


def parts_of(kind: str, digest: Digest, document: Mapping[str, Any] | None) -> tuple[Part, ...]:
    """Take an artifact apart: a release into the entries of its manifest, anything else is one part.

    Nothing of a manifest is outside of its parts, so whoever has approved all parts has approved the whole.
    """
    if kind != RELEASE or document is None:
        return (Part(kind, digest_json({"kind": kind, "digest": digest}), digest=digest),)
    found: list[Part] = []
    for section, value in document.items():
        listed = isinstance(value, list) and bool(value)
        entries: dict[bytes, list[object]] = {}
        for entry in value if listed else [value]:
            entries.setdefault(canonical_json(entry), []).append(entry)
        found += [_part(section, same[0], len(same) if listed else 0) for same in entries.values()]
    return tuple(sorted(found, key=lambda part: (part.kind, part.role, part.name, part.seal)))


def _part(section: str, entry: object, times: int) -> Part:
    """`times` is how often the entry stands in its list; 0 for what is no list, or an empty one."""
    seal = digest_json({"kind": section, "entry": entry, "times": times})
    if not isinstance(entry, Mapping):
        return Part(section, seal)
    digest, role, name = (entry.get(key) for key in ("digest", "role", "name"))
    step = entry.get("step")
    return Part(
        section, seal, role if isinstance(role, str) else "",
        next((each for each in (name, step) if isinstance(each, str)), ""),
        Digest(digest) if isinstance(digest, str) else None, entry.get("kind") in ("weights", "adapter"),
        _adapters(entry.get("adapters")) if section == "model" else (),
    )  # fmt: skip


def _adapters(listed: object) -> tuple[Digest, ...]:
    named = [each.get("digest") for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    return tuple(Digest(digest) for digest in named if isinstance(digest, str))


# -- the decision -------------------------------------------------------------------------------------------------


class Facts(msgspec.Struct, frozen=True):
    """What a gate knows besides evidence. `authors` and `licences` are by a part's seal, `kind` is the candidate's.

    Licences of adapters are by their digests.

    `revoked` says in sentences why the candidate is broken: what it contains or derives from was revoked.
    """

    project: str
    ref: str
    candidate: Digest
    baseline: Digest | None
    policy: Digest
    parts: tuple[Part, ...]
    baseline_seals: frozenset[str] = frozenset()
    authors: Mapping[str, frozenset[str]] = {}
    licences: Mapping[str, frozenset[str]] = {}
    kind: str = RELEASE
    revoked: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[Part, ...]:
        """The parts that the current release does not have."""
        return tuple(part for part in self.parts if part.seal not in self.baseline_seals)


class Check(msgspec.Struct, frozen=True):
    """One condition, whether it holds, and why."""

    name: str
    passed: bool
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """Whether a ref may move, every condition, and the envelopes that it rests on."""

    passed: bool
    checks: tuple[Check, ...]
    inputs: tuple[Digest, ...] = ()
    break_glass: Digest | None = None
    standing: Digest | None = None
    valid_until: datetime | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not, in sentences; when it passed, why."""
        failed = tuple(check.reason for check in self.checks if not check.passed)
        return failed if failed and not self.passed else tuple(check.reason for check in self.checks if check.passed)


def decide(policy: GatePolicy, evidence: Sequence[Counted], facts: Facts, now: datetime) -> Verdict:
    """Decide whether a ref may move to a candidate.

    `evidence` holds statements whose signatures were verified; what has expired, is about something else, or comes
    from a key that may not say it, counts for nothing. A move back to what passed this same policy on this same ref
    passes by that verdict while it stands. Broken glass passes a move that nothing else lets pass, once.

    Suites judge releases, so none is asked of a binding; where a policy asks for suites, a binding needs an approval
    instead, so that no gate lets one pass on nothing. What was revoked, or rests on it, passes by broken glass alone.
    """
    live = [each for each in sorted(evidence, key=_received) if each.live(now)]
    standing = _standing(live, facts, {each.digest for each in evidence}) if not facts.revoked else None
    if standing is not None:
        each, summary = standing
        before = Check("verdict", True, f"passed this policy before ({short(each.digest)})")
        inputs = tuple(sorted({each.digest, *(Digest(digest) for digest in summary.inputs)}))
        return Verdict(True, (before,), inputs, standing=each.digest, valid_until=each.expires_at)
    used: set[Digest] = set()
    checks = [
        *_suites(policy, live, facts, now, used),
        *_approvals(_approval_rule(policy, facts), live, facts, now, used),
        *(Check("revoked", False, reason) for reason in facts.revoked),
        *_licences(policy, facts),
    ]
    if all(check.passed for check in checks):
        return Verdict(True, tuple(checks), tuple(sorted(used)), valid_until=now + timedelta(days=policy.verdict_days))
    glass = _glass(policy, live, evidence, facts) if policy.break_glass else None
    if glass is not None:
        words = read_predicate(EXCEPTION, glass.predicate)
        reason = words.reason if isinstance(words, GlassBroken) else ""
        who = words.actor.name or words.actor.id if isinstance(words, GlassBroken) else ""
        broken = Check("break-glass", True, f"{who} broke the glass: {reason}")
        return Verdict(True, (*checks, broken), tuple(sorted({*used, glass.digest})), glass.digest)
    return Verdict(False, tuple(checks), tuple(sorted(used)))


def _received(each: Counted) -> datetime:
    return each.received_at


def _read(each: Counted, shape: type[T]) -> T | None:
    try:
        found = read_predicate(each.type, each.predicate)
    except BadEvidence:
        return None
    return found if isinstance(found, shape) else None


def _of(evidence: Iterable[Counted], kind: str, shape: type[T]) -> list[tuple[Counted, T]]:
    found = [(each, _read(each, shape)) for each in evidence if each.type == kind]
    return [(each, value) for each, value in found if value is not None]


def _verdicts(live: Iterable[Counted], facts: Facts) -> list[tuple[Counted, Summary]]:
    return [
        (each, summary)
        for each, summary in _of(live, VERDICT, Summary)
        if facts.candidate in each.subjects
        and summary.verificationResult == "PASSED"
        and (summary.tetrad.project, summary.tetrad.ref) == (facts.project, facts.ref)
    ]


def _standing(live: Sequence[Counted], facts: Facts, known: set[Digest]) -> tuple[Counted, Summary] | None:
    """Find a verdict that still stands: same policy, not by broken glass, and nothing that it rests on was revoked."""
    for each, summary in reversed(_verdicts(live, facts)):
        if summary.policy_digest == facts.policy and not summary.tetrad.break_glass and summary.inputs <= known:
            return each, summary
    return None


def _glass(policy: GatePolicy, live: Sequence[Counted], evidence: Sequence[Counted], facts: Facts) -> Counted | None:
    spent = {summary.tetrad.break_glass for _, summary in _verdicts(evidence, facts)}
    for each, broken in reversed(_of(live, EXCEPTION, GlassBroken)):
        may = policy.break_glass is not None and broken.actor.answers_to(policy.break_glass.any_of)
        here = (broken.project, broken.ref) == (facts.project, facts.ref) and facts.candidate in each.subjects
        if may and here and each.digest not in spent and each.expires_at is not None:
            return each
    return None


def _results(rule: SuiteRule, policy: GatePolicy, live: Sequence[Counted], subject: str) -> list[
    tuple[Counted, TestResult]
]:  # fmt: skip
    return [
        (each, result)
        for each, result in _of(live, TEST_RESULT, TestResult)
        if subject in each.subjects
        and result.suite.name == rule.suite
        and (not rule.digest or result.suite.digest == rule.digest)
        and (not policy.signers or each.key_id in policy.signers)
    ]


def _suites(policy: GatePolicy, live: Sequence[Counted], facts: Facts, now: datetime, used: set[Digest]) -> list[Check]:
    if facts.kind == BINDING:
        return [
            Check(f"suite:{rule.suite}", True, f"{rule.suite!r} judges releases; a binding is approved instead")
            for rule in policy.suites
        ]
    return [_suite(rule, policy, live, facts, now, used) for rule in policy.suites]


def _approval_rule(policy: GatePolicy, facts: Facts) -> ApprovalRule:
    if facts.kind == BINDING and policy.suites and not policy.approvals.minimum:
        return msgspec.structs.replace(policy.approvals, minimum=1)
    return policy.approvals


def _suite(
    rule: SuiteRule, policy: GatePolicy, live: Sequence[Counted], facts: Facts, now: datetime, used: set[Digest]
) -> Check:
    name = f"suite:{rule.suite}"
    found = _results(rule, policy, live, facts.candidate)
    if not found:
        return Check(name, False, f"no result of the suite {rule.suite!r} for {short(facts.candidate)}")
    each, result = found[-1]
    if rule.max_age_days is not None and now - result.fresh_from(each.received_at) > timedelta(days=rule.max_age_days):
        return Check(name, False, f"the newest result of {rule.suite!r} is older than {rule.max_age_days:g} days")
    if result.result != "PASSED":
        return Check(name, False, f"the newest result of {rule.suite!r} is {result.result}")
    if result.suite.cases < rule.min_cases:
        return Check(name, False, f"{rule.suite!r} ran {result.suite.cases} cases, {rule.min_cases} are needed")
    before: tuple[Counted, TestResult] | None = None
    if facts.baseline is not None and any(metric.max_regression is not None for metric in rule.metrics):
        earlier = [pair for pair in _results(rule, policy, live, facts.baseline)
                   if pair[1].suite.digest == result.suite.digest]  # fmt: skip
        if not earlier:
            return Check(name, False, f"no result of {rule.suite!r} for the current release to compare with")
        before = earlier[-1]
    for metric in rule.metrics:
        problem = _metric(metric, result, before[1] if before else None)
        if problem:
            return Check(name, False, f"{rule.suite!r}: {problem}")
    used.add(each.digest)
    if before is not None:
        used.add(before[0].digest)
    return Check(name, True, f"{rule.suite!r} passed ({short(each.digest)})")


def _metric(rule: MetricRule, result: TestResult, before: TestResult | None) -> str:
    value = result.suite.metrics.get(rule.metric)
    if value is None:
        return f"{rule.metric} was not measured"
    if rule.min is not None and not value >= rule.min:
        return f"{rule.metric} is {value:g}, at least {rule.min:g} is needed"
    if rule.max is not None and not value <= rule.max:
        return f"{rule.metric} is {value:g}, at most {rule.max:g} is allowed"
    if rule.max_regression is None or before is None:
        return ""
    old = before.suite.metrics.get(rule.metric)
    if old is None:
        return f"{rule.metric} was not measured on the current release"
    worse = old - value if rule.better == "higher" else value - old
    if not worse <= rule.max_regression:
        return f"{rule.metric} went from {old:g} to {value:g}, worse by more than {rule.max_regression:g}"
    return ""


def _approvals(
    rule: ApprovalRule, live: Sequence[Counted], facts: Facts, now: datetime, used: set[Digest]
) -> list[Check]:
    if not rule.minimum and not rule.owners:
        return []
    newest: dict[tuple[str, str], tuple[Counted, Approval]] = {}
    for each, approval in _of(live, APPROVAL, Approval):
        old = rule.max_age_days is not None and now - each.received_at > timedelta(days=rule.max_age_days)
        if old or approval.project != facts.project or approval.approver.kind not in rule.by:
            continue
        for bound in approval.parts:
            if bound.seal in each.subjects:
                newest[bound.seal, approval.approver.id] = (each, approval)
    checks = []
    for part in facts.changed:
        said = [pair for (seal, _), pair in newest.items() if seal == part.seal]
        authors = facts.authors.get(part.seal, frozenset())
        against = [pair for pair in said if pair[1].decision == "reject"]
        yes = [
            pair
            for pair in said
            if pair[1].decision == "approve" and (rule.self_approval or pair[1].approver.id not in authors)
        ]
        problem = _lacking(rule, part, yes, said, against)
        if not problem:
            used.update(pair[0].digest for pair in yes)
        checks.append(Check(f"approval:{part.label()}", not problem, problem or f"{part.label()} is approved"))
    return checks


def _lacking(
    rule: ApprovalRule, part: Part, yes: Sequence[tuple[Counted, Approval]], said: Sequence[tuple[Counted, Approval]],
    against: Sequence[tuple[Counted, Approval]],
) -> str:  # fmt: skip
    if against:
        who = against[0][1].approver
        return f"{who.name or who.id} rejected {part.label()}"
    if len(yes) < rule.minimum:
        own = len(said) - len(yes) - len(against)
        note = f" ({own} of their own authors do not count)" if own else ""
        return f"{part.label()} has {len(yes)} of {rule.minimum} approvals{note}"
    for owner in rule.owners:
        if owner.part != part.kind or not fnmatchcase(part.name, owner.name):
            continue
        count = sum(approval.approver.answers_to(owner.any_of) for _, approval in yes)
        if count < owner.minimum:
            return f"{part.label()} has {count} of {owner.minimum} approvals of {', '.join(owner.any_of)}"
    return ""


def _licences(policy: GatePolicy, facts: Facts) -> list[Check]:
    if policy.licences is None:
        return []
    checks = []
    licensed: list[tuple[Part, str, str, bool]] = [
        (part, part.label(), part.seal, part.weights) for part in facts.parts
    ]
    licensed += [
        (part, f"the adapter {short(adapter)} of {part.label()}", adapter, True)
        for part in facts.parts
        for adapter in part.adapters
    ]
    for part, label, key, needs_one in licensed:
        licences = facts.licences.get(key, frozenset())
        if needs_one and not licences:
            checks.append(Check(f"licence:{part.label()}", False, f"{label} has no recorded licence"))
        elif licences - set(policy.licences):
            bad = ", ".join(sorted(licences - set(policy.licences)))
            checks.append(Check(f"licence:{part.label()}", False, f"{label} is licensed {bad}, not allowed"))
    return checks or [Check("licences", True, "every licence is allowed")]
