"""Serving's tables, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.kernel import Clock
from tetrad.kit.db import Database, JsonText, SpecTable, Timestamp, metadata, upsert
from tetrad.serving._engine_directory import StoredEngine
from tetrad.serving._engines import EngineReport, EngineSpec
from tetrad.serving._model import CachePolicy
from tetrad.serving._providers import ProviderSpec
from tetrad.serving._route_spec import ModelRoute
from tetrad.serving.errors import BadProvider, BadRoute

engines = sa.Table(
    "engines",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("spec", JsonText, nullable=False),
    sa.Column("spec_digest", sa.String(71), nullable=False),
    sa.Column("changed_at", Timestamp, nullable=False),
    sa.Column("report", JsonText),
    sa.Column("reported_at", Timestamp),
)

providers = sa.Table(
    "providers",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("spec", JsonText, nullable=False),
    sa.Column("changed_at", Timestamp, nullable=False),
    sa.Index(None, "project", "name"),
)


cache_policies = sa.Table(
    "cache_policies",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("app", sa.String(63), primary_key=True),
    sa.Column("policy", JsonText, nullable=False),
    sa.Column("changed_at", Timestamp, nullable=False),
)


model_routes = sa.Table(
    "model_routes",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("spec", JsonText, nullable=False),
    sa.Column("changed_at", Timestamp, nullable=False),
)


class SqlEngineStore:
    """`EngineStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[StoredEngine]:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(engines).order_by(engines.c.name)).mappings().all()
        return [_stored(row) for row in rows]

    def put(self, spec: EngineSpec, at: datetime) -> None:
        row = {
            "name": spec.name,
            "spec": msgspec.to_builtins(spec),
            "spec_digest": spec.digest,
            "changed_at": at,
        }
        with self._database.write() as connection:
            upsert(connection, engines, row, key=["name"])

    def drop(self, name: str) -> bool:
        with self._database.write() as connection:
            return connection.execute(sa.delete(engines).where(engines.c.name == name)).rowcount > 0

    def note(self, report: EngineReport, at: datetime) -> None:
        with self._database.write() as connection:
            connection.execute(
                sa.update(engines)
                .where(engines.c.name == report.name)
                .values(report=msgspec.to_builtins(report), reported_at=at)
            )


def _stored(row: Any) -> StoredEngine:
    return StoredEngine(
        spec=msgspec.convert(row["spec"], EngineSpec),
        changed_at=row["changed_at"],
        report=msgspec.convert(row["report"], EngineReport | None),
        reported_at=row["reported_at"],
    )


class SqlProviderStore:
    """`ProviderStore` on a database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._specs = SpecTable(providers, ProviderSpec, key=["name"])

    def put(self, spec: ProviderSpec) -> None:
        with self._database.write() as connection:
            owner = connection.execute(
                sa.select(providers.c.project).where(providers.c.name == spec.name).with_for_update()
            ).scalar()
            if owner not in (None, spec.project):
                raise BadProvider(
                    f"the name {spec.name!r} is taken by another project", hint="choose another name", status=409
                )
            self._specs.put(connection, spec, self._clock.now())

    def drop(self, project: str, name: str) -> bool:
        with self._database.write() as connection:
            return self._specs.drop(connection, project, name)

    def all(self, project: str | None = None) -> list[ProviderSpec]:
        with self._database.read() as connection:
            return self._specs.all(connection, project)


class SqlRouteStore:
    """`RouteStore` on a database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._specs = SpecTable(model_routes, ModelRoute)

    def put(self, route: ModelRoute, *, most: int) -> None:
        # Two routes that take one name at the same moment may both get in on PostgreSQL; the route table then gives
        # it to the first by name, and says so.
        with self._database.write() as connection:
            known = self._specs.others(connection, route)
            if len(known) >= most:
                raise BadRoute(f"the project has {len(known)} routes", hint=f"at most {most}", status=409)
            for other in known:
                if taken := set(other.names) & set(route.names):
                    raise BadRoute(
                        f"the name {min(taken)!r} is taken by the route {other.name!r}",
                        hint="choose another name, or change that route",
                        status=409,
                    )
            self._specs.put(connection, route, self._clock.now())

    def drop(self, project: str, name: str) -> bool:
        with self._database.write() as connection:
            return self._specs.drop(connection, project, name)

    def all(self, project: str | None = None) -> list[ModelRoute]:
        with self._database.read() as connection:
            return self._specs.all(connection, project)


class SqlCachePolicyStore:
    """`CachePolicyStore` on a database; the policy of a project's other calls has no app."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def all(self) -> dict[tuple[str, str], CachePolicy]:
        table = cache_policies
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table.c.project, table.c.app, table.c.policy)).all()
        return {(project, app): msgspec.convert(policy, CachePolicy) for project, app, policy in rows}

    def change(
        self, project: str, app: str, change: Callable[[CachePolicy | None], CachePolicy | None]
    ) -> CachePolicy | None:
        table = cache_policies
        place = (table.c.project == project, table.c.app == app)
        with self._database.write() as connection:
            found = connection.execute(sa.select(table.c.policy).where(*place).with_for_update()).scalar()
            made = change(None if found is None else msgspec.convert(found, CachePolicy))
            if made is None:
                connection.execute(sa.delete(table).where(*place))
            else:
                row = {
                    "project": project,
                    "app": app,
                    "policy": msgspec.to_builtins(made),
                    "changed_at": self._clock.now(),
                }
                upsert(connection, table, row, key=["project", "app"])
        return made
