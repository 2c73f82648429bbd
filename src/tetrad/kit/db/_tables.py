"""What tables share: one metadata, portable column types, portable upserts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Timestamp(sa.types.TypeDecorator[datetime]):
    """An aware time in UTC with microseconds; integer microseconds since the epoch in every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return (value - _EPOCH) // _MICROSECOND  # in integers: a float of seconds rounds

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return _EPOCH + value * _MICROSECOND


class JsonText(sa.types.TypeDecorator[Any]):
    """A JSON value as text, the same bytes in every database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


def _insert(connection: sa.Connection, table: sa.Table) -> Any:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def insert_or_ignore(
    connection: sa.Connection, table: sa.Table, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> int:
    """Insert rows, skip those that exist already; return how many were new."""
    values = [dict(rows)] if isinstance(rows, Mapping) else [dict(row) for row in rows]
    if not values:
        return 0
    statement = _insert(connection, table).values(values).on_conflict_do_nothing()
    # Without the option SQLAlchemy forgets an INSERT's row count on PostgreSQL and says -1.
    return int(connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount)


def upsert(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any], *, key: Iterable[str]) -> None:
    """Insert a row or overwrite the one with the same key."""
    statement = _insert(connection, table).values(dict(row))
    names = list(key)
    changed = {name: statement.excluded[name] for name in row if name not in names}
    if not changed:
        connection.execute(statement.on_conflict_do_nothing(index_elements=names))
        return
    connection.execute(statement.on_conflict_do_update(index_elements=names, set_=changed))
