"""Whoever changes a log of the past is found out: in any column, and also when the whole chain is written anew."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from support.evidence import ADA, CAT, Gated, wire_gated
from support.identity import ADMIN, make_identity
from tetrad.identity import Identity
from tetrad.identity._chain import GENESIS as FIRST
from tetrad.identity._chain import AuditHead, linked
from tetrad.identity._store import audit_heads, audit_log
from tetrad.kernel import Conflict
from tetrad.kit.db import Database
from tetrad.registry import GENESIS, BadEvidence, RefEntry, SignatureRefused, entry_hash
from tetrad.registry._tables import ref_log, ref_log_heads

AUDIT_COLUMNS = sorted(column.name for column in audit_log.c)
REF_COLUMNS = sorted(column.name for column in ref_log.c)


@dataclass
class Site:
    """An installation with something in both logs."""

    database: Database
    identity: Identity
    gated: Gated

    def change(self, table: sa.Table, seq: int, column: str, value: Any) -> None:
        """Change a row as somebody with the database can."""
        with self.database.write() as connection:
            mine = sa.and_(table.c.project == "default", table.c.seq == seq)
            connection.execute(sa.update(table).where(mine).values({column: value}))


@pytest.fixture
def site(database: Database) -> Site:
    identity = make_identity(database)
    with contextlib.suppress(Conflict):  # it may be there from the start
        identity.projects.create(ADMIN, "default", "default")
    gated = wire_gated(database, audit=identity.audit.record, audit_log=identity.audit)
    for number in range(4):
        identity.audit.record(CAT, "thing.done", f"thing {number}", "default", number=number)
        gated.tetrads.registry.move_ref("default", "bot/x", gated.release(str(number)), expected=None, actor=ADA)
    return Site(database, identity, gated)


def another(row: Mapping[str, Any], column: str) -> Any:
    """Return another value of the kind that a column holds."""
    value = row[column]
    if column == "at":
        return value.replace(microsecond=(value.microsecond + 1) % 1_000_000)
    if isinstance(value, int):
        return value + 100
    if isinstance(value, dict):
        return {**value, "number": 99}
    if isinstance(value, str) and value.startswith("sha256:"):
        return "sha256:" + "f" * 64
    return f"{value}x"


def row_of(site: Site, table: sa.Table, seq: int) -> Mapping[str, Any]:
    with site.database.read() as connection:
        statement = sa.select(table).where(table.c.project == "default", table.c.seq == seq)
        return dict(connection.execute(statement).one()._mapping)


@pytest.mark.parametrize("column", AUDIT_COLUMNS)
def test_a_change_of_any_column_of_the_audit_log_is_found(site: Site, column: str) -> None:
    head = site.gated.evidence.export_audit_head("default")
    assert site.gated.evidence.check_audit_head("default", head).sound
    site.change(audit_log, 2, column, another(row_of(site, audit_log, 2), column))
    assert not site.identity.audit.check("default").intact
    found = site.gated.evidence.check_audit_head("default", head)
    assert not found.sound
    assert found.problem


@pytest.mark.parametrize("column", REF_COLUMNS)
def test_a_change_of_any_column_of_the_ref_log_is_found(site: Site, column: str) -> None:
    head = site.gated.evidence.export_head("default")
    assert site.gated.evidence.check_head("default", head).sound
    site.change(ref_log, 2, column, another(row_of(site, ref_log, 2), column))
    assert not site.gated.tetrads.registry.verify_log("default").sound
    assert not site.gated.evidence.check_head("default", head).sound


@pytest.mark.parametrize("table", [audit_log, ref_log], ids=["audit log", "ref log"])
@pytest.mark.parametrize("seq", [1, 2, 4])
def test_an_entry_that_was_taken_out_is_missed(site: Site, table: sa.Table, seq: int) -> None:
    heads = site.gated.evidence.export_audit_head("default"), site.gated.evidence.export_head("default")
    with site.database.write() as connection:
        connection.execute(sa.delete(table).where(table.c.project == "default", table.c.seq == seq))
    checks = (
        site.gated.evidence.check_audit_head("default", heads[0]),
        site.gated.evidence.check_head("default", heads[1]),
    )
    assert [check.sound for check in checks] == [table is not audit_log, table is not ref_log]


@pytest.mark.parametrize("kept", [0, 1, 3], ids=["all of it", "all but the first", "the last entry"])
def test_an_audit_log_that_was_written_anew_is_found_by_an_exported_head(site: Site, kept: int) -> None:
    head = site.gated.evidence.export_audit_head("default")
    entries = site.identity.audit.list("default", limit=1000)[::-1]
    last = AuditHead(kept, entries[kept - 1].hash if kept else FIRST)
    with site.database.write() as connection:
        for entry in entries[kept:]:
            forged = linked(entry.event.__class__(**{**_fields(entry.event), "target": "nothing"}), last)
            mine = sa.and_(audit_log.c.project == "default", audit_log.c.seq == forged.seq)
            values = {"target": "nothing", "previous": forged.previous, "hash": forged.hash}
            connection.execute(sa.update(audit_log).where(mine).values(**values))
            last = AuditHead(forged.seq, forged.hash)
        connection.execute(
            sa.update(audit_heads).where(audit_heads.c.project == "default").values(seq=last.seq, hash=last.hash)
        )
    assert site.identity.audit.check("default").intact  # the chain alone cannot know
    found = site.gated.evidence.check_audit_head("default", head)
    assert (found.sound, found.problem) == (False, "the entry is not the one that was exported")


def test_a_ref_log_that_was_written_anew_is_found_by_an_exported_head(site: Site) -> None:
    head = site.gated.evidence.export_head("default")
    entries = site.gated.tetrads.registry.ref_log("default")[::-1]
    before = GENESIS
    with site.database.write() as connection:
        for entry in entries:
            values = {name: getattr(entry, name) for name in RefEntry.__struct_fields__}
            forged = RefEntry(**{**values, "reason": "nicer", "prev_hash": before, "hash": ""})
            before = entry_hash(forged)
            mine = sa.and_(ref_log.c.project == "default", ref_log.c.seq == entry.seq)
            connection.execute(
                sa.update(ref_log).where(mine).values(reason="nicer", prev_hash=forged.prev_hash, hash=before)
            )
        connection.execute(sa.update(ref_log_heads).where(ref_log_heads.c.project == "default").values(hash=before))
    assert site.gated.tetrads.registry.verify_log("default").sound
    assert not site.gated.evidence.check_head("default", head).sound


def test_an_audit_log_that_was_cut_is_found_by_an_exported_head(site: Site) -> None:
    head = site.gated.evidence.export_audit_head("default")
    first = row_of(site, audit_log, 1)
    with site.database.write() as connection:
        connection.execute(sa.delete(audit_log).where(audit_log.c.project == "default", audit_log.c.seq > 1))
        connection.execute(
            sa.update(audit_heads).where(audit_heads.c.project == "default").values(seq=1, hash=first["hash"])
        )
    assert site.identity.audit.check("default").intact
    found = site.gated.evidence.check_audit_head("default", head)
    assert not found.sound
    assert "ends at 1" in found.problem


def test_a_head_of_an_earlier_time_still_proves_what_was_before_it(site: Site) -> None:
    evidence = site.gated.evidence
    head, whole = evidence.export_audit_head("default"), evidence.export_audit_head(None)
    evidence.rotate(CAT)
    site.identity.audit.record(CAT, "thing.done", "later", "default")
    assert evidence.check_audit_head("default", head).sound
    assert evidence.check_audit_head(None, whole).sound
    for project, wrong in (("other", head), (None, head), ("default", evidence.export_head("default"))):
        with pytest.raises(BadEvidence, match="no head"):
            evidence.check_audit_head(project, wrong)
    forged = {**head, "signatures": [{"keyid": "", "sig": "A" * 86 + "=="}]}
    with pytest.raises(SignatureRefused):
        evidence.check_audit_head("default", forged)


def _fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}
