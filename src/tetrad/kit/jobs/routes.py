"""Jobs in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from tetrad.kit.http import Page, PageParams, PageQuery, decode_cursor, encode_cursor, requires
from tetrad.kit.jobs._client import JobClient
from tetrad.kit.jobs._model import JobInfo, JobState

JobId = Annotated[str, Path(max_length=200)]


class ProgressView(BaseModel):
    """How far a job is; `total` 0 means unknown."""

    done: int
    total: int
    message: str


class StepView(BaseModel):
    """A step that ended."""

    name: str
    error: str
    started_at: datetime | None
    ended_at: datetime | None


class JobView(BaseModel):
    """A durable job."""

    id: str
    name: str
    version: int
    state: JobState
    payload: Any
    result: Any
    error: str
    error_code: str
    hint: str
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int = Field(description="How often it was begun; more than 1 after a crash")
    scheduled: bool
    progress: ProgressView | None
    steps: list[StepView]

    @classmethod
    def of(cls, info: JobInfo) -> JobView:
        """Render a job."""
        progress = info.progress
        return cls(
            id=info.id,
            name=info.name,
            version=info.version,
            state=info.state,
            payload=info.payload,
            result=info.result,
            error=info.error,
            error_code=info.error_code,
            hint=info.hint,
            created_at=info.created_at,
            started_at=info.started_at,
            ended_at=info.ended_at,
            attempts=info.attempts,
            scheduled=info.scheduled,
            progress=ProgressView(done=progress.done, total=progress.total, message=progress.message)
            if progress
            else None,
            steps=[
                StepView(name=step.name, error=step.error, started_at=step.started_at, ended_at=step.ended_at)
                for step in info.steps
            ],
        )


class JobKindView(BaseModel):
    """A job that may be asked for."""

    name: str
    version: int
    queue: str
    schedule: str
    help: str


class JobBody(BaseModel):
    """A job to do. The same `key` again returns the job that is there."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=120)
    payload: dict[str, Any] = {}
    key: str = Field(default="", max_length=80)


def router(jobs: JobClient) -> APIRouter:
    """Return the routes, with their prefix."""
    routes = APIRouter(prefix="/api/v1", tags=["jobs"])

    @routes.get("/jobs", dependencies=[requires("control", everywhere=True)], operation_id="list_jobs")
    def list_jobs(
        page: PageParams,
        name: Annotated[str | None, Query(max_length=120)] = None,
        state: Annotated[JobState | None, Query()] = None,
    ) -> Page[JobView]:
        """Return jobs, newest first, without their steps."""
        listing = f"jobs:{name}:{state}"
        offset = _offset(listing, page)
        found = jobs.list(name=name, state=state, limit=page.limit + 1, offset=offset)
        more = len(found) > page.limit
        return Page(
            items=[JobView.of(info) for info in found[: page.limit]],
            next_cursor=encode_cursor(listing, [offset + page.limit]) if more else None,
        )

    @routes.get("/job-kinds", dependencies=[requires("control", everywhere=True)], operation_id="list_job_kinds")
    def list_job_kinds() -> Page[JobKindView]:
        """Return the jobs that may be asked for."""
        return Page(
            items=[
                JobKindView(name=job.name, version=job.version, queue=job.queue, schedule=job.schedule, help=job.help)
                for job in jobs.registry
            ]
        )

    @routes.post("/jobs", dependencies=[requires("admin", everywhere=True)], operation_id="create_job", status_code=202)
    def create_job(body: JobBody) -> JobView:
        """Ask for a job; it is durable when this answers."""
        return JobView.of(jobs.enqueue(body.name, body.payload, key=body.key))

    @routes.get("/jobs/{job_id}", dependencies=[requires("control", everywhere=True)], operation_id="get_job")
    def get_job(job_id: JobId) -> JobView:
        """Return one job with its steps and progress."""
        return JobView.of(jobs.get(job_id))

    @routes.post("/jobs/{job_id}/cancel", dependencies=[requires("admin", everywhere=True)], operation_id="cancel_job")
    def cancel_job(job_id: JobId) -> JobView:
        """End a job before its next step; one that has ended stays as it is."""
        return JobView.of(jobs.cancel(job_id))

    return routes


def _offset(listing: str, page: PageQuery) -> int:
    if page.cursor is None:
        return 0
    (offset,) = decode_cursor(listing, page.cursor, [int])
    return max(0, int(offset or 0))
