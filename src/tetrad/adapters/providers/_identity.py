"""The identity of the machine that a gateway runs on, as its cloud tells it: no key of it is in our store.

The addresses are link-local or come from the environment of the process, never from a provider: the egress policy,
which opens them to nobody, is not asked. Only administrators of the whole installation may configure such a login
(`docs/decisions/0018-providers.md`).
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from tetrad.adapters.providers._login import Login
from tetrad.kernel import UNREADABLE, Clock, InvalidInput, TetradError
from tetrad.kit.egress import OWN, EgressRefused, Reach, is_loopback
from tetrad.kit.upstream import Client, Response, Timeouts, UpstreamFailure, parse_address
from tetrad.serving import Upstream

T = TypeVar("T")
Ended = tuple[T, int]
"""What was fetched, and the nanosecond (Unix time) at which it ends."""

MAX_ANSWER, MAX_FILE = 65_536, 65_536
NEVER_NS = 1 << 63
TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=5.0, idle_s=5.0, total_s=10.0)
"""Such a service is on the machine, or a hop away: one that takes longer is not there."""
MAX_LIFE_NS = 12 * 3600 * 10**9
"""Whatever a service says, it is asked again after so long."""
_EARLY_NS, _LATE_NS = 300 * 10**9, 15 * 10**9
_AGAIN_NS, _RETRY_NS = 10**9, 30 * 10**9
_WORD = re.compile(r"[\x21-\x7e]{1,32768}")


class NoIdentity(UpstreamFailure):
    """The machine's cloud says nothing by which calls could be made. Nothing was sent to the upstream."""

    code = "upstream_no_identity"
    status = 503


class Said(NamedTuple):
    """An answer of a service of the cloud."""

    status: int
    body: bytes
    response: Response


class Kept(Generic[T]):
    """What is fetched and ends: one fetch at a time for all who wait, renewed before the end, never used past it.

    While what is there holds, nobody waits for its renewal. Who is cancelled does not cancel the fetch of the others.
    After a failure the same error is told for a second, so that a service that is gone is not asked by every call.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Ended[T]]], clock: Clock, whose: str) -> None:
        self._fetch = fetch
        self._clock = clock
        self._whose = whose
        self._found: Ended[T] | None = None
        self._made_ns = self._renew_ns = self._again_ns = self._failed_ns = 0
        self._failed: tuple[str, str] | None = None
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """Return what holds now; raises `NoIdentity` where there is none to be had."""
        now = self._clock.now_ns()
        found = self._found
        if found is not None and now < found[1]:
            if now >= self._renew_ns and now >= self._again_ns:
                self._begin()
            return found[0]
        if self._failed is None or now >= self._failed_ns + _AGAIN_NS:
            await asyncio.shield(self._begin())
        found = self._found
        if found is not None and self._clock.now_ns() < found[1]:
            return found[0]
        message, hint = self._failed or ("it ended as soon as it came", "check the clocks of both sides")
        raise NoIdentity(f"{self._whose} cannot be called as this machine: {message}", hint=hint)

    def forget(self) -> None:
        """Fetch another one for the next call, unless what was refused is that fresh that another would be the same."""
        if self._clock.now_ns() - self._made_ns >= _RETRY_NS:
            self._found = None

    def close(self) -> None:
        """End a fetch that is under way."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> asyncio.Task[None]:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._renew())
        return self._task

    async def _renew(self) -> None:
        try:
            value, end = await self._fetch()
        except TetradError as error:
            self._fail(error.message, error.hint)
            return
        now = self._clock.now_ns()
        if end - _LATE_NS <= now:
            self._fail("what its cloud says has ended already", "check the clock of this machine")
            return
        end = min(end, now + MAX_LIFE_NS)
        self._found = value, end - _LATE_NS
        self._made_ns, self._failed = now, None
        self._renew_ns = max(end - _EARLY_NS, now + (end - now) // 2)
        self._again_ns = now + _RETRY_NS

    def _fail(self, message: str, hint: str) -> None:
        self._failed = message, hint
        self._failed_ns = self._clock.now_ns()
        self._again_ns = self._failed_ns + _RETRY_NS


class Cloud:
    """Asks services of the machine's cloud; no egress policy is asked about where they are unless one is given."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(
        self,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        what: str,
        reach: Reach = OWN,
    ) -> Said:
        """Return the answer to a request, whatever its status; raises `NoIdentity` where there is none."""
        hint = (
            "gateways must run on a machine or in a pod that has an identity, and reach that service; in "
            "containers on EC2 the hop limit of its metadata must be 2 or more"
        )
        try:
            parts = urlsplit(url)
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            address = parse_address(f"{parts.scheme}://{parts.netloc}", reach)
            request = self._client.prepare(method, address, target, headers)
            response = await self._client.send(request, body, timeouts=TIMEOUTS, pool="identity")
            try:
                return Said(response.status, await response.read_all(MAX_ANSWER), response)
            except BaseException:
                response.close()
                raise
        except (TetradError, ValueError) as error:
            # what was asked may hold a token, so that only the kind of the failure is told
            code = error.code if isinstance(error, TetradError) else "bad_upstream_request"
            if isinstance(error, EgressRefused):
                hint = "list its host in TETRAD_EGRESS_ALLOW, if that is where tokens are to come from"
            raise NoIdentity(f"{what} gives no answer ({code})", hint=hint) from None


def unread(what: str) -> NoIdentity:
    """Return the failure of a service that answers with something else."""
    return NoIdentity(f"what {what} answers cannot be read", hint="check what answers at its address")


def refused(what: str, status: int, hint: str) -> NoIdentity:
    """Return the failure of a service that refuses."""
    return NoIdentity(f"{what} gives no credential ({status})", hint=hint)


def is_word(text: str) -> bool:
    """Tell whether a text can be a key or a token: printable, without blanks, of a bounded size."""
    return _WORD.fullmatch(text) is not None


async def read_file(path: str, variable: str) -> str:
    """Return the token in the file that a variable of the environment names; it is read anew each time it is needed."""
    try:
        text = (await asyncio.to_thread(read_bounded, Path(path), MAX_FILE)).decode("ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not is_word(text):
        raise NoIdentity(f"the file that {variable} names holds no token", hint=f"check {variable} of the gateway")
    return text


def read_bounded(path: Path, most: int) -> bytes:
    """Return what a file holds; raises `OSError`, or `ValueError` for more than `most` and for pipes and devices."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe that nobody writes to would hold us
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no file")
        data = b""
        while len(data) <= most and (part := os.read(fd, most + 1 - len(data))):
            data += part
    finally:
        os.close(fd)
    if len(data) > most:
        raise ValueError("it is too large")
    return data


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float | str | None = None
    expires_on: float | str | None = None


def token_in(said: Said, clock: Clock, what: str) -> Ended[str]:
    """Return the token of an answer in the words of OAuth, and when it ends; raises `NoIdentity` for what is none."""
    try:
        token = msgspec.json.decode(said.body, type=_Token)
        if token.expires_in is not None:
            end_ns = clock.now_ns() + int(float(token.expires_in) * 1e9)
        elif token.expires_on is not None:
            end_ns = int(float(token.expires_on) * 1e9)
        else:
            raise ValueError("it never ends")
    except (*UNREADABLE, ValueError, OverflowError):
        raise unread(what) from None
    if not is_word(token.access_token):
        raise unread(what)
    return token.access_token, end_ns


def as_machine(upstream: Upstream) -> None:
    """Raise `InvalidInput` where an upstream cannot be called as the machine: with a key besides, or without TLS."""
    if upstream.secret:
        raise InvalidInput(
            f"the upstream {upstream.name!r} has the login {upstream.auth!r}, which uses no secret, and is given one",
            hint="leave the secret out, here and in bindings, or choose another login",
            code="bad_login",
        )
    parts = urlsplit(upstream.base_url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise InvalidInput(
            f"the upstream {upstream.name!r} would be sent this machine's credential without TLS",
            hint="its base URL must begin with https://",
            code="bad_login",
        )


def kept_login(kept: dict[str, Login], key: Iterable[str], make: Callable[[], Login], most: int = 256) -> Login:
    """Return a login that outlives route tables: the one that is `kept`, or a new one."""
    name = "\n".join(key)
    found = kept.get(name)
    if found is None:
        if len(kept) >= most:
            kept.clear()
        found = kept[name] = make()
    return found


def variable(environ: Mapping[str, str], *names: str) -> str:
    """Return the first variable that says something, without blanks around it."""
    return next((text for name in names if (text := environ.get(name, "").strip())), "")
