"""Blobs as files in a folder: `<root>/sha256/<first two digits>/<all digits>`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tetrad.kernel import Digest, digest_bytes
from tetrad.kit.blobs._port import (
    BlobNotFound,
    BlobStat,
    BlobStoreFull,
    BlobStoreUnavailable,
    check_expected,
    checked_prefix,
    copy_hashed,
    damaged,
    digits_of,
    hash_stream,
    open_source,
)

ABANDONED_S = 24 * 3600
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FICLONE = 0x40049409  # Linux: share the extents of two files until one of them changes
_FORM = re.compile(r"[0-9a-f]{64}")


class LocalBlobs:
    """A `BlobStore` in a folder of this machine; any number of processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = root / "sha256"
        self._partial = root / "partial"
        with self._disk():
            self._files.mkdir(parents=True, exist_ok=True)
            self._partial.mkdir(exist_ok=True)
            self._sweep()

    def put_bytes(self, data: bytes, *, expected: Digest | None = None) -> Digest:
        digest = digest_bytes(data)
        check_expected(digest, expected)
        with self._disk():
            if not self._still_holds(digest, data):
                with self._writing() as (part, out):
                    out.write(data)
                    self._place(part, out, digest)
        return digest

    def put_stream(self, source: BinaryIO, *, expected: Digest | None = None) -> Digest:
        with self._disk(), self._writing() as (part, out):
            digest, _ = copy_hashed(source, out)
            check_expected(digest, expected)
            self._place(part, out, digest)
        return digest

    def put_file(self, path: Path, *, expected: Digest | None = None, link: bool = False) -> Digest:
        with open_source(path) as source:
            # A linked file shares its mode with its origin, hence only what is read-only already.
            linkable = link and not os.fstat(source.fileno()).st_mode & 0o222
            for take in (os.link, _clone) if linkable else (_clone,):
                with contextlib.suppress(OSError):
                    return self._adopt(path, expected, take)
            return self.put_stream(source, expected=expected)

    def read(self, digest: Digest) -> bytes:
        with self.open(digest) as source:
            data = source.read()
        found = digest_bytes(data)
        if found != digest:
            raise damaged(digest, str(self._path(digest)), found)
        return data

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        with self.open(digest) as source:
            source.seek(start)
            return source.read(length)

    def open(self, digest: Digest) -> BinaryIO:
        path = self._path(digest)
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise BlobNotFound(digest) from None
        except OSError as error:
            raise BlobStoreUnavailable(
                f"{path} cannot be read: {error.strerror}", hint="check the disk and the file's permissions"
            ) from error

    def stat(self, digest: Digest) -> BlobStat:
        return BlobStat(digest, self.size(digest))

    def size(self, digest: Digest) -> int:
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            raise BlobNotFound(digest) from None

    def exists(self, digest: Digest) -> bool:
        return self._path(digest).is_file()

    def delete(self, digest: Digest) -> bool:
        path = self._path(digest)
        with self._disk():
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            _sync_folder(path.parent)
        return True

    def discard(self, digest: Digest, *, put_before: float) -> bool:
        path = self._path(digest)
        with self._disk(), self._locked(fcntl.LOCK_EX):
            try:
                if path.stat().st_mtime >= put_before:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
            _sync_folder(path.parent)
        return True

    def tidy(self) -> int:
        with self._disk():
            return self._sweep()

    def list(self, prefix: str = "") -> Iterator[BlobStat]:
        checked_prefix(prefix)
        for folder in sorted(self._files.glob(f"{prefix[:2]}*")):
            for path in sorted(folder.glob(f"{prefix}*")):
                if _FORM.fullmatch(path.name):
                    with contextlib.suppress(FileNotFoundError):  # deleted while we list
                        yield BlobStat(Digest(f"sha256:{path.name}"), path.stat().st_size)

    def path(self, digest: Digest) -> Path:
        """Return the file of a blob, for programs that map it; it is read-only. Raises `BlobNotFound`."""
        path = self._path(digest)
        if not path.is_file():
            raise BlobNotFound(digest)
        return path

    def _path(self, digest: Digest) -> Path:
        digits = digits_of(digest)
        return self._files / digits[:2] / digits

    def _holds(self, digest: Digest, data: bytes) -> bool:
        path = self._path(digest)
        try:
            return path.stat().st_size == len(data) and path.read_bytes() == data
        except FileNotFoundError:
            return False

    def _still_holds(self, digest: Digest, data: bytes) -> bool:
        """Tell whether the same bytes are there, and note that they were put again: `discard` leaves them then."""
        with self._locked(fcntl.LOCK_SH):
            held = self._holds(digest, data)
            if held:
                try:
                    os.utime(self._path(digest))
                except PermissionError:  # another user's file: ours in its place can be dated
                    return False
        return held

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Keep putting and discarding apart, among all processes; the lock of one that dies goes with it."""
        folder = os.open(self._files, os.O_RDONLY)
        try:
            fcntl.flock(folder, how)
            yield
        finally:
            os.close(folder)

    def _adopt(self, path: Path, expected: Digest | None, take: Callable[[Path, Path], None]) -> Digest:
        folder = Path(tempfile.mkdtemp(dir=self._partial))
        try:
            part = folder / "blob"
            take(path.resolve(strict=True), part)
            with part.open("rb") as taken:
                # Hashed after it was taken: whoever changes the file in between is found out.
                digest = hash_stream(taken)
                check_expected(digest, expected)
                self._place(part, taken, digest)
            return digest
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[Path, BinaryIO]]:
        handle, name = tempfile.mkstemp(dir=self._partial)
        part = Path(name)
        try:
            with os.fdopen(handle, "w+b") as out:
                yield part, out
        finally:
            part.unlink(missing_ok=True)

    def _place(self, part: Path, handle: BinaryIO, digest: Digest) -> None:
        """Give finished bytes their name: they reach the disk before the name does."""
        handle.flush()
        os.fsync(handle.fileno())
        target = self._path(digest)
        new_folder = not target.parent.is_dir()
        target.parent.mkdir(parents=True, exist_ok=True)
        if part.stat().st_mode & 0o222:
            part.chmod(0o444)
        with self._locked(fcntl.LOCK_SH):
            os.utime(part)  # a linked file brings the time of its origin
            part.replace(target)
        _sync_folder(target.parent)
        if new_folder:
            _sync_folder(self._files)

    def _sweep(self) -> int:
        """Remove what writers that were killed left long ago."""
        gone = 0
        for path in self._partial.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    gone += 1
        return gone

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise BlobStoreFull(
                    f"the disk of {self._root} is full", hint="free some space, or move TETRAD_HOME to another disk"
                ) from error
            raise BlobStoreFull(
                f"{error.filename or self._root} cannot be written: {error.strerror or error}",
                hint="check the permissions of the blob store's folder",
            ) from error


def _clone(source: Path, target: Path) -> None:
    """Copy a file by sharing its blocks; raise `OSError` where the disk cannot."""
    with source.open("rb") as old, target.open("xb") as new:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
