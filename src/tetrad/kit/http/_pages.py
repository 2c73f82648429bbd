"""Lists in pages: `?limit=&cursor=` in, `{items, next_cursor}` out."""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from tetrad.kernel import InvalidInput

T = TypeVar("T")
MAX_LIMIT = 200
MAX_CURSOR_CHARS = 1024
_Scalar = str | int | float | bool | None


class Page(BaseModel, Generic[T]):
    """One page of a list; ask again with `cursor=next_cursor` until that is null."""

    items: list[T]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Where to go on in a list, and how far."""

    limit: int = 50
    cursor: str | None = None


Search = Annotated[str, Query(max_length=100, description="Only those that hold this in a name")]
"""Annotate the argument `q` of a list's handler with this."""


def _page_query(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=MAX_CURSOR_CHARS, description="`next_cursor` of the page before")
    ] = None,
) -> PageQuery:
    return PageQuery(limit, cursor or None)


PageParams = Annotated[PageQuery, Depends(_page_query)]
"""Annotate a handler's argument with this to receive `limit` and `cursor`."""


def encode_cursor(listing: str, position: Sequence[_Scalar]) -> str:
    """Write a position as opaque text. `listing` names the list with its sort and filters: elsewhere it is refused.

    A cursor grants nothing: it says where to go on, and each page checks who asks. Its checksum catches damage.
    """
    body = json.dumps([zlib.crc32(listing.encode()), *position], separators=(",", ":"), allow_nan=False).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).rstrip(b"=").decode()


def bad_cursor() -> InvalidInput:
    """Return the refusal of a cursor that a list did not hand out."""
    return InvalidInput(
        "the cursor does not belong to this list", hint="start again without `cursor`", code="bad_cursor"
    )


def decode_cursor(listing: str, cursor: str, types: Sequence[type | tuple[type, ...]]) -> tuple[_Scalar, ...]:
    """Read a position back, or raise `InvalidInput` for what this list did not hand out.

    Every database can store what is returned: integers of 64 bits, finite numbers, text without NUL and surrogates.
    """
    refusal = bad_cursor()
    if len(cursor) > MAX_CURSOR_CHARS:
        raise refusal
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if zlib.crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
            raise refusal
        values = json.loads(raw[4:])
    except (binascii.Error, ValueError, RecursionError):
        raise refusal from None
    if not isinstance(values, list) or len(values) != len(types) + 1 or values[0] != zlib.crc32(listing.encode()):
        raise refusal
    for value, kind in zip(values[1:], types, strict=True):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if type(value) not in kinds or not _storable(value):
            raise refusal
    return tuple(values[1:])


def cursor_time(value: _Scalar) -> datetime:
    """Read a time that stood in a cursor in ISO 8601, as UTC; raise `InvalidInput` for what is none, or has no zone."""
    try:
        at = datetime.fromisoformat(str(value))
        if at.tzinfo is None:
            raise bad_cursor()
        return at.astimezone(UTC)
    except (ValueError, OverflowError):  # somebody made it up; the second: a zone takes it past the year 1 or 9999
        raise bad_cursor() from None


def _storable(value: _Scalar) -> bool:
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or -(2**63) <= value < 2**63


def cut_page(listing: str, page: PageQuery, found: Sequence[T], position: Callable[[T], _Scalar]) -> Page[T]:
    """Cut what was found, one item more than the page holds, to the page; `position` is where the next one goes on."""
    items = list(found[: page.limit])
    more = len(found) > page.limit
    return Page(items=items, next_cursor=encode_cursor(listing, [position(items[-1])]) if more else None)


def page_of_all(
    listing: str,
    page: PageQuery,
    found: Iterable[T],
    *,
    q: str,
    texts: Callable[[T], Iterable[str]],
    sort: str,
    sorts: Mapping[str, Callable[[T], str | int]],
    name: Callable[[T], str],
) -> Page[T]:
    """Return a page of what is found in a list that is at hand as a whole, in an order of `sorts`, then by name.

    Found is what has `q` in one of its `texts`, in capitals or not. `sort` is what was asked for, `field` or `-field`;
    `listing` names the list and what it is of. Going on neither repeats nor skips what was there at the first page,
    whatever comes and goes between.
    """
    field, descending = parse_sort(sort, sorts, sort)
    listing, value = f"{listing} {q!r} {field} {descending}", sorts[field]
    items = [item for item in found if _holds(q.casefold(), texts(item))]

    def place(item: T) -> tuple[str | int, str]:
        return value(item), name(item)

    if page.cursor:
        first, last_name = decode_cursor(listing, page.cursor, [(str, int), str])
        kinds = {type(value(item)) for item in items}
        if kinds and type(first) not in kinds:
            raise bad_cursor()
        last = (first, str(last_name))
        items = [item for item in items if (place(item) < last if descending else place(item) > last)]
    items.sort(key=place, reverse=descending)
    cut = items[: page.limit]
    more = len(items) > page.limit
    return Page(items=cut, next_cursor=encode_cursor(listing, place(cut[-1])) if more else None)


def _holds(wanted: str, texts: Iterable[str]) -> bool:
    return any(wanted in text.casefold() for text in texts)


def parse_sort(text: str | None, allowed: Collection[str], default: str) -> tuple[str, bool]:
    """Read `field` or `-field` into (field, descending); refuse fields that the list cannot sort by."""
    chosen = text or default
    name = chosen.removeprefix("-")
    if name not in allowed:
        raise InvalidInput(f"this list cannot be sorted by {name[:60]!r}", hint=f"one of {', '.join(sorted(allowed))}")
    return name, chosen.startswith("-")
