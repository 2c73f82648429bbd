"""Read versions of datasets, and tell them apart; nothing here writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from tetrad.datasets._model import (
    DatasetDiff,
    DatasetVersion,
    Row,
    RowChange,
    Shape,
    diff_values,
    order_digest,
    sorted_dataset_digest,
)
from tetrad.datasets._scratch import batches
from tetrad.datasets.errors import (
    DatasetNotFound,
    RowUnreadable,
)
from tetrad.datasets.ports import DatasetStore, Member, StoredVersion
from tetrad.kernel import Digest, digest_json, parse_digest, parse_json
from tetrad.registry import (
    ArtifactNotFound,
    Registry,
    Version,
    VersionNotFound,
)

KIND = "dataset"
MAX_DIFF_PAGE = 1000
MAX_SEARCHED: Final = 20_000  # rows that one page of a search reads
STREAM = 1000
_COUNTS_KEPT = 256

ChangeKind = Literal["added", "removed", "changed", "moved"]


class Recount(msgspec.Struct, frozen=True):
    """A version counted again from its stored rows; `missing` and `damaged` name the first of such rows by key."""

    digest: Digest
    order: Digest
    schema_digest: Digest
    rows: int
    bytes: int
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


class DatasetReader:
    """The versions of datasets of all projects, as they were written."""

    def __init__(self, store: DatasetStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._counts: dict[tuple[str, int, int], dict[ChangeKind, int]] = {}

    def columns(self, project: str, rows: Sequence[Row], names: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """Return what side columns say of rows, by row digest and column."""
        wanted = sorted({bytes.fromhex(row.digest.removeprefix("sha256:")) for row in rows})
        found: dict[str, dict[str, Any]] = {}
        for value in self._store.columns(project, wanted, names):
            found.setdefault(f"sha256:{value.digest.hex()}", {})[value.column] = value.value
        return found

    def names(
        self, project: str, *, limit: int = 50, after: str = "", contains: str = "", backwards: bool = False
    ) -> list[Version]:
        """Return the newest version of every dataset, in the order of names; `meta` tells rows, order and schema."""
        return self._registry.names(project, KIND, limit=limit, after=after, contains=contains, backwards=backwards)

    def lately(
        self,
        project: str,
        *,
        limit: int = 50,
        after: tuple[datetime, str] | None = None,
        contains: str = "",
        newest: bool = True,
    ) -> list[Version]:
        """Return the newest version of every dataset, by when it was made."""
        return self._registry.lately(project, KIND, limit=limit, after=after, contains=contains, newest=newest)

    def versions(self, project: str, name: str, *, limit: int = 50, before: int | None = None) -> list[Version]:
        """Return the versions of a dataset, newest first."""
        return self._registry.versions(project, KIND, name, limit=limit, before=before)

    def version(self, project: str, name: str, semver: str | None = None) -> DatasetVersion:
        """Return one version, the newest without `semver`; raise `DatasetNotFound`."""
        try:
            version = self._registry.version(project, KIND, name, semver)
        except VersionNotFound as error:
            raise DatasetNotFound(error.message, hint=error.hint) from None
        stored = self._store.version(project, name, version.digest, version.meta["order"])
        if stored is None:
            self._registry.whole(project, version.digest)
            raise DatasetNotFound(f"the rows of {name}@{version.semver} are not there", hint="import it again")
        return joined(version, stored)

    def by_digest(self, project: str, digest: str, order: str | None = None) -> DatasetVersion:
        """Return the version that a release pins by digest and order."""
        found = self._store.find(project, parse_digest(digest), order)
        if found is not None:
            name, stored = found
            for version in self._registry.versions_of(project, digest):
                if version.kind == KIND and version.name == name and version.meta["order"] == stored.order:
                    return joined(version, stored)
        with suppress(ArtifactNotFound):
            self._registry.whole(project, digest)
        raise DatasetNotFound(
            f"the project {project!r} has no dataset {digest}", hint="check the digest and the project"
        )

    def rows(self, version: DatasetVersion, *, limit: int = 100, after: int = 0) -> list[Row]:
        """Return rows in their order, from behind the position `after`."""
        stored = self._stored(version)
        members = self._store.members(stored, after=after, limit=limit)
        contents = self._store.contents(version.project, [member.digest for member in members])
        return [_row(member, contents) for member in members]

    def row(self, version: DatasetVersion, key: str) -> Row | None:
        """Return the row of a version by its key, None where there is none."""
        member = self._store.member(self._stored(version), key)
        return None if member is None else _row(member, self._store.contents(version.project, [member.digest]))

    def matching(
        self, version: DatasetVersion, text: str, *, limit: int = 100, after: int = 0
    ) -> tuple[list[Row], int | None]:
        """Return rows that hold a text in their key or content, whatever its case, and where to go on (None: the end).

        At most `MAX_SEARCHED` rows are read at a time, so that a page may hold fewer rows than there are, even none.
        """
        stored, wanted = self._stored(version), text.casefold()
        found: list[Row] = []
        read = 0
        while read < MAX_SEARCHED:
            members = self._store.members(stored, after=after, limit=STREAM)
            contents = self._store.contents(version.project, [member.digest for member in members])
            for member in members:
                after = member.position
                if wanted in member.key.casefold() or wanted in contents[member.digest].decode().casefold():
                    found.append(_row(member, contents))
                    if len(found) == limit:
                        return found, after
            read += len(members)
            if len(members) < STREAM:
                return found, None
        return found, after

    def all_rows(self, version: DatasetVersion, *, batch: int = STREAM) -> Iterator[Row]:
        """Yield all rows in their order, a batch at a time."""
        stored = self._stored(version)
        for members in batches(self._members(stored, batch), batch):
            contents = self._store.contents(version.project, [member.digest for member in members])
            for member in members:
                yield _row(member, contents)

    def all_lines(self, version: DatasetVersion) -> Iterator[bytes]:
        """Yield the canonical bytes of all rows in their order, each with the proof that they are its digest's."""
        stored = self._stored(version)
        for members in batches(self._members(stored, STREAM), STREAM):
            contents = self._store.contents(version.project, [member.digest for member in members])
            for member in members:
                content = contents.get(member.digest)
                if content is None or hashlib.sha256(content).digest() != member.digest:
                    raise DatasetNotFound(f"the row {member.key!r} is damaged", hint="restore the last backup")
                yield content

    def verify(self, version: DatasetVersion) -> bool:
        """Read all that is stored of a version, and tell whether it is what the digests say."""
        stored = self._stored(version)
        for _ in self.all_lines(version):
            pass
        by_key = ((member.key, member.digest) for member in self._by_key(stored))
        return (sorted_dataset_digest(by_key), order_digest(member.key for member in self._members(stored))) == (
            version.digest,
            version.order,
        )

    def recount(self, version: DatasetVersion, *, most_named: int = 20) -> Recount:
        """Read every stored row and compute all digests again from what is read; nothing stored is believed.

        Rows are read as a stream. A row that is not there or has other bytes is named, up to `most_named` of each.
        """
        stored = self._stored(version)
        shape = Shape()
        missing: list[str] = []
        damaged: list[str] = []
        rows = size = 0

        def read() -> Iterator[tuple[str, bytes]]:
            nonlocal rows, size
            for members in batches(self._by_key(stored), STREAM):
                contents, broken = self._contents(version.project, [member.digest for member in members])
                for member in members:
                    content = contents.get(member.digest)
                    found = None if content is None else hashlib.sha256(content).digest()
                    rows += 1
                    if found == member.digest and content is not None:
                        size += len(content)
                        shape.add(row_value(content))
                    else:
                        gone = content is None and member.digest not in broken
                        named = missing if gone else damaged
                        if len(named) < most_named:
                            named.append(member.key)
                    if found is not None:
                        yield member.key, found

        digest = sorted_dataset_digest(read())
        order = order_digest(member.key for member in self._members(stored))
        return Recount(digest, order, digest_json(shape.schema()), rows, size, tuple(missing), tuple(damaged))

    def _contents(self, project: str, digests: Sequence[bytes]) -> tuple[dict[bytes, bytes], set[bytes]]:
        """Return contents by digest, and the digests of rows that cannot be unpacked."""
        try:
            return self._store.contents(project, digests), set()
        except RowUnreadable:
            pass
        found: dict[bytes, bytes] = {}
        broken: set[bytes] = set()
        for digest in digests:  # one of them is damaged: find out which
            try:
                found.update(self._store.contents(project, [digest]))
            except RowUnreadable:
                broken.add(digest)
        return found, broken

    def _members(self, stored: StoredVersion, batch: int = 5 * STREAM) -> Iterator[Member]:
        after = 0
        while found := self._store.members(stored, after=after, limit=batch):
            yield from found
            after = found[-1].position

    def _by_key(self, stored: StoredVersion, after: str = "") -> Iterator[Member]:
        while found := self._store.members_by_key(stored, after=after, limit=5 * STREAM):
            yield from found
            after = found[-1].key

    def _newest(self, project: str, name: str) -> Version | None:
        found = self._registry.versions(project, KIND, name, limit=1)
        return found[0] if found else None

    def diff(
        self,
        project: str,
        name: str,
        old: str,
        new: str,
        *,
        limit: int = 100,
        after: str = "",
        of: str = "",
        change: ChangeKind | None = None,
    ) -> DatasetDiff:
        """Say which rows were added, removed, changed (field by field) and moved from one version to another.

        `old` and `new` are version numbers; rows come in the order of keys, from behind the key `after`. `of` names
        another dataset that `new` is a version of: its rows are compared by key, and none of them is called moved.
        With `change` only rows of that kind come; the counts are of all.
        """
        limit = min(limit, MAX_DIFF_PAGE)
        left, right = self._two(project, name, old, new, of)
        counts = self._count(left, right)
        page: list[tuple[str, Member | None, Member | None]] = []
        more = False
        for each in self._differences(left, right, after):
            if change is not None and _change(each[1], each[2]) != change:
                continue
            if len(page) == limit:
                more = True
                break
            page.append(each)
        items = tuple(self._change_rows(project, page))
        return DatasetDiff(**counts, items=items, next_key=page[-1][0] if more else None)

    def all_changes(self, project: str, name: str, old: str, new: str, *, of: str = "") -> Iterator[RowChange]:
        """Yield every row that differs between two versions, in the order of keys, a batch at a time."""
        left, right = self._two(project, name, old, new, of)
        for part in batches(self._differences(left, right), STREAM):
            yield from self._change_rows(project, part)

    def _two(self, project: str, name: str, old: str, new: str, of: str) -> tuple[StoredVersion, StoredVersion]:
        return self._stored(self.version(project, name, old)), self._stored(self.version(project, of or name, new))

    def _count(self, left: StoredVersion, right: StoredVersion) -> dict[ChangeKind, int]:
        """Count changes by kind; versions do not change, so that what was counted stays true."""
        place = (f"{left.dataset} {right.dataset}", left.seq, right.seq)
        counts = self._counts.get(place)
        if counts is None:
            counts = {"added": 0, "removed": 0, "changed": 0, "moved": 0}
            for _, before, now in self._differences(left, right):
                counts[_change(before, now)] += 1
            while len(self._counts) >= _COUNTS_KEPT:
                with suppress(KeyError, StopIteration, RuntimeError):  # another thread may do the same
                    del self._counts[next(iter(self._counts))]
            self._counts[place] = counts
        return counts

    def _differences(
        self, left: StoredVersion, right: StoredVersion, after: str = ""
    ) -> Iterator[tuple[str, Member | None, Member | None]]:
        if left.dataset != right.dataset:
            yield from _merged(self._by_key(left, after), self._by_key(right, after))
            return
        older, newer = sorted((left.seq, right.seq))
        for key, before, now in self._store.changed(left.dataset, older, newer, after=after):
            yield (key, before, now) if left.seq <= right.seq else (key, now, before)

    def _change_rows(
        self, project: str, page: Sequence[tuple[str, Member | None, Member | None]]
    ) -> Iterator[RowChange]:
        digests = {member.digest for _, before, now in page for member in (before, now) if member}
        contents = self._store.contents(project, sorted(digests))
        for key, before, now in page:
            yield _row_change(key, _change(before, now), before, now, contents)

    def _stored(self, version: DatasetVersion) -> StoredVersion:
        stored = self._store.version(version.project, version.name, version.digest, version.order)
        if stored is None:
            raise DatasetNotFound(f"the rows of {version.name}@{version.semver} are not there")
        return stored


def joined(version: Version, stored: StoredVersion) -> DatasetVersion:
    """Join what the registry and the store of rows know of one version."""
    return DatasetVersion(
        version.project, version.name, stored.seq, version.semver, stored.digest, stored.order, stored.schema_digest,
        stored.schema, stored.rows, stored.size, version.author, version.author_name,
        version.created_at, version.reason,
        version.expected_outcome, version.meta.get("role", ""), version.meta.get("declared", ""),
    )  # fmt: skip


def row_value(content: bytes) -> Mapping[str, Any]:
    """Return a stored row's fields; raises `DatasetNotFound` where they are damaged."""
    value = parse_json(content, where="a stored row")
    if not isinstance(value, dict):
        raise DatasetNotFound("a stored row is damaged", hint="restore the last backup")
    return value


def _row(member: Member, contents: Mapping[bytes, bytes]) -> Row:
    content = contents.get(member.digest)
    if content is None:
        raise DatasetNotFound(f"the row {member.key!r} is not there", hint="it was erased, or the store is damaged")
    return Row(member.key, Digest("sha256:" + member.digest.hex()), member.position, row_value(content))


def _change(old: Member | None, new: Member | None) -> Literal["added", "removed", "changed", "moved"]:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    return "moved" if old.digest == new.digest else "changed"


def _row_change(
    key: str,
    change: Literal["added", "removed", "changed", "moved"],
    old: Member | None,
    new: Member | None,
    contents: Mapping[bytes, bytes],
) -> RowChange:
    before = row_value(contents[old.digest]) if old and old.digest in contents else None
    after = row_value(contents[new.digest]) if new and new.digest in contents else None
    fields = (
        tuple(diff_values(before, after)) if change == "changed" and before is not None and after is not None else ()
    )
    return RowChange(key, change, before, after, fields)


def _merged(left: Iterator[Member], right: Iterator[Member]) -> Iterator[tuple[str, Member | None, Member | None]]:
    """Yield members that differ in content, of two lists in the order of keys."""
    old, new = next(left, None), next(right, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.key.encode() < new.key.encode()):
            assert old is not None  # noqa: S101 - one of them is there
            yield old.key, old, None
            old = next(left, None)
        elif old is None or new.key.encode() < old.key.encode():
            yield new.key, None, new
            new = next(right, None)
        else:
            if old.digest != new.digest:
                yield old.key, old, new
            old, new = next(left, None), next(right, None)
