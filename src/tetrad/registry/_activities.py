"""The tables of activities and their edges, for the stores that write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa

from tetrad.kernel import Digest
from tetrad.kit.db import JsonText, Timestamp, insert_or_ignore, metadata
from tetrad.registry._model import Activity, Edge

_CHUNK = 500
T = TypeVar("T")

activities = sa.Table(
    "activities",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("params", JsonText, nullable=False),
    sa.Column("environment", JsonText, nullable=False),
    sa.Column("started_at", Timestamp, nullable=False),
    sa.Column("ended_at", Timestamp),
)

lineage_edges = sa.Table(
    "lineage_edges",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("activity", sa.String(64), primary_key=True),
    sa.Column("direction", sa.String(3), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("role", sa.String(64), primary_key=True),
    sa.Column("policy", sa.String(16), nullable=False),
    sa.ForeignKeyConstraint(["project", "activity"], ["activities.project", "activities.id"]),
)
sa.Index(None, lineage_edges.c.project, lineage_edges.c.digest, lineage_edges.c.direction)


def insert_activity(connection: sa.Connection, activity: Activity) -> None:
    """Write an activity with its edges."""
    connection.execute(
        sa.insert(activities).values(
            project=activity.project, id=activity.id, kind=activity.kind, actor=activity.actor,
            state=activity.state, params=dict(activity.params), environment=dict(activity.environment),
            started_at=activity.started_at, ended_at=activity.ended_at,
        )
    )  # fmt: skip
    insert_edges(connection, activity)


def insert_edges(connection: sa.Connection, activity: Activity) -> None:
    """Write those edges of an activity that are not there yet."""
    for chunk in chunks(activity.edges):
        insert_or_ignore(
            connection, lineage_edges,
            [
                {
                    "project": activity.project, "activity": activity.id, "direction": edge.direction,
                    "digest": edge.digest, "role": edge.role, "policy": edge.policy,
                }
                for edge in chunk
            ],
        )  # fmt: skip


def read_activities(connection: sa.Connection, project: str, ids: Sequence[str]) -> list[Activity]:
    """Return activities by id, in the order of ids; none for an id that the project has not."""
    found: list[Activity] = []
    for chunk in chunks(ids):
        edges: dict[str, list[Edge]] = {}
        for row in connection.execute(
            sa.select(lineage_edges)
            .where(lineage_edges.c.project == project, lineage_edges.c.activity.in_(chunk))
            .order_by(lineage_edges.c.direction, lineage_edges.c.role, lineage_edges.c.digest)
        ):
            edges.setdefault(row.activity, []).append(Edge(Digest(row.digest), row.direction, row.role, row.policy))
        rows = connection.execute(
            sa.select(activities)
            .where(activities.c.project == project, activities.c.id.in_(chunk))
            .order_by(activities.c.id)
        )
        found += [Activity(**row._mapping, edges=tuple(edges.get(row.id, ()))) for row in rows]
    return found


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield pieces that a statement of every database can bind."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
