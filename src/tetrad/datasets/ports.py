"""What datasets ask of their store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


class ColumnValue(msgspec.Struct, frozen=True):
    """What a side column says of a row: a score, a label; who said so, and when."""

    digest: bytes
    column: str
    value: Any
    author: str
    at: datetime


class Push(msgspec.Struct, frozen=True):
    """A batch of rows that was taken under an idempotency key, and the version that it made."""

    request: Digest
    semver: str


class Staged(Protocol):
    """Rows that wait, sorted, outside the store, and can be compared with the version before."""

    rows: int

    def compare(self, current: Iterable[Member]) -> None:
        """Compare with the newest version's members, which come in the order of keys."""
        ...

    def begun(self) -> Iterator[Member]:
        """Yield the members that are new or differ, in the order of keys."""
        ...

    def ended(self) -> Iterator[str]:
        """Yield the keys of members that are no more, or differ."""
        ...


class DatasetStore(Protocol):
    """Rows by digest, and which of them each version of a dataset holds. Nothing is held in memory as a whole."""

    def begin(self, project: str, name: str, *, at: datetime) -> str:
        """Open an import and return its id. While it shows signs of life, no row of the project is swept."""
        ...

    def beat(self, import_id: str, *, at: datetime) -> None:
        """Show a sign of life; raise `ImportExpired` where the import was given up."""
        ...

    def abandon(self, import_id: str) -> None:
        """Give an import up: the next `sweep` takes its rows away."""
        ...

    def sweep(self, project: str, *, dead_before: datetime) -> int:
        """Delete rows that imports left which ended without a version; return how many.

        Does nothing while an import of the project that gave a sign of life since `dead_before` runs.
        """
        ...

    def unfinished(self, *, dead_before: datetime) -> list[str]:
        """Return the projects with imports that ended without a version."""
        ...

    def put_rows(self, project: str, rows: Iterable[tuple[bytes, int, bytes]], beat: Callable[[], None]) -> None:
        """Keep rows (digest, codec, packed content); those that are there already stay.

        They are not visible until a version is. `beat` is called for every batch.
        """
        ...

    def publish(
        self,
        project: str,
        name: str,
        staged: Staged,
        *,
        import_id: str,
        base: int | None,
        digest: Digest,
        order: Digest,
        schema: Mapping[str, Any],
        schema_digest: Digest,
        size: int,
        at: datetime,
    ) -> tuple[StoredVersion, bool]:
        """Make the staged rows the next version of a dataset, in one transaction that ends the import too.

        Returns the version that has this digest and order already, and False, where there is one. With `base` the
        newest version must still be that one (0: none), else `BaseMoved`.
        """
        ...

    def newest(self, project: str, name: str) -> StoredVersion | None:
        """Return the version that was published last."""
        ...

    def version(self, project: str, name: str, digest: str, order: str) -> StoredVersion | None: ...

    def find(self, project: str, digest: str, order: str | None) -> tuple[str, StoredVersion] | None:
        """Return the newest version of any dataset of the project with a digest (and order), with its name."""
        ...

    def members(self, version: StoredVersion, *, after: int, limit: int) -> list[Member]:
        """Return members in their order, from behind the position `after`."""
        ...

    def members_by_key(self, version: StoredVersion, *, after: str, limit: int) -> list[Member]:
        """Return members in the order of their keys' UTF-8 bytes, from behind the key `after`."""
        ...

    def member(self, version: StoredVersion, key: str) -> Member | None:
        """Return the member with a key."""
        ...

    def contents(self, project: str, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return rows' canonical bytes by digest."""
        ...

    def changed(
        self, dataset: str, older: int, newer: int, *, after: str = ""
    ) -> Iterator[tuple[str, Member | None, Member | None]]:
        """Yield keys whose member differs between two versions of a dataset (older < newer), in the order of keys."""
        ...

    def forget(self, project: str, digests: Sequence[Digest], transaction: Any) -> None:
        """Let the versions with these digests go, and members that no other version has. Twice is fine.

        `transaction` is an open one of the same database.
        """
        ...

    def pushed(self, project: str) -> list[Digest]:
        """Return the digests of the batches that were pushed."""
        ...

    def push(self, project: str, name: str, idempotency_key: str) -> Push | None:
        """Return what was pushed under an idempotency key."""
        ...

    def note_push(self, project: str, name: str, idempotency_key: str, push: Push, *, at: datetime) -> Push:
        """Remember what was pushed under an idempotency key, and return what is remembered: the first stays."""
        ...

    def put_columns(self, project: str, values: Sequence[ColumnValue]) -> None:
        """Keep what side columns say; the last word of a column on a row counts."""
        ...

    def columns(self, project: str, digests: Sequence[bytes], names: Sequence[str]) -> list[ColumnValue]:
        """Return what side columns say of rows; all columns where `names` is empty."""
        ...
