"""A durable queue of bytes on local disk: appended in microseconds, read later by whoever ships it.

A folder holds segments; one process at a time holds the folder (flock), so that a successor can ship what a killed
predecessor left. What was appended survives the death of the process, not that of the machine: bytes are handed to the
kernel, never fsynced, because a request must not wait for a disk. See `docs/decisions/0004-spool.md`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tetrad.kernel import uuid7

log = logging.getLogger(__name__)
MIB = 1024 * 1024
_SUFFIX = ".seg"
_BAD = ".bad"
_LOG_EVERY_S = 10.0
_CLAIMS = 64
_CURSOR_BYTES = 128
"""Longer than any cursor, so that a new one covers all of the last."""


class _Cursor(msgspec.Struct, frozen=True):
    segment: str = ""
    offset: int = 0


class SpoolFolder:
    """A folder of segments that this process holds until `close`; segments sort by the time they were begun."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.name = path.name
        self._lock = lock
        self._cursor_file = -1
        self._cursor = self._read_cursor()
        self.bytes = sum(self._size(entry) for entry in [*path.glob(f"*{_SUFFIX}"), *path.glob(f"*{_BAD}")])

    @classmethod
    def claim(cls, path: Path) -> SpoolFolder | None:
        """Hold a folder, making it where it is absent; None while another process holds it."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return cls(path, lock)

    @classmethod
    def claim_own(cls, root: Path, name: str) -> SpoolFolder:
        """Hold `root/name`, or `root/name.1`, … while a predecessor that still drains holds the first."""
        for number in range(_CLAIMS):
            folder = cls.claim(root / (f"{name}.{number}" if number else name))
            if folder is not None:
                return folder
        raise OSError(f"{_CLAIMS} folders {str(root / name)!r} are all held by other processes")

    @classmethod
    def claim_left(cls, root: Path) -> list[SpoolFolder]:
        """Hold every folder under `root` that has segments and no living owner."""
        left = []
        for path in sorted(root.iterdir()) if root.is_dir() else []:
            if path.is_dir() and any(path.glob(f"*{_SUFFIX}")):
                folder = cls.claim(path)
                if folder is not None:
                    left.append(folder)
        return left

    def segments(self) -> list[str]:
        """Name the segments, oldest first."""
        return sorted(path.stem for path in self.path.glob(f"*{_SUFFIX}"))

    def read(self, segment: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes; b"" at the end, and where the segment was dropped meanwhile."""
        try:
            descriptor = os.open(self._file(segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def cursor(self, segment: str) -> int:
        """Return how many bytes of a segment have arrived where they are shipped to."""
        return self._cursor.offset if self._cursor.segment == segment else 0

    def advance(self, segment: str, offset: int) -> None:
        """Remember that everything before `offset` has arrived, across restarts if the disk takes it.

        Where it does not, a successor sends some again, which does no harm: the receiver knows segment and offset.
        """
        self._cursor = _Cursor(segment, offset)
        with contextlib.suppress(OSError):
            if self._cursor_file < 0:
                self._cursor_file = os.open(self.path / "cursor", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # In place, not by a new file's renaming, which makes some file systems write to the disk at once: 3 ms in
            # which nobody is answered. What a dead machine leaves of it torn is read as no cursor, and does no harm.
            os.pwrite(self._cursor_file, msgspec.json.encode(self._cursor).ljust(_CURSOR_BYTES), 0)

    def discard(self, segment: str) -> int:
        """Delete a segment; return its size."""
        return self._remove(self._file(segment))

    def set_aside(self, segment: str, offset: int, data: bytes) -> Path:
        """Keep a piece of a segment that nobody takes out of the way, for a person to look at."""
        path = self.path / f"{segment}.{offset}{_BAD}"
        path.write_bytes(data)
        self.bytes += len(data)
        return path

    def drop_oldest(self, spare: str) -> int:
        """Delete the oldest segment but `spare`, set-aside ones first; return its size, 0 where there is none."""
        aside = sorted(self.path.glob(f"*{_BAD}"))
        if aside:
            return self._remove(aside[0])
        return next((self.discard(name) for name in self.segments() if name != spare), 0)

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._cursor_file >= 0:
            os.close(self._cursor_file)
            self._cursor_file = -1

    def _read_cursor(self) -> _Cursor:
        try:
            return msgspec.json.decode((self.path / "cursor").read_bytes(), type=_Cursor)
        except (OSError, msgspec.MsgspecError):
            return _Cursor()

    def _file(self, segment: str) -> Path:
        return self.path / (segment + _SUFFIX)

    def _remove(self, path: Path) -> int:
        size = self._size(path)
        path.unlink(missing_ok=True)
        self.bytes -= size
        return size

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0


class SpoolWriter:
    """Append to the newest segment of a folder. Never raises for a disk that fails: counts, logs, recovers.

    Past `cap_bytes` the oldest finished segment goes, so that what was just promised to a client is kept; a record that
    cannot be written at all is `refused`.
    """

    def __init__(
        self,
        folder: SpoolFolder,
        *,
        cap_bytes: int = 1024 * MIB,
        segment_bytes: int = 8 * MIB,
        segment_age_s: float = 60.0,
    ) -> None:
        self.folder = folder
        self.active = ""
        self.appended = self.refused = self.dropped_segments = self.dropped_bytes = 0
        self._cap = cap_bytes
        self._segment_bytes = max(1, min(segment_bytes, cap_bytes // 4))
        self._age_s = segment_age_s
        self._descriptor = -1
        self._size = 0
        self._began = 0.0
        self._log_at = 0.0
        self._failing = 0

    def append(self, record: bytes) -> bool:
        """Hand a whole record to the kernel; tell whether it took it. All or nothing of it is kept."""
        try:
            self._take(record)
        except OSError as error:
            self._refuse(error)
            return False
        self._taken(1)
        return True

    def extend(self, records: Sequence[bytes]) -> None:
        """Hand records to the kernel in one write; where it does not take them together, one by one."""
        together = b"".join(records) if len(records) > 1 else b""
        if together and len(together) <= self._segment_bytes:
            try:
                self._take(together)
            except OSError:  # some of them may fit all the same, and each that does not is counted
                pass
            else:
                self._taken(len(records))
                return
        for record in records:
            self.append(record)

    def _take(self, records: bytes) -> None:
        if self._descriptor < 0 or self._size >= self._segment_bytes:
            self.roll()
            self._open()
        if self.folder.bytes + len(records) > self._cap:
            self._make_room(len(records))
        self._write(records)

    def _taken(self, count: int) -> None:
        self.appended += count
        if self._failing:
            log.warning("the spool takes records again; %d were lost", self._failing)
            self._failing = 0
            self._log_at = 0.0

    def roll(self) -> None:
        """Finish the segment; the next record begins a new one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self.active, self._size = -1, "", 0

    def roll_if_old(self) -> None:
        """Finish a segment that has been open for long, so that it can be shipped to its end and deleted."""
        if self._descriptor >= 0 and time.monotonic() - self._began > self._age_s:
            self.roll()

    def _open(self) -> None:
        name = uuid7().hex
        self.folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self.folder.path / (name + _SUFFIX), flags, 0o600)
        self.active, self._size, self._began = name, 0, time.monotonic()

    def _write(self, records: bytes) -> None:
        written = 0
        try:
            while written < len(records):
                written += os.write(self._descriptor, records[written:] if written else records)
        except OSError:
            if written:
                # a torn record in the middle would hide all that follow it
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
            self.roll()
            raise
        self._size += written
        self.folder.bytes += written

    def _make_room(self, wanted: int) -> None:
        while self.folder.bytes + wanted > self._cap:
            size = self.folder.drop_oldest(self.active)
            if not size:
                if self._size:
                    self.roll()
                    self._open()
                    continue
                raise OSError(f"a record of {wanted:,} bytes is larger than the whole spool may be ({self._cap:,})")
            self.dropped_segments += 1
            self.dropped_bytes += size
            self._shout(
                "the spool is full: its oldest segment (%d bytes) was dropped, %d so far", size, self.dropped_segments
            )

    def _refuse(self, error: OSError) -> None:
        self.refused += 1
        self._failing += 1
        self._shout("the spool cannot be written (%s): %d records lost so far", error, self.refused)

    def _shout(self, message: str, *values: object) -> None:
        now = time.monotonic()
        if now >= self._log_at:
            self._log_at = now + _LOG_EVERY_S
            log.error(message, *values)
