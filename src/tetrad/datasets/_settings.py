"""Limits on datasets."""

from __future__ import annotations

import re

from tetrad.datasets._checked import DatasetLimits
from tetrad.kit.settings import Setting, Settings, SettingsTable

MAX_ROWS = Setting("dataset_max_rows", int, 1_000_000, "rows of one version of a dataset", minimum=1)
MAX_ROW_BYTES = Setting("dataset_max_row_bytes", int, 1 << 20, "bytes of one row", minimum=16)
MAX_BYTES = Setting("dataset_max_bytes", int, 1 << 30, "bytes of all rows of one version", minimum=1024)
MAX_ERRORS = Setting("dataset_max_errors", int, 100, "errors that an import reports before it gives up", minimum=1)
MAX_PUSH_ROWS = Setting("dataset_max_push_rows", int, 10_000, "rows that are pushed at once", minimum=1)
MAX_UPLOAD_BYTES = Setting(
    "dataset_max_upload_bytes", int, 2 << 30, "bytes of a file that is imported through the API", minimum=1024
)
DATASET_FILES = re.compile(r"/api/v1/projects/[^/]+/datasets/[^/]+/(?:versions|rebuild)")
"""Paths of the API that take a file of rows."""

_LIMITS = (MAX_ROWS, MAX_ROW_BYTES, MAX_BYTES, MAX_ERRORS, MAX_PUSH_ROWS)
SETTINGS = SettingsTable("Datasets", (*_LIMITS, MAX_UPLOAD_BYTES))


def limits_from(settings: Settings) -> DatasetLimits:
    """Read the limits on datasets."""
    return DatasetLimits(*(settings.get(setting) for setting in _LIMITS))
