"""No body, however malformed, makes the control plane fail: each is answered by a problem that says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_no_malformed_body_or_path_is_answered_by_a_failure(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-m", "support.walk_control", str(home), "--malformed"],
        env={**os.environ, "PYTHONPATH": str(TESTS), "TETRAD_HOME": str(home), "TETRAD_MIN_FREE_DISK_MB": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    walked = json.loads(done.stdout.splitlines()[-1])
    assert walked["failures"] == []
    assert walked["count"] > 1_500
