"""Limits in a gateway worker: leases fetched from control, and a journal that outlives the worker."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tetrad.kernel import Clock, TetradError, new_id
from tetrad.kit.upstream import Address, BrokenAnswer, Client, Timeouts
from tetrad.limits import LAST_SEQ, LeaseState, Pockets, Sync, SyncReply
from tetrad.limits.ports import Keeper
from tetrad.serving import LimitRule

log = logging.getLogger(__name__)

PATH = "/internal/v1/limits/leases"
TICK_S = 1.0
_TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=2.0, idle_s=2.0, total_s=4.0)
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0
_SAY_EVERY_S = 30.0
_LOOK_FOR_LEFT_S = 30.0
_JOURNAL_BYTES = 4 * 1024 * 1024
_MOST_REPLY_BYTES = 8 * 1024 * 1024
_SUFFIX = ".leases"


class ControlKeeper:
    """`Keeper` by HTTP: control."""

    def __init__(self, client: Client, control: Address, token: Callable[[], str]) -> None:
        self._client = client
        self._control = control
        self._token = token
        self._decoder = msgspec.json.Decoder(SyncReply)

    async def sync(self, message: Sync) -> SyncReply:
        """Tell control, and return what it grants."""
        headers = [("authorization", f"Bearer {self._token()}"), ("content-type", "application/json")]
        request = self._client.prepare("POST", self._control, PATH, headers)
        response = await self._client.send(request, msgspec.json.encode(message), timeouts=_TIMEOUTS)
        body = await response.read_all(_MOST_REPLY_BYTES)
        if response.status != 200:
            raise BrokenAnswer(f"it answered {response.status}: {body[:300].decode('utf-8', 'replace')}")
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise BrokenAnswer(f"its answer about leases cannot be read: {error}") from None


class _Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    lease: int
    rule: str = ""
    instance: str = ""
    spent: int = 0
    reserved: int = 0
    unknown: int = 0


class LeaseJournal:
    """`Journal` in a file that this process holds; the kernel has each line before a call goes on.

    The newest line of a lease counts; a line that was cut by death is no line. What is held no more by anybody was left
    by a worker that died, and is told by whoever finds it.
    """

    def __init__(self, folder: Path, slot: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{slot}{_SUFFIX}"
        self._entries: dict[int, _Entry] = {}
        self._encode = msgspec.json.Encoder().encode
        # held before it has the name by which others look for journals of the dead
        draft = self._path.with_suffix(".tmp")
        self._file = _held(draft)
        draft.replace(self._path)
        self._size = 0
        self._said_at = 0.0
        self.lost = 0

    def note(self, lease: int, rule: str, instance: str, spent: int, reserved: int, unknown: int) -> None:
        """Write down a lease's newest state."""
        entry = self._entries[lease] = _Entry(lease, rule, instance, spent, reserved, unknown)
        self._append(self._encode(entry) + b"\n")
        if self._size > _JOURNAL_BYTES:
            self._shorten()

    def forget(self, lease: int) -> None:
        """Write down that nothing of a lease has to be told any more."""
        if self._entries.pop(lease, None) is not None:
            self._append(self._encode(_Entry(lease)) + b"\n")

    def close(self, *, told: bool) -> None:
        """Let go of the file; it goes where everything in it was told."""
        if told:
            self._path.unlink(missing_ok=True)
        os.close(self._file)

    def _append(self, line: bytes) -> None:
        try:
            os.write(self._file, line)
        except OSError as error:
            self.lost += 1
            now = time.monotonic()
            if now >= self._said_at:
                self._said_at = now + _SAY_EVERY_S
                log.error("the journal of leases cannot be written (%s): a death now would lose spending", error)  # noqa: TRY400
            return
        self._size += len(line)

    def _shorten(self) -> None:
        """Write the newest lines to a new file and put it in the old one's place."""
        draft = self._path.with_suffix(".tmp")
        lines = b"".join(self._encode(entry) + b"\n" for entry in self._entries.values())
        try:
            fresh = _held(draft)
            os.write(fresh, lines)
            draft.replace(self._path)
        except OSError as error:
            log.error("the journal of leases cannot be shortened: %s", error)  # noqa: TRY400 - it says it all
            self._size = 0  # tried again after as much again
            return
        os.close(self._file)
        self._file, self._size = fresh, 0


def _held(path: Path) -> int:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


class SharedLeases:
    """Leases of control; or, where there is a Redis, of control for money and of Redis for all else."""

    def __init__(self, folder: Path, keeper: Keeper, redis_url: str, clock: Clock) -> None:
        self.control = Leases(folder, keeper, clock)
        self.shared: Leases | None = None
        self._rules: dict[str, LimitRule] = {}
        self._end: Callable[[], None] = lambda: None
        if redis_url:
            from tetrad.adapters.limits_redis import RedisKeeper  # only where it is wanted

            redis = RedisKeeper(redis_url, self._rules.get)
            self.shared, self._end = Leases(None, redis, clock), redis.close

    def use(self, rules: tuple[LimitRule, ...]) -> None:
        """Go by the rules of a new route table."""
        self._rules.clear()
        self._rules.update((rule.id, rule) for rule in rules)

    def pockets(self, rule: LimitRule) -> Pockets:
        """Return what keeps the buckets of a rule."""
        if self.shared is not None and rule.measure != "money":
            return self.shared.pockets
        return self.control.pockets

    def wake(self) -> None:
        """Ask soon: a call waits."""
        self.control.wake()
        if self.shared is not None:
            self.shared.wake()

    async def run(self) -> None:
        """Keep all in step for ever."""
        async with asyncio.TaskGroup() as group:
            for each in self._all():
                group.create_task(each.run())

    async def close(self, deadline_s: float) -> None:
        """Give everything back before the process ends."""
        for each in self._all():
            await each.close(deadline_s)
        self._end()

    def _all(self) -> list[Leases]:
        return [self.control] if self.shared is None else [self.control, self.shared]


def read_journal(data: bytes) -> tuple[LeaseState, ...]:
    """Return the ends of the leases that a journal tells of."""
    decoder = msgspec.json.Decoder(_Entry)
    found: dict[int, _Entry] = {}
    for line in data.split(b"\n"):
        with contextlib.suppress(msgspec.MsgspecError):  # the last line, cut by death
            entry = decoder.decode(line)
            found[entry.lease] = entry
    return tuple(
        LeaseState(
            each.lease, each.rule, each.instance, spent=each.spent, reserved=each.reserved, unknown=each.unknown,
            final=True,
        )
        for each in found.values() if each.rule
    )  # fmt: skip


class _NoJournal:
    """For a keeper of what is not money, which needs no memory past the worker's death."""

    def note(self, lease: int, rule: str, instance: str, spent: int, reserved: int, unknown: int) -> None:
        """Nothing is kept."""

    def forget(self, lease: int) -> None:
        """Nothing was kept."""

    def close(self, *, told: bool) -> None:
        """Nothing is held."""


class Leases:
    """Keep a worker's pockets in step with their keeper; `run` until cancelled, then `close`.

    Without a folder for a journal its keeper must not be asked for money.
    """

    def __init__(self, folder: Path | None, keeper: Keeper, clock: Clock) -> None:
        self.slot = new_id("slot")
        self._folder = folder
        self._keeper = keeper
        self._clock = clock
        self.journal = _NoJournal() if folder is None else LeaseJournal(folder, self.slot)
        self.pockets = Pockets(self.slot, self.journal)
        self._wanted = asyncio.Event()
        self._look_at = 0.0

    def wake(self) -> None:
        """Ask soon: a call waits."""
        self._wanted.set()

    @property
    def down(self) -> bool:
        """Whether the keeper is out of reach."""
        return self.pockets.down

    async def run(self) -> None:
        """Keep in step for ever; failures wait, with growing pauses, and let calls go by what is held."""
        wait_s, say_at = _FIRST_WAIT_S, 0.0
        while True:
            try:
                await self.step()
            except (TetradError, OSError) as error:
                now = self._clock.monotonic()
                self.pockets.failed(now, self._clock.now_ns())
                if now >= say_at:
                    say_at = now + _SAY_EVERY_S
                    log.warning("no leases of limits (%s): calls go by what this worker holds", error)
                await asyncio.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 - spreads retries, guards nothing
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
                continue
            wait_s = _FIRST_WAIT_S
            if not self.pockets.needy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._wanted.wait()
            self._wanted.clear()

    async def step(self) -> None:
        """Tell and ask once, if there is anything; raises where the keeper is out of reach."""
        now = self._clock.monotonic()
        if self._folder is not None and now >= self._look_at:
            self._look_at = now + _LOOK_FOR_LEFT_S
            await self._tell_for_the_dead(self._folder)
        message = self.pockets.message(now)
        if message is not None:
            self.pockets.accept(await self._keeper.sync(message), self._clock.monotonic())

    async def close(self, deadline_s: float) -> None:
        """Give everything back before the process ends; what cannot be told stays in the journal."""
        told = not len(self.pockets)
        message = self.pockets.message(self._clock.monotonic(), ends=True)
        if message is not None and not told:
            try:
                async with asyncio.timeout(deadline_s):
                    self.pockets.accept(await self._keeper.sync(message), self._clock.monotonic())
                told = not len(self.pockets)
            except (TetradError, OSError) as error:
                log.warning("leases of limits could not be given back (%s); the next worker tells of them", error)
        self.journal.close(told=told)

    async def _tell_for_the_dead(self, folder: Path) -> None:
        for path, data in _left(folder):
            message = Sync(path.name.removesuffix(_SUFFIX), LAST_SEQ, read_journal(data), ends=True)
            await self._keeper.sync(message)
            log.info("told control what a worker that died had spent (%d leases)", len(message.leases))
            path.unlink(missing_ok=True)


def _left(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the journals that no living process holds, holding each meanwhile."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # another worker told of it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_ino == path.stat().st_ino:  # else its owner lives, and just put another in its place
                yield path, path.read_bytes()
        except (BlockingIOError, FileNotFoundError):
            continue
        finally:
            os.close(file)
