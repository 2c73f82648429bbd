"""What the column store refuses, in our words."""

from __future__ import annotations

from tetrad.kernel import Conflict, InvalidInput, TetradError, Unavailable

_TIMEOUT = frozenset({159, 160, 209})
_MEMORY = frozenset({241})
_TOO_MUCH = frozenset({158, 307, 396})
_DISK = frozenset({243, 1001, 28})
_LONGEST = 400


class TelemetryUnavailable(Unavailable):
    """The column store cannot be opened or reached."""

    code = "telemetry_unavailable"


class TelemetryFailed(TetradError):
    """The column store answered with an error that no caller can mend."""

    code = "telemetry_failed"
    status = 500


class TelemetryTooNew(Conflict):
    """The column store was written by a newer Tetrad."""

    code = "telemetry_too_new"


class QueryTooExpensive(InvalidInput):
    """A query needed more time or memory than one query may have."""

    code = "query_too_expensive"
    status = 422


def translated(error: Exception) -> TetradError:
    """Turn an error of the client library into one of ours."""
    code = getattr(error, "code", None)
    text = str(error).strip().replace("\n", " ")[:_LONGEST]
    if code in _TIMEOUT:
        return QueryTooExpensive(
            "the query took too long and was stopped",
            hint="narrow the time window or the filters, or raise TETRAD_TELEMETRY_QUERY_TIMEOUT_S",
        )
    if code in _MEMORY:
        return QueryTooExpensive(
            "the query needed more memory than one query may have and was stopped",
            hint="narrow the time window or the filters, or raise TETRAD_TELEMETRY_QUERY_MEMORY_MB",
        )
    if code in _TOO_MUCH:
        return QueryTooExpensive("the query touches too much data", hint="narrow the time window or the filters")
    if code in _DISK or "No space left" in text:
        return TelemetryUnavailable(
            "the telemetry store has no disk left", hint="free some disk or shorten the retention", retry_after_s=30
        )
    if code is None:
        return TelemetryUnavailable(
            f"the telemetry store does not answer: {text}", hint="check TETRAD_TELEMETRY_URL", retry_after_s=5
        )
    return TelemetryFailed(f"the telemetry store refused (code {code}): {text}", hint="`tetrad logs control` has more")
