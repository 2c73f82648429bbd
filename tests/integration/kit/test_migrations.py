"""The schema that migrations make is the schema that the code declares, on both databases."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.databases import MIGRATIONS, load_all_tables, opened
from tetrad.kit.db import Database, metadata
from tetrad.kit.db.migrate import DatabaseTooNew, MigrationFailed, migrate, migration_sql

STEP = '''
"""A step."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
{body}
'''


def scripts_of(folder: Path, *bodies: str) -> Path:
    """Write a migrations folder with one step per body."""
    (folder / "versions").mkdir(parents=True)
    shutil.copyfile(MIGRATIONS / "env.py", folder / "env.py")
    for number, body in enumerate(bodies, 1):
        down = f"{number - 1:04}" if number > 1 else None
        indented = "\n".join(f"    {line}" for line in body.splitlines())
        text = STEP.format(revision=f"{number:04}", down=down, body=indented)
        (folder / "versions" / f"{number:04}_step.py").write_text(text, "utf-8")
    return folder


CREATE = 'op.create_table("parent", sa.Column("id", sa.Integer, primary_key=True))'
CHILD = (
    'op.create_table("child", sa.Column("id", sa.Integer, primary_key=True), '
    'sa.Column("parent_id", sa.Integer, sa.ForeignKey("parent.id", ondelete="CASCADE"), nullable=False))'
)


def test_migrated_schema_is_what_the_code_declares(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    load_all_tables()
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        missing = set(metadata.tables) - set(sa.inspect(connection).get_table_names())
    assert missing == set()


def test_versions_are_a_line_of_numbers() -> None:
    names = sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]


def test_first_run_applies_every_step_and_the_second_none(empty_database_url: str, tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path / "m", CREATE, CHILD)
    with opened(empty_database_url) as database:
        first = migrate(database, scripts)
        second = migrate(database, scripts)
    assert (first.before, first.after, first.applied) == (None, "0002", ("0001", "0002"))
    assert (second.before, second.after, second.applied) == ("0002", "0002", ())


def test_a_newer_database_is_refused_and_says_what_to_do(empty_database_url: str, tmp_path: Path) -> None:
    with opened(empty_database_url) as database:
        migrate(database, scripts_of(tmp_path / "new", CREATE, CHILD))
        older = scripts_of(tmp_path / "old", CREATE)
        with pytest.raises(DatabaseTooNew) as caught:
            migrate(database, older)
    assert "'0002'" in caught.value.message
    assert "'0001'" in caught.value.message
    assert "newer Tetrad" in caught.value.hint


def test_a_failing_step_leaves_the_database_as_it_was(empty_database_url: str, tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path / "m", CREATE, CHILD, 'op.execute("INSERT INTO nowhere VALUES (1)")')
    with opened(empty_database_url) as database:
        with pytest.raises((MigrationFailed, sa.exc.DatabaseError)) as caught:
            migrate(database, scripts)
        assert isinstance(caught.value, MigrationFailed)
        assert "0003" in caught.value.message
        with database.read() as connection:
            assert sa.inspect(connection).get_table_names() == []


def test_remaking_a_table_keeps_the_rows_that_refer_to_it(empty_database_url: str, tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path / "one", CREATE, CHILD)
    with opened(empty_database_url) as database:
        migrate(database, scripts)
        with database.write() as connection:
            connection.execute(sa.text("INSERT INTO parent VALUES (1)"))
            connection.execute(sa.text("INSERT INTO child VALUES (1, 1)"))
        alter = (
            'with op.batch_alter_table("parent", recreate="auto") as batch:\n'
            '    batch.add_column(sa.Column("name", sa.Text, nullable=False, server_default="x"))\n'
            '    batch.alter_column("id", type_=sa.BigInteger)'
        )
        migrate(database, scripts_of(tmp_path / "two", CREATE, CHILD, alter))
        with database.read() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM child")).scalar_one() == 1
    with opened(empty_database_url) as database, pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(sa.text("INSERT INTO child VALUES (2, 99)"))


def test_a_step_that_orphans_rows_is_undone(empty_database_url: str, database_kind: str, tmp_path: Path) -> None:
    if database_kind != "sqlite":
        return  # PostgreSQL refuses the statement itself
    with opened(empty_database_url) as database:
        migrate(database, scripts_of(tmp_path / "one", CREATE, CHILD))
        with database.write() as connection:
            connection.execute(sa.text("INSERT INTO parent VALUES (1)"))
            connection.execute(sa.text("INSERT INTO child VALUES (1, 1)"))
        with pytest.raises(MigrationFailed, match="refer to nothing"):
            migrate(database, scripts_of(tmp_path / "two", CREATE, CHILD, 'op.execute("DELETE FROM parent")'))
        with database.read() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM parent")).scalar_one() == 1


def test_of_two_threads_one_migrates(empty_database_url: str, tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path / "m", CREATE, CHILD)
    applied: list[tuple[str, ...]] = []
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def run() -> None:
        try:
            with opened(empty_database_url) as database:
                start.wait(30)
                applied.append(migrate(database, scripts).applied)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert sorted(applied) == [(), (), (), ("0001", "0002")]


def test_of_two_processes_one_migrates(empty_database_url: str, tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path / "m", CREATE, CHILD)
    program = (
        "import sys, pathlib\nfrom tetrad.kit.db import open_database\nfrom tetrad.kit.db.migrate import migrate\n"
        "print(len(migrate(open_database(sys.argv[1]), pathlib.Path(sys.argv[2])).applied))"
    )
    command = [sys.executable, "-c", program, empty_database_url, str(scripts)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [child.communicate(timeout=60) for child in children]
    assert sorted(out.strip() for out, _ in outputs) == ["0", "0", "2"], outputs


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_sql_of_all_steps_can_be_printed(dialect: str) -> None:
    sql = migration_sql(MIGRATIONS, dialect=dialect)
    load_all_tables()
    assert metadata.tables
    assert "CREATE TABLE alembic_version" in sql
    for name in metadata.tables:
        assert f"CREATE TABLE {name} " in sql
