# ruff: noqa: PT017, S101 - a suite of tests asserts, without pytest
"""What every engine adapter keeps, as tests: subclass `EngineConformance`, give it an adapter and a spec.

    class TestMyEngine(EngineConformance):
        @pytest.fixture
        def adapter(self): return MyAdapter()
        @pytest.fixture
        def spec(self): return EngineSpec(...)

Needs pytest and pytest-asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from tetrad.serving._engines import (
    EngineCaps,
    EngineEndpoint,
    EngineIdentity,
    EngineMetrics,
    EngineSpec,
)
from tetrad.serving.errors import EngineFailed, EngineUnusable
from tetrad.serving.ports import EngineAdapter, RunningEngine

_PAUSE_S = 0.02


class EngineConformance:
    """The promises of `EngineAdapter` and `RunningEngine`; `load_s` is how long an engine may take to be healthy."""

    load_s = 60.0

    async def test_provisioning_twice_says_the_same(self, adapter: EngineAdapter, spec: EngineSpec) -> None:
        first = await adapter.provision(spec)
        assert await adapter.provision(spec) == first
        assert first.kind == adapter.kind == spec.kind
        assert first.build

    async def test_an_unknown_flag_is_refused_for_good(self, adapter: EngineAdapter, spec: EngineSpec) -> None:
        odd = msgspec.structs.replace(spec, flags={**spec.flags, "no-such-flag": "1"})
        try:
            await adapter.provision(odd)
        except EngineUnusable as error:
            assert "no-such-flag" in error.message
        else:
            raise AssertionError("an unknown flag was accepted")

    async def test_a_started_engine_becomes_healthy_lists_its_name_and_makes_a_token(
        self, adapter: EngineAdapter, spec: EngineSpec
    ) -> None:
        async with self.started(adapter, spec) as engine:
            assert spec.served_name in await engine.served_names()
            assert await engine.warm("Say OK.", 30.0) >= 0
            assert engine.endpoint.base_url.startswith(("http://", "https://", "unix://"))
            assert engine.endpoint.secret not in repr(engine.endpoint) or not engine.endpoint.secret

    async def test_work_shows_as_progress(self, adapter: EngineAdapter, spec: EngineSpec) -> None:
        async with self.started(adapter, spec) as engine:
            before = (await engine.metrics()).progress
            await engine.warm("Count to ten.", 30.0)
            after = await engine.metrics()
            assert after.progress > before
            assert after.running >= 0

    async def test_stopping_is_final_and_may_be_repeated(self, adapter: EngineAdapter, spec: EngineSpec) -> None:
        async with self.started(adapter, spec) as engine:
            await engine.stop(5.0)
            await engine.stop(5.0)
            if engine.pid is not None:
                assert not await engine.healthy()
                assert await asyncio.wait_for(engine.ended(), 5.0)

    async def test_stopping_with_a_request_in_flight_ends_in_time(
        self, adapter: EngineAdapter, spec: EngineSpec
    ) -> None:
        async with self.started(adapter, spec) as engine:
            request = asyncio.ensure_future(engine.warm("Tell a story. " * 50, 30.0))
            await asyncio.sleep(0)
            async with asyncio.timeout(10.0):
                await engine.stop(1.0)
            with contextlib.suppress(EngineFailed, asyncio.CancelledError, RuntimeError):
                request.cancel()
                await request

    @contextlib.asynccontextmanager
    async def started(self, adapter: EngineAdapter, spec: EngineSpec) -> AsyncIterator[RunningEngine]:
        """Lend a healthy engine."""
        engine = await adapter.start(spec, await adapter.provision(spec))
        try:
            async with asyncio.timeout(self.load_s):
                while not await engine.healthy():  # noqa: ASYNC110 - another process has no event to wait for
                    await asyncio.sleep(_PAUSE_S)
            yield engine
        finally:
            await engine.stop(1.0)


@dataclass
class FakeEngine:
    """A `RunningEngine` without a process; tests turn its knobs."""

    endpoint: EngineEndpoint
    names: tuple[str, ...]
    pid: int | None = None
    loaded: bool = True
    answers: bool = True
    warm_error: str = ""
    load: EngineMetrics = field(default_factory=EngineMetrics)
    stopped_after_s: float | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _reason: str = ""

    async def healthy(self) -> bool:
        return self.loaded and self.answers and not self._ended.is_set()

    async def served_names(self) -> tuple[str, ...]:
        self._check()
        return self.names

    async def warm(self, prompt: str, deadline_s: float) -> float:  # noqa: ARG002 - the port's names
        self._check()
        if self.warm_error:
            raise EngineFailed(self.warm_error)
        self.load = msgspec.structs.replace(self.load, progress=self.load.progress + 1)
        return 0.0

    async def metrics(self) -> EngineMetrics:
        self._check()
        return self.load

    async def ended(self) -> str:
        await self._ended.wait()
        return self._reason

    async def stop(self, deadline_s: float) -> None:
        if self.stopped_after_s is None:
            self.stopped_after_s = deadline_s
        self.die("was stopped")

    def die(self, reason: str) -> None:
        """End it, as if its process were gone."""
        self._reason = self._reason or reason
        self._ended.set()

    def _check(self) -> None:
        if self._ended.is_set() or not self.answers:
            raise EngineFailed("it does not answer")


class FakeAdapter:
    """An `EngineAdapter` in memory. `unusable` makes provisioning fail for good, `broken_starts` so many starts."""

    kind = "fake"
    caps = EngineCaps(metrics=True)

    def __init__(self) -> None:
        self.engines: list[FakeEngine] = []
        self.unusable = ""
        self.broken_starts = 0
        self.names: tuple[str, ...] | None = None
        self.loaded = True
        self.warm_error = ""

    async def provision(self, spec: EngineSpec) -> EngineIdentity:
        if self.unusable:
            raise EngineUnusable(self.unusable, hint="mend it")
        if spec.flags:
            raise EngineUnusable(f"unknown flag {min(spec.flags)!r}")
        return EngineIdentity(self.kind, "1", {"slots": str(spec.slots)})

    async def start(self, spec: EngineSpec, identity: EngineIdentity) -> FakeEngine:  # noqa: ARG002 - the port's names
        if self.broken_starts:
            self.broken_starts -= 1
            raise EngineFailed("no process to be had")
        number = len(self.engines) + 1
        engine = FakeEngine(
            EngineEndpoint(f"http://fake.invalid:{number}/v1", f"secret-{number}"),
            self.names or (spec.served_name,),
            loaded=self.loaded,
            warm_error=self.warm_error,
        )
        self.engines.append(engine)
        return engine
