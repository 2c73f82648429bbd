"""Cursors that no list handed out, for every list of a control app: what they answer is told, not judged."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx

from tetrad.kit.http import _pages

TEXTS = (
    '""', '"x"', '"yesterday"', '"2026-01-01T00:00:00"', '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"',
    '"a\\u0000b"', '"\\ud800"', '"1e999"', '"-1"', '"99999999999999999999"', '"%"', "\"' OR 1=1 --\"",
)  # fmt: skip
INTEGERS = ("0", "-1", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1" * 400)
FLOATS = ("0.0", "-1.5", "1e308", "NaN", "Infinity", "1e999")
KINDS: Mapping[str, tuple[str, ...]] = {"str": TEXTS, "int": INTEGERS, "float": FLOATS}
SHAPES = (("str",), ("int",), ("str", "str"), ("float", "str"), ("int", "str"), ("int", "int", "str", "str"))
RAW = ("x", "é", "=", "A" * 900, "....", "%00", "-" * 7)


def _cursor(body: str) -> str:
    return base64.urlsafe_b64encode(b"\0\0\0\0" + body.encode()).rstrip(b"=").decode()


def harmless() -> Iterator[list[str]]:
    """Yield positions of every shape that a list may have handed out."""
    for shape, text in itertools.product(SHAPES, ('"2026-01-01T00:00:00+00:00"', '"1"')):
        yield [{"str": text, "int": str(at + 1), "float": "1.0"}[kind] for at, kind in enumerate(shape)]


def hostile(position: list[str]) -> Iterator[str]:
    """Yield cursors that differ from a position in one value, which is hostile."""
    for place, value in enumerate(position):
        kind = "str" if value.startswith('"') else "float" if "." in value else "int"
        for other in KINDS[kind]:
            yield _cursor(f"[0,{','.join([*position[:place], other, *position[place + 1 :]])}]")


def no_cursors() -> Iterator[str]:
    """Yield what is no cursor at all."""
    yield from map(_cursor, ("[]", "{}", "null", "[0]", "[[0]]", "[" * 500, '[0,{"a":1}]', "[0,null]", "[0,true]"))
    yield from RAW


def lists(document: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (path, its sorts) of every operation that takes a cursor."""
    for path, operations in document["paths"].items():
        known = {each["name"]: each for each in operations.get("get", {}).get("parameters", ())}
        if "cursor" in known:
            told = known.get("sort", {}).get("description", "")
            names = re.findall(r"[a-z_]+", told.partition(";")[0].partition(", `-`")[0])
            yield path, tuple(sign + name for name in names for sign in ("", "-")) or ("",)


async def wrong_answers(http: httpx.AsyncClient, document: Mapping[str, Any], key: str) -> dict[str, object]:
    """Send every list every cursor, with checksums that fit; return what failed, and which lists refused or went on."""
    found: list[str] = []
    refused: set[str] = set()
    went_on: set[str] = set()

    async def taken(path: str, sort: str, cursor: str) -> bool:
        place = re.sub(r"\{[^}]*\}", "x", path.replace("{project}", "default"))
        asked = {"cursor": cursor, **({"sort": sort} if sort else {})}
        try:
            answer = await http.get(place, params=asked, headers={"authorization": f"Bearer {key}"})
        except Exception as error:  # noqa: BLE001 - what the app raises past its own handlers
            found.append(f"{place} {asked}: {type(error).__name__}: {str(error)[:200]}")
            return False
        code = answer.json().get("code", "")
        if answer.status_code >= 500 and code != "jobs_unavailable":  # no worker runs here
            found.append(f"{place} {asked}: {answer.status_code} {answer.text[:200]}")
        if code == "bad_cursor":
            refused.add(path)
        return answer.status_code == 200

    with patch.object(_pages, "zlib", SimpleNamespace(crc32=lambda _: 0)):  # who knows the source can compute them
        for path, sorts in lists(document):
            for cursor in no_cursors():
                await taken(path, sorts[0], cursor)
            for sort, position in itertools.product(sorts, harmless()):
                if await taken(path, sort, _cursor(f"[0,{','.join(position)}]")):
                    went_on.add(f"{path} {sort}".rstrip())
                    for cursor in hostile(position):
                        await taken(path, sort, cursor)
    return {"failures": found, "refused": sorted(refused), "went_on": sorted(went_on)}
