"""The product's own jobs, run without a database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tetrad.kit.blobs import LocalBlobs
from tetrad.processes.worker._tasks import product_jobs


class Inline:
    """A `RunningJob` that does each step at once."""

    id = "job"

    def __init__(self, **services: Any) -> None:
        self.services = services
        self.told: list[tuple[int, int, str]] = []

    def step(self, name: str, work: Callable[..., Any], *arguments: Any, retries: int | None = None) -> Any:
        return work(*arguments)

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        self.told.append((done, total, message))


def run(name: str, payload: object, **services: Any) -> tuple[Any, Inline]:
    job = product_jobs().get(name)
    running = Inline(**services)
    return job.run(running, job.parse(payload)), running


def test_verify_names_the_blobs_that_were_damaged_and_no_others(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path)
    digests = [store.put_bytes(bytes([number]) * 100) for number in range(40)]
    for digest in digests[:2]:
        store.path(digest).chmod(0o644)
        store.path(digest).write_bytes(b"rotten")
    result, running = run("blobs.verify", {}, blobs=lambda: store)
    assert result["blobs"] == 40
    assert result["damaged_count"] == 2
    assert set(result["damaged"]) == set(digests[:2])
    assert running.told[-1] == (16, 16, "40 blobs read, 2 damaged")


def test_verify_can_be_narrowed_by_prefix(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path)
    digests = [store.put_bytes(bytes([number])) for number in range(40)]
    for length in (1, 2, 5):
        prefix = digests[0].removeprefix("sha256:")[:length]
        fits = [digest for digest in digests if digest.startswith(f"sha256:{prefix}")]
        assert run("blobs.verify", {"prefix": prefix}, blobs=lambda: store)[0]["blobs"] == len(fits)


def test_retention_asks_control_and_its_schedule_is_a_setting() -> None:
    asked: list[tuple[Any, ...]] = []

    def control(*call: Any) -> dict[str, int]:
        asked.append(call)
        return {"rows": 3}

    assert run("traces.retention", {}, control=control)[0] == {"rows": 3}
    assert asked == [("POST", "/internal/v1/traces/retention", {"keep_days": None})]
    assert run("traces.retention", {"keep_days": 7}, control=control)[0] == {"rows": 3}
    assert asked[-1][2] == {"keep_days": 7}
    assert product_jobs(retention_cron="0 4 * * *").get("traces.retention").schedule == "0 4 * * *"
    assert product_jobs().get("traces.retention").schedule == ""
