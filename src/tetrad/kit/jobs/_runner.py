"""The worker's side: run jobs durably on DBOS. Exactly one process per executor id may do this."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig

from tetrad.kernel import new_id
from tetrad.kit.home import write_private
from tetrad.kit.jobs._environment import forget_dbos_environment
from tetrad.kit.jobs._model import JobOutdated, JobsUnavailable, Progress
from tetrad.kit.jobs._registry import Job, JobRegistry
from tetrad.kit.jobs._wire import (
    APPLICATION,
    APPLICATION_VERSION,
    PROGRESS,
    SCHEDULED_WORKFLOW,
    WORKFLOW,
    JsonSerializer,
)

log = logging.getLogger(__name__)
T = TypeVar("T")
_POOL = 5
_FIRST_PAUSE_S = 1.0
_RECOVERIES = 20
_NAP_S = 0.2
_WRITTEN_S = 5.0


class JobRunner:
    """Launches DBOS for the jobs of a registry and stops it again; one per process.

    Of each queue `at_once` jobs run at a time, or as many as `queues` says of it.

    A job is finished by whichever code runs: what is kept of it names the job's own version, and code of another
    version refuses it with `JobOutdated`, which the job then shows.
    """

    def __init__(
        self,
        registry: JobRegistry,
        url: str,
        services: Mapping[str, Any],
        *,
        executor_id: str,
        poll_s: float = 1.0,
        at_once: int = 4,
        queues: Mapping[str, int] = {},
    ) -> None:
        self._stopping = threading.Event()
        self._registry, self._url, self._services = registry, url, {**services, "stopping": self._stopping}
        self._executor_id, self._poll_s, self._at_once, self._queues = executor_id, poll_s, at_once, queues
        self._counting, self._running, self._ended_at = threading.Lock(), 0, -math.inf

    def start(self) -> None:
        """Take up unfinished jobs and begin to look for new ones."""
        _prepare(self._url)
        forget_dbos_environment()
        config: DBOSConfig = {
            "name": APPLICATION,
            "application_version": APPLICATION_VERSION,
            "executor_id": self._executor_id,
            "system_database_url": self._url,
            "serializer": JsonSerializer(),
            "enable_otlp": False,
            "log_level": "WARNING",
            "sys_db_pool_size": _POOL,
            "use_listen_notify": not self._url.startswith("sqlite"),
            # Nobody here waits for events: this only says how long the end waits for a thread that sleeps.
            "notification_listener_polling_interval_sec": _NAP_S,
            "scheduler_polling_interval_sec": 30.0,
        }
        DBOS(config=config)
        _log_like_us()
        scheduled = self._register()
        DBOS.launch()
        for queue in sorted({job.queue for job in self._registry} | {"default"}):
            DBOS.register_queue(
                queue,
                worker_concurrency=self._queues.get(queue, self._at_once),
                polling_interval_sec=self._poll_s,
                on_conflict="always_update",
            )
        self._apply_schedules(scheduled)
        log.info("jobs: %s as %s", ", ".join(job.name for job in self._registry) or "none", self._executor_id)

    def close(self, deadline_s: int = 10) -> None:
        """Let running jobs reach the end within the deadline; what is cut off goes on at the next start."""
        self._stopping.set()
        # To wait is to sleep a whole second before the first look at whether there is anything to wait for.
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=deadline_s if self._busy() else 0)

    def _busy(self) -> bool:
        """Whether a job runs, or ended so lately that its end may still have to be written."""
        return self._running > 0 or time.monotonic() - self._ended_at < _WRITTEN_S

    def _apply_schedules(self, scheduled: Callable[[datetime, Any], None]) -> None:
        wanted = {job.name: job for job in self._registry if job.schedule}
        for known in DBOS.list_schedules():
            if known["schedule_name"] not in wanted:
                DBOS.delete_schedule(known["schedule_name"])
        if wanted:
            DBOS.apply_schedules(
                [
                    {
                        "schedule_name": job.name,
                        "workflow_fn": scheduled,
                        "schedule": job.schedule,
                        "context": {"job": job.name, "version": job.version},
                        "queue_name": job.queue,
                    }
                    for job in wanted.values()
                ]
            )

    def _register(self) -> Callable[[datetime, Any], None]:
        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=_RECOVERIES)
        def asked(name: str, version: int, payload: Any) -> Any:
            return self._run(name, version, payload)

        @DBOS.workflow(name=SCHEDULED_WORKFLOW, max_recovery_attempts=_RECOVERIES)
        def scheduled(_at: datetime, context: Any) -> Any:
            return self._run(context["job"], context["version"], {})

        del asked
        return scheduled

    def _run(self, name: str, version: int, payload: Any) -> Any:
        job = self._registry.get(name)
        if version != job.version:
            raise JobOutdated(
                f"the job was asked for as version {version} of {name!r}; this program runs version {job.version}",
                hint="ask for it again",
            )
        with self._counting:
            self._running += 1
        try:
            return job.run(_Running(job, str(DBOS.workflow_id), self._services), job.parse(payload))
        finally:
            with self._counting:
                self._running, self._ended_at = self._running - 1, time.monotonic()


class _Running:
    """`RunningJob` on DBOS."""

    def __init__(self, job: Job, job_id: str, services: Mapping[str, Any]) -> None:
        self.id = job_id
        self.services = services
        self._job = job

    def step(self, name: str, work: Callable[..., T], *arguments: Any, retries: int | None = None) -> T:
        attempts = 1 + (self._job.retries if retries is None else retries)
        return DBOS.run_step(
            {
                "name": name,
                "retries_allowed": attempts > 1,
                "max_attempts": attempts,
                "interval_seconds": _FIRST_PAUSE_S,
                "backoff_rate": 2.0,
            },
            work,
            *arguments,
        )

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        DBOS.set_event(PROGRESS, Progress(done, total, message))


def _log_like_us() -> None:
    """Send DBOS's log where ours goes, instead of to a handler of its own."""
    theirs = logging.getLogger("dbos")
    theirs.handlers.clear()
    theirs.propagate = True
    theirs.setLevel(logging.WARNING)


def stable_executor_id(path: Path) -> str:
    """Return the id that this installation's worker always has: two with the same would run steps twice."""
    try:
        found = path.read_text("ascii").strip()
    except FileNotFoundError:
        found = ""
    except UnicodeDecodeError:
        # a new id would never take up what the old one left half done
        raise JobsUnavailable(f"{str(path)!r} holds no id", hint="put a copy of it back, or delete it") from None
    if not found:
        found = new_id("executor")
        write_private(path, found)
    return found


def _prepare(url: str) -> None:
    """Put a SQLite file into WAL mode, which it keeps: control reads and enqueues while we write."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return
    path = Path(parsed.database)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, timeout=30)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
    path.chmod(0o600)
