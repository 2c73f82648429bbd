"""Engines that die, hang or cannot work; workers and controls that go away."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from support.models import CHAT_MODEL
from support.native_absent import without_openmp
from support.ports import free_port
from support.wait import async_wait_until, wait_until
from tetrad.adapters.engines import llama_cpp
from tetrad.adapters.engines.llama_cpp import LlamaCppAdapter
from tetrad.kernel import digest_bytes
from tetrad.kit.children import RestartPolicy
from tetrad.serving import EngineProbes, EngineReport, EngineSpec
from tetrad.serving._engine_supervisor import EngineSupervisor

NAME = "local/smollm2-135m"
DIGEST = f"sha256:{CHAT_MODEL.sha256}"
SPEC = EngineSpec(
    name="smol",
    kind="llama_cpp",
    model=DIGEST,
    served_name=NAME,
    ctx=512,
    slots=1,
    threads=1,
    probes=EngineProbes(interval_s=0.05, answer_s=0.2, stall_s=0.4),
    drain_s=5,
)
FAST = RestartPolicy(first_s=0.05, longest_s=0.1)


@contextlib.asynccontextmanager
async def supervised(path: Path, folder: Path, seen: list[EngineReport]) -> Any:
    adapter = LlamaCppAdapter(lambda _digest: path, folder, folder)
    supervisor = EngineSupervisor({"llama_cpp": adapter}, on_report=seen.append, policy=FAST)
    try:
        await supervisor.apply([SPEC])
        yield supervisor
    finally:
        await supervisor.close(0.0)


async def until_ready(supervisor: EngineSupervisor, not_pid: int | None = None) -> EngineReport:
    def there() -> EngineReport | None:
        [report] = supervisor.reports()
        return report if report.state == "ready" and report.pid != not_pid else None

    report = await async_wait_until(there, timeout_s=60, what="a ready engine")
    assert report is not None
    return report


def answer(report: EngineReport | dict[str, Any]) -> int:
    endpoint = report.endpoint if isinstance(report, EngineReport) else None
    url = endpoint.base_url if endpoint else report["endpoint"]["base_url"]  # type: ignore[index]
    secret = endpoint.secret if endpoint else report["endpoint"]["secret"]  # type: ignore[index]
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    headers = {"authorization": f"Bearer {secret}"}
    found = httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=60)
    return int(found.json()["usage"]["completion_tokens"])


def logged(folder: Path) -> list[Path]:
    return list(folder.glob("engine-*.log"))


def damaged(source: Path | None, target: Path, damage: Callable[[bytes], bytes | None]) -> None:
    data = damage(source.read_bytes() if source else b"")
    if data is not None:
        target.write_bytes(data)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_killed_engine_is_ready_again(chat_weights: Path, tmp_path: Path, number: signal.Signals) -> None:
    seen: list[EngineReport] = []
    async with supervised(chat_weights, tmp_path, seen) as supervisor:
        first = await until_ready(supervisor)
        os.kill(first.pid or 0, number)
        second = await until_ready(supervisor, not_pid=first.pid)
        assert answer(second) == 3
        assert second.restarts == 1
        assert any(number.name in report.reason for report in seen)
        assert second.endpoint != first.endpoint


async def test_a_hanging_engine_is_degraded_then_replaced(chat_weights: Path, tmp_path: Path) -> None:
    seen: list[EngineReport] = []
    async with supervised(chat_weights, tmp_path, seen) as supervisor:
        first = await until_ready(supervisor)
        os.kill(first.pid or 0, signal.SIGSTOP)
        second = await until_ready(supervisor, not_pid=first.pid)
        assert answer(second) == 3
        states = [report.state for report in seen]
        assert states.index("degraded") < len(states) - 1
        assert any("no answer to probes" in report.reason for report in seen)
        assert not psutil.pid_exists(first.pid or 0)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "is damaged: its content is not"),
        (lambda data: data[:1000], "is damaged: its content is not"),
        (lambda _data: None, "cannot be read"),
    ],
    ids=["a flipped bit", "cut off", "absent"],
)
async def test_a_corrupt_model_fails_with_the_reason_and_starts_nothing(
    chat_weights: Path, tmp_path: Path, damage: Any, why: str
) -> None:
    path = tmp_path / "model.gguf"
    damaged(chat_weights, path, damage)
    seen: list[EngineReport] = []
    async with supervised(path, tmp_path, seen) as supervisor:
        await async_wait_until(lambda: supervisor.reports()[0].state == "failed", timeout_s=30)
        [report] = supervisor.reports()
        assert why in report.reason
        assert [each.state for each in seen] == ["provisioning", "failed"]
        assert not logged(tmp_path)


async def test_weights_that_llama_cpp_cannot_load_are_told_not_tried_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    data = b"GGUF" + (3).to_bytes(4, "little") + bytes(16) + bytes(64)
    damaged(None, path, lambda _nothing: data)
    seen: list[EngineReport] = []
    adapter = LlamaCppAdapter(lambda _digest: path, tmp_path, tmp_path)
    supervisor = EngineSupervisor({"llama_cpp": adapter}, on_report=seen.append, policy=FAST)
    await supervisor.apply([msgspec.structs.replace(SPEC, model=digest_bytes(data))])
    await async_wait_until(lambda: supervisor.reports()[0].state == "failed", timeout_s=60)
    assert "exited with code 65" in supervisor.reports()[0].reason
    assert supervisor.reports()[0].restarts == 0
    await supervisor.close()


@pytest.mark.parametrize("threads", [1, 0], ids=["threads are given", "threads are measured"])
async def test_a_machine_without_a_library_is_told_which_and_what_to_install(
    chat_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(without_openmp(tmp_path)))
    monkeypatch.setattr(llama_cpp, "usable_cores", lambda: 2)
    adapter = LlamaCppAdapter(lambda _digest: chat_weights, tmp_path, tmp_path)
    supervisor = EngineSupervisor({"llama_cpp": adapter}, policy=FAST)
    await supervisor.apply([msgspec.structs.replace(SPEC, threads=threads)])
    await async_wait_until(lambda: supervisor.reports()[0].state == "failed", timeout_s=60)
    [report] = supervisor.reports()
    assert "llama.cpp needs libgomp.so.9, which is not on this machine (`apt-get install libgomp1`" in report.reason
    assert report.restarts == 0, "trying again cannot help"
    await supervisor.close()


class Control:
    """Control's two internal routes for the worker; it can go away and come back."""

    def __init__(self, port: int, epoch: str) -> None:
        control = self
        self.reports: list[dict[str, Any]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Stay quiet."""

            def do_GET(self) -> None:
                self.reply({"epoch": epoch, "engines": [msgspec.to_builtins(SPEC)]})

            def do_PUT(self) -> None:
                control.reports.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.reply({})

            def reply(self, body: object) -> None:
                assert self.headers["authorization"] == "Bearer internal-token"
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def last(self, state: str) -> dict[str, Any] | None:
        return self.reports[-1] if self.reports and self.reports[-1]["state"] == state else None

    def until(self, state: str) -> dict[str, Any]:
        found = wait_until(lambda: self.last(state), timeout_s=60, what=f"a report of {state}")
        assert found is not None
        return found

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def worker(tetrad_home: Path, port: int, chat_weights: Path) -> Iterator[subprocess.Popen[bytes]]:
    (tetrad_home / "keys").mkdir()
    (tetrad_home / "keys" / "internal.token").write_text("internal-token\n")
    digits = CHAT_MODEL.sha256
    weights = tetrad_home / "blobs" / "sha256" / digits[:2] / digits
    weights.parent.mkdir(parents=True)
    shutil.copy(chat_weights, weights)
    environ = {**os.environ, "TETRAD_CONTROL_PORT": str(port), "TETRAD_WORKER_POLL_S": "0.1"}
    process = subprocess.Popen([sys.executable, "-m", "tetrad.processes.worker"], env=environ)
    yield process
    process.kill()
    process.wait()


def test_engines_outlive_control_and_are_told_to_the_next_one(worker: subprocess.Popen[bytes], port: int) -> None:
    first = Control(port, "epoch 1")
    try:
        ready = first.until("ready")
        assert answer(ready) == 3
    finally:
        first.close()
    assert answer(ready) == 3  # nobody to report to, and yet it answers
    second = Control(port, "epoch 2")
    try:
        again = second.until("ready")
        assert again["endpoint"] == ready["endpoint"]
        assert again["pid"] == ready["pid"]
        os.kill(again["pid"], signal.SIGKILL)
        wait_until(lambda: any(report["state"] == "planned" for report in second.reports), timeout_s=30)
        other = second.until("ready")
        assert other["pid"] != ready["pid"]
        assert answer(other) == 3
        worker.terminate()
        assert worker.wait(30) == 0
        assert second.reports[-1]["state"] == "stopped"
        assert not psutil.pid_exists(other["pid"])
    finally:
        second.close()


def test_engines_die_with_a_killed_worker_and_the_next_one_starts_without_control(
    worker: subprocess.Popen[bytes], port: int, tetrad_home: Path
) -> None:
    control = Control(port, "epoch")
    try:
        ready = control.until("ready")
        engine = psutil.Process(ready["pid"])
    finally:
        control.close()
    worker.kill()
    worker.wait()
    wait_until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, what="the engine's end")
    environ = {**os.environ, "TETRAD_CONTROL_PORT": str(port)}
    log = tetrad_home / "worker.log"
    with log.open("wb") as out:
        alone = subprocess.Popen([sys.executable, "-m", "tetrad.processes.worker"], env=environ, stderr=out)
    try:
        wait_until(lambda: b"warming -> ready" in log.read_bytes(), timeout_s=60, what="an engine without control")
        alone.terminate()
        assert alone.wait(30) == 0
    finally:
        alone.kill()
        alone.wait()
