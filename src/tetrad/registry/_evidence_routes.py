"""Routes of evidence, signing keys and gates; `tetrad.registry.routes` offers them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from tetrad.kernel import InvalidInput, parse_digest
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, cut_page, decode_cursor, requires
from tetrad.registry._attest import Evidence
from tetrad.registry._evidence import SIGNED_OUTSIDE
from tetrad.registry._evidence_views import (
    ApprovalBody,
    BreakGlassBody,
    EvidenceBody,
    EvidenceListed,
    EvidenceView,
    GateAnswerView,
    GateBody,
    GateCheckView,
    GateSetView,
    GatesView,
    GateView,
    HeadBody,
    HeadCheckView,
    ReasonBody,
    SigningKeyBody,
    SigningKeysView,
    SigningKeyView,
    WholeEvidenceView,
)
from tetrad.registry._gate import GatePolicies

PROJECT = "/api/v1/projects/{project}"
Project = Annotated[str, Path(max_length=63)]
DigestPath = Annotated[str, Path(max_length=71, description="`sha256:` and 64 hex digits")]
DigestQuery = Annotated[str, Query(max_length=71, description="`sha256:` and 64 hex digits")]
KeyId = Annotated[str, Path(max_length=64, description="64 hex digits")]
Pattern = Annotated[str, Query(min_length=1, max_length=160, description="The glob, such as */production")]
ADMIN = [requires("admin")]


def evidence_router(evidence: Evidence, policies: GatePolicies) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(tags=["evidence"])
    _statement_routes(routes, evidence)
    _key_routes(routes, evidence)
    _gate_routes(routes, policies)
    _head_routes(routes, evidence)
    return routes


def _statement_routes(routes: APIRouter, evidence: Evidence) -> None:
    @routes.get(f"{PROJECT}/evidence", operation_id="list_evidence", dependencies=[requires("control")])
    def list_evidence(
        project: Project,
        page: PageParams,
        subject: Annotated[str | None, Query(max_length=71, description="Only what is about this digest")] = None,
        predicate_type: Annotated[str | None, Query(max_length=128)] = None,
    ) -> Page[EvidenceListed]:
        """List evidence, newest first, each statement verified now."""
        listing = f"evidence {project} {subject} {predicate_type}"
        before = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else None
        found = evidence.find(
            project, subject=subject, predicate_type=predicate_type, limit=page.limit + 1, before=before
        )
        return cut_page(listing, page, [EvidenceListed.of(each) for each in found], lambda view: view.position)

    @routes.post(
        f"{PROJECT}/evidence", operation_id="add_evidence", status_code=201, dependencies=[requires("control")]
    )
    def add_evidence(project: Project, body: EvidenceBody, actor: CurrentPrincipal) -> EvidenceView:
        """Keep a signed test result or provenance; sending it again changes nothing."""
        if body.expires_at is not None and body.expires_at.tzinfo is None:
            raise InvalidInput("expires_at has no time zone", hint="write it as 2026-12-31T00:00:00Z")
        return EvidenceView.of(evidence.add(project, body.envelope, actor=actor, expires_at=body.expires_at))

    @routes.get(f"{PROJECT}/evidence/{{digest}}", operation_id="get_evidence", dependencies=[requires("control")])
    def get_evidence(project: Project, digest: DigestPath) -> WholeEvidenceView:
        """Show a statement with its envelope, verified now."""
        return WholeEvidenceView.of(evidence.get(project, digest))

    @routes.post(f"{PROJECT}/evidence/{{digest}}/revoke", operation_id="revoke_evidence", dependencies=ADMIN)
    def revoke_evidence(
        project: Project, digest: DigestPath, body: ReasonBody, actor: CurrentPrincipal
    ) -> EvidenceView:
        """Take a statement back: it stays to be read, and counts no more."""
        return EvidenceView.of(evidence.revoke(project, digest, actor=actor, reason=body.reason))

    @routes.post(
        f"{PROJECT}/approvals",
        operation_id="approve",
        status_code=201,
        dependencies=[requires("review", readers=True)],
    )
    def approve(project: Project, body: ApprovalBody, actor: CurrentPrincipal) -> EvidenceView:
        """Approve or reject a release or parts of one, as the caller."""
        if body.expires_at is not None and body.expires_at.tzinfo is None:
            raise InvalidInput("expires_at has no time zone", hint="write it as 2026-12-31T00:00:00Z")
        return EvidenceView.of(
            evidence.approve(
                project,
                body.digest,
                actor=actor,
                reject=body.decision == "reject",
                parts=[(part.kind, part.name) for part in body.parts],
                comment=body.comment,
                change_request=body.change_request,
                expires_at=body.expires_at,
            )
        )


def _key_routes(routes: APIRouter, evidence: Evidence) -> None:
    @routes.get(f"{PROJECT}/evidence-keys", operation_id="list_evidence_keys", dependencies=[requires("control")])
    def list_evidence_keys(project: Project) -> SigningKeysView:
        """List the keys whose statements count in a project, the installation's among them."""
        return SigningKeysView(items=[SigningKeyView.shown(key) for key in evidence.keys(project)])

    @routes.post(f"{PROJECT}/evidence-keys", operation_id="trust_evidence_key", status_code=201, dependencies=ADMIN)
    def trust_evidence_key(project: Project, body: SigningKeyBody, actor: CurrentPrincipal) -> SigningKeyView:
        """Let a key of others state test results or provenance in a project."""
        types = body.types if body.types is not None else SIGNED_OUTSIDE
        return SigningKeyView.shown(evidence.trust(project, body.name, body.public_key, actor=actor, types=types))

    @routes.post(f"{PROJECT}/evidence-keys/{{key_id}}/revoke", operation_id="revoke_evidence_key", dependencies=ADMIN)
    def revoke_evidence_key(
        project: Project, key_id: KeyId, body: ReasonBody, actor: CurrentPrincipal
    ) -> SigningKeyView:
        """Trust a project's key no more; what it stated before now stands."""
        return SigningKeyView.shown(evidence.revoke_key(project, key_id, actor=actor, reason=body.reason))

    @routes.post(
        "/api/v1/evidence-keys/rotate",
        operation_id="rotate_installation_signing_key",
        dependencies=[requires("admin", everywhere=True)],
    )
    def rotate_installation_signing_key(actor: CurrentPrincipal) -> SigningKeyView:
        """Sign with a new key from now on; what the installation's older keys signed stands."""
        return SigningKeyView.shown(evidence.rotate(actor))

    @routes.post(
        "/api/v1/evidence-keys/{key_id}/revoke",
        operation_id="revoke_installation_signing_key",
        dependencies=[requires("admin", everywhere=True)],
    )
    def revoke_installation_signing_key(key_id: KeyId, body: ReasonBody, actor: CurrentPrincipal) -> SigningKeyView:
        """Trust a key of the installation no more; a new one takes its place."""
        return SigningKeyView.shown(evidence.revoke_key(None, key_id, actor=actor, reason=body.reason))


def _gate_routes(routes: APIRouter, policies: GatePolicies) -> None:
    @routes.get(f"{PROJECT}/gates", operation_id="list_gates", dependencies=[requires("control")])
    def list_gates(project: Project) -> GatesView:
        """List the gates of a project with their policies."""
        return GatesView(items=[GateView.of(gate) for gate in policies.all(project)])

    @routes.put(f"{PROJECT}/gates", operation_id="set_gate", dependencies=ADMIN)
    def set_gate(project: Project, body: GateBody, actor: CurrentPrincipal) -> GateSetView:
        """Let refs that match a glob move only where a policy is met."""
        gate, version = policies.set(
            project, body.pattern, body.policy, actor=actor, name=body.name, reason=body.reason, bump=body.bump
        )
        return GateSetView.made(gate, version)

    @routes.delete(f"{PROJECT}/gates", operation_id="remove_gate", status_code=204, dependencies=ADMIN)
    def remove_gate(
        project: Project,
        pattern: Pattern,
        actor: CurrentPrincipal,
        reason: Annotated[str, Query(max_length=500)] = "",
    ) -> Response:
        """Take a gate away; refs that no other gate governs move freely again."""
        policies.remove(project, pattern, actor=actor, reason=reason)
        return Response(status_code=204)

    @routes.get(f"{PROJECT}/gates/check", operation_id="check_gates", dependencies=[requires("control")])
    def check_gates(
        project: Project,
        ref: Annotated[str, Query(min_length=1, max_length=128)],
        digest: DigestQuery,
        actor: CurrentPrincipal,
    ) -> GateCheckView:
        """Say what each gate of a ref would answer to a move now; nothing is moved or recorded."""
        answers = policies.check(project, ref, parse_digest(digest), actor=actor)
        return GateCheckView(
            ref=ref,
            digest=digest,
            governed=bool(answers),
            passed=all(answer.passed for answer in answers),
            gates=[GateAnswerView.of(answer) for answer in answers],
        )

    @routes.post(
        f"{PROJECT}/gates/break-glass",
        operation_id="break_glass",
        status_code=201,
        dependencies=[requires("control")],
    )
    def break_glass(project: Project, body: BreakGlassBody, actor: CurrentPrincipal) -> EvidenceView:
        """Let a ref move once past its gates, where their policies name the caller; it goes into the audit log."""
        return EvidenceView.of(policies.break_glass(project, body.ref, body.digest, actor=actor, reason=body.reason))


def _head_routes(routes: APIRouter, evidence: Evidence) -> None:
    @routes.get(f"{PROJECT}/refs/log/head", operation_id="export_ref_log_head", dependencies=[requires("control")])
    def export_ref_log_head(project: Project) -> HeadBody:
        """Sign where the ref log ends now. Kept elsewhere, it proves later that nothing before it was changed."""
        return HeadBody(envelope=evidence.export_head(project))

    @routes.post(
        f"{PROJECT}/refs/log/head/check",
        operation_id="check_ref_log_head",
        dependencies=[requires("control", readers=True)],
    )
    def check_ref_log_head(project: Project, body: HeadBody) -> HeadCheckView:
        """Walk the ref log and say whether it still holds all that an exported head vouches for."""
        return HeadCheckView.of(evidence.check_head(project, body.envelope))

    @routes.get(f"{PROJECT}/audit/head", operation_id="export_audit_head", dependencies=ADMIN)
    def export_audit_head(project: Project) -> HeadBody:
        """Sign where the project's audit log ends now. Kept elsewhere, it proves later that nothing before changed."""
        return HeadBody(envelope=evidence.export_audit_head(project))

    @routes.post(
        f"{PROJECT}/audit/head/check",
        operation_id="check_audit_head",
        dependencies=[requires("admin", readers=True)],
    )
    def check_audit_head(project: Project, body: HeadBody) -> HeadCheckView:
        """Walk the project's audit log and say whether it still holds all that an exported head vouches for."""
        return HeadCheckView.of(evidence.check_audit_head(project, body.envelope))

    @routes.get(
        "/api/v1/audit/head",
        operation_id="export_installation_audit_head",
        dependencies=[requires("admin", everywhere=True)],
    )
    def export_installation_audit_head() -> HeadBody:
        """Sign where the installation's own audit log ends now."""
        return HeadBody(envelope=evidence.export_audit_head(None))

    @routes.post(
        "/api/v1/audit/head/check",
        operation_id="check_installation_audit_head",
        dependencies=[requires("admin", everywhere=True, readers=True)],
    )
    def check_installation_audit_head(body: HeadBody) -> HeadCheckView:
        """Walk the installation's audit log and say whether it still holds all that an exported head vouches for."""
        return HeadCheckView.of(evidence.check_audit_head(None, body.envelope))
