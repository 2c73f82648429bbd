"""The embedded engine: llama.cpp (xllamacpp), one child process per model."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

from tetrad.adapters.engines._calibration import (
    CalibrationFile,
    Measurement,
    Threads,
    candidates,
    choose,
    processor,
    usable_cores,
)
from tetrad.adapters.engines._llama_cpp_order import CalibrateOrder, ServeOrder, encode_order
from tetrad.adapters.engines._native import not_loaded
from tetrad.adapters.engines._openai_server import OpenAIServer
from tetrad.adapters.engines.llama_cpp_child import EX_DATAERR, EX_UNAVAILABLE
from tetrad.kernel import TetradError, Unavailable, digest_json
from tetrad.kit.children import Child, ChildSpec
from tetrad.kit.gguf import BadGguf, read_gguf
from tetrad.releases import EngineFacts
from tetrad.serving import (
    EngineCaps,
    EngineEndpoint,
    EngineFailed,
    EngineIdentity,
    EngineMetrics,
    EngineSpec,
    EngineUnusable,
)

log = logging.getLogger(__name__)
_MODULE = "tetrad.adapters.engines.llama_cpp_child"
_SAMPLE = re.compile(r"^llamacpp:(\w+) ([0-9.eE+-]+)$", re.MULTILINE)
_CALIBRATE_S = 60.0
_CHUNK = 1 << 20

FLAGS: dict[str, tuple[int, int, int]] = {
    "batch": (512, 32, 8192),
    "prompt_cache_mib": (64, 0, 1 << 20),
    "batch_threads": (0, 0, 1024),
}
"""The flags that a spec may set: default, least, most."""


class LlamaCppAdapter:
    """Starts llama.cpp children.

    `model_path` finds the file of a digest and raises `TetradError` where there is none; `folder` keeps calibrations,
    `log_folder` one log per engine.
    """

    kind = "llama_cpp"
    caps = EngineCaps(
        anthropic=True, responses=True, embeddings=True, lora="scale", sleep=True, speculation=True, metrics=True
    )

    def __init__(
        self, model_path: Callable[[str], Path], folder: Path, log_folder: Path, *, calibrate: bool = True
    ) -> None:
        self._model_path = model_path
        self._logs = log_folder
        self._calibrations = CalibrationFile(folder / "calibration.json")
        self._measure = calibrate
        self._calibrating = asyncio.Lock()

    @staticmethod
    def build() -> str:
        """Name the exact build of the engine, with the kind of machine that it was built for."""
        try:
            return f"xllamacpp {importlib.metadata.version('xllamacpp')} {platform.system()} {platform.machine()}"
        except importlib.metadata.PackageNotFoundError:
            raise EngineUnusable("llama.cpp is not installed", hint="pip install xllamacpp") from None

    async def provision(self, spec: EngineSpec) -> EngineIdentity:
        """Check the weights' digest and header, choose the threads."""
        flags = _flags(spec)
        path = await asyncio.to_thread(self._checked, spec)
        build = self.build()
        threads = await self._threads(spec, path, build)
        return EngineIdentity(
            self.kind,
            build,
            {
                "threads": str(threads.write),
                "batch_threads": str(flags["batch_threads"] or threads.read),
                "ctx": str(spec.ctx),
                "slots": str(spec.slots),
                "batch": str(flags["batch"]),
                "prompt_cache_mib": str(flags["prompt_cache_mib"]),
            },
        )

    async def start(self, spec: EngineSpec, identity: EngineIdentity) -> LlamaCppEngine:
        """Start a child with a fresh key; it loads while it is asked for its health."""
        path = await asyncio.to_thread(self._model_path, spec.model)
        secret = secrets.token_urlsafe(32)
        read_fd, write_fd = os.pipe()
        order = ServeOrder(
            model_path=str(path),
            served_name=spec.served_name,
            secret=secret,
            ctx=spec.ctx,
            slots=spec.slots,
            threads=int(identity.flags["threads"]),
            batch_threads=int(identity.flags["batch_threads"]),
            batch=int(identity.flags["batch"]),
            prompt_cache_mib=int(identity.flags["prompt_cache_mib"]),
            sleep_s=spec.sleep_s,
            embeddings="embeddings" in spec.kinds,
            report_fd=write_fd,
        )
        log_path = self._logs / f"engine-{spec.name}.log"
        child = await _spawn(f"engine {spec.name}", order, read_fd, write_fd, log_path, redact=secret)
        return LlamaCppEngine(spec, child, secret, read_fd)

    def _checked(self, spec: EngineSpec) -> Path:
        try:
            path = self._model_path(spec.model)
            if _sha256(path) != spec.model:
                raise EngineUnusable(
                    f"the model file {str(path)!r} is damaged: its content is not {spec.model}",
                    hint="`tetrad engine pull` fetches the bundled models again; import others again",
                )
            header = read_gguf(path)
        except OSError as error:
            raise EngineUnusable(f"the model {spec.model} cannot be read: {error}", hint="check the disk") from None
        except BadGguf as error:
            raise EngineUnusable(error.message, hint="llama.cpp reads GGUF files only") from None
        except EngineUnusable:
            raise  # it is an `Unavailable` as well, but trying again cannot help
        except Unavailable as error:  # weights in a store that does not answer now: another try may help
            raise EngineFailed(error.message) from None
        except TetradError as error:
            raise EngineUnusable(error.message, hint=error.hint) from None
        if header.context_length and spec.ctx > header.context_length:
            raise EngineUnusable(
                f"the model was made for {header.context_length} tokens of context, not {spec.ctx}", hint="lower ctx"
            )
        return path

    async def _threads(self, spec: EngineSpec, path: Path, build: str) -> Threads:
        if spec.threads:
            return Threads(spec.threads, spec.threads)
        cores = usable_cores()
        if cores == 1 or not self._measure:
            return Threads(max(1, cores - 1), cores)
        async with self._calibrating:  # two measurements at once would measure each other
            key = self._calibrations.key(spec.model, build)
            kept = self._calibrations.get(key)
            if kept is not None:
                return kept
            measured = await self._calibrate(spec, path, cores)
            if not measured:
                return Threads(max(1, cores - 1), cores)
            threads = choose(measured)
            self._calibrations.put(key, threads)
        log.info("engine %s: calibrated to %d threads (%d for prompts)", spec.name, threads.write, threads.read)
        return threads

    async def _calibrate(self, spec: EngineSpec, path: Path, cores: int) -> list[Measurement]:
        read_fd, write_fd = os.pipe()
        order = CalibrateOrder(str(path), candidates(cores), tokens=16, rounds=2, report_fd=write_fd)
        child = await _spawn(f"calibrate {spec.name}", order, read_fd, write_fd, self._logs / "calibration.log")
        measured: list[Measurement] = []
        try:
            async with asyncio.timeout(_CALIBRATE_S):
                async with _lines(os.fdopen(read_fd, "rb", buffering=0)) as lines:
                    while line := await lines.readline():
                        measured.append(Measurement(**json.loads(line)))
                if await child.wait() == EX_UNAVAILABLE:
                    raise not_loaded(child.last_words())
        except TimeoutError:
            log.warning("engine %s: the calibration was cut off after %g s", spec.name, _CALIBRATE_S)
        finally:
            child.kill()
            await child.wait()
        return measured


def engine_facts(identity: EngineIdentity) -> EngineFacts:
    """Describe an engine of this machine as far as the bytes of its answers depend on it."""
    cpu, features = processor()
    distribution = importlib.metadata.distribution("xllamacpp")
    libraries = [str(file.locate()) for file in distribution.files or () if file.suffix in (".so", ".dylib", ".pyd")]
    return EngineFacts(
        kind=identity.kind,
        version=distribution.version,
        build=identity.build,
        build_digest=digest_json([_library_digest(path) for path in sorted(libraries)]),
        flags=dict(identity.flags),
        cpu=cpu,
        features=features,
    )


@cache
def _library_digest(path: str) -> str:
    """Hash a library once: what this process has loaded does not change any more."""
    return _sha256(Path(path))


class LlamaCppEngine:
    """A llama.cpp child."""

    def __init__(self, spec: EngineSpec, child: Child, secret: str, report_fd: int) -> None:
        self.pid: int | None = child.pid
        self.endpoint = EngineEndpoint("", secret)
        self._spec, self._child, self._secret = spec, child, secret
        self._server: OpenAIServer | None = None
        self._report = os.fdopen(report_fd, "rb", buffering=0)
        self._listening = asyncio.create_task(self._listen(), name=f"address of {spec.name}")

    async def _listen(self) -> None:
        async with _lines(self._report) as lines:
            line = await lines.readline()
        if line:
            url = str(json.loads(line)["url"])
            self.endpoint = EngineEndpoint(f"{url}/v1", self._secret)
            self._server = OpenAIServer(self.endpoint, timeout_s=self._spec.probes.answer_s)

    async def healthy(self) -> bool:
        return self._server is not None and await self._server.healthy()

    async def served_names(self) -> tuple[str, ...]:
        return await self._asked().served_names()

    async def warm(self, prompt: str, deadline_s: float) -> float:
        if "chat" in self._spec.kinds:
            return await self._asked().warm_chat(self._spec.served_name, prompt, deadline_s)
        return await self._asked().warm_embedding(self._spec.served_name, prompt, deadline_s)

    async def metrics(self) -> EngineMetrics:
        found = {name: float(value) for name, value in _SAMPLE.findall(await self._asked().text("/metrics"))}
        return EngineMetrics(
            running=int(found.get("requests_processing", 0)),
            waiting=int(found.get("requests_deferred", 0)),
            progress=int(found.get("n_decode_total", 0)),
            tokens_in=int(found.get("prompt_tokens_total", 0)),
            tokens_out=int(found.get("tokens_predicted_total", 0)),
            sleeping=bool(self._spec.sleep_s) and await self._sleeping(),
        )

    async def _sleeping(self) -> bool:
        """Tell whether it gave its memory back; asking neither wakes it nor keeps it awake (nor does `/metrics`)."""
        return json.loads(await self._asked().text("/props")).get("is_sleeping") is True

    async def ended(self) -> str:
        code = await self._child.wait()
        if code == EX_UNAVAILABLE:
            raise not_loaded(self._child.last_words())
        if code == EX_DATAERR:
            raise EngineUnusable(self._child.exit_reason(), hint="llama.cpp cannot load this model; see the log")
        return self._child.exit_reason()

    async def stop(self, deadline_s: float) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self._report.close()
        if deadline_s > 0:
            await self._child.stop(deadline_s)
        else:
            self._child.kill()
            await self._child.wait()
        if self._server is not None:
            await self._server.close()

    def _asked(self) -> OpenAIServer:
        if self._server is None:
            raise EngineFailed("it does not listen yet")
        return self._server


def _flags(spec: EngineSpec) -> dict[str, int]:
    unknown = sorted(set(spec.flags) - set(FLAGS))
    if unknown:
        raise EngineUnusable(f"llama.cpp has no flag {unknown[0]!r} here", hint=f"known: {', '.join(sorted(FLAGS))}")
    found = {name: default for name, (default, _, _) in FLAGS.items()}
    for name, text in spec.flags.items():
        _, low, high = FLAGS[name]
        if not text.isdecimal() or not low <= int(text) <= high:
            raise EngineUnusable(f"the flag {name} is {text!r}", hint=f"a whole number from {low} to {high}")
        found[name] = int(text)
    return found


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return f"sha256:{found.hexdigest()}"


async def _spawn(
    name: str, order: ServeOrder | CalibrateOrder, read_fd: int, write_fd: int, log_path: Path, redact: str = ""
) -> Child:
    """Start a child with an order; our copy of `write_fd` is closed in any case, `read_fd` on failure."""
    try:
        return await Child.spawn(
            ChildSpec(
                name=name,
                argv=(sys.executable, "-m", _MODULE),
                env={"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"},
                stdin=encode_order(order),
                redact=(redact,) if redact else (),
                pass_fds=(write_fd,),
                log_path=log_path,
                death_signal=signal.SIGKILL,
            )
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)


@contextlib.asynccontextmanager
async def _lines(file: Any) -> AsyncIterator[asyncio.StreamReader]:
    """Read lines from our end of a pipe; it is closed afterwards."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    try:
        yield reader
    finally:
        transport.close()
