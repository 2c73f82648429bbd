"""What datasets refuse."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tetrad.kernel import InvalidInput, NotFound, TooLarge


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
