"""Durable jobs: work that survives the death of its process, each finished step done once.

Declare them on a `JobRegistry`; the worker runs them with a `JobRunner`, everybody else speaks to a `JobClient`.
"""

from tetrad.kit.jobs._client import JobClient
from tetrad.kit.jobs._model import (
    BadJob,
    JobCutOff,
    JobFailed,
    JobInfo,
    JobNotFound,
    JobOutdated,
    JobState,
    JobsUnavailable,
    Progress,
    StepInfo,
)
from tetrad.kit.jobs._registry import Job, JobRegistry, RunningJob

__all__ = [
    "BadJob",
    "Job",
    "JobClient",
    "JobCutOff",
    "JobFailed",
    "JobInfo",
    "JobNotFound",
    "JobOutdated",
    "JobRegistry",
    "JobState",
    "JobsUnavailable",
    "Progress",
    "RunningJob",
    "StepInfo",
]
