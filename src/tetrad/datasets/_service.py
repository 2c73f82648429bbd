"""Import rows, name their versions, read them back, tell versions apart."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from tetrad.datasets._model import (
    DatasetDiff,
    DatasetVersion,
    Row,
    RowChange,
    Shape,
    content_keys,
    dataset_digest,
    diff_values,
    order_digest,
)
from tetrad.datasets.errors import BadKey, BadRows, DatasetNotFound, DatasetTooLarge, RowError
from tetrad.datasets.ports import DatasetStore, Member, StoredVersion
from tetrad.kernel import (
    Clock,
    Digest,
    InvalidInput,
    NotCanonical,
    Principal,
    canonical_json,
    digest_bytes,
    digest_json,
    parse_digest,
    parse_json,
)
from tetrad.registry import Edge, Registry, Version, VersionNotFound, check_simple_name

KIND = "dataset"
MEDIA_TYPE = "application/vnd.tetrad.dataset"
BLOB_KEY = "$blob"
MAX_KEY_BYTES = 256
MAX_DIFF_PAGE = 1000


@dataclass(frozen=True, slots=True)
class DatasetLimits:
    """What is refused as too much."""

    max_rows: int = 1_000_000
    max_row_bytes: int = 1 << 20
    max_bytes: int = 1 << 30
    max_errors: int = 100


class Datasets:
    """The datasets of all projects. A version is immutable; its digest does not depend on where rows are stored."""

    def __init__(
        self, store: DatasetStore, registry: Registry, clock: Clock, *, limits: DatasetLimits | None = None
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._limits = limits or DatasetLimits()

    # -- writing ------------------------------------------------------------------------------------------------

    def import_jsonl(
        self,
        project: str,
        name: str,
        data: bytes | BinaryIO,
        *,
        actor: Principal,
        key: str | None = None,
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
        where: str = "the import",
    ) -> DatasetVersion:
        """Make one version of a JSON Lines file, or refuse with `BadRows` and import nothing.

        Each line is an object; blank lines are skipped. All lines are checked before the first is kept: the errors name
        line, field and reason, up to a limit. `key` names the field that names rows (a text or whole number, unique);
        without it a row is named by its content, and an edited row is a removed and an added one.
        """
        rows = self.read_jsonl(project, data, key=key, where=where)
        return self.keep(
            project, name, rows, actor=actor, semver=semver, reason=reason, expected_outcome=expected_outcome
        )

    def read_jsonl(
        self, project: str, data: bytes | BinaryIO, *, key: str | None = None, where: str = "the import"
    ) -> CheckedRows:
        """Check all lines of a JSON Lines file and return its rows, for `keep`; nothing is kept yet."""
        rows = CheckedRows(self._limits, key, where, lambda digest: self._registry.sees(project, digest))
        rows.read(io.BytesIO(data) if isinstance(data, bytes) else data)
        return rows

    def put(
        self,
        project: str,
        name: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        actor: Principal,
        key: str | None = None,
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
        where: str = "the rows",
    ) -> DatasetVersion:
        """Make one version of rows, in their order, or refuse with `BadRows` (lines count rows) and keep nothing."""
        found = CheckedRows(self._limits, key, where, lambda digest: self._registry.sees(project, digest))
        for number, value in enumerate(rows, 1):
            found.add(number, value)
        found.finish()
        return self.keep(
            project, name, found, actor=actor, semver=semver, reason=reason, expected_outcome=expected_outcome
        )

    def keep(
        self, project: str, name: str, rows: CheckedRows, *, actor: Principal, semver: str | None = None,
        reason: str = "", expected_outcome: str = "",
    ) -> DatasetVersion:  # fmt: skip
        """Make one version of rows that were checked; the same rows again are the version that is there."""
        check_simple_name(name, "name of a dataset")
        members = list(zip(rows.keys(), rows.digests, strict=True))
        digest, order = dataset_digest(members), order_digest(key for key, _ in members)
        schema = rows.shape.schema()
        schema_digest = digest_json(schema)
        facts = {"order": order, "rows": len(members), "schema": schema_digest, "size": rows.size}
        if self._store.version(project, name, digest, order) is None:
            self._store.put_rows(project, zip(rows.digests, rows.contents, strict=True))
        stored, new = self._store.add_version(
            project, name, members=members, digest=digest, order=order, schema=schema,
            schema_digest=schema_digest, size=rows.size, at=self._clock.now(),
        )  # fmt: skip
        self._registry.put_identity(
            project, KIND, digest, size=rows.size, actor=actor, media_type=MEDIA_TYPE,
            parts=[(media, "media") for media in sorted(rows.media)],
        )  # fmt: skip
        version = self._registry.add_version(
            project, KIND, name, digest, actor=actor, semver=semver, reason=reason, expected_outcome=expected_outcome,
            meta=facts,
        )  # fmt: skip
        if new:
            source = {"source": rows.source, "format": "jsonl"} if rows.source else {"format": "rows"}
            self._registry.record(
                project, "import", [Edge(digest, "out", "dataset")], actor=actor,
                params={**source, "key": rows.key, "name": name, "semver": version.semver},
            )  # fmt: skip
        return _joined(version, stored)

    # -- reading ------------------------------------------------------------------------------------------------

    def names(self, project: str, *, limit: int = 50, after: str = "") -> list[Version]:
        """Return the newest version of every dataset, in the order of names; `meta` tells rows, order and schema."""
        return self._registry.names(project, KIND, limit=limit, after=after)

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
            raise DatasetNotFound(f"the rows of {name}@{version.semver} are not there", hint="import it again")
        return _joined(version, stored)

    def by_digest(self, project: str, digest: str, order: str | None = None) -> DatasetVersion:
        """Return the version that a release pins by digest and order."""
        found = self._store.find(project, parse_digest(digest), order)
        if found is not None:
            name, stored = found
            for version in self._registry.versions_of(project, digest):
                if version.kind == KIND and version.name == name and version.meta["order"] == stored.order:
                    return _joined(version, stored)
        raise DatasetNotFound(
            f"the project {project!r} has no dataset {digest}", hint="check the digest and the project"
        )

    def rows(self, version: DatasetVersion, *, limit: int = 100, after: int = 0) -> list[Row]:
        """Return rows in their order, from behind the position `after`."""
        stored = self._stored(version)
        members = self._store.members(stored, after=after, limit=limit)
        contents = self._store.contents(version.project, [member.digest for member in members])
        return [_row(member, contents) for member in members]

    def all_rows(self, version: DatasetVersion, *, batch: int = 500) -> Iterator[Row]:
        """Yield all rows in their order, a batch at a time."""
        after = 0
        while rows := self.rows(version, limit=batch, after=after):
            yield from rows
            after = rows[-1].position

    def diff(self, project: str, name: str, old: str, new: str, *, limit: int = 100, after: str = "") -> DatasetDiff:
        """Say which rows were added, removed, changed (field by field) and moved from one version to another.

        `old` and `new` are version numbers; rows come in the order of keys, from behind the key `after`.
        """
        limit = min(limit, MAX_DIFF_PAGE)
        left, right = self.version(project, name, old), self.version(project, name, new)
        older, newer = sorted((left.seq, right.seq))
        counts = {"added": 0, "removed": 0, "changed": 0, "moved": 0}
        page: list[tuple[str, Literal["added", "removed", "changed", "moved"], Member | None, Member | None]] = []
        more = False
        for key, before, now in self._store.changed(self._stored(left).dataset, older, newer):
            if left.seq > right.seq:
                before, now = now, before
            change = _change(before, now)
            counts[change] += 1
            if key > after:
                if len(page) < limit:
                    page.append((key, change, before, now))
                else:
                    more = True
        digests = {member.digest for _, _, before, now in page for member in (before, now) if member}
        contents = self._store.contents(project, sorted(digests))
        items = tuple(_row_change(key, change, before, now, contents) for key, change, before, now in page)
        return DatasetDiff(**counts, items=items, next_key=page[-1][0] if more else None)

    def _stored(self, version: DatasetVersion) -> StoredVersion:
        stored = self._store.version(version.project, version.name, version.digest, version.order)
        if stored is None:
            raise DatasetNotFound(f"the rows of {version.name}@{version.semver} are not there")
        return stored


class CheckedRows:
    """Checks rows one by one and holds what the store needs of them."""

    def __init__(self, limits: DatasetLimits, key: str | None, where: str, sees: Any) -> None:
        if key is not None and (not key or len(key) > 128):
            raise BadKey(f"{key!r} cannot name rows", hint="name a field such as id")
        self._limits, self.key, self._where, self._sees = limits, key, where, sees
        self._errors: list[RowError] = []
        self._own_keys: dict[str, int] = {}
        self.digests: list[bytes] = []
        self.contents: list[bytes] = []
        self.media: set[Digest] = set()
        self.shape = Shape()
        self.size = 0
        self.source: Digest | None = None

    def read(self, data: BinaryIO) -> None:
        """Read JSON Lines."""
        import hashlib

        state = hashlib.sha256()
        number = 0
        longest = self._limits.max_row_bytes * 2  # white space and escapes make a line longer than its row
        while line := data.readline(longest + 2):
            number += 1
            state.update(line)
            if len(line) > longest + 1:
                self._fail(number, "", f"longer than {longest} bytes; the lines behind it were not read")
                self.finish()
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                self.add(number, parse_json(text, where="the line"))
            except NotCanonical as error:
                self._fail(number, "", error.message)
        self.finish()
        self.source = Digest("sha256:" + state.hexdigest())

    def add(self, number: int, value: object) -> None:
        """Check one row; its number is what errors call it."""
        if not isinstance(value, Mapping):
            self._fail(number, "", f"a row is an object, not {_kind(value)}")
            return
        try:
            content = canonical_json(value)
        except NotCanonical as error:
            self._fail(number, "", error.message)
            return
        if len(content) > self._limits.max_row_bytes:
            self._fail(number, "", f"longer than {self._limits.max_row_bytes} bytes")
            return
        if not self._named(number, value) or not self._media(number, value, ""):
            return
        self.size += len(content)
        if len(self.digests) >= self._limits.max_rows or self.size > self._limits.max_bytes:
            raise DatasetTooLarge(
                f"{self._where} has more than {self._limits.max_rows} rows or {self._limits.max_bytes} bytes",
                hint="divide it into several datasets",
            )
        self.digests.append(bytes.fromhex(digest_bytes(content).removeprefix("sha256:")))
        self.contents.append(content)
        self.shape.add(value)

    def keys(self) -> list[str]:
        """Return the keys of the rows, in their order."""
        return list(content_keys(self.digests) if self.key is None else self._own_keys)

    def finish(self) -> None:
        """Refuse if anything was wrong."""
        if self._errors:
            raise BadRows(self._errors, where=self._where)

    def _named(self, number: int, row: Mapping[str, Any]) -> bool:
        if self.key is None:
            return True
        field = f"/{self.key}"
        if self.key not in row:
            self._fail(number, field, "the field that names rows is missing")
            return False
        named = row[self.key]
        if not isinstance(named, str | int) or isinstance(named, bool):
            self._fail(number, field, f"a row is named by a text or a whole number, not {_kind(named)}")
            return False
        key = str(named)
        if not key or len(key.encode()) > MAX_KEY_BYTES or "\x00" in key:
            self._fail(number, field, f"a row's name has 1 to {MAX_KEY_BYTES} bytes, and no NUL")
            return False
        if key in self._own_keys:
            self._fail(number, field, f"{key!r} already names the row of line {self._own_keys[key]}")
            return False
        self._own_keys[key] = number
        return True

    def _media(self, number: int, value: object, path: str) -> bool:
        if isinstance(value, Mapping):
            if BLOB_KEY in value:
                digest = value[BLOB_KEY]
                if len(value) != 1 or not isinstance(digest, str) or not _is_digest(digest) or not self._sees(digest):
                    self._fail(
                        number, path, f"{{{BLOB_KEY!r}: …}} must name bytes that the project has, and nothing else"
                    )
                    return False
                self.media.add(Digest(digest))
                return True
            return all(self._media(number, inner, f"{path}/{name}") for name, inner in value.items())
        if isinstance(value, list):
            return all(self._media(number, inner, f"{path}/{index}") for index, inner in enumerate(value))
        return True

    def _fail(self, number: int, field: str, reason: str) -> None:
        self._errors.append(RowError(number, field, reason))
        if len(self._errors) >= self._limits.max_errors:
            raise BadRows(self._errors, more=True, where=self._where)


def _is_digest(text: str) -> bool:
    try:
        parse_digest(text)
    except InvalidInput:
        return False
    return True


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "an array" if isinstance(value, Sequence) else "an object"


def _joined(version: Version, stored: StoredVersion) -> DatasetVersion:
    return DatasetVersion(
        version.project, version.name, stored.seq, version.semver, stored.digest, stored.order, stored.schema_digest,
        stored.schema, stored.rows, stored.size, version.author, version.author_name,
        version.created_at, version.reason,
        version.expected_outcome,
    )  # fmt: skip


def _value(content: bytes) -> Mapping[str, Any]:
    value = parse_json(content, where="a stored row")
    if not isinstance(value, dict):
        raise DatasetNotFound("a stored row is damaged", hint="restore the last backup")
    return value


def _row(member: Member, contents: Mapping[bytes, bytes]) -> Row:
    content = contents.get(member.digest)
    if content is None:
        raise DatasetNotFound(f"the row {member.key!r} is not there", hint="it was erased, or the store is damaged")
    return Row(member.key, Digest("sha256:" + member.digest.hex()), member.position, _value(content))


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
    before = _value(contents[old.digest]) if old and old.digest in contents else None
    after = _value(contents[new.digest]) if new and new.digest in contents else None
    fields = (
        tuple(diff_values(before, after)) if change == "changed" and before is not None and after is not None else ()
    )
    return RowChange(key, change, before, after, fields)
