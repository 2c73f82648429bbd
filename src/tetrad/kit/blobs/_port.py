"""The port: bytes by their digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tetrad.kernel import Conflict, Digest, InvalidInput, NotFound, Unavailable, parse_digest

CHUNK = 1 << 20
_PREFIX = re.compile(r"[0-9a-f]{0,64}")


class BlobNotFound(NotFound):
    """No bytes are kept under that digest."""

    code = "blob_not_found"

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"no bytes are kept under {digest}", hint="put them first, or check which store is open")

    def __reduce__(self) -> tuple[object, ...]:
        return (BlobNotFound, (Digest(self.message.rpartition(" ")[2]),))


class BlobMismatch(Conflict):
    """The bytes are not those that the digest names."""

    code = "blob_mismatch"


class BlobStoreFull(Unavailable):
    """There is no room, or no permission, to write."""

    code = "blob_store_full"
    status = 507


class BlobStoreUnavailable(Unavailable):
    """The store does not answer."""

    code = "blob_store_unavailable"


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What is known of one blob without reading it."""

    digest: Digest
    size: int


class BlobStore(Protocol):
    """Immutable bytes named by their SHA-256.

    A blob is there whole or not at all, also after a crash of the writer or the machine. Putting what is there already
    changes nothing, and two writers of the same blob are fine. Memory is bounded, whatever the size, except where all
    bytes are asked for at once. Every `put` takes the digest that the caller expects and refuses other bytes with
    `BlobMismatch`; a full or forbidden disk is a `BlobStoreFull` and leaves no remains.
    """

    def put_bytes(self, data: bytes, *, expected: Digest | None = None) -> Digest:
        """Keep bytes durably and return their digest."""
        ...

    def put_stream(self, source: BinaryIO, *, expected: Digest | None = None) -> Digest:
        """Keep what a stream yields until its end and return its digest."""
        ...

    def put_file(self, path: Path, *, expected: Digest | None = None, link: bool = False) -> Digest:
        """Keep a file's bytes and return their digest; the file stays where it is.

        `link` promises that nobody will change the file, so that a store on the same disk need not copy it.
        """
        ...

    def read(self, digest: Digest) -> bytes:
        """Return all bytes, checked; raise `BlobNotFound`, or `BlobMismatch` where the store has damaged them."""
        ...

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        """Return up to `length` bytes from `start`, fewer at the end, none past it; unchecked."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """Open the bytes for reading and seeking, unchecked; the caller closes it."""
        ...

    def stat(self, digest: Digest) -> BlobStat:
        """Return what is known without reading; raise `BlobNotFound`."""
        ...

    def size(self, digest: Digest) -> int:
        """Return how many bytes are kept; raise `BlobNotFound`."""
        ...

    def exists(self, digest: Digest) -> bool:
        """Tell whether the bytes are kept."""
        ...

    def delete(self, digest: Digest) -> bool:
        """Forget the bytes; tell whether they were there."""
        ...

    def discard(self, digest: Digest, *, put_before: float) -> bool:
        """Forget bytes that nobody has put since a time (seconds since the epoch); tell whether they went.

        Putting bytes that are kept already counts as putting them, to within an hour. A writer that puts them meanwhile
        has them: either they stay, or they are written again.
        """
        ...

    def tidy(self) -> int:
        """Remove what writers that were killed left behind long ago; return how many remains went."""
        ...

    def list(self, prefix: str = "") -> Iterator[BlobStat]:
        """Yield every blob whose hex digits start with `prefix`, in the order of their digests."""
        ...


def digits_of(digest: str) -> str:
    """Return the 64 hex digits of a digest, or refuse: a digest becomes a path, so nothing else may pass."""
    return parse_digest(digest).removeprefix("sha256:")


def checked_prefix(prefix: str) -> str:
    """Return `prefix` as hex digits, or refuse."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput(f"{prefix[:80]!r} does not begin a digest", hint="give up to 64 lower-case hex digits")
    return prefix


def open_source(path: Path) -> BinaryIO:
    """Open a file that is to be kept, or say why it cannot be read."""
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}", hint="check the path") from error


def copy_hashed(source: BinaryIO, out: BinaryIO) -> tuple[Digest, int]:
    """Copy a stream to its end; return its digest and size."""
    whole = hashlib.sha256()
    size = 0
    while chunk := source.read(CHUNK):
        whole.update(chunk)
        out.write(chunk)
        size += len(chunk)
    return Digest(f"sha256:{whole.hexdigest()}"), size


def hash_stream(source: BinaryIO) -> Digest:
    """Return the digest of a stream's bytes."""
    whole = hashlib.sha256()
    while chunk := source.read(CHUNK):
        whole.update(chunk)
    return Digest(f"sha256:{whole.hexdigest()}")


def check_expected(found: Digest, expected: Digest | None) -> None:
    """Refuse bytes that are not the expected ones."""
    if expected is not None and found != parse_digest(expected):
        raise BlobMismatch(
            f"the bytes have the digest {found}, not {expected}",
            hint="the source is damaged or another version; nothing was kept",
        )


def damaged(digest: Digest, where: str, found: Digest) -> BlobMismatch:
    """Say that a store returned other bytes than it was given."""
    return BlobMismatch(
        f"{where} is damaged: its bytes have the digest {found}, not {digest}",
        hint="put the bytes again, or restore the last backup",
    )
