"""Which Python is measured: the distribution's, which is built the way servers run it.

A Python that was compiled by hand without profile-guided optimisation (pyenv's default) is a fifth slower and more, for
every peer in Python alike; it would say more of that build than of the product.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTION = Path("/usr/bin/python3")
OLDEST = (3, 11)


def measured_python(results: Path) -> Path:
    """Return the Python of an environment with the product in it, made here if need be.

    `BENCH_PYTHON` names another interpreter; where that is the one that runs now, its own environment is taken.
    """
    wanted = os.environ.get("BENCH_PYTHON", "")
    interpreter = Path(wanted) if wanted else DISTRIBUTION
    version = _version(interpreter)
    if version is None or version < OLDEST:
        if wanted:
            raise SystemExit(f"BENCH_PYTHON={wanted} is no Python of {'.'.join(map(str, OLDEST))} or newer")
        return Path(sys.executable)
    if interpreter.resolve() == Path(sys.executable).resolve():
        return Path(sys.executable)
    environment = results / "python"
    uv = shutil.which("uv") or str(ROOT / ".bootstrap" / "uv" / "uv")
    subprocess.run(
        [uv, "sync", "--quiet", "--frozen", "--all-packages", "--no-default-groups", "--group", "dev",
         "--compile-bytecode", "--python", str(interpreter)],
        cwd=ROOT, check=True, env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment)},
    )  # fmt: skip
    return environment / "bin" / "python"


def _version(interpreter: Path) -> tuple[int, ...] | None:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        said = subprocess.run([str(interpreter), "-c", code], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(part) for part in said.split())
