"""The table of responses, on SQLite and PostgreSQL."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata
from tetrad.responses._model import KeptConversation, KeptResponse

T = TypeVar("T")
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
kept_conversations = sa.Table(
    "kept_conversations",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("metadata", JsonText, nullable=False),
    sa.Column("next_place", sa.BigInteger, nullable=False),
    sa.Index(None, "expires_at"),
)
conversation_items = sa.Table(
    "conversation_items",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("conversation", sa.String(128), primary_key=True),
    sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(128), nullable=False),
    sa.Column("source", sa.String(128), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("item", sa.LargeBinary, nullable=False),
    sa.ForeignKeyConstraint(
        ["project", "conversation"], ["kept_conversations.project", "kept_conversations.id"], ondelete="CASCADE"
    ),
)
background_responses = sa.Table(
    "background_responses",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("key_id", sa.String(128), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("deadline_at", Timestamp, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Index(None, "created_at"),
)
background_records = sa.Table(
    "background_records",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("key_id", sa.String(128), nullable=False),
    sa.Column("app", sa.String(63), nullable=False),
    sa.Column("model", sa.String(300), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("ended_at", Timestamp, nullable=True),
    sa.Column("followed", sa.Boolean, nullable=False),
    sa.Column("next_number", sa.BigInteger, nullable=False),
    sa.Column("event_bytes", sa.BigInteger, nullable=False),
    sa.Column("shown_call", sa.Integer, nullable=False),
    sa.Column("call_events", sa.BigInteger, nullable=False),
    sa.Column("events_until", Timestamp, nullable=True),
    sa.Column("idempotency", sa.String(64), nullable=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("dropped", sa.Text, nullable=False),
    sa.Index(None, "project", "key_id", "idempotency", unique=True),
    sa.Index(None, "project", "created_at"),
    sa.Index(None, "events_until"),
)
"""What is known of a response in the background, as long as it is kept."""
background_events = sa.Table(
    "background_events",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("response", sa.String(128), primary_key=True),
    sa.Column("last", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("events", sa.LargeBinary, nullable=False),
)
_PER_QUERY = 200


class SqlResponseStore:
    """`ResponseStore` on a database; what was said is kept compressed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, kept: KeptResponse, lineage: Sequence[str], expires_at: datetime) -> bool:
        with self._database.write() as connection:
            return insert_kept(connection, kept, lineage, expires_at)

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
        table = background_responses.c
        with self._database.write() as connection:
            connection.execute(sa.delete(background_responses).where(table.project == project, table.id == identity))
            _forget_background(connection, project, identity)
            return connection.execute(gone).rowcount > 0

    def count(self, project: str) -> int:
        query = sa.select(sa.func.count()).select_from(kept_responses).where(kept_responses.c.project == project)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    # conversations

    def put_conversation(self, kept: KeptConversation, expires_at: datetime) -> None:
        table = kept_conversations.c
        row = {
            "project": kept.project,
            "id": kept.id,
            "created_at": datetime.fromtimestamp(kept.created_s, UTC),
            "expires_at": expires_at,
            "metadata": kept.metadata,
            "next_place": 0,
        }
        with self._database.write() as connection:
            if not insert_or_ignore(connection, kept_conversations, [row]):
                changed = sa.update(kept_conversations).where(table.project == kept.project, table.id == kept.id)
                connection.execute(changed.values(metadata=kept.metadata, expires_at=expires_at))

    def conversation(self, project: str, identity: str, now: datetime) -> KeptConversation | None:
        query = sa.select(kept_conversations).where(*_talk(project, identity, now))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return KeptConversation(row["id"], row["project"], int(row["created_at"].timestamp()), row["metadata"])

    def drop_conversation(self, project: str, identity: str, now: datetime) -> bool:
        items, gone = _items_of(project, identity), _talk(project, identity, now)
        with self._database.write() as connection:
            if connection.execute(sa.select(kept_conversations.c.id).where(*gone)).first() is None:
                return False
            connection.execute(sa.delete(conversation_items).where(*items))
            return connection.execute(sa.delete(kept_conversations).where(*gone)).rowcount > 0

    def count_conversations(self, project: str) -> int:
        query = sa.select(sa.func.count()).where(kept_conversations.c.project == project)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def append(
        self,
        project: str,
        conversation: str,
        items: Sequence[tuple[str, bytes]],
        *,
        source: str,
        most: int,
        most_bytes: int,
        expires_at: datetime,
        now: datetime,
    ) -> bool | None:
        table, these = conversation_items.c, _items_of(project, conversation)
        held = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(table.size), 0)).where(*these)
        with self._database.write() as connection:
            found = sa.select(kept_conversations.c.next_place).where(*_talk(project, conversation, now))
            place = connection.execute(found.with_for_update()).scalar()
            if place is None:
                return None
            if source and connection.execute(sa.select(table.id).where(*these, table.source == source)).first():
                return True
            count, size = connection.execute(held).one()
            if count + len(items) > most or size + sum(len(item) for _, item in items) > most_bytes:
                return False
            rows = [
                {
                    "project": project,
                    "conversation": conversation,
                    "place": place + number,
                    "id": identity,
                    "source": source,
                    "size": len(item),
                    "item": zlib.compress(item, 1),
                }
                for number, (identity, item) in enumerate(items)
            ]
            for part in _parts(rows):
                connection.execute(sa.insert(conversation_items).values(list(part)))
            connection.execute(
                sa.update(kept_conversations)
                .where(*_talk(project, conversation, now))
                .values(next_place=place + len(items), expires_at=expires_at)
            )
        return True

    def retract(self, project: str, conversation: str, source: str) -> int:
        gone = sa.delete(conversation_items).where(
            *_items_of(project, conversation), conversation_items.c.source == source
        )
        with self._database.write() as connection:
            return connection.execute(gone).rowcount

    def conversation_items(self, project: str, conversation: str) -> list[tuple[str, bytes]]:
        table = conversation_items.c
        query = sa.select(table.id, table.item).where(*_items_of(project, conversation)).order_by(table.place)
        with self._database.read() as connection:
            return [(identity, zlib.decompress(item)) for identity, item in connection.execute(query)]

    def drop_item(self, project: str, conversation: str, item: str) -> bool:
        gone = sa.delete(conversation_items).where(*_items_of(project, conversation), conversation_items.c.id == item)
        with self._database.write() as connection:
            return connection.execute(gone).rowcount > 0

    def sweep(self, now: datetime, most: int) -> int:
        return self._sweep_responses(now, most) + self._sweep_conversations(now, most)

    def _sweep_conversations(self, now: datetime, most: int) -> int:
        table = kept_conversations.c
        with self._database.read() as connection:
            late = connection.execute(
                sa.select(table.project, table.id).where(table.expires_at <= now).limit(most)
            ).all()
        gone = 0
        for project, identity in late:
            with self._database.write() as connection:
                old = sa.delete(kept_conversations).where(
                    table.project == project, table.id == identity, table.expires_at <= now
                )
                still = sa.exists(sa.select(table.id).where(table.project == project, table.id == identity))
                if connection.execute(old).rowcount:
                    gone += 1
                connection.execute(sa.delete(conversation_items).where(*_items_of(project, identity), ~still))
        return gone

    def _sweep_responses(self, now: datetime, most: int) -> int:
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
            swept = connection.execute(gone).rowcount
            for project, identity in rows:
                still = sa.select(kept_responses.c.id).where(
                    kept_responses.c.project == project, kept_responses.c.id == identity
                )
                if connection.execute(still).first() is None:
                    _forget_background(connection, project, identity)
        return swept


def _forget_background(connection: sa.Connection, project: str, identity: str) -> None:
    records, events = background_records.c, background_events.c
    connection.execute(sa.delete(background_records).where(records.project == project, records.id == identity))
    connection.execute(sa.delete(background_events).where(events.project == project, events.response == identity))


def insert_kept(connection: sa.Connection, kept: KeptResponse, lineage: Sequence[str], expires_at: datetime) -> bool:
    """Insert a response where it is new, and let none of the turns before it expire earlier; tell whether it is new."""
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


def _talk(project: str, identity: str, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    table = kept_conversations.c
    return table.project == project, table.id == identity, table.expires_at > now


def _items_of(project: str, conversation: str) -> tuple[sa.ColumnElement[bool], ...]:
    return conversation_items.c.project == project, conversation_items.c.conversation == conversation


def _there(project: str, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return kept_responses.c.project == project, kept_responses.c.expires_at > now


def _parts(ids: Sequence[T]) -> list[Sequence[T]]:
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
