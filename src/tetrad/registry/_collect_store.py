"""What collections and erasures read and write, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tetrad.kernel import Digest
from tetrad.kit.db import Database
from tetrad.registry._activities import activities, lineage_edges
from tetrad.registry._model import Artifact
from tetrad.registry._store import _artifact, hold_project
from tetrad.registry._tables import artifact_parts, artifacts, ref_log, ref_rules, refs, version_names, versions

_CHUNK = 500
# What was erased is still named by what contained it, which must not keep its bytes.
_tomb = artifacts.alias("tomb")
_is_tombstone = (
    _tomb.c.project == artifact_parts.c.project,
    _tomb.c.digest == artifact_parts.c.part,
    _tomb.c.erased_at.is_not(None),
)
_DIGEST_CHARS = 71


class SqlCollectStore:
    """`CollectStore` on a relational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def projects(self) -> list[str]:
        with self._database.read() as connection:
            return list(connection.scalars(sa.select(artifacts.c.project).distinct().order_by(artifacts.c.project)))

    @contextmanager
    def looking(self) -> Iterator[sa.Connection]:
        with self._database.read() as connection:
            yield connection

    @contextmanager
    def holding(self, project: str) -> Iterator[sa.Connection]:
        with self._database.write() as connection:
            hold_project(connection, project)
            yield connection

    def living(self, transaction: Any, project: str) -> dict[Digest, Artifact]:
        statement = sa.select(artifacts).where(artifacts.c.project == project, artifacts.c.erased_at.is_(None))
        found = (_artifact(row) for row in transaction.execute(statement))
        return {each.digest: each for each in found}

    def roots(
        self,
        transaction: Any,
        project: str,
        *,
        log_entries: int,
        kept_since: datetime,
        versions_before: datetime | None,
    ) -> list[tuple[Digest, str]]:
        return [
            *_refs(transaction, project),
            *_moves(transaction, project, log_entries),
            *_rules(transaction, project),
            *_running(transaction, project),
            *_versions(transaction, project, versions_before),
            *_young(transaction, project, kept_since),
        ]

    def bury(
        self,
        transaction: Any,
        project: str,
        digests: Sequence[Digest],
        *,
        at: datetime,
        by: str,
        because: str,
        versions_too: bool,
    ) -> int:
        gone = 0
        for start in range(0, len(digests), _CHUNK):
            chunk = digests[start : start + _CHUNK]
            transaction.execute(
                sa.delete(artifact_parts).where(artifact_parts.c.project == project, artifact_parts.c.digest.in_(chunk))
            )
            if versions_too:
                mine = sa.and_(versions.c.project == project, versions.c.digest.in_(chunk))
                gone += int(transaction.execute(sa.delete(versions).where(mine)).rowcount)
            transaction.execute(
                sa.update(artifacts)
                .where(artifacts.c.project == project, artifacts.c.digest.in_(chunk), artifacts.c.erased_at.is_(None))
                .values(erased_at=at, erased_by=by, erased_because=because)
            )
        return gone

    def unnamed(self, digests: Sequence[Digest], *, but_for: Container[tuple[str, Digest]]) -> set[Digest]:
        free = set(digests)
        with self._database.read() as connection:
            for start in range(0, len(digests), _CHUNK):
                chunk = digests[start : start + _CHUNK]
                whole = sa.select(artifacts.c.project, artifacts.c.digest, artifacts.c.digest.label("name")).where(
                    artifacts.c.digest.in_(chunk), artifacts.c.erased_at.is_(None)
                )
                part = sa.select(
                    artifact_parts.c.project, artifact_parts.c.digest, artifact_parts.c.part.label("name")
                ).where(artifact_parts.c.part.in_(chunk), ~sa.exists().where(*_is_tombstone))
                for row in connection.execute(whole.union_all(part)):
                    if row.name in free and (row.project, Digest(row.digest)) not in but_for:
                        free.discard(Digest(row.name))
        return free


def _refs(transaction: Any, project: str) -> Iterator[tuple[Digest, str]]:
    statement = sa.select(refs.c.digest, refs.c.name).where(refs.c.project == project, refs.c.digest.is_not(None))
    for row in transaction.execute(statement):
        yield Digest(row.digest), f"ref {row.name}"


def _moves(transaction: Any, project: str, entries: int) -> Iterator[tuple[Digest, str]]:
    """The newest moves of each ref that is there; one that was deleted is never rolled back."""
    place = sa.func.row_number().over(partition_by=ref_log.c.ref, order_by=ref_log.c.seq.desc()).label("place")
    moves = sa.select(ref_log.c.ref, ref_log.c.old, ref_log.c.new, place).where(ref_log.c.project == project).subquery()
    statement = (
        sa.select(moves.c.ref, moves.c.old, moves.c.new)
        .join(refs, sa.and_(refs.c.project == project, refs.c.name == moves.c.ref, refs.c.digest.is_not(None)))
        .where(moves.c.place <= entries)
    )
    for row in transaction.execute(statement):
        for digest in (row.old, row.new):
            if digest is not None:
                yield Digest(digest), f"history of {row.ref}"


def _rules(transaction: Any, project: str) -> Iterator[tuple[Digest, str]]:
    statement = sa.select(ref_rules.c.policy, ref_rules.c.pattern).where(
        ref_rules.c.project == project, ref_rules.c.policy.is_not(None)
    )
    for row in transaction.execute(statement):
        yield Digest(row.policy), f"gate of {row.pattern}"


def _running(transaction: Any, project: str) -> Iterator[tuple[Digest, str]]:
    statement = (
        sa.select(lineage_edges.c.digest, activities.c.kind, activities.c.id)
        .join(
            activities,
            sa.and_(activities.c.project == lineage_edges.c.project, activities.c.id == lineage_edges.c.activity),
        )
        .where(activities.c.project == project, activities.c.state == "running")
    )
    for row in transaction.execute(statement):
        yield Digest(row.digest), f"running {row.kind} {row.id}"


def _versions(transaction: Any, project: str, before: datetime | None) -> Iterator[tuple[Digest, str]]:
    statement = sa.select(
        versions.c.digest, versions.c.kind, versions.c.name, versions.c.semver, versions.c.meta
    ).where(versions.c.project == project)
    if before is not None:
        statement = statement.join(
            version_names,
            sa.and_(
                version_names.c.project == versions.c.project,
                version_names.c.kind == versions.c.kind,
                version_names.c.name == versions.c.name,
            ),
        ).where(sa.or_(versions.c.created_at >= before, versions.c.seq == version_names.c.last_seq))
    for row in transaction.execute(statement):
        why = f"version {row.name}@{row.semver} ({row.kind})"
        yield Digest(row.digest), why
        for value in row.meta.values():  # such as the schema that a dataset was declared with
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str) and each.startswith("sha256:") and len(each) == _DIGEST_CHARS:
                    yield Digest(each), why


def _young(transaction: Any, project: str, since: datetime) -> Iterator[tuple[Digest, str]]:
    statement = sa.select(artifacts.c.digest).where(
        artifacts.c.project == project, artifacts.c.erased_at.is_(None), artifacts.c.kept_at >= since
    )
    for digest in transaction.scalars(statement):
        yield Digest(digest), "kept lately"
