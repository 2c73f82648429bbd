"""Keep a model child while it is needed: started by the first request, ended when idle, replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tetrad.kernel import InvalidInput, Overloaded, TetradError, Unavailable
from tetrad.kit.children import Child, ChildSpec
from tetrad.processes.inference._wire import (
    HEAD,
    MAX_FRAME,
    Answer,
    Broken,
    Embed,
    Load,
    Loaded,
    Request,
    TooLong,
    Vectors,
    frame,
    read_answer,
)

log = logging.getLogger(__name__)
_MODULE = "tetrad.processes.inference._embedder_child"
_CHUNK = 1 << 20
_TRIES = 2


class TextTooLong(InvalidInput):
    """A text has more tokens than the model knows."""

    code = "input_too_long"


class EmbedderUnavailable(Unavailable):
    """The embedding model is not here, is damaged, or does not run."""

    code = "embedder_unavailable"


class _Died(Exception):
    """The child went away in the middle of a request."""


class Embedder:
    """Embeds texts, one request at a time; the others wait in a bounded queue.

    `find` returns the local file of a digest. The files' digests are checked before each load.
    """

    def __init__(
        self,
        find: Callable[[str], Path],
        model: str,
        tokenizer: str,
        *,
        threads: int = 1,
        max_tokens: int = 512,
        idle_s: float = 300.0,
        queue: int = 32,
        deadline_s: float = 60.0,
        log_path: Path | None = None,
    ) -> None:
        self._find, self._model, self._tokenizer = find, model, tokenizer
        self._threads, self._max_tokens = threads, max_tokens
        self._idle_s, self._queue, self._deadline_s = idle_s, queue, deadline_s
        self._log_path = log_path
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._child: Child | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._unloading: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.dimensions = 0

    @property
    def state(self) -> Literal["loaded", "unloaded"]:
        """Whether the model is in memory."""
        return "loaded" if self._child is not None and self._child.returncode is None else "unloaded"

    @property
    def pid(self) -> int | None:
        """The child's process, while there is one."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    async def embed(self, texts: list[str]) -> Vectors:
        """Return vectors and token counts.

        Raises `Overloaded` (429) when the queue is full, `TextTooLong`, `EmbedderUnavailable` (also past the deadline).
        """
        if self._waiting > self._queue:
            raise Overloaded(
                f"{self._waiting} embedding requests are waiting already", hint="try again in a moment", retry_after_s=1
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self._deadline_s), self._turn:
                return await self._asked(texts)
        except TimeoutError:
            raise EmbedderUnavailable(
                f"no embedding within {self._deadline_s:g} s", hint="send fewer or shorter texts", status=504
            ) from None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the child."""
        if self._unloading is not None:
            self._unloading.cancel()
        await self._unload()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _asked(self, texts: list[str]) -> Vectors:
        if self._unloading is not None:
            self._unloading.cancel()
        try:
            answer = await self._exchange(texts)
        except BaseException:  # also a cut-off request: its answer must not be taken for the next one's
            await asyncio.shield(self._unload())
            raise
        self._unloading = asyncio.get_running_loop().call_later(self._idle_s, self._idle)
        if isinstance(answer, TooLong):
            raise TextTooLong(
                f"input {answer.index} has {answer.tokens} tokens; at most {self._max_tokens} are embedded",
                hint="split the text",
            )
        return answer

    async def _exchange(self, texts: list[str]) -> Vectors | TooLong:
        for attempt in range(1, _TRIES + 1):
            try:
                if self.state == "unloaded":
                    await self._load()
                answer = await self._call(Embed(texts))
            except _Died:
                reason = await self._unload()
                if attempt == _TRIES:
                    raise EmbedderUnavailable(
                        f"the embedding process {reason}", hint="see inference-model.log"
                    ) from None
                log.warning("the embedding process %s; starting another", reason)
                continue
            if isinstance(answer, Vectors | TooLong):
                return answer
            reason = answer.reason if isinstance(answer, Broken) else "it answered out of turn"
            raise EmbedderUnavailable(f"the embedding model failed: {reason}", hint="see inference-model.log")
        raise AssertionError("unreachable")  # pragma: no cover

    async def _load(self) -> None:
        await self._unload()
        model, tokenizer = await asyncio.to_thread(self._files)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                self._child = await Child.spawn(
                    ChildSpec(
                        name="inference model",
                        argv=(sys.executable, "-m", _MODULE, str(theirs.fileno())),
                        pass_fds=(theirs.fileno(),),
                        log_path=self._log_path,
                        death_signal=signal.SIGKILL,
                    )
                )
            self._reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        order = Load(str(model), str(tokenizer), self._threads, self._max_tokens)
        answer = await self._call(order)
        if not isinstance(answer, Loaded):
            reason = answer.reason if isinstance(answer, Broken) else "it answered out of turn"
            raise EmbedderUnavailable(f"the embedding model cannot be loaded: {reason}", hint="`tetrad engine pull`")
        self.dimensions = answer.dimensions
        log.info("embedding model loaded by process %d", self._child.pid)

    def _files(self) -> tuple[Path, Path]:
        return self._checked(self._model), self._checked(self._tokenizer)

    def _checked(self, digest: str) -> Path:
        try:
            path = self._find(digest)
            found = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
        except TetradError as error:
            raise EmbedderUnavailable(error.message, hint=error.hint) from None
        except OSError as error:
            raise EmbedderUnavailable(f"{error.filename!r} cannot be read: {error.strerror}", hint="check it") from None
        if f"sha256:{found.hexdigest()}" != digest:
            raise EmbedderUnavailable(
                f"{str(path)!r} is damaged: its content is not {digest}", hint="`tetrad engine pull` fetches it again"
            )
        return path

    async def _call(self, request: Request) -> Answer:
        if self._reader is None or self._writer is None:
            raise _Died
        try:
            self._writer.write(frame(request))
            await self._writer.drain()
            size = int.from_bytes(await self._reader.readexactly(HEAD), "big")
            if size > MAX_FRAME:
                raise _Died
            return read_answer(await self._reader.readexactly(size))
        except (OSError, asyncio.IncompleteReadError):
            raise _Died from None

    def _idle(self) -> None:
        if self._turn.locked():
            return
        log.info("embedding model unloaded after %g idle seconds", self._idle_s)
        task = asyncio.ensure_future(self._unload_in_turn())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _unload_in_turn(self) -> None:
        async with self._turn:
            await self._unload()

    async def _unload(self) -> str:
        child, self._child = self._child, None
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if child is None:
            return "was not running"
        if child.returncode is None:
            child.kill()
        await child.wait()
        return child.exit_reason()
