"""What batches ask of others, from what control has: durable jobs, and the keys that their lines are called with."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from tetrad.batches import Batch, BatchKeyGone
from tetrad.identity import KeyGrant, hash_secret
from tetrad.kernel import Clock
from tetrad.kit.jobs import JobClient, JobNotFound
from tetrad.limits import LeaseState, Sync, SyncReply

JOB: Final = "batch.run"
_DOMAIN = b"tetrad batch key\x00"
_GRACE_NS = 3600 * 10**9
"""Calls that were begun in time may end after the completion window."""
_KNOWN_S = 1.0


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
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], KeyGrant] = {}
        self._known_until = 0.0

    def secret(self, batch: Batch) -> str:
        found = self._grants().get((batch.project, batch.key_id))
        if found is None:
            raise BatchKeyGone(
                f"the key {batch.key_id!r} that made the batch {batch.id} was revoked, or has expired",
                hint="make the batch again with a key that works",
            )
        return self._derived(batch)

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
            if grant is not None:
                ends = batch.expires_s * 10**9 + _GRACE_NS
                expires_ns = min(grant.expires_ns, ends) if grant.expires_ns else ends
                secret = hash_secret(self._derived(batch))
                found.append(replace(grant, hash=secret, expires_ns=expires_ns, batch=batch.id, priority="low"))
        return found

    def _grants(self) -> dict[tuple[str, str], KeyGrant]:
        """Return the keys that work; a look a second at most: workers ask after each answer."""
        with self._lock:
            now = self._clock.monotonic()
            if now >= self._known_until:
                self._known = by_key(self._granted())
                self._known_until = now + _KNOWN_S
            return self._known

    def _derived(self, batch: Batch) -> str:
        return "tetrad_batch_" + hmac.new(self._sealing_key, _DOMAIN + batch.id.encode(), hashlib.sha256).hexdigest()


class BudgetHolds:
    """`BatchHolds` by leases of budgets: a batch is to the keeper a worker of its own, which speaks twice."""

    def __init__(self, sync: Callable[[Sync], SyncReply]) -> None:
        self._sync = sync

    def hold(self, batch: str, holds: Sequence[tuple[str, str, int]]) -> bool:
        wanted = _leases(holds)
        told = [
            LeaseState(number, rule, instance, want=amount, need=amount, least=amount, reserved=amount)
            for number, (rule, instance, amount) in enumerate(wanted, 1)
        ]
        asked = [LeaseState(each.id, each.rule, each.instance, each.want, each.need, each.least) for each in told]
        granted = {each.id: each for each in self._sync(Sync(batch, 0, tuple(asked))).grants}
        enough = all((found := granted.get(each.id)) and (found.gone or found.granted >= each.want) for each in told)
        if not enough:
            self.release(batch, holds)
        return enough

    def release(self, batch: str, holds: Sequence[tuple[str, str, int]]) -> None:
        told = [
            LeaseState(number, rule, instance, final=True)
            for number, (rule, instance, _) in enumerate(_leases(holds), 1)
        ]
        self._sync(Sync(batch, 1, tuple(told)))


def _leases(holds: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Return what is held of each bucket, one after the other in an order that stays."""
    sums: dict[tuple[str, str], int] = {}
    for rule, instance, amount in holds:
        sums[rule, instance] = sums.get((rule, instance), 0) + amount
    return [(rule, instance, amount) for (rule, instance), amount in sorted(sums.items())]


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


def by_key(grants: Iterable[KeyGrant]) -> dict[tuple[str, str], KeyGrant]:
    """Return one grant of each key that may call models, by project and key.

    It is the one that works longest, while an older secret ends.
    """
    found: dict[tuple[str, str], KeyGrant] = {}
    for grant in grants:
        known = found.get((grant.project, grant.key_id))
        longer = known is None or (known.expires_ns and (not grant.expires_ns or grant.expires_ns > known.expires_ns))
        if "data" in grant.scopes and longer:
            found[grant.project, grant.key_id] = grant
    return found
