"""The tables of change requests, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from tetrad.changes._model import ENDED, ChangeRequest, Comment, Happening, Review, Revision, State
from tetrad.changes.errors import TooManyChanges, full
from tetrad.changes.ports import CommentStep, Counts, Hold, Step
from tetrad.kernel import Digest
from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata, upsert

T = TypeVar("T", bound=msgspec.Struct)
MAX_EVENTS = 5_000
_ENDS = ("merged", "closed")
"""What may happen to a change request whose history is full: it ends."""

change_heads = sa.Table(
    "change_heads",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("last", sa.Integer, nullable=False),
)

change_requests = sa.Table(
    "change_requests",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("app", sa.String(63), nullable=False),
    sa.Column("ref", sa.String(63), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("expected_outcome", sa.Text, nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("author", sa.String(128), nullable=False),
    sa.Column("author_name", sa.String(256), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("base", sa.String(71), nullable=False),
    sa.Column("candidate", sa.String(71), nullable=False),
    sa.Column("authors", JsonText, nullable=False),
    sa.Column("parts", JsonText, nullable=False),
    sa.Column("key", sa.String(128)),  # NULL: none was given; a UNIQUE lets any number of them be
    sa.Column("merge", JsonText),
    sa.Column("closed_reason", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "key"),
)
sa.Index(None, change_requests.c.project, change_requests.c.state, change_requests.c.number)

change_revisions = sa.Table(
    "change_revisions",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("request", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("base", sa.String(71), nullable=False),
    sa.Column("candidate", sa.String(71), nullable=False),
    sa.Column("parts", JsonText, nullable=False),
    sa.Column("patch", JsonText, nullable=False),
    sa.Column("changed", JsonText, nullable=False),
    sa.Column("notes", JsonText, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
    sa.Column("by_name", sa.String(256), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["project", "request"], ["change_requests.project", "change_requests.number"]),
)

change_reviews = sa.Table(
    "change_reviews",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("request", sa.Integer, primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("actor_name", sa.String(256), nullable=False),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("seals", JsonText, nullable=False),
    sa.Column("parts", JsonText, nullable=False),
    sa.Column("evidence", sa.String(71), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("own", sa.Boolean(create_constraint=False), nullable=False),
    sa.ForeignKeyConstraint(["project", "request"], ["change_requests.project", "change_requests.number"]),
)

change_events = sa.Table(
    "change_events",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("request", sa.Integer, primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("actor_name", sa.String(256), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("detail", JsonText, nullable=False),
    sa.ForeignKeyConstraint(["project", "request"], ["change_requests.project", "change_requests.number"]),
)

change_comments = sa.Table(
    "change_comments",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("request", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("thread", sa.String(64), nullable=False),
    sa.Column("author", sa.String(128), nullable=False),
    sa.Column("author_name", sa.String(256), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("anchor", JsonText),
    sa.Column("key", sa.String(128), nullable=False),
    sa.Column("history", JsonText, nullable=False),
    sa.Column("edited_at", Timestamp),
    sa.Column("resolved_at", Timestamp),
    sa.Column("resolved_by", sa.String(128), nullable=False),
    sa.Column("resolved_by_name", sa.String(256), nullable=False),
    sa.ForeignKeyConstraint(["project", "request"], ["change_requests.project", "change_requests.number"]),
)


class SqlChangeStore:
    """`ChangeStore` on a relational database."""

    def __init__(self, database: Database, hold: Hold) -> None:
        self._database = database
        self._hold = hold

    def add(self, request: ChangeRequest, revision: Revision, happening: Happening, *, most: int) -> ChangeRequest:
        project = request.project
        with self._database.write() as connection:
            self._hold(project, revision.rests_on(kept=request.state != "draft"), connection)
            insert_or_ignore(connection, change_heads, {"project": project, "last": 0})
            # Hold the head's row: the numbers of a project follow one another.
            mine = change_heads.c.project == project
            connection.execute(sa.update(change_heads).where(mine).values(last=change_heads.c.last))
            if request.key and (known := _by_key(connection, project, request.key)) is not None:
                return known
            held = sa.select(sa.func.count()).where(
                change_requests.c.project == project, change_requests.c.state.not_in(ENDED)
            )
            if connection.execute(held).scalar_one() >= most:
                raise full(project, most)
            number = connection.execute(sa.select(change_heads.c.last).where(mine)).scalar_one() + 1
            connection.execute(sa.update(change_heads).where(mine).values(last=number))
            made = msgspec.structs.replace(request, number=number)
            connection.execute(sa.insert(change_requests).values(**_request_row(made)))
            connection.execute(sa.insert(change_revisions).values(**_revision_row(made, revision)))
            _append(connection, made, happening)
            return made

    def get(self, project: str, number: int) -> ChangeRequest | None:
        with self._database.read() as connection:
            return _one(connection, project, number)

    def by_key(self, project: str, key: str) -> ChangeRequest | None:
        with self._database.read() as connection:
            return _by_key(connection, project, key)

    def list(
        self, project: str, *, app: str | None, ref: str | None, states: Collection[State], limit: int,
        before: int | None,
    ) -> Sequence[ChangeRequest]:  # fmt: skip
        statement = sa.select(change_requests).where(change_requests.c.project == project)
        if app is not None:
            statement = statement.where(change_requests.c.app == app)
        if ref is not None:
            statement = statement.where(change_requests.c.ref == ref)
        if states:
            statement = statement.where(change_requests.c.state.in_(sorted(states)))
        if before is not None:
            statement = statement.where(change_requests.c.number < before)
        with self._database.read() as connection:
            rows = connection.execute(statement.order_by(change_requests.c.number.desc()).limit(limit))
            return [_request(row) for row in rows]

    def unended(self, project: str | None) -> Sequence[ChangeRequest]:
        statement = sa.select(change_requests).where(change_requests.c.state.not_in(ENDED))
        if project is not None:
            statement = statement.where(change_requests.c.project == project)
        with self._database.read() as connection:
            rows = connection.execute(statement.order_by(change_requests.c.project, change_requests.c.number))
            return [_request(row) for row in rows]

    def revisions(self, project: str, number: int) -> Sequence[Revision]:
        with self._database.read() as connection:
            rows = connection.execute(_of(change_revisions, project, number, but="patch").order_by(sa.text("number")))
            return [_struct(Revision, row, patch=()) for row in rows]

    def revision(self, project: str, number: int, revision: int) -> Revision | None:
        with self._database.read() as connection:
            row = connection.execute(
                _of(change_revisions, project, number).where(change_revisions.c.number == revision)
            ).one_or_none()
        return None if row is None else _struct(Revision, row)

    def reviews(self, project: str, number: int) -> Sequence[Review]:
        with self._database.read() as connection:
            return _reviews(connection, project, number)

    def events(self, project: str, number: int, *, limit: int, before: int | None) -> Sequence[Happening]:
        statement = _of(change_events, project, number)
        if before is not None:
            statement = statement.where(change_events.c.sequence < before)
        with self._database.read() as connection:
            rows = connection.execute(statement.order_by(change_events.c.sequence.desc()).limit(limit))
            return [_struct(Happening, row) for row in rows]

    def update(
        self,
        project: str,
        number: int,
        decide: Callable[[ChangeRequest, Sequence[Review]], Step | None],
        transaction: Any = None,
    ) -> ChangeRequest | None:
        if transaction is not None:
            return self._update(transaction, project, number, decide)
        with self._database.write() as connection:
            self._hold(project, (), connection)  # before the row: a merge has them in this order too
            return self._update(connection, project, number, decide)

    def _update(
        self,
        connection: sa.Connection,
        project: str,
        number: int,
        decide: Callable[[ChangeRequest, Sequence[Review]], Step | None],
    ) -> ChangeRequest | None:
        request = _held(connection, project, number)
        if request is None:
            return None
        step = decide(request, _reviews(connection, project, number))
        if step is None:
            return request
        connection.execute(
            sa.update(change_requests)
            .where(change_requests.c.project == project, change_requests.c.number == number)
            .values(**_request_row(step.request))
        )
        if step.revision is not None:
            self._hold(project, step.revision.rests_on(kept=step.request.state != "draft"), connection)
            connection.execute(sa.insert(change_revisions).values(**_revision_row(step.request, step.revision)))
        if step.review is not None:
            row = {"project": project, "request": number, **_plain(step.review, change_reviews)}
            connection.execute(sa.insert(change_reviews).values(**row))
        _append(connection, step.request, step.happening)
        return step.request

    def comments(self, project: str, number: int) -> Sequence[Comment]:
        with self._database.read() as connection:
            return _comments(connection, project, number)

    def comment(
        self, project: str, number: int, decide: Callable[[ChangeRequest, Sequence[Comment]], CommentStep | None]
    ) -> None:
        with self._database.write() as connection:
            request = _held(connection, project, number)
            if request is None:
                return
            step = decide(request, _comments(connection, project, number))
            if step is None:
                return
            row = {"project": project, "request": number, **_plain(step.comment, change_comments)}
            upsert(connection, change_comments, row, key=("project", "request", "id"))
            if step.happening is not None:
                _append(connection, request, step.happening)

    def counts(self, project: str, numbers: Collection[int]) -> dict[int, Counts]:
        table = change_comments
        unresolved = sa.case((sa.and_(table.c.id == table.c.thread, table.c.resolved_at.is_(None)), 1), else_=0)
        statement = (
            sa.select(table.c.request, sa.func.count(), sa.func.sum(unresolved))
            .where(table.c.project == project, table.c.request.in_(sorted(numbers)))
            .group_by(table.c.request)
        )
        with self._database.read() as connection:
            found = connection.execute(statement).all() if numbers else []
        return {number: Counts(int(comments), int(open_threads)) for number, comments, open_threads in found}

    def held(self, project: str) -> set[Digest]:
        joined = change_revisions.join(
            change_requests,
            sa.and_(
                change_requests.c.project == change_revisions.c.project,
                change_requests.c.number == change_revisions.c.request,
            ),
        )
        statement = (
            sa.select(change_revisions.c.base, change_revisions.c.candidate, change_revisions.c.changed)
            .select_from(joined)
            .where(change_requests.c.project == project, change_requests.c.state.not_in(ENDED))
        )
        with self._database.read() as connection:
            found: set[Digest] = set()
            for base, candidate, changed in connection.execute(statement):
                found |= {Digest(base), Digest(candidate)}
                found |= {Digest(pin) for part in changed for pin in part.get("pins", ())}
            return found


def _held(connection: sa.Connection, project: str, number: int) -> ChangeRequest | None:
    """Return a change request whose row nobody else can write until the transaction ends."""
    one = sa.and_(change_requests.c.project == project, change_requests.c.number == number)
    connection.execute(sa.update(change_requests).where(one).values(revision=change_requests.c.revision))
    return _one(connection, project, number)


def _append(connection: sa.Connection, request: ChangeRequest, happening: Happening) -> None:
    last = connection.execute(
        sa.select(sa.func.max(change_events.c.sequence)).where(
            change_events.c.project == request.project, change_events.c.request == request.number
        )
    ).scalar_one()
    if (last or 0) >= MAX_EVENTS and happening.kind not in _ENDS:
        raise TooManyChanges(
            f"change request #{request.number} has a history of {last} entries", hint="merge or close it"
        )
    row = {"project": request.project, "request": request.number, **_plain(happening, change_events)}
    connection.execute(sa.insert(change_events).values(**row | {"sequence": (last or 0) + 1}))


def _of(table: sa.Table, project: str, number: int, *, but: str = "") -> sa.Select[Any]:
    """Select what belongs to a change request, without the column `but`."""
    columns = [column for column in table.c if column.name != but]
    return sa.select(*columns).where(table.c.project == project, table.c.request == number)


def _one(connection: sa.Connection, project: str, number: int) -> ChangeRequest | None:
    row = connection.execute(
        sa.select(change_requests).where(change_requests.c.project == project, change_requests.c.number == number)
    ).one_or_none()
    return None if row is None else _request(row)


def _by_key(connection: sa.Connection, project: str, key: str) -> ChangeRequest | None:
    row = connection.execute(
        sa.select(change_requests).where(change_requests.c.project == project, change_requests.c.key == key)
    ).one_or_none()
    return None if row is None else _request(row)


def _plain(value: msgspec.Struct, table: sa.Table) -> dict[str, Any]:
    """Return the fields that a table has columns for: JSON columns as JSON, the others as they are."""
    found: dict[str, Any] = {}
    for name in value.__struct_fields__:
        if name in table.c:
            held = getattr(value, name)
            found[name] = msgspec.to_builtins(held) if isinstance(table.c[name].type, JsonText) else held
    return found


def _request_row(request: ChangeRequest) -> dict[str, Any]:
    return _plain(request, change_requests) | {"key": request.key or None}


def _revision_row(request: ChangeRequest, revision: Revision) -> dict[str, Any]:
    return {"project": request.project, "request": request.number, **_plain(revision, change_revisions)}


def _request(row: sa.Row[Any]) -> ChangeRequest:
    return _struct(ChangeRequest, row, key=row._mapping["key"] or "")


def _reviews(connection: sa.Connection, project: str, number: int) -> list[Review]:
    rows = connection.execute(_of(change_reviews, project, number).order_by(change_reviews.c.sequence))
    return [_struct(Review, row) for row in rows]


def _comments(connection: sa.Connection, project: str, number: int) -> list[Comment]:
    rows = connection.execute(
        _of(change_comments, project, number).order_by(change_comments.c.at, change_comments.c.id)
    )
    return [_struct(Comment, row) for row in rows]


def _struct(kind: type[T], row: sa.Row[Any], **given: Any) -> T:
    """Read a row back; JSON columns become the structs that they were. `given` is what the row does not hold."""
    held = {name: row._mapping[name] for name in kind.__struct_fields__ if name not in given}
    return msgspec.convert(held | given, kind)
