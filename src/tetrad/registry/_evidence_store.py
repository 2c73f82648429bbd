"""The tables of evidence and of the keys that sign it, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tetrad.kernel import Digest
from tetrad.kit.db import Database, Timestamp, insert_or_ignore, metadata
from tetrad.registry.ports import EvidenceRow

_CHUNK = 500

evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("seq", sa.String(64), nullable=False),  # a sortable id, for pages
    sa.Column("predicate_type", sa.String(128), nullable=False),
    sa.Column("envelope", sa.Text, nullable=False),
    sa.Column("receipt", sa.String(200), nullable=False),
    sa.Column("received_at", Timestamp, nullable=False),
    sa.Column("received_by", sa.String(128), nullable=False),
    sa.Column("received_by_name", sa.String(256), nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("revoked_at", Timestamp),
    sa.Column("revoked_by", sa.String(128), nullable=False),
    sa.Column("revoked_because", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "seq"),
)

evidence_subjects = sa.Table(
    "evidence_subjects",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("subject", sa.String(71), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.ForeignKeyConstraint(["project", "digest"], ["evidence.project", "evidence.digest"]),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),  # empty: the installation's
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
)


class SqlEvidenceStore:
    """`EvidenceStore` on a relational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: EvidenceRow, subjects: Sequence[str], transaction: Any = None) -> EvidenceRow:
        with self._writing(transaction) as connection:
            values = {column.name: getattr(row, column.name) for column in evidence.c}
            if insert_or_ignore(connection, evidence, values):
                named = sorted(set(subjects))
                for start in range(0, len(named), _CHUNK):
                    insert_or_ignore(
                        connection,
                        evidence_subjects,
                        [
                            {"project": row.project, "subject": subject, "digest": row.digest}
                            for subject in named[start : start + _CHUNK]
                        ],
                    )
            return _row(connection.execute(_one(row.project, row.digest)).one())

    def renew(self, row: EvidenceRow, *, now: datetime) -> EvidenceRow | None:
        expired = sa.and_(
            evidence.c.project == row.project, evidence.c.digest == row.digest, evidence.c.revoked_at.is_(None),
            evidence.c.expires_at <= now,
        )  # fmt: skip
        names = ("seq", "receipt", "received_at", "received_by", "received_by_name", "expires_at")
        with self._database.write() as connection:
            values = {name: getattr(row, name) for name in names}
            connection.execute(sa.update(evidence).where(expired).values(**values))
            found = connection.execute(_one(row.project, row.digest)).one_or_none()
        return None if found is None else _row(found)

    def get(self, project: str, digest: str) -> EvidenceRow | None:
        with self._database.read() as connection:
            row = connection.execute(_one(project, digest)).one_or_none()
        return None if row is None else _row(row)

    def about(
        self, project: str, subjects: Sequence[str], transaction: Any = None, *, digests: Sequence[str] = ()
    ) -> list[EvidenceRow]:
        found: dict[str, EvidenceRow] = {}
        named, wanted = sorted(set(subjects)), sorted(set(digests))
        with self._reading(transaction) as connection:
            for start in range(0, len(wanted), _CHUNK):
                chunk = wanted[start : start + _CHUNK]
                by_name = sa.select(evidence).where(evidence.c.project == project, evidence.c.digest.in_(chunk))
                found.update((row.digest, _row(row)) for row in connection.execute(by_name))
            for start in range(0, len(named), _CHUNK):
                statement = (
                    sa.select(evidence)
                    .join(
                        evidence_subjects,
                        sa.and_(
                            evidence_subjects.c.project == evidence.c.project,
                            evidence_subjects.c.digest == evidence.c.digest,
                        ),
                    )
                    .where(
                        evidence_subjects.c.project == project,
                        evidence_subjects.c.subject.in_(named[start : start + _CHUNK]),
                    )
                )
                for row in connection.execute(statement):
                    found[row.digest] = _row(row)
        return sorted(found.values(), key=lambda each: each.seq)

    def newest(
        self, project: str, *, subject: str | None, predicate_type: str | None, limit: int, before: str | None
    ) -> list[EvidenceRow]:
        statement = sa.select(evidence).where(evidence.c.project == project)
        if subject is not None:
            statement = statement.where(
                evidence.c.digest.in_(
                    sa.select(evidence_subjects.c.digest).where(
                        evidence_subjects.c.project == project, evidence_subjects.c.subject == subject
                    )
                )
            )
        if predicate_type is not None:
            statement = statement.where(evidence.c.predicate_type == predicate_type)
        if before is not None:
            statement = statement.where(evidence.c.seq < before)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(statement.order_by(evidence.c.seq.desc()).limit(limit))]

    def revoke(self, project: str, digest: str, *, values: Mapping[str, Any]) -> EvidenceRow | None:
        mine = sa.and_(evidence.c.project == project, evidence.c.digest == digest)
        with self._database.write() as connection:
            connection.execute(sa.update(evidence).where(mine, evidence.c.revoked_at.is_(None)).values(**values))
            row = connection.execute(_one(project, digest)).one_or_none()
        return None if row is None else _row(row)

    def keys(self, projects: Sequence[str], transaction: Any = None) -> list[tuple[str, str, bytes]]:
        statement = (
            sa.select(signing_keys.c.project, signing_keys.c.id, signing_keys.c.sealed)
            .where(signing_keys.c.project.in_(list(projects)))
            .order_by(signing_keys.c.created_at, signing_keys.c.id)
        )
        with self._reading(transaction) as connection:
            return [(row.project, row.id, bytes(row.sealed)) for row in connection.execute(statement)]

    def every_key(self) -> list[tuple[str, str, bytes]]:
        statement = sa.select(signing_keys.c.project, signing_keys.c.id, signing_keys.c.sealed)
        with self._database.read() as connection:
            return [(row.project, row.id, bytes(row.sealed)) for row in connection.execute(statement)]

    def change_keys(
        self, project: str, decide: Callable[[list[tuple[str, bytes]]], Sequence[tuple[str, bytes, Any]]]
    ) -> None:
        with self._database.write() as connection:
            rows = connection.execute(
                sa.select(signing_keys.c.id, signing_keys.c.sealed)
                .where(signing_keys.c.project == project)
                .order_by(signing_keys.c.created_at, signing_keys.c.id)
                .with_for_update()
            )
            known = [(row.id, bytes(row.sealed)) for row in rows]
            there = {key_id for key_id, _ in known}
            for key_id, sealed, created_at in decide(known):
                if key_id in there:
                    mine = sa.and_(signing_keys.c.project == project, signing_keys.c.id == key_id)
                    connection.execute(sa.update(signing_keys).where(mine).values(sealed=sealed))
                else:
                    row = {"project": project, "id": key_id, "sealed": sealed, "created_at": created_at}
                    connection.execute(sa.insert(signing_keys).values(**row))

    @contextmanager
    def _reading(self, transaction: Any) -> Iterator[sa.Connection]:
        """Read in the transaction that is open; a second connection would see an older state, or find none free."""
        if transaction is not None:
            yield transaction
        else:
            with self._database.read() as connection:
                yield connection

    @contextmanager
    def _writing(self, transaction: Any) -> Iterator[sa.Connection]:
        if transaction is not None:
            yield transaction
        else:
            with self._database.write() as connection:
                yield connection


def _one(project: str, digest: str) -> sa.Select[Any]:
    return sa.select(evidence).where(evidence.c.project == project, evidence.c.digest == digest)


def _row(row: sa.Row[Any]) -> EvidenceRow:
    found = {name: row._mapping[name] for name in EvidenceRow.__struct_fields__}
    return EvidenceRow(**{**found, "digest": Digest(row.digest)})
