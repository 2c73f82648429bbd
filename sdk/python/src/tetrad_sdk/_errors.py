"""What can go wrong, and what to do about it."""

from __future__ import annotations


class TetradSdkError(Exception):
    """Say what happened; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class NotConfigured(TetradSdkError):
    """There is no address or no key."""


class BadFolder(TetradSdkError):
    """A folder of code cannot be named by a digest."""


class Unreachable(TetradSdkError):
    """Nobody answers at the control plane's address."""


class ApiError(TetradSdkError):
    """The control plane refused. `code` is stable and machine-readable, `status` the HTTP status."""

    def __init__(self, message: str, *, hint: str = "", code: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status
