"""Limits on datasets."""

from __future__ import annotations

from tetrad.datasets._service import DatasetLimits
from tetrad.kit.settings import Setting, Settings, SettingsTable

MAX_ROWS = Setting("dataset_max_rows", int, 1_000_000, "rows of one version of a dataset", minimum=1)
MAX_ROW_BYTES = Setting("dataset_max_row_bytes", int, 1 << 20, "bytes of one row", minimum=16)
MAX_BYTES = Setting("dataset_max_bytes", int, 1 << 30, "bytes of all rows of one version", minimum=1024)
MAX_ERRORS = Setting("dataset_max_errors", int, 100, "errors that an import reports before it gives up", minimum=1)

SETTINGS = SettingsTable("Datasets", (MAX_ROWS, MAX_ROW_BYTES, MAX_BYTES, MAX_ERRORS))


def limits_from(settings: Settings) -> DatasetLimits:
    """Read the limits on datasets."""
    return DatasetLimits(*(settings.get(setting) for setting in SETTINGS.settings))
