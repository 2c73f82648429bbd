"""`SharedAnswers` on Valkey or Redis 6 and later: one string an answer, sealed, with its time to live.

The server decides what has to make room. It is asked for two commands, `GETRANGE` and `SET`, on names that begin with
the prefix; `AUTH` and `SELECT` where the URL says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from tetrad.adapters.answers_redis._entry import EntryBroken, Sealer
from tetrad.kernel import InvalidInput, TetradError
from tetrad.kit.redis import Connection, RedisRefused, RedisUnreachable, Value
from tetrad.kit.seal import Keyring
from tetrad.serving import AnswersState

log = logging.getLogger(__name__)

SETTING = "TETRAD_GATEWAY_CACHE_URL"
REST_S = 5.0
_CONNECTIONS = 8
_PROBE_S = 1.0
_CONNECT_S = 1.0
_WRITE_S = 1.0
_MOST_QUEUED_BYTES = 16 * 1024 * 1024
_IN_THREAD = 65_536
"""Boxes from this size on are made beside the event loop."""
_OPENED_IN_THREAD = 262_144
"""Boxes from this size on are opened there; smaller ones take some milliseconds at most."""


_Start: TypeAlias = "asyncio.Task[tuple[Connection, list[Value]]]"


class _Search:
    """What a search waits for: a turn, a connection, the server, or a thread that unpacks what came."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = "queueing"


class RedisAnswers:
    """Answers in a server that gateways share; where it is slow, away or full, there are none.

    Looking for an answer takes at most `deadline_s`, opening it included. After a failure nobody asks for five seconds,
    then one call asks whether the server is back. A connection may take longer to come up than a search may last, up
    to a second: the search goes on without, and the next one has it. Writes go one after the other and are left out
    where they would queue up beyond 16 MiB. A box has at most `entry_bytes`, what is in it `unpacked_bytes`.
    """

    level = "server"

    def __init__(
        self,
        url: str,
        keyring: Callable[[], Keyring],
        *,
        prefix: str = "tetrad:answer:",
        deadline_s: float = 0.1,
        entry_bytes: int = 1024 * 1024,
        now_s: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
    ) -> None:
        if not prefix or not prefix.isascii() or not prefix.isprintable() or " " in prefix or len(prefix) > 100:
            raise InvalidInput(
                f"{prefix[:100]!r} cannot begin the names of cached answers",
                hint="TETRAD_GATEWAY_CACHE_PREFIX: 1 to 100 characters of ASCII without spaces, such as tetrad:answer:",
            )
        self._connect = partial(Connection, url, setting=SETTING, most_bytes=entry_bytes + 1)
        self._writer = self._connect(timeout_s=_WRITE_S)  # refuses a URL that is none
        self._keyring = keyring
        self._sealer: Sealer | None = None
        self._prefix = prefix.encode()
        self._deadline_s = deadline_s
        self._entry_bytes = entry_bytes
        self._unpacked_bytes = 2 * entry_bytes + _IN_THREAD
        self._now_s = now_s
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._idle: list[Connection] = []
        self._starting: set[_Start] = set()
        self._left: list[_Start] = []
        self._turn = asyncio.Lock()
        self._queued = 0
        self._rest_until_s = 0.0
        self._write_rest_until_s = 0.0
        self._counts = dict.fromkeys(("found", "absent", "stored", "failed", "broken", "passed", "dropped"), 0)
        self._asked, self._why, self._why_not_written = False, "", ""

    @property
    def state(self) -> AnswersState:
        """Tell how the server does, and what became of reads and writes."""
        counts = dict(self._counts)
        if self._why:
            return AnswersState("down", self._why, counts)
        if self._why_not_written:
            return AnswersState("read_only", self._why_not_written, counts)
        return AnswersState("up" if self._asked else "untried", "", counts)

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        """Return what lies under each name; nothing where the server is not to be asked, or somebody else wrote it."""
        nothing: list[bytes | None] = [None] * len(names)
        if not self._may_ask():
            self._counts["passed"] += 1
            return nothing
        search = _Search()
        try:
            async with asyncio.timeout(self._deadline_s):
                async with self._slots:
                    boxes = await self._talk(search, [self._get(name) for name in names])
                self._works()
                search.at = "unpacking"
                found = [await self._opened(name, box) for name, box in zip(names, boxes, strict=True)]
        except TimeoutError:
            self._late(search)
            return nothing
        except RedisRefused as error:
            if "WRONGTYPE" in error.message:
                self._broken("it is no string")
            else:
                self._failed(error.message)
            return nothing
        except TetradError as error:
            self._failed(error.message)
            return nothing
        self._counts["found" if any(each is not None for each in found) else "absent"] += 1
        return found

    async def put(self, name: str, data: bytes, ttl_s: float) -> None:
        """Keep bytes under a name for a while; left out where the server takes none, or does not keep up."""
        if len(data) > self._unpacked_bytes or self._queued + len(data) > _MOST_QUEUED_BYTES:
            self._counts["dropped"] += 1
            return
        self._queued += len(data)
        try:
            async with self._turn:
                await self._write(name, data, ttl_s)
        finally:
            self._queued -= len(data)

    def close(self) -> None:
        """End all connections."""
        self._writer.close()
        self._end_idle()
        for each in self._starting:
            each.cancel()

    # reading

    def _get(self, name: str) -> list[bytes]:
        # one byte more than we would take, whatever somebody put there
        return [b"GETRANGE", self._prefix + self._sealing().name(name), b"0", b"%d" % self._entry_bytes]

    async def _talk(self, search: _Search, commands: list[list[bytes]]) -> list[Value]:
        """Ask, a second time where an old connection turns out to be dead: a server that starts anew ends them all."""
        if self._idle:
            search.at = "asking"
            try:
                return await self._said(self._idle.pop(), commands)
            except RedisUnreachable:
                self._end_idle()
        search.at = "connecting"
        if self._left:
            connection, _ = await self._started(self._left.pop())
            search.at = "asking"
            return await self._said(connection, commands)
        connection, said = await self._started(self._start(commands))
        self._idle.append(connection)
        return said

    async def _said(self, connection: Connection, commands: list[list[bytes]]) -> list[Value]:
        try:
            return await connection.ask(commands)
        finally:
            if connection.is_open:
                self._idle.append(connection)

    async def _started(self, task: _Start) -> tuple[Connection, list[Value]]:
        """Return a new connection and its first answers; what is not there in time is left to whoever comes next."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._left.append(task)
            elif not task.cancelled() and task.exception() is None:
                self._idle.append(task.result()[0])
            raise

    def _start(self, commands: list[list[bytes]]) -> _Start:
        """Connect and ask beside the search, which both may keep too long together where an answer alone would not."""

        async def start() -> tuple[Connection, list[Value]]:
            connection = self._connect(timeout_s=max(_CONNECT_S, self._deadline_s))
            return connection, await connection.ask(commands)

        task = asyncio.create_task(start())
        self._starting.add(task)
        task.add_done_callback(self._has_started)
        return task

    def _has_started(self, task: _Start) -> None:
        self._starting.discard(task)
        if task not in self._left:
            return  # somebody waits for it
        self._left.remove(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._idle.append(task.result()[0])
        elif not self._why:
            self._failed(str(error))

    def _end_idle(self) -> None:
        for each in self._idle:
            each.close()
        self._idle.clear()

    async def _opened(self, name: str, box: Value) -> bytes | None:
        if box == b"":
            return None
        try:
            if not isinstance(box, bytes) or len(box) > self._entry_bytes:
                raise EntryBroken("a cached answer is larger than this gateway keeps")
            if len(box) < _OPENED_IN_THREAD:
                return self._sealing().open(name, box)
            return await asyncio.to_thread(self._sealing().open, name, box)
        except EntryBroken as error:
            self._broken(error.message)
            return None

    # writing

    async def _write(self, name: str, data: bytes, ttl_s: float) -> None:
        if self._now_s() < self._write_rest_until_s or not self._may_ask():
            self._counts["dropped"] += 1
            return
        try:
            sealing = self._sealing()
            if len(data) < _IN_THREAD:
                box = sealing.close(name, data)
            else:
                box = await asyncio.to_thread(sealing.close, name, data)
            if len(box) > self._entry_bytes:
                self._counts["dropped"] += 1
                return
            until = b"%d" % max(1, int(ttl_s * 1000))
            command = [b"SET", self._prefix + sealing.name(name), box, b"PX", until]
            async with asyncio.timeout(_WRITE_S):
                said = await self._written([command])
            if said != [b"OK"]:
                self._writer.close()  # what it says next may be meant for this command
                raise RedisUnreachable("Redis neither takes an answer nor refuses it", hint="is it Redis 6 or later?")
        except RedisRefused as error:  # full, or a replica: it may well be read
            self._counts["failed"] += 1
            self._write_rest_until_s = self._now_s() + REST_S
            if not self._why_not_written:
                log.warning("cached answers are not shared: %s; asked again every %g s", error.message, REST_S)
            self._why_not_written = error.message
            self._works()
        except TimeoutError:
            self._failed(f"it did not take an answer in {_WRITE_S:g} s")
        except TetradError as error:
            self._failed(error.message)
        else:
            if self._why_not_written:
                log.warning("cached answers are shared again")
            self._why_not_written = ""
            self._counts["stored"] += 1
            self._works()

    async def _written(self, commands: list[list[bytes]]) -> list[Value]:
        was_open = self._writer.is_open
        try:
            return await self._writer.ask(commands)
        except RedisUnreachable:  # as in `_talk`
            if not was_open:
                raise
            self._end_idle()
            return await self._writer.ask(commands)

    # how the server does

    def _may_ask(self) -> bool:
        now = self._now_s()
        if now < self._rest_until_s:
            return False
        if self._why:  # one asks whether it is back; the others go on without until that is known
            self._rest_until_s = now + _PROBE_S
        return True

    def _late(self, search: _Search) -> None:
        """Note that a search took too long, which is the server's fault only where it was the one to be waited for."""
        works = self._asked and not self._why
        if search.at == "asking" or (search.at == "connecting" and not works):
            self._failed(f"it did not answer in {self._deadline_s:g} s")
        else:
            self._counts["passed"] += 1

    def _failed(self, why: str) -> None:
        self._counts["failed"] += 1
        if not self._why:
            log.warning("shared answers are not looked for: %s; asked again every %g s", why, REST_S)
        self._why = why
        self._rest_until_s = self._now_s() + REST_S
        self._end_idle()  # they may be as dead as the one that said nothing

    def _works(self) -> None:
        if self._why:
            log.warning("shared answers are looked for again")
        self._asked, self._why, self._rest_until_s = True, "", 0.0

    def _broken(self, why: str) -> None:
        if not self._counts["broken"]:
            log.warning("an entry of the shared cache is passed over: %s; further ones are only counted", why)
        self._counts["broken"] += 1
        self._end_idle()  # should it be an answer to another question, the next ones would be, too

    def _sealing(self) -> Sealer:
        if self._sealer is None:
            self._sealer = Sealer(self._keyring(), most_bytes=self._unpacked_bytes)
        return self._sealer
