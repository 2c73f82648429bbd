"""A pool of connections per origin, newest first, bounded, with a bounded queue before it."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from tetrad.kit.egress import EgressRefused, Reach
from tetrad.kit.upstream._address import Address, Origin
from tetrad.kit.upstream._connection import Connection, Response
from tetrad.kit.upstream._errors import BadRequest, ConnectFailed, ConnectionLost, NotAllowed, UpstreamBusy
from tetrad.kit.upstream._limits import Limits, Timeouts

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection", b"host", b"upgrade", b"expect"))
_IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"))
_SWEEP_S = 5.0
MAX_ADDRESSES = 16
"""Of a name with more addresses the first ones are tried; the bound on connecting covers them all."""
_WATCH_S = 0.01
"""The least time between two looks at the deadlines of all calls of a pool."""
STALE_S = 1.0
"""A reused connection that dies this soon after the request was written had been closed before it was read."""


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request line and headers, checked and encoded once; every call adds its length and body."""

    method: str
    origin: Origin
    head: bytes = field(repr=False)  # it holds the upstream's key
    reach: Reach | None = None


class Client:
    """Send requests over pooled HTTP/1.1 connections. One per event loop; origins share nothing but the client.

    Addresses carry how far their connections may reach. With `bounded`, an address that carries nothing may be on the
    public internet only, sockets of this machine excepted: what forgets to say it reaches nothing that it must not.
    """

    def __init__(
        self, limits: Limits | None = None, *, ssl_context: ssl.SSLContext | None = None, bounded: bool = False
    ) -> None:
        self._limits = limits or Limits()
        self._ssl = ssl_context
        self._default = Reach() if bounded else None
        self._pools: dict[tuple[Origin, str, str], _Pool] = {}
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @staticmethod
    def prepare(method: str, address: Address, path: str, headers: Iterable[tuple[str, str]] = ()) -> PreparedRequest:
        """Encode all of a request that does not change from call to call.

        Refuses with `BadRequest` names and values that could change what the upstream reads: line breaks, framing
        headers, control characters.
        """
        if not re.fullmatch(r"[A-Z]{3,10}", method):
            raise BadRequest(f"{method!r} is no method")
        lines = [
            f"{method} {address.target(path)} HTTP/1.1".encode("ascii"),
            b"host: " + address.authority.encode("ascii"),
            b"accept-encoding: identity",
        ]
        for name, value in headers:
            key, text = name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace")
            if not _TOKEN.fullmatch(key) or key in _FRAMING:
                raise BadRequest(f"{name!r} cannot be sent as a header")
            if not _VALUE.fullmatch(text):
                raise BadRequest(f"the value of the header {name!r} has characters that cannot be sent")
            lines.append(key + b": " + text)
        return PreparedRequest(method, address.origin, b"\r\n".join(lines) + b"\r\n", address.reach)

    async def send(
        self,
        request: PreparedRequest,
        body: bytes | memoryview = b"",
        *,
        timeouts: Timeouts | None = None,
        max_connections: int | None = None,
        pool: str = "",
    ) -> Response:
        """Send a request and return its answer once the head is there; the caller reads it to the end or closes it.

        A reused connection that turns out to be closed gives way, once, to a fresh one: always where the method is
        idempotent, else only where it died within `STALE_S` of the request and not one byte of an answer had come.
        Cancelling closes the connection. Calls of one `pool` share connections and `max_connections`; two providers on
        one origin have a pool each, so that neither waits for the other or takes its limit.
        """
        bounds = timeouts or Timeouts()
        loop = self._loop
        if loop is None:  # asked once: the answer costs a system call
            loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        total_at = now + bounds.total_s
        if body or request.method not in ("GET", "HEAD"):
            head = b"%bcontent-length: %d\r\n\r\n" % (request.head, len(body))
        else:
            head = request.head + b"\r\n"
        reach = request.reach
        places = self._pools.get((request.origin, pool, "" if reach is None else reach.key))
        if places is None or self._closed or max_connections != places.max_connections:
            places = self._pool(request, pool, max_connections)
        fresh = False
        while True:
            connection = None if fresh else places.take()
            if connection is None:
                connection = await places.acquire(bounds, fresh=fresh)
                now = loop.time()
            reused = connection.served > 0
            try:
                response = connection.begin(head, body, request.method == "HEAD", bounds, now, total_at)
                await response.head()
                return response
            except ConnectionLost as error:
                stale = request.method in _IDEMPOTENT or loop.time() - now < STALE_S
                if fresh or not reused or error.received or not stale:
                    raise
                fresh = True

    async def upload(
        self, request: PreparedRequest, pieces: AsyncIterator[bytes], *, timeouts: Timeouts | None = None
    ) -> Response:
        """Send a body that does not fit memory, and return the answer once its head is there.

        Each piece is sent when the one before it has left; whatever `TetradError` they raise is raised here. They
        cannot be sent twice, so their connection is a fresh one. An answer that comes before the end of the body ends
        it, and the connection is not used again.
        """
        bounds = timeouts or Timeouts()
        connection = await self._pool(request, "", None).acquire(bounds, fresh=True)
        head = request.head + b"transfer-encoding: chunked\r\n\r\n"
        now = asyncio.get_running_loop().time()
        return await connection.upload(head, pieces, bounds, now, now + bounds.total_s)

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Return (open, idle, waiting) by origin, over all of its pools."""
        found: dict[str, tuple[int, int, int]] = {}
        for (origin, _, _), pool in self._pools.items():
            opened, idle, waiting = found.get(str(origin), (0, 0, 0))
            found[str(origin)] = (opened + pool.open, idle + len(pool.idle), waiting + len(pool.waiting))
        return found

    async def close(self) -> None:
        """End every connection; calls in progress fail."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        await asyncio.sleep(0)  # lets transports tell their protocols

    def _pool(self, request: PreparedRequest, name: str, max_connections: int | None) -> _Pool:
        if self._closed:
            raise UpstreamBusy("the client is closed")
        origin, reach = request.origin, request.reach
        kept = (origin, name, "" if reach is None else reach.key)
        pool = self._pools.get(kept)
        if pool is None:
            if reach is None and origin.scheme != "unix":
                reach = self._default
            context = None
            if origin.scheme == "https":
                context = self._trusting(reach)
            pool = self._pools[kept] = _Pool(origin, self._limits, context, reach)
        if max_connections is not None:
            pool.max_connections = max_connections
        return pool

    def _trusting(self, reach: Reach | None) -> ssl.SSLContext:
        """Certificates and names are always checked; `reach` may only say by whom they have to be signed."""
        if reach is not None and reach.ca:
            return ssl.create_default_context(cadata=reach.ca)
        if self._ssl is None:
            self._ssl = ssl.create_default_context()
        return self._ssl


class _Pool:
    """The connections of one pool of an origin. `open` counts those being made, in use and idle."""

    def __init__(self, origin: Origin, limits: Limits, ssl_context: ssl.SSLContext | None, reach: Reach | None) -> None:
        self.origin = origin
        self._reach = reach
        self.max_connections = limits.max_connections
        self.open = 0
        self.idle: list[Connection] = []
        self.waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._limits = limits
        self._ssl = ssl_context
        self._all: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self.watched_at = math.inf
        self._watcher: asyncio.TimerHandle | None = None

    def take(self) -> Connection | None:
        """Return an idle connection, the newest first; None where there is none."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def acquire(self, bounds: Timeouts, *, fresh: bool) -> Connection:
        """Return a connection that is free for a request; `fresh`: one that has served none."""
        if not fresh and (connection := self.take()) is not None:
            return connection
        if self.open >= self.max_connections and self.idle:
            self.idle.pop(0).abort()  # its place is free as soon as the loop turns; one more for that long is fine
            return await self._connect(bounds)
        if self.open < self.max_connections:
            return await self._connect(bounds)
        given = await self._queue(bounds.connect_s)
        if given is None:
            self.open -= 1  # the place was kept for us
            return await self._connect(bounds)
        if fresh or not given.usable:
            given.abort()
            return await self._connect(bounds)
        return given

    async def _queue(self, timeout_s: float) -> Connection | None:
        if len(self.waiting) >= self._limits.max_waiting:
            raise UpstreamBusy(
                f"{self.origin} has {self.max_connections} calls under way and {len(self.waiting)} waiting",
                hint="try again later, or raise the upstream's max_connections",
                retry_after_s=1.0,
            )
        loop = asyncio.get_running_loop()
        place: asyncio.Future[Connection | None] = loop.create_future()
        self.waiting.append(place)
        try:
            async with asyncio.timeout(timeout_s):
                return await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._give_back(place.result())
            elif place in self.waiting:
                self.waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise UpstreamBusy(
                    f"no connection to {self.origin} became free within {timeout_s:g} s",
                    hint="try again later, or raise the upstream's max_connections",
                    retry_after_s=1.0,
                ) from None
            raise

    def _give_back(self, given: Connection | None) -> None:
        if given is None:
            self.open -= 1
            self._wake()
        else:
            self.release(given)

    async def _connect(self, bounds: Timeouts) -> Connection:
        self.open += 1
        loop = asyncio.get_running_loop()

        def factory() -> Connection:
            return Connection(loop, self._limits, self)

        try:
            async with asyncio.timeout(bounds.connect_s):
                if self.origin.scheme == "unix":
                    _, connection = await loop.create_unix_connection(factory, self.origin.host)
                else:
                    connection = await self._dial(loop, factory)
        except BaseException as error:
            self.open -= 1
            self._wake()
            if isinstance(error, TimeoutError):
                raise ConnectFailed(
                    f"{self.origin} did not accept a connection within {bounds.connect_s:g} s"
                ) from None
            if isinstance(error, OSError):
                raise ConnectFailed(f"cannot connect to {self.origin}: {_plain(error)}") from None
            raise
        if connection.gone:  # closed between the handshake and now; nobody else will count it
            self.open -= 1
            self._wake()
            raise ConnectFailed(f"{self.origin} closed the connection as soon as it was made")
        self._all.add(connection)
        return connection

    async def _dial(self, loop: asyncio.AbstractEventLoop, factory: Callable[[], Connection]) -> Connection:
        """Connect to the host, or, where the reach is bounded, to an address of it that was looked at.

        The name is resolved once, and what was looked at is what is connected to: a name that resolves otherwise a
        moment later gains nothing.
        """
        host, port, reach = self.origin.host, self.origin.port, self._reach
        name = host if self._ssl else None
        if reach is None or reach.own:
            _, connection = await loop.create_connection(factory, host, port, ssl=self._ssl, server_hostname=name)
            return connection
        failed: OSError | None = None
        for address in await self._addresses(loop, reach):
            try:
                transport, connection = await loop.create_connection(
                    factory, address, port, ssl=self._ssl, server_hostname=name
                )
            except OSError as error:
                failed = failed or error
                continue
            peer = transport.get_extra_info("peername")
            if not peer or ipaddress.ip_address(peer[0]) != ipaddress.ip_address(address):
                connection.abort()
                raise NotAllowed(f"{self.origin} was answered from elsewhere than the address that was looked at")
            return connection
        raise failed or OSError("its name has no address")

    async def _addresses(self, loop: asyncio.AbstractEventLoop, reach: Reach) -> list[str]:
        """Resolve the host; all of its addresses must be allowed, so that it does not matter which one is taken."""
        try:
            host = reach.check_host(self.origin.host)
            found = await loop.getaddrinfo(host, self.origin.port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))[:MAX_ADDRESSES]
            for address in addresses:
                reach.check_address(ipaddress.ip_address(address), self.origin.host)
        except EgressRefused as refusal:
            said = refusal.message.replace(repr(self.origin.host), str(self.origin))
            raise NotAllowed(said, hint=refusal.hint) from None
        return addresses

    def release(self, connection: Connection) -> None:
        """Take back a connection after a whole answer."""
        if not connection.usable or self.open > self.max_connections:
            connection.abort()
            return
        while self.waiting:
            place = self.waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return
        connection.idle_since = connection.loop.time()
        self.idle.append(connection)
        if self._sweeper is None:
            self._sweeper = connection.loop.call_later(_SWEEP_S, self._sweep)

    def watch(self, at: float) -> None:
        """Look at the deadlines of all calls then, or earlier: one timer for all, since hardly any ever passes."""
        if at >= self.watched_at:
            return
        self.watched_at = at
        if self._watcher is not None:
            self._watcher.cancel()
        self._watcher = asyncio.get_running_loop().call_at(at, self._check)

    def _check(self) -> None:
        self._watcher, self.watched_at = None, math.inf
        now = asyncio.get_running_loop().time()
        due = [at for connection in list(self._all) if (at := connection.check(now)) is not None]
        if due:
            self.watch(max(min(due), now + _WATCH_S))

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher, self.watched_at = None, math.inf
        for connection in list(self._all):
            connection.abort()
        self.idle.clear()

    def lost(self, connection: Connection) -> None:
        if connection not in self._all:
            return  # it ended while it was being made; whoever makes it counts that
        self._all.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self.open -= 1
        self._wake()

    def _wake(self) -> None:
        """Offer a free place to whoever waits longest."""
        while self.waiting and self.open < self.max_connections:
            place = self.waiting.popleft()
            if not place.done():
                self.open += 1
                place.set_result(None)
                return

    def _sweep(self) -> None:
        self._sweeper = None
        if not self.idle:
            return
        loop = self.idle[-1].loop
        oldest = loop.time() - self._limits.keep_alive_s
        for connection in [c for c in self.idle if c.idle_since < oldest]:
            self.idle.remove(connection)
            connection.abort()
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)


def _plain(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return error.strerror or str(error) or type(error).__name__
