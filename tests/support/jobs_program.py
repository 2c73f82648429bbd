"""A worker of its own for tests of durable jobs: `python jobs_program.py DATABASE_URL FOLDER VERSION [PATIENCE_S]`."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from tetrad.kernel import Unavailable
from tetrad.kit.jobs import JobRegistry, RunningJob


class Count(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Do so many steps; wait for the file `go` before the one numbered `gate`."""

    steps: int = 3
    gate: int = -1


def registry(folder: Path, version: int = 1) -> JobRegistry:
    """Return the jobs; each step writes a line, so that tests see how often it ran."""
    jobs = JobRegistry()

    def note(line: str) -> str:
        with (folder / "steps").open("a") as file:
            file.write(line + "\n")
        return line

    def gated(number: int) -> str:
        note(f"enter {number}")
        while not (folder / "go").exists():
            time.sleep(0.01)
        return note(f"step {number}")

    @jobs.job("test.count", version=version, payload=Count)
    def count(job: RunningJob, payload: Count) -> dict[str, Any]:
        """Count steps."""
        done = []
        for number in range(payload.steps):
            if number == payload.gate:
                done.append(job.step(f"step {number}", gated, number))
            else:
                done.append(job.step(f"step {number}", note, f"step {number}"))
            job.progress(number + 1, payload.steps, "counting")
        return {"done": done}

    @jobs.job("test.fail", version=1, payload=Count, retries=0)
    def fail(job: RunningJob, _payload: Count) -> None:
        """Fail with an error of ours."""

        def refuse() -> None:
            raise Unavailable("the disk is on fire", hint="put it out", code="on_fire")

        job.step("burn", refuse)

    @jobs.job("test.flaky", version=1, payload=Count, retries=2)
    def flaky(job: RunningJob, _payload: Count) -> str:
        """Work at the second try."""

        def once_in_two() -> str:
            note("try")
            if (folder / "steps").read_text().count("try") < 2:
                raise Unavailable("not yet", hint="again")
            return "worked"

        return job.step("try", once_in_two)

    @jobs.job("test.tick", version=1, payload=Count, schedule="* * * * * *" if (folder / "tick").exists() else "")
    def tick(job: RunningJob, _payload: Count) -> str:
        """Tick every second."""
        return job.step("tick", note, "tick")

    return jobs


def main() -> None:
    """Run jobs until SIGTERM."""
    from tetrad.kit.jobs._runner import JobRunner

    url, folder, version = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    runner = JobRunner(registry(folder, version), url, {}, executor_id="test-executor", poll_s=0.1)
    runner.start()
    print("ready", flush=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    runner.close(deadline_s=int(sys.argv[4]) if sys.argv[4:] else 0)


if __name__ == "__main__":
    main()
