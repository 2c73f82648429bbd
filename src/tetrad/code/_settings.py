"""Limits on snapshots of code."""

from __future__ import annotations

from tetrad.code._service import CodeLimits
from tetrad.kit.settings import Setting, Settings, SettingsTable

MAX_FILES = Setting("code_max_files", int, 20_000, "files in one snapshot of code", minimum=1)
MAX_FILE_BYTES = Setting("code_max_file_bytes", int, 32 << 20, "bytes of one file of code", minimum=1)
MAX_BYTES = Setting("code_max_bytes", int, 256 << 20, "bytes of all files of a snapshot", minimum=1)
MAX_UPLOAD_BYTES = Setting(
    "code_max_upload_bytes", int, 11 << 20, "bytes of the files that one request may send as code", minimum=1024
)

SETTINGS = SettingsTable("Code", (MAX_FILES, MAX_FILE_BYTES, MAX_BYTES, MAX_UPLOAD_BYTES))


def limits_from(settings: Settings) -> CodeLimits:
    """Read the limits on code."""
    return CodeLimits(*(settings.get(setting) for setting in SETTINGS.settings))
