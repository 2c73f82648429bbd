"""The releases' tables: apps, reproductions. Everything else about a release is in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata
from tetrad.releases._model import App
from tetrad.releases._reproduction import Input, Reproduction

apps = sa.Table(
    "apps",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("default_ref", sa.String(63), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
)

reproductions = sa.Table(
    "reproductions",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("seq", sa.String(64), nullable=False),  # a sortable id, for pages
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("release", sa.String(71), nullable=False),
    sa.Column("app", sa.String(63), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("level", sa.String(8), nullable=False),
    sa.Column("recording", sa.String(71), nullable=False),
    sa.Column("inputs", JsonText, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
    sa.Column("created_by_name", sa.String(256), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("ended_at", Timestamp),
    sa.Column("report", sa.String(71), nullable=False),
    sa.Column("evidence", sa.String(71), nullable=False),
    sa.Column("proven", JsonText, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("hint", sa.Text, nullable=False),
    sa.UniqueConstraint("seq"),
)
sa.Index(None, reproductions.c.project, reproductions.c.release, reproductions.c.seq)


class SqlAppStore:
    """`AppStore` on a relational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, app: App) -> None:
        row = {name: getattr(app, name) for name in App.__struct_fields__}
        with self._database.write() as connection:
            if not insert_or_ignore(connection, apps, row):
                connection.execute(
                    sa.update(apps)
                    .where(apps.c.project == app.project, apps.c.name == app.name)
                    .values(description=app.description)
                )

    def get(self, project: str, name: str) -> App | None:
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(apps).where(apps.c.project == project, apps.c.name == name)
            ).one_or_none()
        return None if row is None else App(**row._mapping)

    def list(self, project: str | None, *, limit: int, after: tuple[str, str]) -> list[App]:
        statement: sa.Select[Any] = sa.select(apps)
        if project is not None:
            statement = statement.where(apps.c.project == project, apps.c.name > after[1])
        else:
            statement = statement.where(
                sa.or_(apps.c.project > after[0], sa.and_(apps.c.project == after[0], apps.c.name > after[1]))
            )
        with self._database.read() as connection:
            return [
                App(**row._mapping)
                for row in connection.execute(statement.order_by(apps.c.project, apps.c.name).limit(limit))
            ]


class SqlReproductionStore:
    """`ReproductionStore` on a relational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: Reproduction) -> Reproduction:
        values = {name: getattr(row, name) for name in Reproduction.__struct_fields__}
        values |= {"inputs": msgspec.to_builtins(row.inputs), "proven": list(row.proven)}
        with self._database.write() as connection:
            insert_or_ignore(connection, reproductions, values)
            return _reproduction(connection.execute(_one(row.id)).one())

    def get(self, reproduction: str) -> Reproduction | None:
        with self._database.read() as connection:
            row = connection.execute(_one(reproduction)).one_or_none()
        return None if row is None else _reproduction(row)

    def newest(self, project: str, release: str, *, limit: int, before: str | None) -> list[Reproduction]:
        statement = sa.select(reproductions).where(
            reproductions.c.project == project, reproductions.c.release == release
        )
        if before is not None:
            statement = statement.where(reproductions.c.seq < before)
        with self._database.read() as connection:
            found = connection.execute(statement.order_by(reproductions.c.seq.desc()).limit(limit))
            return [_reproduction(row) for row in found]

    def recording(self, project: str, release: str) -> str:
        statement = (
            sa.select(reproductions.c.recording)
            .where(
                reproductions.c.project == project,
                reproductions.c.release == release,
                reproductions.c.action == "record",
                reproductions.c.state == "done",
            )
            .order_by(reproductions.c.seq.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            return str(connection.scalar(statement) or "")

    def unfinished(self, project: str, *, since: datetime) -> int:
        statement = sa.select(sa.func.count()).where(
            reproductions.c.project == project,
            reproductions.c.ended_at.is_(None),
            reproductions.c.created_at >= since,
        )
        with self._database.read() as connection:
            return int(connection.scalar(statement) or 0)

    def end(self, reproduction: str, values: Mapping[str, Any]) -> Reproduction | None:
        mine = sa.and_(reproductions.c.id == reproduction, reproductions.c.ended_at.is_(None))
        with self._database.write() as connection:
            connection.execute(sa.update(reproductions).where(mine).values(**values))
            row = connection.execute(_one(reproduction)).one_or_none()
        return None if row is None else _reproduction(row)


def _one(reproduction: str) -> sa.Select[Any]:
    return sa.select(reproductions).where(reproductions.c.id == reproduction)


def _reproduction(row: sa.Row[Any]) -> Reproduction:
    found = {name: row._mapping[name] for name in Reproduction.__struct_fields__}
    found["inputs"] = msgspec.convert(found["inputs"], tuple[Input, ...])
    found["proven"] = tuple(found["proven"])
    return Reproduction(**found)
