"""What people configure by name, a project's each: kept as JSON in tables of one form."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from tetrad.kit.db._tables import upsert


class Named(Protocol):
    """A struct that has a name in a project."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def project(self) -> str:
        """Whose it is."""
        ...


Spec = TypeVar("Spec", bound=Named)


class SpecTable(Generic[Spec]):
    """A table with the columns `project`, `name`, `spec` and `changed_at`, read and written within transactions.

    `key` is what tells two rows apart: project and name, or the name alone where projects share their names.
    """

    def __init__(self, table: sa.Table, form: type[Spec], *, key: Sequence[str] = ("project", "name")) -> None:
        self.table = table
        self._form = form
        self._key = tuple(key)

    def put(self, connection: sa.Connection, spec: Spec, at: datetime) -> None:
        """Insert, or overwrite what has the same key."""
        row = {"project": spec.project, "name": spec.name, "spec": msgspec.to_builtins(spec), "changed_at": at}
        upsert(connection, self.table, row, key=self._key)

    def drop(self, connection: sa.Connection, project: str, name: str) -> bool:
        """Remove; tell whether it was there."""
        columns = self.table.c
        gone = sa.delete(self.table).where(columns.name == name, columns.project == project)
        return connection.execute(gone).rowcount > 0

    def all(self, connection: sa.Connection, project: str | None = None) -> list[Spec]:
        """Return those of a project, or of all, by their key."""
        query = sa.select(self.table.c.spec).order_by(*(self.table.c[name] for name in self._key))
        if project is not None:
            query = query.where(self.table.c.project == project)
        return [msgspec.convert(spec, self._form) for spec in connection.execute(query).scalars()]

    def others(self, connection: sa.Connection, spec: Spec) -> list[Spec]:
        """Return what the project has besides."""
        columns = self.table.c
        query = sa.select(columns.spec).where(columns.project == spec.project, columns.name != spec.name)
        return [msgspec.convert(each, self._form) for each in connection.execute(query).scalars()]
