"""Regular expressions that others write: only those that cannot take long."""

from __future__ import annotations

import re
from functools import lru_cache
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from tetrad.datasets.errors import BadStep

MAX_PATTERN_CHARS = 300
MAX_SEARCHED_CHARS = 20_000
MAX_OPEN_REPEATS = 2
_REPEATS = (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT)
_LOOKS = (kinds.ASSERT, kinds.ASSERT_NOT, kinds.GROUPREF, kinds.GROUPREF_EXISTS)
_SHORT_REPEAT = 64


@lru_cache(maxsize=256)
def safe_pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern, or refuse with `BadStep` what could search for ever.

    Refused are repeats within repeats, more than two repeats without a small bound, look-arounds and back-references;
    with those gone the time is a small power of the text's length, which is bounded too.
    """
    if len(text) > MAX_PATTERN_CHARS:
        raise BadStep(f"a pattern of {len(text)} characters", hint=f"at most {MAX_PATTERN_CHARS}")
    try:
        parsed = parser.parse(text)
        open_repeats = _open_repeats(parsed, inside=False, text=text)
        compiled = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadStep(f"{text!r} is no pattern: {error}") from None
    if open_repeats > MAX_OPEN_REPEATS:
        raise BadStep(f"{text!r} repeats {open_repeats} parts without a bound", hint=f"at most {MAX_OPEN_REPEATS}")
    return compiled


def _open_repeats(tree: Any, *, inside: bool, text: str) -> int:
    count = 0
    for kind, argument in tree:
        if kind in _LOOKS:
            raise BadStep(f"{text!r} looks around or refers back", hint="such patterns can take very long")
        if kind in _REPEATS:
            _, most, inner = argument
            if most > 1 and inside:
                raise BadStep(f"{text!r} repeats within a repeat", hint="such patterns can take very long")
            count += most > _SHORT_REPEAT
            count += _open_repeats(inner, inside=inside or most > 1, text=text)
        elif kind is kinds.SUBPATTERN:
            count += _open_repeats(argument[3], inside=inside, text=text)
        elif kind is kinds.ATOMIC_GROUP:
            count += _open_repeats(argument, inside=inside, text=text)
        elif kind is kinds.BRANCH:
            count += sum(_open_repeats(branch, inside=inside, text=text) for branch in argument[1])
    return count


def found(pattern: re.Pattern[str], text: str) -> bool:
    """Tell whether a pattern occurs in the first `MAX_SEARCHED_CHARS` characters of a text."""
    return pattern.search(text, 0, MAX_SEARCHED_CHARS) is not None
