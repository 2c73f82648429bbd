"""The registry's part of the API, below `/api/v1/projects/{project}`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from tetrad.kit.http import Page, PageParams, PageQuery, cut_page, decode_cursor, requires
from tetrad.registry._artifacts import JSON
from tetrad.registry._evidence_routes import evidence_router
from tetrad.registry._revocation import told
from tetrad.registry._revocation_routes import revocation_router
from tetrad.registry._run_routes import run_router
from tetrad.registry._service import Registry
from tetrad.registry._views import ArtifactView, LineageView, LogCheckView, LogEntryView, RefView, VersionView

PROJECT = "/api/v1/projects/{project}"
Project = Annotated[str, Path(max_length=63)]
DigestPath = Annotated[str, Path(max_length=71, description="`sha256:` and 64 hex digits")]
Name = Annotated[str, Query(max_length=128)]
Since = Annotated[AwareDatetime | None, Query(description="Only from then on, with a time zone")]
Until = Annotated[AwareDatetime | None, Query(description="Only before then, with a time zone")]
MAX_SHOWN_BYTES = 1 << 20
MAX_SHOWN_PARTS = 200
_CHUNK = 1 << 16

__all__ = ["evidence_router", "revocation_router", "router", "run_router"]


def router(registry: Registry) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix=PROJECT, tags=["registry"], dependencies=[requires("control")])
    _artifact_routes(routes, registry)
    _ref_routes(routes, registry)
    return routes


def _artifact_routes(routes: APIRouter, registry: Registry) -> None:
    @routes.get("/artifacts/{digest}", operation_id="get_artifact")
    def get_artifact(project: Project, digest: DigestPath) -> ArtifactView:
        """Show an artifact of the project, its versions and what it refers to."""
        artifact = registry.artifact(project, digest)
        parts = registry.parts(project, digest)
        shown = (
            artifact.erased_at is None
            and artifact.stored
            and artifact.media_type == JSON
            and artifact.size <= MAX_SHOWN_BYTES
        )
        return ArtifactView.of(
            artifact,
            registry.versions_of(project, digest),
            [(str(part), role) for part, role in parts[:MAX_SHOWN_PARTS]],
            len(parts),
            registry.document(project, digest) if shown else None,
            [told(cause) for cause in registry.revoked(project, digest)],
        )

    @routes.get(
        "/artifacts/{digest}/content",
        operation_id="get_artifact_content",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    def get_artifact_content(project: Project, digest: DigestPath) -> StreamingResponse:
        """Download the bytes of an artifact, or of a part of one."""
        file = registry.open(project, digest)
        name = digest.removeprefix("sha256:")[:16]
        headers = {
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "private, max-age=31536000, immutable",
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(_chunks(file), media_type="application/octet-stream", headers=headers)

    @routes.get("/artifacts/{digest}/lineage", operation_id="get_lineage")
    def get_lineage(
        project: Project,
        digest: DigestPath,
        direction: Literal["upstream", "downstream", "both"] = "upstream",
        depth: Annotated[int, Query(ge=1, le=50)] = 10,
    ) -> LineageView:
        """Walk to what an artifact was made from, to what was made from it, or both ways: a graph with names."""
        return LineageView.of(registry.lineage(project, digest, direction=direction, depth=depth))

    @routes.get("/versions", operation_id="list_versions")
    def list_versions(
        project: Project,
        page: PageParams,
        kind: Annotated[str, Query(max_length=32)],
        name: Annotated[str | None, Query(max_length=128)] = None,
    ) -> Page[VersionView]:
        """List the versions of a name, newest first; without a name the newest version of each name."""
        if name is None:
            listing = f"names {project} {kind}"
            after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
            newest = registry.names(project, kind, limit=page.limit + 1, after=after)
            return cut_page(listing, page, [VersionView.of(each) for each in newest], lambda view: view.name)
        listing = f"versions {project} {kind} {name}"
        before = _number(listing, page)
        found = registry.versions(project, kind, name, limit=page.limit + 1, before=before)
        return cut_page(listing, page, [VersionView.of(each) for each in found], lambda view: view.sequence)


def _ref_routes(routes: APIRouter, registry: Registry) -> None:
    @routes.get("/refs", operation_id="list_refs")
    def list_refs(project: Project, page: PageParams, prefix: Name = "") -> Page[RefView]:
        """List the refs of a project, in the order of names."""
        listing = f"refs {project} {prefix}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        found = registry.refs(project, prefix, limit=page.limit + 1, after=after)
        return cut_page(listing, page, [RefView.of(each) for each in found], lambda view: view.name)

    @routes.get("/refs/log", operation_id="list_ref_moves")
    def list_ref_moves(
        project: Project,
        page: PageParams,
        ref: Name = "",
        actor: Annotated[str, Query(max_length=128, description="Only by them: an id or a name")] = "",
        since: Since = None,
        until: Until = None,
    ) -> Page[LogEntryView]:
        """List moves, newest first: of one ref, of all below `app/`, or of all."""
        listing = f"log {project} {ref} {actor} {since} {until}"
        found = registry.ref_log(
            project, ref or None, limit=page.limit + 1, before=_number(listing, page), actor=actor, since=since,
            until=until,
        )  # fmt: skip
        return cut_page(listing, page, [LogEntryView.of(each) for each in found], lambda view: view.sequence)

    @routes.get("/refs/log/check", operation_id="check_ref_log")
    def check_ref_log(project: Project) -> LogCheckView:
        """Walk the whole log and say whether every entry follows from the one before."""
        return LogCheckView.of(registry.verify_log(project))


def _number(listing: str, page: PageQuery) -> int | None:
    if not page.cursor:
        return None
    value = decode_cursor(listing, page.cursor, [int])[0]
    return value if isinstance(value, int) else None


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
