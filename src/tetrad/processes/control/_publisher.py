"""Compile the route table whenever something it is made of changed, and push it to every gateway."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from tetrad.kernel import Clock
from tetrad.kit.seal import Keyring
from tetrad.serving import ROUTE_TABLE_AAD, RouteTable, encode_route_table

log = logging.getLogger(__name__)
HEARTBEAT_S = 5.0
LONGEST_WAIT_S = 3600.0
RETRY_S = 30.0


class RouteTablePublisher:
    """Hold the newest sealed table; `changed()` may be called from any thread and returns at once.

    `due` tells the first moment after another at which the table differs without a change, such as a price that begins.
    Changes that arrive while a table is being compiled are covered by one more compilation, so a burst costs two.
    A compilation that fails leaves the last good table in force and says so in the log and in `error`.
    """

    def __init__(
        self,
        compile_table: Callable[[int], RouteTable],
        keyring: Keyring,
        clock: Clock,
        *,
        due: Callable[[datetime], datetime | None] = lambda _after: None,
    ) -> None:
        self._compile = compile_table
        self._due = due
        self._compiled_at = clock.now()
        self._keyring = keyring
        self._clock = clock
        self._dirty = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="route-table", daemon=True)
        self._subscribers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()
        self.version = 0
        self.error = ""
        self.sealed = b""
        self.table: RouteTable | None = None

    def start(self) -> None:
        """Compile the first table (errors surface here) and begin to follow changes."""
        self._publish()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and all streams."""
        self.leave()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def leave(self) -> None:
        """Let every gateway's stream end; safe in a signal handler of the loop's thread."""
        self._stop.set()
        self._dirty.set()
        for event, loop in list(self._subscribers.items()):
            loop.call_soon_threadsafe(event.set)

    def changed(self) -> None:
        """Note that the table is out of date."""
        self._dirty.set()

    @property
    def gateways(self) -> int:
        """How many gateways listen now."""
        return len(self._subscribers)

    def _run(self) -> None:
        while True:
            self._wait()
            if self._stop.is_set():
                return
            self._dirty.clear()
            try:
                self._publish()
            except Exception as error:  # the last good table must stay in force whatever the new one trips over
                self.error = f"{type(error).__name__}: {error}"
                log.exception("the route table could not be compiled; the last one stays in force")

    def _wait(self) -> None:
        """Return when something changed, or when what the table is made of changes by itself at a time."""
        while True:
            longest = LONGEST_WAIT_S
            try:
                due = self._due(self._compiled_at)
            except Exception:  # a database that is away for a while must not end the thread
                log.exception("it is not known when the route table changes by itself; it is asked again")
                due, longest = None, RETRY_S
            left = longest if due is None else (due - self._clock.now()).total_seconds()
            if left <= 0 or self._dirty.wait(min(left, longest)):
                return

    def _publish(self) -> None:
        self._compiled_at = self._clock.now()
        version = max(self.version + 1, self._clock.now_ns())
        table = self._compile(version)
        sealed = self._keyring.seal(encode_route_table(table), ROUTE_TABLE_AAD)
        with self._lock:
            self.version, self.sealed, self.table, self.error = version, sealed, table, ""
            waiting = list(self._subscribers.items())
        for event, loop in waiting:
            loop.call_soon_threadsafe(event.set)
        log.info("route table %d published to %d gateways", version, len(waiting))

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield frames for one gateway: the newest table at once and after every change, heartbeats between."""
        event = asyncio.Event()
        loop = asyncio.get_running_loop()
        sent = -1
        with self._lock:
            self._subscribers[event] = loop
        try:
            while not self._stop.is_set():
                with self._lock:
                    version, sealed = self.version, self.sealed
                    event.clear()
                if version != sent and sealed:
                    yield len(sealed).to_bytes(4, "big") + sealed
                    sent = version
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await event.wait()
                except TimeoutError:
                    yield b"\0\0\0\0"
        finally:
            with self._lock:
                self._subscribers.pop(event, None)
