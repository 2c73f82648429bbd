"""Limits on releases."""

from __future__ import annotations

from tetrad.kit.settings import Setting, Settings, SettingsTable
from tetrad.releases._service import ReleaseLimits

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

SETTINGS = SettingsTable("Releases", (MAX_DATA_BYTES, MAX_UPLOAD_BYTES, MAX_UPLOAD_FILES))


def limits_from(settings: Settings) -> ReleaseLimits:
    """Read the limits on releases."""
    return ReleaseLimits(*(settings.get(setting) for setting in SETTINGS.settings))
