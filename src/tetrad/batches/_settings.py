"""Limits on files and batches."""

from __future__ import annotations

import re

from tetrad.batches._model import BatchLimits
from tetrad.kit.settings import Setting, Settings, SettingsTable

MIB = 2**20
UPLOADS = re.compile(r"/internal/v1/data/files")
INLINE = re.compile(r"/internal/v1/data/messages/batches")
_FORM_BYTES = MIB
"""What a form may have besides its file."""

FILE_BYTES = Setting(
    "file_max_bytes", int, 512 * MIB, "Largest file that is uploaded.", minimum=1024, maximum=16 * 2**30
)
PROJECT_BYTES = Setting("file_project_bytes", int, 20 * 2**30, "Bytes of files that a project keeps.", minimum=1024)
PROJECT_FILES = Setting("file_project_max", int, 10_000, "Files that a project keeps.", minimum=1)
FILE_KEEP_DAYS = Setting(
    "file_keep_days", int, 30, "Days that a batch's input and results are kept, unless asked otherwise.",
    minimum=1, maximum=3650,
)  # fmt: skip
BATCH_BYTES = Setting("batch_max_bytes", int, 200 * MIB, "Largest input file of a batch.", minimum=1024)
BATCH_LINES = Setting("batch_max_lines", int, 50_000, "Requests of one batch.", minimum=1, maximum=1_000_000)
LINE_BYTES = Setting(
    "batch_line_bytes", int, 16 * MIB, "Largest request and largest answer of a line.",
    minimum=1024, maximum=32 * MIB,
)  # fmt: skip
INLINE_BYTES = Setting(
    "batch_inline_bytes", int, 64 * MIB, "Largest batch whose requests come in its body (Anthropic's).",
    minimum=1024, maximum=1024 * MIB,
)  # fmt: skip
ANSWERS_BYTES = Setting("batch_answers_bytes", int, 2 * 2**30, "Bytes of answers of one batch.", minimum=1024)
OPEN_BATCHES = Setting("batch_open_max", int, 100, "Batches that a project has under way.", minimum=1)
BATCH_KEEP_DAYS = Setting(
    "batch_keep_days", int, 90, "Days that a batch is listed after its end.", minimum=1, maximum=3650
)

SETTINGS = SettingsTable(
    "Files and batches",
    (
        FILE_BYTES,
        PROJECT_BYTES,
        PROJECT_FILES,
        FILE_KEEP_DAYS,
        BATCH_BYTES,
        BATCH_LINES,
        LINE_BYTES,
        INLINE_BYTES,
        ANSWERS_BYTES,
        OPEN_BATCHES,
        BATCH_KEEP_DAYS,
    ),
)


def limits_from(settings: Settings) -> BatchLimits:
    """Read the limits on files and batches."""
    return BatchLimits(*(settings.get(setting) for setting in SETTINGS.settings))


def body_limits(settings: Settings) -> tuple[tuple[re.Pattern[str], int, str], ...]:
    """Return the paths whose bodies may be larger than others, with their limits and the settings that raise them."""
    return (
        (UPLOADS, settings.get(FILE_BYTES) + _FORM_BYTES, FILE_BYTES.name),
        (INLINE, settings.get(INLINE_BYTES), INLINE_BYTES.name),
    )
