"""A journal of leases: what a worker spent, in a file that is mapped into its memory and so outlives it.

A change of a lease is a few bytes stored in pages that belong to the kernel: no system call, and `kill -9` undoes
nothing. Each lease has a record with room for two states and a byte that says which one counts; it is turned after the
other state is whole, so death between any two steps leaves the old state or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from tetrad.kernel import TetradError
from tetrad.limits import LeaseState

log = logging.getLogger(__name__)

SUFFIX = ".leases"
_MAGIC = b"tetrad leases 2\n"
_FIRST_BYTES = 64 * 1024
_SAY_EVERY_S = 30.0

_HEAD = struct.Struct("<IBxxxq")  # bytes of the record; which of its states counts, 0 for neither; the lease
_STATE = struct.Struct("<QqQqq")  # spent and reserved, each as a low and a high half, since money is 10^-12; unknown
_NAMES = struct.Struct("<HH")  # bytes of the rule's name and of the instance's
_WHICH = 4  # the offset of the byte that says which state counts
_STATES = _HEAD.size
_NAMES_AT = _STATES + 2 * _STATE.size
_NAMED = _NAMES_AT + _NAMES.size
_LOW = 2**64 - 1


class DamagedJournal(TetradError):
    """A file is no journal of leases, or not one of this version."""

    code = "damaged_journal"
    next_step = "what its worker spent last is on its spans; delete the file once the budget was compared with them"


class LeaseJournal:
    """`Journal` in a file that this process holds by a lock.

    What is held no more by anybody was left by a worker that died, and is told by whoever finds it (`left`).
    """

    def __init__(self, folder: Path, slot: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{slot}{SUFFIX}"
        self._at: dict[int, int] = {}
        self._map: mmap.mmap | bytearray = bytearray()  # nothing is mapped before the first lease
        self._end = len(_MAGIC)
        self._free = 0
        self._said_at = 0.0
        self.lost = 0
        # held before it has the name by which others look for journals of the dead
        draft = self._path.with_suffix(".tmp")
        self._file = _held(draft)
        draft.replace(self._path)

    def note(self, lease: int, rule: str, instance: str, spent: int, reserved: int, unknown: int) -> None:
        """Write down a lease's newest state."""
        at = self._at.get(lease)
        if at is None:
            self._add(lease, rule, instance, (spent, reserved, unknown))
            return
        mapped = self._map
        now = 3 - mapped[at + _WHICH]
        _STATE.pack_into(
            mapped, at + _STATES + (now - 1) * _STATE.size, spent & _LOW, spent >> 64, reserved & _LOW, reserved >> 64,
            unknown,
        )  # fmt: skip
        mapped[at + _WHICH] = now

    def forget(self, lease: int) -> None:
        """Write down that nothing of a lease has to be told any more."""
        at = self._at.pop(lease, None)
        if at is not None:
            self._map[at + _WHICH] = 0
            self._free += _HEAD.unpack_from(self._map, at)[0]

    def close(self, *, told: bool) -> None:
        """Let go of the file; it goes where everything in it was told."""
        if told:
            self._path.unlink(missing_ok=True)
        if isinstance(self._map, mmap.mmap):
            self._map.close()
        self._map, self._at = bytearray(), {}
        os.close(self._file)

    def _add(self, lease: int, rule: str, instance: str, state: tuple[int, int, int]) -> None:
        record = _record(lease, rule, instance, state)
        try:
            mapped = self._room(len(record))
        except OSError as error:
            self.lost += 1
            now = time.monotonic()
            if now >= self._said_at:
                self._said_at = now + _SAY_EVERY_S
                log.error(  # noqa: TRY400 - it says it all
                    "the journal of leases cannot grow (%s): a death now would lose spending; free some space in %s",
                    error, self._path.parent,
                )  # fmt: skip
            return
        at = self._end
        mapped[at : at + len(record)] = record
        mapped[at + _WHICH] = 1  # only now does it count
        self._at[lease] = at
        self._end += len(record)

    def _room(self, size: int) -> mmap.mmap | bytearray:
        """Return the mapped file with so much room behind its last record; raises OSError where the disk is full."""
        mapped = self._map
        if self._end + size <= len(mapped):
            return mapped
        if isinstance(mapped, mmap.mmap) and self._free > self._end // 2:
            return self._shorten(mapped, size)
        fresh = _mapped(self._file, len(mapped), _enough(self._end + size))
        fresh[: len(_MAGIC)] = _MAGIC
        if isinstance(mapped, mmap.mmap):
            mapped.close()
        self._map = fresh
        return fresh

    def _shorten(self, old: mmap.mmap, size: int) -> mmap.mmap:
        """Copy the records that count to a new file and put it in the old one's place."""
        kept = {lease: _of(old, at) for lease, at in self._at.items()}
        draft = self._path.with_suffix(".tmp")
        file = _held(draft)
        try:
            fresh = _mapped(file, 0, _enough(len(_MAGIC) + sum(map(len, kept.values())) + size))
            end, where = len(_MAGIC), {}
            fresh[:end] = _MAGIC
            for lease, record in kept.items():
                fresh[end : end + len(record)] = record
                where[lease] = end
                end += len(record)
            draft.replace(self._path)
        except OSError:
            os.close(file)
            raise
        old.close()
        os.close(self._file)
        self._file, self._map, self._at, self._end, self._free = file, fresh, where, end, 0
        return fresh


def read_journal(data: bytes) -> tuple[LeaseState, ...]:
    """Return the ends of the leases that a journal tells of; raises `DamagedJournal` for what is none."""
    if not data.strip(b"\0"):
        return ()  # its worker died before its first lease
    if not data.startswith(_MAGIC):
        raise DamagedJournal("it does not begin as a journal of leases does")
    found, at = [], len(_MAGIC)
    while at + _NAMED <= len(data):
        size, which, lease = _HEAD.unpack_from(data, at)
        if not size:
            break
        if size < _NAMED or at + size > len(data) or which > 2:
            raise DamagedJournal(f"the record at byte {at} cannot be")
        if which:
            found.append(_read(data, at, which, lease, size))
        at += size
    return tuple(found)


def _read(data: bytes, at: int, which: int, lease: int, size: int) -> LeaseState:
    spent, spent_high, reserved, reserved_high, unknown = _STATE.unpack_from(
        data, at + _STATES + (which - 1) * _STATE.size
    )
    of_rule, of_instance = _NAMES.unpack_from(data, at + _NAMES_AT)
    names = data[at + _NAMED : at + _NAMED + of_rule + of_instance]
    if _NAMED + len(names) > size:
        raise DamagedJournal(f"the names at byte {at} are longer than their record")
    try:
        rule, instance = names[:of_rule].decode(), names[of_rule:].decode()
    except UnicodeDecodeError as error:
        raise DamagedJournal(f"the names at byte {at} are no text: {error}") from None
    return LeaseState(
        lease, rule, instance, spent=spent | spent_high << 64, reserved=reserved | reserved_high << 64,
        unknown=unknown, final=True,
    )  # fmt: skip


def left(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the journals that no living process holds, holding each meanwhile."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # another worker told of it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_ino == path.stat().st_ino:  # else its owner lives, and just put another in its place
                yield path, path.read_bytes()
        except (BlockingIOError, FileNotFoundError):
            continue
        finally:
            os.close(file)


def _record(lease: int, rule: str, instance: str, state: tuple[int, int, int]) -> bytes:
    """Return a record that does not count yet."""
    of_rule, of_instance = rule.encode(), instance.encode()
    spent, reserved, unknown = state
    size = -(-(_NAMED + len(of_rule) + len(of_instance)) // 8) * 8
    return b"".join((
        _HEAD.pack(size, 0, lease),
        _STATE.pack(spent & _LOW, spent >> 64, reserved & _LOW, reserved >> 64, unknown),
        bytes(_STATE.size),
        _NAMES.pack(len(of_rule), len(of_instance)),
        of_rule,
        of_instance,
    )).ljust(size, b"\0")  # fmt: skip


def _of(mapped: mmap.mmap, at: int) -> bytes:
    size = _HEAD.unpack_from(mapped, at)[0]
    return mapped[at : at + size]


def _enough(size: int) -> int:
    """Return the bytes of a file that has room for so many, and for as many again."""
    room = _FIRST_BYTES
    while room < 2 * size:
        room *= 2
    return room


def _held(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, file)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        undo.pop_all()
    return file


def _mapped(file: int, before: int, size: int) -> mmap.mmap:
    """Map a file's first `size` bytes, of which it has `before`.

    The rest is written, not only claimed: a page that a full disk has no room for would kill the process at a store.
    """
    if os.pwrite(file, bytes(size - before), before) < size - before:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return mmap.mmap(file, size)
