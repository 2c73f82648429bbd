"""What batches ask of others, from what control has: durable jobs, and the keys that their lines are called with."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, get_args

from tetrad.batches import Batch, BatchKeyGone, BudgetPart
from tetrad.identity import ContentPolicy, KeyGrant, hash_secret
from tetrad.kernel import Clock
from tetrad.kit.jobs import JobClient, JobNotFound
from tetrad.limits import LeaseState, Sync, SyncReply
from tetrad.processes.control._working_keys import WorkingKeys, by_key

JOB: Final = "batch.run"
_DOMAIN = b"tetrad batch key\x00"
_GRACE_NS = 3600 * 10**9
"""Calls that were begun in time may end after the completion window."""
_HELD, _SPENT, _OVER = 0, 1, 2
"""Sequence numbers of what a batch tells the keeper: what is over holds nothing any more."""
_CONTENTS = get_args(ContentPolicy)


class LineGrants:
    """`LineKeys`: a batch's lines are called with a secret of the batch's own, by the rights of the key that made it.

    The secret is made from this installation's sealing key and the batch's id: nobody has to keep it, and every control
    of a cluster knows the same. Gateways know it while the batch is open and its key works, under the key's id: limits
    and budgets count its calls as the key's. Where a worker sheds load they go first.
    """

    def __init__(
        self,
        sealing_key: bytes,
        open_batches: Callable[[], Iterable[Batch]],
        granted: Callable[[], Iterable[KeyGrant]],
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._sealing_key = sealing_key
        self._open = open_batches
        self._granted = granted
        self._working = WorkingKeys(granted, clock)
        self._changed = changed

    def secret(self, batch: Batch) -> str:
        if self._working.get((batch.project, batch.key_id)) is None:
            raise BatchKeyGone(
                f"the key {batch.key_id!r} that made the batch {batch.id} was revoked, or has expired",
                hint="make the batch again with a key that works",
            )
        return self._derived(batch)

    def remaining(self, batch: Batch) -> str:
        return self._derived(batch)

    def kept(self, batch: Batch) -> dict[str, str] | None:
        grant = self._working.get((batch.project, batch.key_id))
        return batch.carriage.key if grant is None else {"team": grant.team, "content": grant.content}

    def changed(self) -> None:
        self._changed()

    def grants(self) -> Iterable[KeyGrant]:
        """Return the keys of open batches, for the route table."""
        batches = list(self._open())
        if not batches:
            return ()
        granted = by_key(self._granted())
        found = []
        for batch in batches:
            grant = granted.get((batch.project, batch.key_id))
            ends = batch.expires_s * 10**9 + _GRACE_NS
            secret = hash_secret(self._derived(batch))
            if batch.carriage.way == "native" and (grant is None or batch.carriage.batch):
                # the provider asks money for it whatever becomes of the key: it must be seen to its end
                grant = _only_watching(batch) if grant is None else replace(grant, expires_ns=ends)
            if grant is not None:
                expires_ns = min(grant.expires_ns, ends) if grant.expires_ns else ends
                found.append(replace(grant, hash=secret, expires_ns=expires_ns, batch=batch.id, priority="low"))
        return found

    def _derived(self, batch: Batch) -> str:
        return "tetrad_batch_" + hmac.new(self._sealing_key, _DOMAIN + batch.id.encode(), hashlib.sha256).hexdigest()


class BudgetHolds:
    """`BatchHolds` by leases of budgets: a batch is to the keeper a worker of its own, with a lease of each part.

    Leases tell their whole state, so nothing is counted twice that is told twice. What a batch spends is of the period
    in which it was handed over: that one's budget covered it.
    """

    def __init__(self, sync: Callable[[Sync], SyncReply]) -> None:
        self._sync = sync

    def hold(self, batch: str, parts: Sequence[BudgetPart]) -> bool:
        if self._held(batch, parts):
            return True
        # amounts that grew are asked for anew as a whole: what the batch has itself may be what is missing
        self._sync(Sync(batch, _HELD, tuple(_lease(each) for each in parts)))
        return self._held(batch, parts)

    def _held(self, batch: str, parts: Sequence[BudgetPart]) -> bool:
        asked = tuple(_lease(each, want=each.held, need=each.held, least=each.held) for each in parts)
        granted = {each.id: each for each in self._sync(Sync(batch, _HELD, asked)).grants}
        return all((found := granted.get(each.id)) and (found.gone or found.granted >= each.want) for each in asked)

    def spend(self, batch: str, parts: Sequence[BudgetPart]) -> None:
        told = tuple(
            _lease(each, want=max(each.held, each.spent), spent=each.spent, unknown=each.unknown) for each in parts
        )
        self._sync(Sync(batch, _SPENT, told))

    def release(self, batch: str, parts: Sequence[BudgetPart]) -> None:
        told = tuple(_lease(each, spent=each.spent, unknown=each.unknown, final=True) for each in parts)
        self._sync(Sync(batch, _OVER, told, ends=True))


def _lease(part: BudgetPart, **state: Any) -> LeaseState:
    """Return a batch's lease of a budget, always of the same number."""
    named = hashlib.sha256(f"{part.rule}\n{part.instance}".encode()).digest()
    return LeaseState(int.from_bytes(named[:8]) >> 2, part.rule, part.instance, **state)


def _only_watching(batch: Batch) -> KeyGrant:
    """Return the right of a batch whose key is gone: no model may be called with it."""
    kept = batch.carriage.key or {}
    content = kept.get("content", "off")
    return KeyGrant(
        "", batch.key_id, batch.project, ("data",), content if content in _CONTENTS else "off",  # type: ignore[arg-type]
        0, kept.get("team", ""), ((),),
    )  # fmt: skip


class BatchWork:
    """`BatchJobs` by durable jobs, each named by its batch."""

    def __init__(self, jobs: JobClient) -> None:
        self._jobs = jobs

    def start(self, batch: Batch) -> None:
        self._jobs.enqueue(JOB, {"id": batch.id}, key=batch.id)

    def ended(self, batch: Batch) -> str | None:
        try:
            info = self._jobs.get(f"{JOB}:{batch.id}")
        except JobNotFound:
            return None
        if info.state in ("queued", "running"):
            return ""
        return info.error or f"the job of the batch is {info.state}"
