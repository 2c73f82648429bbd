"""Control's side of leases: money and calls at once in the database, what refills in memory."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from tetrad.kernel import Clock
from tetrad.limits._model import money_text, period_of
from tetrad.limits._protocol import Account, Flow, Grant, Held, LeaseState, Sync, SyncReply, tell_account, tell_flow
from tetrad.limits.ports import AlertRow, LimitRows, LimitStore, StoredRule

log = logging.getLogger(__name__)
SILENT = timedelta(seconds=60)
"""A worker that is silent for so long has no calls under way; what it may spend of money stays its own."""
_RECENT_S = 30.0
_MAX_FLOWS = 100_000
_NO_RETRY_S = 3600.0


class _Bucket:
    __slots__ = ("flow", "leases")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.leases: dict[tuple[str, int], tuple[Held, float]] = {}


class LeaseKeeper:
    """Grant leases; safe to share among threads, and one per installation. See `_protocol` for what it promises.

    After its start a bucket that refills begins empty if it could have been used before, full otherwise.
    """

    def __init__(self, store: LimitStore, clock: Clock, *, most_accounts: int = 100_000) -> None:
        self._store = store
        self._clock = clock
        self._most_accounts = most_accounts
        self._full: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._rules: dict[str, StoredRule] = {}
        self._flows: dict[tuple[str, str], _Bucket] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._started_at = clock.now()
        self.reload()

    def reload(self) -> None:
        """Read the rules anew; what is spent stays spent."""
        with self._store.read() as rows:
            found = {stored.rule.id: stored for stored in rows.rules(None)}
        now_ns = self._clock.now_ns()
        with self._lock:
            self._rules = found
            for (rule, instance), bucket in list(self._flows.items()):
                stored = found.get(rule)
                if stored is None:
                    del self._flows[rule, instance]
                elif stored.rule.amount != bucket.flow.amount:
                    bucket.flow.resize(stored.rule.amount, now_ns)

    @property
    def workers(self) -> int:
        """How many workers spoke lately; at least one."""
        now = self._clock.monotonic()
        self._seen = {slot: each for slot, each in self._seen.items() if now - each[1] < _RECENT_S}
        return max(1, len(self._seen))

    def sync(self, message: Sync, *, works: bool = True) -> SyncReply:
        """Take in a worker's message; see `tetrad.limits.ports.Keeper`.

        With `works` false it is of somebody who only holds money, and takes no share of rates.
        """
        with self._lock:
            now = self._clock.monotonic()
            last = self._seen.get(message.slot, (-1, now))[0]
            if message.seq < last:
                return SyncReply((), self.workers)
            lasting = [told for told in message.leases if self._lasts(told)]
            if works and not message.ends:
                self._seen[message.slot] = (message.seq, now)
            workers = self.workers
            kept = [self._flow(message.slot, told, now, workers) for told in message.leases if not self._lasts(told)]
            if lasting or message.ends:
                with self._store.write() as rows:
                    kept += self._accounts(rows, message, lasting, workers)
            if message.ends:
                self._seen.pop(message.slot, None)
                self._end_flows(message.slot)
            return SyncReply(tuple(kept), workers)

    def _lasts(self, told: LeaseState) -> bool:
        stored = self._rules.get(told.rule)
        return stored is None or stored.rule.measure in ("money", "concurrency")

    # what refills

    def _flow(self, slot: str, told: LeaseState, now: float, workers: int) -> Grant:
        rule, now_ns = self._rules[told.rule].rule, self._clock.now_ns()
        bucket = self._bucket(told, now_ns)
        self._drop_silent(bucket, now, now_ns)
        known = bucket.leases.get((slot, told.id))
        if known is None and told.final:  # it was told before, or nobody knows since when it is used up
            return Grant(told.id, 0)
        lease, _ = known or (Held(), now)
        free = tell_flow(bucket.flow, lease, told, workers, now_ns)
        if told.final:
            bucket.leases.pop((slot, told.id), None)
        else:
            bucket.leases[slot, told.id] = (lease, now)
        return Grant(
            told.id,
            lease.granted,
            max(0, free),
            reset_s=bucket.flow.wait_s(rule.amount, now_ns),
            retry_s=bucket.flow.wait_s(max(1, told.least), now_ns),
        )

    def _bucket(self, told: LeaseState, now_ns: int) -> _Bucket:
        found = self._flows.get((told.rule, told.instance))
        if found is not None:
            return found
        if len(self._flows) >= _MAX_FLOWS:  # a full bucket that nobody holds of is like one that was never there
            for name, each in list(self._flows.items()):
                if not each.leases and each.flow.free(now_ns) >= each.flow.amount:
                    del self._flows[name]
        stored = self._rules[told.rule]
        flow = Flow(stored.rule.amount, now_ns)
        if stored.created_at < self._started_at:
            flow = Flow(stored.rule.amount, _ns(self._started_at), full=False)
        bucket = self._flows[told.rule, told.instance] = _Bucket(flow)
        return bucket

    def _drop_silent(self, bucket: _Bucket, now: float, now_ns: int) -> None:
        for name, (lease, told_at) in list(bucket.leases.items()):
            if now - told_at > SILENT.total_seconds():
                tell_flow(bucket.flow, lease, LeaseState(name[1], "", "", spent=lease.granted, final=True), 1, now_ns)
                del bucket.leases[name]

    def _end_flows(self, slot: str) -> None:
        now_ns = self._clock.now_ns()
        for bucket in self._flows.values():
            for name in [name for name in bucket.leases if name[0] == slot]:
                lease, _ = bucket.leases.pop(name)
                told = LeaseState(name[1], "", "", spent=lease.spent, reserved=lease.reserved, final=True)
                tell_flow(bucket.flow, lease, told, 1, now_ns)

    # what lasts

    def _accounts(self, rows: LimitRows, message: Sync, told: list[LeaseState], workers: int) -> list[Grant]:
        now = self._clock.now()
        last = rows.take_turn(message.slot, message.seq, now)
        if message.seq < last:
            return []
        # in one order for all, so that two writers cannot wait for each other
        grants = [
            self._account(rows, message.slot, each, now, workers)
            for each in sorted(told, key=lambda state: (state.rule, state.instance, state.id))
        ]
        named = {each.id for each in told}
        if message.seq > last:
            for lease, rule, instance, closed in rows.leases_of(message.slot):
                if lease in named:
                    continue
                if closed:  # the worker knows, or it would tell of it again
                    rows.drop_lease(message.slot, lease)
                elif message.ends:
                    _, held = rows.lease(message.slot, lease) or ("", Held())
                    state = LeaseState(
                        lease, rule, instance, spent=held.spent, reserved=held.reserved, unknown=held.unknown,
                        final=True,
                    )  # fmt: skip
                    self._account(rows, message.slot, state, now, workers)
        return grants

    def _account(self, rows: LimitRows, slot: str, told: LeaseState, now: datetime, workers: int) -> Grant:
        stored = self._rules.get(told.rule)
        if stored is None:
            rows.drop_lease(slot, told.id)
            return Grant(told.id, 0, gone=True)
        rule = stored.rule
        period, end = ("now", None) if rule.measure == "concurrency" else period_of(rule.period, now)
        known = rows.lease(slot, told.id)
        if known is None and told.final and not (told.spent or told.reserved or told.unknown):
            return Grant(told.id, 0)
        of, lease = known or (period, Held())
        if of != period:  # the period of the lease is over: it gives nothing more, and its worker ends it
            told = _without_wishes(told)
        found = rows.account(rule.id, told.instance, of)
        new = found is None and known is None and rule.name == "*" and not (told.spent or told.reserved)
        if new and rule.measure == "money" and rows.count_accounts(rule.id, of) >= self._most_accounts:
            if (rule.id, of) not in self._full:
                self._full.add((rule.id, of))
                log.warning("budget %s has %d accounts in %s: no more are opened", rule.id, self._most_accounts, of)
            return Grant(told.id, 0, retry_s=_NO_RETRY_S)
        account = found or Account(0)
        account.amount = rule.amount
        before = (account.spent, account.uncertain, account.unknown)
        since = now - SILENT if rule.measure == "concurrency" else None
        if rule.measure == "concurrency" and told.final:
            told = LeaseState(told.id, told.rule, told.instance, final=True)  # no call is under way any more
        others = rows.held(rule.id, told.instance, of, but=(slot, told.id), since=since)
        free = tell_account(account, lease, told, others, workers)
        rows.save_lease(slot, told.id, rule.id, told.instance, of, lease)
        if (account.spent, account.uncertain, account.unknown) != before:
            rows.save_account(rule.id, told.instance, of, account, now)
            self._alert(rows, stored, told.instance, of, account, now)
        left_s = _NO_RETRY_S if end is None else (end - now).total_seconds()
        held_by_others = others > 0 and free + others >= told.least
        return Grant(
            told.id,
            lease.granted,
            max(0, free),
            reset_s=left_s,
            retry_s=1.0 if held_by_others or rule.measure == "concurrency" else left_s,
            ends_s=0.001 if of != period else (0.0 if end is None else left_s),
        )

    def _alert(
        self, rows: LimitRows, stored: StoredRule, instance: str, period: str, account: Account, now: datetime
    ) -> None:
        rule = stored.rule
        used = account.spent + account.uncertain
        for threshold in stored.thresholds:
            if used * 100 < rule.amount * threshold:
                break
            alert = AlertRow(rule=rule.id, instance=instance, period=period, threshold=threshold, at=now, spent=used)
            if rows.add_alert(alert):
                log.warning(
                    "budget %s of project %r: %s%s has used %d %% (%s of %s %s, period %s)",
                    rule.id, rule.project, rule.subject, f" {instance}" if instance else "", threshold,
                    money_text(used), money_text(rule.amount), rule.currency, period,
                )  # fmt: skip


def _without_wishes(told: LeaseState) -> LeaseState:
    return LeaseState(
        told.id, told.rule, told.instance, told.spent + told.reserved, 0, 0, told.spent, told.reserved, told.unknown,
        told.final,
    )  # fmt: skip


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * 10**9 + at.microsecond * 1000
