"""Responses in the background as operators look at them, on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tetrad.kit.db import Database
from tetrad.responses._model import BackgroundRecord, RecordSearch
from tetrad.responses._store import background_records

_r = background_records.c
_OPEN = ("queued", "in_progress")


class SqlRecordStore:
    """`RecordStore` on a database: what is known of each response in the background, as long as it is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def search(
        self, project: str, search: RecordSearch, after: tuple[datetime, str] | None, limit: int
    ) -> list[BackgroundRecord]:
        wanted: list[sa.ColumnElement[bool]] = [_r.project == project]
        if search.status:
            wanted.append(_r.status.in_(_OPEN if search.status == "open" else (search.status,)))
        if search.contains:
            texts = (_r.id, _r.app, _r.model, _r.key_id)
            wanted.append(sa.or_(*(each.icontains(search.contains, autoescape=True) for each in texts)))
        place = sa.tuple_(_r.created_at, _r.id)
        if after is not None:
            last = sa.tuple_(sa.literal(after[0], _r.created_at.type), sa.literal(after[1]))
            wanted.append(place > last if search.oldest_first else place < last)
        order = (_r.created_at, _r.id) if search.oldest_first else (_r.created_at.desc(), _r.id.desc())
        query = sa.select(background_records).where(*wanted).order_by(*order).limit(limit)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def get(self, project: str, identity: str) -> BackgroundRecord | None:
        query = sa.select(background_records).where(_r.project == project, _r.id == identity)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _record(row)


def _record(row: Any) -> BackgroundRecord:
    return BackgroundRecord(
        id=row["id"],
        status=row["status"],
        app=row["app"],
        model=row["model"],
        key_id=row["key_id"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        followed=row["followed"],
        dropped=row["dropped"],
    )
