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

from tetrad.serving import IMAGE_TOKENS

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
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")


def tokens_of(encoded: bytes) -> int | None:
    """Return about how many tokens at most a model reads of what is in base64; None where its kind is not known.

    `encoded` is as in JSON, so that a slash may stand behind a backslash.
    """
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
        return _of_document(encoded)
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        second = _wave_bytes(head)
        return _of_sound(size, second) if second else None
    if head.startswith(_SOUNDS) or (head[0] == 0xFF and head[1] >= 0xE0) or head[4:11] == b"ftypM4A":
        return _of_sound(size, _SOUND_BYTES)
    if head.startswith(b"\x1aE\xdf\xa3") or (head[4:8] == b"ftyp" and head[8:12] in _FILM_BRANDS):
        return max(IMAGE_TOKENS, size * FILM_TOKENS // _FILM_BYTES)
    return None


def _decoded(encoded: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4))
    except binascii.Error:
        return None


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


def _of_document(encoded: bytes) -> int | None:
    """Return the tokens of a PDF by its pages; None where it does not tell them, as one that is encrypted."""
    data = _decoded(encoded)
    pages = None if data is None else pages_of(data)
    return None if pages is None else min(pages, MOST_PAGES) * PAGE_TOKENS


def pages_of(data: bytes) -> int | None:
    """Return how many pages a PDF has at most, by what it says itself; None where it does not, or hides it.

    Source: ISO 32000-1, 7.5.7 (object streams), 7.7.3 (the page tree). Names may be escaped (7.3.5).
    """
    found = _said(data)
    left = _INFLATED
    for mark in _OBJECTS.finditer(data):
        begun = _STREAM.search(data, mark.end(), mark.end() + 1024)
        end = data.find(b"endstream", begun.end()) if begun is not None else -1
        if begun is None or end < 0 or left <= 0:
            return None
        inflater = zlib.decompressobj()
        try:
            inflated = inflater.decompress(data[begun.end() : end], left)
        except zlib.error:
            return None
        if inflater.unconsumed_tail:
            return None
        left -= max(len(inflated), 1024)
        found = max(found, _said(inflated))
    return found or None


def _said(data: bytes) -> int:
    plain = _ESCAPED.sub(lambda code: bytes((int(code[1], 16),)), data) if b"#" in data else data
    counts = max((int(count) for count in _COUNT.findall(plain)), default=0)
    return max(counts, len(_PAGE.findall(plain)))
