"""What files and batches refuse."""

from __future__ import annotations

from tetrad.kernel import Conflict, Forbidden, InvalidInput, NotFound, Overloaded, TooLarge


class FileNotThere(NotFound):
    """The project has no file of that id: deleted, expired, never uploaded, or of another project."""

    code = "file_not_found"


class BadFile(InvalidInput):
    """What was uploaded is no file that can be kept."""

    code = "bad_file"


class FileTooLarge(TooLarge):
    """A file is past its limit."""

    code = "file_too_large"


class TooManyFiles(Overloaded):
    """The project keeps as much as it may."""

    code = "too_many_files"
    status = 403


class BatchNotFound(NotFound):
    """The project has no batch of that id."""

    code = "batch_not_found"


class BadBatch(InvalidInput):
    """A batch cannot be asked for like that."""

    code = "bad_batch"


class BatchOver(Conflict):
    """The batch is in a state in which this cannot be done."""

    code = "batch_state"


class TooManyBatches(Overloaded):
    """The project has as many batches under way as it may."""

    code = "too_many_batches"


class BatchKeyGone(Forbidden):
    """The key that made a batch was revoked, or has expired."""

    code = "batch_key_gone"
