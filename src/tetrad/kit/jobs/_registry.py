"""Declaring jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from tetrad.kit.jobs._model import BadJob, JobNotFound

T = TypeVar("T")
P = TypeVar("P")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
MAX_PAYLOAD_BYTES = 256 * 1024


class RunningJob(Protocol):
    """What a job's function may do.

    Between steps it must be deterministic: after a crash it is run again from the top, and every finished step answers
    from memory.
    """

    id: str
    services: Mapping[str, Any]
    """What the program lends to jobs. `stopping` is always there: an `Event` that is set when the worker stops; a long
    step then raises `JobCutOff`, and is done again at the next start.
    """

    def step(self, name: str, work: Callable[..., T], *arguments: Any, retries: int | None = None) -> T:
        """Do something once: its result is kept before the next line runs.

        A step that was cut off is done again, so it must be safe to repeat. Errors are retried with growing pauses,
        then raised.
        """
        ...

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Tell how far it is; durable, and shown to people."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A declared job. Raise `version` whenever the payload or the order of the steps changes."""

    name: str
    version: int
    run: Callable[[RunningJob, Any], Any]
    payload: type[Any]
    queue: str
    retries: int
    schedule: str
    help: str

    def parse(self, payload: object) -> Any:
        """Return a checked payload, or raise `BadJob` naming what is wrong with it."""
        try:
            return msgspec.convert(payload, self.payload)
        except msgspec.ValidationError as error:
            raise BadJob(f"the payload of {self.name!r} is wrong: {error}", hint=self.help) from None


class JobRegistry:
    """The jobs that a program knows."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def job(
        self, name: str, *, version: int, payload: type[P], queue: str = "default", retries: int = 3, schedule: str = ""
    ) -> Callable[[Callable[[RunningJob, P], T]], Callable[[RunningJob, P], T]]:
        """Declare a function as a job.

        `payload` is a msgspec Struct; a job with a `schedule` (cron, UTC) needs one that works without any field.
        `retries` is for each step.
        """
        if not _NAME.fullmatch(name) or name in self._jobs:
            raise ValueError(f"{name!r} is no job name, or taken")

        def declare(run: Callable[[RunningJob, P], T]) -> Callable[[RunningJob, P], T]:
            lines = (run.__doc__ or "").strip().splitlines()
            self._jobs[name] = Job(name, version, run, payload, queue, retries, schedule, lines[0] if lines else name)
            return run

        return declare

    def get(self, name: str) -> Job:
        """Return a job; raise `JobNotFound` with the known names."""
        try:
            return self._jobs[name]
        except KeyError:
            known = ", ".join(sorted(self._jobs)) or "none"
            raise JobNotFound(f"there is no job {name[:80]!r}", hint=f"known: {known}") from None

    def __iter__(self) -> Iterator[Job]:
        return iter(sorted(self._jobs.values(), key=lambda job: job.name))

    def scheduled(self, name: str, schedule: str) -> None:
        """Give a job another schedule; empty takes it off."""
        job = self.get(name)
        self._jobs[name] = Job(job.name, job.version, job.run, job.payload, job.queue, job.retries, schedule, job.help)
