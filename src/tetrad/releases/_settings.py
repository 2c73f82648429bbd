"""Limits on releases."""

from __future__ import annotations

from tetrad.kit.settings import Setting, Settings, SettingsTable
from tetrad.releases._compose import ReleaseLimits
from tetrad.releases._rebuild import StalenessLimits
from tetrad.releases._reproductions import ReproductionLimits

MAX_DATA_BYTES = Setting(
    "release_max_data_bytes", int, 256 << 20, "bytes of a dataset's file that a release composes from", minimum=1024
)
MAX_UPLOAD_BYTES = Setting(
    "release_max_upload_bytes",
    int,
    11 << 20,
    "bytes of the files that one request may send for a release",
    minimum=1024,
)
MAX_UPLOAD_FILES = Setting("release_max_upload_files", int, 5_000, "files that one request may send", minimum=1)
STALENESS_MAX_ARTIFACTS = Setting(
    "staleness_max_artifacts", int, 50_000, "artifacts that one look at what is out of date may walk over", minimum=10
)
STALENESS_RUN_S = Setting(
    "staleness_run_s",
    float,
    30.0,
    "seconds after which one request to rebuild begins no further step; the caller asks again for the rest",
    minimum=0,
    maximum=600,
)

REPRODUCE_MAX_REQUESTS = Setting(
    "reproduce_max_requests", int, 200, "requests that one recording may hold", minimum=1, maximum=10_000
)
REPRODUCE_MAX_REQUEST_BYTES = Setting(
    "reproduce_max_request_bytes", int, 1 << 20, "bytes of all requests of one recording", minimum=1024,
    maximum=8 << 20,
)  # fmt: skip
REPRODUCE_MAX_OPEN = Setting(
    "reproduce_max_open", int, 20, "reproductions of a project that may wait or run at once", minimum=1
)

SETTINGS = SettingsTable(
    "Releases",
    (
        MAX_DATA_BYTES,
        MAX_UPLOAD_BYTES,
        MAX_UPLOAD_FILES,
        STALENESS_MAX_ARTIFACTS,
        STALENESS_RUN_S,
        REPRODUCE_MAX_REQUESTS,
        REPRODUCE_MAX_REQUEST_BYTES,
        REPRODUCE_MAX_OPEN,
    ),
)


def limits_from(settings: Settings) -> ReleaseLimits:
    """Read the limits on releases."""
    return ReleaseLimits(settings.get(MAX_DATA_BYTES), settings.get(MAX_UPLOAD_BYTES), settings.get(MAX_UPLOAD_FILES))


def staleness_limits_from(settings: Settings) -> StalenessLimits:
    """Read the limits on looking for what is out of date, and on mending it."""
    return StalenessLimits(settings.get(STALENESS_MAX_ARTIFACTS), settings.get(STALENESS_RUN_S))


def reproduction_limits_from(settings: Settings) -> ReproductionLimits:
    """Read the limits on reproductions."""
    return ReproductionLimits(
        settings.get(REPRODUCE_MAX_REQUESTS),
        settings.get(REPRODUCE_MAX_REQUEST_BYTES),
        settings.get(REPRODUCE_MAX_OPEN),
    )
