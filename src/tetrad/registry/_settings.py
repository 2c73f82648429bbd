"""Limits of the registry."""

from __future__ import annotations

from datetime import timedelta

from tetrad.kit.settings import Setting, Settings, SettingsTable
from tetrad.registry._collect import CollectLimits
from tetrad.registry._keys import EvidenceLimits
from tetrad.registry._lineage import RegistryLimits
from tetrad.registry._run_log import RunLimits

MAX_DOCUMENT_BYTES = Setting(
    "artifact_max_document_bytes",
    int,
    16 << 20,
    "bytes of a JSON artifact such as a manifest or a prompt",
    minimum=1024,
)
MAX_PARTS = Setting("artifact_max_parts", int, 50_000, "other artifacts that one artifact may refer to", minimum=1)
MAX_LINEAGE = Setting("lineage_max_activities", int, 2_000, "activities that one lineage query walks", minimum=1)
MAX_EVIDENCE_BYTES = Setting("evidence_max_bytes", int, 256 << 10, "bytes of one signed statement", minimum=1024)
MAX_SIGNING_KEYS = Setting("signing_keys_max_per_project", int, 200, "keys of others that a project trusts", minimum=1)
MAX_RUN_POINTS = Setting("run_max_points", int, 1_000_000, "points of metrics that one run keeps", minimum=1)
MAX_RUN_METRICS = Setting("run_max_metrics", int, 1_000, "metrics that one run has", minimum=1)
RUN_HEARTBEAT_S = Setting(
    "run_heartbeat_s", int, 600, "seconds without a sign after which a run counts as lost", minimum=1
)

_RUNS = (MAX_RUN_POINTS, MAX_RUN_METRICS, RUN_HEARTBEAT_S)
GRACE_HOURS = Setting(
    "gc_grace_hours", int, 24, "hours for which `tetrad gc` leaves what was made or kept lately", minimum=2
)
KEPT_MOVES = Setting(
    "gc_kept_moves", int, 50, "newest moves of each ref whose releases stay, so that it can be rolled back", minimum=1
)

SETTINGS = SettingsTable(
    "Registry",
    (
        MAX_DOCUMENT_BYTES,
        MAX_PARTS,
        MAX_LINEAGE,
        MAX_EVIDENCE_BYTES,
        MAX_SIGNING_KEYS,
        GRACE_HOURS,
        KEPT_MOVES,
        *_RUNS,
    ),
)


def limits_from(settings: Settings) -> RegistryLimits:
    """Read the registry's limits."""
    return RegistryLimits(settings.get(MAX_DOCUMENT_BYTES), settings.get(MAX_PARTS), settings.get(MAX_LINEAGE))


def evidence_limits_from(settings: Settings) -> EvidenceLimits:
    """Read the limits on evidence."""
    return EvidenceLimits(settings.get(MAX_EVIDENCE_BYTES), settings.get(MAX_SIGNING_KEYS))


def run_limits_from(settings: Settings) -> RunLimits:
    """Read the limits on runs."""
    return RunLimits(*(settings.get(setting) for setting in _RUNS))


def collect_limits_from(settings: Settings) -> CollectLimits:
    """Read what collections leave."""
    return CollectLimits(timedelta(hours=settings.get(GRACE_HOURS)), settings.get(KEPT_MOVES))
