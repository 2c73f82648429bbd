"""What the API takes and shows of evidence, signing keys and gates."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tetrad.registry._attest import Judged, payload
from tetrad.registry._gate import Gate, GateCheck
from tetrad.registry._heads import HeadCheck
from tetrad.registry._model import Version
from tetrad.registry._signing import INSTALLATION, SigningKey, public_pem


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EvidenceBody(_Body):
    """A DSSE envelope over an in-toto statement, signed by a key that the project trusts."""

    envelope: dict[str, Any]
    expires_at: datetime | None = None


class PartChoice(_Body):
    """Parts of a release: all of a kind, or those that are named or have the role `name`."""

    kind: str = Field(min_length=1, max_length=64)
    name: str = Field("", max_length=128)


class ApprovalBody(_Body):
    """What is approved or rejected; without `parts` the whole release."""

    digest: str = Field(max_length=71)
    decision: Literal["approve", "reject"] = "approve"
    parts: list[PartChoice] = Field(default_factory=list, max_length=200)
    comment: str = Field("", max_length=4000)
    change_request: str = Field("", max_length=64)
    expires_at: datetime | None = None


class ReasonBody(_Body):
    """Why."""

    reason: str = Field(min_length=1, max_length=4000)


class SigningKeyBody(_Body):
    """A public Ed25519 key (PEM, or base64 of its 32 bytes) and what it may state."""

    name: str = Field(min_length=1, max_length=100)
    public_key: str = Field(max_length=1000)
    types: list[str] | None = Field(None, max_length=10)


class GateBody(_Body):
    """A policy for the refs that match a glob. `name` is what versions of the policy are called."""

    pattern: str = Field(min_length=1, max_length=160)
    policy: dict[str, Any]
    name: str = Field("", max_length=128)
    reason: str = Field("", max_length=4000)
    bump: Literal["major", "minor", "patch"] = "minor"


class BreakGlassBody(_Body):
    """Which ref may move once past its gate, to what, and why."""

    ref: str = Field(min_length=1, max_length=128)
    digest: str = Field(max_length=71)
    reason: str = Field(min_length=1, max_length=4000)


class HeadBody(_Body):
    """A head of the ref log, as it was exported."""

    envelope: dict[str, Any]


class SubjectView(BaseModel):
    """What a statement is about."""

    name: str
    digest: str


class EvidenceView(BaseModel):
    """A statement and whether it counts; `problem` says why not. It counts until `expires_at`."""

    digest: str
    predicate_type: str
    subjects: list[SubjectView]
    predicate: dict[str, Any]
    counts: bool
    problem: str
    key_id: str
    key_name: str
    received_at: datetime
    received_by: str
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, judged: Judged) -> EvidenceView:
        row, statement = judged.row, judged.statement
        return cls(
            digest=row.digest,
            predicate_type=row.predicate_type,
            subjects=[SubjectView(name=name, digest=digest) for name, digest in statement.subjects]
            if statement
            else [],
            predicate=dict(statement.predicate) if statement else {},
            counts=judged.counts,
            problem=judged.problem,
            key_id=judged.key.id if judged.key else "",
            key_name=judged.key.name if judged.key else "",
            received_at=row.received_at,
            received_by=row.received_by_name or row.received_by,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )


class EvidenceListed(EvidenceView):
    """Evidence in a list; `position` is where it stands."""

    position: str

    @classmethod
    def of(cls, judged: Judged) -> EvidenceListed:
        return cls(**EvidenceView.of(judged).model_dump(), position=judged.row.seq)


class WholeEvidenceView(EvidenceView):
    """Evidence with its envelope as it was received, for those who verify it themselves."""

    envelope: dict[str, Any]

    @classmethod
    def of(cls, judged: Judged) -> WholeEvidenceView:
        return cls(**EvidenceView.of(judged).model_dump(), envelope=dict(payload(judged.row)))


class SigningKeyView(BaseModel):
    """A key whose statements count; its private half is never shown."""

    id: str
    name: str
    of: Literal["installation", "project"]
    types: list[str]
    public_key: str
    created_at: datetime
    created_by: str
    retired_at: datetime | None
    revoked_at: datetime | None
    revoked_because: str

    @classmethod
    def shown(cls, key: SigningKey) -> SigningKeyView:
        return cls(
            id=key.id,
            name=key.name,
            of="installation" if key.project == INSTALLATION else "project",
            types=list(key.types),
            public_key=public_pem(key.public),
            created_at=key.created_at,
            created_by=key.created_by,
            retired_at=key.retired_at,
            revoked_at=key.revoked_at,
            revoked_because=key.revoked_because,
        )


class SigningKeysView(BaseModel):
    """The keys whose statements count, oldest first."""

    items: list[SigningKeyView]


class GateView(BaseModel):
    """A gate: which refs, by which policy. `problem` says why the policy cannot be applied: then nothing moves."""

    pattern: str
    gate: str
    policy_digest: str | None
    policy: dict[str, Any] | None
    problem: str
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, gate: Gate) -> GateView:
        return cls(
            pattern=gate.rule.pattern,
            gate=gate.rule.gate,
            policy_digest=gate.rule.policy,
            policy=gate.policy.document() if gate.policy else None,
            problem=gate.problem,
            created_at=gate.rule.created_at,
            created_by=gate.rule.created_by,
        )


class GatesView(BaseModel):
    """The gates of a project, by pattern."""

    items: list[GateView]


class GateSetView(GateView):
    """A gate that was set, and the version of its policy."""

    policy_name: str
    policy_version: str

    @classmethod
    def made(cls, gate: Gate, version: Version) -> GateSetView:
        return cls(**GateView.of(gate).model_dump(), policy_name=version.name, policy_version=version.semver)


class ConditionView(BaseModel):
    """One condition of a gate."""

    name: str
    passed: bool
    reason: str


class DiscountedView(BaseModel):
    """Evidence that was found and does not count."""

    digest: str
    predicate_type: str
    problem: str


class GateAnswerView(BaseModel):
    """What one gate would say now."""

    pattern: str
    policy_digest: str | None
    passed: bool
    problem: str
    conditions: list[ConditionView]
    rests_on: list[str]
    discounted: list[DiscountedView]

    @classmethod
    def of(cls, check: GateCheck) -> GateAnswerView:
        verdict = check.verdict
        return cls(
            pattern=check.rule.pattern,
            policy_digest=check.rule.policy,
            passed=check.passed,
            problem=check.problem,
            conditions=[
                ConditionView(name=each.name, passed=each.passed, reason=each.reason) for each in verdict.checks
            ]
            if verdict
            else [],
            rests_on=list(verdict.inputs) if verdict else [],
            discounted=[
                DiscountedView(digest=each.row.digest, predicate_type=each.row.predicate_type, problem=each.problem)
                for each in check.discounted
            ],
        )


class GateCheckView(BaseModel):
    """Whether a ref might move to a digest now: only if every gate that governs it says so."""

    ref: str
    digest: str
    governed: bool
    passed: bool
    gates: list[GateAnswerView]


class HeadCheckView(BaseModel):
    """Whether the ref log still holds all that an exported head vouches for."""

    sound: bool
    entries: int
    sequence: int
    problem: str

    @classmethod
    def of(cls, check: HeadCheck) -> HeadCheckView:
        return cls(sound=check.sound, entries=check.entries, sequence=check.seq, problem=check.problem)
