"""Durable jobs: done once, shown truly, finished after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import support
from support.jobs_program import registry
from support.wait import wait_until
from tetrad.kit.jobs import BadJob, JobClient, JobInfo, JobNotFound, JobsUnavailable

PROGRAM = Path(support.__path__[0]) / "jobs_program.py"


class Bench:
    """A folder, a database, a client, and workers that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'jobs.db'}"
        self.client = JobClient(registry(folder), self.url)
        self.workers: list[subprocess.Popen[bytes]] = []

    def worker(self, version: int = 1, patience_s: int = 0, **env: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), self.url, str(self.folder), str(version), str(patience_s)],
            stdout=subprocess.PIPE,
            env={**os.environ, **env},
        )
        self.workers.append(process)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        return process

    def lines(self) -> list[str]:
        path = self.folder / "steps"
        return path.read_text().splitlines() if path.exists() else []

    def ended(self, job: JobInfo) -> JobInfo:
        def there() -> JobInfo | None:
            found = self.client.get(job.id)
            return found if found.state not in ("queued", "running") else None

        found = wait_until(there, timeout_s=30, what=f"the end of {job.id}")
        assert found is not None
        return found

    def close(self) -> None:
        self.client.close()
        for process in self.workers:
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_job_runs_its_steps_once_and_tells_its_progress_and_result(bench: Bench) -> None:
    bench.worker()
    job = bench.client.enqueue("test.count", {"steps": 4}, key="one")
    again = bench.client.enqueue("test.count", {"steps": 99}, key="one")
    assert again.id == job.id == "test.count:one"
    done = bench.ended(job)
    assert (done.state, done.version, done.payload) == ("done", 1, {"steps": 4, "gate": -1})
    assert done.result == {"done": [f"step {n}" for n in range(4)]}
    assert [step.name for step in done.steps] == [f"step {n}" for n in range(4)]
    assert done.progress is not None
    assert (done.progress.done, done.progress.total) == (4, 4)
    assert bench.lines() == [f"step {n}" for n in range(4)]
    assert done.created_at is not None
    assert done.ended_at is not None


def test_a_killed_worker_goes_on_where_it_was_and_repeats_no_finished_step(bench: Bench) -> None:
    worker = bench.worker()
    job = bench.client.enqueue("test.count", {"steps": 5, "gate": 2})
    wait_until(lambda: "enter 2" in bench.lines(), timeout_s=30, what="the third step")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert bench.client.get(job.id).state == "running"
    (bench.folder / "go").touch()
    bench.worker()
    done = bench.ended(job)
    assert done.state == "done"
    assert done.result == {"done": [f"step {n}" for n in range(5)]}
    assert done.attempts == 2
    lines = bench.lines()
    assert [line for line in lines if line.startswith("step")] == [f"step {n}" for n in range(5)]
    assert lines.count("enter 2") == 2  # only the step that was cut off ran again


def test_a_worker_that_is_told_to_stop_lets_a_running_job_reach_its_end(bench: Bench) -> None:
    worker = bench.worker(patience_s=30)
    job = bench.client.enqueue("test.count", {"steps": 3, "gate": 1})
    wait_until(lambda: "enter 1" in bench.lines(), timeout_s=30, what="the second step")
    worker.send_signal(signal.SIGTERM)
    (bench.folder / "go").touch()
    assert worker.wait(30) == 0
    done = bench.client.get(job.id)
    assert (done.state, done.attempts, done.result) == ("done", 1, {"done": [f"step {n}" for n in range(3)]})


def test_a_job_of_another_version_is_refused_and_shown_not_run(bench: Bench) -> None:
    worker = bench.worker(version=1)
    job = bench.client.enqueue("test.count", {"steps": 5, "gate": 2})
    wait_until(lambda: "enter 2" in bench.lines(), timeout_s=30, what="the third step")
    worker.kill()
    worker.wait()
    (bench.folder / "go").touch()
    bench.worker(version=2)
    found = bench.ended(job)
    assert (found.state, found.error_code) == ("failed", "job_outdated")
    assert "asked for as version 1" in found.error
    assert found.hint == "ask for it again"
    assert "step 2" not in bench.lines()


def test_an_error_of_ours_crosses_processes_whole(bench: Bench) -> None:
    bench.worker()
    found = bench.ended(bench.client.enqueue("test.fail"))
    assert (found.state, found.error, found.error_code) == ("failed", "the disk is on fire", "on_fire")
    assert found.hint == "put it out"
    assert found.steps[0].error == "the disk is on fire"


def test_a_step_that_fails_is_tried_again(bench: Bench) -> None:
    bench.worker()
    found = bench.ended(bench.client.enqueue("test.flaky"))
    assert (found.state, found.result) == ("done", "worked")
    assert bench.lines() == ["try", "try"]


def test_a_cancelled_job_ends_before_its_next_step(bench: Bench) -> None:
    bench.worker()
    job = bench.client.enqueue("test.count", {"steps": 4, "gate": 1})
    wait_until(lambda: "enter 1" in bench.lines(), timeout_s=30, what="the second step")
    assert bench.client.cancel(job.id).state == "cancelled"
    (bench.folder / "go").touch()
    wait_until(lambda: "step 1" in bench.lines(), timeout_s=30)
    other = bench.ended(bench.client.enqueue("test.count", {"steps": 1}))
    assert other.state == "done"
    assert bench.client.get(job.id).state == "cancelled"
    assert "step 2" not in bench.lines()
    assert bench.client.cancel(other.id).state == "done"  # what has ended stays as it is


def test_lists_are_newest_first_and_can_be_narrowed(bench: Bench) -> None:
    bench.worker()
    jobs = [bench.ended(bench.client.enqueue("test.count", {"steps": 1})) for _ in range(3)]
    failed = bench.ended(bench.client.enqueue("test.fail"))
    assert {job.id for job in bench.client.list()} == {job.id for job in jobs} | {failed.id}
    assert bench.client.list()[0].id == failed.id
    assert [job.id for job in bench.client.list(state="failed")] == [failed.id]
    assert {job.id for job in bench.client.list(name="test.count")} == {job.id for job in jobs}
    first, second = bench.client.list(limit=2), bench.client.list(limit=2, offset=2)
    assert not {job.id for job in first} & {job.id for job in second}


def test_a_scheduled_job_runs_by_the_clock_until_its_schedule_is_gone(bench: Bench) -> None:
    (bench.folder / "tick").touch()
    worker = bench.worker()
    wait_until(lambda: bench.lines().count("tick") >= 2, timeout_s=30, what="two ticks")
    found = bench.client.list(name="test.tick")[0]
    assert (found.name, found.scheduled, found.version) == ("test.tick", True, 1)
    worker.terminate()
    worker.wait()
    (bench.folder / "tick").unlink()
    before = bench.lines().count("tick")
    bench.worker()
    bench.ended(bench.client.enqueue("test.count", {"steps": 1}))
    bench.ended(bench.client.enqueue("test.flaky"))
    assert bench.lines().count("tick") <= before + 1


def test_what_cannot_be_asked_for_is_refused_before_it_is_stored(bench: Bench) -> None:
    with pytest.raises(JobsUnavailable, match="not there yet"):
        bench.client.enqueue("test.count")
    bench.worker()
    with pytest.raises(JobNotFound, match=r"no job 'test\.ghost'"):
        bench.client.enqueue("test.ghost")
    with pytest.raises(BadJob, match=r"payload of 'test\.count' is wrong"):
        bench.client.enqueue("test.count", {"steps": "many"})
    with pytest.raises(BadJob, match="payload"):
        bench.client.enqueue("test.count", {"unknown": 1})
    with pytest.raises(BadJob, match="idempotency key"):
        bench.client.enqueue("test.count", key="../../x")
    with pytest.raises(JobNotFound):
        bench.client.get("test.count:ghost")
    assert bench.client.list() == []


def test_the_worker_neither_listens_nor_connects_and_is_not_steered_by_the_vendors_variables(bench: Bench) -> None:
    worker = bench.worker(
        DBOS_CONDUCTOR_KEY="k", DBOS__APPVERSION="theirs", DBOS__VMID="theirs", DBOS_DOMAIN="x.invalid"
    )
    done = bench.ended(bench.client.enqueue("test.count", {"steps": 1}))
    assert done.state == "done"
    assert psutil.Process(worker.pid).net_connections() == []


def test_the_database_is_in_wal_mode_and_its_owners_alone(bench: Bench) -> None:
    bench.worker()
    path = bench.folder / "jobs.db"
    assert path.read_bytes()[18:20] == b"\x02\x02"  # the file format of WAL
    assert path.stat().st_mode & 0o077 == 0
