"""Limits on snapshots of code."""

from __future__ import annotations

from tetrad.code._service import CodeLimits
from tetrad.kit.settings import Setting, Settings, SettingsTable

MAX_FILES = Setting("code_max_files", int, 20_000, "files in one snapshot of code", minimum=1)
MAX_FILE_BYTES = Setting("code_max_file_bytes", int, 32 << 20, "bytes of one file of code", minimum=1)
MAX_BYTES = Setting("code_max_bytes", int, 256 << 20, "bytes of all files of a snapshot", minimum=1)

SETTINGS = SettingsTable("Code", (MAX_FILES, MAX_FILE_BYTES, MAX_BYTES))


def limits_from(settings: Settings) -> CodeLimits:
    """Read the limits on code."""
    return CodeLimits(settings.get(MAX_FILES), settings.get(MAX_FILE_BYTES), settings.get(MAX_BYTES))
