"""Open a database and hand out connections: many readers, one writer."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tetrad.kernel import InvalidInput, MissingExtra, Unavailable

_WAL_TIMEOUT_S = 30.0
_WAL_PAUSE_S = 0.01


class DatabaseUnavailable(Unavailable):
    """The database does not answer, is full, or is not one of ours."""

    code = "database_unavailable"


class DatabaseDamaged(DatabaseUnavailable):
    """The database's file is torn, overwritten or gone: trying again cannot help."""

    code = "database_damaged"


class Database:
    """Connections to one database. Share one instance per process; it is safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name
        self._writer = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Lend a connection with one consistent snapshot; whatever it wrote is rolled back."""
        with translated(self.engine), self.engine.connect() as connection:
            try:
                yield connection
            finally:
                connection.rollback()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Lend a connection whose transaction commits at the end, or rolls back on any error.

        On SQLite writers of this process queue here and the transaction takes the write lock at once, so that it
        cannot fail half-way with `database is locked`.
        """
        if self.dialect != "sqlite":
            with translated(self.engine), self.engine.begin() as connection:
                yield connection
            return
        with self._writer, translated(self.engine), self.engine.connect() as connection:
            connection.execution_options(tetrad_write=True)
            with connection.begin():
                yield connection

    def check(self) -> None:
        """Prove that the database answers; raise `DatabaseUnavailable` where it does not."""
        with self.read() as connection:
            connection.execute(sa.text("SELECT 1"))

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


@contextmanager
def translated(engine: sa.Engine) -> Iterator[None]:
    """Turn what drivers raise when a database is away, full or damaged into `DatabaseUnavailable`."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise DatabaseUnavailable(
            f"the database {engine.url.render_as_string(hide_password=True)!r} failed: {error.orig}",
            hint="check that it runs, that its disk has room, and that the user may write",
        ) from error
    except sa.exc.DatabaseError as error:
        if "malformed" in str(error.orig) or "not a database" in str(error.orig):
            raise DatabaseDamaged(
                f"the database {engine.url.render_as_string(hide_password=True)!r} is damaged: {error.orig}",
                hint="restore the last backup",
            ) from error
        raise


def open_database(url: str, *, pool_size: int = 8, timeout_s: float = 30.0) -> Database:
    """Open `sqlite:///path` or `postgresql://user@host/name`.

    SQLite runs in WAL mode with foreign keys, full durability (`synchronous=FULL`) and a busy timeout; its file is
    made when absent. Raises `InvalidInput` for other schemes, `MissingExtra` without psycopg.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise InvalidInput(
            "the database URL is malformed", code="bad_settings", hint="sqlite:///… or postgresql://…"
        ) from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return Database(_postgresql(parsed.set(drivername="postgresql+psycopg"), pool_size, timeout_s))
    if parsed.drivername == "sqlite":
        return Database(_sqlite(parsed, pool_size, timeout_s))
    raise InvalidInput(
        f"the database URL starts with {parsed.drivername!r}", code="bad_settings", hint="sqlite:///… or postgresql://…"
    )


def _postgresql(url: sa.URL, pool_size: int, timeout_s: float) -> sa.Engine:
    try:
        import psycopg  # noqa: F401 - asked for before SQLAlchemy does, to name our extra
    except ImportError:
        raise MissingExtra("PostgreSQL", "postgres") from None
    return sa.create_engine(url, pool_size=pool_size, pool_timeout=timeout_s, pool_pre_ping=True)


def _sqlite(url: sa.URL, pool_size: int, timeout_s: float) -> sa.Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DatabaseUnavailable(
                f"cannot make the folder of {url.database!r}: {error.strerror}",
                hint="choose a TETRAD_HOME you may write",
            ) from None
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        pool_timeout=timeout_s,
        connect_args={"timeout": timeout_s, "check_same_thread": False},
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, below
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Turn write-ahead logging on; of several who open a new file at once, one does it and the others wait.

    SQLite answers `locked` here without regard to the busy timeout, as waiting could be a deadlock.
    """
    deadline = time.monotonic() + _WAL_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_PAUSE_S)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get("tetrad_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
