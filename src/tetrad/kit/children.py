"""Child processes that are watched: started whole, logged, restarted with back-off, stopped in order.

Three layers, each usable alone: pure rules (`RestartPolicy`, `after_exit`), one running process (`Child`), one process
that is kept running (`Supervised`). Everything belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from tetrad.kernel import TetradError
from tetrad.kit.process_identity import ProcessIdentity

EX_CONFIG = 78
"""The exit code (sysexits.h) by which a child says that starting it again cannot help."""

_LAUNCH = str(Path(__file__).with_name("_launch.py"))
_MAX_LINE = 16_384
_TAIL_LINES = 40

ChildState = Literal["starting", "ready", "backing_off", "failed", "stopping", "stopped"]


class ChildDidNotStart(TetradError):
    """A child could not be started, or was not ready in time."""

    code = "child_did_not_start"
    status = 503


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 where it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When to start a dead child again: after `first_s`, doubling up to `longest_s`; a run of `stable_s` forgives all.

    `give_up_after` unforgiven failures in a row end it (0 = never). An exit with a code in `fatal` ends it at once.
    """

    first_s: float = 0.5
    factor: float = 2.0
    longest_s: float = 30.0
    stable_s: float = 60.0
    give_up_after: int = 8
    fatal: frozenset[int] = frozenset({EX_CONFIG})


@dataclass(frozen=True, slots=True)
class Again:
    """Start the child again after a pause."""

    delay_s: float
    failures: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave the child dead; the reason is for people."""

    reason: str


def after_exit(policy: RestartPolicy, *, failures: int, ran_s: float, reason: str, code: int | None) -> Again | GiveUp:
    """Decide what follows an unwanted exit; `failures` counts those before it, `ran_s` is how long it was ready."""
    if code is not None and code in policy.fatal:
        return GiveUp(reason)
    count = 1 if ran_s >= policy.stable_s else failures + 1
    if policy.give_up_after and count >= policy.give_up_after:
        return GiveUp(f"gave up after {count} failures in a row; the last: {reason}")
    exponent = min(count - 1, 64)
    return Again(min(policy.longest_s, policy.first_s * policy.factor**exponent), count)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start a child.

    It runs in a process group of its own (a terminal's Ctrl-C does not reach it) and receives `death_signal` when the
    thread that started it ends, however that comes about (Linux). `env` is added to ours where `inherit_env`, else it
    is all. `stdin` is written to the child's standard input, which is then closed: the way to hand over secrets; any
    text in `redact` is blotted out of its log. Standard output and error go to `log_path`, rotated at `log_bytes`.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    inherit_env: bool = True
    stdin: bytes | None = field(default=None, repr=False)
    redact: tuple[str, ...] = field(default=(), repr=False)
    pass_fds: tuple[int, ...] = ()
    cwd: Path | None = None
    log_path: Path | None = None
    log_bytes: int = 10_000_000
    log_files: int = 3
    stop_s: float = 10.0
    death_signal: int = signal.SIGTERM
    nice: int = 0


class RotatingFile:
    """An append-only log of bounded size: `x.log`, then `x.log.1` … ; a full disk loses lines, never the process."""

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self.path = path
        self.lost = 0
        self._max, self._files = max_bytes, max(1, files)
        self._fd = -1
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append; count what the disk refuses in `lost`."""
        try:
            if self._fd >= 0 and self._size + len(data) > self._max:
                self._rotate()
            if self._fd < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                self._size = os.fstat(self._fd).st_size
            os.write(self._fd, data)
            self._size += len(data)
        except OSError:
            self.lost += 1

    def _rotate(self) -> None:
        self.close()
        for index in range(self._files - 1, 0, -1):
            older = self.path if index == 1 else self.path.with_name(f"{self.path.name}.{index - 1}")
            with contextlib.suppress(FileNotFoundError):
                older.replace(self.path.with_name(f"{self.path.name}.{index}"))
        if self._files == 1:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Child:
    """One running process; made by `spawn`."""

    def __init__(self, spec: ChildSpec, process: asyncio.subprocess.Process) -> None:
        self.spec = spec
        self.pid = process.pid
        self.identity = ProcessIdentity.of(process.pid) or ProcessIdentity(process.pid, -1)
        self._process = process
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._log = RotatingFile(spec.log_path, spec.log_bytes, spec.log_files) if spec.log_path else None
        self._redact = tuple(text.encode() for text in spec.redact if text)
        self._pump = asyncio.create_task(self._read(), name=f"log of {spec.name}")

    @classmethod
    async def spawn(cls, spec: ChildSpec) -> Child:
        """Start the program; raise `ChildDidNotStart` where the system refuses a process."""
        launch = (sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), str(int(spec.death_signal)))
        env = {**os.environ, **spec.env} if spec.inherit_env else dict(spec.env)
        prefix = ("nice", "-n", str(spec.nice)) if spec.nice else ()
        try:
            process = await asyncio.create_subprocess_exec(
                *launch,
                *prefix,
                *spec.argv,
                stdin=asyncio.subprocess.PIPE if spec.stdin is not None else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=env,
                cwd=spec.cwd,
                pass_fds=spec.pass_fds,
                process_group=0,
                limit=_MAX_LINE,
            )
        except OSError as error:
            raise ChildDidNotStart(
                f"cannot start {spec.name!r}: {error.strerror}", hint="check the limits on processes and memory"
            ) from error
        child = cls(spec, process)
        if spec.stdin is not None and process.stdin is not None:
            process.stdin.write(spec.stdin)
            with contextlib.suppress(ConnectionError):  # it is gone already: its exit tells why
                await process.stdin.drain()
            process.stdin.close()
        return child

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, None while it runs."""
        return self._process.returncode

    def tail(self) -> tuple[str, ...]:
        """The last lines of its log."""
        return tuple(self._tail)

    async def wait(self) -> int:
        """Wait for its end and for the last of its log; return the exit code."""
        code = await self._process.wait()
        with contextlib.suppress(TimeoutError):  # a grandchild may hold the pipe open
            await asyncio.wait_for(asyncio.shield(self._pump), 1.0)
        if not self._pump.done():
            self._pump.cancel()
            self._transport().close()
        if self._log:
            self._log.close()
        return code

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """End it and everything in its process group at once."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.signal(signal.SIGKILL)

    async def stop(self, deadline_s: float | None = None) -> int:
        """SIGTERM, wait up to the deadline, SIGKILL; return the exit code."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), self.spec.stop_s if deadline_s is None else deadline_s)
        except TimeoutError:
            self.kill()
        return await self.wait()

    def exit_reason(self) -> str:
        """Say how it ended, with its last words."""
        code = self.returncode
        if code is None:
            return "still running"
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"
        last = self.last_words()
        return f"{how}: {last}" if last else how

    def last_words(self) -> str:
        """Return the last line that it printed, bounded."""
        return next((_message(line) for line in reversed(self._tail) if line.strip()), "")[:300]

    def _transport(self) -> asyncio.SubprocessTransport:
        return self._process._transport  # type: ignore[attr-defined,no-any-return]

    async def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - we asked for a pipe
        while True:
            try:
                line = await stream.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                line = end.partial
                if not line:
                    return
            except asyncio.LimitOverrunError as long:
                line = await stream.readexactly(max(1, long.consumed))
            for secret in self._redact:
                line = line.replace(secret, b"[redacted]")
            self._tail.append(line.rstrip().decode("utf-8", "replace"))
            if self._log:
                self._log.write(line)


def _message(line: str) -> str:
    """Return the message of a line of structured log, any other line as it is."""
    if not line.startswith("{"):
        return line
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """What is known of a supervised child; `reason` tells why it is not ready, `restarts` counts since `start`."""

    name: str
    state: ChildState
    pid: int | None = None
    identity: ProcessIdentity | None = None
    reason: str = ""
    restarts: int = 0
    retry_in_s: float | None = None


class Supervised:
    """Keep one child running until told to stop.

    `make` is asked for a spec before every start (a new port, a new secret). The child counts as ready when `probe`
    returns (at once without one); when that raises `ChildDidNotStart` or takes longer than `ready_s`, the child is
    stopped and the failure counted. `on_change` hears of every change of state, in the loop; it must not block.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], ChildSpec],
        *,
        probe: Callable[[Child], Awaitable[None]] | None = None,
        ready_s: float = 30.0,
        policy: RestartPolicy | None = None,
        on_change: Callable[[ChildStatus], None] | None = None,
    ) -> None:
        self.name = name
        self.child: Child | None = None
        self._make, self._probe, self._ready_s = make, probe, ready_s
        self._policy = policy or RestartPolicy()
        self._on_change = on_change
        self._status = ChildStatus(name, "stopped")
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._wanted_restart = ""
        self._notices: set[asyncio.Task[None]] = set()

    @property
    def status(self) -> ChildStatus:
        """The present state."""
        return self._status

    def start(self) -> None:
        """Start keeping it running; does nothing when that is so already. A failed child gets a fresh start."""
        if self._task is None or self._task.done():
            self._set("starting", restarts=0)
            self._task = asyncio.create_task(self._keep(), name=f"supervise {self.name}")

    async def wait_ready(self, timeout_s: float | None = None) -> ChildStatus:
        """Wait until it is ready; raise `ChildDidNotStart` with the reason when it failed, stopped or took too long."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._status.state in ("ready", "failed", "stopped"))
        except TimeoutError:
            raise ChildDidNotStart(
                f"{self.name} was not ready within {timeout_s:g} s ({self._status.state}): {self._status.reason}",
                hint="its log tells more",
            ) from None
        if self._status.state != "ready":
            raise ChildDidNotStart(f"{self.name} {self._status.state}: {self._status.reason}", hint="see its log")
        return self._status

    async def restart(self, reason: str) -> None:
        """Stop the child and let the policy start it again; counts as a failure, with this reason."""
        child = self.child
        if child is not None and child.returncode is None:
            self._wanted_restart = reason
            await child.stop()

    async def stop(self, deadline_s: float | None = None) -> None:
        """Stop for good: SIGTERM, deadline, SIGKILL."""
        task, self._task = self._task, None
        if task is None:
            return
        self._set("stopping")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self.child is not None:
            await self.child.stop(deadline_s)
            self.child = None
        self._set("stopped")

    async def _keep(self) -> None:
        failures = restarts = 0
        loop = asyncio.get_running_loop()
        while True:
            self._set("starting", reason=self._status.reason, restarts=restarts)
            ready_at: float | None = None
            code: int | None = None
            try:
                self.child = await self._spawn()
                self._set("starting", reason=self._status.reason, restarts=restarts)
                await self._until_ready(self.child)
                ready_at = loop.time()
                self._set("ready", restarts=restarts)
                code = await self.child.wait()
                reason = self.child.exit_reason()
            except TetradError as error:
                reason = error.message
                if self.child is not None:
                    code = self.child.returncode
                    await self.child.stop()
            if self._wanted_restart:
                reason, self._wanted_restart = self._wanted_restart, ""
            self.child = None
            ran_s = 0.0 if ready_at is None else loop.time() - ready_at
            step = after_exit(self._policy, failures=failures, ran_s=ran_s, reason=reason, code=code)
            if isinstance(step, GiveUp):
                self._set("failed", reason=step.reason, restarts=restarts)
                return
            failures, restarts = step.failures, restarts + 1
            self._set("backing_off", reason=reason, restarts=restarts, retry_in_s=step.delay_s)
            await asyncio.sleep(step.delay_s)

    async def _spawn(self) -> Child:
        spawning = asyncio.ensure_future(Child.spawn(self._make()))
        try:
            return await asyncio.shield(spawning)
        except asyncio.CancelledError:  # told to stop in the middle: `stop` must find the process
            with contextlib.suppress(TetradError):
                self.child = await spawning
            raise

    async def _until_ready(self, child: Child) -> None:
        if self._probe is None:
            return
        probe = asyncio.ensure_future(self._probe(child))
        ended = asyncio.ensure_future(child.wait())
        try:
            await asyncio.wait({probe, ended}, timeout=self._ready_s, return_when=asyncio.FIRST_COMPLETED)
            if probe.done():
                probe.result()
            elif ended.done():
                raise ChildDidNotStart(f"{child.exit_reason()}")
            else:
                raise ChildDidNotStart(f"was not ready within {self._ready_s:g} s")
        finally:
            for task in (probe, ended):
                task.cancel()
            await asyncio.gather(probe, ended, return_exceptions=True)

    def _set(
        self, state: ChildState, *, reason: str = "", restarts: int | None = None, retry_in_s: float | None = None
    ) -> None:
        child = self.child if state in ("starting", "ready", "stopping") else None
        self._status = ChildStatus(
            self.name,
            state,
            pid=child.pid if child else None,
            identity=child.identity if child else None,
            reason=reason,
            restarts=self._status.restarts if restarts is None else restarts,
            retry_in_s=retry_in_s,
        )
        if self._on_change is not None:
            self._on_change(self._status)
        notice = asyncio.ensure_future(self._notify())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
