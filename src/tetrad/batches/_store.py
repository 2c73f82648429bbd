"""The tables of files, batches and lines, on SQLite and PostgreSQL."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.batches._model import OPEN, Batch, Carriage, Line, LineAnswer, StoredFile
from tetrad.kernel import Digest
from tetrad.kit.db import Database, JsonText, insert_or_ignore, metadata

stored_files = sa.Table(
    "stored_files",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("purpose", sa.String(32), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("created_s", sa.BigInteger, nullable=False),
    sa.Column("expires_s", sa.BigInteger, nullable=True),
    sa.Column("key_id", sa.String(128), nullable=False),
    sa.Index(None, "project", "id"),
    sa.Index(None, "expires_s"),
)
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("key_id", sa.String(128), nullable=False),
    sa.Column("protocol", sa.String(16), nullable=False),
    sa.Column("endpoint", sa.String(64), nullable=False),
    sa.Column("input_file", sa.String(64), nullable=False),
    sa.Column("input_digest", sa.String(80), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_s", sa.BigInteger, nullable=False),
    sa.Column("expires_s", sa.BigInteger, nullable=False),
    sa.Column("ended_s", sa.BigInteger, nullable=True),
    sa.Column("window", sa.String(8), nullable=False),
    sa.Column("metadata", JsonText, nullable=True),
    sa.Column("errors", JsonText, nullable=False),
    sa.Column("output_file", sa.String(64), nullable=False),
    sa.Column("error_file", sa.String(64), nullable=False),
    sa.Column("output_keep_s", sa.BigInteger, nullable=True),
    sa.Column("times", JsonText, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("completed", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("answer_bytes", sa.BigInteger, nullable=False),
    sa.Column("carriage", JsonText, nullable=False, server_default="{}"),
    sa.Index(None, "project", "id"),
    sa.Index(None, "status"),
)
batch_lines = sa.Table(
    "batch_lines",
    metadata,
    sa.Column("batch", sa.String(64), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("custom_id", sa.Text, nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("answered", sa.Boolean, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=True),
    sa.ForeignKeyConstraint(["batch"], ["batches.id"], ondelete="CASCADE"),
)
_PER_INSERT = 200
_PER_READ = 100
_SWEPT = 200
_answer = msgspec.json.Decoder(LineAnswer)


class SqlBatchStore:
    """`BatchStore` on a database; answers wait compressed until they are in a file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # files

    def put_file(self, file: StoredFile) -> None:
        with self._database.write() as connection:
            connection.execute(sa.insert(stored_files).values(msgspec.structs.asdict(file)))

    def file(self, project: str, identity: str, now_s: int) -> StoredFile | None:
        query = sa.select(stored_files).where(stored_files.c.id == identity, *_there(project, now_s))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _file(row)

    def files(
        self, project: str, *, purpose: str, hidden: str, after: str, limit: int, newest_first: bool, now_s: int
    ) -> list[StoredFile]:
        table = stored_files.c
        query = sa.select(stored_files).where(*_there(project, now_s), table.purpose != hidden)
        if purpose:
            query = query.where(table.purpose == purpose)
        if after:
            query = query.where(table.id < after if newest_first else table.id > after)
        query = query.order_by(table.id.desc() if newest_first else table.id).limit(limit)
        with self._database.read() as connection:
            return [_file(row) for row in connection.execute(query).mappings()]

    def drop_file(self, project: str, identity: str) -> bool:
        gone = sa.delete(stored_files).where(stored_files.c.id == identity, stored_files.c.project == project)
        with self._database.write() as connection:
            return connection.execute(gone).rowcount > 0

    def kept(self, project: str) -> tuple[int, int]:
        total = sa.func.coalesce(sa.func.sum(stored_files.c.size), 0)
        query = sa.select(sa.func.count(), total).where(stored_files.c.project == project)
        with self._database.read() as connection:
            count, size = connection.execute(query).one()
        return int(count), int(size)

    def sweep(self, now_s: int, ended_before_s: int) -> int:
        late = sa.select(stored_files.c.id).where(stored_files.c.expires_s <= now_s).limit(_SWEPT)
        old = sa.select(batches.c.id).where(batches.c.ended_s <= ended_before_s).limit(_SWEPT)
        gone = 0
        with self._database.write() as connection:
            for table, found in ((stored_files, late), (batches, old)):
                ids = list(connection.execute(found).scalars())
                if ids:
                    gone += connection.execute(sa.delete(table).where(table.c.id.in_(ids))).rowcount
        return gone

    def held(self) -> Iterable[Digest]:
        query = sa.union(
            sa.select(stored_files.c.digest), sa.select(batches.c.input_digest).where(batches.c.status.in_(OPEN))
        )
        with self._database.read() as connection:
            return [Digest(digest) for digest in connection.execute(query).scalars()]

    # batches

    def add(self, batch: Batch) -> None:
        with self._database.write() as connection:
            connection.execute(sa.insert(batches).values(_row(batch)))

    def remove(self, batch: Batch) -> None:
        with self._database.write() as connection:
            connection.execute(sa.delete(batch_lines).where(batch_lines.c.batch == batch.id))
            connection.execute(sa.delete(batches).where(batches.c.id == batch.id))

    def batch(self, identity: str, project: str | None = None) -> Batch | None:
        query = sa.select(batches).where(batches.c.id == identity)
        if project is not None:
            query = query.where(batches.c.project == project)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _batch(row)

    def batches(self, project: str, *, protocol: str, before: str, after: str, limit: int) -> list[Batch]:
        table = batches.c
        query = sa.select(batches).where(table.project == project)
        if protocol:
            query = query.where(table.protocol == protocol)
        if before:
            query = query.where(table.id < before)
        if after:
            query = query.where(table.id > after)
        forward = bool(after) and not before
        query = query.order_by(table.id if forward else table.id.desc()).limit(limit)
        with self._database.read() as connection:
            found = [_batch(row) for row in connection.execute(query).mappings()]
        return found[::-1] if forward else found

    def open(self) -> list[Batch]:
        query = sa.select(batches).where(batches.c.status.in_(OPEN)).order_by(batches.c.id)
        with self._database.read() as connection:
            return [_batch(row) for row in connection.execute(query).mappings()]

    def change(self, identity: str, decide: Callable[[Batch], Batch | None]) -> Batch | None:
        with self._database.write() as connection:
            found = _locked(connection, identity)
            changed = None if found is None else decide(found)
            if changed is None:
                return found
            connection.execute(sa.update(batches).where(batches.c.id == identity).values(_row(changed)))
        return changed

    # lines

    def put_lines(self, identity: str, lines: Sequence[Line]) -> None:
        with self._database.write() as connection:
            for start in range(0, len(lines), _PER_INSERT):
                rows = [
                    {"batch": identity, "answered": False, "answer": None, **msgspec.structs.asdict(line)}
                    for line in lines[start : start + _PER_INSERT]
                ]
                insert_or_ignore(connection, batch_lines, rows)

    def unanswered(self, identity: str, after: int, limit: int) -> list[Line]:
        table = batch_lines.c
        query = sa.select(table.number, table.custom_id, table.start, table.length).where(
            table.batch == identity, table.number > after, table.answered.is_(sa.false())
        )
        with self._database.read() as connection:
            return [Line(*row) for row in connection.execute(query.order_by(table.number).limit(limit))]

    def answer(self, identity: str, answers: Sequence[LineAnswer]) -> Batch | None:
        table = batch_lines.c
        with self._database.write() as connection:
            found = _locked(connection, identity)
            if found is None or not found.open:
                return found
            good = bad = size = 0
            for each in answers:
                packed = zlib.compress(msgspec.json.encode(each), 1)
                kept = sa.update(batch_lines).where(
                    table.batch == identity, table.number == each.number, table.answered.is_(sa.false())
                )
                if connection.execute(kept.values(answered=True, answer=packed)).rowcount:
                    good, bad = good + each.good, bad + (not each.good)
                    size += len(bytes(each.body))
            counted = msgspec.structs.replace(
                found,
                completed=found.completed + good,
                failed=found.failed + bad,
                answer_bytes=found.answer_bytes + size,
            )
            connection.execute(sa.update(batches).where(batches.c.id == identity).values(_row(counted)))
        return counted

    def answers(self, identity: str) -> Iterator[tuple[Line, LineAnswer | None]]:
        table, after = batch_lines.c, -1
        while True:
            query = (
                sa.select(batch_lines)
                .where(table.batch == identity, table.number > after)
                .order_by(table.number)
                .limit(_PER_READ)
            )
            with self._database.read() as connection:
                rows = connection.execute(query).mappings().all()
            for row in rows:
                line = Line(row["number"], row["custom_id"], row["start"], row["length"])
                yield line, _answer.decode(zlib.decompress(row["answer"])) if row["answer"] is not None else None
            if len(rows) < _PER_READ:
                return
            after = rows[-1]["number"]

    def finish(self, batch: Batch, files: Sequence[StoredFile]) -> bool:
        with self._database.write() as connection:
            found = _locked(connection, batch.id)
            if found is None or not found.open:
                return False
            for file in files:
                connection.execute(sa.insert(stored_files).values(msgspec.structs.asdict(file)))
            ended = {**_row(batch), "ended_s": batch.times[batch.status]}
            connection.execute(sa.update(batches).where(batches.c.id == batch.id).values(ended))
            connection.execute(sa.delete(batch_lines).where(batch_lines.c.batch == batch.id))
        return True


def _locked(connection: sa.Connection, identity: str) -> Batch | None:
    row = connection.execute(sa.select(batches).where(batches.c.id == identity).with_for_update()).mappings().first()
    return None if row is None else _batch(row)


def _there(project: str, now_s: int) -> tuple[sa.ColumnElement[bool], ...]:
    table = stored_files.c
    return table.project == project, sa.or_(table.expires_s.is_(None), table.expires_s > now_s)


def _file(row: Any) -> StoredFile:
    return StoredFile(**dict(row))


def _batch(row: Any) -> Batch:
    named = {str(name): value for name, value in row.items() if name != "ended_s"}
    carriage = msgspec.json.decode(msgspec.json.encode(named.pop("carriage")), type=Carriage)
    return msgspec.structs.replace(msgspec.convert(named, Batch), carriage=carriage)


def _row(batch: Batch) -> dict[str, Any]:
    row = msgspec.structs.asdict(batch)
    row["errors"] = msgspec.to_builtins(batch.errors)
    row["carriage"] = msgspec.json.decode(msgspec.json.encode(batch.carriage))  # its raw JSON too
    return row
