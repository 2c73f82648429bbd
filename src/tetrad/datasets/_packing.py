"""How a row's canonical bytes are kept: as they are when short, else compressed."""

from __future__ import annotations

import zstandard

from tetrad.datasets.errors import RowUnreadable

RAW, ZSTD = 0, 1
COMPRESS_FROM_BYTES = 512


class Packer:
    """Packs rows; one for each import, as it holds a compressor's memory."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=3)

    def pack(self, content: bytes) -> tuple[int, bytes]:
        """Return the codec and the bytes to keep."""
        if len(content) >= COMPRESS_FROM_BYTES:
            packed = self._zstd.compress(content)
            if len(packed) < len(content):
                return ZSTD, packed
        return RAW, content


class Unpacker:
    """Undoes what a `Packer` did."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def unpack(self, codec: int, content: bytes) -> bytes:
        """Return the canonical bytes; raise `RowUnreadable` where they were damaged."""
        if codec != ZSTD:
            return bytes(content)
        try:
            return self._zstd.decompress(content)
        except zstandard.ZstdError as error:
            raise RowUnreadable(f"a stored row is damaged: {error}", hint="restore the last backup") from None
