"""The API of routes, and what gateways tell of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from tetrad.kernel import InvalidInput, TooLarge
from tetrad.kit.http import AdministersAll, Page, PageParams, Search, page_of_all, requires
from tetrad.serving._key_uses import MAX_USES
from tetrad.serving._providers import ProviderDirectory
from tetrad.serving._route_directory import AnswersHealth, ProviderHealth, RouteDirectory, RouteHealth, TargetSummary
from tetrad.serving._route_plan import GatewayHealth
from tetrad.serving._route_spec import MAX_ALIASES, MAX_TARGETS, ModelRoute

NoteUses = Callable[[dict[str, datetime]], None]
RouteName = Annotated[str, Path(max_length=63)]
_Labels = Annotated[list[str], Field(max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ConditionBody(_Body):
    """Which requests a target may answer, by their labels; an empty list lets all through."""

    segments: _Labels = []
    sensitivities: _Labels = []
    regions: _Labels = []


class RouteTargetBody(_Body):
    """One model of a route; see `RouteTarget`."""

    model: str = Field(max_length=264)
    weight: int = 1
    priority: int = 0
    when: ConditionBody = ConditionBody()
    max_in_flight: int = Field(default=0, description="More of a worker's calls go to the next target; 0: no limit")


_Targets = Annotated[list[RouteTargetBody], Field(max_length=MAX_TARGETS)]


class FallbacksBody(_Body):
    """Which models take over, by what went wrong."""

    error: _Targets = []
    rate_limit: _Targets = []
    context_window: _Targets = []
    content_policy: _Targets = []


class RetryBody(_Body):
    """How often a call is made again on the same target; see `RetryPolicy`."""

    retries: int = 1
    budget_percent: float = 20.0
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0


class DeadlinesBody(_Body):
    """Seconds; 0 leaves what the provider says."""

    connect_s: float = 0.0
    first_token_s: float = 0.0
    idle_s: float = 0.0
    total_s: float = 0.0


class HedgeBody(_Body):
    """When the next target is asked too; see `HedgePolicy`."""

    enabled: bool = False
    budget_percent: float = 2.0
    min_samples: int = 20
    min_wait_s: float = 0.1


class BreakerBody(_Body):
    """When a target is left alone; see `BreakerPolicy`."""

    consecutive: int = 5
    ratio: float = 0.5
    min_calls: int = 20
    window_s: float = 30.0
    open_s: float = 5.0
    longest_open_s: float = 120.0


class ModelRouteBody(_Body):
    """One name for several models; see `ModelRoute`."""

    targets: list[RouteTargetBody] = Field(max_length=MAX_TARGETS)
    strategy: Literal["order", "weighted", "least-busy", "latency", "cost"] = "order"
    affinity: Literal["none", "session", "unit", "prompt"] = "none"
    aliases: list[str] = Field(default=[], max_length=MAX_ALIASES)
    fallbacks: FallbacksBody = FallbacksBody()
    retry: RetryBody = RetryBody()
    deadlines: DeadlinesBody = DeadlinesBody()
    hedge: HedgeBody = HedgeBody()
    breaker: BreakerBody = BreakerBody()
    max_attempts: int = 4


class ModelRouteView(ModelRouteBody):
    """A route of a project."""

    name: str

    @classmethod
    def of(cls, route: ModelRoute) -> ModelRouteView:
        """Render a route."""
        known = msgspec.to_builtins(route)
        known.pop("project")
        return cls(**known)


class TargetSummaryView(BaseModel):
    """How a target does, over all gateway workers that told within 30 s; see `TargetSummary`."""

    route: str
    model: str
    workers: int
    open: int = Field(description="Workers that leave it alone")
    half_open: int = Field(description="Workers that try it again by one call at a time")
    cooling: int = Field(description="Workers that were asked by it to pause")
    in_flight: int
    first_token_s: float | None
    outcomes: dict[str, int] = Field(description="Calls by how they went, since each worker began")

    @classmethod
    def of(cls, summary: TargetSummary) -> TargetSummaryView:
        """Render a summary."""
        return cls(**msgspec.to_builtins(summary))


class ProviderHealthView(BaseModel):
    """How a provider does, over the gateway workers that told within 30 s; see `ProviderHealth`."""

    workers: int
    keys_ready: int = Field(description="Of a provider with several keys, in the worker where the fewest are ready")
    keys_cooling: int
    keys_retired: int = Field(description="Refused by the provider; used again when their secret changes")
    limit: float = Field(description="Calls at once that it gets now, where they are limited")
    in_flight: int
    waiting: int
    refused: int = Field(description="Calls refused because too many waited, since each worker began")

    @classmethod
    def of(cls, found: ProviderHealth) -> ProviderHealthView:
        """Render what is known."""
        return cls(**msgspec.to_builtins(found))


_SAID = {"read_only": "it takes no answers", "down": "it does not answer"}


class CacheServerView(BaseModel):
    """How the Valkey or Redis that gateways share cached answers in does, as workers told within 30 s.

    `state` is the worst that one of them sees: `none` where none has such a server, `untried` where nothing was asked
    of it yet. Counts add up over workers, since each began. They are of all projects, so only admins of the
    installation are told them, and what the server said; to others they are null.
    """

    workers: int
    state: Literal["none", "untried", "up", "read_only", "down"]
    why: str = Field(description="What it said, or did not, where it is not up; in general words to others")
    found: int | None = Field(description="Searches that found an answer")
    absent: int | None = Field(description="Searches that found none")
    passed: int | None = Field(
        description="Searches not made or given up: it rests after a failure, or the worker is busy"
    )
    stored: int | None = Field(description="Answers that it took")
    dropped: int | None = Field(description="Answers that were not sent: too large, too many at once, or it rests")
    failed: int | None = Field(description="Searches and writes that failed")
    broken: int | None = Field(description="Entries passed over: this installation did not make them")

    @classmethod
    def of(cls, found: AnswersHealth, *, all_of_it: bool) -> CacheServerView:
        """Render what is known, and may be told."""
        names = ("found", "absent", "passed", "stored", "dropped", "failed", "broken")
        counts = {name: found.counts.get(name, 0) if all_of_it else None for name in names}
        why = found.why if all_of_it else _SAID.get(found.state, "")
        return cls(workers=found.workers, state=found.state, why=why, **counts)


def route_router(directory: RouteDirectory, health: RouteHealth) -> APIRouter:
    """Return the routes of routes, with their prefix."""
    routes = APIRouter(prefix="/api/v1/projects/{project}/routes", tags=["serving"])

    @routes.get("", dependencies=[requires("control")], operation_id="list_model_routes")
    def list_model_routes(
        project: str,
        page: PageParams,
        q: Search = "",
        sort: Annotated[
            str, Query(max_length=16, description="`name`, `strategy` or `targets` (how many), `-` for the reverse")
        ] = "name",
    ) -> Page[ModelRouteView]:
        """List the routes of a project; `q` looks in their names, aliases and models."""
        found = (ModelRouteView.of(route) for route in directory.all(project))
        return page_of_all(
            f"routes {project}", page, found,
            q=q, texts=lambda each: (each.name, *each.aliases, *(target.model for target in each.targets)),
            sort=sort, name=lambda each: each.name,
            sorts={
                "name": lambda each: each.name, "strategy": lambda each: each.strategy,
                "targets": lambda each: len(each.targets),
            },
        )  # fmt: skip

    @routes.get("/health", dependencies=[requires("control")], operation_id="get_model_route_health")
    def get_model_route_health(project: str) -> Page[TargetSummaryView]:
        """Tell how the targets of the project's routes do, as far as gateways have called them."""
        return Page(items=[TargetSummaryView.of(each) for each in health.of(project)])

    @routes.get("/{name}", dependencies=[requires("control")], operation_id="get_model_route")
    def get_model_route(project: str, name: RouteName) -> ModelRouteView:
        """Return one route."""
        return ModelRouteView.of(directory.get(project, name))

    @routes.put("/{name}", dependencies=[requires("admin")], operation_id="put_model_route")
    def put_model_route(project: str, name: RouteName, body: ModelRouteBody) -> ModelRouteView:
        """Add a route, or change it; gateways know within a second."""
        spec = _converted({**body.model_dump(), "name": name, "project": project}, ModelRoute)
        return ModelRouteView.of(directory.put(spec))

    @routes.delete("/{name}", dependencies=[requires("admin")], operation_id="delete_model_route", status_code=204)
    def delete_model_route(project: str, name: RouteName) -> None:
        """Remove a route; calls in flight end as they would have."""
        directory.drop(project, name)

    return routes


def gateway_health_router(health: RouteHealth, providers: ProviderDirectory, note_uses: NoteUses) -> APIRouter:
    """Return what gateways call, and what they tell of providers; `note_uses` writes down when keys were last used."""
    routes = APIRouter(tags=["serving"])

    @routes.get(
        "/api/v1/projects/{project}/providers/{name}/health",
        dependencies=[requires("control")],
        operation_id="get_provider_health",
    )
    def get_provider_health(project: str, name: RouteName) -> ProviderHealthView:
        """Tell how the keys of a provider do, and how many calls wait for it."""
        return ProviderHealthView.of(health.provider(providers.get(project, name).name))

    @routes.get(
        "/api/v1/projects/{project}/cache-server",
        dependencies=[requires("control")],
        operation_id="get_cache_server",
    )
    def get_cache_server(project: str, everything: AdministersAll) -> CacheServerView:  # noqa: ARG001 - one for all
        """Tell how the Valkey or Redis that gateways share cached answers in does."""
        return CacheServerView.of(health.answers(), all_of_it=everything)

    @routes.put(
        "/internal/v1/gateways/{worker}/health",
        dependencies=[requires("internal")],
        operation_id="report_gateway_health",
        status_code=204,
    )
    def report_gateway_health(worker: Annotated[str, Path(max_length=300)], body: dict[str, Any]) -> None:
        """Take a gateway worker's report: how targets of routes and shared answers do, and which keys were used."""
        report = _converted(body, GatewayHealth)
        if len(report.uses) > MAX_USES:
            raise TooLarge(f"a report of {len(report.uses):,} keys that were used", hint=f"at most {MAX_USES:,}")
        health.note(worker, report)
        note_uses({key: _time(at) for key, at in report.uses.items()})

    return routes


def _time(at_ns: int) -> datetime:
    """Return when a gateway saw a use; its clock may run ahead, and no key was used in the future."""
    now_ns = time.time_ns()
    return datetime.fromtimestamp(min(max(at_ns, 0), now_ns) // 1_000 / 1_000_000, UTC)


def _converted(data: dict[str, Any], kind: Any) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{error}", hint="see the OpenAPI description") from None
