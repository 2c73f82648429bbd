"""What one gateway worker holds of limits, and when it asks for more; no I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tetrad.limits._protocol import MAX_LEASES, Flow, Grant, LeaseState, Sync, SyncReply
from tetrad.limits.errors import LimitsUnavailable
from tetrad.limits.ports import Journal
from tetrad.serving import LimitRule

IDLE_S = 5.0
AHEAD_S = 2.0
MONEY_AHEAD_S = 30.0
"""How long calls go on by what a worker holds of a budget when control goes away: its restart, and then some."""
_PACE_HALVES_S = 5.0
MAX_POCKETS = 10_000
_ASK_AGAIN_S = 1.0
_HEARTBEAT_S = 5.0


class Refused(Exception):
    """A pocket has not enough; `retry_s` is when there may be, None when nobody can tell since control is away."""

    def __init__(self, retry_s: float | None) -> None:
        super().__init__()
        self.retry_s = retry_s


class Pocket:
    """One lease: what this worker may use of one bucket.

    `granted`, `spent` and `reserved` count since the lease began, and `granted` less the other two is free.
    """

    __slots__ = (
        "asked", "dirty", "ends_at", "fallback", "final", "granted", "id", "instance", "pace", "peak", "refused",
        "refused_until", "remaining", "reserved", "retry_at", "rule", "said_at", "spent", "taken", "unknown",
        "used_at", "waiting",
    )  # fmt: skip

    def __init__(self, number: int, rule: LimitRule, instance: str, now: float) -> None:
        self.id = number
        self.rule = rule
        self.instance = instance
        self.granted = self.spent = self.reserved = self.unknown = 0
        self.remaining = rule.amount
        self.taken = self.peak = 0
        self.pace = 0.0
        self.used_at = self.said_at = now
        self.ends_at = float("inf")
        self.refused, self.refused_until, self.retry_at = 0, 0.0, 0.0
        self.waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.asked: list[tuple[int, asyncio.Future[None]]] = []
        self.dirty = self.final = False
        self.fallback: Flow | None = None

    @property
    def used(self) -> int:
        """What the keeper can never have back."""
        return self.spent + self.reserved

    @property
    def free(self) -> int:
        """What may be reserved without asking."""
        return self.granted - self.spent - self.reserved

    def take(self, amount: int, now: float) -> None:
        """Set some aside for a call."""
        self.reserved += amount
        self.taken += amount
        self.peak = max(self.peak, self.reserved)
        self.used_at = now
        self.dirty = True

    def state(self, now: float) -> LeaseState:
        """Return what to tell the keeper, giving up what is not wanted any more; the waiting are now asked for."""
        self.asked += self.waiting
        self.waiting = []
        amounts = [amount for amount, future in self.asked if not future.done()]
        need = max(0, sum(amounts) - max(0, self.free))
        want = self.used + sum(amounts) + self._ahead(now, sum(amounts))
        if now >= self.ends_at:
            want, need = self.used, 0
        self.granted = min(self.granted, max(want, self.used))
        self.taken, self.peak, self.said_at, self.dirty = 0, self.reserved, now, False
        least = max(0, min(amounts, default=0) - max(0, self.free))
        return LeaseState(
            self.id, self.rule.id, self.instance, want, need, least, self.spent, self.reserved, self.unknown
        )

    def last_state(self) -> LeaseState:
        """Return what ends the lease."""
        self.final = True
        return LeaseState(
            self.id, self.rule.id, self.instance, self.used, 0, 0, self.spent, self.reserved, self.unknown, final=True
        )

    def _ahead(self, now: float, waiting: int) -> int:
        """What the next two seconds will use if they are like the time since the keeper was told last.

        Of a budget with plenty left it is half a minute's worth, of the fastest pace lately: rates have a fallback
        without the keeper and money has none, so what is held is all that outlasts a restart of control.
        """
        if self.rule.measure == "concurrency":
            return max(0, self.peak - self.reserved)
        since = max(now - self.said_at, 0.05)
        soon = round(self.taken * min(AHEAD_S / since, 10.0))
        if self.rule.measure != "money":
            return soon
        self.pace = max((self.taken + waiting) / max(since, 1.0), self.pace * 0.5 ** (since / _PACE_HALVES_S))
        plenty = self.remaining * 5 > self.rule.amount
        return max(soon, round(self.pace * MONEY_AHEAD_S)) if plenty else soon


class Pockets:
    """All leases of a worker, by rule and instance."""

    def __init__(self, slot: str, journal: Journal) -> None:
        self.slot = slot
        self.workers = 1
        self.down = False
        self._journal = journal
        self._numbers = 0
        self._seq = 0
        self._open: dict[tuple[str, str], Pocket] = {}
        self._ending: dict[int, Pocket] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._ending)

    def __iter__(self) -> Iterator[Pocket]:
        return iter(self._open.values())

    def of(self, rule: LimitRule, instance: str, now: float) -> Pocket:
        """Return the pocket of a bucket; raises `LimitsUnavailable` past the bound on pockets."""
        pocket = self._open.get((rule.id, instance))
        if pocket is not None and pocket.rule == rule and now < pocket.ends_at:
            return pocket
        if pocket is not None:
            self._end(pocket)
        if len(self) >= MAX_POCKETS:
            self._end_idle(now, 0.0)
            if len(self) >= MAX_POCKETS:
                raise LimitsUnavailable("this worker counts too many subjects at once", retry_after_s=IDLE_S)
        self._numbers += 1
        pocket = self._open[rule.id, instance] = Pocket(self._numbers, rule, instance, now)
        return pocket

    def try_take(self, pocket: Pocket, amount: int, now: float, now_ns: int) -> bool:
        """Set some aside at once, if that needs no asking; raises `Refused` where asking is known to be no use."""
        if not pocket.rule.hard or (pocket.free >= amount and not pocket.waiting and not pocket.asked):
            self._take(pocket, amount, now)
            return True
        if self.down:
            self._fall_back(pocket, amount, now, now_ns)
            return True
        if now < pocket.refused_until and amount >= pocket.refused:
            raise Refused(pocket.retry_at - now)
        return False

    def wait(self, pocket: Pocket, amount: int) -> asyncio.Future[None]:
        """Return what is done once the keeper has answered: set aside, or `Refused`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pocket.waiting.append((amount, future))
        return future

    def give_back(self, pocket: Pocket, amount: int, spent: int, now: float, *, unknown: int = 0) -> None:
        """End what was set aside for a call, with what it really used."""
        pocket.reserved -= amount
        pocket.unknown += unknown
        pocket.spent += spent
        pocket.taken += max(0, spent - amount)
        pocket.used_at = now
        pocket.dirty = True
        self._note(pocket)

    def message(self, now: float, *, ends: bool = False) -> Sync | None:
        """Return what to tell the keeper now, if anything."""
        if ends:
            for pocket in list(self._open.values()):
                self._end(pocket)
        else:
            self._end_idle(now, IDLE_S)
        told = [
            pocket.last_state() if ends or not pocket.reserved else pocket.state(now)
            for pocket in list(self._ending.values())[:MAX_LEASES]
        ]
        for pocket in self._open.values():
            held = pocket.rule.measure == "concurrency" and pocket.granted and now - pocket.said_at >= _HEARTBEAT_S
            if len(told) < MAX_LEASES and (pocket.waiting or pocket.asked or pocket.dirty or held or pocket.free > 0):
                told.append(pocket.state(now))
        if not told and not ends:
            return None
        self._seq += 1
        return Sync(self.slot, self._seq, tuple(told), ends)

    @property
    def needy(self) -> bool:
        """Whether somebody waits."""
        return any(pocket.waiting or pocket.asked for pocket in self._open.values())

    def accept(self, reply: SyncReply, now: float) -> None:
        """Take in the keeper's answer, and let those who waited go on or be refused."""
        self.workers, self.down = max(1, reply.workers), False
        by_id = {pocket.id: pocket for pocket in self._open.values()}
        for grant in reply.grants:
            ending = self._ending.get(grant.id)
            if ending is not None and (ending.final or grant.gone):
                del self._ending[grant.id]
                self._journal.forget(grant.id)
            elif (pocket := by_id.get(grant.id)) is not None:
                self._granted(pocket, grant, now)
        for pocket in by_id.values():
            pocket.fallback = None

    def failed(self, now: float, now_ns: int) -> None:
        """Note that the keeper is out of reach, and decide for those who wait without it."""
        self.down = True
        for pocket in self._open.values():
            waiting, pocket.waiting, pocket.asked = [*pocket.asked, *pocket.waiting], [], []
            for amount, future in waiting:
                if future.done():
                    continue
                try:
                    if pocket.free >= amount:
                        self._take(pocket, amount, now)
                    else:
                        self._fall_back(pocket, amount, now, now_ns)
                    future.set_result(None)
                except Refused as refused:
                    future.set_exception(refused)

    def _granted(self, pocket: Pocket, grant: Grant, now: float) -> None:
        if grant.gone:  # the rule is no more; the next route table does not name it
            del self._open[pocket.rule.id, pocket.instance]
            self._journal.forget(pocket.id)
        pocket.granted = grant.granted
        pocket.remaining = grant.remaining
        pocket.ends_at = now + grant.ends_s if grant.ends_s else float("inf")
        asked, pocket.asked = pocket.asked, []
        for amount, future in asked:
            if future.done():
                continue
            if pocket.free >= amount or grant.gone:
                self._take(pocket, amount, now)
                future.set_result(None)
            elif pocket.free + grant.remaining >= amount:
                # calls that ended meanwhile used more than was set aside for them; the bucket has enough: ask again
                pocket.waiting.append((amount, future))
            else:
                pocket.refused, pocket.retry_at = amount, now + grant.retry_s
                pocket.refused_until = min(pocket.retry_at, now + _ASK_AGAIN_S)
                future.set_exception(Refused(max(grant.retry_s, 0.001)))

    def _take(self, pocket: Pocket, amount: int, now: float) -> None:
        pocket.take(amount, now)
        self._note(pocket)

    def _fall_back(self, pocket: Pocket, amount: int, now: float, now_ns: int) -> None:
        """Let a call pass on this worker's even share while the keeper is away; money is never guessed."""
        rule = pocket.rule
        if rule.measure == "money":
            raise Refused(None)
        share = rule.amount // self.workers
        if rule.measure == "concurrency":
            if pocket.reserved + amount > max(share, pocket.granted):
                raise Refused(1.0)
            self._take(pocket, amount, now)
            return
        if pocket.fallback is None:
            pocket.fallback = Flow(share, now_ns, full=False)
        if pocket.fallback.free(now_ns) < amount:
            raise Refused(pocket.fallback.wait_s(amount, now_ns))
        pocket.fallback.take(amount, now_ns)
        pocket.fallback.use(amount, now_ns)
        self._take(pocket, amount, now)

    def _end(self, pocket: Pocket) -> None:
        """Begin to end a lease; calls under way keep it open until they are done, who waits has to come again."""
        for _, future in (*pocket.asked, *pocket.waiting):
            if not future.done():
                future.set_exception(Refused(0.001))
        pocket.asked, pocket.waiting = [], []
        del self._open[pocket.rule.id, pocket.instance]
        self._ending[pocket.id] = pocket

    def _end_idle(self, now: float, idle_s: float) -> None:
        for pocket in list(self._open.values()):
            if (
                not pocket.reserved and not pocket.waiting and not pocket.asked
                and (now - pocket.used_at >= idle_s or now >= pocket.ends_at)
            ):  # fmt: skip
                self._end(pocket)

    def _note(self, pocket: Pocket) -> None:
        if pocket.rule.measure == "money":
            self._journal.note(
                pocket.id, pocket.rule.id, pocket.instance, pocket.spent, pocket.reserved, pocket.unknown
            )
