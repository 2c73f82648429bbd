"""Bring the column store to the schema of this code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tetrad.kit.telemetry_db._database import TelemetryDb
from tetrad.kit.telemetry_db._errors import TelemetryTooNew

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_steps (
    version UInt32, name String, applied DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = ReplacingMergeTree ORDER BY version
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the schema. The engine has no transactions: each statement must bear being run twice."""

    version: int
    name: str
    statements: tuple[str, ...]


def migrate_telemetry(db: TelemetryDb, steps: Sequence[Step]) -> list[int]:
    """Apply the steps that are missing, in order, and return their versions.

    Raises `TelemetryTooNew` where the store has a step that this code does not know; nothing is changed then.
    """
    db.command(_LEDGER)
    applied = {row[0]: row[1] for row in db.select("SELECT version, name FROM schema_steps FINAL")}
    known = max(step.version for step in steps)
    if applied and max(applied) > known:
        raise TelemetryTooNew(
            f"the telemetry store has schema {max(applied)}, this version knows {known}",
            hint="install the version of Tetrad that wrote it, or a newer one",
        )
    missing = [step for step in steps if step.version not in applied]
    for step in missing:
        for statement in step.statements:
            db.command(statement)
        db.command(
            "INSERT INTO schema_steps (version, name) SELECT {version:UInt32}, {name:String}",
            {"version": step.version, "name": step.name},
        )
    return [step.version for step in missing]
