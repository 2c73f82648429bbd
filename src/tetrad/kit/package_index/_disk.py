"""Files as an index needs them: hashed, synced, locked, and the disk's refusals in words."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ._errors import NoSpace

CHUNK = 1 << 18
Progress = Callable[[int, "int | None"], None]


def matches(path: Path, hashes: Mapping[str, str]) -> bool:
    """Tell whether a file has the promised hash; the strongest one is asked."""
    for name in ("sha256", "sha512", "sha384", "sha224", "blake2b", "sha1", "md5"):
        if name in hashes:
            with path.open("rb") as source:
                return hashlib.file_digest(source, name).hexdigest() == hashes[name]
    return path.is_file()


def need(folder: Path, size: int) -> None:
    """Refuse early what cannot fit."""
    if size > 0 and shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e6:.0f} MB are needed")


def sync(path: Path) -> None:
    """Wait until the file is on the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals into an error that names the folder."""
    try:
        yield
    except OSError as error:
        if isinstance(error, urllib.error.URLError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            detail = "" if error.strerror in (None, os.strerror(error.errno)) else f": {error.strerror}"
            raise NoSpace(
                f"the disk of {folder} is full{detail}", hint="free some space, or set TETRAD_CACHE to another disk"
            ) from None
        raise NoSpace(
            f"{error.filename or folder} cannot be written: {error.strerror or error}",
            hint="check its permissions, or set TETRAD_CACHE to a folder you may write",
        ) from None


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Let one process in at a time; the lock's file goes with the last one."""
    while True:
        with lock.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_at(handle.fileno(), lock):
                continue  # who held it before us took the file away; others may hold its successor
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
