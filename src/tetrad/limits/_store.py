"""The tables of limits and budgets, on SQLite and PostgreSQL. Amounts are whole numbers as text: they pass 64 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata, upsert
from tetrad.limits._protocol import Account, Held
from tetrad.limits.ports import AlertRow, BucketRow, StoredRule
from tetrad.serving import LimitRule

_PERIOD, _INSTANCE = sa.String(16), sa.String(300)

rules = sa.Table(
    "limit_rules",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("project", sa.String(63), sa.ForeignKey("projects.name"), nullable=False),
    sa.Column("rule", JsonText, nullable=False),
    sa.Column("thresholds", JsonText, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(64), nullable=False),
    sa.Column("changed_at", Timestamp, nullable=False),
    sa.Index(None, "project", "id"),
)
accounts = sa.Table(
    "limit_accounts",
    metadata,
    sa.Column("rule", sa.String(64), primary_key=True),
    sa.Column("instance", _INSTANCE, primary_key=True),
    sa.Column("period", _PERIOD, primary_key=True),
    sa.Column("spent", sa.Text, nullable=False),
    sa.Column("uncertain", sa.Text, nullable=False),
    sa.Column("unknown", sa.BigInteger, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
)
slots = sa.Table(
    "limit_slots",
    metadata,
    sa.Column("slot", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("seen_at", Timestamp, nullable=False),
)
leases = sa.Table(
    "limit_leases",
    metadata,
    sa.Column("slot", sa.String(64), primary_key=True),
    sa.Column("lease", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rule", sa.String(64), nullable=False),
    sa.Column("instance", _INSTANCE, nullable=False),
    sa.Column("period", _PERIOD, nullable=False),
    sa.Column("granted", sa.Text, nullable=False),
    sa.Column("spent", sa.Text, nullable=False),
    sa.Column("reserved", sa.Text, nullable=False),
    sa.Column("unknown", sa.BigInteger, nullable=False),
    sa.Column("closed", sa.Boolean(create_constraint=False), nullable=False),
    sa.Index(None, "rule", "instance", "period"),
)
series = sa.Table(
    "limit_series",
    metadata,
    sa.Column("rule", sa.String(64), primary_key=True),
    sa.Column("instance", _INSTANCE, primary_key=True),
    sa.Column("period", _PERIOD, primary_key=True),
    sa.Column("hour", Timestamp, primary_key=True),
    sa.Column("spent", sa.Text, nullable=False),
)
alerts = sa.Table(
    "limit_alerts",
    metadata,
    sa.Column("rule", sa.String(64), primary_key=True),
    sa.Column("instance", _INSTANCE, primary_key=True),
    sa.Column("period", _PERIOD, primary_key=True),
    sa.Column("threshold", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("spent", sa.Text, nullable=False),
)


class SqlLimitStore:
    """`LimitStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def read(self) -> Iterator[SqlLimitRows]:
        with self._database.read() as connection:
            yield SqlLimitRows(connection)

    @contextmanager
    def write(self) -> Iterator[SqlLimitRows]:
        with self._database.write() as connection:
            yield SqlLimitRows(connection)


class SqlLimitRows:
    """One transaction; see `tetrad.limits.ports` for what each method promises."""

    def __init__(self, connection: sa.Connection) -> None:
        self._do = connection.execute
        self._connection = connection

    def rules(self, project: str | None) -> list[StoredRule]:
        chosen = sa.select(rules).order_by(rules.c.id)
        if project is not None:
            chosen = chosen.where(rules.c.project == project)
        return [_rule(row) for row in self._do(chosen).mappings()]

    def put_rule(self, stored: StoredRule) -> None:
        row = {
            "id": stored.rule.id,
            "project": stored.rule.project,
            "rule": {**msgspec.to_builtins(stored.rule), "amount": str(stored.rule.amount)},
            "thresholds": list(stored.thresholds),
            "created_at": stored.created_at,
            "created_by": stored.created_by,
            "changed_at": stored.changed_at,
        }
        upsert(self._connection, rules, row, key=("id",))

    def drop_rule(self, rule: str) -> None:
        for table in (accounts, leases, series, alerts):
            self._do(table.delete().where(table.c.rule == rule))
        self._do(rules.delete().where(rules.c.id == rule))

    def take_turn(self, slot: str, seq: int, at: datetime) -> int:
        insert_or_ignore(self._connection, slots, {"slot": slot, "seq": -1, "seen_at": at})
        mine = slots.c.slot == slot
        last = int(self._do(sa.select(slots.c.seq).where(mine).with_for_update()).scalar_one())
        if seq > last:
            self._do(slots.update().where(mine).values(seq=seq, seen_at=at))
        return last

    def account(self, rule: str, instance: str, period: str) -> Account | None:
        mine = (accounts.c.rule == rule, accounts.c.instance == instance, accounts.c.period == period)
        row = self._do(sa.select(accounts).where(*mine).with_for_update()).mappings().one_or_none()
        return None if row is None else _account(row)

    def save_account(self, rule: str, instance: str, period: str, account: Account, at: datetime) -> None:
        key = {"rule": rule, "instance": instance, "period": period}
        row = {
            **key,
            "spent": str(account.spent),
            "uncertain": str(account.uncertain),
            "unknown": account.unknown,
            "updated_at": at,
        }
        upsert(self._connection, accounts, row, key=tuple(key))
        hour = at.replace(minute=0, second=0, microsecond=0)
        point = {**key, "hour": hour, "spent": str(account.spent + account.uncertain)}
        upsert(self._connection, series, point, key=(*key, "hour"))

    def lease(self, slot: str, lease: int) -> tuple[str, Held] | None:
        row = self._do(sa.select(leases).where(*_lease(slot, lease))).mappings().one_or_none()
        return None if row is None else (row["period"], _held(row))

    def save_lease(self, slot: str, lease: int, rule: str, instance: str, period: str, held: Held) -> None:
        row = {
            "slot": slot,
            "lease": lease,
            "rule": rule,
            "instance": instance,
            "period": period,
            "granted": str(held.granted),
            "spent": str(held.spent),
            "reserved": str(held.reserved),
            "unknown": held.unknown,
            "closed": held.closed,
        }
        upsert(self._connection, leases, row, key=("slot", "lease"))

    def drop_lease(self, slot: str, lease: int) -> None:
        self._do(leases.delete().where(*_lease(slot, lease)))

    def leases_of(self, slot: str) -> list[tuple[int, str, str, bool]]:
        chosen = sa.select(leases.c.lease, leases.c.rule, leases.c.instance, leases.c.closed)
        chosen = chosen.where(leases.c.slot == slot)
        return [(int(row[0]), row[1], row[2], bool(row[3])) for row in self._do(chosen.order_by(leases.c.lease))]

    def held(
        self,
        rule: str,
        instance: str,
        period: str,
        *,
        but: tuple[str, int] | None = None,
        since: datetime | None = None,
    ) -> int:
        chosen = sa.select(leases).where(
            leases.c.rule == rule, leases.c.instance == instance, leases.c.period == period
        )
        if since is not None:
            heard = sa.select(slots.c.slot).where(slots.c.seen_at >= since)
            chosen = chosen.where(leases.c.slot.in_(heard))
        return sum(
            _held(row).open for row in self._do(chosen).mappings() if but is None or (row["slot"], row["lease"]) != but
        )

    def count_accounts(self, rule: str, period: str) -> int:
        mine = (accounts.c.rule == rule, accounts.c.period == period)
        return int(self._do(sa.select(sa.func.count()).select_from(accounts).where(*mine)).scalar_one())

    def accounts(self, rules: Sequence[str]) -> list[BucketRow]:
        chosen = sa.select(accounts).where(accounts.c.rule.in_(rules))
        chosen = chosen.order_by(accounts.c.rule, accounts.c.period.desc(), accounts.c.instance)
        return [
            BucketRow(
                rule=row["rule"],
                instance=row["instance"],
                period=row["period"],
                account=_account(row),
                updated_at=row["updated_at"],
            )
            for row in self._do(chosen).mappings()
        ]

    def series(self, rule: str, instance: str, period: str) -> list[tuple[datetime, int]]:
        mine = (series.c.rule == rule, series.c.instance == instance, series.c.period == period)
        chosen = sa.select(series.c.hour, series.c.spent).where(*mine).order_by(series.c.hour)
        return [(row[0], int(row[1])) for row in self._do(chosen)]

    def add_alert(self, alert: AlertRow) -> bool:
        row = {name: getattr(alert, name) for name in ("rule", "instance", "period", "threshold", "at")}
        return insert_or_ignore(self._connection, alerts, {**row, "spent": str(alert.spent)}) == 1

    def alerts(self, rules: Sequence[str], limit: int) -> list[AlertRow]:
        chosen = (
            sa.select(alerts).where(alerts.c.rule.in_(rules)).order_by(alerts.c.at.desc(), alerts.c.threshold.desc())
        )
        return [AlertRow(**{**row, "spent": int(row["spent"])}) for row in self._do(chosen.limit(limit)).mappings()]

    def forget(self, before: datetime) -> int:
        """Remove accounts, series and alerts that nothing touched since a time, and slots without a lease."""
        old = sa.select(accounts.c.rule, accounts.c.instance, accounts.c.period).where(
            accounts.c.updated_at < before, accounts.c.period != "total"
        )
        gone = 0
        for rule, instance, period in self._do(old).all():
            for table in (series, alerts, accounts):
                mine = (table.c.rule == rule, table.c.instance == instance, table.c.period == period)
                self._do(table.delete().where(*mine))
            gone += 1
        silent = sa.select(slots.c.slot).where(slots.c.seen_at < before)
        self._do(leases.delete().where(leases.c.closed, leases.c.slot.in_(silent)))
        self._do(
            slots.delete().where(slots.c.seen_at < before, slots.c.slot.not_in(sa.select(leases.c.slot).distinct()))
        )
        return gone


def _lease(slot: str, lease: int) -> tuple[sa.ColumnElement[bool], ...]:
    return leases.c.slot == slot, leases.c.lease == lease


def _rule(row: Any) -> StoredRule:
    return StoredRule(
        rule=msgspec.convert({**row["rule"], "amount": int(row["rule"]["amount"])}, LimitRule),
        thresholds=tuple(row["thresholds"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        changed_at=row["changed_at"],
    )


def _account(row: Any) -> Account:
    return Account(0, int(row["spent"]), int(row["uncertain"]), row["unknown"])


def _held(row: Any) -> Held:
    return Held(int(row["granted"]), int(row["spent"]), int(row["reserved"]), row["unknown"], bool(row["closed"]))
