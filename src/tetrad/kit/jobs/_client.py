"""Everybody else's side: ask for jobs, look at them, cancel them."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tetrad.kernel import uuid7
from tetrad.kit.jobs._environment import forget_dbos_environment
from tetrad.kit.jobs._model import STATES, BadJob, JobInfo, JobNotFound, JobState, JobsUnavailable, Progress, StepInfo
from tetrad.kit.jobs._registry import MAX_PAYLOAD_BYTES, JobRegistry

if TYPE_CHECKING:
    from dbos import DBOSClient

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SCHEDULED = "sched-"
_PROGRESS_S = 0.0


class JobClient:
    """Speaks to the jobs' database; safe to use from many threads. The connection is made at the first use.

    Raises `JobsUnavailable` while the worker has not made the database.
    """

    def __init__(self, registry: JobRegistry, url: str) -> None:
        self.registry = registry
        self._url = url
        self._lock = threading.Lock()
        self._client: DBOSClient | None = None

    def enqueue(self, name: str, payload: object = None, *, key: str = "") -> JobInfo:
        """Ask for a job. The same `key` again returns the job that is there, whatever became of it."""
        job = self.registry.get(name)
        if key and not _KEY.fullmatch(key):
            raise BadJob(f"{key[:90]!r} is no idempotency key", hint="letters, digits, `.`, `_` and `-`, at most 80")
        checked = msgspec.to_builtins(job.parse({} if payload is None else payload))
        if len(msgspec.json.encode(checked)) > MAX_PAYLOAD_BYTES:
            raise BadJob(
                f"the payload of {name!r} is larger than {MAX_PAYLOAD_BYTES} bytes",
                hint="keep the data as a blob and name its digest",
                status=413,
            )
        job_id = f"{name}:{key or uuid7().hex}"
        with self._translated() as client:
            client.enqueue(
                {
                    "workflow_name": "tetrad.job",
                    "queue_name": job.queue,
                    "workflow_id": job_id,
                    "app_version": _wire_version(),
                },
                name,
                job.version,
                checked,
            )
        return self.get(job_id)

    def list(
        self, *, name: str | None = None, state: JobState | None = None, limit: int = 50, offset: int = 0
    ) -> list[JobInfo]:
        """Return jobs, newest first, without steps and progress."""
        with self._translated() as client:
            found = client.list_workflows(
                workflow_id_prefix=[f"{name}:", f"{_SCHEDULED}{name}-"] if name else None,
                status=[word for word, meaning in STATES.items() if meaning == state] if state else None,
                limit=limit,
                offset=offset,
                sort_desc=True,
            )
        return [_info(each) for each in found]

    def get(self, job_id: str) -> JobInfo:
        """Return one job with its steps and progress."""
        with self._translated() as client:
            found = client.list_workflows(workflow_ids=[job_id])
            if not found:
                raise JobNotFound(f"there is no job {job_id[:120]!r}", hint="`tetrad job list` shows them")
            steps = client.list_workflow_steps(job_id)
            progress = client.get_event(job_id, "progress", _PROGRESS_S)
        shown = tuple(_step(step) for step in steps if not str(step["function_name"]).startswith("DBOS."))
        return msgspec.structs.replace(
            _info(found[0]), steps=shown, progress=msgspec.convert(progress, Progress | None)
        )

    def cancel(self, job_id: str) -> JobInfo:
        """End a job before its next step; one that has ended stays as it is."""
        info = self.get(job_id)
        if info.state in ("queued", "running"):
            with self._translated() as client:
                client.cancel_workflow(job_id)
            return self.get(job_id)
        return info

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.destroy()

    def _translated(self) -> _Translated:
        return _Translated(self)

    def connected(self) -> DBOSClient:
        """Return the connected client, connecting first."""
        forget_dbos_environment()
        import sqlalchemy as sa
        from dbos import DBOSClient

        from tetrad.kit.jobs._wire import APPLICATION, JsonSerializer

        with self._lock:
            if self._client is None:
                parsed = sa.make_url(self._url)
                if parsed.get_backend_name() == "sqlite" and not _has_tables(str(parsed.database)):
                    raise _not_yet()
                self._client = DBOSClient(
                    system_database_url=self._url,
                    serializer=JsonSerializer(),
                    system_database_pool_size=3,
                    application_name=APPLICATION,
                    retry_connection_errors=False,
                )
            return self._client


class _Translated:
    """Lend the client, and say database errors in our words."""

    def __init__(self, owner: JobClient) -> None:
        self._owner = owner

    def __enter__(self) -> DBOSClient:
        return self._owner.connected()

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        import sqlalchemy as sa

        if isinstance(error, sa.exc.OperationalError | sa.exc.ProgrammingError | sa.exc.InterfaceError):
            raise JobsUnavailable(
                f"the database of jobs failed: {error.orig}", hint="check that it runs and has room"
            ) from error


def _has_tables(database: str) -> bool:
    import sqlite3
    from pathlib import Path

    if not Path(database).is_file():
        return False
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
    try:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'workflow_status'").fetchone()
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return found is not None


def _not_yet() -> JobsUnavailable:
    return JobsUnavailable("the database of jobs is not there yet", hint="the worker makes it; is it running?")


def _wire_version() -> str:
    from tetrad.kit.jobs._wire import APPLICATION_VERSION

    return APPLICATION_VERSION


def _info(status: Any) -> JobInfo:
    arguments = list((status.input or {}).get("args", ())) if isinstance(status.input, dict) else []
    scheduled = status.workflow_id.startswith(_SCHEDULED)
    if scheduled and len(arguments) > 1 and isinstance(arguments[1], dict):
        name, version, payload = arguments[1].get("job", ""), arguments[1].get("version", 0), None
    elif len(arguments) == 3:
        name, version, payload = arguments
    else:
        name, version, payload = status.workflow_id.partition(":")[0], 0, None
    error = status.error
    message = getattr(error, "message", "") or (str(error) if error else "")
    if status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        message = "it was cut off too often: the worker died each time it ran"
    return JobInfo(
        id=status.workflow_id,
        name=str(name),
        version=int(version),
        state=STATES[status.status],
        payload=payload,
        result=status.output,
        error=message,
        error_code=getattr(error, "code", "job_failed") if message else "",
        hint=getattr(error, "hint", "") if error else "",
        created_at=_time(status.created_at),
        started_at=_time(status.dequeued_at),
        ended_at=_time(status.completed_at),
        attempts=int(status.recovery_attempts or 0),
        scheduled=scheduled,
    )


def _step(step: Any) -> StepInfo:
    error = step.get("error")
    return StepInfo(
        name=str(step["function_name"]),
        error=(getattr(error, "message", "") or str(error)) if error else "",
        started_at=_time(step.get("started_at_epoch_ms")),
        ended_at=_time(step.get("completed_at_epoch_ms")),
    )


def _time(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, UTC)
