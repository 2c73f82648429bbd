"""Starting where something is wrong: one clear sentence, a way out, and no traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.ports import free_port
from support.product import product_environment
from support.wait import wait_until
from tetrad.kit.process_identity import ProcessIdentity


def start(home: Path, *, cwd: Path | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run `tetrad up`, which is expected to refuse."""
    ports = {"gateway_port": free_port(), "control_port": free_port(), **settings}
    done = subprocess.run(
        [sys.executable, "-m", "tetrad", "up"],
        env=product_environment(home, **ports),
        cwd=cwd or home.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "error:" in done.stderr
    assert "hint:" in done.stderr
    return done


def test_a_taken_port_is_named_with_the_setting_that_moves_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = start(tmp_path / "home", gateway_port=port)
    assert str(port) in done.stderr
    assert "TETRAD_GATEWAY_PORT" in done.stderr
    assert str(os.getpid()) in done.stderr, "the process that holds the port is named"


def test_a_home_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    marker = home / "HOME.json"
    marker.write_text(json.dumps({"format": 99, "version": "9.0.0"}))
    done = start(home)
    assert "9.0.0" in done.stderr
    assert json.loads(marker.read_text())["format"] == 99


def test_a_home_of_a_forgotten_format_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "HOME.json").write_text(json.dumps({"format": 0, "version": "0.0.1"}))
    assert "format 0" in start(home).stderr


def test_a_damaged_home_marker_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "HOME.json").write_text("{half")
    assert "HOME.json" in start(home).stderr


def test_a_home_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    assert "TETRAD_HOME" in start(tmp_path / "home").stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_home_is_told(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "cannot be written" in start(locked / "home").stderr


def test_a_read_only_place_is_told() -> None:
    assert "TETRAD_HOME" in start(Path("/proc/tetrad-home"), cwd=Path("/")).stderr


@pytest.mark.parametrize("name", ["what?", "50% off", "c#", "two\nlines"])
def test_a_home_whose_path_means_something_else_in_a_url_is_refused_before_data_lands_beside_it(
    tmp_path: Path, name: str
) -> None:
    assert "the path of the home folder" in start(tmp_path / name).stderr
    assert not list(tmp_path.iterdir())


def test_a_home_whose_path_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "LANG=C.UTF-8" in start(tmp_path / os.fsdecode(b"caf\xe9")).stderr


def test_a_path_too_long_for_sockets_is_told_before_anything_starts(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    assert "set TETRAD_HOME to a shorter path" in start(home).stderr
    assert not home.exists()


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    command = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" -m tetrad status'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        env=product_environment(tmp_path) | {"TETRAD_HOME": "home"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "TETRAD_HOME sets home: 'home' is meant from the working folder, and that is gone" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_letters_ends_no_command(tmp_path: Path, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tetrad", "status"],
        env=product_environment(tmp_path / "Büro 日本") | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert b"nothing runs in" in done.stdout
    assert ("Büro 日本".encode() if encoding == "ascii" else b"B\xfcro \\u65e5\\u672c") in done.stdout


def test_what_the_system_refuses_is_told_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "home" / "keys" / "app.key").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "tetrad", "env"],
        env=product_environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "app.key': Is a directory" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr


def test_who_stops_waiting_for_a_start_in_the_background_leaves_nothing_running(tmp_path: Path) -> None:
    home = tmp_path / "home"
    waiting = subprocess.Popen(
        [sys.executable, "-m", "tetrad", "up", "--detach"],
        env=product_environment(home, gateway_port=free_port(), control_port=free_port()),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_until((home / "run" / "state.json").exists, what="the begin of the supervisor", timeout_s=60)
    supervisor = json.loads((home / "run" / "state.json").read_text())
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 130, said
    assert b"Traceback" not in said
    identity = ProcessIdentity(supervisor["pid"], supervisor["started_ticks"])
    wait_until(lambda: not identity.alive(), what="the end of the supervisor", timeout_s=60)


def test_too_little_disk_is_told_before_anything_starts(tmp_path: Path) -> None:
    done = start(tmp_path / "home", min_free_disk_mb=10**9)
    assert "MB are needed" in done.stderr
    assert "TETRAD_MIN_FREE_DISK_MB" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gateway_port = 'eighty'", "gateway_port"),
        ("gateway_prot = 1", "gateway_port"),
        ("gateway_port = 99999", "65535"),
        ("gateway_port = [", "not TOML"),
    ],
)
def test_broken_settings_name_the_file_the_setting_and_the_remedy(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "tetrad.toml").write_text(text)
    environment = product_environment(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-m", "tetrad", "up"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "tetrad.toml" in done.stderr
    assert "Traceback" not in done.stderr
