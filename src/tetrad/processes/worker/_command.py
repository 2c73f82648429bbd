"""Put the worker together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tetrad.kernel import TetradError, Unavailable
from tetrad.kit.children import EX_CONFIG
from tetrad.kit.home import LOG_LEVEL, Home, control_address
from tetrad.kit.logs import log_to_stderr
from tetrad.kit.settings import Settings
from tetrad.processes.worker._settings import WORKER_POLL_S, WORKER_REPORT_S

log = logging.getLogger(__name__)
_TOKEN_PAUSE_S = 0.05


def main() -> int:
    """Run the worker until SIGTERM or SIGINT; return the exit code (78: settings are wrong)."""
    from tetrad.processes._settings import product_settings

    try:
        settings = product_settings()
        log_to_stderr("worker", settings.get(LOG_LEVEL))
        asyncio.run(_run(settings))
    except TetradError as error:
        log.error("%s; %s", error.message, error.hint)  # noqa: TRY400 - the message says it all
        sys.stderr.flush()
        return EX_CONFIG if error.status in (400, 409) else 1
    return 0


async def _run(settings: Settings) -> None:
    from tetrad.adapters.engines.llama_cpp import LlamaCppAdapter
    from tetrad.adapters.engines.openai_url import OpenAIUrlAdapter
    from tetrad.processes.worker._engines import EngineKeeper, control_client
    from tetrad.processes.worker._jobs import keep_jobs, running_jobs, weights_finder
    from tetrad.serving.ports import EngineAdapter

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    home = Home.of(settings)
    token = await _token(home.keys / "internal.token", stop)
    if not token:
        return
    adapters: list[EngineAdapter] = [
        LlamaCppAdapter(weights_finder(settings, home), home.engines, home.logs),
        OpenAIUrlAdapter(),
    ]
    async with control_client(control_address(settings), token) as control:
        keeper = EngineKeeper(
            {adapter.kind: adapter for adapter in adapters},
            control,
            home.engines / "wishes.json",
            poll_s=settings.get(WORKER_POLL_S),
            report_s=settings.get(WORKER_REPORT_S),
        )
        engines = asyncio.create_task(keeper.run(), name="engines")
        jobs = asyncio.create_task(
            keep_jobs(partial(running_jobs, settings, home, control_address(settings), token)), name="jobs"
        )
        stopped = asyncio.create_task(stop.wait())
        tasks: tuple[asyncio.Task[Any], ...] = (engines, jobs, stopped)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()  # the error that ended us, if one did
    log.info("worker stopped")


async def _token(path: Path, stop: asyncio.Event) -> str:
    """Wait for the token that the first start of control makes; empty when told to stop before."""
    told = False
    while not stop.is_set():
        token = _read(path)
        if token:
            return token
        if not told:
            log.info("waiting for control to make %s", path)
            told = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TOKEN_PAUSE_S):
                await stop.wait()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{str(path)!r} cannot be read: {error}", hint="correct it, or delete it") from None
