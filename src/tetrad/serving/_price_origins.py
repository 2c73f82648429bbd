"""Whence the price in a provider's form comes: who put it there, from what, and since when it counts."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from tetrad.serving._model import Price
from tetrad.serving.errors import BadProvider

_SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class PriceOrigin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`source` names what a price was imported from, such as `litellm`; empty: somebody set it by hand.

    `at` and `by` tell when this price was first put, and by whom; they are noted, never believed.
    """

    source: str = ""
    at: datetime | None = None
    by: str = ""


def origin_now(
    price: Price | None,
    claimed: PriceOrigin | None,
    known: tuple[Price | None, PriceOrigin | None],
    at: datetime,
    by: str,
) -> PriceOrigin | None:
    """Return the origin of a price as it is to be kept; `known` is the price of before and its own.

    A price that is put again as it was keeps its origin, whoever puts it and whatever they do not say. One that is new
    has the source that is claimed for it, and begins now. Without a price there is no origin.
    """
    if price is None:
        return None
    before, origin = known
    if before == price and (claimed is None or (origin is not None and claimed.source == origin.source)):
        return origin
    return PriceOrigin("" if claimed is None else claimed.source, at, by)


def check_origin(origin: PriceOrigin | None) -> None:
    """Raise `BadProvider` where the source is no word."""
    if origin is not None and origin.source and not _SOURCE.fullmatch(origin.source):
        raise BadProvider(
            f"{origin.source[:40]!r} is no source of a price",
            hint="what it was imported from, such as litellm: a-z, 0-9, `.`, `_` and `-`; empty: set by hand",
        )
