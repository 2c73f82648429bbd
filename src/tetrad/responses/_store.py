"""The table of responses, on SQLite and PostgreSQL."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata
from tetrad.responses._model import KeptResponse

kept_responses = sa.Table(
    "kept_responses",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("previous", sa.String(128), nullable=False),
    sa.Column("lineage", JsonText, nullable=False),
    sa.Column("key_id", sa.String(128), nullable=False),
    sa.Column("upstream", sa.String(63), nullable=False),
    sa.Column("native", sa.Boolean, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("input", sa.LargeBinary, nullable=False),
    sa.Column("response", sa.LargeBinary, nullable=False),
    sa.Index(None, "expires_at"),
)
_PER_QUERY = 200


class SqlResponseStore:
    """`ResponseStore` on a database; what was said is kept compressed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, kept: KeptResponse, lineage: Sequence[str], expires_at: datetime) -> bool:
        row = {
            "project": kept.project,
            "id": kept.id,
            "previous": kept.previous,
            "lineage": list(lineage),
            "key_id": kept.key_id,
            "upstream": kept.upstream,
            "native": kept.native,
            "created_at": datetime.fromtimestamp(kept.created_s, UTC),
            "expires_at": expires_at,
            "input": zlib.compress(bytes(kept.input), 1),
            "response": zlib.compress(bytes(kept.response), 1),
        }
        with self._database.write() as connection:
            new = insert_or_ignore(connection, kept_responses, [row])
            for part in _parts(lineage):
                connection.execute(
                    sa.update(kept_responses)
                    .where(
                        kept_responses.c.project == kept.project,
                        kept_responses.c.id.in_(part),
                        kept_responses.c.expires_at < expires_at,
                    )
                    .values(expires_at=expires_at)
                )
        return bool(new)

    def find(self, project: str, ids: Sequence[str], now: datetime) -> dict[str, KeptResponse]:
        found: dict[str, KeptResponse] = {}
        with self._database.read() as connection:
            for part in _parts(ids):
                query = sa.select(kept_responses).where(kept_responses.c.id.in_(part), *_there(project, now))
                found |= {row["id"]: _kept(row) for row in connection.execute(query).mappings()}
        return found

    def lineage(self, project: str, identity: str, now: datetime) -> tuple[str, ...] | None:
        query = sa.select(kept_responses.c.lineage).where(kept_responses.c.id == identity, *_there(project, now))
        with self._database.read() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else tuple(found)

    def drop(self, project: str, identity: str, now: datetime) -> bool:
        gone = sa.delete(kept_responses).where(kept_responses.c.id == identity, *_there(project, now))
        with self._database.write() as connection:
            return connection.execute(gone).rowcount > 0

    def count(self, project: str) -> int:
        query = sa.select(sa.func.count()).select_from(kept_responses).where(kept_responses.c.project == project)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def sweep(self, now: datetime, most: int) -> int:
        late = sa.select(kept_responses.c.project, kept_responses.c.id).where(kept_responses.c.expires_at <= now)
        with self._database.read() as connection:
            rows = connection.execute(late.limit(most)).all()
        if not rows:
            return 0
        gone = sa.delete(kept_responses).where(
            kept_responses.c.expires_at <= now,
            sa.or_(*(sa.and_(kept_responses.c.project == row[0], kept_responses.c.id == row[1]) for row in rows)),
        )
        with self._database.write() as connection:
            return connection.execute(gone).rowcount


def _there(project: str, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return kept_responses.c.project == project, kept_responses.c.expires_at > now


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _PER_QUERY] for start in range(0, len(ids), _PER_QUERY)]


def _kept(row: Any) -> KeptResponse:
    return KeptResponse(
        id=row["id"],
        project=row["project"],
        created_s=int(row["created_at"].timestamp()),
        input=msgspec.Raw(zlib.decompress(row["input"])),
        response=msgspec.Raw(zlib.decompress(row["response"])),
        previous=row["previous"],
        key_id=row["key_id"],
        upstream=row["upstream"],
        native=row["native"],
    )
