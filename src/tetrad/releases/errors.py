"""What releases refuse."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tetrad.kernel import Conflict, InvalidInput, NotFound, TooLarge


class DeclarationError(msgspec.Struct, frozen=True):
    """What is wrong in a declaration, and where; lines and columns count from 1."""

    line: int
    column: int
    reason: str


class BadDeclaration(InvalidInput):
    """`tetrad.yaml` cannot be read as the declaration of an app."""

    code = "bad_declaration"
    status = 422

    def __init__(self, errors: Sequence[DeclarationError], *, where: str = "tetrad.yaml", hint: str = "") -> None:
        lines = [f"{where}:{error.line}:{error.column}: {error.reason}" for error in errors]
        super().__init__("\n".join(lines), hint=hint or "correct the file; nothing was composed")
        self.errors = tuple(errors)


class BadPart(InvalidInput):
    """A part of the release cannot be used in its role."""

    code = "bad_part"
    status = 422


class AppNotFound(NotFound):
    """No such app in the project."""

    code = "app_not_found"


class ReleaseNotFound(NotFound):
    """No such release in the project."""

    code = "release_not_found"


class WrongApp(Conflict):
    """The release is another app's."""

    code = "wrong_app"


class UploadTooLarge(TooLarge):
    """The files sent for a release pass a limit."""

    code = "upload_too_large"


class BadLock(InvalidInput):
    """`tetrad.lock` cannot be read."""

    code = "bad_lock"
    status = 422


class LockDrift(Conflict):
    """What is there is not what `tetrad.lock` says; `parts` says where, one line for each part."""

    code = "lock_drift"

    def __init__(self, parts: Sequence[str]) -> None:
        super().__init__(
            "\n".join(["the lock does not hold; nothing was composed", *(f"  {part}" for part in parts)]),
            hint="undo the change, or compose without --locked to write the lock anew",
        )
        self.parts = tuple(parts)


class NeverHad(Conflict):
    """The ref never pointed to the release that it is to be rolled back to."""

    code = "never_had"


class NothingToRollBack(Conflict):
    """The ref has no earlier release, or points there already."""

    code = "nothing_to_roll_back"


class Unservable(Conflict):
    """No engine serves the release as it is pinned."""

    code = "unservable"


class StalenessTooLarge(TooLarge):
    """More artifacts would have to be looked at than the limit allows: what is not looked at cannot be called fresh."""

    code = "staleness_too_large"


class NotRebuilt(Conflict):
    """An artifact cannot be made again as it was made."""

    code = "not_rebuilt"


class ReproductionNotFound(NotFound):
    """No such reproduction of the release."""

    code = "reproduction_not_found"


class RecordingNotFound(NotFound):
    """No such recording of the release."""

    code = "recording_not_found"


class NothingToRecord(InvalidInput):
    """The requests cannot be recorded, or the release cannot be executed here."""

    code = "nothing_to_record"
    status = 422


class TooManyReproductions(Conflict):
    """Too many reproductions of the project have not ended."""

    code = "too_many_reproductions"
    status = 429
