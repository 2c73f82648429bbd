"""Files of the home folder that were torn, overwritten or lost: told in one line, never made anew in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import gateway as g
from support.fake_control import FakeControl
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home
from support.ports import free_port
from support.product import product_environment
from support.wait import wait_until
from tetrad.kernel import TetradError
from tetrad.kit.children import EX_CONFIG
from tetrad.kit.db import DatabaseDamaged
from tetrad.kit.home import Home
from tetrad.processes.control._compose import refuse_lost_database


def control(home: Path) -> subprocess.CompletedProcess[str]:
    return run("control", home)


def run(process: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = product_environment(home, control_port=free_port(), gateway_port=free_port())
    return subprocess.run(
        [sys.executable, "-m", f"tetrad.processes.{process}"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home


def test_a_database_of_garbage_ends_control_with_the_reason_and_is_left_alone(home: Path) -> None:
    garbage = os.urandom(5000)
    (home / "tetrad.db").write_bytes(garbage)
    done = control(home)
    assert done.returncode == EX_CONFIG, done.stderr
    assert "is damaged: file is not a database" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert (home / "tetrad.db").read_bytes() == garbage


@pytest.mark.parametrize("left", [None, b""])
def test_a_used_home_whose_database_is_gone_gets_no_empty_one(home: Path, left: bytes | None) -> None:
    (home / "gateway").mkdir()
    (home / "gateway" / "route-table.sealed").write_bytes(b"a table of earlier days")
    if left is not None:
        (home / "tetrad.db").write_bytes(left)
    done = control(home)
    assert done.returncode == EX_CONFIG, done.stderr
    assert "this home has been used before" in done.stderr.splitlines()[-1]
    assert not (home / "tetrad.db").exists() or (home / "tetrad.db").stat().st_size == 0


def test_a_new_home_and_a_database_elsewhere_are_no_loss(home: Path) -> None:
    url = f"sqlite:///{home / 'tetrad.db'}"
    refuse_lost_database(Home(home), url)
    (home / "telemetry").mkdir()
    refuse_lost_database(Home(home), url)
    (home / "telemetry" / "data").write_bytes(b"x")
    refuse_lost_database(Home(home), "postgresql://db.example/tetrad")
    with pytest.raises(DatabaseDamaged) as told:
        refuse_lost_database(Home(home), url)
    assert isinstance(told.value, TetradError)
    assert "move the whole home folder away" in told.value.hint


def test_a_damaged_internal_token_ends_control_and_the_worker_with_the_reason(home: Path) -> None:
    (home / "keys").mkdir(mode=0o700)
    (home / "keys" / "internal.token").write_bytes(b"\x84" * 40)
    for process in ("control", "worker"):
        done = run(process, home)
        assert done.returncode == {"control": EX_CONFIG, "worker": 1}[process], done.stderr
        assert "internal.token' cannot be read" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_an_empty_key_file_ends_control_with_the_reason(home: Path) -> None:
    (home / "keys").mkdir(mode=0o700)
    (home / "keys" / "app.key").write_bytes(b"")
    done = control(home)
    assert done.returncode == EX_CONFIG, done.stderr
    assert "app.key' holds no key of Tetrad's (hint: delete the file" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_with_a_damaged_internal_token_the_gateway_serves_on_and_recovers(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with FakeOpenAI() as upstream, FakeControl() as control:
        prepare_home(home, make_table(upstream.base_url))
        token = home / "keys" / "internal.token"
        token.write_bytes(b"\x84" * 40)
        with GatewayProcess(home, control_url=control.url) as gateway:
            for _ in range(3):
                assert gateway.chat("local/m1")[0] == 200
            assert control.streams == 0
            token.write_text(g.TOKEN)
            wait_until(lambda: len(control.spans) == 6, timeout_s=20, what="the spans to be shipped after all")


def test_telemetry_that_was_damaged_on_disk_is_told_not_just_missing(tmp_path: Path) -> None:
    assert keep(tmp_path, "1") == ["before 0", "after 2 0"]
    torn = [path for path in (tmp_path / "telemetry" / "store").rglob("*") if path.name == "columns.txt"]
    assert torn
    for path in torn:
        path.write_bytes(b"")
    before, after = keep(tmp_path, "1")
    assert before.split()[0] == "before"
    assert int(before.split()[1]) >= 1, "the damage is counted"
    assert after.split()[1] == "2", "and the store takes spans again"


_KEEPER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from support.spans import an_exchange, kept_traces
with kept_traces(Path(sys.argv[1])) as kept:
    print("before", kept.traces.size().damaged_parts)
    for _ in range(int(sys.argv[2])):
        kept.ship(an_exchange())
    size = kept.traces.size()
    print("after", size.spans, size.damaged_parts)
"""


def keep(folder: Path, exchanges: str) -> list[str]:
    """Store exchanges in a process of its own: one process can open one embedded store."""
    code = _KEEPER.format(path=sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), exchanges], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()
