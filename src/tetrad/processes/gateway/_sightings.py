"""Definitions of tools that are not the approved ones: remembered by the worker, told to control."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from tetrad.kernel import TetradError
from tetrad.kit.upstream import Address, Client, Timeouts
from tetrad.serving import ToolServerRoute
from tetrad.tools import Seen

log = logging.getLogger(__name__)

PATH = "/internal/v1/tool-sightings"
MAX_WAITING = 500
MAX_AT_ONCE = 50
_MAX_TOLD = 5000
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 30.0
_TIMEOUTS = Timeouts(connect_s=2.0, first_byte_s=5.0, idle_s=5.0, total_s=10.0)

Place = tuple[str, str, str]


class ToolSightings:
    """`tetrad.tools.Sightings` that tells control, in the background; `run` until cancelled.

    What there is no room for is dropped: the next listing shows it again.
    """

    def __init__(self, client: Client, control: Address, token: Callable[[], str]) -> None:
        self._client = client
        self._control = control
        self._token = token
        self._drifted: dict[tuple[str, str], dict[str, str]] = {}
        self._waiting: dict[Place, Seen] = {}
        self._told: dict[Place, str] = {}
        self._wake = asyncio.Event()
        self._failed = False

    def drifted(self, server: ToolServerRoute) -> Mapping[str, str]:
        """Return the digests last seen of the server's approved tools, as far as they were ever another."""
        return self._drifted.get((server.project, server.name), {})

    def note(self, server: ToolServerRoute, shown: list[Seen]) -> None:
        """Take in what a listing showed."""
        for seen in shown:
            pinned = server.pins.get(seen.name)
            if pinned is not None:
                self._remember(server, seen, pinned)
            place = (server.project, server.name, seen.name)
            if pinned == seen.digest and seen.name not in server.changed:
                self._told.pop(place, None)
            elif self._told.get(place) != seen.digest and len(self._waiting) < MAX_WAITING:
                self._waiting[place] = seen
                self._wake.set()

    def _remember(self, server: ToolServerRoute, seen: Seen, pinned: str) -> None:
        drifted = self._drifted.setdefault((server.project, server.name), {})
        if seen.digest != pinned:
            if drifted.get(seen.name) != seen.digest:
                log.warning(
                    "the definition of the tool %r of the MCP server %r of %r is not the approved one",
                    seen.name, server.name, server.project,
                )  # fmt: skip
            drifted[seen.name] = seen.digest
        elif seen.name in drifted or seen.name in server.changed:
            drifted[seen.name] = seen.digest

    async def run(self) -> None:
        """Tell for ever; what cannot be told waits, with growing pauses."""
        wait_s = _FIRST_WAIT_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if await self.tell():
                    wait_s = _FIRST_WAIT_S
                else:
                    await asyncio.sleep(wait_s)
                    wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def tell(self) -> bool:
        """Tell control what waits, as much as goes into one message; tell whether control has it."""
        batch = list(self._waiting.items())[:MAX_AT_ONCE]
        body = msgspec.json.encode(
            [
                {
                    "project": project, "server": server, "tool": tool, "digest": seen.digest,
                    "definition": msgspec.Raw(seen.definition),
                }
                for (project, server, tool), seen in batch
            ]
        )  # fmt: skip
        try:
            headers = [("authorization", f"Bearer {self._token()}"), ("content-type", "application/json")]
            request = self._client.prepare("POST", self._control, PATH, headers)
            response = await self._client.send(request, body, timeouts=_TIMEOUTS)
            said = await response.read_all(65_536)
            if response.status >= 500:
                raise TetradError(f"it answered {response.status}")
        except (TetradError, OSError) as error:
            if not self._failed:
                log.warning("control was not told of changed tools: %s", error)
            self._failed = True
            return False
        self._failed = False
        if response.status >= 300:  # it will never take these; the rest must not wait for them
            log.error(
                "control refuses to hear of tools (%d): %s", response.status, said[:300].decode("utf-8", "replace")
            )
        for place, seen in batch:
            if self._waiting.get(place) is seen:
                del self._waiting[place]
            if len(self._told) >= _MAX_TOLD:
                self._told.clear()
            self._told[place] = seen.digest
        return True
