"""A registry whose gates ask for evidence, wired as the control process does it, and people who give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.blobs import MemoryBlobs
from support.tetrads import SYSTEM, Tetrads, wire
from tetrad.kernel import Digest, FixedClock, Principal
from tetrad.kit.db import Database
from tetrad.kit.seal import Keyring, new_seal_key
from tetrad.registry import (
    GATE,
    TEST_RESULT,
    Evidence,
    EvidenceGate,
    GatePolicies,
    Judged,
    Revocations,
    SigningKey,
    Statement,
    new_key,
    sign_statement,
)
from tetrad.registry._evidence_store import SqlEvidenceStore
from tetrad.registry._revocation_store import SqlRevocationStore
from tetrad.registry._store import SqlRegistryStore
from tetrad.registry.ports import AuditLog, Auditor

ADA = Principal("person_ada", "person", "Ada", frozenset({"control", "review"}))
BEA = Principal("person_bea", "person", "Bea", frozenset({"control", "review"}), read_only=True)
CAT = Principal("person_cat", "person", "Cat", frozenset({"control", "review", "admin"}))
BOT = Principal("key_bot", "key", "Bot", frozenset({"control", "review"}))
PROD = "bot/production"


@dataclass
class Audited:
    """An audit log in memory."""

    events: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        del project, detail
        self.events.append((actor.id, action, target))


@dataclass
class Gated:
    """An installation whose refs can be governed by evidence, and a runner `ci` whose key it trusts."""

    tetrads: Tetrads
    evidence: Evidence
    policies: GatePolicies
    audited: Audited
    keyring: Keyring
    ci: SigningKey
    revocations: Revocations

    def release(self, prompt: str = "one", *, actor: Principal = ADA, model: str = "m", **more: Any) -> Digest:
        """Make a small release: one prompt, one model with a licence, some code."""
        registry = self.tetrads.registry
        text = registry.put_document("default", "prompt", {"text": prompt}, actor=actor).digest
        weights = registry.put_document("default", "model", {"weights": model}, actor=SYSTEM).digest
        registry.add_version("default", "model", model, weights, actor=SYSTEM, meta={"licence": "Apache-2.0"})
        code = registry.put_document("default", "code", {"files": 1}, actor=SYSTEM).digest
        manifest = {
            "schema": "tetrad.release/1", "app": "bot", "code": {"digest": code}, "data": [],
            "model": [{"role": "primary", "name": model, "digest": weights, "kind": "weights"}],
            "prompt": [{"role": "system", "name": "hello", "digest": text}],
            "graph": [{"step": "answer", "model": model}], "config": {"tools": []}, **more,
        }  # fmt: skip
        parts = [(text, "prompt"), (weights, "model"), (code, "code")]
        return registry.put_document("default", "release", manifest, actor=actor, parts=parts).digest

    def tested(
        self, digest: str, result: str = "PASSED", suite: str = "smoke", *, key: SigningKey | None = None,
        cases: int = 10, suite_digest: str = "", **metrics: float,
    ) -> Judged:  # fmt: skip
        """Send a result that the runner signed."""
        envelope = signed_result(key or self.ci, digest, result, suite, metrics, cases, suite_digest)
        return self.evidence.add("default", envelope, actor=BOT)


def signed_result(
    key: SigningKey, digest: str, result: str = "PASSED", suite: str = "smoke",
    metrics: Mapping[str, float] | None = None, cases: int = 10, suite_digest: str = "", finished_at: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Sign a test result as a runner does."""
    measured = {"name": suite, "digest": suite_digest, "metrics": dict(metrics or {}), "cases": cases}
    measured |= {"finished_at": finished_at} if finished_at else {}
    predicate = {"result": result, "configuration": [], "suite": measured}
    return sign_statement(key, Statement(TEST_RESULT, (("release", Digest(digest)),), predicate)).document()


def wire_gated(
    database: Database,
    *,
    audit: Auditor | None = None,
    clock: FixedClock | None = None,
    max_reached: int = 100_000,
    audit_log: AuditLog | None = None,
    blobs: Any = None,
    keyring: Keyring | None = None,
    ci: SigningKey | None = None,
) -> Gated:
    """Wire the services with their evidence; with the bytes, the keys and the runner of before they are opened anew."""
    blobs, clock, audited = blobs if blobs is not None else MemoryBlobs(), clock or FixedClock(), Audited()
    keyring = keyring or Keyring(new_seal_key())
    note = audit or audited
    evidence = Evidence(
        SqlEvidenceStore(database), SqlRegistryStore(database), blobs, keyring, clock, audit=note, audit_log=audit_log
    )
    revocations = Revocations(
        SqlRevocationStore(database), SqlRegistryStore(database), evidence, clock, audit=note, max_reached=max_reached
    )
    gate = EvidenceGate(evidence, blobs, clock, revocations=revocations)
    tetrads = wire(database, gates={GATE: gate}, blobs=blobs, clock=clock, revocations=revocations, evidence=evidence)
    tetrads.registry.on_refusal(gate.note_refusal)
    policies = GatePolicies(tetrads.registry, evidence, gate, clock, audit=note)
    evidence.first_start(SYSTEM)
    if ci is None:
        ci = new_key("default", "ci", at=clock.now(), by="ci")
        evidence.trust("default", "ci", ci.public, actor=CAT)
    return Gated(tetrads, evidence, policies, audited, keyring, ci, revocations)
