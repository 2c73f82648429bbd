"""What is known of jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from tetrad.kernel import Conflict, InvalidInput, NotFound, TetradError, Unavailable

JobState: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: dict[str, JobState] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
}
"""How DBOS's words for states translate."""


class BadJob(InvalidInput):
    """The job cannot be asked for like that."""

    code = "bad_job"


class JobNotFound(NotFound):
    """No job has that id, or no job is called that."""

    code = "job_not_found"


class JobOutdated(Conflict):
    """The job was asked for in a version that this program no longer runs."""

    code = "job_outdated"


class JobFailed(TetradError):
    """The job ended with an error that crossed processes; message, hint and code are the original's."""

    code = "job_failed"


class JobsUnavailable(Unavailable):
    """The database of jobs does not answer, or the worker has not made it yet."""

    code = "jobs_unavailable"


class JobCutOff(BaseException):
    """The worker stops: what is under way goes on from its last finished step at the next start.

    No `Exception`, so that nothing takes it for a failure of the job and writes that down.
    """


class Progress(msgspec.Struct, frozen=True):
    """How far a job is; `total` 0 means unknown."""

    done: int
    total: int = 0
    message: str = ""


class StepInfo(msgspec.Struct, frozen=True):
    """A step that ended."""

    name: str
    error: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A job as people see it."""

    id: str
    name: str
    version: int
    state: JobState
    payload: Any = None
    result: Any = None
    error: str = ""
    error_code: str = ""
    hint: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    scheduled: bool = False
    progress: Progress | None = None
    steps: tuple[StepInfo, ...] = ()
