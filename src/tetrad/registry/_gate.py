"""The gate that asks for evidence, and the policies that it applies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tetrad.kernel import Clock, Digest, Forbidden, NotFound, Principal, TetradError, digest_bytes, parse_digest
from tetrad.kernel import parse_json as read_json
from tetrad.registry._attest import Evidence, Judged, tags
from tetrad.registry._evidence import VERDICT, Approver, Statement, resource, rfc3339
from tetrad.registry._model import Bump, RefRule, Version, check_name, governs
from tetrad.registry._policy import (
    MAX_REASON_CHARS,
    BreakGlass,
    Facts,
    GatePolicy,
    Verdict,
    decide,
    read_policy,
)
from tetrad.registry._revocation import told
from tetrad.registry._service import Registry
from tetrad.registry.errors import BadPolicy, GateRefused, RefNotFound
from tetrad.registry.ports import Auditor, Blobs, RefMove, RevocationCheck

GATE = "evidence"
POLICY = "policy"
VERIFIER = "https://tetrad.dev/gate/v1"
MAX_REASONS = 12


class EvidenceGate:
    """`RefGate` over signed evidence. The verdict is itself evidence, written in the transaction that moves the ref."""

    def __init__(
        self, evidence: Evidence, blobs: Blobs, clock: Clock, *, revocations: RevocationCheck | None = None
    ) -> None:
        self._evidence = evidence
        self._blobs = blobs
        self._clock = clock
        self._revocations = revocations

    def check(self, move: RefMove, transaction: Any) -> bool:
        """Return where the rule's policy is met, True where only by broken glass; raise `GateRefused` otherwise."""
        if move.new is None:
            raise GateRefused(
                f"{move.ref!r} is governed and is not deleted", hint="an admin removes its gate first"
            )  # fmt: skip
        policy = self.policy(move.rule)
        verdict, _ = self.judge(move, policy, transaction)
        if not verdict.passed:
            raise GateRefused(
                f"the gate of {move.ref!r} ({move.rule.pattern}) refused: {_joined(verdict.reasons)}",
                hint=f"`tetrad gate check {move.ref} {move.new}` shows every condition",
            )
        self._record(move, verdict, transaction)
        return verdict.break_glass is not None

    def judge(self, move: RefMove, policy: GatePolicy, transaction: Any) -> tuple[Verdict, list[Judged]]:
        """Decide, and return also the evidence that was found and does not count."""
        assert move.new is not None and move.rule.policy is not None  # noqa: S101, PT018 - check() and policy() saw to it
        candidate = self._evidence.inspect(move.project, move.new, transaction)
        before = self._evidence.inspect(move.project, move.old, transaction).parts if move.old else ()
        facts = Facts(
            move.project, move.ref, move.new, move.old, move.rule.policy, candidate.parts,
            frozenset(part.seal for part in before), candidate.authors, candidate.licences, candidate.kind,
            self._revoked(move, transaction),
        )  # fmt: skip
        about = [move.new, *(part.seal for part in candidate.parts), *([move.old] if move.old else [])]
        counted, others = self._evidence.counted(move.project, about, transaction)
        return decide(policy, counted, facts, move.at), others

    def _revoked(self, move: RefMove, transaction: Any) -> tuple[str, ...]:
        if self._revocations is None or move.new is None:
            return ()
        return tuple(told(cause) for cause in self._revocations.causes(move.project, move.new, transaction))

    def policy(self, rule: RefRule) -> GatePolicy:
        """Return the policy of a rule; refuse every move where it has none, or one that cannot be read."""
        if rule.policy is None:
            raise GateRefused(f"the gate of {rule.pattern!r} has no policy", hint="an admin sets it: `tetrad gate set`")
        try:
            data = self._blobs.read(rule.policy)
            if digest_bytes(data) != rule.policy:
                raise BadPolicy(f"the policy {rule.policy} was changed")
            return read_policy(read_json(data, where=f"the policy {rule.policy}"))
        except TetradError as error:
            raise GateRefused(
                f"the policy of {rule.pattern!r} cannot be applied: {error.message}",
                hint="an admin sets it again: `tetrad gate set`",
            ) from None

    def note_refusal(self, move: RefMove, why: str) -> None:
        """Record a refusal as signed evidence, once per reason; called after the transaction was rolled back."""
        if move.new is None or move.rule.policy is None:
            return
        last = self._evidence.find(move.project, subject=move.new, predicate_type=VERDICT, limit=1)
        said = last[0].statement.predicate if last and last[0].statement else {}
        details = said.get("tetrad")
        if isinstance(details, dict) and (details.get("ref"), details.get("reasons")) == (move.ref, [why[:2000]]):
            return
        predicate = self._summary(move, "FAILED", [why[:2000]])
        self._evidence.sign(move.project, _about(move, predicate), actor=move.actor)

    def _record(self, move: RefMove, verdict: Verdict, transaction: Any) -> None:
        predicate = self._summary(move, "PASSED", [text[:MAX_REASON_CHARS] for text in verdict.reasons[:MAX_REASONS]])
        predicate["inputAttestations"] = [resource(digest) for digest in verdict.inputs]
        if verdict.break_glass is not None:
            predicate["tetrad"]["break_glass"] = verdict.break_glass
        # A move by broken glass proves nothing for later, and one by an older verdict no longer than that one does.
        self._evidence.sign(
            move.project, _about(move, predicate), actor=move.actor, expires_at=verdict.valid_until,
            transaction=transaction,
        )  # fmt: skip

    @staticmethod
    def _summary(move: RefMove, result: str, reasons: Sequence[str]) -> dict[str, Any]:
        assert move.rule.policy is not None  # noqa: S101 - callers saw to it
        return {
            "verifier": {"id": VERIFIER},
            "timeVerified": rfc3339(move.at),
            "resourceUri": f"tetrad:{move.project}/{move.ref}",
            "policy": resource(move.rule.policy),
            "inputAttestations": [],
            "verificationResult": result,
            "verifiedLevels": ["TETRAD_GATE"] if result == "PASSED" else ["FAILED"],
            "tetrad": {
                "project": move.project,
                "ref": move.ref,
                "pattern": move.rule.pattern,
                "old": move.old,
                "actor": tags(move.actor),
                "reasons": list(reasons),
                "change_request": move.change_request,
            },
        }


class Gate(msgspec.Struct, frozen=True):
    """A rule with the policy that it applies; `problem` says why the policy cannot be applied."""

    rule: RefRule
    policy: GatePolicy | None
    problem: str = ""


class GateCheck(msgspec.Struct, frozen=True):
    """What a gate would say to a move now."""

    rule: RefRule
    verdict: Verdict | None
    discounted: tuple[Judged, ...]
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Tell whether the move would pass this gate."""
        return self.verdict is not None and self.verdict.passed


class GatePolicies:
    """Set, show and try the gates of a project's refs. Who may is for the routes to say."""

    def __init__(
        self,
        registry: Registry,
        evidence: Evidence,
        gate: EvidenceGate,
        clock: Clock,
        *,
        audit: Auditor | None = None,
    ) -> None:
        self._registry = registry
        self._evidence = evidence
        self._gate = gate
        self._clock = clock
        self._audit = audit

    def set(
        self,
        project: str,
        pattern: str,
        policy: object,
        *,
        actor: Principal,
        name: str = "",
        reason: str = "",
        bump: Bump = "minor",
    ) -> tuple[Gate, Version]:
        """Let refs that match the glob move only where a policy is met; the policy is a version of its own.

        The next move is judged by it: verdicts of another policy let nothing pass.
        """
        read = read_policy(policy)
        if not pattern.isprintable():
            raise BadPolicy(f"{pattern[:80]!r} is no pattern of refs", hint="write */production")
        label = check_name(name or pattern.replace("**", "any").replace("*", "any"), "name of a policy")
        artifact = self._registry.put_document(project, POLICY, read.document(), actor=actor)
        self._note(actor, "gate.set", pattern, project, policy=artifact.digest, reason=reason[:MAX_REASON_CHARS])
        version = self._registry.add_version(
            project, POLICY, label, artifact.digest, actor=actor, reason=reason, bump=bump
        )
        rule = self._registry.govern(project, pattern, GATE, actor=actor, policy=artifact.digest)
        return Gate(rule, read), version

    def remove(self, project: str, pattern: str, *, actor: Principal, reason: str) -> None:
        """Take a gate away; refs that no other gate governs move freely again."""
        if not any(rule.pattern == pattern for rule in self._registry.rules(project)):
            raise RefNotFound(f"the project {project!r} has no gate for {pattern!r}", code="rule_not_found")
        self._note(actor, "gate.removed", pattern, project, reason=reason[:MAX_REASON_CHARS])
        self._registry.release_rule(project, pattern)

    def all(self, project: str) -> list[Gate]:
        """Return the gates of a project, by pattern."""
        return [self._shown(rule) for rule in self._registry.rules(project)]

    def get(self, project: str, pattern: str) -> Gate:
        """Return one gate, or raise `NotFound`."""
        for rule in self._registry.rules(project):
            if rule.pattern == pattern:
                return self._shown(rule)
        raise NotFound(f"the project {project!r} has no gate for {pattern!r}", hint="`tetrad gate list`")

    def check(self, project: str, ref: str, digest: str, *, actor: Principal) -> list[GateCheck]:
        """Say what each gate of a ref would answer to a move now; nothing is moved or recorded."""
        target = self._registry.artifact(project, digest).digest
        current = self._registry.find_ref(project, ref)
        found = []
        for rule in self._matching(project, ref):
            shown = self._shown(rule)
            if shown.policy is None:
                found.append(GateCheck(rule, None, (), shown.problem))
                continue
            move = RefMove(
                project, ref, current.digest if current else None, target, actor, self._clock.now(), "", "", rule
            )
            verdict, others = self._gate.judge(move, shown.policy, None)
            found.append(GateCheck(rule, verdict, tuple(others)))
        return found

    def break_glass(self, project: str, ref: str, digest: str, *, actor: Principal, reason: str) -> Judged:
        """Let a ref move once past its gates, if every one of them names the actor as somebody who may."""
        target = self._registry.artifact(project, parse_digest(digest)).digest
        rules = self._matching(project, ref)
        if not rules:
            raise NotFound(f"no gate governs {ref!r}", hint="move it")
        allowed: list[BreakGlass] = []
        who = Approver(actor.id, actor.kind, actor.name, tuple(sorted(actor.scopes)))
        for rule in rules:
            glass = self._gate.policy(rule).break_glass
            if glass is None or not who.answers_to(glass.any_of):
                raise Forbidden(
                    f"{actor.name!r} may not break the glass of {rule.pattern!r}",
                    hint=f"may: {', '.join(glass.any_of)}" if glass else "the policy has no break_glass",
                    code="glass_closed",
                )
            allowed.append(glass)
        minutes = min(glass.minutes for glass in allowed)
        return self._evidence.break_glass(project, ref, target, actor=actor, reason=reason, minutes=minutes)

    def _matching(self, project: str, ref: str) -> list[RefRule]:
        return [rule for rule in self._registry.rules(project) if governs(rule.pattern, ref)]

    def _shown(self, rule: RefRule) -> Gate:
        if rule.gate != GATE:
            return Gate(rule, None, f"it asks the gate {rule.gate!r}")
        try:
            return Gate(rule, self._gate.policy(rule))
        except GateRefused as refusal:
            return Gate(rule, None, refusal.message)

    def _note(self, actor: Principal, action: str, target: str, project: str, **detail: Any) -> None:
        if self._audit is not None:
            self._audit(actor, action, target, project, **detail)


def _about(move: RefMove, predicate: dict[str, Any]) -> Statement:
    assert move.new is not None  # noqa: S101 - callers saw to it
    return Statement(VERDICT, ((move.ref, Digest(move.new)),), predicate)


def _joined(reasons: Sequence[str]) -> str:
    shown = "; ".join(text[:MAX_REASON_CHARS] for text in reasons[:MAX_REASONS])
    return shown + (f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else "")
