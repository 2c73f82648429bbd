"""What datasets refuse."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tetrad.kernel import Conflict, InvalidInput, NotFound, TooLarge


class RowError(msgspec.Struct, frozen=True):
    """What is wrong with one line of an import; `field` is a JSON pointer, empty for the whole row."""

    line: int
    field: str
    reason: str


class BadRows(InvalidInput):
    """Rows cannot be imported; nothing of them was."""

    code = "bad_rows"
    status = 422

    def __init__(self, errors: Sequence[RowError], *, more: bool = False, where: str = "the import") -> None:
        first = errors[0]
        field = f", field {first.field}" if first.field else ""
        rest = len(errors) - 1
        others = f", and {'at least ' if more else ''}{rest} more" if rest or more else ""
        super().__init__(
            f"{where}: line {first.line}{field}: {first.reason}{others}",
            hint="nothing was imported; correct the lines and import again",
        )
        self.errors = tuple(errors)
        self.more = more
        self.details = tuple(
            ((f"line {error.line}", error.field) if error.field else (f"line {error.line}",), error.reason)
            for error in errors
        )


class BadKey(InvalidInput):
    """The field that names rows is not usable."""

    code = "bad_key"
    status = 422


class DatasetNotFound(NotFound):
    """No such dataset or version in the project."""

    code = "dataset_not_found"


class DatasetTooLarge(TooLarge):
    """Past a limit on rows or bytes."""

    code = "dataset_too_large"


class BadFormat(InvalidInput):
    """The file's format, or how it is said to be written, is not one that is read."""

    code = "bad_format"
    status = 422


class BadSchema(InvalidInput):
    """The declared schema is not one that rows can be checked against."""

    code = "bad_schema"
    status = 422


class BadStep(InvalidInput):
    """A filter, split, map or dedupe says nothing that can be done."""

    code = "bad_step"
    status = 422


class BadSource(InvalidInput):
    """A pointer to data elsewhere, or a folder of data, is not what it should be."""

    code = "bad_source"
    status = 422


class PushConflict(Conflict):
    """The idempotency key was used for other rows."""

    code = "push_conflict"


class ImportExpired(Conflict):
    """The import took so long without a sign of life that it was given up."""

    code = "import_expired"


class BaseMoved(Conflict):
    """Another version of the dataset came in between."""

    code = "dataset_moved"


class NotRebuildable(Conflict):
    """What the version was made from is not there to make it again."""

    code = "not_rebuildable"


class RowUnreadable(Conflict):
    """The stored bytes of a row cannot be unpacked."""

    code = "row_unreadable"
