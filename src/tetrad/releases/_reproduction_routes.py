"""The API of reproductions, and the worker's way back to control."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path

from tetrad.kernel import InvalidInput, parse_digest
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, cut_page, decode_cursor, requires
from tetrad.releases._reproduction_views import FailBody, ReproductionBody, ReproductionDetailView, ReproductionView
from tetrad.releases._reproductions import Outcome, Reproductions

Project = Annotated[str, Path(max_length=63)]
DigestPath = Annotated[str, Path(max_length=71, description="`sha256:` and 64 hex digits")]
ReproductionId = Annotated[str, Path(max_length=64)]
_RELEASE = "/api/v1/projects/{project}/releases/{digest}/reproductions"
_WORK = "/internal/v1/reproductions/{reproduction}"


def reproduction_router(reproductions: Reproductions) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(tags=["releases"])
    _asking(routes, reproductions)
    _working(routes, reproductions)
    return routes


def _asking(routes: APIRouter, reproductions: Reproductions) -> None:
    control = [requires("control")]

    @routes.post(_RELEASE, operation_id="reproduce_release", status_code=202, dependencies=control)
    def reproduce_release(
        project: Project, digest: DigestPath, body: ReproductionBody, actor: CurrentPrincipal
    ) -> ReproductionView:
        """Ask for a release to be reproduced, or for requests to be recorded; it is durable when this answers."""
        if not body.record and (body.requests or body.from_traces):
            raise InvalidInput("requests are for a recording", hint="send record: true, or leave them out")
        if body.record and (body.level or body.recording):
            raise InvalidInput("a recording proves no level", hint="record first, reproduce then")
        if body.record:
            row = reproductions.record(
                project, digest, actor=actor, inputs=[each.value() for each in body.requests],
                from_traces=body.from_traces, key=body.key,
            )  # fmt: skip
        else:
            row = reproductions.reproduce(
                project, digest, actor=actor, level=body.level, recording=body.recording, key=body.key
            )
        return ReproductionView.of(row)

    @routes.get(_RELEASE, operation_id="list_reproductions", dependencies=control)
    def list_reproductions(project: Project, digest: DigestPath, page: PageParams) -> Page[ReproductionView]:
        """List the reproductions and recordings of a release, newest first, without their reports."""
        listing = f"reproductions {project} {digest}"
        before = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else None
        rows = reproductions.list(project, parse_digest(digest), limit=page.limit + 1, before=before)
        places = {row.id: row.seq for row in rows}
        listed = [ReproductionView.of(row, reproductions.work(row)) for row in rows]
        return cut_page(listing, page, listed, lambda view: places[view.id])

    @routes.get(f"{_RELEASE}/{{reproduction}}", operation_id="get_reproduction", dependencies=control)
    def get_reproduction(project: Project, digest: DigestPath, reproduction: ReproductionId) -> ReproductionDetailView:
        """Show a reproduction: how far it is, then what was proven of each level, part and request."""
        row, work = reproductions.get(project, digest, reproduction)
        return ReproductionDetailView.shown(row, work, reproductions.report(row))


def _working(routes: APIRouter, reproductions: Reproductions) -> None:
    internal = [requires("internal")]

    @routes.get(_WORK, operation_id="plan_reproduction", dependencies=internal)
    def plan_reproduction(reproduction: ReproductionId) -> dict[str, Any]:
        """Tell the worker what is to be done."""
        return _builtins(reproductions.plan(reproduction))

    @routes.post(f"{_WORK}/parts/{{number}}", operation_id="check_reproduced_part", dependencies=internal)
    def check_reproduced_part(reproduction: ReproductionId, number: int) -> dict[str, Any]:
        """Read one part of the release again."""
        return _builtins(reproductions.check(reproduction, number))

    @routes.post(f"{_WORK}/finish", operation_id="finish_reproduction", dependencies=internal)
    def finish_reproduction(
        reproduction: ReproductionId, body: dict[str, Any], actor: CurrentPrincipal
    ) -> dict[str, Any]:
        """Take what the worker found, and keep what that proves."""
        try:
            outcome = msgspec.convert(body, Outcome)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{error}", hint="is the worker of the same version as control?") from None
        row = reproductions.finish(reproduction, outcome, actor=actor)
        return {"state": row.state, "proven": list(row.proven), "report": row.report, "recording": row.recording}

    @routes.post(f"{_WORK}/fail", operation_id="fail_reproduction", dependencies=internal)
    def fail_reproduction(reproduction: ReproductionId, body: FailBody) -> dict[str, Any]:
        """Take that it cannot be done."""
        row = reproductions.fail(reproduction, body.message, body.hint)
        return {"state": row.state, "error": row.error}


def _builtins(value: object) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found
