"""The embedded engine's package as it is on a machine that lacks a library of the system."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

NEEDED, ABSENT = b"libgomp.so.1\0", b"libgomp.so.9\0"


def without_openmp(folder: Path) -> Path:
    """Return a path for PYTHONPATH under which `xllamacpp` needs a version of libgomp that no machine has."""
    spec = importlib.util.find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    target = folder / "absent" / source.name
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    [library] = target.glob("*.so")
    data = library.read_bytes()
    assert data.count(NEEDED) == 1
    library.write_bytes(data.replace(NEEDED, ABSENT))
    return target.parent
