"""The releases' tables: apps. Everything else about a release is in the registry."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tetrad.kit.db import Database, Timestamp, insert_or_ignore, metadata
from tetrad.releases._model import App

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
