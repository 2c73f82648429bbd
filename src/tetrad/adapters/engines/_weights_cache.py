"""Weights of a remote blob store as files of this machine: engines map files, an object store has none."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from tetrad.kernel import Digest, TooLarge, parse_digest
from tetrad.kit.blobs import BlobNotFound, BlobStore, LocalBlobs


class WeightsCache:
    """Fetches weights by digest into a folder, whole and checked, and keeps the folder within `max_bytes`.

    What was used longest ago goes first. An engine that has mapped a file which goes keeps its bytes; it is fetched
    again for the next start. Any number of threads and processes may share the folder.
    """

    def __init__(self, folder: Path, store: Callable[[], BlobStore], max_bytes: int) -> None:
        self._folder = folder
        self._store = store
        self._max = max_bytes
        self._lock = threading.Lock()

    def path(self, digest: str) -> Path:
        """Return the file of a digest, fetched where it is not here.

        Raises `BlobNotFound` where the store has none, `BlobMismatch` where its bytes are other ones, `TooLarge` for
        weights beyond the bound, and whatever a store raises that does not answer.
        """
        name = parse_digest(digest)
        kept = LocalBlobs(self._folder)
        with self._lock:  # two fetches of one file would cost the bandwidth twice
            if not kept.exists(name):
                self._fetch(kept, name)
            path = kept.path(name)
            with contextlib.suppress(OSError):  # a clock that stands still only makes the choice worse
                os.utime(path)
            return path

    def _fetch(self, kept: LocalBlobs, digest: Digest) -> None:
        store = self._store()
        size = store.size(digest)
        if size > self._max:
            raise TooLarge(
                f"the weights {digest} have {size} bytes; {self._max} may be kept here",
                hint="raise TETRAD_WEIGHTS_CACHE_BYTES",
            )
        self._make_room(kept, size)
        with store.open(digest) as source:
            kept.put_stream(source, expected=digest)

    def _make_room(self, kept: LocalBlobs, size: int) -> None:
        files = []
        for stat in kept.list():
            with contextlib.suppress(BlobNotFound, FileNotFoundError):  # another process made room, too
                files.append((kept.path(stat.digest).stat().st_mtime, stat))
        total = sum(stat.size for _, stat in files)
        for _, stat in sorted(files, key=lambda each: each[0]):
            if total + size <= self._max:
                return
            kept.delete(stat.digest)
            total -= stat.size
