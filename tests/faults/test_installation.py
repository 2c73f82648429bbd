"""Starting where something is wrong: one clear sentence, a way out, and no traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.ports import free_port
from support.product import product_environment


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
