"""The table of responses that are still to be answered, on SQLite and PostgreSQL."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.kit.db import Database
from tetrad.responses import _event_log as event_log
from tetrad.responses._model import (
    BackgroundCall,
    BackgroundRequest,
    EventBatch,
    EventLog,
    EventPage,
    OpenResponse,
    state_of,
)
from tetrad.responses._store import background_responses, insert_kept, kept_responses
from tetrad.responses.errors import BegunBefore

_c = background_responses.c
_call = msgspec.json.Decoder(BackgroundCall)


class SqlBackgroundStore:
    """`BackgroundStore` on a database. A row is there as long as its response has not ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        asked: BackgroundRequest,
        *,
        lineage: Sequence[str],
        now: datetime,
        deadline_at: datetime,
        expires_at: datetime,
        most: int,
    ) -> bool:
        kept = asked.kept
        under_way = sa.select(sa.func.count()).select_from(background_responses).where(_c.project == kept.project)
        row = {
            "project": kept.project,
            "id": kept.id,
            "key_id": kept.key_id,
            "created_at": now,
            "deadline_at": deadline_at,
            "calls": 0,
            "request": zlib.compress(msgspec.json.encode(asked.call), 1),
        }
        with self._database.write() as connection:
            if int(connection.execute(under_way).scalar_one()) >= most:
                return False
            insert_kept(connection, kept, lineage, expires_at)
            connection.execute(sa.insert(background_responses).values(row))
            if not event_log.open_record(connection, asked, now):
                raise BegunBefore(f"an equal request of the key {kept.key_id!r} was begun before")
        return True

    def begun_by(self, project: str, key_id: str, idempotency: str) -> tuple[str, str] | None:
        with self._database.read() as connection:
            return event_log.begun_by(connection, project, key_id, idempotency)

    def open(self, project: str, identity: str) -> OpenResponse | None:
        query = sa.select(background_responses).where(*_one(project, identity))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _opened(row)

    def every_open(self) -> list[tuple[str, str]]:
        query = sa.select(_c.project, _c.id).order_by(_c.created_at)
        with self._database.read() as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    def keys(self) -> Collection[tuple[str, str]]:
        query = sa.select(_c.project, _c.key_id).distinct()
        with self._database.read() as connection:
            return {(row[0], row[1]) for row in connection.execute(query)}

    def note_call(self, project: str, identity: str, response: msgspec.Raw) -> bool:
        counted = sa.update(background_responses).where(*_one(project, identity)).values(calls=_c.calls + 1)
        with self._database.write() as connection:
            if not connection.execute(counted).rowcount:
                return False
            connection.execute(_shown(project, identity).values(response=zlib.compress(bytes(response), 1)))
            event_log.mark(connection, project, identity, "in_progress")
            event_log.tell(connection, project, identity, "response.in_progress", response)
        return True

    def settle(
        self,
        project: str,
        identity: str,
        response: msgspec.Raw,
        *,
        upstream: str,
        now: datetime,
        expires_at: datetime,
        events_until: datetime,
        dropped: str = "",
    ) -> bool:
        values = {"response": zlib.compress(bytes(response), 1), "upstream": upstream, "expires_at": expires_at}
        with self._database.write() as connection:
            call = connection.execute(sa.select(_c.calls).where(*_one(project, identity)).with_for_update()).scalar()
            if call is None:
                return False
            connection.execute(sa.delete(background_responses).where(*_one(project, identity)))
            connection.execute(_shown(project, identity).values(values))
            status = str(state_of(response).status)
            if status in ("completed", "incomplete"):
                event_log.close(connection, project, identity, call, response)
            event_log.tell(connection, project, identity, f"response.{status}", response)
            event_log.mark(
                connection, project, identity, status, ended_at=now, events_until=events_until, dropped=dropped
            )
        return True

    def dropped(self, project: str, identity: str) -> str:
        with self._database.read() as connection:
            return event_log.dropped_of(connection, project, identity)

    def add_events(self, project: str, identity: str, batch: EventBatch, most_bytes: int) -> bool | None:
        with self._database.write() as connection:
            found = connection.execute(sa.select(_c.calls).where(*_one(project, identity)).with_for_update()).scalar()
            if found is None:
                return None
            return found == batch.call and event_log.add(connection, project, identity, batch, most_bytes)

    def event_log(self, project: str, identity: str) -> EventLog:
        with self._database.read() as connection:
            return event_log.log_of(connection, project, identity)

    def events(self, project: str, identity: str, after: int) -> EventPage:
        with self._database.read() as connection:
            return event_log.page(connection, project, identity, after)

    def forget_events(self, now: datetime) -> int:
        with self._database.write() as connection:
            return event_log.forget_events(connection, now)


def _one(project: str, identity: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _c.project == project, _c.id == identity


def _shown(project: str, identity: str) -> sa.Update:
    return sa.update(kept_responses).where(kept_responses.c.project == project, kept_responses.c.id == identity)


def _opened(row: Any) -> OpenResponse:
    return OpenResponse(
        row["project"],
        row["id"],
        row["key_id"],
        int(row["created_at"].timestamp()),
        int(row["deadline_at"].timestamp()),
        row["calls"],
        _call.decode(zlib.decompress(row["request"])),
    )
