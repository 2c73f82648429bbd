"""Follow the route tables that control publishes; start from the last one on disk when control is away."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from tetrad.kernel import TetradError
from tetrad.kit.seal import Keyring, SealBroken
from tetrad.kit.upstream import Address, BrokenAnswer, Client, Timeouts
from tetrad.serving import ROUTE_TABLE_AAD, RouteTable, decode_route_table

log = logging.getLogger(__name__)

PATH = "/internal/v1/route-table/stream"
MAX_FRAME_BYTES = 256 * 1024 * 1024
_TIMEOUTS = Timeouts(connect_s=3.0, first_byte_s=10.0, idle_s=15.0, total_s=float(10**9))
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0
_SAY_EVERY_S = 30.0
_LENGTH = 4


class TableClient:
    """Keep the newest table installed. `install` compiles and swaps; what it refuses is neither kept nor used."""

    def __init__(
        self,
        *,
        client: Client,
        control: Address,
        token: Callable[[], str],
        keyring: Callable[[], Keyring],
        sealed_path: Path,
        install: Callable[[RouteTable], None],
    ) -> None:
        self._client = client
        self._control = control
        self._token = token
        self._keyring = keyring
        self._sealed_path = sealed_path
        self._install = install
        self._current: RouteTable | None = None
        self.connected = False

    def load(self) -> bool:
        """Install the table on disk, if there is a good one; tell whether."""
        try:
            sealed = self._sealed_path.read_bytes()
        except FileNotFoundError:
            log.info("no route table on disk yet; waiting for control")
            return False
        except OSError as error:
            log.warning("the route table on disk cannot be read (%s); waiting for control", error)
            return False
        try:
            return self._accept(sealed)
        except TetradError as error:
            log.warning("the route table on disk is unusable (%s); waiting for control", error.message)
            return False

    async def run(self) -> None:
        """Follow control for ever, reconnecting with growing pauses."""
        wait_s = _FIRST_WAIT_S
        say_at = 0.0
        while True:
            before = self._current
            try:
                await self._follow()
                reason = "control ended the stream"
            except TetradError as error:
                reason = error.message
            except OSError as error:
                reason = str(error)
            if self.connected or self._current is not before:
                wait_s = _FIRST_WAIT_S
            now = asyncio.get_running_loop().time()
            if self.connected or now >= say_at:
                say_at = now + _SAY_EVERY_S
                log.warning("no route tables from control: %s; serving by %s", reason, self._described())
            self.connected = False
            await asyncio.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 - spreads reconnections, guards nothing
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def _follow(self) -> None:
        headers = [("authorization", f"Bearer {self._token()}")]
        request = self._client.prepare("GET", self._control, PATH, headers)
        response = await self._client.send(request, timeouts=_TIMEOUTS)
        try:
            if response.status != 200:
                body = (await response.read_all(65_536))[:300].decode("utf-8", "replace")
                raise BrokenAnswer(f"it answered {response.status}: {body}")
            self.connected = True
            buffer = bytearray()
            while piece := await response.read():
                buffer += piece
                if (sealed := self._take_frames(buffer)) is not None:
                    # The disk may take long; requests, and the table that they go by, must not wait for it.
                    await asyncio.to_thread(self._keep, sealed)
        finally:
            response.close()

    def _take_frames(self, buffer: bytearray) -> bytes | None:
        """Install what came whole, in its order; return the newest table that is in force now, to be kept on disk."""
        newest: bytes | None = None
        while len(buffer) >= _LENGTH:
            length = int.from_bytes(buffer[:_LENGTH], "big")
            if length > MAX_FRAME_BYTES and newest is not None:
                break  # what came before it is kept first; the next look at the buffer refuses
            if length > MAX_FRAME_BYTES:
                raise BrokenAnswer(f"it announced a table of {length:,} bytes")
            if len(buffer) < _LENGTH + length:
                break
            sealed = bytes(buffer[_LENGTH : _LENGTH + length])
            del buffer[: _LENGTH + length]
            if not sealed:
                continue  # a heartbeat
            try:
                fresh = self._accept(sealed)
            except TetradError as error:
                log.error(  # noqa: TRY400 - the message says it all
                    "control sent a route table that cannot be used (%s); serving by %s",
                    error.message,
                    self._described(),
                )
                continue
            if fresh:
                newest = sealed
        return newest

    def _accept(self, sealed: bytes) -> bool:
        try:
            table = decode_route_table(self._keyring().unseal(sealed, ROUTE_TABLE_AAD))
        except msgspec.MsgspecError as error:
            raise SealBroken(
                f"it is not a route table of this version: {error}", hint="update gateways with control"
            ) from None
        current = self._current
        if current is not None and table.epoch == current.epoch and table.version <= current.version:
            if table.version < current.version:
                log.warning("control sent route table %d, older than %d; ignored", table.version, current.version)
            return False
        self._install(table)
        self._current = table
        return True

    def _keep(self, sealed: bytes) -> None:
        path = self._sealed_path
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            log.error(  # noqa: TRY400 - the message says it all
                "the route table cannot be kept on disk (%s): a restart without control would find an old one", error
            )

    def _described(self) -> str:
        return "nothing yet" if self._current is None else f"table {self._current.version}"
