"""The error tree that every slice extends."""

from __future__ import annotations


class TetradError(Exception):
    """Say what happened, to what, and what to do next.

    `code` is stable and machine-readable (`snake_case`), `status` is the HTTP status an API answers with,
    `hint` tells the next step; a class may have one for all its errors, `next_step`. The CLI prints message and hint;
    the API renders problem+JSON (RFC 9457). `details` are several things that are wrong, each with its place.
    """

    code: str = "internal"
    status: int = 500
    next_step: str = ""
    details: tuple[tuple[tuple[str, ...], str], ...] = ()

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.next_step
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by keyword, so that a job's error crosses processes whole."""
        return (_rebuild, (type(self), self.message, self.hint, self.code, self.status, self.retry_after_s))


def _rebuild(
    kind: type[TetradError], message: str, hint: str, code: str, status: int, retry_after_s: float | None
) -> TetradError:
    error = kind.__new__(kind)
    TetradError.__init__(error, message, hint=hint, code=code, status=status, retry_after_s=retry_after_s)
    return error


class InvalidInput(TetradError):
    """The caller sent something that cannot be right, whatever the state of the system."""

    code = "invalid_input"
    status = 400


class Unauthenticated(TetradError):
    """No credential, or one that nobody issued."""

    code = "unauthenticated"
    status = 401


class Forbidden(TetradError):
    """The credential is good, but not for this."""

    code = "forbidden"
    status = 403


class NotFound(TetradError):
    """Nothing by that name is visible to the caller."""

    code = "not_found"
    status = 404


class Conflict(TetradError):
    """The state moved on, or an expected rule forbids the change."""

    code = "conflict"
    status = 409


def precondition_required(what: str, *, new: str = "") -> Conflict:
    """Ask (428) for what the caller saw of `what`; `new` names what may be made."""
    return Conflict(
        f"say where {what} points now", code="precondition_required", status=428,
        hint='send If-Match: "<digest>"' + (f", or If-None-Match: * for a new {new}" if new else ""),
    )  # fmt: skip


class TooLarge(TetradError):
    """Past a limit on size."""

    code = "too_large"
    status = 413


class Overloaded(TetradError):
    """Past a limit on rate or concurrency; the caller may try again."""

    code = "overloaded"
    status = 429


class Unavailable(TetradError):
    """Something that we need does not answer; the caller may try again."""

    code = "unavailable"
    status = 503


class MissingExtra(TetradError):
    """An optional dependency is not installed."""

    code = "missing_extra"
    status = 501

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra `{extra}`", hint=f"pip install 'tetrad[{extra}]'")
