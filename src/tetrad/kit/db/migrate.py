"""Bring a database to the schema of this code: one process at a time, all or nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tetrad.kernel import Conflict
from tetrad.kit.db._database import Database, translated

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

LOCK_KEY = 0x7465_7472_6164  # "tetrad", the name of the advisory lock
LOCK_TIMEOUT_S = 60


class DatabaseTooNew(Conflict):
    """The database was written by a newer Tetrad."""

    code = "database_too_new"


class MigrationFailed(Conflict):
    """A migration was refused; the database is as it was before."""

    code = "migration_failed"


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `migrate` did: the version before (None on an empty database), the one now, and the steps between."""

    before: str | None
    after: str | None
    applied: tuple[str, ...]


def migrate(database: Database, scripts: Path) -> Migrated:
    """Upgrade to the newest version under a lock; a database that is up to date is only read.

    `scripts` is a folder with `env.py` and `versions/`. Of several processes that start at once one migrates and the
    others wait for it (at most `LOCK_TIMEOUT_S`). All steps run in one transaction: a failure leaves the database as
    it was. Raises `DatabaseTooNew` where a newer Tetrad was here, `MigrationFailed` where a step does not apply.
    """
    from alembic import command

    config = _config(scripts)
    directory = _directory(config)
    head = directory.get_current_head()
    with database.read() as connection:
        before = _version(connection)
    if before == head:
        return Migrated(before, head, ())
    _refuse_newer(database, directory, before)
    with _locked(database) as connection:
        before = _version(connection)
        _refuse_newer(database, directory, before)
        if before != head:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except sa.exc.DatabaseError as error:
                raise MigrationFailed(
                    f"{shown_url(database)} cannot be brought from version {before or 'empty'} to {head}: {error.orig}",
                    hint="nothing was changed; restore a backup or report this with the line above",
                ) from error
    return Migrated(before, head, _between(directory, before, head))


def migration_sql(scripts: Path, *, dialect: str, since: str | None = None) -> str:
    """Return the SQL that `migrate` would run, for people who apply it themselves (`sqlite`, `postgresql`)."""
    from alembic import command

    out = io.StringIO()
    config = _config(scripts, out)
    config.attributes["dialect"] = dialect
    command.upgrade(config, f"{since or 'base'}:head", sql=True)
    return out.getvalue()


def shown_url(database: Database) -> str:
    """Name a database for people, without its password."""
    return repr(database.engine.url.render_as_string(hide_password=True))


def _config(scripts: Path, out: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=out, stdout=io.StringIO())
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _directory(config: Config) -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(config)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    return str(found[0]) if found else None


def _refuse_newer(database: Database, directory: ScriptDirectory, version: str | None) -> None:
    known = {script.revision for script in directory.walk_revisions()}
    if version is not None and version not in known:
        raise DatabaseTooNew(
            f"{shown_url(database)} is at version {version!r}; this Tetrad knows versions up to "
            f"{directory.get_current_head()!r}",
            hint="start the newer Tetrad that wrote it, or restore a backup made by this one",
        )


def _between(directory: ScriptDirectory, before: str | None, head: str | None) -> tuple[str, ...]:
    if head is None or before == head:
        return ()
    steps = [script.revision for script in directory.iterate_revisions(head, before or "base")]
    return tuple(reversed(steps))


@contextmanager
def _locked(database: Database) -> Iterator[sa.Connection]:
    """Lend a connection in a transaction that no other migration shares."""
    if database.dialect == "postgresql":
        with database.write() as connection:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
            yield connection
        return
    with translated(database.engine), database.engine.connect() as connection:
        raw = connection.connection.driver_connection
        if raw is None:  # pragma: no cover - an open connection always has one
            raise RuntimeError("the connection is closed")
        connection.execution_options(tetrad_write=True)
        # SQLite changes tables by remaking them; with foreign keys on, dropping the old one would delete its children.
        # The switch does nothing inside a transaction, hence here.
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT_S * 1000}")
        try:
            with connection.begin():
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    raise MigrationFailed(
                        f"after the migration {len(broken)} rows of {shown_url(database)} refer to nothing, "
                        f"the first in table {broken[0][0]!r}",
                        hint="nothing was changed; report this with the line above",
                    )
        finally:
            # A connection with other switches must not go back to the pool.
            connection.invalidate()
