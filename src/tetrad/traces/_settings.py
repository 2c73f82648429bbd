"""Settings of the traces and of the store under them."""

from __future__ import annotations

from tetrad.kit.home import TELEMETRY_URL, Home
from tetrad.kit.settings import Setting, Settings, SettingsTable
from tetrad.kit.telemetry_db import TelemetryLimits
from tetrad.traces._ingest import IngestLimits
from tetrad.traces._rows import RowLimits
from tetrad.traces._service import TraceLimits

_MIB = 1024 * 1024

KEEP_DAYS = Setting("traces_keep_days", int, 90, "Days for which traces are kept.", minimum=1, maximum=3650)
PAYLOAD_KB = Setting(
    "traces_payload_kb", int, 8192, "Recorded input or output past this many KB is cut.", minimum=1, maximum=20_480
)
ATTRIBUTES = Setting("traces_attributes", int, 256, "Attributes that one span may have.", minimum=8, maximum=4096)
CHUNK_MB = Setting("traces_chunk_mb", int, 64, "MB of spool that come in one request.", minimum=1, maximum=512)
QUEUE_MB = Setting("traces_queue_mb", int, 128, "MB of spans that may wait to be stored.", minimum=1, maximum=4096)
PAGE_SPANS = Setting("traces_page_spans", int, 1000, "Spans of a trace in one page.", minimum=10, maximum=10_000)
FOLLOWERS = Setting("traces_followers", int, 64, "Live views of traces at the same time.", minimum=1, maximum=4096)
QUERY_TIMEOUT_S = Setting("telemetry_query_timeout_s", float, 20.0, "Seconds that a query may take.", minimum=1)
QUERY_MEMORY_MB = Setting("telemetry_query_memory_mb", int, 512, "MB that a query may take.", minimum=32)
QUERY_THREADS = Setting("telemetry_query_threads", int, 2, "Threads of one query.", minimum=1, maximum=64)
READERS = Setting("telemetry_readers", int, 2, "Queries at the same time.", minimum=1, maximum=64)
ENGINE_MEMORY_MB = Setting(
    "telemetry_engine_memory_mb", int, 1024, "MB that the embedded engine may take in all.", minimum=256
)
ENGINE_CACHES_MB = Setting("telemetry_engine_caches_mb", int, 64, "MB of the embedded engine's caches.", minimum=8)

SETTINGS = SettingsTable(
    "Traces",
    (
        KEEP_DAYS,
        PAYLOAD_KB,
        ATTRIBUTES,
        CHUNK_MB,
        QUEUE_MB,
        PAGE_SPANS,
        FOLLOWERS,
        QUERY_TIMEOUT_S,
        QUERY_MEMORY_MB,
        QUERY_THREADS,
        READERS,
        ENGINE_MEMORY_MB,
        ENGINE_CACHES_MB,
    ),
)


def limits_from(settings: Settings) -> TraceLimits:
    """Read the bounds of the traces."""
    keep_days = settings.get(KEEP_DAYS)
    return TraceLimits(
        keep_days=keep_days,
        page_spans=settings.get(PAGE_SPANS),
        followers=settings.get(FOLLOWERS),
        rows=RowLimits(
            attributes=settings.get(ATTRIBUTES), payload_bytes=settings.get(PAYLOAD_KB) * 1024, keep_days=keep_days
        ),
        ingest=IngestLimits(chunk_bytes=settings.get(CHUNK_MB) * _MIB, queue_bytes=settings.get(QUEUE_MB) * _MIB),
    )


def telemetry_limits(settings: Settings) -> TelemetryLimits:
    """Read what queries and the embedded engine may take."""
    return TelemetryLimits(
        query_timeout_s=settings.get(QUERY_TIMEOUT_S),
        query_memory_mb=settings.get(QUERY_MEMORY_MB),
        query_threads=settings.get(QUERY_THREADS),
        readers=settings.get(READERS),
        engine_memory_mb=settings.get(ENGINE_MEMORY_MB),
        engine_caches_mb=settings.get(ENGINE_CACHES_MB),
    )


def telemetry_url(settings: Settings, home: Home) -> str:
    """Return the configured store, else the embedded one in the home folder."""
    return settings.get(TELEMETRY_URL) or home.telemetry.as_uri().replace("file:", "chdb:", 1)
