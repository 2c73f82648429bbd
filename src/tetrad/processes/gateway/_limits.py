"""Limits in a gateway worker: leases fetched from control, told of in a journal that outlives the worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from tetrad.kernel import Clock, TetradError, new_id
from tetrad.kit.upstream import Address, BrokenAnswer, Client, Timeouts
from tetrad.limits import LAST_SEQ, Pockets, Sync, SyncReply
from tetrad.limits.ports import Keeper
from tetrad.processes.gateway._journal import SUFFIX, DamagedJournal, LeaseJournal, left, read_journal
from tetrad.serving import LimitRule

log = logging.getLogger(__name__)

PATH = "/internal/v1/limits/leases"
TICK_S = 1.0
_TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=2.0, idle_s=2.0, total_s=4.0)
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0
_SAY_EVERY_S = 30.0
_LOOK_FOR_LEFT_S = 30.0
_MOST_REPLY_BYTES = 8 * 1024 * 1024


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
        for path, data in left(folder):
            try:
                leases = read_journal(data)
            except DamagedJournal as error:
                aside = path.with_suffix(".unreadable")
                log.error(  # noqa: TRY400 - it says it all
                    "the journal of a worker that died cannot be read (%s) and is kept as %s: %s",
                    error, aside, error.hint,
                )  # fmt: skip
                path.replace(aside)
                continue
            message = Sync(path.name.removesuffix(SUFFIX), LAST_SEQ, leases, ends=True)
            await self._keeper.sync(message)
            log.info("told control what a worker that died had spent (%d leases)", len(message.leases))
            path.unlink(missing_ok=True)
