"""What can be wrong with a folder of code."""

from __future__ import annotations

from tetrad.kernel import InvalidInput, TooLarge


class BadCode(InvalidInput):
    """The folder holds something that a snapshot cannot pin."""

    code = "bad_code"
    status = 422


class BadPath(InvalidInput):
    """A path would leave its folder, or is not portable."""

    code = "bad_path"
    status = 422


class CodeTooLarge(TooLarge):
    """Too many files, or too many bytes."""

    code = "code_too_large"


class GitFailed(InvalidInput):
    """The folder is in a Git repository that Git cannot read."""

    code = "git_failed"
    status = 422
