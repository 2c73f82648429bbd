"""What responses in the background ask of others: durable jobs, and the keys that they are called with."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Final

from tetrad.identity import KeyGrant, hash_secret
from tetrad.kernel import Clock
from tetrad.kit.jobs import JobClient, JobNotFound
from tetrad.processes.control._working_keys import WorkingKeys, by_key
from tetrad.responses import ResponseKeyGone

JOB: Final = "response.answer"
_DOMAIN = b"tetrad background key\x00"


class CallGrants:
    """`BackgroundKeys`: what a key asked for in the background is called with a secret that stands for the key.

    It is made from this installation's sealing key: nobody has to keep it. Gateways know it while something of the
    key's is under way and the key works, under the key's id: limits, budgets and rights are the key's.
    """

    def __init__(
        self,
        sealing_key: bytes,
        keys: Callable[[], Collection[tuple[str, str]]],
        granted: Callable[[], Iterable[KeyGrant]],
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._sealing_key = sealing_key
        self._keys = keys
        self._granted = granted
        self._working = WorkingKeys(granted, clock)
        self._changed = changed
        self._lock = threading.Lock()
        self._told: Collection[tuple[str, str]] = ()

    def secret(self, project: str, key_id: str) -> str:
        if self._working.get((project, key_id)) is None:
            raise ResponseKeyGone(
                f"the key {key_id!r} that asked for the response was revoked, or has expired",
                hint="ask again with a key that works",
            )
        return self._derived(project, key_id)

    def needed(self, project: str, key_id: str) -> None:
        with self._lock:
            known = (project, key_id) in self._told
        if not known:
            self._changed()

    def grants(self) -> Iterable[KeyGrant]:
        """Return the keys of what is under way, for the route table."""
        with self._lock:  # what is begun in between is seen here, or sees that it is not told
            wanted = self._told = self._keys()
        if not wanted:
            return ()
        granted = by_key(self._granted())
        return [
            replace(granted[one], hash=hash_secret(self._derived(*one)), background=True)
            for one in wanted
            if one in granted
        ]

    def _derived(self, project: str, key_id: str) -> str:
        said = _DOMAIN + project.encode() + b"\x00" + key_id.encode()
        return "tetrad_background_" + hmac.new(self._sealing_key, said, hashlib.sha256).hexdigest()


class AnsweringWork:
    """`BackgroundJobs` by durable jobs, each named by its response."""

    def __init__(self, jobs: JobClient) -> None:
        self._jobs = jobs

    def start(self, project: str, identity: str) -> None:
        self._jobs.enqueue(JOB, {"project": project, "id": identity}, key=identity)

    def ended(self, identity: str) -> str | None:
        try:
            info = self._jobs.get(f"{JOB}:{identity}")
        except JobNotFound:
            return None
        if info.state in ("queued", "running"):
            return ""
        return info.error or f"the job of the response is {info.state}"
