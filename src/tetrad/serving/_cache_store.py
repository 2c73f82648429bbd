"""Where cached answers lie: in a worker's memory, and in files that the workers of one machine share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_SWEEP_S = 60.0
_OVERHEAD = 512
"""Bytes that an entry costs beside its texts, about."""


class CachedAnswer(msgspec.Struct, frozen=True, gc=False):
    """A whole, good answer as the client's protocol tells it, and what it cost to get.

    Events where it is a `stream`, with usage told whoever asked for it. `took_ns` is from the call to the last byte.
    """

    key: bytes
    stream: bool
    body: bytes
    made_ns: int
    expires_ns: int
    took_ns: int = 0
    content_type: str = "application/json"
    response_model: str = ""
    response_id: str = ""
    finish_reasons: tuple[str, ...] = ()
    output: bytes = b""
    tokens_in: int = 0
    tokens_out: int = 0
    cost: str | None = None
    currency: str = "USD"

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.body) + len(self.output) + _OVERHEAD


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CachedAnswer).decode


def encode_answer(answer: CachedAnswer) -> bytes:
    """Return the bytes by which a shared store keeps an answer."""
    return _encode(answer)


def decode_answer(data: bytes) -> CachedAnswer | None:
    """Read what `encode_answer` wrote; None for anything else."""
    try:
        return _decode(data)
    except msgspec.MsgspecError:
        return None


@dataclass(slots=True)
class CacheCounts:
    """What became of requests whose answers may be cached, since the start of the process."""

    results: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("hit", "similar", "joined", "miss", "refresh", "off"), 0)
    )
    found: dict[str, int] = field(default_factory=lambda: {"memory": 0})
    """Hits by the level that the answer was found in."""
    dropped: dict[str, int] = field(default_factory=dict)
    """What was not written, since too many writes to the same place were under way: by store, and `questions`."""
    stored: int = 0
    store_failures: int = 0
    saved_tokens: int = 0


class MemoryAnswers:
    """Answers by key and form, the least recently used gone first; at most so many bytes and entries."""

    def __init__(self, *, most_bytes: int, most_entries: int) -> None:
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._entries: OrderedDict[tuple[bytes, bool], CachedAnswer] = OrderedDict()
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, stream: bool, now_ns: int) -> CachedAnswer | None:
        """Return an answer that is still good."""
        found = self._entries.get((key, stream))
        if found is None:
            return None
        if found.expires_ns <= now_ns:
            self._drop((key, stream))
            return None
        self._entries.move_to_end((key, stream))
        return found

    def put(self, answer: CachedAnswer) -> None:
        """Keep an answer in the place of an earlier one; one that is larger than everything together is not kept."""
        place = answer.key, answer.stream
        if place in self._entries:
            self._drop(place)
        if answer.size > self._most_bytes:
            return
        self._entries[place] = answer
        self.bytes += answer.size
        while self.bytes > self._most_bytes or len(self._entries) > self._most_entries:
            self._drop(next(iter(self._entries)))
            self.evicted += 1

    def drop(self, key: bytes) -> None:
        """Forget an answer, in both forms."""
        for stream in (False, True):
            if (key, stream) in self._entries:
                self._drop((key, stream))

    def _drop(self, place: tuple[bytes, bool]) -> None:
        self.bytes -= self._entries.pop(place).size


class FileAnswers:
    """`SharedAnswers` in a folder of this machine: one file an answer, written whole or not at all.

    At most `most_bytes`, looked after once a minute and whenever this process wrote a tenth of that: what was not used
    for longest goes first. Only the owner can read it.
    """

    level = "disk"

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._written = 0
        self._swept_s = 0.0

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        """Return what lies under each name."""
        return await asyncio.to_thread(lambda: [self._read(name) for name in names])

    async def put(self, name: str, data: bytes, ttl_s: float) -> None:  # noqa: ARG002 - files go by use and room
        """Keep bytes under a name until they have to make room; raises `OSError` where the disk takes none."""
        await asyncio.to_thread(self._write, name, data)

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _read(self, name: str) -> bytes | None:
        path = self._path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return data

    def _write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{name}.{os.getpid()}.tmp")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._written += len(data)
        if time.monotonic() - self._swept_s > _SWEEP_S or self._written > self._most_bytes // 10:
            self.sweep()

    def sweep(self) -> None:
        """Bring the folder under its limit, and take away what killed writers left."""
        self._written, self._swept_s = 0, time.monotonic()
        found, total = [], 0
        for path in self._folder.glob("??/*"):
            try:
                stat = path.stat()
            except OSError:  # another worker sweeps too
                continue
            if path.suffix == ".tmp" and stat.st_mtime < time.time() - _SWEEP_S:
                path.unlink(missing_ok=True)
                continue
            found.append((stat.st_mtime_ns, stat.st_size, path))
            total += stat.st_size
        for _, size, path in sorted(found):
            if total <= self._most_bytes:
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            total -= size
