"""What limits need of the outside world."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import msgspec

from tetrad.limits._protocol import Account, Held, Sync, SyncReply
from tetrad.serving.ports import LimitRule


class Keeper(Protocol):
    """Who grants leases: control, or a shared store. See `_protocol` for what is promised about lost messages."""

    async def sync(self, message: Sync) -> SyncReply:
        """Tell the state of leases, and learn what is granted. Raises `TetradError` or `OSError` when out of reach.

        A message whose sequence number is not the newest of its slot is answered without effect. The reply has a grant
        for each lease that the keeper has taken in; of what is left out the worker tells again.
        """
        ...


class Journal(Protocol):
    """Remembers what a worker spent of its leases past the worker's own death."""

    def note(self, lease: int, rule: str, instance: str, spent: int, reserved: int, unknown: int) -> None:
        """Write down a lease's newest state; it holds after `kill -9` of the process. Never raises."""
        ...

    def forget(self, lease: int) -> None:
        """Write down that the keeper has all that was told of a lease. Never raises."""
        ...


class StoredRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule with what only people need of it. `thresholds` are percentages at which a budget alerts."""

    rule: LimitRule
    thresholds: tuple[int, ...]
    created_at: datetime
    created_by: str
    changed_at: datetime


class BucketRow(msgspec.Struct, frozen=True, kw_only=True):
    """An account of one period of one subject."""

    rule: str
    instance: str
    period: str
    account: Account
    updated_at: datetime


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that went past a threshold, once per period and threshold."""

    rule: str
    instance: str
    period: str
    threshold: int
    at: datetime
    spent: int


class LimitRows(Protocol):
    """One transaction on everything that limits keep."""

    def rules(self, project: str | None) -> list[StoredRule]:
        """Return the rules of a project, or of all, by id."""
        ...

    def put_rule(self, stored: StoredRule) -> None:
        """Insert or overwrite a rule by its id."""
        ...

    def drop_rule(self, rule: str) -> None:
        """Remove a rule with its accounts, leases, series and alerts."""
        ...

    def take_turn(self, slot: str, seq: int, at: datetime) -> int:
        """Return a slot's last sequence number (-1 for a new slot), held until the end; note the new one if larger."""
        ...

    def account(self, rule: str, instance: str, period: str) -> Account | None:
        """Return an account (its `amount` is 0), held until the transaction ends."""
        ...

    def save_account(self, rule: str, instance: str, period: str, account: Account, at: datetime) -> None:
        """Insert or overwrite an account, and its point of the series."""
        ...

    def lease(self, slot: str, lease: int) -> tuple[str, Held] | None:
        """Return a lease and the period that it is of."""
        ...

    def save_lease(self, slot: str, lease: int, rule: str, instance: str, period: str, held: Held) -> None:
        """Insert or overwrite a lease."""
        ...

    def drop_lease(self, slot: str, lease: int) -> None:
        """Remove a lease."""
        ...

    def leases_of(self, slot: str) -> list[tuple[int, str, str, bool]]:
        """Return (lease, rule, instance, whether it is closed) of a slot's leases."""
        ...

    def held(
        self,
        rule: str,
        instance: str,
        period: str,
        *,
        but: tuple[str, int] | None = None,
        since: datetime | None = None,
    ) -> int:
        """Return what the leases of an account hold: all but one, of slots heard of since a time."""
        ...

    def count_accounts(self, rule: str, period: str) -> int:
        """Return how many subjects have an account of a rule in a period."""
        ...

    def accounts(self, rules: Sequence[str]) -> list[BucketRow]:
        """Return all accounts of rules, the newest period first."""
        ...

    def series(self, rule: str, instance: str, period: str) -> list[tuple[datetime, int]]:
        """Return how much had been spent by the end of each hour in which something was."""
        ...

    def add_alert(self, alert: AlertRow) -> bool:
        """Note an alert; tell whether it is new."""
        ...

    def alerts(self, rules: Sequence[str], limit: int) -> list[AlertRow]:
        """Return the newest alerts."""
        ...

    def forget(self, before: datetime) -> int:
        """Remove what nothing touched since a time: accounts of ended periods, and slots without a lease."""
        ...


class LimitStore(Protocol):
    """Where limits are kept."""

    def read(self) -> AbstractContextManager[LimitRows]:
        """Begin a transaction that only reads."""
        ...

    def write(self) -> AbstractContextManager[LimitRows]:
        """Begin a transaction that may write; one at a time where it matters."""
        ...
