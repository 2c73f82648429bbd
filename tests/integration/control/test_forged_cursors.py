"""No cursor, however it was made up, makes a list fail: it is refused, or read as a place in the list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_no_cursor_that_somebody_made_up_is_answered_by_a_failure(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-m", "support.walk_control", str(home), "--cursors"],
        env={**os.environ, "PYTHONPATH": str(TESTS), "TETRAD_HOME": str(home), "TETRAD_MIN_FREE_DISK_MB": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    walked = json.loads(done.stdout.splitlines()[-1])
    assert walked["failures"] == []
    assert len(walked["refused"]) > 20, "lists whose parent exists look at the cursor"
    project = "/api/v1/projects/{project}"
    assert {f"{project}/{name} {sort}" for name in ("prompts", "datasets") for sort in ("name", "-created")} | {
        f"{project}/traces -cost", f"{project}/traces start", f"{project}/keys last_used", f"{project}/budgets used",
    } <= set(walked["went_on"])  # fmt: skip
