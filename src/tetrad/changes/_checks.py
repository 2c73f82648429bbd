"""What a merge needs, what of it holds, and who could supply the rest. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, cast, get_args

import msgspec

from tetrad.changes._model import ChangeRequest
from tetrad.kernel import Digest, Principal, short
from tetrad.registry import Check, Gate, GateCheck, GatePolicy

Kind = Literal["state", "base", "suite", "approval", "licence", "revoked", "verdict", "break-glass", "policy", "other"]
_KINDS: frozenset[str] = frozenset(get_args(Kind))


class Requirement(msgspec.Struct, frozen=True):
    """One thing that a merge needs. `pattern` is that of the gate which asks it; empty: every merge needs it."""

    kind: Kind
    name: str
    passed: bool
    reason: str
    pattern: str = ""
    missing: str = ""
    who: tuple[str, ...] = ()


class Checks(msgspec.Struct, frozen=True):
    """All that a merge would need now; `governed`: a gate governs the ref."""

    request: ChangeRequest
    governed: bool
    can_break_glass: bool
    requirements: tuple[Requirement, ...]

    @property
    def mergeable(self) -> bool:
        """Whether a merge would pass now."""
        return all(each.passed for each in self.requirements)


def requirements(
    request: ChangeRequest,
    current: Digest | None,
    answers: Sequence[GateCheck],
    gates: Mapping[str, Gate],
    signers: Sequence[str],
    actor: Principal,
    revoked: Sequence[str] = (),
) -> Checks:
    """Put together what a merge needs: a state, the ref's present release as base, and what each gate answered.

    `gates` are the project's by pattern, `signers` the names of keys whose test results it trusts. `revoked` says in
    sentences what of the candidate was revoked, for a ref that no gate governs: gates say it themselves.
    """
    found = [_state(request), _base(request, current)]
    if not answers:
        found += [_revoked(reason) for reason in revoked]
    for answer in answers:
        gate = gates.get(answer.rule.pattern)
        policy = gate.policy if gate else None
        if answer.verdict is None or policy is None:
            found.append(
                Requirement(
                    "policy", "policy", False, answer.problem, answer.rule.pattern,
                    "the gate's policy has to be set again: `tetrad gate set`", ("scope:admin",),
                )
            )  # fmt: skip
            continue
        found += [
            _asked(each, answer.rule.pattern, policy, request, signers, hidden=answer.passed)
            for each in answer.verdict.checks
        ]
    policies = [gate.policy for answer in answers if (gate := gates.get(answer.rule.pattern)) and gate.policy]
    glass = bool(answers) and len(policies) == len(answers) and all(_may_break(each, actor) for each in policies)
    return Checks(request, bool(answers), glass, tuple(found))


def _state(request: ChangeRequest) -> Requirement:
    told = {
        "draft": ("it is a draft", f"propose it: `tetrad change propose {request.number}`"),
        "changes_requested": ("changes are asked for", "push what was asked for, or have who asked for it approve"),
        "merged": ("it is merged already", ""),
        "closed": ("it is closed", "open another one"),
    }
    why, missing = told.get(request.state, ("it is proposed", ""))
    return Requirement("state", "state", request.state in ("open", "approved"), why, missing=missing)


def _base(request: ChangeRequest, current: Digest | None) -> Requirement:
    if current == request.base or request.state == "merged":
        return Requirement("base", "base", True, f"it is on the release of {request.ref_name}")
    now = short(current) if current else "nothing"
    return Requirement(
        "base", "base", False, f"{request.ref_name} points to {now}; it is based on {short(request.base)}",
        missing=f"rebase it: `tetrad change rebase {request.number}`",
        who=("its authors", "editors of the project"),
    )  # fmt: skip


def _revoked(reason: str, pattern: str = "") -> Requirement:
    missing = "another part; `tetrad revoke --undo` reinstates what was revoked in error"
    return Requirement("revoked", "revoked", False, reason, pattern, missing, ("its authors", "scope:admin"))


def _asked(
    check: Check, pattern: str, policy: GatePolicy, request: ChangeRequest, signers: Sequence[str], *, hidden: bool
) -> Requirement:
    """Turn a gate's answer into a requirement; `hidden`: the gate passes all the same, by broken glass say."""
    head, _, rest = check.name.partition(":")
    kind = cast("Kind", head if head in _KINDS else "licence" if head == "licences" else "other")
    passed = check.passed or hidden
    if passed:
        return Requirement(kind, check.name, True, check.reason, pattern)
    if kind == "suite":
        missing = f"run the suite {rest!r} on {short(request.candidate)} and send its signed result"
        who = tuple(policy.signers) or tuple(signers)
    elif kind == "approval":
        missing = f"an approval: `tetrad change approve {request.number}`"
        who = _approvers(policy, rest)
    elif kind == "revoked":
        return _revoked(check.reason, pattern)
    elif kind == "licence":
        missing = f"a licence of {', '.join(policy.licences or ())}, or another part"
        who = ("its authors",)
    else:
        missing, who = "", ()
    return Requirement(kind, check.name, False, check.reason, pattern, missing, who)


def _approvers(policy: GatePolicy, label: str) -> tuple[str, ...]:
    """Say who may approve a part; a label is its kind, role and name, as far as it has them."""
    kind, _, rest = label.partition(" ")
    name = rest.rpartition(" ")[2]
    owners = [
        owner
        for rule in policy.approvals.owners
        if rule.part == kind and fnmatchcase(name, rule.name)
        for owner in rule.any_of
    ]
    if owners:
        return tuple(dict.fromkeys(owners))
    kinds = "people" if policy.approvals.by == ("person",) else "people and keys"
    whose = "" if policy.approvals.self_approval else " who did not push to it"
    return (f"{kinds} with the scope review{whose}",)


def _may_break(policy: GatePolicy, actor: Principal) -> bool:
    glass = policy.break_glass
    if glass is None:
        return False
    return actor.id in glass.any_of or any(f"scope:{scope}" in glass.any_of for scope in actor.scopes)
