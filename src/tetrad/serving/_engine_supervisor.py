"""Bring engines to what is wanted of them, and keep them there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from tetrad.kernel import Clock, SystemClock, TetradError
from tetrad.kit.children import Again, RestartPolicy, after_exit, rss_bytes
from tetrad.serving._engines import (
    EngineEvent,
    EngineIdentity,
    EngineMetrics,
    EngineReport,
    EngineSpec,
    EngineState,
    next_state,
)
from tetrad.serving.errors import EngineFailed, EngineUnusable
from tetrad.serving.ports import EngineAdapter, RunningEngine

log = logging.getLogger(__name__)
T = TypeVar("T")
_HEALTH_PAUSE_S = 0.02
_DRAIN_PAUSE_S = 0.1
_STOP_S = 3.0


class EngineSupervisor:
    """Reconcile: `apply` says what should run; everything else follows and is told to `on_report`.

    Engines start, fail and stop independently of each other. What dies or hangs is started again with growing pauses;
    what cannot work (`EngineUnusable`) or fails `policy.give_up_after` times in a row is `failed`, until its spec
    changes or it is applied again after `forget`. All methods belong to one event loop; `on_report` must not block.
    """

    def __init__(
        self,
        adapters: Mapping[str, EngineAdapter],
        *,
        on_report: Callable[[EngineReport], None] = lambda _report: None,
        policy: RestartPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._adapters = dict(adapters)
        self._on_report = on_report
        self._policy = policy or RestartPolicy()
        self._clock = clock or SystemClock()
        self._runners: dict[str, _Runner] = {}
        self._applying = asyncio.Lock()

    async def apply(self, specs: Iterable[EngineSpec]) -> None:
        """Start what is missing, stop what is not wanted any more, replace what is wanted differently."""
        wanted = {spec.name: spec for spec in specs}
        async with self._applying:
            gone = [
                runner
                for name, runner in self._runners.items()
                if name not in wanted or wanted[name].digest != runner.spec.digest
            ]
            await asyncio.gather(*(runner.stop() for runner in gone))
            for runner in gone:
                del self._runners[runner.spec.name]
            for name, spec in wanted.items():
                if name not in self._runners:
                    runner = _Runner(spec, self._adapters.get(spec.kind), self._on_report, self._policy, self._clock)
                    self._runners[name] = runner
                    runner.start()

    def reports(self) -> list[EngineReport]:
        """What is known of each engine now."""
        return [runner.report() for runner in self._runners.values()]

    async def close(self, drain_s: float | None = None) -> None:
        """Drain and stop all, each within its own `drain_s` or the given one."""
        async with self._applying:
            runners, self._runners = list(self._runners.values()), {}
            await asyncio.gather(*(runner.stop(drain_s) for runner in runners))


class _Runner:
    """One engine, from plan to end."""

    def __init__(
        self,
        spec: EngineSpec,
        adapter: EngineAdapter | None,
        on_report: Callable[[EngineReport], None],
        policy: RestartPolicy,
        clock: Clock,
    ) -> None:
        self.spec = spec
        self._adapter, self._on_report, self._policy, self._clock = adapter, on_report, policy, clock
        self._state: EngineState = "planned"
        self._reason = ""
        self._running: RunningEngine | None = None
        self._identity: EngineIdentity | None = None
        self._served: tuple[str, ...] = ()
        self._metrics: EngineMetrics | None = None
        self._first_token_s: float | None = None
        self._restarts = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"engine {self.spec.name}")

    def report(self) -> EngineReport:
        running = self._running
        return EngineReport(
            name=self.spec.name,
            spec_digest=self.spec.digest,
            state=self._state,
            reason=self._reason,
            endpoint=running.endpoint if running else None,
            served=self._served,
            identity=self._identity,
            pid=running.pid if running else None,
            restarts=self._restarts,
            metrics=self._metrics,
            first_token_s=self._first_token_s,
            rss_bytes=rss_bytes(running.pid) if running and running.pid else 0,
        )

    async def stop(self, drain_s: float | None = None) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._state == "stopped":
            return
        self._move("drain")
        if self._running is not None:
            await self._drain(self._running, self.spec.drain_s if drain_s is None else drain_s)
            await self._end(_STOP_S)
        self._move("drained")

    async def _run(self) -> None:
        failures = 0
        while True:
            ready_at: float | None = None
            try:
                running = await self._bring_up()
                ready_at = self._clock.monotonic()
                reason = await self._watch(running)
            except EngineUnusable as error:
                await self._end(0.0)
                self._move("gave_up", f"{error.message} ({error.hint})" if error.hint else error.message)
                return
            except TetradError as error:
                reason = error.message
            except Exception as error:  # a fault in an adapter must not end the supervision of its engine
                log.exception("engine %s: the adapter failed", self.spec.name)
                reason = f"{type(error).__name__}: {error}"
            await self._end(0.0)
            ran_s = 0.0 if ready_at is None else self._clock.monotonic() - ready_at
            step = after_exit(self._policy, failures=failures, ran_s=ran_s, reason=reason, code=None)
            if not isinstance(step, Again):
                self._move("gave_up", step.reason)
                return
            failures = step.failures
            self._restarts += 1
            self._move("exited", f"{reason}; again in {step.delay_s:g} s")
            await asyncio.sleep(step.delay_s)

    async def _bring_up(self) -> RunningEngine:
        if self._adapter is None:
            raise EngineUnusable(f"no adapter serves engines of the kind {self.spec.kind!r}", hint="correct its kind")
        self._move("provision", self._reason)
        self._identity = await self._adapter.provision(self.spec)
        starting = asyncio.ensure_future(self._adapter.start(self.spec, self._identity))
        try:
            self._running = running = await asyncio.shield(starting)
        except asyncio.CancelledError:  # told to stop in the middle: `stop` must find the process
            with contextlib.suppress(TetradError):
                self._running = await starting
            raise
        self._move("spawned", self._reason)
        ended = asyncio.ensure_future(running.ended())
        try:
            await self._or_ended(ended, self._until_healthy(running), self.spec.probes.load_s, "load its model")
            self._move("healthy", self._reason)
            warm = running.warm(self.spec.probes.prompt, self.spec.probes.warm_s)
            self._first_token_s = await self._or_ended(ended, warm, self.spec.probes.warm_s, "make its first token")
        finally:
            ended.cancel()
        self._move("warmed")
        return running

    async def _or_ended(self, ended: asyncio.Future[str], work: Awaitable[T], deadline_s: float, what: str) -> T:
        task: asyncio.Future[T] = asyncio.ensure_future(work)
        try:
            futures: set[asyncio.Future[Any]] = {task, ended}
            await asyncio.wait(futures, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and not task.done():
                raise EngineFailed(ended.result())
            if not task.done():
                raise EngineFailed(f"did not {what} within {deadline_s:g} s")
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _until_healthy(self, running: RunningEngine) -> None:
        while not await running.healthy():  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(_HEALTH_PAUSE_S)
        self._served = await running.served_names()
        if self.spec.served_name not in self._served:
            raise EngineFailed(f"it serves {', '.join(self._served) or 'nothing'}, not {self.spec.served_name!r}")

    async def _watch(self, running: RunningEngine) -> str:
        """Look at a ready engine until it is gone or has made no progress for too long; return the reason."""
        probes = self.spec.probes
        ended = asyncio.ensure_future(running.ended())
        moved, progress = self._clock.monotonic(), -1
        try:
            while True:
                await asyncio.wait({ended}, timeout=probes.interval_s)
                if ended.done():
                    return ended.result()
                metrics = await self._look(running)
                now = self._clock.monotonic()
                if metrics is not None:
                    idle = metrics.running + metrics.waiting == 0
                    if idle or metrics.progress != progress:
                        moved, progress = now, metrics.progress
                    self._metrics = metrics
                still_s = now - moved
                if still_s >= 2 * probes.stall_s:
                    return f"{self._stall(metrics)} for {still_s:.0f} s"
                self._judge(metrics, still_s >= probes.stall_s, still_s)
        finally:
            ended.cancel()

    def _judge(self, metrics: EngineMetrics | None, stalled: bool, still_s: float) -> None:
        if stalled and self._state != "degraded":
            self._move("stalled", f"{self._stall(metrics)} for {still_s:.0f} s")
        elif not stalled and self._state == "degraded":
            self._move("recovered")
        elif metrics is not None and metrics.sleeping != (self._state == "sleeping") and self._state != "degraded":
            self._move("slept" if metrics.sleeping else "woke")

    @staticmethod
    def _stall(metrics: EngineMetrics | None) -> str:
        if metrics is None:
            return "no answer to probes"
        return f"{metrics.running + metrics.waiting} requests in flight and no progress"

    async def _look(self, running: RunningEngine) -> EngineMetrics | None:
        try:
            async with asyncio.timeout(self.spec.probes.answer_s):
                return await running.metrics()
        except (TetradError, TimeoutError):
            return None

    async def _drain(self, running: RunningEngine, drain_s: float) -> None:
        """Wait until it has nothing to do, twice in a row: a gateway may still be sending on its older table."""
        idle = 0
        ended = asyncio.ensure_future(running.ended())
        try:
            async with asyncio.timeout(drain_s):
                while idle < 2 and not ended.done():
                    metrics = await self._look(running)
                    idle = idle + 1 if metrics is not None and metrics.running + metrics.waiting == 0 else 0
                    await asyncio.sleep(_DRAIN_PAUSE_S)
        except TimeoutError:
            log.warning("engine %s still had work after %g s; its answers are cut", self.spec.name, drain_s)
        finally:
            ended.cancel()

    async def _end(self, deadline_s: float) -> None:
        running = self._running
        if running is not None:
            await running.stop(deadline_s)  # when cancelled in here, `stop` finds it still and stops it again
        self._running, self._served = None, ()

    def _move(self, event: EngineEvent, reason: str = "") -> None:
        before = self._state
        self._state, self._reason = next_state(before, event), reason
        level = logging.WARNING if event in ("stalled", "exited", "gave_up") else logging.INFO
        log.log(level, "engine %s: %s -> %s%s", self.spec.name, before, self._state, f": {reason}" if reason else "")
        self._on_report(self.report())
