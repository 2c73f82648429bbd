"""The datasets' tables: rows by digest, members valid from one version to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tetrad.datasets._packing import Unpacker
from tetrad.datasets._scratch import batches
from tetrad.datasets.errors import BaseMoved, ImportExpired
from tetrad.datasets.ports import ColumnValue, Member, Push, Staged, StoredVersion
from tetrad.kernel import Digest, new_id
from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata, upsert

_BATCH = 500
_PAGE = 5000
_SORTED_HERE = 20_000  # as many differences are sorted in memory; more are read in the order of the index
_STILL_THERE = 2**31 - 1
_PUBLISH_CACHE_KIB = 64 * 1024
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
# Keys sort by their bytes in every database: digests are taken in that order.
_Key = sa.String(256).with_variant(sa.String(256, collation="C"), "postgresql")

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("project", "name"),
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("dataset", sa.String(64), sa.ForeignKey("datasets.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("row_order", sa.String(71), nullable=False),
    sa.Column("row_schema", JsonText, nullable=False),
    sa.Column("schema_digest", sa.String(71), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("dataset", "digest", "row_order"),
)
sa.Index(None, dataset_versions.c.digest)

dataset_rows = sa.Table(
    "dataset_rows",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("codec", sa.SmallInteger, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

dataset_members = sa.Table(
    "dataset_members",
    metadata,
    sa.Column("dataset", sa.String(64), sa.ForeignKey("datasets.id"), primary_key=True),
    sa.Column("key", _Key, primary_key=True),
    sa.Column("valid_from", sa.Integer, primary_key=True),
    sa.Column("valid_to", sa.Integer),  # the first version without it; NULL: still there
    sa.Column("row_digest", sa.LargeBinary(32), nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
)
sa.Index(None, dataset_members.c.dataset, dataset_members.c.position)
sa.Index(None, dataset_members.c.dataset, dataset_members.c.valid_from)
sa.Index(None, dataset_members.c.dataset, dataset_members.c.valid_to)


dataset_imports = sa.Table(
    "dataset_imports",
    metadata,
    sa.Column("id", sa.String(160), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("began_at", Timestamp, nullable=False),
    sa.Column("beat_at", Timestamp),  # NULL: the project's lock, no import
)
sa.Index(None, dataset_imports.c.project)

dataset_pushes = sa.Table(
    "dataset_pushes",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("idempotency_key", sa.String(128), primary_key=True),
    sa.Column("request", sa.String(71), nullable=False),
    sa.Column("semver", sa.String(64), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
)

dataset_columns = sa.Table(
    "dataset_columns",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("row_digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("column", sa.String(63), primary_key=True),
    sa.Column("value", JsonText, nullable=False),
    sa.Column("author", sa.String(128), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
)


class _Overtaken(Exception):
    """Another version of the dataset was published in between."""


class SqlDatasetStore:
    """`DatasetStore` on a relational database. An edit of few rows writes few rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- imports ------------------------------------------------------------------------------------------------

    def begin(self, project: str, name: str, *, at: datetime) -> str:
        import_id = new_id("imp")
        with self._database.write() as connection:
            _lock_rows(connection, project, at)
            connection.execute(
                sa.insert(dataset_imports).values(id=import_id, project=project, name=name, began_at=at, beat_at=at)
            )
        return import_id

    def beat(self, import_id: str, *, at: datetime) -> None:
        with self._database.write() as connection:
            _alive(connection.execute(sa.update(dataset_imports).where(_import(import_id)).values(beat_at=at)).rowcount)

    def abandon(self, import_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(sa.update(dataset_imports).where(_import(import_id)).values(beat_at=_NEVER))

    def unfinished(self, *, dead_before: datetime) -> list[str]:
        statement = sa.select(dataset_imports.c.project).where(dataset_imports.c.beat_at < dead_before).distinct()
        with self._database.read() as connection:
            return list(connection.scalars(statement.order_by(dataset_imports.c.project)))

    def sweep(self, project: str, *, dead_before: datetime) -> int:
        mine = dataset_imports.c.project == project
        with self._database.write() as connection:
            _lock_rows(connection, project, dead_before)
            living = sa.select(dataset_imports.c.id).where(mine, dataset_imports.c.beat_at >= dead_before).limit(1)
            if connection.execute(living).one_or_none() is not None:
                return 0
            ours = sa.select(datasets.c.id).where(datasets.c.project == project)
            used = sa.select(dataset_members.c.row_digest).where(dataset_members.c.dataset.in_(ours))
            done = connection.execute(
                sa.delete(dataset_rows).where(dataset_rows.c.project == project, dataset_rows.c.digest.not_in(used))
            )
            if done.rowcount:
                kept = sa.select(dataset_rows.c.digest).where(dataset_rows.c.project == project)
                said = sa.delete(dataset_columns).where(dataset_columns.c.project == project)
                connection.execute(said.where(dataset_columns.c.row_digest.not_in(kept)))
            connection.execute(sa.delete(dataset_imports).where(mine, dataset_imports.c.beat_at.is_not(None)))
            return int(done.rowcount)

    def forget(self, project: str, digests: Sequence[Digest], transaction: Any) -> None:
        for part in batches(digests, _BATCH):
            found = transaction.execute(
                sa.select(dataset_versions.c.dataset, dataset_versions.c.seq)
                .join(datasets, datasets.c.id == dataset_versions.c.dataset)
                .where(datasets.c.project == project, dataset_versions.c.digest.in_(part))
            ).all()
            for row in found:
                mine = sa.and_(dataset_versions.c.dataset == row.dataset, dataset_versions.c.seq == row.seq)
                transaction.execute(sa.delete(dataset_versions).where(mine))
            for dataset in sorted({row.dataset for row in found}):
                _forget_members(transaction, dataset)

    def pushed(self, project: str) -> list[Digest]:
        statement = sa.select(dataset_pushes.c.request).where(dataset_pushes.c.project == project).distinct()
        with self._database.read() as connection:
            return [Digest(request) for request in connection.scalars(statement.order_by(dataset_pushes.c.request))]

    def put_rows(self, project: str, rows: Iterable[tuple[bytes, int, bytes]], beat: Callable[[], None]) -> None:
        dialect = postgresql if self._database.dialect == "postgresql" else sqlite
        statement = dialect.insert(dataset_rows).on_conflict_do_nothing()
        for batch in batches(rows, _BATCH * 4):
            known: set[bytes] = set()
            for part in batches((digest for digest, _, _ in batch), _BATCH):
                known |= self._known(project, part)
            values = [
                {"project": project, "digest": digest, "codec": codec, "content": content}
                for digest, codec, content in batch
                if digest not in known
            ]
            if values:
                with self._database.write() as connection:
                    connection.execute(statement, values)
            beat()

    def _known(self, project: str, digests: Sequence[bytes]) -> set[bytes]:
        statement = sa.select(dataset_rows.c.digest).where(
            dataset_rows.c.project == project, dataset_rows.c.digest.in_(digests)
        )
        with self._database.read() as connection:
            return {bytes(digest) for digest in connection.scalars(statement)}

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
        while True:
            newest, made = self._newest(project, name), None
            staged.compare(self._current(*newest) if newest else ())
            with suppress(_Overtaken), self._publishing() as connection:
                dataset, last = _hold(connection, project, name, at)
                _alive(connection.execute(sa.delete(dataset_imports).where(_import(import_id))).rowcount)
                row = connection.execute(_same(dataset, digest, order)).one_or_none()
                if row is not None:
                    return _stored(row), False
                if base is not None and last != base:
                    raise BaseMoved(f"version {last} of {name!r} came in between", hint="try again")
                if last != (newest[1] if newest else 0):
                    raise _Overtaken  # roll back, and compare with the version that came in between
                seq = last + 1
                _write_members(connection, dataset, seq, staged)
                connection.execute(
                    sa.insert(dataset_versions).values(
                        dataset=dataset, seq=seq, digest=digest, row_order=order, row_schema=dict(schema),
                        schema_digest=schema_digest, rows=staged.rows, size=size, created_at=at,
                    )
                )  # fmt: skip
                connection.execute(sa.update(datasets).where(datasets.c.id == dataset).values(last_seq=seq))
                made = StoredVersion(dataset, seq, digest, order, schema, schema_digest, staged.rows, size)
            if made is not None:
                return made, True

    @contextmanager
    def _publishing(self) -> Iterator[sa.Connection]:
        with self._database.write() as connection:
            if self._database.dialect != "sqlite":
                yield connection
                return
            # A transaction that outgrows the cache writes pages many times over.
            connection.exec_driver_sql(f"PRAGMA cache_size=-{_PUBLISH_CACHE_KIB}")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("PRAGMA cache_size=-2000")

    def _newest(self, project: str, name: str) -> tuple[str, int] | None:
        statement = sa.select(datasets.c.id, datasets.c.last_seq).where(
            datasets.c.project == project, datasets.c.name == name
        )
        with self._database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return (row.id, row.last_seq) if row is not None and row.last_seq else None

    def _current(self, dataset: str, seq: int) -> Iterator[Member]:
        after = ""
        while True:
            with self._database.read() as connection:
                found = _by_key(connection, dataset, seq, after, _PAGE)
            yield from found
            if len(found) < _PAGE:
                return
            after = found[-1].key

    # -- reading ------------------------------------------------------------------------------------------------

    def newest(self, project: str, name: str) -> StoredVersion | None:
        statement = (
            sa.select(dataset_versions)
            .join(datasets, datasets.c.id == dataset_versions.c.dataset)
            .where(
                datasets.c.project == project, datasets.c.name == name, dataset_versions.c.seq == datasets.c.last_seq
            )
        )
        with self._database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else _stored(row)

    def version(self, project: str, name: str, digest: str, order: str) -> StoredVersion | None:
        statement = (
            sa.select(dataset_versions)
            .join(datasets, datasets.c.id == dataset_versions.c.dataset)
            .where(
                datasets.c.project == project,
                datasets.c.name == name,
                dataset_versions.c.digest == digest,
                dataset_versions.c.row_order == order,
            )
        )
        with self._database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else _stored(row)

    def find(self, project: str, digest: str, order: str | None) -> tuple[str, StoredVersion] | None:
        statement = (
            sa.select(dataset_versions, datasets.c.name)
            .join(datasets, datasets.c.id == dataset_versions.c.dataset)
            .where(datasets.c.project == project, dataset_versions.c.digest == digest)
        )
        if order is not None:
            statement = statement.where(dataset_versions.c.row_order == order)
        with self._database.read() as connection:
            row = connection.execute(
                statement.order_by(dataset_versions.c.created_at.desc(), datasets.c.name).limit(1)
            ).one_or_none()
        return None if row is None else (row.name, _stored(row))

    def members(self, version: StoredVersion, *, after: int, limit: int) -> list[Member]:
        statement = (
            sa.select(dataset_members)
            .where(
                dataset_members.c.dataset == version.dataset,
                dataset_members.c.position > after,
                _valid(version.seq),
            )
            .order_by(dataset_members.c.position)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_member(row) for row in connection.execute(statement)]

    def members_by_key(self, version: StoredVersion, *, after: str, limit: int) -> list[Member]:
        with self._database.read() as connection:
            return _by_key(connection, version.dataset, version.seq, after, limit)

    def member(self, version: StoredVersion, key: str) -> Member | None:
        statement = sa.select(dataset_members).where(
            dataset_members.c.dataset == version.dataset, dataset_members.c.key == key, _valid(version.seq)
        )
        with self._database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else _member(row)

    def contents(self, project: str, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        unpacker = Unpacker()
        found: dict[bytes, bytes] = {}
        with self._database.read() as connection:
            for part in batches(digests, _BATCH):
                rows = connection.execute(
                    sa.select(dataset_rows.c.digest, dataset_rows.c.codec, dataset_rows.c.content).where(
                        dataset_rows.c.project == project, dataset_rows.c.digest.in_(part)
                    )
                )
                for digest, codec, content in rows:
                    found[bytes(digest)] = unpacker.unpack(codec, content)
        return found

    def changed(
        self, dataset: str, older: int, newer: int, *, after: str = ""
    ) -> Iterator[tuple[str, Member | None, Member | None]]:
        for key, pair in groupby(self._differing(dataset, older, newer, after), key=lambda row: str(row.key)):
            old = new = None
            for row in pair:
                if row.valid_from <= older:
                    old = _member(row)
                else:
                    new = _member(row)
            if old is None or new is None or (old.digest, old.position) != (new.digest, new.position):
                yield key, old, new

    def _differing(self, dataset: str, older: int, newer: int, after: str) -> Iterator[sa.Row[Any]]:
        """Yield members that ended or began between two versions, in the order of keys.

        Few are found by their versions' index and sorted; many are read page by page in the order of keys.
        """
        mine = dataset_members.c
        left = sa.and_(mine.valid_from <= older, mine.valid_to > older, mine.valid_to <= newer)
        right = sa.and_(
            mine.valid_from > older, mine.valid_from <= newer, sa.or_(mine.valid_to.is_(None), mine.valid_to > newer)
        )
        found: list[sa.Row[Any]] = []
        with self._database.read() as connection:
            for side in (left, right):
                statement = sa.select(dataset_members).where(mine.dataset == dataset, side, mine.key > after)
                found += connection.execute(statement.limit(_SORTED_HERE + 1 - len(found))).all()
                if len(found) > _SORTED_HERE:
                    break
        if len(found) <= _SORTED_HERE:
            yield from sorted(found, key=lambda row: (row.key.encode(), row.valid_from))
            return
        began, ended = mine.valid_from + 0, _end()
        either = sa.or_(
            sa.and_(began <= older, ended > older, ended <= newer),
            sa.and_(began > older, began <= newer, ended > newer),
        )
        last: tuple[str, int] = (after, _STILL_THERE)
        while True:
            statement = (
                sa.select(dataset_members)
                .where(mine.dataset == dataset, sa.tuple_(mine.key, mine.valid_from) > last, either)
                .order_by(mine.key, mine.valid_from)
                .limit(_PAGE)
            )
            with self._database.read() as connection:
                page = connection.execute(statement).all()
            yield from page
            if len(page) < _PAGE:
                return
            last = (page[-1].key, page[-1].valid_from)

    # -- pushes and side columns --------------------------------------------------------------------------------

    def push(self, project: str, name: str, idempotency_key: str) -> Push | None:
        with self._database.read() as connection:
            return _push(connection, project, name, idempotency_key)

    def note_push(self, project: str, name: str, idempotency_key: str, push: Push, *, at: datetime) -> Push:
        with self._database.write() as connection:
            insert_or_ignore(
                connection, dataset_pushes,
                {
                    "project": project, "name": name, "idempotency_key": idempotency_key, "request": push.request,
                    "semver": push.semver, "at": at,
                },
            )  # fmt: skip
            return _push(connection, project, name, idempotency_key) or push

    def put_columns(self, project: str, values: Sequence[ColumnValue]) -> None:
        with self._database.write() as connection:
            for value in values:
                upsert(
                    connection, dataset_columns,
                    {
                        "project": project, "row_digest": value.digest, "column": value.column, "value": value.value,
                        "author": value.author, "at": value.at,
                    },
                    key=("project", "row_digest", "column"),
                )  # fmt: skip

    def columns(self, project: str, digests: Sequence[bytes], names: Sequence[str]) -> list[ColumnValue]:
        found: list[ColumnValue] = []
        with self._database.read() as connection:
            for part in batches(digests, _BATCH):
                statement = sa.select(dataset_columns).where(
                    dataset_columns.c.project == project, dataset_columns.c.row_digest.in_(part)
                )
                if names:
                    statement = statement.where(dataset_columns.c.column.in_(names))
                rows = connection.execute(statement.order_by(dataset_columns.c.column))
                found += [ColumnValue(bytes(row.row_digest), row.column, row.value, row.author, row.at) for row in rows]
        return found


def _push(connection: sa.Connection, project: str, name: str, idempotency_key: str) -> Push | None:
    row = connection.execute(
        sa.select(dataset_pushes).where(
            dataset_pushes.c.project == project,
            dataset_pushes.c.name == name,
            dataset_pushes.c.idempotency_key == idempotency_key,
        )
    ).one_or_none()
    return None if row is None else Push(Digest(row.request), row.semver)


def _import(import_id: str) -> sa.ColumnElement[bool]:
    return dataset_imports.c.id == import_id


def _alive(rows: int) -> None:
    if not rows:
        raise ImportExpired("the import was given up: it showed no sign of life for too long", hint="import again")


def _lock_rows(connection: sa.Connection, project: str, at: datetime) -> None:
    """Let the beginning of an import and a sweep of a project follow one another."""
    name = f"lock:{project}"
    insert_or_ignore(
        connection, dataset_imports, {"id": name, "project": project, "name": "", "began_at": at, "beat_at": None}
    )
    connection.execute(sa.update(dataset_imports).where(_import(name)).values(name=""))


def _end() -> sa.ColumnElement[int]:
    """The version that a member ends with, as an expression that no index answers: the order of rows counts more."""
    return sa.func.coalesce(dataset_members.c.valid_to, _STILL_THERE)


def _valid(seq: int) -> sa.ColumnElement[bool]:
    return sa.and_(dataset_members.c.valid_from + 0 <= seq, _end() > seq)


def _by_key(connection: sa.Connection, dataset: str, seq: int, after: str, limit: int) -> list[Member]:
    statement = (
        sa.select(dataset_members)
        .where(dataset_members.c.dataset == dataset, dataset_members.c.key > after, _valid(seq))
        .order_by(dataset_members.c.key)
        .limit(limit)
    )
    return [_member(row) for row in connection.execute(statement)]


def _hold(connection: sa.Connection, project: str, name: str, at: datetime) -> tuple[str, int]:
    """Return a dataset's id and newest version, made when absent, its row held until the transaction ends."""
    insert_or_ignore(
        connection, datasets, {"id": new_id("ds"), "project": project, "name": name, "last_seq": 0, "created_at": at}
    )
    mine = sa.and_(datasets.c.project == project, datasets.c.name == name)
    connection.execute(sa.update(datasets).where(mine).values(last_seq=datasets.c.last_seq))
    row = connection.execute(sa.select(datasets.c.id, datasets.c.last_seq).where(mine)).one()
    return row.id, row.last_seq


def _write_members(connection: sa.Connection, dataset: str, seq: int, staged: Staged) -> None:
    """Write only what differs from the version before: end members, begin members."""
    ending = (
        sa.update(dataset_members)
        .where(
            dataset_members.c.dataset == dataset,
            dataset_members.c.key == sa.bindparam("ended"),
            _end() == _STILL_THERE,  # by its key, not by the index of the many that are still there
        )
        .values(valid_to=seq)
    )
    for keys in batches(staged.ended(), _PAGE):
        connection.execute(ending, [{"ended": key} for key in keys])
    beginning = sa.insert(dataset_members)
    for members in batches(staged.begun(), _PAGE):
        connection.execute(
            beginning,
            [
                {
                    "dataset": dataset, "key": member.key, "valid_from": seq, "row_digest": member.digest,
                    "position": member.position,
                }
                for member in members
            ],
        )  # fmt: skip


def _forget_members(connection: sa.Connection, dataset: str) -> None:
    """Delete members that are in no version that is left.

    The newest version may be among those that went: what it had is then begun anew by the next one that has it.
    """
    there = sa.exists().where(
        dataset_versions.c.dataset == dataset,
        dataset_versions.c.seq >= dataset_members.c.valid_from,
        sa.or_(dataset_members.c.valid_to.is_(None), dataset_versions.c.seq < dataset_members.c.valid_to),
    )
    connection.execute(sa.delete(dataset_members).where(dataset_members.c.dataset == dataset, ~there))


def _same(dataset: str, digest: str, order: str) -> sa.Select[Any]:
    return sa.select(dataset_versions).where(
        dataset_versions.c.dataset == dataset,
        dataset_versions.c.digest == digest,
        dataset_versions.c.row_order == order,
    )


def _stored(row: sa.Row[Any]) -> StoredVersion:
    return StoredVersion(
        row.dataset, row.seq, Digest(row.digest), Digest(row.row_order), row.row_schema, Digest(row.schema_digest),
        row._mapping["rows"], row.size,
    )  # fmt: skip


def _member(row: sa.Row[Any]) -> Member:
    return Member(row.key, bytes(row.row_digest), row.position)
