"""The tables of MCP servers and their tools, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from tetrad.kernel import Clock
from tetrad.kit.db import Database, JsonText, SpecTable, Timestamp, metadata, upsert
from tetrad.tools._model import StoredTool, ToolServerSpec
from tetrad.tools.errors import BadToolServer

tool_servers = sa.Table(
    "tool_servers",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("spec", JsonText, nullable=False),
    sa.Column("changed_at", Timestamp, nullable=False),
)

tool_definitions = sa.Table(
    "tool_definitions",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("server", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("pinned_digest", sa.String(71), nullable=False),
    sa.Column("pinned", sa.Text, nullable=False),
    sa.Column("approved_at", Timestamp),
    sa.Column("approved_by", sa.String(64), nullable=False),
    sa.Column("seen_digest", sa.String(71), nullable=False),
    sa.Column("seen", sa.Text, nullable=False),
    sa.Column("seen_at", Timestamp),
)


class SqlToolServerStore:
    """`ToolServerStore` on a database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._specs = SpecTable(tool_servers, ToolServerSpec)

    def put(self, spec: ToolServerSpec, *, most: int) -> None:
        others = sa.select(sa.func.count()).where(
            tool_servers.c.project == spec.project, tool_servers.c.name != spec.name
        )
        with self._database.write() as connection:
            known = connection.execute(others).scalar_one()
            if known >= most:
                raise BadToolServer(f"the project has {known} MCP servers", hint=f"at most {most}", status=409)
            self._specs.put(connection, spec, self._clock.now())

    def drop(self, project: str, name: str) -> bool:
        with self._database.write() as connection:
            connection.execute(
                sa.delete(tool_definitions).where(
                    tool_definitions.c.project == project, tool_definitions.c.server == name
                )
            )
            return self._specs.drop(connection, project, name)

    def all(self, project: str | None = None) -> list[ToolServerSpec]:
        with self._database.read() as connection:
            return self._specs.all(connection, project)

    def tools(self, project: str | None = None, server: str | None = None) -> dict[tuple[str, str], list[StoredTool]]:
        with self._database.read() as connection:
            return _tools(connection, project, server)

    def change(
        self, project: str, server: str, change: Callable[[list[StoredTool]], Sequence[StoredTool]]
    ) -> list[StoredTool] | None:
        place = (tool_servers.c.project == project, tool_servers.c.name == server)
        with self._database.write() as connection:
            # the row of the server is what changes of its tools wait for
            if connection.execute(sa.select(tool_servers.c.name).where(*place).with_for_update()).scalar() is None:
                return None
            known = _tools(connection, project, server).get((project, server), [])
            rows = change(known)
            for tool in rows:
                if tool.pinned_digest or tool.seen_digest:
                    row = {"project": project, "server": server, **msgspec.structs.asdict(tool)}
                    upsert(connection, tool_definitions, row, key=["project", "server", "name"])
                else:
                    connection.execute(
                        sa.delete(tool_definitions).where(
                            tool_definitions.c.project == project,
                            tool_definitions.c.server == server,
                            tool_definitions.c.name == tool.name,
                        )
                    )
            return _tools(connection, project, server).get((project, server), []) if rows else known


def _tools(
    connection: sa.Connection, project: str | None, server: str | None
) -> dict[tuple[str, str], list[StoredTool]]:
    query = sa.select(tool_definitions).order_by(
        tool_definitions.c.project, tool_definitions.c.server, tool_definitions.c.name
    )
    if project is not None:
        query = query.where(tool_definitions.c.project == project)
    if server is not None:
        query = query.where(tool_definitions.c.server == server)
    found: dict[tuple[str, str], list[StoredTool]] = {}
    for row in connection.execute(query).mappings():
        fields = dict(row)
        found.setdefault((fields.pop("project"), fields.pop("server")), []).append(StoredTool(**fields))
    return found
