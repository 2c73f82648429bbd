"""References to versions: a name, and which of its versions are meant, such as `support-triage@^2`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from tetrad.prompts.errors import PromptError

MAX_REFERENCE_CHARS: Final = 160
_REFERENCE = re.compile(r"([a-z0-9]+(?:[._-][a-z0-9]+)*)(?:@(\S{1,64}))?")
_NUMBER = r"(0|[1-9]\d{0,8})"
_RANGE = re.compile(rf"([\^~]?){_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER})?)?")
_EXACT = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-[0-9A-Za-z.-]+)?")

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Reference:
    """A name and a constraint on its versions; an empty constraint means the newest."""

    name: str
    constraint: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.constraint}" if self.constraint else self.name

    @property
    def is_exact(self) -> bool:
        """It names one version number."""
        return _EXACT.fullmatch(self.constraint) is not None

    def allows(self, semver: str) -> bool:
        """Tell whether a version number fits.

        `1.2.3` is that number alone; `^1.2` is 1.2.0 and whatever follows below 2.0.0 (`^0.2` below 0.3.0, as a 0 says
        that nothing is promised yet); `~1.2` is 1.2.x; `1` and `1.2` are 1.x and 1.2.x; `*` and nothing are any.
        Numbers of pre-releases fit only where they are written out.
        """
        if self.constraint == semver:
            return True
        if "-" in semver or self.is_exact:
            return False
        if self.constraint in ("", "*"):
            return True
        found = _RANGE.fullmatch(self.constraint)
        if found is None:
            return False
        low, high = _bounds(found[1], [int(part) for part in found.groups()[1:] if part is not None])
        return low <= _numbers(semver) < high


def _bounds(mark: str, given: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    low = (*given, 0, 0)[:3]
    kept = min(len(given), 2) if mark == "~" else len(given)
    if mark == "^":
        kept = next((place + 1 for place, number in enumerate(given) if number), len(given))
    return low, (*given[: kept - 1], given[kept - 1] + 1, 0, 0)[:3]


def _numbers(semver: str) -> tuple[int, ...]:
    return tuple(int(part) for part in semver.split("."))


def parse_reference(text: str, *, what: str = "a prompt") -> Reference:
    """Read `name`, `name@1.2.3`, `name@^1.2`, `name@~1.2`, `name@1` or `name@*`; refuse anything else."""
    found = _REFERENCE.fullmatch(text) if len(text) <= MAX_REFERENCE_CHARS else None
    constraint = (found[2] or "") if found else ""
    if found is None or not (constraint in ("", "*") or _RANGE.fullmatch(constraint) or _EXACT.fullmatch(constraint)):
        raise PromptError(
            f"{text[:80]!r} is no reference to {what}", hint="write name, name@1.2.3, name@^1.2, name@~1.2 or name@1"
        )
    return Reference(found[1], constraint)


def first_allowed(reference: Reference, versions: Iterable[tuple[str, V]]) -> V | None:
    """Return what stands beside the highest number that fits, of (number, anything)."""
    best: tuple[tuple[int, ...], V] | None = None
    for semver, value in versions:
        if not reference.allows(semver):
            continue
        if reference.constraint == semver:
            return value
        numbers = _numbers(semver)
        if best is None or numbers > best[0]:
            best = numbers, value
    return best[1] if best else None
