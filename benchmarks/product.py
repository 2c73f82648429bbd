"""Start the product for a benchmark: the same command as users, in a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """The product at work; `ready_s` is the time from the command to the first answer accepted."""

    home: Path
    gateway_url: str
    control_url: str
    environment: dict[str, str]
    pid: int
    ready_s: float

    @property
    def key(self) -> str:
        """The data key of the first start."""
        return (self.home / "keys" / "app.key").read_text().strip()

    def processes(self) -> dict[str, int]:
        """The pids of all processes by name, the supervisor's and the engines' included."""
        import psutil

        state = json.loads((self.home / "run" / "state.json").read_text())
        found = {"supervisor": self.pid} | {p["name"]: p["pid"] for p in state["processes"] if p["pid"]}
        for child in psutil.Process(found["worker"]).children(recursive=True):
            found[f"engine {child.pid}"] = child.pid
        return found

    def cli(self, *arguments: str, stdin: str = "") -> str:
        """Run `tetrad …`."""
        return subprocess.run(
            [sys.executable, "-m", "tetrad", *arguments],
            env=self.environment,
            input=stdin,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def tetrad_up(home: Path | None = None, **settings: object) -> Iterator[Running]:
    """Run `tetrad up`; the home is removed at the end unless it was given."""
    folder = home or Path(tempfile.mkdtemp(prefix="bench-tetrad-")) / "home"
    gateway, control = free_port(), free_port()
    keep = {k: v for k, v in os.environ.items() if not k.startswith("TETRAD_") and k != "PYTHONDONTWRITEBYTECODE"}
    environment = {
        **keep,
        "TETRAD_HOME": str(folder),
        "TETRAD_GATEWAY_PORT": str(gateway),
        "TETRAD_CONTROL_PORT": str(control),
        **{f"TETRAD_{name.upper()}": str(value) for name, value in settings.items()},
    }
    if "TETRAD_CACHE" in os.environ:
        environment["TETRAD_CACHE"] = os.environ["TETRAD_CACHE"]
    with tempfile.TemporaryFile() as log:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "tetrad", "up"], env=environment, stdout=log, stderr=log)
        running = Running(
            folder, f"http://127.0.0.1:{gateway}/v1", f"http://127.0.0.1:{control}", environment, process.pid, 0.0
        )
        try:
            ready_s = _first_answer(running, process, began)
            yield Running(folder, running.gateway_url, running.control_url, environment, process.pid, ready_s)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            if home is None:
                shutil.rmtree(folder.parent, ignore_errors=True)


def _first_answer(running: Running, process: subprocess.Popen[bytes], began: float) -> float:
    import http.client
    from urllib.parse import urlsplit

    body = b'{"model":"app:assistant","messages":[{"role":"user","content":"Hi"}],"max_tokens":1}'
    while time.monotonic() - began < 180:
        if process.poll() is not None:
            raise SystemExit(f"`tetrad up` ended with {process.returncode}")
        try:
            connection = http.client.HTTPConnection(urlsplit(running.gateway_url).netloc, timeout=30)
            connection.request(
                "POST",
                "/v1/chat/completions",
                body,
                {"Authorization": f"Bearer {running.key}", "Content-Type": "application/json"},
            )
            if connection.getresponse().status == 200:
                return time.monotonic() - began
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise SystemExit("no answer within 180 s")
