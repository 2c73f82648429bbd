"""Parsers of what strangers send, fuzzed with coverage as the guide."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.fuzzing import TARGETS, has_atheris

TESTS = Path(__file__).parents[1]
SECONDS = 240


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 3)
@pytest.mark.parametrize("target", TARGETS)
def test_minutes_of_guided_fuzzing_break_no_promise(target: str, tmp_path: Path) -> None:
    if not has_atheris():
        pytest.skip(f"NOT FUZZED: atheris has no wheel for Python {sys.version_info.major}.{sys.version_info.minor}")
    done = subprocess.run(
        [sys.executable, "-m", "support.fuzzing", target, str(SECONDS), str(tmp_path / "corpus")],
        cwd=TESTS, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [path.read_bytes() for path in (tmp_path / "corpus").glob("found-*")]
    assert done.returncode == 0, f"{found}\n{done.stderr[-6000:]}"
    assert "Done " in done.stderr
