"""The control plane keeps to its own OpenAPI document, whatever is asked within it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]


def generated(folder: Path, *, examples: int, seed: int, most: int, timeout_s: float) -> dict[str, Any]:
    """Build the whole control plane in a process of its own, and call it."""
    home = folder / "home"
    numbers = [str(examples), str(seed), str(most)]
    done = subprocess.run(
        [sys.executable, "-m", "support.walk_control", str(home), "--generated", *numbers],
        env={**os.environ, "PYTHONPATH": str(TESTS), "TETRAD_HOME": str(home), "TETRAD_MIN_FREE_DISK_MB": "0"},
        capture_output=True, text=True, check=False, timeout=timeout_s,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.timeout(300)
def test_generated_calls_never_fail_and_are_answered_as_the_document_says(tmp_path: Path) -> None:
    told = generated(tmp_path, examples=2, seed=1, most=60, timeout_s=280)
    assert told["failures"] == []
    assert told["operations"] == 60


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_thousands_of_generated_calls_never_fail(tmp_path: Path) -> None:
    told = generated(tmp_path, examples=40, seed=2, most=10_000, timeout_s=3_500)
    assert told["failures"] == []
    assert told["operations"] >= 150
