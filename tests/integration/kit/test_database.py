"""Reads are consistent, writes are whole, and failures say what to do, on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.databases import opened
from support.ports import free_port
from tetrad.kernel import InvalidInput
from tetrad.kit.db import (
    Database,
    DatabaseUnavailable,
    JsonText,
    Timestamp,
    insert_or_ignore,
    open_database,
    upsert,
)

things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, unique=True),
    sa.Column("at", Timestamp),
    sa.Column("data", JsonText),
)


@pytest.fixture
def bare(empty_database_url: str) -> Database:
    with opened(empty_database_url) as database:
        things.create(database.engine)
        yield database


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(things)).scalar_one())


def test_what_a_writer_did_is_kept_whole_or_not_at_all(bare: Database) -> None:
    with bare.write() as connection:
        connection.execute(things.insert(), [{"id": 1}, {"id": 2}])

    def fail() -> None:
        with bare.write() as connection:
            connection.execute(things.insert(), [{"id": 3}])
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert count(bare) == 2


def test_what_a_reader_wrote_is_rolled_back(bare: Database) -> None:
    with bare.read() as connection:
        connection.execute(things.insert(), [{"id": 1}])
    assert count(bare) == 0


def test_a_broken_rule_is_not_an_outage(bare: Database) -> None:
    with bare.write() as connection:
        connection.execute(things.insert(), [{"id": 1, "name": "x"}])
    with pytest.raises(sa.exc.IntegrityError), bare.write() as connection:
        connection.execute(things.insert(), [{"id": 2, "name": "x"}])


def test_many_writers_take_turns_and_lose_nothing(bare: Database) -> None:
    errors: list[BaseException] = []

    def write(start: int) -> None:
        try:
            for number in range(start, start + 20):
                with bare.write() as connection:
                    highest = connection.execute(sa.select(sa.func.max(things.c.id))).scalar() or 0
                    connection.execute(things.insert(), [{"id": 10_000 + number, "name": str(highest)[:0] or None}])
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(20 * number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert count(bare) == 100


def test_two_processes_write_to_one_database(bare: Database, empty_database_url: str) -> None:
    program = (
        "import sys, sqlalchemy as sa\nfrom tetrad.kit.db import open_database\n"
        "database = open_database(sys.argv[1])\n"
        "for number in range(int(sys.argv[2]), int(sys.argv[2]) + 25):\n"
        "    with database.write() as connection:\n"
        "        connection.execute(sa.text(f'SELECT count(*) FROM things')).scalar()\n"
        "        connection.execute(sa.text(f'INSERT INTO things (id) VALUES ({number})'))\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, empty_database_url, str(start)], stderr=subprocess.PIPE)
        for start in (0, 1000)
    ]
    for child in children:
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said.decode()
    assert count(bare) == 50


def test_a_reader_sees_one_state_while_a_writer_commits(bare: Database, database_kind: str) -> None:
    if database_kind != "sqlite":
        return  # PostgreSQL's default isolation is per statement, and the product relies on no more
    with bare.read() as reader:
        before = reader.execute(sa.select(sa.func.count()).select_from(things)).scalar_one()
        with bare.write() as writer:
            writer.execute(things.insert(), [{"id": 1}])
        assert reader.execute(sa.select(sa.func.count()).select_from(things)).scalar_one() == before == 0
    assert count(bare) == 1


def test_times_keep_their_instant_to_the_microsecond_whatever_their_zone(bare: Database) -> None:
    odd = datetime(2026, 3, 29, 3, 30, 0, 123457, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    old = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    late = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    with bare.write() as connection:
        rows = [{"id": number, "at": at} for number, at in enumerate((odd, old, late, None))]
        connection.execute(things.insert(), rows)
    with bare.read() as connection:
        found = connection.execute(sa.select(things.c.at).order_by(things.c.id)).scalars().all()
        earlier = connection.execute(sa.select(things.c.id).where(things.c.at < odd)).scalars().all()
    assert found == [odd, old, late, None]
    assert found[0] is not None
    assert found[0].tzinfo is UTC
    assert earlier == [1]
    with pytest.raises(sa.exc.StatementError, match="no time zone"), bare.write() as connection:
        connection.execute(things.insert(), [{"id": 9, "at": datetime(2026, 1, 1)}])  # noqa: DTZ001


def test_json_keeps_what_was_put(bare: Database) -> None:
    value = {"ü": [1, 2.5, None, True, "\u2028\U0001f600"], "": {}}
    with bare.write() as connection:
        connection.execute(things.insert(), [{"id": 1, "data": value}, {"id": 2, "data": None}])
    with bare.read() as connection:
        assert connection.execute(sa.select(things.c.data).order_by(things.c.id)).scalars().all() == [value, None]


def test_rows_that_exist_are_ignored_or_overwritten_as_asked(bare: Database) -> None:
    with bare.write() as connection:
        assert insert_or_ignore(connection, things, [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]) == 2
        assert insert_or_ignore(connection, things, [{"id": 2, "name": "c"}, {"id": 3, "name": "d"}]) == 1
        assert insert_or_ignore(connection, things, []) == 0
        upsert(connection, things, {"id": 1, "name": "z"}, key=["id"])
        upsert(connection, things, {"id": 4, "name": "new"}, key=["id"])
    with bare.read() as connection:
        names = connection.execute(sa.select(things.c.name).order_by(things.c.id)).scalars().all()
    assert names == ["z", "b", "d", "new"]


def test_a_row_whose_key_is_all_it_has_may_be_upserted_twice(bare: Database) -> None:
    with bare.write() as connection:
        upsert(connection, things, {"id": 1}, key=["id"])
        upsert(connection, things, {"id": 1}, key=["id"])
    assert count(bare) == 1


def test_sqlite_survives_a_killed_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with opened(url) as database:
        things.create(database.engine)
    program = (
        "import os, sys, sqlalchemy as sa\nfrom tetrad.kit.db import open_database\n"
        "database = open_database(sys.argv[1])\n"
        "for number in range(5):\n"
        "    with database.write() as connection:\n"
        "        connection.execute(sa.text(f'INSERT INTO things (id) VALUES ({number})'))\n"
        "        if number == 4: os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, url], check=False)
    assert done.returncode == -9
    with opened(url) as database:
        assert count(database) == 4
        with database.write() as connection:
            connection.execute(things.insert(), [{"id": 99}])


def test_sqlite_is_durable_and_keeps_its_rules(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path / 'deep' / 'er' / 'x.db'}") as database, database.read() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is not a database, but long enough to look at" * 100)
    with opened(f"sqlite:///{tmp_path / 'x.db'}") as database, pytest.raises(DatabaseUnavailable) as caught:
        database.check()
    assert "x.db" in caught.value.message
    assert "damaged" in caught.value.message
    assert "backup" in caught.value.hint


def test_a_full_disk_is_an_outage_that_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path / 'x.db'}") as database:
        things.create(database.engine)
        with database.write() as connection:
            connection.execute(things.insert(), [{"id": 1}])

        def overfill() -> None:
            with database.write() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count=6")
                connection.execute(things.insert(), [{"id": 2, "data": "x" * 100_000}])

        with pytest.raises(DatabaseUnavailable, match="full") as caught:
            overfill()
        assert "room" in caught.value.hint
        assert count(database) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match="file"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'x.db'}")


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    url = f"postgresql://tetrad:hunter2@127.0.0.1:{free_port()}/tetrad"
    with opened(url) as database, pytest.raises(DatabaseUnavailable) as caught:
        database.check()
    assert "127.0.0.1" in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("url", ["", "mysql://x/y", "not a url", "sqlite+aiosqlite:///x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_database(url)
    assert "postgresql://" in caught.value.hint


def test_tests_never_see_the_real_home(tmp_path: Path) -> None:
    assert os.environ["TETRAD_HOME"] != str(Path.home() / ".tetrad")
    assert not Path(os.environ["TETRAD_HOME"]).exists()


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    for attempt in range(15):
        url = f"sqlite:///{tmp_path / f'{attempt}.db'}"
        errors: list[BaseException] = []
        start = threading.Barrier(6)

        def check(url: str = url, start: threading.Barrier = start, errors: list[BaseException] = errors) -> None:
            try:
                with opened(url) as database:
                    start.wait(30)
                    database.check()
                    with database.write() as connection:
                        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (x)")
            except BaseException as error:  # noqa: BLE001 - shown below
                errors.append(error)

        threads = [threading.Thread(target=check) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
