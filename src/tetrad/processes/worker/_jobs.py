"""Run the product's jobs in this worker."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import httpx

from tetrad.kernel import Unavailable
from tetrad.kit.home import BLOBS_URL, Home
from tetrad.kit.settings import Settings
from tetrad.processes.worker._settings import JOBS_AT_ONCE, JOBS_POLL_S, JOBS_URL, TRACES_RETENTION_CRON
from tetrad.processes.worker._tasks import product_jobs

if TYPE_CHECKING:
    from tetrad.kit.jobs._runner import JobRunner

_CALL_S = 600.0


def jobs_url(settings: Settings, home: Home) -> str:
    """Return the configured database of jobs, else SQLite in the home folder."""
    return settings.get(JOBS_URL) or f"sqlite:///{home.root / 'jobs.db'}"


def running_jobs(settings: Settings, home: Home, control_url: str, token: str) -> JobRunner:
    """Start the runner; `close` ends it."""
    from tetrad.kit.jobs._environment import forget_dbos_environment

    forget_dbos_environment()
    from tetrad.kit.jobs._runner import JobRunner, stable_executor_id

    runner = JobRunner(
        product_jobs(retention_cron=settings.get(TRACES_RETENTION_CRON)),
        jobs_url(settings, home),
        {"blobs": _blobs(settings, home), "control": partial(_call, control_url, token)},
        executor_id=stable_executor_id(home.root / "executor.id"),
        poll_s=settings.get(JOBS_POLL_S),
        at_once=settings.get(JOBS_AT_ONCE),
    )
    runner.start()
    return runner


def _blobs(settings: Settings, home: Home) -> Any:
    @cache
    def open_store() -> Any:
        from tetrad.kit.blobs import open_blobs
        from tetrad.kit.extensions import load_extension

        return open_blobs(settings.get(BLOBS_URL), default=home.blobs, adapter=partial(load_extension, "blobs"))

    return open_store


def _call(base_url: str, token: str, method: str, path: str) -> Any:
    """Call the internal API; raises `Unavailable` for everything that another try may mend."""
    try:
        answer = httpx.request(
            method, base_url + path, headers={"authorization": f"Bearer {token}"}, timeout=_CALL_S, trust_env=False
        )
    except httpx.TransportError as error:
        raise Unavailable(f"control does not answer ({type(error).__name__})", hint="is control running?") from None
    if not answer.is_success:
        raise Unavailable(f"{path} answered {answer.status_code}: {answer.text[:300]}", hint="see the log of control")
    return answer.json() if answer.content else None
