"""The real product, as a user starts it: `tetrad up` in a home of its own, on free ports."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.ports import free_port
from support.wait import wait_until

START_S = 120.0
STOP_S = 60.0
_LEAVES_THE_FIRST_START_ALONE = {"gateway_port", "control_port", "liveness_s", "stop_timeout_s"}
_calibrations: list[bytes] = []
"""What the first product of this test process measured of this machine: seconds of all cores, the same each time."""
_moving: list[Path] = []
"""Where the test run keeps the home that `running_product` moves copies of; empty: each start is a first one."""
_tried_to_keep: list[bool] = []


@dataclass
class Product:
    """A running installation and the ways to reach it."""

    home: Path
    gateway_url: str
    control_url: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    output: Path
    said_before: int = 0
    """Bytes of `output` that an earlier start in the same folder wrote."""
    _admin: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The data key that `tetrad env` exports."""
        return (self.home / "keys" / "app.key").read_text("utf-8").strip()

    @property
    def admin_key(self) -> str:
        """The admin key of the first start."""
        return (self.home / "keys" / "admin.key").read_text("utf-8").strip()

    def said(self) -> str:
        """What `tetrad up` printed so far."""
        return self.output.read_bytes()[self.said_before :].decode("utf-8", "replace")

    def control(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Call the control plane as admin."""
        headers = {"Authorization": f"Bearer {self.admin_key}", **arguments.pop("headers", {})}
        return httpx.request(method, self.control_url + path, headers=headers, timeout=30, trust_env=False, **arguments)

    def cli(self, *arguments: str, check: bool = True, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `tetrad …` against this installation."""
        return subprocess.run(
            [sys.executable, "-m", "tetrad", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout_s,
        )

    def processes(self) -> dict[str, dict[str, Any]]:
        """What the supervisor knows of its processes, by name."""
        import json

        state = json.loads((self.home / "run" / "state.json").read_text("utf-8"))
        return {process["name"]: process for process in state["processes"]}

    def stop(self) -> int:
        """Press Ctrl-C and wait; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)


def product_environment(home: Path, **settings: object) -> dict[str, str]:
    """Return the environment of an installation: nothing of the machine's own settings shines through."""
    ours = ("TETRAD_", "OPENAI_", "ANTHROPIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    cache = os.environ.get("TETRAD_CACHE") or str(Path.home() / ".cache" / "tetrad")
    return {
        **kept,
        "TETRAD_HOME": str(home),
        "TETRAD_CACHE": cache,
        "NO_PROXY": "127.0.0.1,localhost",
        **{f"TETRAD_{name.upper()}": str(value) for name, value in settings.items()},
    }


def keep_a_home_to_move(base: Path) -> None:
    """Let the processes of a test run, whose temporary folder is `base`, share a home that is started once, now.

    Where that fails each product has a first start of its own, and the test that needs one says what is wrong.
    """
    if _tried_to_keep:
        return
    _tried_to_keep.append(True)
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "home-to-move"
    folder.mkdir(mode=0o700, exist_ok=True)
    with suppress(AssertionError, OSError, subprocess.SubprocessError):
        _home_to_move(folder)
        _moving.append(folder)


@contextmanager
def running_product(folder: Path, *, wait: bool = True, fresh: bool = False, **settings: object) -> Iterator[Product]:
    """Start the product in `folder`, wait until it is ready, and stop it at the end as a user would.

    Its home is new where `fresh` asks for that or a setting shapes the first start. Else it is that of a user who
    started Tetrad once, stopped it, and moved the folder here before anything was done with it: with keys, the example
    app and the engine's calibration, which each such home has in common.
    """
    ports = {"gateway_port": free_port(), "control_port": free_port(), **settings}
    home = folder / "home"
    if _moving and wait and not fresh and not home.exists() and settings.keys() <= _LEAVES_THE_FIRST_START_ALONE:
        _copy_home(_home_to_move(_moving[0]), home)
    environment = product_environment(home, **ports)
    output = folder / "up.log"
    _lend_calibration(home)
    with output.open("ab") as log:
        said_before = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "tetrad", "up"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
        )
    product = Product(
        home=home,
        gateway_url=f"http://127.0.0.1:{ports['gateway_port']}",
        control_url=f"http://127.0.0.1:{ports['control_port']}",
        environment=environment,
        process=process,
        output=output,
        said_before=said_before,
    )
    try:
        if wait:
            wait_until(
                lambda: "ready after" in product.said() or process.poll() is not None,
                timeout_s=START_S,
                what="`tetrad up` to be ready",
            )
            if process.poll() is not None:
                raise AssertionError(f"`tetrad up` ended with {process.returncode}:\n{product.said()}\n{_logs(home)}")
        yield product
    finally:
        try:
            product.stop()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        _keep_calibration(home)


def _home_to_move(kept: Path) -> Path:
    """Return a home that was started until ready and stopped, made by whichever process of the test run is first."""
    home = kept / "home"
    with (kept / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            folder = Path(tempfile.mkdtemp(dir=kept))
            with running_product(folder, fresh=True) as product:
                assert product.stop() == 0, product.said()
            (folder / "home").rename(home)
    return home


def _copy_home(source: Path, home: Path) -> None:
    """Copy a stopped home. Blobs are linked, as the product links them: they are never written again."""

    def copy(file: str, to: str) -> None:
        if source / "blobs" in Path(file).parents:
            os.link(file, to)
        else:
            shutil.copy2(file, to)

    def left_behind(folder: str, _names: list[str]) -> set[str]:
        return {"run"} if Path(folder) == source else set()

    shutil.copytree(source, home, symlinks=True, copy_function=copy, ignore=left_behind)


def _lend_calibration(home: Path) -> None:
    if _calibrations and not home.exists():
        (home / "engines").mkdir(parents=True)
        for folder in (home, home / "engines"):
            folder.chmod(0o700)
        file = home / "engines" / "calibration.json"
        file.touch(0o600)
        file.write_bytes(_calibrations[0])


def _keep_calibration(home: Path) -> None:
    file = home / "engines" / "calibration.json"
    if not _calibrations and file.exists():
        _calibrations.append(file.read_bytes())


def _logs(home: Path) -> str:
    files = sorted((home / "logs").glob("*.log"))
    return "\n".join(f"--- {path.name}\n{path.read_text('utf-8', 'replace')[-3000:]}" for path in files)


def environ_of(product: Product) -> Mapping[str, str]:
    """Return what `eval "$(tetrad env)"` would export."""
    lines = product.cli("env").stdout.splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)
