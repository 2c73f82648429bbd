"""Signed heads of the logs: kept elsewhere, they prove later that nothing before them was changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tetrad.kernel import Clock, Digest, NotFound
from tetrad.kit.seal import Keyring
from tetrad.registry._evidence import AUDIT_HEAD, LOG_HEAD, Statement, read_envelope, read_statement, rfc3339
from tetrad.registry._keys import EvidenceLimits, SigningKeys
from tetrad.registry._model import RefEntry, check_log
from tetrad.registry._signing import sign_statement, verifying_keys
from tetrad.registry.errors import BadEvidence, SignatureRefused
from tetrad.registry.ports import AuditLog, Auditor, EvidenceStore, RegistryStore


class HeadCheck(msgspec.Struct, frozen=True):
    """What a look at the ref log beside an exported head found."""

    sound: bool
    entries: int
    seq: int
    problem: str = ""


class LogHeads(SigningKeys):
    """The heads of the ref logs and the audit logs, signed with the installation's key and checked against it."""

    def __init__(
        self,
        store: EvidenceStore,
        artifacts: RegistryStore,
        keyring: Keyring,
        clock: Clock,
        audit: Auditor | None,
        audit_log: AuditLog | None,
        limits: EvidenceLimits,
    ) -> None:
        super().__init__(store, keyring, clock, audit, limits)
        self._artifacts = artifacts
        self._audit_log = audit_log

    def export_head(self, project: str) -> dict[str, Any]:
        """Sign where the ref log ends now. Kept elsewhere, it proves later that nothing before it was changed."""
        _, (seq, head) = self._artifacts.walk_log(project)
        predicate = {"project": project, "seq": seq, "head": head, "at": rfc3339(self._clock.now())}
        statement = Statement(LOG_HEAD, ((f"ref-log/{project}", Digest(head)),), predicate)
        return sign_statement(self._signer(), statement).document()

    def export_audit_head(self, project: str | None) -> dict[str, Any]:
        """Sign where the audit log of a project (None: of the installation) ends now, to be kept elsewhere."""
        seq, head = self._audited().head(project)
        predicate = {"project": project or "", "seq": seq, "head": head, "at": rfc3339(self._clock.now())}
        statement = Statement(AUDIT_HEAD, ((f"audit-log/{project or ''}", Digest(head)),), predicate)
        return sign_statement(self._signer(), statement).document()

    def check_audit_head(self, project: str | None, envelope: object) -> HeadCheck:
        """Walk an audit log and say whether it still holds everything that an exported head vouches for."""
        seq, head = self._vouched(
            envelope, AUDIT_HEAD, project or "", f"the audit log of {project or 'the installation'}"
        )
        found = self._audited().check(project, (seq, head))
        return HeadCheck(found.intact, found.entries, seq, found.reason)

    def _audited(self) -> AuditLog:
        if self._audit_log is None:
            raise NotFound("this installation keeps no audit log", hint="ask the control plane")
        return self._audit_log

    def _vouched(self, envelope: object, kind: str, project: str, what: str) -> tuple[int, str]:
        """Return the place in a log that an exported head names, once its signature was verified."""
        read = read_envelope(envelope)
        statement = read_statement(read.body())
        said = statement.predicate
        if statement.predicate_type != kind or said.get("project") != project:
            raise BadEvidence(f"this is no head of {what}", hint="`tetrad ref log`, `tetrad audit` export heads")
        signers = verifying_keys(read, self.keys(None))
        if not any(key.revoked_at is None or str(said.get("at")) < rfc3339(key.revoked_at) for key in signers):
            raise SignatureRefused("no trusted key of this installation has signed the head", hint="export a new one")
        seq, head = said.get("seq"), said.get("head")
        if not isinstance(seq, int) or not isinstance(head, str):
            raise BadEvidence("the head says no place in the log", hint="export it again")
        return seq, head

    def check_head(self, project: str, envelope: object) -> HeadCheck:
        """Walk the ref log and say whether it still holds everything that an exported head vouches for."""
        seq, head = self._vouched(envelope, LOG_HEAD, project, f"the ref log of {project!r}")
        there: list[str] = []

        def watched(entries: Iterable[RefEntry]) -> Iterator[RefEntry]:
            for entry in entries:
                if entry.seq == seq:
                    there.append(entry.hash)
                yield entry

        entries, end = self._artifacts.walk_log(project)
        check = check_log(watched(entries), end)
        if not check.sound:
            return HeadCheck(False, check.entries, seq, check.problem)
        if seq > 0 and there != [head]:
            what = "is not the one that was exported" if there else "is gone"
            return HeadCheck(False, check.entries, seq, f"entry {seq} {what}")
        return HeadCheck(True, check.entries, seq)
