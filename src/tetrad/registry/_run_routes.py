"""Routes of runs; `tetrad.registry.routes` offers them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from tetrad.kernel import Digest, InvalidInput
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, cut_page, decode_cursor, requires
from tetrad.registry._run_log import DEFAULT_EXPERIMENT, MAX_COMPARED, MAX_EDGES, Runs
from tetrad.registry._runs import (
    MAX_BATCH,
    MAX_PARAMS,
    MAX_TAGS,
    Experiment,
    MetricPoint,
    MetricSummary,
    Run,
    RunInput,
    RunKind,
    Series,
    compare_params,
)
from tetrad.registry._views import EdgeView

Project = Annotated[str, Path(max_length=63)]
RunId = Annotated[str, Path(max_length=64)]
NotANumber = Literal["NaN", "Infinity", "-Infinity"]
Number = float | NotANumber
Scalar = str | bool | int | float
Points = Annotated[int, Query(ge=4, le=5_000, description="How many points of a series at most; peaks stay")]
MAX_METRICS_COMPARED = 12


class RunMetricView(BaseModel):
    """A metric of a run in numbers. `least` and `most` are null where no value is a number."""

    metric: str
    points: int
    first_step: int
    last_step: int
    last: Number
    least: Number | None
    most: Number | None

    @classmethod
    def of(cls, summary: MetricSummary) -> RunMetricView:
        return cls(
            metric=summary.metric,
            points=summary.points,
            first_step=summary.first_step,
            last_step=summary.last_step,
            last=_shown(summary.last),
            least=None if summary.least is None else _shown(summary.least),
            most=None if summary.most is None else _shown(summary.most),
        )


class RunView(BaseModel):
    """A run. `lost` tells that it goes on by its own account, but has given no sign for too long."""

    id: str
    kind: str
    experiment: str
    name: str
    state: Literal["running", "done", "failed"]
    lost: bool
    started_at: datetime
    ended_at: datetime | None
    heartbeat_at: datetime
    started_by: str
    error: str
    params: dict[str, Scalar]
    tags: dict[str, str]
    environment: dict[str, Any]
    metrics: list[RunMetricView]
    inputs: list[EdgeView]
    outputs: list[EdgeView]

    @classmethod
    def of(cls, run: Run, *, lost: bool) -> RunView:
        activity = run.activity
        edges = {"in": list[EdgeView](), "out": list[EdgeView]()}
        for edge in activity.edges:
            edges[edge.direction].append(
                EdgeView(digest=edge.digest, direction=edge.direction, role=edge.role, policy=edge.policy)
            )
        return cls(
            id=run.id,
            kind=activity.kind,
            experiment=run.experiment,
            name=run.name,
            state=activity.state,  # type: ignore[arg-type] # the store keeps no other
            lost=lost,
            started_at=activity.started_at,
            ended_at=activity.ended_at,
            heartbeat_at=run.heartbeat_at,
            started_by=run.actor_name or activity.actor,
            error=run.error,
            params=dict(activity.params),
            tags=dict(run.tags),
            environment=dict(activity.environment),
            metrics=[RunMetricView.of(summary) for summary in run.metrics],
            inputs=edges["in"],
            outputs=edges["out"],
        )


class ExperimentView(BaseModel):
    """A name that runs share; `newest` is the id of its newest run."""

    name: str
    runs: int
    running: int
    newest: str

    @classmethod
    def of(cls, experiment: Experiment) -> ExperimentView:
        return cls(name=experiment.name, runs=experiment.runs, running=experiment.running, newest=experiment.newest)


class SeriesView(BaseModel):
    """A metric of a run over its steps. `values[i]` was measured at `steps[i]`; `thinned`: points were left out."""

    run: str
    metric: str
    steps: list[int]
    values: list[Number]
    total: int
    thinned: bool

    @classmethod
    def of(cls, series: Series) -> SeriesView:
        return cls(
            run=series.run,
            metric=series.metric,
            steps=[step for step, _ in series.points],
            values=[_shown(value) for _, value in series.points],
            total=series.total,
            thinned=series.thinned,
        )


class ParamRowView(BaseModel):
    """One parameter; `values` are in the order of the runs, null where a run has none."""

    name: str
    values: list[Scalar | None]
    differs: bool


class ComparisonView(BaseModel):
    """Runs side by side: parameters, those that differ first; the metrics' names; the series that were asked for."""

    runs: list[RunView]
    params: list[ParamRowView]
    metrics: list[str]
    series: list[SeriesView]


class RunArtifactBody(BaseModel):
    """An artifact of the project that goes in or comes out. Without a policy the one of the run's kind counts."""

    model_config = ConfigDict(extra="forbid")

    digest: Annotated[str, Field(max_length=71)]
    role: Annotated[str, Field(max_length=64)] = ""
    policy: Literal["rebuild", "revalidate", "reevaluate", "none"] | None = None

    def read(self) -> RunInput:
        return RunInput(Digest(self.digest), self.role, self.policy)


class StartRunBody(BaseModel):
    """A run that begins. The same `idempotency_key` again is the same run."""

    model_config = ConfigDict(extra="forbid")

    kind: RunKind = "train"
    experiment: Annotated[str, Field(max_length=63)] = DEFAULT_EXPERIMENT
    name: Annotated[str, Field(max_length=128)] = ""
    params: Annotated[dict[str, Scalar], Field(max_length=MAX_PARAMS)] = {}
    tags: Annotated[dict[str, str], Field(max_length=MAX_TAGS)] = {}
    environment: dict[str, Any] = {}
    inputs: Annotated[list[RunArtifactBody], Field(max_length=MAX_EDGES)] = []
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=128)] = None


class MetricPointBody(BaseModel):
    """A value of a metric at a step; `at` tells apart what was measured at one step."""

    model_config = ConfigDict(extra="forbid")

    metric: Annotated[str, Field(min_length=1, max_length=250)]
    step: int = 0
    value: Number
    at: datetime | None = None


class MetricsBody(BaseModel):
    """Points of metrics."""

    model_config = ConfigDict(extra="forbid")

    points: Annotated[list[MetricPointBody], Field(max_length=MAX_BATCH)]


class LoggedView(BaseModel):
    """How many of the points were new; the others were there."""

    new: int


class DescribeRunBody(BaseModel):
    """Parameters to add, tags to set (null takes one away), another name."""

    model_config = ConfigDict(extra="forbid")

    params: Annotated[dict[str, Scalar], Field(max_length=MAX_PARAMS)] = {}
    tags: Annotated[dict[str, str | None], Field(max_length=MAX_TAGS)] = {}
    name: Annotated[str | None, Field(min_length=1, max_length=128)] = None


class FinishRunBody(BaseModel):
    """How a run ended and what came out of it."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["done", "failed"]
    outputs: Annotated[list[RunArtifactBody], Field(max_length=MAX_EDGES)] = []
    error: Annotated[str, Field(max_length=4000)] = ""


def run_router(runs: Runs) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["runs"], dependencies=[requires("control")])
    _reading(routes, runs)
    _writing(routes, runs)
    return routes


def _reading(routes: APIRouter, runs: Runs) -> None:
    def shown(run: Run) -> RunView:
        return RunView.of(run, lost=runs.is_lost(run))

    @routes.get("/runs", operation_id="list_runs")
    def list_runs(
        project: Project,
        page: PageParams,
        experiment: Annotated[str | None, Query(max_length=63)] = None,
        kind: Annotated[str | None, Query(max_length=32)] = None,
        state: Literal["running", "done", "failed"] | None = None,
    ) -> Page[RunView]:
        """List runs, newest first."""
        listing = f"runs {project} {experiment} {kind} {state}"
        before = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else None
        found = runs.newest(project, experiment=experiment, kind=kind, state=state, limit=page.limit + 1, before=before)
        return cut_page(listing, page, [shown(run) for run in found], lambda view: view.id)

    @routes.get("/experiments", operation_id="list_experiments")
    def list_experiments(project: Project, page: PageParams) -> Page[ExperimentView]:
        """List the names that runs share, in the order of names."""
        listing = f"experiments {project}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        found = runs.experiments(project, limit=page.limit + 1, after=after)
        return cut_page(listing, page, [ExperimentView.of(each) for each in found], lambda view: view.name)

    @routes.get("/run-comparison", operation_id="compare_runs")
    def compare_runs(
        project: Project,
        run: Annotated[list[str], Query(max_length=MAX_COMPARED, description="Ids of runs, each once")],
        metric: Annotated[list[str], Query(max_length=MAX_METRICS_COMPARED, description="Metrics to plot")] = [],  # noqa: B006 - FastAPI copies it
        points: Points = 300,
    ) -> ComparisonView:
        """Set runs side by side: what differs in their parameters, and their metrics over steps."""
        found = runs.compared(project, run)
        return ComparisonView(
            runs=[shown(each) for each in found],
            params=[
                ParamRowView(name=row.name, values=list(row.values), differs=row.differs)
                for row in compare_params(found)
            ],
            metrics=sorted({summary.metric for each in found for summary in each.metrics}),
            series=[SeriesView.of(each) for each in runs.series_of(project, found, metric, points=points)],
        )

    @routes.get("/runs/{run}", operation_id="get_run")
    def get_run(project: Project, run: RunId) -> RunView:
        """Show a run with its parameters and metrics."""
        return shown(runs.get(project, run))

    @routes.get("/runs/{run}/series", operation_id="get_run_series")
    def get_run_series(
        project: Project, run: RunId, metric: Annotated[str, Query(min_length=1, max_length=250)], points: Points = 500
    ) -> SeriesView:
        """Show a metric over its steps, thinned out to what a plot can show."""
        return SeriesView.of(runs.series(project, run, metric, points=points))


def _writing(routes: APIRouter, runs: Runs) -> None:
    def shown(run: Run) -> RunView:
        return RunView.of(run, lost=runs.is_lost(run))

    @routes.post("/runs", operation_id="start_run", status_code=201)
    def start_run(project: Project, body: StartRunBody, actor: CurrentPrincipal) -> RunView:
        """Begin a run; log metrics to it, then finish it."""
        return shown(
            runs.start(
                project, body.kind, actor=actor, experiment=body.experiment, name=body.name, params=body.params,
                tags=body.tags, environment=body.environment, inputs=[each.read() for each in body.inputs],
                idempotency_key=body.idempotency_key,
            )
        )  # fmt: skip

    @routes.post("/runs/{run}/metrics", operation_id="log_metrics")
    def log_metrics(project: Project, run: RunId, body: MetricsBody) -> LoggedView:
        """Keep a batch of points; a point is known by metric, step and time, so that it may be sent again."""
        points = [MetricPoint(point.metric, point.step, float(point.value), _aware(point.at)) for point in body.points]
        return LoggedView(new=runs.log(project, run, points)[1])

    @routes.patch("/runs/{run}", operation_id="describe_run")
    def describe_run(project: Project, run: RunId, body: DescribeRunBody) -> RunView:
        """Add parameters to a run that goes on; set its tags and name at any time."""
        return shown(runs.describe(project, run, params=body.params, tags=body.tags, name=body.name))

    @routes.post("/runs/{run}/heartbeat", operation_id="beat_run")
    def beat_run(project: Project, run: RunId) -> RunView:
        """Say that a run still goes on; logging metrics says so too."""
        return shown(runs.beat(project, run))

    @routes.post("/runs/{run}/finish", operation_id="finish_run")
    def finish_run(project: Project, run: RunId, body: FinishRunBody) -> RunView:
        """End a run and name what came out of it; the same end again changes nothing."""
        outputs = [each.read() for each in body.outputs]
        return shown(runs.finish(project, run, body.state, outputs=outputs, error=body.error))


def _shown(value: float) -> Number:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _aware(moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidInput("the time of a point has no time zone", hint="write it as 2026-12-31T00:00:00Z")
    return moment
