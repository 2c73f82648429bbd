"""What the registry refuses."""

from __future__ import annotations

from tetrad.kernel import Conflict, Forbidden, InvalidInput, NotFound, TooLarge, short


class BadName(InvalidInput):
    """A name that cannot be an artifact's, version's or ref's."""

    code = "bad_name"


class BadVersion(InvalidInput):
    """A version number that is no SemVer, or is not after the last one."""

    code = "bad_version"


class ArtifactNotFound(NotFound):
    """No artifact by that digest is visible in the project."""

    code = "artifact_not_found"


class ArtifactErased(NotFound):
    """Only the name of the artifact is left: its content was erased, or collected as nothing needed it."""

    code = "artifact_erased"
    status = 410


class ArtifactServed(Conflict):
    """The artifact is part of what is served now."""

    code = "artifact_served"


class TooManyToCollect(TooLarge):
    """More artifacts than one collection goes through; nothing was taken."""

    code = "too_many_to_collect"


class VersionNotFound(NotFound):
    """No such version in the project."""

    code = "version_not_found"


class RefNotFound(NotFound):
    """No such ref in the project."""

    code = "ref_not_found"


class VersionTaken(Conflict):
    """The version number already names another digest."""

    code = "version_taken"


class ArtifactConflict(Conflict):
    """The digest is known as another kind of artifact."""

    code = "artifact_conflict"


class ArtifactTooLarge(TooLarge):
    """Past the limit on an artifact's bytes or parts."""

    code = "artifact_too_large"


class RefMoved(Conflict):
    """The ref does not point where the caller thought; `current` is where it points (None: nowhere)."""

    code = "ref_moved"

    def __init__(self, name: str, expected: str | None, current: str | None) -> None:
        was = short(expected) if expected else "nothing"
        now = short(current) if current else "nothing"
        super().__init__(
            f"the ref {name!r} points to {now}, not to {was}", hint="read the ref again, then decide whether to move it"
        )
        self.current = current


class RefReserved(Conflict):
    """The ref was deleted; its name is never used again, so that an old pin cannot come to mean something else."""

    code = "ref_reserved"


class GateRefused(Forbidden):
    """The ref is governed, and its gate did not let the move pass. `move` is what was asked for."""

    code = "gate_refused"
    move: object = None


class GateMissing(Forbidden):
    """The ref is governed by a gate that this installation does not have."""

    code = "gate_missing"


class ArtifactRevoked(GateRefused):
    """What the ref would point to was revoked, or contains or derives from something that was."""

    code = "artifact_revoked"


class RevocationNotFound(NotFound):
    """The artifact is not revoked."""

    code = "revocation_not_found"


class BadEvidence(InvalidInput):
    """No envelope or statement, or one that says its predicate wrongly."""

    code = "bad_evidence"


class EvidenceTooLarge(TooLarge):
    """Past the limit on an envelope's bytes."""

    code = "evidence_too_large"


class EvidenceExpired(Conflict):
    """The result of a run that has expired is sent again; only another run says something new."""

    code = "evidence_expired"


class EvidenceNotFound(NotFound):
    """No evidence by that digest in the project."""

    code = "evidence_not_found"


class SignatureRefused(Forbidden):
    """No signature of the envelope is by a key that the project trusts for such a statement."""

    code = "signature_refused"


class SigningKeyNotFound(NotFound):
    """No such signing key in the project."""

    code = "signing_key_not_found"


class BadSigningKey(InvalidInput):
    """What was given is no Ed25519 key, or the key cannot be used so."""

    code = "bad_signing_key"


class BadPolicy(InvalidInput):
    """A gate policy that cannot be read, or that can never be met."""

    code = "bad_policy"


class RunNotFound(NotFound):
    """No such run in the project."""

    code = "run_not_found"


class RunConflict(Conflict):
    """The run has ended, or a parameter or an idempotency key says something else already."""

    code = "run_conflict"


class RunTooLarge(TooLarge):
    """Past the limit on a run's metrics or points."""

    code = "run_too_large"
