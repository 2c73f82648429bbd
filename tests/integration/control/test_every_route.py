"""Every route of the whole control plane states who may call it, and refuses everybody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("walk") / "home"
    done = subprocess.run(
        [sys.executable, "-m", "support.walk_control", str(home)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "TETRAD_HOME": str(home), "TETRAD_MIN_FREE_DISK_MB": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_every_route_refuses_strangers_wrong_scopes_and_other_projects(walked: dict[str, Any]) -> None:
    assert walked["holes"] == []
    assert len(walked["guarded"]) > 60


def test_strangers_are_answered_by_the_listed_routes_only(walked: dict[str, Any]) -> None:
    console = "* "  # the console's files, mounted at the root
    assert walked["public"] == [console, "GET /healthz", "GET /openapi.json", "GET /readyz", "POST /api/v1/session"]


def test_the_names_of_operations_are_unique(walked: dict[str, Any]) -> None:
    assert [name for name, count in Counter(walked["operation_ids"]).items() if count > 1] == []


def test_every_schema_has_a_name_of_its_own(walked: dict[str, Any]) -> None:
    # FastAPI puts the module before names that two slices share; generated clients would show it
    assert [name for name in walked["schemas"] if "__" in name] == []
