"""Journeys that need a browser are left out loudly, or demanded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
JOURNEYS = """import pytest


@pytest.mark.browser
@pytest.mark.parametrize('n', range(3))
def test_journey(n):
    assert n < 3
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text("utf-8"))
    (folder / "test_journeys.py").write_text(JOURNEYS)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), **environment}
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    command += ["-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_without_a_browser_the_number_left_out_is_said_at_the_end(tmp_path: Path) -> None:
    done = run(tmp_path, CHROMIUM_PATH="/nonexistent", TETRAD_REQUIRE_BROWSER="")
    assert done.returncode == 0, done.stdout
    assert "3 skipped" in done.stdout
    last = done.stdout.rpartition("!!")[2]
    assert "3 browser journeys were LEFT OUT" in last
    assert "apt-get install chromium" in last


def test_where_browsers_are_demanded_their_absence_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, CHROMIUM_PATH="/nonexistent", TETRAD_REQUIRE_BROWSER="1")
    assert done.returncode != 0
    assert "demands Chromium" in done.stdout + done.stderr


def test_with_a_browser_the_journeys_run(tmp_path: Path) -> None:
    done = run(tmp_path, CHROMIUM_PATH=sys.executable)
    assert "3 passed" in done.stdout
    assert "LEFT OUT" not in done.stdout
