"""A blob store in memory, for tests that are not about storage."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tetrad.kernel import Digest, NotFound, digest_bytes
from tetrad.kit.blobs import BlobStat
from tetrad.kit.blobs._port import check_expected


class MemoryBlobs:
    """Bytes by digest, held in a dictionary."""

    def __init__(self) -> None:
        self.held: dict[Digest, bytes] = {}
        self.put_at: dict[Digest, float] = {}
        self.puts = 0
        self.now: Callable[[], float] = time.time

    def put_bytes(self, data: bytes) -> Digest:
        digest = digest_bytes(data)
        self.held[digest] = data
        self.put_at[digest] = self.now()
        self.puts += 1
        return digest

    def put_file(self, path: Path) -> Digest:
        return self.put_bytes(path.read_bytes())

    def put_stream(self, source: BinaryIO, *, expected: Digest | None = None) -> Digest:
        data = source.read()
        check_expected(digest_bytes(data), expected)
        return self.put_bytes(data)

    def discard(self, digest: Digest, *, put_before: float) -> bool:
        if digest not in self.held or self.put_at[digest] >= put_before:
            return False
        del self.held[digest]
        return True

    def tidy(self) -> int:
        return 0

    def list(self, prefix: str = "") -> Iterator[BlobStat]:
        for digest in sorted(self.held):
            if digest.removeprefix("sha256:").startswith(prefix):
                yield BlobStat(digest, len(self.held[digest]))

    def read(self, digest: Digest) -> bytes:
        if digest not in self.held:
            raise NotFound(f"no bytes {digest}")
        return self.held[digest]

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self.read(digest))

    def exists(self, digest: Digest) -> bool:
        return digest in self.held

    def size(self, digest: Digest) -> int:
        return len(self.read(digest))
