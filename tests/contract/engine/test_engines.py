"""Every engine keeps the promises of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pytest

from support.models import CHAT_MODEL
from support.wait import async_wait_until
from tetrad.adapters.engines.llama_cpp import LlamaCppAdapter
from tetrad.adapters.engines.openai_url import OpenAIUrlAdapter
from tetrad.kit.children import rss_bytes
from tetrad.serving import EngineSpec
from tetrad.serving.conformance import EngineConformance, FakeAdapter
from tetrad.serving.ports import RunningEngine

NAME = "local/smollm2-135m"
LLAMA = EngineSpec(
    name="smol", kind="llama_cpp", model=f"sha256:{CHAT_MODEL.sha256}", served_name=NAME, ctx=512, slots=1, threads=1
)


class TestFake(EngineConformance):
    @pytest.fixture
    def adapter(self) -> FakeAdapter:
        return FakeAdapter()

    @pytest.fixture
    def spec(self) -> EngineSpec:
        return EngineSpec(name="fake", kind="fake", model="sha256:" + "0" * 64, served_name="local/fake")


class TestLlamaCpp(EngineConformance):
    @pytest.fixture
    def adapter(self, chat_weights: Path, tmp_path: Path) -> LlamaCppAdapter:
        return LlamaCppAdapter(lambda _digest: chat_weights, tmp_path, tmp_path / "logs")

    @pytest.fixture
    def spec(self) -> EngineSpec:
        return LLAMA

    async def test_its_key_is_in_no_log_and_on_no_command_line(
        self, adapter: LlamaCppAdapter, spec: EngineSpec, tmp_path: Path
    ) -> None:
        async with self.started(adapter, spec) as engine:
            secret = engine.endpoint.secret.encode()
            assert len(secret) > 30
            process = psutil.Process(engine.pid)
            assert secret.decode() not in " ".join([*process.cmdline(), *process.environ().values()])
            logs = b"".join(path.read_bytes() for path in (tmp_path / "logs").iterdir())
            assert b"loading local/smollm2-135m" in logs
            assert secret not in logs

    async def test_an_idle_engine_gives_memory_back_and_wakes_by_itself(
        self, adapter: LlamaCppAdapter, spec: EngineSpec
    ) -> None:
        async with self.started(adapter, msgspec.structs.replace(spec, sleep_s=1, ctx=4096)) as engine:
            await engine.warm("hi", 30)
            awake = rss_bytes(engine.pid or 0)

            async def asleep() -> bool:
                return (await engine.metrics()).sleeping

            await async_wait_until(asleep, timeout_s=20, what="sleep")
            await async_wait_until(lambda: rss_bytes(engine.pid or 0) < awake / 2, timeout_s=20, what="memory")
            await engine.warm("hi again", 30)
            assert not (await engine.metrics()).sleeping


class TestOpenAIUrl(EngineConformance):
    """Watches a llama.cpp server that somebody else (here: the test) started."""

    @pytest.fixture
    async def other(
        self, chat_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[RunningEngine]:
        adapter = LlamaCppAdapter(lambda _digest: chat_weights, tmp_path, tmp_path)
        async with TestLlamaCpp().started(adapter, LLAMA) as engine:
            monkeypatch.setenv("OTHER_KEY", engine.endpoint.secret)
            yield engine

    @pytest.fixture
    def adapter(self) -> OpenAIUrlAdapter:
        return OpenAIUrlAdapter()

    @pytest.fixture
    def spec(self, other: RunningEngine) -> EngineSpec:
        flags = {"url": other.endpoint.base_url, "key_env": "OTHER_KEY"}
        return msgspec.structs.replace(LLAMA, kind="openai_url", flags=flags)
