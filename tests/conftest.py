"""What every test gets: a guarded environment, databases of both kinds, the model's weights."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from support.browser import find_chromium

KEPT_VARIABLES = {"TETRAD_CACHE", "TETRAD_REQUIRE_BROWSER", "TETRAD_TEST_REDIS"}
_homes = itertools.count(1)

hypothesis.settings.register_profile(
    "fast", max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("all", parent=hypothesis.settings.get_profile("fast"), max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the developer's own Tetrad out of reach, also of processes that tests start."""
    # Tests start hundreds of processes: each would compile everything again on a machine that keeps no bytecode.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # A shell starts what runs in its background deaf to Ctrl-C, and whatever that starts would be deaf as well.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("TETRAD_") and name not in KEPT_VARIABLES]:
        del os.environ[name]
    os.environ["TETRAD_HOME"] = str(Path(tempfile.gettempdir()) / f"tetrad-tests-{os.getpid()}" / "no-home")
    if os.environ.get("TETRAD_REQUIRE_BROWSER") == "1" and find_chromium() is None:
        raise pytest.UsageError(
            "TETRAD_REQUIRE_BROWSER=1 demands Chromium, and none was found: apt-get install chromium"
        )


_left_out = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave browser journeys out where there is no browser, and count them."""
    journeys = [item for item in items if item.get_closest_marker("browser")]
    if not journeys or find_chromium() is not None:
        return
    config.stash[_left_out] = len(journeys)
    for item in journeys:
        item.add_marker(pytest.mark.skip(reason="no Chromium found"))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly what was not tested."""
    count = config.stash.get(_left_out, 0)
    if count:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(
            f"{count} browser {'journey was' if count == 1 else 'journeys were'} LEFT OUT: no Chromium was found. "
            "Install it (apt-get install chromium) or set CHROMIUM_PATH, then run again.",
            red=True,
            bold=True,
        )


@pytest.fixture(autouse=True)
def _guarded_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each test a TETRAD_HOME of its own (not made yet)."""
    monkeypatch.setenv("TETRAD_HOME", str(tmp_path_factory.getbasetemp() / f"home-{next(_homes)}"))


@pytest.fixture
def tetrad_home(_guarded_home: None) -> Path:
    """Return this test's TETRAD_HOME, made, with the product's mode."""
    home = Path(os.environ["TETRAD_HOME"])
    home.mkdir(mode=0o700, parents=True)
    return home


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[object]:
    """Lend the test run's own PostgreSQL, started when first asked for."""
    from support.databases import PostgresServer

    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> object:
    from support.databases import SqliteTemplate

    return SqliteTemplate(tmp_path_factory.mktemp("sqlite-template"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Run the test once per kind of database."""
    return str(request.param)


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Lend the URL of a fresh database with all migrations applied, SQLite and PostgreSQL in turn."""
    if database_kind == "sqlite":
        yield request.getfixturevalue("_sqlite_template").copy(tmp_path / "tetrad.db")
    else:
        with request.getfixturevalue("postgres_server").migrated() as url:
            yield url


@pytest.fixture
def empty_database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Lend the URL of a fresh database without tables, SQLite and PostgreSQL in turn."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with request.getfixturevalue("postgres_server").empty() as url:
            yield url


@pytest.fixture
def database(database_url: str) -> Iterator[object]:
    """Lend an open `tetrad.kit.db.Database` with all migrations applied, SQLite and PostgreSQL in turn."""
    from support.databases import opened

    with opened(database_url, waits_for_disk=False) as opened_database:
        yield opened_database


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Return a cache folder that holds the bundled chat model's weights, fetched by the product's own code.

    `TETRAD_CACHE` is respected; else it is the developer's own cache, as weights are fetched once per machine.
    """
    from support.models import CHAT_MODEL, cache_folder

    folder = cache_folder()
    CHAT_MODEL.fetch(folder)
    return folder


@pytest.fixture(scope="session")
def chat_weights(model_cache: Path) -> Path:
    """Return the GGUF file of the bundled chat model (read-only: link or copy it)."""
    from support.models import CHAT_MODEL

    return CHAT_MODEL.fetch(model_cache)
