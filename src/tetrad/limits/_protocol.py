"""How a gateway worker and the keeper of limits talk, and the arithmetic of both sides; pure.

A worker tells the whole state of each lease that it asks about or used, under a sequence number that only grows. The
keeper takes each number once and answers with the state of these leases; so a message may be lost, repeated, or come
late, and nothing is counted twice. What a worker was granted is taken from everybody else until the worker, or
whoever reads its journal after its death, gives it back.
"""

from __future__ import annotations

import msgspec

MAX_LEASES = 2000
LAST_SEQ = 2**62
"""The sequence number of a slot's last message: nothing can come after it."""


class LeaseState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A lease as its worker has it.

    `want` is how much of the bucket it wants to hold in all since the lease began, of which `need` is for calls that
    wait now, the smallest of them for `least`; `spent` is used for good, `reserved` is set aside for calls under way.
    `unknown` counts calls whose price was not known. `final` ends the lease; what is still reserved then was cut off,
    and counts as uncertain.
    """

    id: int
    rule: str
    instance: str
    want: int = 0
    need: int = 0
    least: int = 0
    spent: int = 0
    reserved: int = 0
    unknown: int = 0
    final: bool = False


class Sync(msgspec.Struct, frozen=True):
    """A worker's message. `slot` names the worker's life; with `ends` every lease of the slot is over."""

    slot: str
    seq: int
    leases: tuple[LeaseState, ...] = ()
    ends: bool = False


class Grant(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A lease as the keeper has it: how much it may use in all, and how the bucket stands.

    `remaining` is what nobody holds. `reset_s` is when all of it is back, `retry_s` when what was needed may be.
    `ends_s` is when the lease is over, 0 for never.
    """

    id: int
    granted: int
    remaining: int = 0
    reset_s: float = 0.0
    retry_s: float = 0.0
    ends_s: float = 0.0
    gone: bool = False


class SyncReply(msgspec.Struct, frozen=True):
    """The keeper's answer. `workers` is how many workers it has heard of lately."""

    grants: tuple[Grant, ...] = ()
    workers: int = 1


def more(free: int, amount: int, asked: int, told: LeaseState, workers: int) -> int:
    """Return how much to add to a lease: nothing that serves no call, and ahead of need only while there is plenty.

    Nothing is granted ahead from the last fifth of a bucket, so that little lies idle with one worker while another
    refuses.
    """
    if asked <= 0 or free <= 0 or free < told.least:
        return 0
    ahead = max(0, free - amount // 5) // (2 * max(1, workers))
    return min(asked, free, max(told.need, ahead))


class Flow:
    """A bucket that refills: `amount` a minute, of which a whole minute's worth may be used at once.

    What workers hold and have not used yet (`held`) counts as if it lay in the bucket, so that no window of time sees
    more than `amount` and what flowed in meanwhile. The level is exact integer arithmetic (amount times nanoseconds).
    It may fall below nothing where calls used more than was set aside for them; time pays that back.
    """

    __slots__ = ("_at_ns", "_level", "amount", "held")
    WINDOW_NS = 60 * 10**9

    def __init__(self, amount: int, now_ns: int, *, full: bool = True) -> None:
        self.amount = amount
        self.held = 0
        self._level = amount * self.WINDOW_NS if full else 0
        self._at_ns = now_ns

    def free(self, now_ns: int) -> int:
        """Return how much nobody holds now."""
        self._refill(now_ns)
        return self._level // self.WINDOW_NS

    def take(self, count: int, now_ns: int) -> None:
        """Let a worker hold some."""
        self._refill(now_ns)
        self._level -= count * self.WINDOW_NS
        self.held += count

    def give(self, count: int, now_ns: int) -> None:
        """Take back what a worker held and did not use."""
        self._refill(now_ns)
        self._level += count * self.WINDOW_NS
        self.held -= count

    def use(self, count: int, now_ns: int) -> None:
        """Note that what a worker held was used."""
        self._refill(now_ns)
        self.held -= count

    def resize(self, amount: int, now_ns: int) -> None:
        """Change the rate; what was used stays used."""
        self._refill(now_ns)
        self._level += (amount - self.amount) * self.WINDOW_NS
        self.amount = amount

    def wait_s(self, count: int, now_ns: int) -> float:
        """Return the seconds until so much is free; an hour where it never will be."""
        self._refill(now_ns)
        missing = count * self.WINDOW_NS - self._level
        if missing <= 0:
            return 0.0
        if count > self.amount or not self.amount:
            return 3600.0
        return -(-missing // self.amount) / 1e9

    def _refill(self, now_ns: int) -> None:
        passed, self._at_ns = max(0, now_ns - self._at_ns), max(now_ns, self._at_ns)
        full = (self.amount - self.held) * self.WINDOW_NS
        if self._level < full:
            self._level = min(self._level + passed * self.amount, full)


class Account(msgspec.Struct):
    """A bucket that does not refill: money of one period, or calls at once. What the keeper knows of it."""

    amount: int
    spent: int = 0
    uncertain: int = 0
    unknown: int = 0

    def free(self, held: int) -> int:
        """Return what nobody has: not spent, not uncertain, and not in a lease."""
        return self.amount - self.spent - self.uncertain - held


class Held(msgspec.Struct):
    """A lease as the keeper has it. One that is `closed` is kept until its worker knows, so that it counts once."""

    granted: int = 0
    spent: int = 0
    reserved: int = 0
    unknown: int = 0
    closed: bool = False

    @property
    def open(self) -> int:
        """What of the lease is not spent yet and so is not anybody else's."""
        return max(0, self.granted - self.spent)


def tell_account(account: Account, lease: Held, told: LeaseState, others: int, workers: int) -> int:
    """Take in what a worker tells of a lease; return what is free afterwards. `others` is what other leases hold.

    Calls at once are never spent, only reserved; of them nothing is uncertain when a worker dies.
    """
    if lease.closed:
        return account.free(others)
    spent = max(lease.spent, told.spent)
    account.spent += spent - lease.spent
    account.unknown += max(0, told.unknown - lease.unknown)
    lease.spent, lease.unknown, lease.reserved = spent, max(lease.unknown, told.unknown), told.reserved
    if told.final:
        account.uncertain += told.reserved
        lease.granted = lease.reserved = 0
        lease.closed = True
        return account.free(others)
    lease.granted = max(spent, min(lease.granted, max(told.want, spent + told.reserved)))
    free = account.free(others + lease.open)
    given = more(free, account.amount, told.want - lease.granted, told, workers)
    lease.granted += given
    return free - given


def tell_flow(flow: Flow, lease: Held, told: LeaseState, workers: int, now_ns: int) -> int:
    """Take in what a worker tells of a lease of a bucket that refills; return what is free afterwards."""
    used = told.spent + told.reserved
    if used > lease.granted:  # calls used more than was set aside, or went on without us
        flow.take(used - lease.granted, now_ns)
        lease.granted = used
    if told.spent > lease.spent:
        flow.use(told.spent - lease.spent, now_ns)
    lease.spent, lease.reserved = max(lease.spent, told.spent), told.reserved
    if told.final:
        flow.give(max(0, lease.granted - used), now_ns)
        flow.use(told.reserved, now_ns)
        lease.granted = lease.spent = lease.reserved = 0
        return flow.free(now_ns)
    kept = min(lease.granted, max(told.want, used))
    flow.give(lease.granted - kept, now_ns)
    given = more(flow.free(now_ns), flow.amount, told.want - kept, told, workers)
    flow.take(given, now_ns)
    lease.granted = kept + given
    return flow.free(now_ns)
