"""Batches with everything real but who works: a job is a thread, and the key of lines is a key of the test's table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from support import gateway as g
from tetrad.batches import Batch, Batches, BatchKeyGone, BatchLimits
from tetrad.batches._store import SqlBatchStore
from tetrad.batches.ports import BatchHolds
from tetrad.kernel import Clock, Principal, SystemClock, Unauthenticated
from tetrad.kit.blobs import LocalBlobs
from tetrad.kit.db import Database
from tetrad.kit.http import Credential
from tetrad.kit.jobs import JobCutOff
from tetrad.processes.worker._batch_control import Callers
from tetrad.processes.worker._batches import RunBatch, run_batch

T = TypeVar("T")


class OneKey:
    """`LineKeys` of a single secret, which a test takes away by setting `gone`."""

    def __init__(self, secret: str = g.KEY) -> None:
        self.given = secret
        self.gone = False
        self.changes = 0

    def secret(self, batch: Batch) -> str:
        if self.gone:
            raise BatchKeyGone(f"the key {batch.key_id!r} was revoked")
        return self.given

    def remaining(self, batch: Batch) -> str:
        return self.given

    def kept(self, batch: Batch) -> dict[str, str] | None:
        return None

    def changed(self) -> None:
        self.changes += 1


class NoJobs:
    """`BatchJobs` that nobody does: tests act as the worker."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.why: str | None = ""

    def start(self, batch: Batch) -> None:
        self.started.append(batch.id)

    def ended(self, batch: Batch) -> str | None:
        return self.why


class AtOnce:
    """A `RunningJob` that does each step at once."""

    id = "batch.run:test"

    def __init__(self, callers: Callers, stopping: Event) -> None:
        self.services: dict[str, Any] = {"batches": callers, "stopping": stopping}

    def step(self, name: str, work: Callable[..., T], *arguments: Any, retries: int | None = None) -> T:
        return work(*arguments)

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        return None


class ThreadJobs:
    """`BatchJobs` by a thread for each batch, once `callers` is set."""

    def __init__(self) -> None:
        self.callers: Callers | None = None
        self.stopping = Event()
        self.threads: list[threading.Thread] = []

    def start(self, batch: Batch) -> None:
        assert self.callers is not None
        job = AtOnce(self.callers, self.stopping)
        thread = threading.Thread(target=_run, args=(job, batch.id), daemon=True)
        self.threads.append(thread)
        thread.start()

    def ended(self, batch: Batch) -> str | None:
        return ""

    def stop(self) -> None:
        """Stop as a worker does, and wait."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(20)


def _run(job: AtOnce, batch: str) -> None:
    try:
        run_batch(job, RunBatch(batch))
    except JobCutOff:
        return


class InternalOnly:
    """An authenticator of one process, and of a key with the scope `control`."""

    def authenticate(self, credential: Credential) -> Principal:
        if credential.secret == g.CONTROL_KEY:
            return Principal("key_control", "key", "control", frozenset({"control"}))
        if credential.secret != g.TOKEN:
            raise Unauthenticated("unknown key")
        return Principal("process:gateway", "process", "gateway", frozenset({"internal"}))

    def in_project(self, principal: Principal, _project: str) -> Principal:
        return principal


def make_batches(
    database: Database,
    folder: Path,
    jobs: Any,
    keys: OneKey | None = None,
    *,
    clock: Clock | None = None,
    limits: BatchLimits | None = None,
    holds: BatchHolds | None = None,
) -> Batches:
    """Return batches over a database and a folder."""
    return Batches(
        SqlBatchStore(database),
        LocalBlobs(folder / "blobs"),
        jobs,
        keys or OneKey(),
        clock or SystemClock(),
        scratch=folder / "uploads",
        limits=limits,
        holds=holds,
    )
