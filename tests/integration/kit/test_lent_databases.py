"""PostgreSQL databases are lent to one test after another: nobody finds what another left."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from support.databases import PostgresServer
from support.identity import ADMIN, make_identity
from tetrad.kit.db import open_database


def lent(server: PostgresServer, leave: Callable[[str], object]) -> str:
    """Return the URL of a database in which a test left something."""
    with server.migrated() as url:
        leave(url)
    return url


def rows(url: str) -> dict[str, int]:
    """Count the rows of each table that has any."""
    with psycopg.connect(url) as connection:
        names = [
            str(name) for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        ]
        counted = {name: connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() for name in names}
    return {name: int(row[0]) for name, row in counted.items() if row is not None and row[0]}


def write_projects(url: str) -> None:
    database = open_database(url)
    try:
        identity = make_identity(database)
        identity.projects.create(ADMIN, "left", "Left behind")
        identity.secrets.put(ADMIN, "left", "KEY", "value")
    finally:
        database.close()
    assert len(rows(url)) > 2


def test_the_next_test_gets_the_same_database_without_a_row_of_the_last(postgres_server: PostgresServer) -> None:
    first = lent(postgres_server, write_projects)
    with postgres_server.migrated() as url:
        assert url == first
        assert rows(url) == {"alembic_version": 1}


def test_two_tests_at_once_have_a_database_each(postgres_server: PostgresServer) -> None:
    with postgres_server.migrated() as one, postgres_server.migrated() as other:
        assert one != other


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (id int)",
        "CREATE SCHEMA other",
        "ALTER TABLE projects ADD COLUMN more text",
        "ALTER TABLE projects ALTER COLUMN title DROP NOT NULL",
        "DROP TABLE projects CASCADE",
        "CREATE INDEX more ON projects (title)",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "UPDATE alembic_version SET version_num = '9999'",
        "DELETE FROM alembic_version",
        "SELECT lo_create(0)",
    ],
)
def test_a_database_that_rows_alone_do_not_explain_is_never_lent_again(
    postgres_server: PostgresServer, statement: str
) -> None:
    def change(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(statement.encode())

    changed = lent(postgres_server, change)
    with postgres_server.migrated() as url:
        assert url != changed
        assert rows(url) == {"alembic_version": 1}


def test_a_database_that_somebody_still_uses_is_never_lent_again(postgres_server: PostgresServer) -> None:
    held: list[psycopg.Connection[tuple[object, ...]]] = []
    used = lent(postgres_server, lambda url: held.append(psycopg.connect(url)))
    with held[0], postgres_server.migrated() as url:
        assert url != used


def test_a_database_that_grew_is_never_lent_again(postgres_server: PostgresServer) -> None:
    def grow(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(
                "INSERT INTO projects (name, title, created_at) "
                "SELECT 'p' || n, repeat('x', 100), 0 FROM generate_series(1, 20000) n"
            )

    grown = lent(postgres_server, grow)
    with postgres_server.migrated() as url:
        assert url != grown
