"""The house stays as it was laid out: import contracts, front doors, light starts, a frozen public surface."""

from __future__ import annotations

import functools
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest

import tetrad

ROOT = Path(__file__).parents[2]
SOURCE = Path(tetrad.__file__).parent
SURFACE = ROOT / "tests" / "golden" / "public_surface.json"
FRAME = {"kernel", "kit", "adapters", "processes", "__main__"}  # what is no slice
OPEN = {"ports", "testing", "conformance"}  # what others may import of a slice, besides the slice itself
EDGES = {"routes", "cli", "tasks", "_store"}
HEAVY = {"sqlalchemy", "alembic", "fastapi", "pydantic", "torch", "numpy", "pandas", "chdb", "clickhouse_connect"}
SLICES = sorted(module.name for module in pkgutil.iter_modules(tetrad.__path__) if module.name not in FRAME)


@functools.cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("tetrad", cache_dir=None)


@functools.cache
def contracts() -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {contract["id"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}


def test_the_import_contracts_hold() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_slice_has_its_place_in_the_contracts() -> None:
    tiers = set(re.findall(r"[a-z_]+", " ".join(contracts()["layers"]["layers"])))
    assert set(SLICES) <= tiers
    assert set(contracts()["slice"]["containers"]) == {f"tetrad.{name}" for name in SLICES}


def test_every_model_and_port_is_held_to_do_no_io() -> None:
    pure = {f"tetrad.{name}.{part}" for name in SLICES for part in ("_model", "ports")}
    there = {module for module in pure if module in graph().modules}
    assert there | {"tetrad.kernel"} == set(contracts()["pure"]["source_modules"])


def test_slices_are_entered_through_their_front_doors() -> None:
    bad = []
    for module in graph().modules:
        for target in graph().find_modules_directly_imported_by(module):
            parts, own = target.split("."), module.split(".")
            if len(parts) < 3 or parts[1] not in SLICES or own[1:2] == parts[1:2] or own[1:2] == ["processes"]:
                continue
            if parts[2] not in OPEN:
                bad.append(f"{module} imports {target}; use `from tetrad.{parts[1]} import …`")
    assert not bad, "\n".join(sorted(bad))


def test_front_doors_do_not_lead_to_the_edges() -> None:
    bad = []
    for name in SLICES:
        for edge in EDGES:
            chain = (
                graph().find_shortest_chain(importer=f"tetrad.{name}", imported=f"tetrad.{name}.{edge}")
                if f"tetrad.{name}.{edge}" in graph().modules
                else None
            )
            if chain:
                bad.append(" → ".join(chain))
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("name", ["kernel", *SLICES])
def test_a_front_door_opens_without_heavy_packages(name: str) -> None:
    program = f"import sys, tetrad.{name}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_the_gateway_starts_light() -> None:
    program = "import sys, tetrad.processes.gateway; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def surface() -> dict[str, list[str]]:
    """Collect what each front door offers."""
    doors = ["kernel", *SLICES, *(f"{name}.ports" for name in SLICES if f"tetrad.{name}.ports" in graph().modules)]
    found = {}
    for door in sorted(doors):
        module = importlib.import_module(f"tetrad.{door}")
        offered = getattr(module, "__all__", None)
        if offered is None:
            offered = [
                n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__ and n[0] != "_"
            ]
        found[door] = sorted(offered)
    return found


def test_the_public_surface_changes_only_on_purpose() -> None:
    """Freeze what slices offer to each other and to extensions; `UPDATE_GOLDEN=1` writes a wanted change."""
    found = surface()
    if os.environ.get("UPDATE_GOLDEN") == "1":
        SURFACE.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    frozen = json.loads(SURFACE.read_text("utf-8"))
    assert found == frozen, "run this test with UPDATE_GOLDEN=1 if the change is wanted, and say it in CHANGELOG.md"


@pytest.mark.parametrize("name", ["kernel", *SLICES])
def test_what_a_front_door_names_is_there(name: str) -> None:
    module = importlib.import_module(f"tetrad.{name}")
    missing = [offered for offered in module.__all__ if not hasattr(module, offered)]
    assert missing == []
    assert module.__doc__


def test_no_file_is_an_empty_shell() -> None:
    empty = [path for path in SOURCE.rglob("*.py") if not path.read_text("utf-8").strip()]
    assert empty == []


def test_no_two_tables_declare_the_same_setting() -> None:
    from tetrad.processes._settings import all_tables

    names = [setting.name for table in all_tables() for setting in table.settings]
    assert sorted(names) == sorted(set(names))


def test_no_module_is_named_for_nothing() -> None:
    nothing = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [path for path in SOURCE.rglob("*.py") if path.stem in nothing] == []
