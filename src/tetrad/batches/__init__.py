"""Files that clients upload, and batches of calls that are made when there is time."""

from tetrad.batches._model import (
    ENDPOINTS,
    MESSAGES,
    Batch,
    BatchError,
    BatchFile,
    BatchLimits,
    BatchSearch,
    BudgetPart,
    Carriage,
    Line,
    LineAnswer,
    StoredFile,
    Work,
    WorkLine,
)
from tetrad.batches._records import BatchRecords
from tetrad.batches._service import Batches
from tetrad.batches._settings import SETTINGS, body_limits, limits_from
from tetrad.batches.errors import (
    BadBatch,
    BadFile,
    BatchKeyGone,
    BatchNotFound,
    BatchOver,
    FileNotThere,
    FileTooLarge,
    TooManyBatches,
    TooManyFiles,
)

__all__ = [
    "ENDPOINTS",
    "MESSAGES",
    "SETTINGS",
    "BadBatch",
    "BadFile",
    "Batch",
    "BatchError",
    "BatchFile",
    "BatchKeyGone",
    "BatchLimits",
    "BatchNotFound",
    "BatchOver",
    "BatchRecords",
    "BatchSearch",
    "Batches",
    "BudgetPart",
    "Carriage",
    "FileNotThere",
    "FileTooLarge",
    "Line",
    "LineAnswer",
    "StoredFile",
    "TooManyBatches",
    "TooManyFiles",
    "Work",
    "WorkLine",
    "body_limits",
    "limits_from",
]
