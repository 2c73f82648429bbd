"""Responses in the background with everything real but who works: a job is a thread."""

from __future__ import annotations

import threading
from threading import Event

from support import gateway as g
from support.batching import AtOnce
from tetrad.kit.jobs import JobCutOff
from tetrad.processes.worker._background import AnswerResponse, answer_response
from tetrad.processes.worker._batch_control import Callers
from tetrad.responses import ResponseKeyGone

STAND_IN = "tetrad_background_0123456789"
"""The secret that stands for the key `key_full` in the tests' route tables."""


class StandIns:
    """`BackgroundKeys` of one secret, which a test takes away by setting `gone`."""

    def __init__(self, secret: str = STAND_IN) -> None:
        self.given = secret
        self.gone = False
        self.asked: list[tuple[str, str]] = []

    def secret(self, project: str, key_id: str) -> str:
        if self.gone:
            raise ResponseKeyGone(f"the key {key_id!r} was revoked")
        return self.given

    def needed(self, project: str, key_id: str) -> None:
        self.asked.append((project, key_id))


class NoWork:
    """`BackgroundJobs` that nobody does: tests act as the worker."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str]] = []
        self.why: str | None = ""

    def start(self, project: str, identity: str) -> None:
        self.started.append((project, identity))

    def ended(self, identity: str) -> str | None:
        return self.why


class ThreadWork:
    """`BackgroundJobs` by a thread for each response, once `callers` is set."""

    def __init__(self) -> None:
        self.callers: Callers | None = None
        self.stopping = Event()
        self.threads: list[threading.Thread] = []

    def start(self, project: str, identity: str) -> None:
        thread = threading.Thread(target=self._run, args=(AnswerResponse(project, identity),), daemon=True)
        self.threads.append(thread)
        thread.start()

    def ended(self, identity: str) -> str | None:
        return ""

    def stop(self) -> None:
        """Stop as a worker does, and wait."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(20)

    def _run(self, payload: AnswerResponse) -> None:
        assert self.callers is not None
        job = AtOnce(self.callers, self.stopping)
        job.services["responses"] = self.callers
        try:
            answer_response(job, payload)
        except JobCutOff:
            return


def callers_of(control_url: str, gateway_url: str) -> Callers:
    """Return whom a worker of responses speaks to."""
    return Callers(control_url, g.TOKEN, gateway_url, 4, 2**20)
