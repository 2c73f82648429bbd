"""Control's own routes: health, metrics, status, and the stream of route tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

import tetrad
from tetrad.kernel import Unavailable
from tetrad.kit.children import rss_bytes
from tetrad.kit.home import read_state
from tetrad.kit.http import public, requires
from tetrad.registry import told

if TYPE_CHECKING:
    from tetrad.processes.control._services import Services

_STREAM_TYPE = "application/vnd.tetrad.route-tables"


class ProcessView(BaseModel):
    """A process that the supervisor of this machine runs."""

    name: str
    state: str
    pid: int | None
    rss_bytes: int
    restarts: int
    reason: str


class EngineStatusView(BaseModel):
    """An engine, in short."""

    name: str
    state: str
    models: list[str]
    reason: str
    restarts: int
    rss_bytes: int


class RouteTableView(BaseModel):
    """The newest route table; `error` tells why a newer one could not be made, `problems` what it had to leave out."""

    version: str
    gateways: int
    apps: int
    models: int
    error: str
    problems: list[str]


class StoreView(BaseModel):
    """A store and what is in it."""

    name: str
    kind: str
    ok: bool
    detail: str


class BrokenView(BaseModel):
    """A release that is served although revocations reach it; without `ref` only to requests that pin it."""

    project: str
    app: str
    ref: str
    digest: str
    causes: list[str]


class StatusView(BaseModel):
    """What runs, and how it is. `broken` is served although it was revoked, or rests on what was."""

    version: str
    ready: bool
    processes: list[ProcessView]
    engines: list[EngineStatusView]
    route_table: RouteTableView
    stores: list[StoreView]
    broken: list[BrokenView]


def status_router(services: Services) -> APIRouter:
    """Return control's own routes."""
    routes = APIRouter(tags=["status"])

    @routes.get("/healthz", dependencies=[public()], include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", dependencies=[public()], include_in_schema=False)
    def readyz() -> dict[str, str]:
        services.database.check()
        if not services.publisher.sealed:
            raise Unavailable("no route table has been made yet", hint="see the log of control", retry_after_s=1)
        return {"status": "ready"}

    @routes.get("/metrics", dependencies=[requires("control")], include_in_schema=False)
    def metrics() -> Response:
        numbers: dict[str, int | float] = {
            **services.traces.metrics(),
            "route_table_gateways": services.publisher.gateways,
            "engines_ready": sum(engine.report.serving for engine in services.engines.engines()),
        }
        lines = [
            f"# TYPE tetrad_{name} {'counter' if name.endswith('_total') else 'gauge'}\ntetrad_{name} {value}\n"
            for name, value in numbers.items()
        ]
        return Response("".join(lines), media_type="text/plain; version=0.0.4; charset=utf-8")

    @routes.get("/api/v1/status", dependencies=[requires("control")], operation_id="get_status")
    def get_status() -> StatusView:
        """Tell what runs on this installation, and how it is."""
        return _status(services)

    @routes.get("/internal/v1/status", dependencies=[requires("internal")], operation_id="get_internal_status")
    def get_internal_status() -> StatusView:
        """Tell the same to our own processes."""
        return _status(services)

    @routes.get(
        "/internal/v1/route-table/stream",
        dependencies=[requires("internal")],
        operation_id="stream_route_tables",
        response_class=StreamingResponse,
        responses={200: {"content": {_STREAM_TYPE: {}}, "description": "Length-prefixed sealed route tables"}},
    )
    async def stream_route_tables() -> StreamingResponse:
        """Push the newest sealed route table, and every later one; an empty frame says that control lives."""
        return StreamingResponse(services.publisher.stream(), media_type=_STREAM_TYPE)

    return routes


def _status(services: Services) -> StatusView:
    state = read_state(services.home) or {}
    table = services.publisher.table
    return StatusView(
        version=tetrad.__version__,
        ready=bool(services.publisher.sealed),
        processes=[_process(process) for process in state.get("processes", [])],
        engines=[
            EngineStatusView(
                name=engine.spec.name,
                state=engine.report.state,
                models=[engine.spec.served_name],
                reason=engine.report.reason,
                restarts=engine.report.restarts,
                rss_bytes=engine.report.rss_bytes,
            )
            for engine in services.engines.engines()
        ],
        route_table=RouteTableView(
            version=str(services.publisher.version),
            gateways=services.publisher.gateways,
            apps=len(table.apps) if table else 0,
            models=len(table.models) if table else 0,
            error=services.publisher.error,
            problems=list(services.problems),
        ),
        stores=[_database(services), _telemetry(services)],
        broken=[
            BrokenView(
                project=each.project,
                app=each.live.app,
                ref=each.live.ref,
                digest=each.live.digest,
                causes=[told(cause) for cause in each.causes],
            )
            for each in services.revocations.served()
        ],
    )


def _process(process: dict[str, Any]) -> ProcessView:
    pid = process["pid"]
    return ProcessView(
        name=process["name"],
        state=process["state"],
        pid=pid,
        rss_bytes=rss_bytes(pid) if pid else 0,
        restarts=process["restarts"],
        reason=process["reason"],
    )


def _database(services: Services) -> StoreView:
    try:
        services.database.check()
    except Unavailable as error:
        return StoreView(name="database", kind=services.database.dialect, ok=False, detail=error.message)
    return StoreView(name="database", kind=services.database.dialect, ok=True, detail="answers")


def _telemetry(services: Services) -> StoreView:
    try:
        size = services.traces.size()
    except Unavailable as error:
        return StoreView(name="telemetry", kind="clickhouse", ok=False, detail=error.message)
    detail = f"{size.spans:,} spans, {size.bytes_on_disk:,} bytes"
    if size.damaged_parts:
        detail += f"; {size.damaged_parts} damaged parts are set aside and their spans not shown"
    return StoreView(name="telemetry", kind="clickhouse", ok=not size.damaged_parts, detail=detail)
