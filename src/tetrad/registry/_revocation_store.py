"""Revocations, and the edges that they spread along, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from tetrad.kernel import Digest
from tetrad.kit.db import Database
from tetrad.registry._activities import activities, lineage_edges
from tetrad.registry._model import REMADE, Link, Ref, Revocation, Version
from tetrad.registry._store import hold_project
from tetrad.registry._tables import artifact_parts, artifacts, refs, revocations, versions

_CHUNK = 500


class SqlRevocationStore:
    """`RevocationStore` on a relational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revoke(self, project: str, digest: str, make: Callable[[Any], Revocation]) -> tuple[Revocation, bool]:
        with self._database.write() as connection:
            hold_project(connection, project)
            known = connection.execute(_standing(project, digest)).one_or_none()
            if known is not None:
                return _revocation(known), False
            made = make(connection)
            connection.execute(sa.insert(revocations).values(**_row(made)))
        return made, True

    def reinstate(
        self, project: str, digest: str, change: Callable[[Revocation, Any], Revocation]
    ) -> Revocation | None:
        with self._database.write() as connection:
            hold_project(connection, project)
            known = connection.execute(_standing(project, digest)).one_or_none()
            if known is None:
                return None
            changed = change(_revocation(known), connection)
            mine = sa.and_(revocations.c.project == project, revocations.c.id == changed.id)
            connection.execute(sa.update(revocations).where(mine).values(**_row(changed)))
        return changed

    def revocations(
        self, project: str, *, standing: bool, digest: str | None, limit: int, before: str | None
    ) -> list[Revocation]:
        statement = sa.select(revocations).where(revocations.c.project == project)
        if standing:
            statement = statement.where(revocations.c.reinstated_at.is_(None))
        if digest is not None:
            statement = statement.where(revocations.c.digest == digest)
        if before is not None:
            statement = statement.where(revocations.c.id < before)
        with self._database.read() as connection:
            rows = connection.execute(statement.order_by(revocations.c.id.desc()).limit(limit))
            return [_revocation(row) for row in rows]

    def projects(self) -> list[str]:
        statement = sa.select(revocations.c.project).where(revocations.c.reinstated_at.is_(None)).distinct()
        with self._database.read() as connection:
            return list(connection.scalars(statement.order_by(revocations.c.project)))

    def standing(self, project: str, transaction: Any = None) -> dict[Digest, Revocation]:
        statement = sa.select(revocations).where(
            revocations.c.project == project, revocations.c.reinstated_at.is_(None)
        )
        with self._reading(transaction) as connection:
            found = [_revocation(row) for row in connection.execute(statement)]
        return {each.digest: each for each in found}

    def above(self, project: str, digests: Sequence[str], transaction: Any = None) -> list[Link]:
        return self._links(project, digests, transaction, upwards=True)

    def below(self, project: str, digests: Sequence[str], transaction: Any = None) -> list[Link]:
        return self._links(project, digests, transaction, upwards=False)

    def _links(self, project: str, digests: Sequence[str], transaction: Any, *, upwards: bool) -> list[Link]:
        with self._reading(transaction) as connection:
            return [
                Link(Digest(row.above), Digest(row.below), row.how, row.activity, bool(row.remakes))
                for start in range(0, len(digests), _CHUNK)
                for statement in _edges(project, digests[start : start + _CHUNK], upwards=upwards)
                for row in connection.execute(statement)
            ]

    def kinds(self, project: str, digests: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for start in range(0, len(digests), _CHUNK):
                statement = sa.select(artifacts.c.digest, artifacts.c.kind).where(
                    artifacts.c.project == project, artifacts.c.digest.in_(digests[start : start + _CHUNK])
                )
                found.update((row.digest, row.kind) for row in connection.execute(statement))
        return found

    def named_by(self, project: str, digests: Sequence[str]) -> list[Version]:
        found: list[Version] = []
        with self._database.read() as connection:
            for start in range(0, len(digests), _CHUNK):
                statement = (
                    sa.select(versions)
                    .where(versions.c.project == project, versions.c.digest.in_(digests[start : start + _CHUNK]))
                    .order_by(versions.c.kind, versions.c.name, versions.c.seq.desc())
                )
                rows = connection.execute(statement)
                found += [Version(**{name: row._mapping[name] for name in Version.__struct_fields__}) for row in rows]
        return found

    def pointed_to(self, project: str, digests: Sequence[str]) -> list[Ref]:
        found: list[Ref] = []
        with self._database.read() as connection:
            for start in range(0, len(digests), _CHUNK):
                statement = (
                    sa.select(refs)
                    .where(refs.c.project == project, refs.c.digest.in_(digests[start : start + _CHUNK]))
                    .order_by(refs.c.name)
                )
                found += [
                    Ref(
                        project,
                        row.name,
                        Digest(row.digest),
                        row.revision,
                        row.moved_at,
                        row.moved_by,
                        row.moved_by_name,
                    )
                    for row in connection.execute(statement)
                ]
        return found

    @contextmanager
    def _reading(self, transaction: Any) -> Iterator[sa.Connection]:
        if transaction is not None:
            yield transaction
        else:
            with self._database.read() as connection:
                yield connection


def _edges(project: str, digests: Sequence[str], *, upwards: bool) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Return two queries for links at some digests: through parts, and through activities."""
    made, used = lineage_edges.alias("made"), lineage_edges.alias("used")
    contained = sa.select(
        artifact_parts.c.part.label("above"), artifact_parts.c.digest.label("below"),
        artifact_parts.c.role.label("how"), sa.literal("").label("activity"), sa.literal(0).label("remakes"),
    ).where(
        artifact_parts.c.project == project,
        (artifact_parts.c.digest if upwards else artifact_parts.c.part).in_(digests),
    )  # fmt: skip
    remakes = sa.and_(activities.c.state == "done", used.c.policy.in_(REMADE))
    derived = (
        sa.select(
            used.c.digest.label("above"), made.c.digest.label("below"), activities.c.kind.label("how"),
            activities.c.id.label("activity"), sa.case((remakes, 1), else_=0).label("remakes"),
        )
        .join(made, sa.and_(made.c.project == used.c.project, made.c.activity == used.c.activity))
        .join(activities, sa.and_(activities.c.project == used.c.project, activities.c.id == used.c.activity))
        .where(
            used.c.project == project,
            used.c.direction == "in",
            used.c.policy != "none",
            made.c.direction == "out",
            (made.c.digest if upwards else used.c.digest).in_(digests),
        )
        .distinct()
    )  # fmt: skip
    return contained, derived


def _standing(project: str, digest: str) -> sa.Select[Any]:
    return sa.select(revocations).where(
        revocations.c.project == project, revocations.c.digest == digest, revocations.c.reinstated_at.is_(None)
    )


def _row(revocation: Revocation) -> dict[str, Any]:
    return {column.name: getattr(revocation, column.name) for column in revocations.c}


def _revocation(row: sa.Row[Any]) -> Revocation:
    found = dict(row._mapping)
    return Revocation(**{**found, "digest": Digest(row.digest), "evidence": Digest(row.evidence)})
