"""Similar questions, asked of the inference process; where it is slow or gone, nothing is similar."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tetrad.kernel import TetradError
from tetrad.kit.upstream import Client, PreparedRequest, Timeouts, parse_address

log = logging.getLogger(__name__)
_REST_S = 5.0
_ADD_S = 30.0
_MOST_ANSWER = 65_536


class _Nearest(msgspec.Struct, frozen=True):
    key: str | None = None
    score: float = 0.0


_nearest = msgspec.json.Decoder(_Nearest)


class InferenceSimilar:
    """`SimilarQuestions` over the inference process's socket.

    After a failure nobody is asked for five seconds: a dead or loading embedder must not cost every request the
    deadline.
    """

    def __init__(
        self,
        client: Client,
        socket: Path,
        *,
        deadline_s: float,
        now_s: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
    ) -> None:
        address = parse_address(f"unix://{socket}#/v1")
        headers = [("content-type", "application/json")]
        self._find = client.prepare("POST", address, "/similar", headers)
        self._add = client.prepare("POST", address, "/similar/entries", headers)
        self._client = client
        self._deadline_s = deadline_s
        self._now_s = now_s
        self._rest_until_s = 0.0
        self.failures = 0

    async def find(self, partition: str, text: str, threshold: float) -> tuple[bytes, float] | None:
        """Return the nearest question's key and cosine; see `SimilarQuestions`."""
        if self._now_s() < self._rest_until_s:
            return None
        body = await self._ask(
            self._find, {"partition": partition, "text": text, "threshold": threshold}, self._deadline_s
        )
        with contextlib.suppress(msgspec.MsgspecError, ValueError):
            found = _nearest.decode(body)
            if found.key is not None and threshold <= found.score <= 1:
                return bytes.fromhex(found.key), found.score
        return None

    async def add(self, partition: str, text: str, key: bytes, ttl_s: int) -> None:
        """Remember a question; see `SimilarQuestions`."""
        await self._ask(self._add, {"partition": partition, "text": text, "key": key.hex(), "ttl_s": ttl_s}, _ADD_S)

    async def _ask(self, request: PreparedRequest, what: dict[str, Any], deadline_s: float) -> bytes:
        try:
            async with asyncio.timeout(deadline_s):
                timeouts = Timeouts(
                    connect_s=deadline_s, first_byte_s=deadline_s, idle_s=deadline_s, total_s=deadline_s
                )
                response = await self._client.send(request, msgspec.json.encode(what), timeouts=timeouts)
                try:
                    body = await response.read_all(_MOST_ANSWER)
                finally:
                    response.close()
        except (TetradError, TimeoutError) as error:
            self._note_failure(error)
            return b""
        if response.status != 200:
            if response.status >= 429:
                self._note_failure(f"it answered {response.status}")
            return b""
        return body

    def _note_failure(self, why: object) -> None:
        self.failures += 1
        if self._now_s() >= self._rest_until_s:
            log.warning("similar questions are not looked for during %g s: %s", _REST_S, str(why) or "it is too slow")
        self._rest_until_s = self._now_s() + _REST_S
