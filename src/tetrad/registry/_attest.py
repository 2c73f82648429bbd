"""Keep and verify evidence: what has been stated about digests, and what of it counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tetrad.kernel import Clock, Digest, InvalidInput, Principal, canonical_json, new_id, parse_digest, parse_json
from tetrad.kit.seal import Keyring
from tetrad.registry._evidence import (
    APPROVAL,
    EXCEPTION,
    SIGNED_OUTSIDE,
    VERDICT,
    Counted,
    Envelope,
    Statement,
    Summary,
    TestResult,
    check_words,
    read_envelope,
    read_predicate,
    read_statement,
    rfc3339,
)
from tetrad.registry._heads import LogHeads
from tetrad.registry._keys import EvidenceLimits
from tetrad.registry._policy import RELEASE, Part, parts_of
from tetrad.registry._signing import SigningKey, make_receipt, receipt_facts, sign_statement, verifying_keys
from tetrad.registry._verified import Verifier
from tetrad.registry.errors import (
    ArtifactNotFound,
    BadEvidence,
    EvidenceExpired,
    EvidenceNotFound,
    EvidenceTooLarge,
    SignatureRefused,
)
from tetrad.registry.ports import AuditLog, Auditor, Blobs, EvidenceRow, EvidenceStore, RegistryStore


class Judged(msgspec.Struct, frozen=True):
    """Evidence and what a look at its signatures found; `problem` is empty where it counts."""

    row: EvidenceRow
    statement: Statement | None
    key: SigningKey | None
    problem: str = ""

    @property
    def counts(self) -> bool:
        """Tell whether its signature holds, its key is trusted, and nobody has revoked it. It may have expired."""
        return not self.problem


class Inspected(msgspec.Struct, frozen=True):
    """An artifact taken apart, with who made each part and how it is licensed, by the part's seal.

    Who made an adapter is an author of the model that is loaded with it; its licences are by its digest.
    """

    kind: str
    parts: tuple[Part, ...]
    authors: Mapping[str, frozenset[str]]
    licences: Mapping[str, frozenset[str]]


def tags(actor: Principal) -> dict[str, Any]:
    """Return an actor as statements name one."""
    return {"id": actor.id, "kind": actor.kind, "name": actor.name[:200], "scopes": sorted(actor.scopes)}


class Evidence(LogHeads):
    """Signed statements about digests, per project. Safe to use from many threads.

    What is kept never changes. Every read verifies: the envelope's signature, the receipt that we signed when it came
    (project, time, sender, expiry), and whether the key was trusted then. What fails is shown, and never counts.
    """

    def __init__(
        self,
        store: EvidenceStore,
        artifacts: RegistryStore,
        blobs: Blobs,
        keyring: Keyring,
        clock: Clock,
        *,
        audit: Auditor | None = None,
        audit_log: AuditLog | None = None,
        limits: EvidenceLimits | None = None,
    ) -> None:
        super().__init__(store, artifacts, keyring, clock, audit, audit_log, limits or EvidenceLimits())
        self._blobs = blobs
        self._verifier = Verifier()

    # -- statements ---------------------------------------------------------------------------------------------

    def add(self, project: str, envelope: object, *, actor: Principal, expires_at: datetime | None = None) -> Judged:
        """Keep an envelope that a trusted key has signed; sending it again changes nothing, unless it has expired.

        One that has expired is received anew, as the same words may be the result of another run. Where the statement
        says when the suite ended, the same words are the same run, and `EvidenceExpired` is raised.

        Raises `BadEvidence` for what is malformed, `SignatureRefused` where no trusted key has signed it. Others state
        test results and provenance; approvals, verdicts and exceptions are made here, for actors we authenticated.
        """
        read = read_envelope(envelope)
        size = len(canonical_json(read.document()))
        if size > self._limits.max_envelope_bytes:
            raise EvidenceTooLarge(f"an envelope of {size} bytes", hint=f"at most {self._limits.max_envelope_bytes}")
        statement = read_statement(read.body())
        if statement.predicate_type not in SIGNED_OUTSIDE:
            raise BadEvidence(
                f"{statement.predicate_type[:128]!r} cannot be sent", hint=f"one of {', '.join(SIGNED_OUTSIDE)}"
            )
        said = read_predicate(statement.predicate_type, statement.predicate)
        now = self._clock.now()
        signers = [
            key
            for key in verifying_keys(read, self.keys(project))
            if key.signs() and key.trusted_for(project, statement.predicate_type, now)
        ]
        if not signers:
            raise SignatureRefused(
                "no key that this project trusts has signed the envelope", hint="`tetrad evidence trust` adds one"
            )
        if expires_at is not None and expires_at <= now:
            raise InvalidInput("it has expired already", hint="give an `expires_at` in the future")
        row = self._row(project, read, statement, actor, expires_at, self._signer())
        kept = self._store.add(row, [digest for _, digest in statement.subjects])
        if kept.expires_at is not None and kept.expires_at <= now and kept.revoked_at is None:
            if isinstance(said, TestResult) and said.suite.finished_at is not None:
                ended = rfc3339(said.suite.finished_at)
                raise EvidenceExpired(
                    f"the result of {said.suite.name[:80]!r} that ended at {ended} has expired",
                    hint="run the suite again and send what it says then",
                )
            kept = self._store.renew(row, now=now) or kept
        return self._judge(kept, self.keys(project))

    def sign(
        self,
        project: str,
        statement: Statement,
        *,
        actor: Principal,
        expires_at: datetime | None = None,
        transaction: Any = None,
    ) -> EvidenceRow:
        """Sign a statement with the installation's key and keep it, in `transaction` where one is given.

        For statements that control itself can vouch for. What an API caller claims goes through `add`.
        """
        read_predicate(statement.predicate_type, statement.predicate)
        signer = self._signer(transaction)
        return self._keep(project, sign_statement(signer, statement), statement, actor, expires_at, signer, transaction)

    def _keep(
        self, project: str, envelope: Envelope, statement: Statement, actor: Principal, expires_at: datetime | None,
        signer: SigningKey, transaction: Any = None,
    ) -> EvidenceRow:  # fmt: skip
        row = self._row(project, envelope, statement, actor, expires_at, signer)
        return self._store.add(row, [digest for _, digest in statement.subjects], transaction)

    def _row(
        self, project: str, envelope: Envelope, statement: Statement, actor: Principal, expires_at: datetime | None,
        signer: SigningKey,
    ) -> EvidenceRow:  # fmt: skip
        now = self._clock.now()
        receipt = make_receipt(signer, receipt_facts(project, envelope.digest, now, actor.id, expires_at))
        return EvidenceRow(
            project, envelope.digest, new_id("evd"), statement.predicate_type,
            canonical_json(envelope.document()).decode("utf-8"), receipt, now, actor.id, actor.name[:256], expires_at,
        )  # fmt: skip

    def approve(
        self,
        project: str,
        digest: str,
        *,
        actor: Principal,
        reject: bool = False,
        parts: Sequence[tuple[str, str]] = (),
        comment: str = "",
        change_request: str = "",
        review: int = 0,
        expires_at: datetime | None = None,
    ) -> Judged:
        """Approve or reject a release, or only those of its parts that `parts` (kind, then name, seal or empty) names.

        A judgement that is word for word the actor's newest one of these parts is that one; after another one, or once
        it has expired or was revoked, it is meant anew. `review` is the number of the judgement, where the caller
        counts them itself.

        What is bound are the parts: an approval outlives a release that leaves its parts alone, and says nothing of a
        part that has changed since.
        """
        words = check_words(comment, "comment") if comment else ""
        found = self.inspect(project, digest).parts
        chosen = [part for part in found if not parts or any(_named(part, each) for each in parts)]
        if not chosen:
            raise InvalidInput("no part of it is named so", hint=", ".join(sorted({part.label() for part in found})))
        subjects: dict[Digest, str] = {parse_digest(digest): "whole"}
        for part in chosen:
            subjects.setdefault(part.seal, f"part {part.label()}"[:300])
            if part.digest is not None:
                subjects.setdefault(part.digest, f"content {part.label()}"[:300])
        predicate: dict[str, Any] = {
            "decision": "reject" if reject else "approve",
            "approver": tags(actor),
            "project": project,
            "parts": [msgspec.to_builtins(part.bound()) for part in chosen],
            "comment": words,
            "change_request": change_request[:64],
        }
        if not review:
            seals = [part.seal for part in chosen]
            same, review = self._judged_before(project, actor, seals, predicate, expires_at)
            if same is not None:
                return same
        if review:
            predicate["review"] = review
        statement = Statement(APPROVAL, tuple((name, each) for each, name in subjects.items()), predicate)
        return self._judge(self.sign(project, statement, actor=actor, expires_at=expires_at), self.keys(project))

    def _judged_before(
        self, project: str, actor: Principal, seals: Sequence[str], predicate: Mapping[str, Any],
        expires_at: datetime | None,
    ) -> tuple[Judged | None, int]:  # fmt: skip
        """Return an actor's newest judgement of parts if a new one would say the same, and the number of a new one."""
        keys, mine = self.keys(project), []
        for row in self._store.about(project, sorted(set(seals))):
            judged = self._judge(row, keys) if row.predicate_type == APPROVAL else None
            said = judged.statement.predicate if judged and judged.statement else {}
            if judged and isinstance(said.get("approver"), Mapping) and said["approver"].get("id") == actor.id:
                mine.append((judged, said))
        if not mine:
            return None, 0
        judged, said = mine[-1]
        expiry = judged.row.expires_at
        holds = judged.counts and (expiry is None or expiry > self._clock.now())
        same = {name: value for name, value in said.items() if name != "review"} == predicate
        numbers = (said.get("review") for _, said in mine)
        counted = [number for number in numbers if isinstance(number, int)]
        return (judged if holds and same and expiry == expires_at else None), max([len(mine), *counted]) + 1

    def break_glass(
        self, project: str, ref: str, digest: str, *, actor: Principal, reason: str, minutes: int
    ) -> Judged:
        """Let a ref move once past its gate to this digest, within `minutes`; it is in the audit log before it holds.

        Whether the actor may is for the policy to say: `GatePolicies.break_glass` asks it.
        """
        words = check_words(reason, "reason")
        self._note(actor, "gate.glass_broken", ref, project, digest=digest, reason=words[:500])
        predicate = {"project": project, "ref": ref, "actor": tags(actor), "reason": words}
        statement = Statement(EXCEPTION, ((ref, parse_digest(digest)),), predicate)
        until = self._clock.now() + timedelta(minutes=minutes)
        return self._judge(self.sign(project, statement, actor=actor, expires_at=until), self.keys(project))

    def revoke(self, project: str, digest: str, *, actor: Principal, reason: str) -> Judged:
        """Take a statement back: it stays to be read, and counts no more."""
        self.get(project, digest)
        words = check_words(reason, "reason")
        self._note(actor, "evidence.revoked", digest, project, reason=words[:500])
        values = {"revoked_at": self._clock.now(), "revoked_by": actor.id, "revoked_because": words}
        row = self._store.revoke(project, digest, values=values)
        assert row is not None  # noqa: S101 - get() found it, and rows are never taken away
        return self._judge(row, self.keys(project))

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, project: str, digest: str) -> Judged:
        """Return evidence of a project, verified now; raise `EvidenceNotFound`."""
        row = self._store.get(project, parse_digest(digest))
        if row is None:
            raise EvidenceNotFound(f"the project {project!r} has no evidence {digest}", hint="`tetrad evidence list`")
        return self._judge(row, self.keys(project))

    def find(
        self,
        project: str,
        *,
        subject: str | None = None,
        predicate_type: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Judged]:
        """Return evidence, newest first, each verified now; `before` is the `seq` to go on from."""
        about = parse_digest(subject) if subject is not None else None
        keys = self.keys(project)
        rows = self._store.newest(project, subject=about, predicate_type=predicate_type, limit=limit, before=before)
        return [self._judge(row, keys) for row in rows]

    def counted(
        self, project: str, subjects: Iterable[str], transaction: Any = None
    ) -> tuple[list[Counted], list[Judged]]:
        """Return the statements about any of the digests that count, in the order of receipt, and those that do not.

        What verdicts among them rest on is there too, whatever it is about.
        """
        keys = self.keys(project, transaction)
        judgements = [self._judge(row, keys) for row in self._store.about(project, sorted(set(subjects)), transaction)]
        known = {judged.row.digest for judged in judgements}
        rests_on = {digest for judged in judgements for digest in _inputs(judged)} - known
        if rests_on:
            more = self._store.about(project, [], transaction, digests=sorted(rests_on))
            judgements += [self._judge(row, keys) for row in more]
            judgements.sort(key=lambda judged: judged.row.seq)
        counted: list[Counted] = []
        others: list[Judged] = []
        for judged in judgements:
            row = judged.row
            if judged.problem or judged.statement is None or judged.key is None:
                others.append(judged)
                continue
            # The subjects are the statement's: the index finds, it proves nothing.
            about = frozenset(str(digest) for _, digest in judged.statement.subjects)
            counted.append(
                Counted(
                    row.digest, judged.statement.predicate_type, about, judged.statement.predicate, judged.key.id,
                    row.received_at, row.expires_at,
                )
            )  # fmt: skip
        return counted, others

    def _judge(self, row: EvidenceRow, keys: Sequence[SigningKey]) -> Judged:
        verified = self._verifier.verify(row, keys)
        statement = verified.statement
        if verified.problem or statement is None:
            return Judged(row, statement, None, verified.problem)
        by_id = {key.id: key for key in keys}
        signers = [by_id[name] for name in verified.signers]
        trusted = [key for key in signers if key.trusted_for(row.project, statement.predicate_type, row.received_at)]
        if not signers:
            return Judged(row, statement, None, "no known key has signed it")
        if not trusted or not by_id[verified.receiver].trusted_for(row.project, "", row.received_at):
            return Judged(row, statement, signers[0], "its key was not trusted when it came")
        if row.revoked_at is not None:
            return Judged(row, statement, trusted[0], f"it was revoked: {row.revoked_because}")
        try:
            read_predicate(statement.predicate_type, statement.predicate)
        except BadEvidence as error:
            return Judged(row, statement, trusted[0], error.message)
        return Judged(row, statement, trusted[0])

    def inspect(self, project: str, digest: str, transaction: Any = None) -> Inspected:
        """Take an artifact of a project apart and say who made what of it."""
        whole = parse_digest(digest)
        maker = self._artifacts.makers(project, [whole], transaction).get(whole)
        if maker is None:
            raise ArtifactNotFound(f"the project {project!r} has no artifact {digest}", hint="check the digest")
        document: object = None
        if maker.kind == RELEASE:
            document = parse_json(self._blobs.read(whole), where=f"the artifact {digest}")
        parts = parts_of(maker.kind, whole, document if isinstance(document, dict) else None)
        named = [digest for part in parts for digest in (part.digest, *part.adapters) if digest]
        makers = self._artifacts.makers(project, named, transaction)
        authors: dict[str, frozenset[str]] = {}
        licences: dict[str, frozenset[str]] = {}
        for part in parts:
            mine = makers.get(part.digest) if part.digest else None
            adapters = {digest: makers[digest] for digest in part.adapters if digest in makers}
            theirs = (each.authors for each in (mine, *adapters.values()) if each)
            authors[part.seal] = maker.authors.union(*theirs)
            licences[part.seal] = mine.licences if mine else frozenset()
            licences |= {digest: each.licences for digest, each in adapters.items()}
        return Inspected(maker.kind, parts, authors, licences)


def payload(row: EvidenceRow) -> Mapping[str, Any]:
    """Return an envelope as it was received, for those who verify it themselves."""
    found: Mapping[str, Any] = json.loads(row.envelope)
    return found


def _inputs(judged: Judged) -> frozenset[str]:
    if not judged.counts or judged.statement is None or judged.statement.predicate_type != VERDICT:
        return frozenset()
    summary = read_predicate(VERDICT, judged.statement.predicate)
    return summary.inputs if isinstance(summary, Summary) else frozenset()


def _named(part: Part, wanted: tuple[str, str]) -> bool:
    kind, name = wanted
    return part.kind == kind and (not name or name in (part.name, part.role, part.seal))
