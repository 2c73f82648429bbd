"""Ship what the spool holds to control, in order, until it says that it has it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import msgspec

from tetrad.kernel import TetradError
from tetrad.kit.spool import SpoolFolder, SpoolWriter
from tetrad.kit.upstream import Address, Client, Timeouts
from tetrad.traces import whole_frames

log = logging.getLogger(__name__)

CHUNK_BYTES = 512 * 1024
_LARGEST_CHUNK = 64 * 1024 * 1024
_TIMEOUTS = Timeouts(connect_s=3.0, first_byte_s=30.0, idle_s=15.0, total_s=60.0)
_PAUSE_S = 0.15
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0
_LOOK_FOR_LEFT_S = 30.0
_SAY_EVERY_S = 30.0
_POISON = frozenset((400, 413, 415, 422))


class NotTaken(Exception):
    """Control did not take a chunk; it stays where it is."""


class Shipper:
    """Move the frames of this worker's folder, and of folders whose worker is gone, to control."""

    def __init__(
        self,
        writer: SpoolWriter,
        root: Path,
        *,
        client: Client,
        control: Address,
        token: Callable[[], str],
        shipped: Callable[[int], None],
    ) -> None:
        self._writer = writer
        self._root = root
        self._client = client
        self._control = control
        self._token = token
        self._shipped = shipped
        self._left: list[SpoolFolder] = []
        self._look_at = 0.0

    async def run(self) -> None:
        """Ship for ever; failures wait, with growing pauses."""
        wait_s = _FIRST_WAIT_S
        say_at = 0.0
        while True:
            try:
                await self.ship_all()
            except (NotTaken, OSError) as error:
                now = asyncio.get_running_loop().time()
                if now >= say_at:
                    say_at = now + _SAY_EVERY_S
                    log.warning("spans stay in the spool (%d bytes): %s", self._writer.folder.bytes, error)
                await asyncio.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 - spreads retries, guards nothing
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                wait_s = _FIRST_WAIT_S
                await asyncio.sleep(_PAUSE_S)

    async def flush(self, deadline_s: float) -> None:
        """Ship what is left before the process ends, as far as time allows; a successor ships the rest."""
        self._writer.roll()
        try:
            async with asyncio.timeout(deadline_s):
                await self.ship_all()
        except (NotTaken, OSError) as error:  # a TimeoutError is one
            log.warning("%d bytes of spans stay in the spool for the next start: %s", self._writer.folder.bytes, error)

    async def ship_all(self) -> None:
        """Ship everything that is there now; raises `NotTaken` when control does not take it."""
        self._writer.roll_if_old()
        await self._ship_folder(self._writer.folder)
        now = asyncio.get_running_loop().time()
        if now >= self._look_at:
            self._look_at = now + _LOOK_FOR_LEFT_S
            self._left += SpoolFolder.claim_left(self._root)
        while self._left:
            folder = self._left[0]
            if folder.segments():
                log.info("shipping what the worker of spool %s left", folder.name)
            await self._ship_folder(folder)
            folder.close()
            del self._left[0]

    def close(self) -> None:
        """Let go of all folders."""
        for folder in self._left:
            folder.close()
        self._writer.roll()
        self._writer.folder.close()

    async def _ship_folder(self, folder: SpoolFolder) -> None:
        for segment in folder.segments():
            await self._ship_segment(folder, segment)

    async def _ship_segment(self, folder: SpoolFolder, segment: str) -> None:
        offset = folder.cursor(segment)
        size = CHUNK_BYTES
        while True:
            active = segment == self._writer.active and folder is self._writer.folder
            data = folder.read(segment, offset, size)
            if not data:
                break
            final = not active and len(data) < size
            consumed, faults = whole_frames(data, final=final)
            for fault in faults:
                log.error(
                    "segment %s of spool %s: %d bytes at %d are no span (%s); skipped",
                    segment, folder.name, fault.length, offset + fault.offset, fault.reason,
                )  # fmt: skip
            if not consumed:
                if len(data) == size and size < _LARGEST_CHUNK:
                    size *= 2  # one frame larger than a chunk
                    continue
                break
            taken = consumed
            if consumed > sum(fault.length for fault in faults):
                try:
                    taken = await self._post(folder.name, segment, offset, memoryview(data)[:consumed], final=final)
                except _Poisoned as error:
                    aside = folder.set_aside(segment, offset, data[:consumed])
                    log.error(  # noqa: TRY400 - the message says it all
                        "control will never take %d bytes of segment %s (%s); kept as %s",
                        consumed, segment, error, aside,
                    )  # fmt: skip
            offset += taken
            size = CHUNK_BYTES
            self._shipped(taken)
            folder.advance(segment, offset)
        if not (segment == self._writer.active and folder is self._writer.folder):
            folder.discard(segment)

    async def _post(self, worker: str, segment: str, offset: int, data: memoryview, *, final: bool) -> int:
        """Return how many of the bytes control has dealt with."""
        path = f"/internal/v1/spool/{quote(worker, safe='')}/{segment}?offset={offset}{'&final=true' if final else ''}"
        try:
            headers = [("authorization", f"Bearer {self._token()}"), ("content-type", "application/octet-stream")]
            request = self._client.prepare("POST", self._control, path, headers)
            response = await self._client.send(request, data, timeouts=_TIMEOUTS)
            body = await response.read_all(65_536)
        except (TetradError, OSError) as error:
            raise NotTaken(str(error)) from None
        if 200 <= response.status < 300:
            return self._receipt(body, offset, len(data))
        said = f"control answered {response.status}: {body[:300].decode('utf-8', 'replace')}"
        if response.status in _POISON:
            raise _Poisoned(said)
        raise NotTaken(said)

    @staticmethod
    def _receipt(body: bytes, offset: int, sent: int) -> int:
        try:
            taken = msgspec.json.decode(body, type=_Receipt).next_offset - offset
        except msgspec.MsgspecError:
            taken = 0
        if not 0 < taken <= sent:
            raise NotTaken(f"control did not say how far it came: {body[:300].decode('utf-8', 'replace')}")
        return taken


class _Receipt(msgspec.Struct, frozen=True):
    next_offset: int


class _Poisoned(Exception):
    """Control refuses these bytes for what they are; sending them again cannot help."""
