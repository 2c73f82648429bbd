"""Reconciling what is wanted of engines with what is there, on engines without processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from support.wait import async_wait_until
from tetrad.kit.children import RestartPolicy
from tetrad.serving import EngineMetrics, EngineProbes, EngineReport, EngineSpec
from tetrad.serving._engine_supervisor import EngineSupervisor
from tetrad.serving.conformance import FakeAdapter

PROBES = EngineProbes(load_s=0.3, warm_s=0.3, interval_s=0.01, answer_s=0.1, stall_s=0.1)
SPEC = EngineSpec(
    name="one", kind="fake", model="sha256:" + "1" * 64, served_name="local/one", probes=PROBES, drain_s=0.5
)
FAST = RestartPolicy(first_s=0.01, longest_s=0.02, give_up_after=4)


class Watched:
    def __init__(self, adapter: FakeAdapter, policy: RestartPolicy = FAST) -> None:
        self.adapter = adapter
        self.seen: list[EngineReport] = []
        self.supervisor = EngineSupervisor({"fake": adapter}, on_report=self.seen.append, policy=policy)

    @property
    def states(self) -> list[str]:
        return [report.state for report in self.seen]

    async def until(self, state: str, name: str = "one") -> EngineReport:
        def there() -> EngineReport | None:
            return next((r for r in self.supervisor.reports() if r.name == name and r.state == state), None)

        found = await async_wait_until(there, what=f"{name} is {state}")
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def watched(adapter: FakeAdapter | None = None, policy: RestartPolicy = FAST) -> AsyncIterator[Watched]:
    watch = Watched(adapter or FakeAdapter(), policy)
    yield watch
    await watch.supervisor.close(0.0)


async def test_an_engine_goes_through_all_states_to_ready_and_back() -> None:
    async with watched() as watch:
        await watch.supervisor.apply([SPEC])
        report = await watch.until("ready")
        assert report.endpoint == watch.adapter.engines[0].endpoint
        assert report.served == ("local/one",)
        assert report.serving
        await watch.supervisor.apply([])
        assert watch.states == ["provisioning", "loading", "warming", "ready", "draining", "stopped"]
        assert watch.supervisor.reports() == []
        assert watch.seen[-1].endpoint is None


async def test_the_same_wish_again_changes_nothing_and_another_shape_replaces_the_engine() -> None:
    async with watched() as watch:
        await watch.supervisor.apply([SPEC])
        await watch.until("ready")
        await watch.supervisor.apply([SPEC])
        assert len(watch.adapter.engines) == 1
        await watch.supervisor.apply([msgspec.structs.replace(SPEC, slots=5)])
        await async_wait_until(lambda: len(watch.adapter.engines) == 2)
        assert watch.adapter.engines[0].stopped_after_s is not None
        report = await watch.until("ready")
        assert report.identity is not None
        assert report.identity.flags["slots"] == "5"


async def test_a_dead_engine_comes_back_with_another_address() -> None:
    async with watched() as watch:
        await watch.supervisor.apply([SPEC])
        first = await watch.until("ready")
        watch.adapter.engines[0].die("was killed by SIGSEGV")
        await async_wait_until(lambda: len(watch.adapter.engines) == 2)
        second = await watch.until("ready")
        assert second.endpoint != first.endpoint
        assert second.restarts == 1
        assert any("SIGSEGV" in report.reason for report in watch.seen)


async def test_an_unusable_engine_fails_at_once_with_the_reason_and_is_not_tried_again() -> None:
    adapter = FakeAdapter()
    adapter.unusable = "the model file is damaged"
    async with watched(adapter) as watch:
        await watch.supervisor.apply([SPEC])
        report = await watch.until("failed")
        assert report.reason == "the model file is damaged (mend it)"
        assert watch.states == ["provisioning", "failed"]
        adapter.unusable = ""
        await watch.supervisor.apply([msgspec.structs.replace(SPEC, slots=3)])  # a changed wish is a fresh start
        await watch.until("ready")


async def test_an_engine_that_never_starts_is_given_up_after_the_limit() -> None:
    adapter = FakeAdapter()
    adapter.broken_starts = 100
    async with watched(adapter) as watch:
        await watch.supervisor.apply([SPEC])
        report = await watch.until("failed")
        assert report.reason == "gave up after 4 failures in a row; the last: no process to be had"


async def test_an_engine_that_does_not_load_warm_or_serve_the_name_is_not_ready() -> None:
    for knob, value, reason in (
        ("loaded", False, "did not load its model within 0.3 s"),
        ("warm_error", "no token", "no token"),
        ("names", ("local/other",), "it serves local/other, not 'local/one'"),
    ):
        adapter = FakeAdapter()
        setattr(adapter, knob, value)
        async with watched(adapter, RestartPolicy(first_s=0.01, give_up_after=2)) as watch:
            await watch.supervisor.apply([SPEC])
            report = await watch.until("failed")
            assert reason in report.reason
            assert "ready" not in watch.states
            assert all(engine.stopped_after_s is not None for engine in adapter.engines)


async def test_requests_without_progress_degrade_the_engine_and_progress_heals_it() -> None:
    async with watched() as watch:
        await watch.supervisor.apply([SPEC])
        await watch.until("ready")
        engine = watch.adapter.engines[0]
        engine.load = EngineMetrics(running=1, progress=5)
        report = await watch.until("degraded")
        assert "1 requests in flight and no progress" in report.reason
        engine.load = EngineMetrics(running=1, progress=6)
        await watch.until("ready")
        assert len(watch.adapter.engines) == 1


async def test_an_engine_that_stays_stuck_or_silent_is_replaced() -> None:
    for silent in (False, True):
        async with watched() as watch:
            await watch.supervisor.apply([SPEC])
            await watch.until("ready")
            engine = watch.adapter.engines[0]
            engine.answers = not silent
            engine.load = EngineMetrics(running=1, progress=5)
            await async_wait_until(lambda watch=watch: len(watch.adapter.engines) == 2)  # type: ignore[misc]
            await watch.until("ready")
            assert engine.stopped_after_s == 0.0
            assert "degraded" in watch.states


async def test_an_idle_engine_is_never_taken_for_a_stuck_one() -> None:
    async with watched() as watch:
        await watch.supervisor.apply([SPEC])
        await watch.until("ready")
        loop = asyncio.get_running_loop()
        start = loop.time()
        await async_wait_until(lambda: loop.time() - start > 4 * PROBES.stall_s)
        assert watch.states[-1] == "ready"


async def test_sleep_is_shown_and_still_serves() -> None:
    async with watched() as watch:
        await watch.supervisor.apply([SPEC])
        await watch.until("ready")
        watch.adapter.engines[0].load = EngineMetrics(sleeping=True)
        assert (await watch.until("sleeping")).serving
        watch.adapter.engines[0].load = EngineMetrics()
        await watch.until("ready")


async def test_draining_waits_for_what_is_in_flight_but_not_for_ever() -> None:
    async with watched() as watch:
        await watch.supervisor.apply([SPEC])
        await watch.until("ready")
        engine = watch.adapter.engines[0]
        engine.load = EngineMetrics(running=1, progress=1)
        stopping = asyncio.create_task(watch.supervisor.apply([]))
        await async_wait_until(lambda: "draining" in watch.states)
        assert engine.stopped_after_s is None
        engine.load = EngineMetrics(progress=2)
        await asyncio.wait_for(stopping, 5)
        assert engine.stopped_after_s is not None

        await watch.supervisor.apply([SPEC])
        await watch.until("ready")
        watch.adapter.engines[-1].load = EngineMetrics(running=1, progress=1)
        await asyncio.wait_for(watch.supervisor.apply([]), 5)  # drain_s is 0.5


async def test_an_unknown_kind_is_told() -> None:
    async with watched() as watch:
        await watch.supervisor.apply([msgspec.structs.replace(SPEC, kind="warp")])
        assert "no adapter serves engines of the kind 'warp'" in (await watch.until("failed")).reason
