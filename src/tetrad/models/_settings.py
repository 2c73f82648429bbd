"""Limits on models."""

from __future__ import annotations

import re

from tetrad.kit.settings import Setting, Settings, SettingsTable
from tetrad.models._service import ModelLimits

MAX_FILE_BYTES = Setting(
    "model_max_file_bytes", int, 256 << 30, "bytes of one file of weights that is sent to control", minimum=1024
)
MAX_FILES = Setting("model_max_files", int, 500, "files of one model", minimum=1, maximum=10_000)
MAX_ARCHIVE_BYTES = Setting(
    "model_max_archive_bytes",
    int,
    256 << 30,
    "bytes that an archive of a model holds when it is unpacked",
    minimum=1024,
)
MAX_ARCHIVE_RATIO = Setting(
    "model_max_archive_ratio", int, 200, "how many times larger an archive may become when it is unpacked", minimum=2
)
SETTINGS = SettingsTable("Models", (MAX_FILE_BYTES, MAX_FILES, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO))
MODEL_FILES = re.compile(r"/api/v1/projects/[^/]+/model-files")
"""The path of the API that takes a file of a model."""


def limits_from(settings: Settings) -> ModelLimits:
    """Read the limits on models."""
    return ModelLimits(settings.get(MAX_FILES))
