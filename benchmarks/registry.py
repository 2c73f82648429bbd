"""How fast versions are made, refs are moved and releases composed, beside MLflow's registry in the same run.

    python benchmarks/registry.py [--rounds 200] [--no-mlflow] [--json FILE]

Both are asked over HTTP on one kept connection, both keep their rows in SQLite, and rounds are interleaved. Making a
version is a new prompt version on either side (MLflow keeps prompts as model versions); moving a ref is MLflow's
setting of an alias. Ours does more in the same call: content digests, SemVer from the contract, compare-and-swap,
the gate, a hash-chained log, an fsync before the answer.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadgen import wait_port
from peers import package_version, python_environment
from product import Running, free_port, tetrad_up

RESULTS = Path(__file__).resolve().parents[1] / "bench-results"
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "assistant"
PROMPT = "---\ndescription: A prompt\n---\n# system\n\nAnswer in plain words. This is wording {number}.\n"


class Api:
    """JSON over one kept connection."""

    def __init__(self, url: str, key: str = "") -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def call(self, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        """Return the answer; anything but success ends the benchmark."""
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, self._headers | headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {said[:500]!r}")
        return dict(json.loads(said or b"{}"))


class Ours:
    """The three operations on Tetrad."""

    def __init__(self, running: Running) -> None:
        self._api = Api(running.control_url, (running.home / "keys" / "admin.key").read_text().strip())
        self._base = "/api/v1/projects/default"
        self._digests: list[str] = []
        self._at = ""

    def version(self, number: int) -> None:
        """Make a prompt version."""
        body = {"text": PROMPT.format(number=number), "reason": "benchmark"}
        self._api.call("POST", f"{self._base}/prompts/bench-wording/versions", body)

    def compose(self, number: int) -> None:
        """Compose a release whose prompt is new, from an app's files."""
        files = [
            {"path": str(path.relative_to(EXAMPLE)), "content": base64.b64encode(data).decode()}
            for path in sorted(EXAMPLE.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
            for data in [
                path.read_bytes() + (f"Wording {number}.\n".encode() if path.parent.name == "prompts" else b"")
            ]
        ]
        made = self._api.call("POST", f"{self._base}/releases", {"files": files, "reason": "benchmark"})
        self._digests.append(made["digest"])

    def move(self, number: int) -> None:
        """Move a ref, from where it is seen to be."""
        digest = self._digests[number % 2]
        expected = {"If-Match": f'"{self._at}"'} if self._at else {"If-None-Match": "*"}
        self._api.call("PUT", f"{self._base}/apps/assistant/refs/bench", {"digest": digest}, **expected)
        self._at = digest


class Mlflow:
    """The same on MLflow's REST API."""

    def __init__(self, url: str) -> None:
        self._api = Api(url)
        self._base = "/api/2.0/mlflow"
        tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
        self._api.call("POST", f"{self._base}/registered-models/create", {"name": "bench-wording", "tags": tags})

    def version(self, number: int) -> None:
        """Make a prompt version, as MLflow's client does."""
        tags = [
            {"key": "mlflow.prompt.is_prompt", "value": "true"},
            {"key": "_mlflow_prompt_type", "value": "text"},
            {"key": "mlflow.prompt.text", "value": PROMPT.format(number=number)},
        ]
        body = {"name": "bench-wording", "source": "dummy-source", "description": "benchmark", "tags": tags}
        self._api.call("POST", f"{self._base}/model-versions/create", body)

    def move(self, number: int) -> None:
        """Set an alias to one of two versions."""
        body = {"name": "bench-wording", "alias": "bench", "version": str(1 + number % 2)}
        self._api.call("POST", f"{self._base}/registered-models/alias", body)


@contextmanager
def mlflow(root: Path) -> Iterator[str]:
    """Run MLflow's tracking server with one worker on SQLite, installed into an environment of its own once."""
    python = python_environment(root, "mlflow", "mlflow>=3,<4")
    folder, port = Path(tempfile.mkdtemp(prefix="bench-mlflow-")), free_port()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        + ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "a")],
        env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
    )  # fmt: skip
    try:
        wait_port(f"http://127.0.0.1:{port}", 120, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def timed(times: list[float], work: Callable[[int], None], number: int) -> None:
    """Do something once, and note the milliseconds."""
    began = time.perf_counter()
    work(number)
    times.append((time.perf_counter() - began) * 1e3)


def main() -> None:
    """Print medians and 99th percentiles, and how many times faster we are."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=200)
    asked.add_argument("--no-mlflow", action="store_true", help="leave MLflow out (it installs 850 MB)")
    asked.add_argument("--json", type=Path)
    given = asked.parse_args()
    times: dict[str, list[float]] = {}
    versions: dict[str, str] = {}

    def note(name: str, work: Callable[[int], None], number: int) -> None:
        timed(times.setdefault(name, []), work, number)

    with tetrad_up() as running:
        ours = Ours(running)
        for number in range(-2, 0):
            ours.compose(number)
        if given.no_mlflow:
            _rounds(given.rounds, note, ours, None)
        else:
            with mlflow(RESULTS / "mlflow") as url:
                theirs = Mlflow(url)
                versions["MLflow"] = package_version(RESULTS / "mlflow" / "bin" / "python", "mlflow")
                for number in range(-2, 0):
                    theirs.version(number)
                _rounds(given.rounds, note, ours, theirs)
    print(f"\nRegistry over HTTP on SQLite, {given.rounds} interleaved rounds, milliseconds")
    found = {}
    for name, values in times.items():
        ordered = sorted(values)
        found[name] = {
            "p50_ms": round(statistics.median(ordered), 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)], 2),
        }
        print(f"  {name:34} p50 {found[name]['p50_ms']:8.2f}   p99 {found[name]['p99_ms']:8.2f}")
    for what in ("make a version", "move a ref"):
        if f"{what}: MLflow" in found:
            ratio = found[f"{what}: MLflow"]["p50_ms"] / found[f"{what}: Tetrad"]["p50_ms"]
            print(
                f"  {what}: Tetrad takes 1/{ratio:.1f} of MLflow's time"
                if ratio >= 1
                else f"  {what}: Tetrad takes {1 / ratio:.1f} times MLflow's time"
            )
    if given.json:
        kept = {"rounds": given.rounds, "versions": versions, "times": found}
        given.json.write_text(json.dumps(kept, indent=1) + "\n")


def _rounds(
    count: int, note: Callable[[str, Callable[[int], None], int], None], ours: Ours, theirs: Mlflow | None
) -> None:
    for number in range(count):
        note("make a version: Tetrad", ours.version, number)
        if theirs:
            note("make a version: MLflow", theirs.version, number)
        note("move a ref: Tetrad", ours.move, number)
        if theirs:
            note("move a ref: MLflow", theirs.move, number)
        note("compose a release: Tetrad", ours.compose, number)


if __name__ == "__main__":
    main()
