"""An engine for reproduction: a child of its own, one slot, no prompt cache, fixed threads; nobody else reaches it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from tetrad.kernel import TetradError, digest_bytes
from tetrad.kit.trust import believed
from tetrad.releases import Answered, EngineFacts, Isolated, answer_of
from tetrad.serving import EngineEndpoint, EngineFailed, EngineIdentity, EngineSpec, check_spec
from tetrad.serving.ports import EngineAdapter, RunningEngine

NAME: Final = "isolated"
ANSWER_S: Final = 600.0
MAX_ANSWER_BYTES: Final = 4 << 20
_PROVISION_S = 1800.0
"""Weights may have to be fetched first."""
_LOAD_S = 120.0
_POLL_S = 0.05
_STOP_S = 5.0
_ATTEMPTS = 2
T = TypeVar("T")


class Identified(msgspec.Struct, frozen=True):
    """What would execute requests; or the problem, where nothing can."""

    facts: EngineFacts | None = None
    problem: str = ""


class IsolatedEngine:
    """Executes requests one after the other. Starts its child at the first of them, and again where that died.

    The child is started by a thread of its own and ends with it, and so with this process, however that comes about.
    `facts` describes build and machine of what an identity names.
    """

    def __init__(
        self,
        adapter: EngineAdapter,
        engine: Isolated,
        facts: Callable[[EngineIdentity], EngineFacts],
    ) -> None:
        self._adapter = adapter
        self._describe = facts
        self._spec = check_spec(
            EngineSpec(
                name=NAME,
                kind=adapter.kind,
                model=engine.model,
                served_name=engine.served_name,
                ctx=engine.context,
                slots=1,
                max_queue=0,
                threads=engine.threads,
                flags={"prompt_cache_mib": "0"},
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: RunningEngine | None = None
        self._identity: EngineIdentity | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def identify(self) -> Identified:
        """Check weights and machine and say what would execute requests; nothing is started."""
        try:
            return Identified(self._describe(self._provisioned()))
        except TetradError as error:
            return Identified(problem=error.message)

    def answer(self, request: str) -> Answered:
        """Execute one request and return its answer; an engine that dies gets one more chance."""
        problem = ""
        for _ in range(_ATTEMPTS):
            try:
                return self._asked(request)
            except TetradError as error:
                problem = error.message
            except httpx.TransportError as error:
                problem = f"the engine broke off ({type(error).__name__})"
            self._stop()
        return Answered(problem=problem)

    def close(self) -> None:
        """End child and thread; nothing is left of them."""
        self._stop()
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_S)
            loop.close()

    # -- the engine's own loop ----------------------------------------------------------------------------------

    def _provisioned(self) -> EngineIdentity:
        if self._identity is None:
            self._identity = self._call(self._adapter.provision(self._spec), _PROVISION_S)
        return self._identity

    def _endpoint(self) -> EngineEndpoint:
        if self._running is None:
            identity = self._provisioned()
            self._running = self._call(self._adapter.start(self._spec, identity), _LOAD_S)
            self._call(_loaded(self._running, self._spec.served_name), _LOAD_S + _STOP_S)
        return self._running.endpoint

    def _asked(self, request: str) -> Answered:
        endpoint = self._endpoint()
        headers = {"authorization": f"Bearer {endpoint.secret}", "content-type": "application/json"}
        url = f"{endpoint.base_url}/chat/completions"
        with (
            httpx.Client(trust_env=False, verify=believed(url), timeout=httpx.Timeout(ANSWER_S, connect=5.0)) as client,
            client.stream("POST", url, content=request.encode("utf-8"), headers=headers) as response,
        ):
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    return Answered(problem=f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        if response.status_code != 200:
            return Answered(
                problem=f"the engine answered {response.status_code}: {body[:300].decode(errors='replace')}"
            )
        try:
            answer = answer_of(msgspec.json.decode(body, type=dict[str, Any]))
        except (msgspec.MsgspecError, TetradError, AttributeError, TypeError) as error:
            return Answered(problem=f"the engine's answer is malformed: {error}")
        return Answered(answer, digest_bytes(answer.encode("utf-8")))

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            with contextlib.suppress(TetradError, TimeoutError):  # it is dead already, or will be with its thread
                self._call(running.stop(0.0), _STOP_S)

    def _call(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            self._loop = loop
            # Children end with the thread that started them: this one lives exactly as long as they may.
            self._thread = threading.Thread(target=loop.run_forever, name="isolated engine", daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise EngineFailed(f"the engine did not do its part within {timeout_s:g} s") from None


async def _loaded(engine: RunningEngine, served_name: str) -> None:
    """Wait until it serves its model; raise `EngineFailed` where it ended or takes too long."""
    ended = asyncio.ensure_future(engine.ended())
    deadline = time.monotonic() + _LOAD_S
    try:
        while not (await engine.healthy() and served_name in await engine.served_names()):
            if ended.done():
                raise EngineFailed(f"the engine ended while it loaded: {ended.result()}")
            if time.monotonic() > deadline:
                raise EngineFailed(f"the engine was not ready within {_LOAD_S:g} s")
            await asyncio.sleep(_POLL_S)
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
