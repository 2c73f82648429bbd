"""Tell control how routes, MCP servers and shared answers do and which keys were used; requests never wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from tetrad.kernel import TetradError
from tetrad.kit.upstream import Address, Client, Timeouts
from tetrad.serving import GatewayHealth, KeyUses

log = logging.getLogger(__name__)

EVERY_S = 5.0
_TIMEOUTS = Timeouts(connect_s=2.0, first_byte_s=5.0, idle_s=5.0, total_s=10.0)


class HealthTeller:
    """Send a report every few seconds while there is anything to tell.

    A report that is lost is not sent again; only the uses of keys wait until control has them.
    """

    def __init__(
        self,
        name: str,
        health: Callable[[], GatewayHealth],
        *,
        uses: Callable[[], KeyUses],
        client: Client,
        control: Address,
        token: Callable[[], str],
    ) -> None:
        self._path = f"/internal/v1/gateways/{quote(name, safe='')}/health"
        self._health = health
        self._uses = uses
        self._client = client
        self._control = control
        self._token = token
        self._failed = False
        self._told_rests = False

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.tell()

    async def flush(self, timeout_s: float) -> None:
        """Tell control of all uses of keys that it has not heard of, before the worker ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.tell(last=True)

    async def tell(self, *, last: bool = False) -> bool:
        """Tell once; return whether control has it. Nothing is sent where nothing is known."""
        uses = self._uses()
        told = uses.take(time.time_ns(), all_of_them=last)
        health = msgspec.structs.replace(self._health(), uses=told)
        known = health.targets or health.keys or health.rests or health.answers is not None
        if not (known or told or self._told_rests):
            return False
        heard = False
        try:
            heard = await self._send(health)
        finally:
            if not heard:
                uses.give_back(told)
        self._told_rests = bool(health.rests) or (self._told_rests and not heard)
        return heard

    async def _send(self, health: GatewayHealth) -> bool:
        try:
            headers = [("authorization", f"Bearer {self._token()}"), ("content-type", "application/json")]
            request = self._client.prepare("PUT", self._control, self._path, headers)
            response = await self._client.send(request, msgspec.json.encode(health), timeouts=_TIMEOUTS)
            body = await response.read_all(65_536)
            if response.status >= 300:
                raise TetradError(f"control answered {response.status}: {body[:300].decode('utf-8', 'replace')}")
        except (TetradError, OSError) as error:
            if not self._failed:
                log.warning("control was not told how the targets of routes do: %s", error)
            self._failed = True
            return False
        self._failed = False
        return True
