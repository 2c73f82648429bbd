"""The tables of files, batches and lines, on SQLite and PostgreSQL."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.batches._model import OPEN, Batch, BatchSearch, BudgetPart, Carriage, Line, LineAnswer, StoredFile
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
    sa.Column("models", JsonText, nullable=False, server_default="[]"),
    sa.Index(None, "project", "id"),
    sa.Index(None, "project", "created_s", "id"),
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
batch_budgets = sa.Table(
    "batch_budgets",
    metadata,
    sa.Column("batch", sa.String(64), primary_key=True),
    sa.Column("rule", sa.String(64), primary_key=True),
    sa.Column("instance", sa.String(300), primary_key=True),
    sa.Column("held", sa.Text, nullable=False),
    sa.Column("spent", sa.Text, nullable=False),
    sa.Column("unknown", sa.BigInteger, nullable=False),
)
"""What is to be told of budgets; it outlasts its batch until it was told."""
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

    def search(self, project: str, search: BatchSearch, after: tuple[int, str] | None, limit: int) -> list[Batch]:
        table = batches.c
        wanted = _matching(project, search, self._database.dialect)
        if after is not None:
            place, last = sa.tuple_(table.created_s, table.id), sa.tuple_(*map(sa.literal, after))
            wanted.append(place > last if search.oldest_first else place < last)
        order = (table.created_s, table.id) if search.oldest_first else (table.created_s.desc(), table.id.desc())
        query = sa.select(batches).where(*wanted).order_by(*order).limit(limit)
        with self._database.read() as connection:
            return [_batch(row) for row in connection.execute(query).mappings()]

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

    def hold(self, identity: str, holds: Sequence[tuple[str, str, int]]) -> None:
        table = batch_budgets.c
        wanted: dict[tuple[str, str], int] = {}
        for rule, instance, amount in holds:
            wanted[rule, instance] = wanted.get((rule, instance), 0) + amount
        with self._database.write() as connection:
            _locked(connection, identity)
            for part in _parts(connection, identity):
                held = wanted.pop((part.rule, part.instance), 0)
                if held != part.held:
                    mine = (table.batch == identity, table.rule == part.rule, table.instance == part.instance)
                    connection.execute(sa.update(batch_budgets).where(*mine).values(held=str(held)))
            rows = [
                {"batch": identity, "rule": rule, "instance": of, "held": str(held), "spent": "0", "unknown": 0}
                for (rule, of), held in wanted.items()
            ]
            for start in range(0, len(rows), _PER_INSERT):
                insert_or_ignore(connection, batch_budgets, rows[start : start + _PER_INSERT])

    def parts(self, identity: str) -> list[BudgetPart]:
        with self._database.read() as connection:
            return _parts(connection, identity)

    def let_go(self, identity: str) -> None:
        with self._database.write() as connection:
            connection.execute(sa.delete(batch_budgets).where(batch_budgets.c.batch == identity))

    def not_let_go(self) -> list[str]:
        under_way = sa.select(batches.c.id).where(batches.c.status.in_(OPEN))
        query = sa.select(batch_budgets.c.batch).distinct().where(batch_budgets.c.batch.not_in(under_way))
        with self._database.read() as connection:
            return list(connection.execute(query.limit(_SWEPT)).scalars())

    def answer(self, identity: str, answers: Sequence[LineAnswer]) -> Batch | None:
        table = batch_lines.c
        with self._database.write() as connection:
            found = _locked(connection, identity)
            if found is None or not found.open:
                return found
            good = bad = size = 0
            spent: dict[tuple[str, str], tuple[int, int]] = {}
            for each in answers:
                packed = zlib.compress(msgspec.json.encode(msgspec.structs.replace(each, spent=[])), 1)
                kept = sa.update(batch_lines).where(
                    table.batch == identity, table.number == each.number, table.answered.is_(sa.false())
                )
                if connection.execute(kept.values(answered=True, answer=packed)).rowcount:
                    good, bad = good + each.good, bad + (not each.good)
                    size += len(bytes(each.body))
                    for rule, instance, amount, unknown in each.spent:
                        known = spent.get((rule, instance), (0, 0))
                        spent[rule, instance] = known[0] + amount, known[1] + unknown
            _add(connection, identity, spent)
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


def _matching(project: str, search: BatchSearch, dialect: str) -> list[sa.ColumnElement[bool]]:
    table = batches.c
    wanted: list[sa.ColumnElement[bool]] = [table.project == project]
    if search.status:
        wanted.append(table.status.in_(OPEN if search.status == "open" else (search.status,)))
    if search.key_id:
        wanted.append(table.key_id == search.key_id)
    model = _each_of(table.models, dialect)
    if search.model:
        wanted.append(sa.exists().where(model == search.model))
    if search.contains:
        part = "".join(letter.lower() if letter.isascii() else letter for letter in search.contains)
        found = [
            _folded(text, dialect).contains(part, autoescape=True) for text in (table.id, table.key_id, table.endpoint)
        ]
        found += [
            _folded(_field_of(table.carriage, name, dialect), dialect).startswith(part, autoescape=True)
            for name in ("provider", "batch")
        ]
        wanted.append(sa.or_(*found, sa.exists().where(_folded(model, dialect).contains(part, autoescape=True))))
    return wanted


def _each_of(column: sa.Column[Any], dialect: str) -> sa.ColumnElement[str]:
    """Return what stands for each text of a JSON list, within an EXISTS."""
    texts = sa.type_coerce(column, sa.Text)
    if dialect == "postgresql":
        unfolded = sa.func.json_array_elements_text(sa.cast(texts, sa.JSON))
    else:
        unfolded = sa.func.json_each(texts)
    return unfolded.table_valued(sa.column("value", sa.Text)).c.value


def _field_of(column: sa.Column[Any], name: str, dialect: str) -> sa.ColumnElement[str]:
    """Return the text of a field of a JSON object."""
    text = sa.type_coerce(column, sa.Text)
    if dialect == "postgresql":
        # it reads no JSON with a NUL, which what a provider said may have, whatever is asked of it
        without = sa.cast(sa.func.replace(text, "\\u0000", "\\ufffd", type_=sa.Text), sa.JSON)
        return sa.func.json_extract_path_text(without, name, type_=sa.Text)
    return sa.func.json_extract(text, f"$.{name}", type_=sa.Text)


def _folded(text: sa.ColumnElement[str], dialect: str) -> sa.ColumnElement[str]:
    """Return a text with A to Z in lower case, and nothing else: only so far do all databases agree."""
    return sa.func.lower(sa.collate(text, "C") if dialect == "postgresql" else text, type_=sa.Text)


def _parts(connection: sa.Connection, identity: str) -> list[BudgetPart]:
    table = batch_budgets.c
    query = sa.select(table.rule, table.instance, table.held, table.spent, table.unknown)
    rows = connection.execute(query.where(table.batch == identity).order_by(table.rule, table.instance))
    return [BudgetPart(row[0], row[1], int(row[2]), int(row[3]), int(row[4])) for row in rows]


def _add(connection: sa.Connection, identity: str, spent: dict[tuple[str, str], tuple[int, int]]) -> None:
    """Add to what a batch spent, in the transaction that keeps the answers it was spent for."""
    table = batch_budgets.c
    for (rule, instance), (amount, unknown) in spent.items():
        named = {"batch": identity, "rule": rule, "instance": instance}
        insert_or_ignore(connection, batch_budgets, {**named, "held": "0", "spent": "0", "unknown": 0})
        mine = (table.batch == identity, table.rule == rule, table.instance == instance)
        before = connection.execute(sa.select(table.spent, table.unknown).where(*mine)).one()
        now = {"spent": str(int(before[0]) + amount), "unknown": int(before[1]) + unknown}
        connection.execute(sa.update(batch_budgets).where(*mine).values(now))


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
