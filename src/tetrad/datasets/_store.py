"""The datasets' tables: rows by digest, members valid from one version to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa
import zstandard

from tetrad.datasets._model import place
from tetrad.datasets.ports import Member, StoredVersion
from tetrad.kernel import Digest, new_id
from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata

RAW, ZSTD = 0, 1
_COMPRESS_FROM_BYTES = 512
_BATCH = 500

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
    sa.Column("key", sa.String(256), primary_key=True),
    sa.Column("valid_from", sa.Integer, primary_key=True),
    sa.Column("valid_to", sa.Integer),  # the first version without it; NULL: still there
    sa.Column("row_digest", sa.LargeBinary(32), nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
)
sa.Index(None, dataset_members.c.dataset, dataset_members.c.position)
sa.Index(None, dataset_members.c.dataset, dataset_members.c.valid_from)
sa.Index(None, dataset_members.c.dataset, dataset_members.c.valid_to)


class SqlDatasetStore:
    """`DatasetStore` on a relational database. An edit of few rows writes few rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_rows(self, project: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
        packer = zstandard.ZstdCompressor(level=3)
        iterator = iter(rows)
        while batch := dict(islice(iterator, _BATCH)):
            missing = batch.keys() - self._known(project, list(batch))
            values = [
                {"project": project, "digest": digest, **_packed(packer, batch[digest])} for digest in sorted(missing)
            ]
            if values:
                with self._database.write() as connection:
                    insert_or_ignore(connection, dataset_rows, values)

    def _known(self, project: str, digests: Sequence[bytes]) -> set[bytes]:
        statement = sa.select(dataset_rows.c.digest).where(
            dataset_rows.c.project == project, dataset_rows.c.digest.in_(digests)
        )
        with self._database.read() as connection:
            return {bytes(digest) for digest in connection.scalars(statement)}

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
        known = self.version(project, name, digest, order)
        if known is not None:
            return known, False
        with self._database.write() as connection:
            dataset, last = _hold(connection, project, name, at)
            row = connection.execute(_same(dataset, digest, order)).one_or_none()
            if row is not None:
                return _stored(row), False
            seq = last + 1
            _replace_members(connection, dataset, seq, members)
            connection.execute(
                sa.insert(dataset_versions).values(
                    dataset=dataset, seq=seq, digest=digest, row_order=order, row_schema=dict(schema),
                    schema_digest=schema_digest, rows=len(members), size=size, created_at=at,
                )
            )  # fmt: skip
            connection.execute(sa.update(datasets).where(datasets.c.id == dataset).values(last_seq=seq))
        return StoredVersion(dataset, seq, digest, order, schema, schema_digest, len(members), size), True

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
                dataset_members.c.valid_from <= version.seq,
                sa.or_(dataset_members.c.valid_to.is_(None), dataset_members.c.valid_to > version.seq),
            )
            .order_by(dataset_members.c.position)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_member(row) for row in connection.execute(statement)]

    def contents(self, project: str, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        unpacker = zstandard.ZstdDecompressor()
        found: dict[bytes, bytes] = {}
        with self._database.read() as connection:
            for start in range(0, len(digests), _BATCH):
                rows = connection.execute(
                    sa.select(dataset_rows.c.digest, dataset_rows.c.codec, dataset_rows.c.content).where(
                        dataset_rows.c.project == project,
                        dataset_rows.c.digest.in_(digests[start : start + _BATCH]),
                    )
                )
                for digest, codec, content in rows:
                    found[bytes(digest)] = unpacker.decompress(content) if codec == ZSTD else bytes(content)
        return found

    def changed(self, dataset: str, older: int, newer: int) -> Iterator[tuple[str, Member | None, Member | None]]:
        mine = dataset_members.c.dataset == dataset
        # A member that differs has ended by `newer`, or began after `older`; the others are never looked at.
        before = sa.select(dataset_members).where(
            mine,
            dataset_members.c.valid_from <= older,
            dataset_members.c.valid_to > older,
            dataset_members.c.valid_to <= newer,
        )
        after = sa.select(dataset_members).where(
            mine,
            dataset_members.c.valid_from > older,
            dataset_members.c.valid_from <= newer,
            sa.or_(dataset_members.c.valid_to.is_(None), dataset_members.c.valid_to > newer),
        )
        with self._database.read() as connection:
            old = {row.key: _member(row) for row in connection.execute(before)}
            new = {row.key: _member(row) for row in connection.execute(after)}
        for key in sorted(old.keys() | new.keys()):
            left, right = old.get(key), new.get(key)
            if left is None or right is None or (left.digest, left.position) != (right.digest, right.position):
                yield key, left, right


def _hold(connection: sa.Connection, project: str, name: str, at: datetime) -> tuple[str, int]:
    """Return a dataset's id and newest version, made when absent, its row held until the transaction ends."""
    insert_or_ignore(
        connection, datasets, {"id": new_id("ds"), "project": project, "name": name, "last_seq": 0, "created_at": at}
    )
    mine = sa.and_(datasets.c.project == project, datasets.c.name == name)
    connection.execute(sa.update(datasets).where(mine).values(last_seq=datasets.c.last_seq))
    row = connection.execute(sa.select(datasets.c.id, datasets.c.last_seq).where(mine)).one()
    return row.id, row.last_seq


def _replace_members(connection: sa.Connection, dataset: str, seq: int, members: Sequence[tuple[str, bytes]]) -> None:
    """Write only what differs from the version before: end members, begin members."""
    current = {
        row.key: _member(row)
        for row in connection.execute(
            sa.select(dataset_members).where(dataset_members.c.dataset == dataset, dataset_members.c.valid_to.is_(None))
        )
    }
    positions = place([key for key, _ in members], {key: member.position for key, member in current.items()})
    wanted = {key: (digest, position) for (key, digest), position in zip(members, positions, strict=True)}
    ended = [k for k, member in current.items() if wanted.get(k) != (member.digest, member.position)]
    begun = [
        {"dataset": dataset, "key": key, "valid_from": seq, "row_digest": digest, "position": position}
        for key, (digest, position) in wanted.items()
        if key not in current or (current[key].digest, current[key].position) != (digest, position)
    ]
    for start in range(0, len(ended), _BATCH):
        connection.execute(
            sa.update(dataset_members)
            .where(
                dataset_members.c.dataset == dataset,
                dataset_members.c.valid_to.is_(None),
                dataset_members.c.key.in_(ended[start : start + _BATCH]),
            )
            .values(valid_to=seq)
        )
    for start in range(0, len(begun), _BATCH):
        connection.execute(sa.insert(dataset_members), begun[start : start + _BATCH])


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


def _packed(packer: zstandard.ZstdCompressor, content: bytes) -> dict[str, Any]:
    if len(content) >= _COMPRESS_FROM_BYTES:
        packed = packer.compress(content)
        if len(packed) < len(content):
            return {"codec": ZSTD, "content": packed}
    return {"codec": RAW, "content": content}
