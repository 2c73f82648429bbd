"""Routes of revocations, collections and erasures; `tetrad.registry.routes` offers them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query

from tetrad.kit.http import CurrentPrincipal, Page, PageParams, cut_page, decode_cursor, requires
from tetrad.registry._collect import Collector
from tetrad.registry._evidence_views import ReasonBody
from tetrad.registry._revocation import Revocations
from tetrad.registry._revocation_views import (
    CollectBody,
    CollectedView,
    CollectionView,
    EraseBody,
    ErasureView,
    ExplanationView,
    ImpactView,
    RevocationView,
    RevokedView,
)

PROJECT = "/api/v1/projects/{project}"
Project = Annotated[str, Path(max_length=63)]
DigestPath = Annotated[str, Path(max_length=71, description="`sha256:` and 64 hex digits")]
ADMIN = [requires("admin")]
MAX_SHOWN = 1000


def revocation_router(revocations: Revocations, collector: Collector) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(tags=["registry"])
    _revocation_routes(routes, revocations)
    _collection_routes(routes, collector)
    return routes


def _revocation_routes(routes: APIRouter, revocations: Revocations) -> None:
    @routes.post(f"{PROJECT}/artifacts/{{digest}}/revoke", operation_id="revoke_artifact", dependencies=ADMIN)
    def revoke_artifact(project: Project, digest: DigestPath, body: ReasonBody, actor: CurrentPrincipal) -> RevokedView:
        """Revoke an artifact: no ref moves any more to what contains it or was made from it. Again changes nothing."""
        revocation, impact = revocations.revoke(project, digest, actor=actor, reason=body.reason)
        return RevokedView(revocation=RevocationView.of(revocation), impact=ImpactView.of(impact, MAX_SHOWN))

    @routes.post(f"{PROJECT}/artifacts/{{digest}}/reinstate", operation_id="reinstate_artifact", dependencies=ADMIN)
    def reinstate_artifact(
        project: Project, digest: DigestPath, body: ReasonBody, actor: CurrentPrincipal
    ) -> RevocationView:
        """Take a revocation back, saying why."""
        return RevocationView.of(revocations.reinstate(project, digest, actor=actor, reason=body.reason))

    @routes.get(f"{PROJECT}/artifacts/{{digest}}/impact", operation_id="get_impact", dependencies=[requires("control")])
    def get_impact(project: Project, digest: DigestPath) -> ImpactView:
        """Name what a revocation of an artifact would reach: artifacts, versions, refs, what is served."""
        return ImpactView.of(revocations.impact(project, digest), MAX_SHOWN)

    @routes.get(f"{PROJECT}/revocations", operation_id="list_revocations", dependencies=[requires("control")])
    def list_revocations(
        project: Project,
        page: PageParams,
        digest: Annotated[str | None, Query(max_length=71, description="Only of this artifact")] = None,
        standing: Annotated[bool, Query(description="Only those that were not taken back")] = False,
    ) -> Page[RevocationView]:
        """List revocations, newest first."""
        listing = f"revocations {project} {digest} {standing}"
        before = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else None
        found = revocations.all(project, standing=standing, digest=digest, limit=page.limit + 1, before=before)
        return cut_page(listing, page, [RevocationView.of(each) for each in found], lambda view: view.id)


def _collection_routes(routes: APIRouter, collector: Collector) -> None:
    @routes.post(f"{PROJECT}/gc", operation_id="collect_project", dependencies=ADMIN)
    def collect_project(project: Project, body: CollectBody, actor: CurrentPrincipal) -> CollectionView:
        """Take what nothing of a project needs; without `run` only say what would go.

        Files go with the collection of the whole installation, as projects may share them.
        """
        age = _age(body)
        return CollectionView.of(
            collector.collect(project, actor=actor, run=body.run, versions_older_than=age), MAX_SHOWN
        )

    @routes.post("/api/v1/gc", operation_id="collect", dependencies=[requires("admin", everywhere=True)])
    def collect(body: CollectBody, actor: CurrentPrincipal) -> CollectedView:
        """Take what no project needs, and the files that go with it; without `run` only say what would go."""
        age = _age(body)
        return CollectedView.of(collector.collect_all(actor=actor, run=body.run, versions_older_than=age), MAX_SHOWN)

    @routes.get(
        f"{PROJECT}/artifacts/{{digest}}/holders", operation_id="explain_artifact", dependencies=[requires("control")]
    )
    def explain_artifact(project: Project, digest: DigestPath) -> ExplanationView:
        """Say what holds an artifact, so that no collection takes it, and by which path."""
        return ExplanationView.of(collector.explain(project, digest))

    @routes.post(f"{PROJECT}/artifacts/{{digest}}/erase", operation_id="erase_artifact", dependencies=ADMIN)
    def erase_artifact(project: Project, digest: DigestPath, body: EraseBody, actor: CurrentPrincipal) -> ErasureView:
        """Take the content of an artifact away for good and leave a tombstone with the reason.

        What is served is refused (409) unless `force`. Reading it answers 410 from then on.
        """
        return ErasureView.of(collector.erase(project, digest, actor=actor, reason=body.reason, force=body.force))


def _age(body: CollectBody) -> timedelta | None:
    return None if body.versions_older_than_days is None else timedelta(days=body.versions_older_than_days)
