"""Run the product's jobs in this worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from tetrad.batches._settings import LINE_BYTES
from tetrad.kernel import TetradError, Unavailable
from tetrad.kit.home import BLOBS_URL, GATEWAY_PORT, Home, cache_folder, reachable_host
from tetrad.kit.http_settings import MAX_BODY_BYTES
from tetrad.kit.jobs import JobRegistry
from tetrad.kit.settings import Settings
from tetrad.processes.control._settings import GATEWAY_URL
from tetrad.processes.worker._batch_control import Callers
from tetrad.processes.worker._settings import (
    BACKGROUND_AT_ONCE,
    BACKGROUND_CRON,
    BATCH_CONCURRENCY,
    BATCH_DOUBT_S,
    BATCH_POLL_S,
    BATCHES_AT_ONCE,
    BATCHES_CRON,
    JOBS_AT_ONCE,
    JOBS_POLL_S,
    JOBS_URL,
    REPRODUCE_THREADS,
    TRACES_RETENTION_CRON,
    WEIGHTS_CACHE_BYTES,
)
from tetrad.processes.worker._tasks import BATCHES_QUEUE, RESPONSES_QUEUE, product_jobs
from tetrad.responses._settings import MAX_BYTES

if TYPE_CHECKING:
    from tetrad.kit.jobs._runner import JobRunner
    from tetrad.processes.worker._isolated import IsolatedEngine
    from tetrad.releases import Isolated

log = logging.getLogger(__name__)
_CALL_S = 600.0
_RETRY_S = 30.0
_AROUND_BYTES = 4096


def jobs_url(settings: Settings, home: Home) -> str:
    """Return the configured database of jobs, else SQLite in the home folder."""
    return settings.get(JOBS_URL) or f"sqlite:///{home.root / 'jobs.db'}"


def known_jobs(settings: Settings) -> JobRegistry:
    """Return the product's jobs with their configured schedules."""
    return product_jobs(
        retention_cron=settings.get(TRACES_RETENTION_CRON),
        batches_cron=settings.get(BATCHES_CRON),
        responses_cron=settings.get(BACKGROUND_CRON),
    )


def running_jobs(settings: Settings, home: Home, control_url: str, token: str) -> JobRunner:
    """Start the runner; `close` ends it."""
    from tetrad.kit.jobs._environment import forget_dbos_environment

    forget_dbos_environment()
    from tetrad.kit.jobs._runner import JobRunner, stable_executor_id

    runner = JobRunner(
        known_jobs(settings),
        jobs_url(settings, home),
        {
            "blobs": _blobs(settings, home),
            "control": partial(_call, control_url, token),
            "isolated": partial(_isolated, settings, home),
            "batches": _callers(settings, control_url, token),
            "responses": _callers(settings, control_url, token)._replace(line_bytes=_most_answered(settings)),
        },
        executor_id=stable_executor_id(home.root / "executor.id"),
        poll_s=settings.get(JOBS_POLL_S),
        at_once=settings.get(JOBS_AT_ONCE),
        queues={
            BATCHES_QUEUE: settings.get(BATCHES_AT_ONCE),
            RESPONSES_QUEUE: settings.get(BACKGROUND_AT_ONCE),
        },
    )
    runner.start()
    return runner


async def keep_jobs(start: Callable[[], JobRunner]) -> None:
    """Run jobs until cancelled; a database that fails at the start is tried again, and never takes the engines down."""
    while True:
        try:
            runner = await asyncio.to_thread(start)  # in a thread: DBOS refuses to be launched inside a loop
        except TetradError as error:
            log.error("jobs cannot run: %s; %s. Trying again in %g s", error.message, error.hint, _RETRY_S)  # noqa: TRY400
            await asyncio.sleep(_RETRY_S)
            continue
        except Exception as error:  # SQLAlchemy's, DBOS's and the disk's
            if "not a database" in str(error) or "malformed" in str(error):
                log.error(  # noqa: TRY400 - a traceback says no more
                    "jobs cannot run: their database is damaged; stop Tetrad and put a copy of it back, or move it "
                    "away: what waits in it is lost then. Trying again in %g s",
                    _RETRY_S,
                )
            else:
                log.exception("jobs cannot run; trying again in %g s", _RETRY_S)
            await asyncio.sleep(_RETRY_S)
            continue
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.shield(asyncio.to_thread(runner.close))


def _blobs(settings: Settings, home: Home) -> Any:
    @cache
    def open_store() -> Any:
        from tetrad.kit.blobs import installed_blobs, open_blobs

        return open_blobs(settings.get(BLOBS_URL), default=home.blobs, adapter=installed_blobs)

    return open_store


def weights_finder(settings: Settings, home: Home) -> Callable[[str], Path]:
    """Return what finds the file of weights: on this machine, else fetched from a blob store that is elsewhere."""
    from tetrad.adapters.engines._weights_cache import WeightsCache
    from tetrad.adapters.engines.bundled import model_finder

    if not settings.get(BLOBS_URL):
        return model_finder(home, cache_folder(settings))
    cache = WeightsCache(home.root / "weights", _blobs(settings, home), settings.get(WEIGHTS_CACHE_BYTES))
    return model_finder(home, cache_folder(settings), cache.path)


def _callers(settings: Settings, control_url: str, token: str) -> Callers:
    gateway = settings.get(GATEWAY_URL) or f"http://{reachable_host(settings)}:{settings.get(GATEWAY_PORT)}"
    return Callers(
        control_url,
        token,
        gateway.rstrip("/"),
        settings.get(BATCH_CONCURRENCY),
        settings.get(LINE_BYTES),
        settings.get(BATCH_POLL_S),
        Semaphore(settings.get(JOBS_AT_ONCE)),
        settings.get(BATCH_DOUBT_S),
    )


def _most_answered(settings: Settings) -> int:
    """Return how large an answer can be that control takes, and keeps of a response."""
    return max(1024, min(settings.get(MAX_BYTES), settings.get(MAX_BODY_BYTES)) - _AROUND_BYTES)


def _isolated(settings: Settings, home: Home, engine: Isolated) -> IsolatedEngine:
    """Return an engine for reproduction; nothing of it runs yet."""
    from tetrad.adapters.engines.llama_cpp import LlamaCppAdapter, engine_facts
    from tetrad.processes.worker._isolated import IsolatedEngine

    adapter = LlamaCppAdapter(weights_finder(settings, home), home.engines, home.logs, calibrate=False)
    chosen = engine if engine.threads else msgspec.structs.replace(engine, threads=settings.get(REPRODUCE_THREADS))
    return IsolatedEngine(adapter, chosen, engine_facts)


def _call(base_url: str, token: str, method: str, path: str, body: object = None) -> Any:
    """Call the internal API; raises `Unavailable` for everything that another try may mend."""
    try:
        answer = httpx.request(
            method,
            base_url + path,
            headers={"authorization": f"Bearer {token}"},
            json=body,
            timeout=_CALL_S,
            trust_env=False,
        )
    except httpx.TransportError as error:
        raise Unavailable(f"control does not answer ({type(error).__name__})", hint="is control running?") from None
    if not answer.is_success:
        raise Unavailable(f"{path} answered {answer.status_code}: {answer.text[:300]}", hint="see the log of control")
    return answer.json() if answer.content else None
