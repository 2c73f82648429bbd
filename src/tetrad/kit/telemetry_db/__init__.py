"""The column store: embedded chDB or a ClickHouse server, one SQL for both."""

from tetrad.kit.telemetry_db._database import TelemetryDb, TelemetryLimits, open_telemetry
from tetrad.kit.telemetry_db._errors import (
    QueryTooExpensive,
    TelemetryFailed,
    TelemetryTooNew,
    TelemetryUnavailable,
)
from tetrad.kit.telemetry_db._migrate import Step, migrate_telemetry

__all__ = [
    "QueryTooExpensive",
    "Step",
    "TelemetryDb",
    "TelemetryFailed",
    "TelemetryLimits",
    "TelemetryTooNew",
    "TelemetryUnavailable",
    "migrate_telemetry",
    "open_telemetry",
]
