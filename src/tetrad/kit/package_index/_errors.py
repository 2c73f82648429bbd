"""What can go wrong between an index and a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tetrad.kernel import TetradError
else:
    try:
        from tetrad.kernel import TetradError
    except ImportError:  # before the installation there is no kernel; the same shape stands in

        class TetradError(Exception):
            """Say what happened and what to do next."""

            code, status = "internal", 500

            def __init__(self, message: str, *, hint: str = "") -> None:
                super().__init__(message)
                self.message, self.hint = message, hint


class PackageIndexError(TetradError):
    """A file could not be brought from the package index."""

    code = "package_index_error"
    status = 502


class IndexUnreachable(PackageIndexError):
    """The index does not answer, or answers nonsense."""

    code = "package_index_unreachable"


class PackageNotFound(PackageIndexError):
    """No index has a wheel that fits."""

    code = "package_not_found"
    status = 404


class HashMismatch(PackageIndexError):
    """What arrived is not what was promised."""

    code = "hash_mismatch"


class BadArchive(PackageIndexError):
    """The wheel is damaged, or lacks the file."""

    code = "bad_archive"


class NoSpace(PackageIndexError):
    """The disk is full or may not be written."""

    code = "no_space"
    status = 507
