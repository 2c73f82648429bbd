"""What datasets ask of their store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from tetrad.kernel import Digest


class Member(msgspec.Struct, frozen=True, gc=False):
    """A row's place in a version; `digest` is the 32 bytes of the row's digest."""

    key: str
    digest: bytes
    position: int


class StoredVersion(msgspec.Struct, frozen=True):
    """A version as the store knows it: everything that follows from the rows alone."""

    dataset: str
    seq: int
    digest: Digest
    order: Digest
    schema: Mapping[str, Any]
    schema_digest: Digest
    rows: int
    size: int


class DatasetStore(Protocol):
    """Rows by digest, and which of them each version of a dataset holds."""

    def put_rows(self, project: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep rows (digest, canonical bytes); those that are there already stay. Not visible until a version is."""
        ...

    def add_version(
        self,
        project: str,
        name: str,
        *,
        members: Sequence[tuple[str, bytes]],
        digest: Digest,
        order: Digest,
        schema: Mapping[str, Any],
        schema_digest: Digest,
        size: int,
        at: datetime,
    ) -> tuple[StoredVersion, bool]:
        """Make `members` (key, row digest, in order) the next version of a dataset, in one transaction.

        Returns the version that has this digest and order already, and False, where there is one.
        """
        ...

    def version(self, project: str, name: str, digest: str, order: str) -> StoredVersion | None: ...

    def find(self, project: str, digest: str, order: str | None) -> tuple[str, StoredVersion] | None:
        """Return the newest version of any dataset of the project with a digest (and order), with its name."""
        ...

    def members(self, version: StoredVersion, *, after: int, limit: int) -> list[Member]:
        """Return members in their order, from behind the position `after`."""
        ...

    def contents(self, project: str, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return rows' canonical bytes by digest."""
        ...

    def changed(self, dataset: str, older: int, newer: int) -> Iterator[tuple[str, Member | None, Member | None]]:
        """Yield keys whose member differs between two versions of a dataset (older < newer), in the order of keys."""
        ...
