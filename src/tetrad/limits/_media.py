"""How many tokens a model reads of a picture, a sound, a film or a document: by what it is, not by what it is called.

A picture has so many tokens, whatever its bytes. Of a document each page is read twice, as text and as a picture: 1,500
to 3,000 tokens of text, and those of a picture (platform.claude.com/docs, "PDF support"). Sound is reckoned by the
second: 32 tokens at Gemini (ai.google.dev, "Audio understanding"), fewer at OpenAI; film 300 a second (Gemini, "Video
understanding": 258 of a picture, and its sound).
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Generator
from typing import TypeAlias, TypeVar, cast

from tetrad.serving import IMAGE_TOKENS

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work that may be stopped between its steps; it returns what is found."""

PAGE_TOKENS = 3000 + IMAGE_TOKENS
MOST_PAGES = 1000
"""More pages no provider reads: 600 at Anthropic, 1,000 at Gemini."""
SOUND_TOKENS, FILM_TOKENS = 32, 300
"""Of a second."""
_SOUND_BYTES, _FILM_BYTES = 750, 12_500
"""Of a second, where they are fewest: Opus at 6 kbit/s, film at 100 kbit/s."""
_INFLATED = 8 * 2**20
_HEAD = 64
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*", b"BM")
_PICTURE_BRANDS = (b"heic", b"heix", b"heif", b"mif1", b"avif", b"avis")
_FILM_BRANDS = (b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V ")
_SOUNDS = (b"ID3", b"OggS", b"fLaC", b"#!AMR", b"FORM")
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,9})(?!\d)")
_OBJECTS = re.compile(rb"/Type\s*/ObjStm(?![A-Za-z])")
_STREAM = re.compile(rb"\bstream\r?\n")
_SIZE = re.compile(rb"/Size\s+(\d{1,9})(?!\d)")
_LINEARIZED = re.compile(rb"/Linearized\b[^>]{0,400}")
_LINEARIZED_HEAD = 2048
_NUMBER = re.compile(rb"/N\s+(\d{1,9})(?!\d)")
_WORD_BYTES = 64
"""What is looked for is shorter; a step looks so far into the next."""
STEP_BYTES = 2**17
"""What is decoded or read in one step: about a millisecond. Finding, and inflating, object streams takes longer."""
_MOST_RATIO = 16
"""What says ten thousand times the same is no list of objects."""
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\\"
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")


def finished(steps: Steps[T]) -> T:
    """Do all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("T", end.value)


def tokens_of(encoded: bytes) -> int | None:
    """Return about how many tokens at most a model reads of what is in base64; None where its kind is not known.

    `encoded` is as in JSON, so that a slash may stand behind a backslash.
    """
    return finished(tokens_steps(encoded))


def tokens_steps(encoded: bytes) -> Steps[int | None]:
    """Tell it step by step: what is long must not keep everything else waiting."""
    if b"\\" in encoded:
        encoded = encoded.replace(b"\\", b"")
    head = _decoded(encoded[: _HEAD * 4])
    if head is None:
        return None
    if head.startswith(_PICTURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return IMAGE_TOKENS
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS:
        return IMAGE_TOKENS
    size = len(encoded) * 3 // 4
    if b"%PDF-" in head:
        return (yield from _of_document(encoded))
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        second = _wave_bytes(head)
        return _of_sound(size, second) if second else None
    if head.startswith(_SOUNDS) or (head[0] == 0xFF and head[1] >= 0xE0) or head[4:11] == b"ftypM4A":
        return _of_sound(size, _SOUND_BYTES)
    if head.startswith(b"\x1aE\xdf\xa3") or (head[4:8] == b"ftyp" and head[8:12] in _FILM_BRANDS):
        return max(IMAGE_TOKENS, size * FILM_TOKENS // _FILM_BYTES)
    return None


def base64_steps(data: bytes, start: int, end: int) -> Steps[bool]:
    """Tell step by step whether a part of JSON is base64 and nothing else."""
    for place in range(start, end, STEP_BYTES):
        stop = min(place + STEP_BYTES, end)
        if rest := data[place:stop].translate(None, _ALPHABET):
            return stop == end and rest in (b"=", b"==") and data.endswith(rest, start, end)
        yield
    return True


def _decoded(encoded: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4))
    except binascii.Error:
        return None


def _decoded_steps(encoded: bytes) -> Steps[bytes | None]:
    found = []
    for place in range(0, len(encoded), STEP_BYTES):
        piece = encoded[place : place + STEP_BYTES]
        try:  # strict is twice as fast, and what it refuses was refused before
            found.append(binascii.a2b_base64(piece + b"=" * (-len(piece) % 4), strict_mode=True))
        except binascii.Error:
            return None
        yield
    return b"".join(found)


def _of_sound(size: int, second: int) -> int:
    return size * SOUND_TOKENS // second + SOUND_TOKENS


def _wave_bytes(head: bytes) -> int:
    """Return how many bytes of a wave are a second, by its head, the least of what that says; 0 where it does not.

    Samples a second and bytes of a sample are what providers reckon by, too.
    """
    at = head.find(b"fmt ", 12)
    if at < 0 or len(head) < at + 22:
        return 0
    rate, second, block = (
        int.from_bytes(head[at + start : at + end], "little") for start, end in ((12, 16), (16, 20), (20, 22))
    )
    return min(second, rate * block)


def _of_document(encoded: bytes) -> Steps[int | None]:
    """Return the tokens of a PDF by its pages; None where it does not tell them."""
    data = yield from _decoded_steps(encoded)
    pages = None if data is None else (yield from pages_steps(data))
    return None if pages is None else min(pages, MOST_PAGES) * PAGE_TOKENS


def pages_of(data: bytes) -> int | None:
    """Return how many pages a PDF has at most, by what it says itself; None where it does not, or hides it."""
    return finished(pages_steps(data))


def pages_steps(data: bytes) -> Steps[int | None]:
    """Tell the pages of a PDF step by step.

    Where they are hidden, as by encryption, they are those that a linearized file says first, else as many as it has
    objects: each page is one, and how many there are is never encrypted. Source: ISO 32000-1, 7.5.5 and 7.5.8 (`Size`),
    7.5.7 (object streams), 7.6.1 (what is encrypted), 7.7.3 (the page tree), annex F. Names may be escaped (7.3.5).
    """
    found = yield from _said_steps(data)
    left = _INFLATED
    mark = _OBJECTS.search(data)
    while mark is not None:
        begun = _STREAM.search(data, mark.end(), mark.end() + 1024)
        end = data.find(b"endstream", begun.end()) if begun is not None else -1
        if begun is None or end < 0 or left <= 0:
            return _hidden(data, found)
        inflated = yield from _inflated_steps(data, begun.end(), end, left)
        if inflated is None:
            return _hidden(data, found)
        left -= max(len(inflated), 1024)
        found = max(found, (yield from _said_steps(inflated)))
        yield
        mark = _OBJECTS.search(data, end)  # nothing is looked at twice
    return found or _hidden(data, 0)


def _inflated_steps(data: bytes, start: int, end: int, most: int) -> Steps[bytes | None]:
    """Return what a part of a file holds that is compressed; None where that cannot be read, or is too much."""
    inflater, parts = zlib.decompressobj(), []
    for place in range(start, end, STEP_BYTES):
        try:
            part = inflater.decompress(data[place : min(place + STEP_BYTES, end)], _MOST_RATIO * STEP_BYTES)
        except zlib.error:
            return None
        most -= len(part)
        if inflater.unconsumed_tail or most < 0:
            return None
        parts.append(part)
        yield
    return b"".join(parts)


def _hidden(data: bytes, said: int) -> int | None:
    """Return how many pages a PDF has at most that does not show them all; None where nothing tells."""
    first = _LINEARIZED.search(data, 0, _LINEARIZED_HEAD)
    if first is not None and (pages := _NUMBER.search(first[0])) is not None:
        return max(said, int(pages[1]))
    objects = max((int(count) for count in _SIZE.findall(data)), default=0)
    return max(said, objects) if objects else None


def _said_steps(data: bytes) -> Steps[int]:
    counts = pages = 0
    for place in range(0, len(data), STEP_BYTES):
        piece = data[place : place + STEP_BYTES + _WORD_BYTES]
        if b"#" in piece:
            piece = _ESCAPED.sub(lambda code: bytes((int(code[1], 16),)), piece)
        counts = max([counts, *map(int, _COUNT.findall(piece))])
        pages += sum(mark.start() < STEP_BYTES for mark in _PAGE.finditer(piece))
        yield
    return max(counts, pages)
