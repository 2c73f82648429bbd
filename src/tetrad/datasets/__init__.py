"""Datasets: rows as versions with digests, read at any version, told apart row by row."""

from tetrad.datasets._model import (
    ROLES,
    DatasetDiff,
    DatasetVersion,
    FieldChange,
    Role,
    Row,
    RowChange,
    Shape,
    content_keys,
    dataset_digest,
    diff_values,
    order_digest,
    place,
)
from tetrad.datasets._service import CheckedRows, DatasetLimits, Datasets
from tetrad.datasets._settings import SETTINGS, limits_from
from tetrad.datasets.errors import BadKey, BadRows, DatasetNotFound, DatasetTooLarge, RowError

__all__ = [
    "ROLES",
    "SETTINGS",
    "BadKey",
    "BadRows",
    "CheckedRows",
    "DatasetDiff",
    "DatasetLimits",
    "DatasetNotFound",
    "DatasetTooLarge",
    "DatasetVersion",
    "Datasets",
    "FieldChange",
    "Role",
    "Row",
    "RowChange",
    "RowError",
    "Shape",
    "content_keys",
    "dataset_digest",
    "diff_values",
    "limits_from",
    "order_digest",
    "place",
]
