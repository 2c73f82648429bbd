"""Evidence: signed statements about digests. DSSE envelopes, in-toto statements, and what their predicates say.

Formats: DSSE v1 (github.com/secure-systems-lab/dsse), in-toto Statement v1 and test-result v0.1, SLSA verification
summary v1. Predicates of our own begin with `https://tetrad.dev/attestation/`. Pure: no keys, no clock, no storage.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from tetrad.kernel import Digest, InvalidInput, canonical_json, digest_json, parse_json
from tetrad.registry.errors import BadEvidence

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
PROVENANCE = "https://slsa.dev/provenance/v1"
VERDICT = "https://slsa.dev/verification_summary/v1"
APPROVAL = "https://tetrad.dev/attestation/approval/v1"
EXCEPTION = "https://tetrad.dev/attestation/exception/v1"
REVOCATION = "https://tetrad.dev/attestation/revocation/v1"
LOG_HEAD = "https://tetrad.dev/attestation/ref-log-head/v1"
AUDIT_HEAD = "https://tetrad.dev/attestation/audit-log-head/v1"
REPRODUCTION = "https://tetrad.dev/attestation/reproduction/v1"

SIGNED_OUTSIDE = (TEST_RESULT, PROVENANCE)
"""What keys of others may state. Approvals, verdicts and exceptions name an actor that only we have authenticated."""
MAX_SIGNATURES = 8
MAX_SUBJECTS = 2_000
MAX_TEXT_CHARS = 4000
_SHA256_CHARS = 64


class Signature(msgspec.Struct, frozen=True):
    """One signature of an envelope; `keyid` is a hint, what counts is which key verifies it."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """A DSSE envelope: a payload in base64, its type, and signatures over both."""

    payload: str
    payloadType: str  # noqa: N815 - the name in the format
    signatures: tuple[Signature, ...]

    def document(self) -> dict[str, Any]:
        """Return it as JSON, the form whose digest is its name."""
        return {
            "payload": self.payload,
            "payloadType": self.payloadType,
            "signatures": [{"keyid": each.keyid, "sig": each.sig} for each in self.signatures],
        }

    @property
    def digest(self) -> Digest:
        """The name of the envelope: the SHA-256 of its canonical JSON."""
        return digest_json(self.document())

    def body(self) -> bytes:
        """Return the signed payload."""
        return from_base64(self.payload, "payload")


class Statement(msgspec.Struct, frozen=True):
    """What somebody says about digests; `subjects` are (name, digest)."""

    predicate_type: str
    subjects: tuple[tuple[str, Digest], ...]
    predicate: Mapping[str, Any]

    def body(self) -> bytes:
        """Return the in-toto Statement v1 in canonical JSON: what is signed."""
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
                    for name, digest in self.subjects
                ],
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )


class Counted(msgspec.Struct, frozen=True):
    """A statement whose signature holds and whose key was trusted when it came. `digest` names its envelope."""

    digest: Digest
    type: str
    subjects: frozenset[str]
    predicate: Mapping[str, Any]
    key_id: str
    received_at: datetime
    expires_at: datetime | None = None

    def live(self, now: datetime) -> bool:
        """Tell whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


# -- predicates ---------------------------------------------------------------------------------------------------


class SuiteResult(msgspec.Struct, frozen=True):
    """Which suite ran, when it ended and what it measured; our extension of in-toto's test result."""

    name: str
    digest: str = ""
    metrics: Mapping[str, float] = {}
    cases: int = 0
    finished_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class TestResult(msgspec.Struct, frozen=True):
    """Predicate of a test result: one execution of a suite on the subject."""

    __test__ = False  # no test class, whatever pytest makes of the name

    result: Literal["PASSED", "WARNED", "FAILED"]
    suite: SuiteResult

    def fresh_from(self, received_at: datetime) -> datetime:
        """Return the time that its age counts from: when the suite ended, at the latest when we received it."""
        return received_at if self.suite.finished_at is None else min(received_at, self.suite.finished_at)


class Approver(msgspec.Struct, frozen=True):
    """Who approved, as control had authenticated them; `scopes` are those they had then."""

    id: str
    kind: str
    name: str = ""
    scopes: tuple[str, ...] = ()

    def answers_to(self, names: Sequence[str]) -> bool:
        """Tell whether one of `names` (an actor's id, or `scope:…`) means this actor."""
        return self.id in names or any(f"scope:{scope}" in names for scope in self.scopes)


class ApprovedPart(msgspec.Struct, frozen=True):
    """A part that an approval binds. `seal` covers everything that the manifest says of the part."""

    kind: str
    seal: str
    role: str = ""
    name: str = ""


class Approval(msgspec.Struct, frozen=True):
    """Predicate of an approval, or of a rejection."""

    decision: Literal["approve", "reject"]
    approver: Approver
    project: str
    parts: tuple[ApprovedPart, ...]
    comment: str = ""
    change_request: str = ""


class GlassBroken(msgspec.Struct, frozen=True):
    """Predicate of an exception: one move of a ref past its gate, by whom and why."""

    project: str
    ref: str
    actor: Approver
    reason: str


class Revoked(msgspec.Struct, frozen=True):
    """Predicate of a revocation: the subject is not to be used any more, or again may be."""

    decision: Literal["revoke", "reinstate"]
    project: str
    actor: Approver
    reason: str


class Reproduced(msgspec.Struct, frozen=True):
    """Predicate of a reproduction: which levels were proven (`R0`, `R1`, `R2`), which one it was about, its report.

    `report` and `recording` are digests of artifacts of the project; no recording is empty.
    """

    id: str
    project: str
    tried: Literal["R0", "R1", "R2"]
    proven: tuple[Literal["R0", "R1", "R2"], ...]
    cap: Literal["R1", "R2", "none"]
    report: str
    recording: str = ""


class _Policy(msgspec.Struct, frozen=True):
    digest: Mapping[str, str]


class _Resource(msgspec.Struct, frozen=True):
    digest: Mapping[str, str]


class _Gate(msgspec.Struct, frozen=True):
    project: str
    ref: str
    break_glass: str = ""


class Summary(msgspec.Struct, frozen=True):
    """Predicate of a gate's verdict: SLSA's verification summary, with the gate's own facts under `tetrad`."""

    verificationResult: Literal["PASSED", "FAILED"]  # noqa: N815 - the name in the format
    policy: _Policy
    tetrad: _Gate
    inputAttestations: tuple[_Resource, ...] = ()  # noqa: N815 - the name in the format

    @property
    def policy_digest(self) -> str:
        """The policy that was applied."""
        return f"sha256:{self.policy.digest.get('sha256', '')}"

    @property
    def inputs(self) -> frozenset[str]:
        """The evidence that it rests on."""
        return frozenset(f"sha256:{each.digest.get('sha256', '')}" for each in self.inputAttestations)


Predicate = TestResult | Approval | GlassBroken | Revoked | Summary | Reproduced
_SHAPES: dict[str, type[Predicate]] = {
    TEST_RESULT: TestResult,
    APPROVAL: Approval,
    EXCEPTION: GlassBroken,
    REVOCATION: Revoked,
    VERDICT: Summary,
    REPRODUCTION: Reproduced,
}


def read_predicate(predicate_type: str, predicate: Mapping[str, Any]) -> Predicate | None:
    """Return a predicate as a value, None for a type without a shape of ours; refuse a wrong one with `BadEvidence`.

    Fields that we do not know are allowed, as in-toto demands.
    """
    shape = _SHAPES.get(predicate_type)
    if shape is None:
        return None
    try:
        return msgspec.convert(dict(predicate), shape)
    except msgspec.ValidationError as error:
        raise BadEvidence(f"the predicate of {predicate_type} is wrong: {error}", hint=_HINTS[predicate_type]) from None


_HINTS = {
    TEST_RESULT: '{"result": "PASSED", "configuration": [], "suite": {"name": …, "metrics": {…}}}',
    APPROVAL: "approve through the API",
    EXCEPTION: "break the glass through the API",
    REVOCATION: "revoke through the API",
    VERDICT: "verdicts are made by gates",
    REPRODUCTION: "reproduce through the API",
}


# -- envelopes ----------------------------------------------------------------------------------------------------


def pae(payload_type: str, body: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding, the bytes that are signed (DSSE v1, protocol.md)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def to_base64(data: bytes) -> str:
    """Write bytes as DSSE wants them."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """Read base64 of either alphabet, as DSSE demands of verifiers; refuse anything else with `BadEvidence`."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise BadEvidence(f"the {what} is not base64", hint="send a DSSE envelope as it was signed") from None


def read_envelope(value: object) -> Envelope:
    """Read a DSSE envelope from JSON; refuse with `BadEvidence` what is none or is of another payload type."""
    try:
        canonical_json(value)  # what has no canonical form has no digest, and cannot be kept
        envelope = msgspec.convert(value, Envelope)
    except (msgspec.ValidationError, InvalidInput) as error:
        raise BadEvidence(f"this is no DSSE envelope: {error}", hint="payload, payloadType, signatures") from None
    if envelope.payloadType != PAYLOAD_TYPE:
        raise BadEvidence(f"the payload is {envelope.payloadType[:80]!r}", hint=f"send {PAYLOAD_TYPE}")
    if not 1 <= len(envelope.signatures) <= MAX_SIGNATURES:
        raise BadEvidence(f"{len(envelope.signatures)} signatures", hint=f"1 to {MAX_SIGNATURES}")
    return envelope


def read_statement(body: bytes) -> Statement:
    """Read an in-toto Statement v1; refuse with `BadEvidence` what cannot be read in one way only."""
    try:
        value = parse_json(body, where="the statement")
        canonical_json(value)
    except InvalidInput as error:
        raise BadEvidence(error.message, hint=error.hint) from None
    if not isinstance(value, dict) or value.get("_type") != STATEMENT_TYPE:
        raise BadEvidence("this is no in-toto statement", hint=f"_type is {STATEMENT_TYPE}")
    kind, predicate, subjects = value.get("predicateType"), value.get("predicate"), value.get("subject")
    if not isinstance(kind, str) or not 1 <= len(kind) <= 128 or not isinstance(predicate, dict):
        raise BadEvidence("a statement has a predicateType and a predicate", hint="the predicate is an object")
    if not isinstance(subjects, list) or not 1 <= len(subjects) <= MAX_SUBJECTS:
        raise BadEvidence("a statement has subjects", hint=f"1 to {MAX_SUBJECTS}, each with a name and a digest")
    return Statement(kind, tuple(_subject(each) for each in subjects), predicate)


def _subject(value: object) -> tuple[str, Digest]:
    if isinstance(value, dict) and isinstance(value.get("digest"), dict):
        name, digest = value.get("name", ""), value["digest"].get("sha256")
        if isinstance(name, str) and isinstance(digest, str) and len(digest) == _SHA256_CHARS:
            lowered = digest.lower()
            if set(lowered) <= set("0123456789abcdef"):
                return name[:300], Digest(f"sha256:{lowered}")
    raise BadEvidence("a subject has a digest by sha256", hint='{"name": …, "digest": {"sha256": "64 hex digits"}}')


def rfc3339(at: datetime) -> str:
    """Write a time as statements carry it: UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def resource(digest: str) -> dict[str, Any]:
    """Write a digest as in-toto's ResourceDescriptor has it."""
    return {"digest": {"sha256": digest.removeprefix("sha256:")}}


def check_words(text: str, what: str) -> str:
    """Return what a person wrote, trimmed; refuse it where it is empty, too long, or has no canonical form."""
    trimmed = text.strip()
    if not trimmed or len(trimmed) > MAX_TEXT_CHARS:
        raise InvalidInput(f"a {what} is needed", hint=f"1 to {MAX_TEXT_CHARS} characters")
    canonical_json(trimmed)
    return trimmed
