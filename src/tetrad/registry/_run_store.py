"""The tables of runs, their metrics and points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata, upsert
from tetrad.registry._activities import activities, chunks, insert_activity, insert_edges, read_activities
from tetrad.registry._runs import Experiment, MetricPoint, MetricSummary, Run

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_PAGE = 5_000

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("experiment", sa.String(128), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("tags", JsonText, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("actor_name", sa.String(256), nullable=False),
    sa.Column("heartbeat_at", Timestamp, nullable=False),
    sa.Column("idempotency_key", sa.String(128)),
    sa.Column("request", sa.String(71), nullable=False),
    sa.UniqueConstraint("project", "idempotency_key"),
    sa.ForeignKeyConstraint(["project", "id"], ["activities.project", "activities.id"]),
)
sa.Index(None, runs.c.project, runs.c.experiment, runs.c.id)

run_metrics = sa.Table(
    "run_metrics",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("run", sa.String(64), primary_key=True),
    sa.Column("metric", sa.String(250), primary_key=True),
    sa.Column("points", sa.Integer, nullable=False),
    sa.Column("first_step", sa.BigInteger, nullable=False),
    sa.Column("last_step", sa.BigInteger, nullable=False),
    sa.Column("last_at", Timestamp, nullable=False),
    sa.Column("last", sa.Float(53)),  # NULL: not a number
    sa.Column("least", sa.Float(53)),
    sa.Column("most", sa.Float(53)),
    sa.ForeignKeyConstraint(["project", "run"], ["runs.project", "runs.id"]),
)

run_points = sa.Table(
    "run_points",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("run", sa.String(64), primary_key=True),
    sa.Column("metric", sa.String(250), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Timestamp, primary_key=True),
    sa.Column("value", sa.Float(53)),  # NULL: not a number
    sa.ForeignKeyConstraint(["project", "run"], ["runs.project", "runs.id"]),
)


class _StartedBefore(Exception):
    pass


class SqlRunStore:
    """`RunStore` on a relational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, run: Run, key: str | None) -> Run:
        try:
            with self._database.write() as connection:
                if key is not None and (known := _by_key(connection, run.activity.project, key)) is not None:
                    return known
                insert_activity(connection, run.activity)
                row = {
                    "project": run.activity.project, "id": run.id, "experiment": run.experiment, "name": run.name,
                    "tags": dict(run.tags), "error": run.error, "actor_name": run.actor_name,
                    "heartbeat_at": run.heartbeat_at, "idempotency_key": key, "request": run.request,
                }  # fmt: skip
                if not insert_or_ignore(connection, runs, row):
                    raise _StartedBefore  # by another with the same key, at this moment; ours leaves nothing
        except _StartedBefore:
            with self._database.read() as connection:
                known = _by_key(connection, run.activity.project, key or "")
            return known or run
        return run

    def get(self, project: str, run: str) -> Run | None:
        with self._database.read() as connection:
            found = _runs(connection, project, [run])
        return found[0] if found else None

    def newest(
        self, project: str, *, experiment: str | None, kind: str | None, state: str | None, limit: int,
        before: str | None,
    ) -> list[Run]:  # fmt: skip
        statement = (
            sa.select(runs.c.id)
            .join(activities, sa.and_(activities.c.project == runs.c.project, activities.c.id == runs.c.id))
            .where(runs.c.project == project)
        )
        for column, value in (
            (runs.c.experiment, experiment), (activities.c.kind, kind), (activities.c.state, state),
        ):  # fmt: skip
            if value is not None:
                statement = statement.where(column == value)
        if before is not None:
            statement = statement.where(runs.c.id < before)
        with self._database.read() as connection:
            ids = list(connection.scalars(statement.order_by(runs.c.id.desc()).limit(limit)))
            return _runs(connection, project, ids)[::-1]

    def experiments(self, project: str, *, limit: int, after: str) -> list[Experiment]:
        running = sa.func.sum(sa.case((activities.c.state == "running", 1), else_=0))
        statement = (
            sa.select(runs.c.experiment, sa.func.count(), running, sa.func.max(runs.c.id))
            .join(activities, sa.and_(activities.c.project == runs.c.project, activities.c.id == runs.c.id))
            .where(runs.c.project == project, runs.c.experiment > after)
            .group_by(runs.c.experiment)
            .order_by(runs.c.experiment)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [Experiment(*row) for row in connection.execute(statement)]

    def change(self, project: str, run: str, decide: Callable[[Run], Run]) -> Run | None:
        with self._database.write() as connection:
            found = _held(connection, project, run)
            if found is None:
                return None
            chosen = decide(found)
            if chosen is not found:
                _write(connection, chosen)
        return chosen

    def log(
        self, project: str, run: str, points: Sequence[MetricPoint],
        decide: Callable[[Run, int, int], Run],
    ) -> tuple[Run, int] | None:  # fmt: skip
        with self._database.write() as connection:
            found = _held(connection, project, run)
            if found is None:
                return None
            known = _known(connection, project, run, points)
            fresh = [point for point in points if _key(point) not in known]
            changed = [point for point in points if _key(point) in known and not _same(known[_key(point)], point.value)]
            summaries = {summary.metric: summary for summary in found.metrics}
            new_names = {point.metric for point in fresh} - set(summaries)
            chosen = decide(found, len(fresh), len(new_names))
            rows = [_point_row(project, run, point) for point in fresh]
            for start in range(0, len(rows), 500):
                connection.execute(sa.insert(run_points), rows[start : start + 500])
            for point in changed:
                upsert(
                    connection, run_points, _point_row(project, run, point),
                    key=("project", "run", "metric", "step", "at"),
                )  # fmt: skip
            rewritten = {point.metric for point in changed}
            for metric in sorted({point.metric for point in fresh} | rewritten):
                # What is only added is counted on; what was written anew may have been the last or the least.
                added = [point for point in fresh if point.metric == metric]
                row = None if metric in rewritten else _counted_on(connection, project, run, metric, added)
                row = row or _counted_anew(connection, project, run, metric)
                upsert(connection, run_metrics, row, key=("project", "run", "metric"))
            if chosen is not found:
                _write(connection, chosen)
            after = _runs(connection, project, [run])[0]
        return after, len(fresh)

    def points(self, project: str, run: str, metric: str) -> Iterator[tuple[int, float]]:
        last: tuple[int, Any] | None = None
        while True:
            statement = sa.select(run_points.c.step, run_points.c.at, run_points.c.value).where(
                run_points.c.project == project, run_points.c.run == run, run_points.c.metric == metric
            )
            if last is not None:
                step, at = run_points.c.step, run_points.c.at
                statement = statement.where(sa.or_(step > last[0], sa.and_(step == last[0], at > last[1])))
            with self._database.read() as connection:
                rows = connection.execute(statement.order_by(run_points.c.step, run_points.c.at).limit(_PAGE)).all()
            for row in rows:
                yield row.step, _number(row.value)
            if len(rows) < _PAGE:
                return
            last = rows[-1].step, rows[-1].at


def _by_key(connection: sa.Connection, project: str, key: str) -> Run | None:
    found = connection.scalar(sa.select(runs.c.id).where(runs.c.project == project, runs.c.idempotency_key == key))
    return None if found is None else _runs(connection, project, [found])[0]


def _held(connection: sa.Connection, project: str, run: str) -> Run | None:
    """Read a run and hold its row until the end of the transaction: what changes it comes one after the other."""
    mine = sa.and_(runs.c.project == project, runs.c.id == run)
    connection.execute(sa.update(runs).where(mine).values(name=runs.c.name))
    found = _runs(connection, project, [run])
    return found[0] if found else None


def _write(connection: sa.Connection, run: Run) -> None:
    activity = run.activity
    connection.execute(
        sa.update(runs)
        .where(runs.c.project == activity.project, runs.c.id == run.id)
        .values(name=run.name, tags=dict(run.tags), error=run.error, heartbeat_at=run.heartbeat_at)
    )
    connection.execute(
        sa.update(activities)
        .where(activities.c.project == activity.project, activities.c.id == run.id)
        .values(
            state=activity.state, params=dict(activity.params), environment=dict(activity.environment),
            ended_at=activity.ended_at,
        )
    )  # fmt: skip
    insert_edges(connection, activity)


def _known(
    connection: sa.Connection, project: str, run: str, points: Sequence[MetricPoint]
) -> dict[tuple[str, int, datetime], float]:
    found: dict[tuple[str, int, datetime], float] = {}
    by_metric: dict[str, list[int]] = {}
    for point in points:
        by_metric.setdefault(point.metric, []).append(point.step)
    for metric, steps in by_metric.items():
        for chunk in chunks(sorted(set(steps))):
            rows = connection.execute(
                sa.select(run_points.c.step, run_points.c.at, run_points.c.value).where(
                    run_points.c.project == project, run_points.c.run == run, run_points.c.metric == metric,
                    run_points.c.step.in_(chunk),
                )
            )  # fmt: skip
            found.update({(metric, row.step, row.at): _number(row.value) for row in rows})
    return found


def _key(point: MetricPoint) -> tuple[str, int, datetime]:
    return point.metric, point.step, point.at or _NO_TIME


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _column(value: float) -> float | None:
    return None if math.isnan(value) else value


def _point_row(project: str, run: str, point: MetricPoint) -> dict[str, Any]:
    metric, step, at = _key(point)
    return {
        "project": project, "run": run, "metric": metric, "step": step, "at": at, "value": _column(point.value),
    }  # fmt: skip


def _counted_on(
    connection: sa.Connection, project: str, run: str, metric: str, added: Sequence[MetricPoint]
) -> dict[str, Any] | None:
    known = connection.execute(
        sa.select(run_metrics).where(
            run_metrics.c.project == project, run_metrics.c.run == run, run_metrics.c.metric == metric
        )
    ).one_or_none()
    if known is None:
        return None
    newest = max(added, key=lambda point: (point.step, point.at or _NO_TIME))
    row = dict(known._mapping)
    if (newest.step, newest.at or _NO_TIME) > (known.last_step, known.last_at):
        row |= {"last_step": newest.step, "last_at": newest.at or _NO_TIME, "last": _column(newest.value)}
    numbers = [point.value for point in added if not math.isnan(point.value)]
    row["points"] = known.points + len(added)
    row["first_step"] = min(known.first_step, *(point.step for point in added))
    row["least"] = min([*numbers, *([] if known.least is None else [known.least])], default=None)
    row["most"] = max([*numbers, *([] if known.most is None else [known.most])], default=None)
    return row


def _counted_anew(connection: sa.Connection, project: str, run: str, metric: str) -> dict[str, Any]:
    mine = sa.and_(run_points.c.project == project, run_points.c.run == run, run_points.c.metric == metric)
    value = run_points.c.value
    totals = connection.execute(
        sa.select(
            sa.func.count().label("points"),
            sa.func.min(run_points.c.step).label("first_step"),
            sa.func.min(value).label("least"),
            sa.func.max(value).label("most"),
        ).where(mine)
    ).one()
    last = connection.execute(
        sa.select(run_points.c.step, run_points.c.at, value)
        .where(mine)
        .order_by(run_points.c.step.desc(), run_points.c.at.desc())
        .limit(1)
    ).one()
    return {
        "project": project, "run": run, "metric": metric, "points": totals.points, "first_step": totals.first_step,
        "last_step": last.step, "last_at": last.at, "last": last.value, "least": totals.least, "most": totals.most,
    }  # fmt: skip


def _runs(connection: sa.Connection, project: str, ids: Sequence[str]) -> list[Run]:
    """Return runs with their activities and metrics, in the order of ids."""
    known = {activity.id: activity for activity in read_activities(connection, project, sorted(ids))}
    summaries: dict[str, list[MetricSummary]] = {}
    found: list[Run] = []
    for chunk in chunks(sorted(ids)):
        for row in connection.execute(
            sa.select(run_metrics)
            .where(run_metrics.c.project == project, run_metrics.c.run.in_(chunk))
            .order_by(run_metrics.c.run, run_metrics.c.metric)
        ):
            summaries.setdefault(row.run, []).append(
                MetricSummary(
                    row.metric, row.points, row.first_step, row.last_step, _number(row.last), row.least, row.most
                )
            )
        rows = connection.execute(
            sa.select(runs).where(runs.c.project == project, runs.c.id.in_(chunk)).order_by(runs.c.id)
        )
        found += [
            Run(
                known[row.id], row.experiment, row.name, row.heartbeat_at, row.tags, row.error, row.actor_name,
                row.request, tuple(summaries.get(row.id, ())),
            )
            for row in rows
        ]  # fmt: skip
    return found
