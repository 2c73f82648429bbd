"""Limits without a database: a store in memory that keeps the promises of the port, and a keeper over it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from tetrad.kernel import Clock, FixedClock
from tetrad.limits import Account, Held, Sync, SyncReply
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._model import UNIT
from tetrad.limits._service import rule_id
from tetrad.limits.ports import AlertRow, BucketRow, StoredRule
from tetrad.serving import LimitRule

START = datetime(2026, 1, 1, tzinfo=UTC)


def rule(
    measure: str = "requests", amount: float = 10, subject: str = "key", name: str = "*", **more: Any
) -> LimitRule:
    """Return a rule; the amount of money is in whole units of the currency."""
    if measure == "money":
        more.setdefault("period", "month")
        amount = round(amount * 10**6) * (UNIT // 10**6)
    made = LimitRule(
        id="", project=more.pop("project", "default"), subject=subject, name=name, measure=measure,
        amount=int(amount), **more,
    )  # type: ignore[arg-type] # fmt: skip
    return msgspec.structs.replace(made, id=rule_id(made))


def stored(made: LimitRule, *, at: datetime = START, thresholds: Sequence[int] = ()) -> StoredRule:
    return StoredRule(rule=made, thresholds=tuple(thresholds), created_at=at, created_by="key_test", changed_at=at)


class MemoryStore:
    """`LimitStore`, and its own rows."""

    def __init__(self, *rules: LimitRule | StoredRule) -> None:
        self.all = {
            each.rule.id: each for each in (one if isinstance(one, StoredRule) else stored(one) for one in rules)
        }
        self.book: dict[tuple[str, str, str], Account] = {}
        self.turns: dict[str, tuple[int, datetime]] = {}
        self.open: dict[tuple[str, int], tuple[str, str, str, Held]] = {}
        self.seen: dict[tuple[str, str, str, int], AlertRow] = {}
        self.writes = 0

    @contextmanager
    def read(self) -> Iterator[MemoryStore]:
        yield self

    @contextmanager
    def write(self) -> Iterator[MemoryStore]:
        self.writes += 1
        yield self

    def rules(self, project: str | None) -> list[StoredRule]:
        return [each for each in self.all.values() if project in (None, each.rule.project)]

    def put_rule(self, stored: StoredRule) -> None:
        self.all[stored.rule.id] = stored

    def drop_rule(self, rule: str) -> None:
        del self.all[rule]

    def take_turn(self, slot: str, seq: int, at: datetime) -> int:
        last = self.turns.get(slot, (-1, at))[0]
        if seq > last:
            self.turns[slot] = (seq, at)
        return last

    def account(self, rule: str, instance: str, period: str) -> Account | None:
        return copy.copy(self.book.get((rule, instance, period)))

    def save_account(self, rule: str, instance: str, period: str, account: Account, at: datetime) -> None:
        self.book[rule, instance, period] = copy.copy(account)

    def lease(self, slot: str, lease: int) -> tuple[str, Held] | None:
        found = self.open.get((slot, lease))
        return None if found is None else (found[2], copy.copy(found[3]))

    def save_lease(self, slot: str, lease: int, rule: str, instance: str, period: str, held: Held) -> None:
        self.open[slot, lease] = (rule, instance, period, copy.copy(held))

    def drop_lease(self, slot: str, lease: int) -> None:
        self.open.pop((slot, lease), None)

    def leases_of(self, slot: str) -> list[tuple[int, str, str, bool]]:
        return [(lease, each[0], each[1], each[3].closed) for (of, lease), each in self.open.items() if of == slot]

    def held(
        self,
        rule: str,
        instance: str,
        period: str,
        *,
        but: tuple[str, int] | None = None,
        since: datetime | None = None,
    ) -> int:
        return sum(
            held.open
            for name, (of, whose, when, held) in self.open.items()
            if (of, whose, when) == (rule, instance, period)
            and name != but
            and (since is None or self.turns[name[0]][1] >= since)
        )

    def count_accounts(self, rule: str, period: str) -> int:
        return sum((of, when) == (rule, period) for of, _, when in self.book)

    def accounts(self, rules: Sequence[str]) -> list[BucketRow]:
        return [
            BucketRow(rule=of, instance=instance, period=period, account=account, updated_at=START)
            for (of, instance, period), account in self.book.items()
            if of in rules
        ]

    def series(self, rule: str, instance: str, period: str) -> list[tuple[datetime, int]]:
        return []

    def add_alert(self, alert: AlertRow) -> bool:
        name = (alert.rule, alert.instance, alert.period, alert.threshold)
        return self.seen.setdefault(name, alert) is alert

    def alerts(self, rules: Sequence[str], limit: int) -> list[AlertRow]:
        return [each for each in self.seen.values() if each.rule in rules][:limit]

    def forget(self, before: datetime) -> int:
        return 0


class NoJournal:
    """Forgets all; or, as `kept`, remembers what the kernel would."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[str, str, int, int, int]] = {}

    def note(self, lease: int, rule: str, instance: str, spent: int, reserved: int, unknown: int) -> None:
        self.kept[lease] = (rule, instance, spent, reserved, unknown)

    def forget(self, lease: int) -> None:
        self.kept.pop(lease, None)


class LocalKeeper:
    """`Keeper` in this process, which can be told to be away."""

    def __init__(self, *rules: LimitRule, clock: Clock | None = None) -> None:
        self.clock = clock or FixedClock()
        # a rule that is older than its keeper begins empty, since it may just have been used; these are new
        self.store = MemoryStore(*(stored(each, at=datetime(2100, 1, 1, tzinfo=UTC)) for each in rules))
        self.keeper = LeaseKeeper(self.store, self.clock)
        self.away = False
        self.messages: list[Sync] = []

    async def sync(self, message: Sync) -> SyncReply:
        if self.away:
            raise ConnectionRefusedError("control is away")
        self.messages.append(message)
        return self.keeper.sync(message)
