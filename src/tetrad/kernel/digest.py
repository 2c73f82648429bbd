"""Names made of content: `sha256:<64 hex digits>`."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from tetrad.kernel.canonical_json import canonical_json
from tetrad.kernel.errors import InvalidInput

Digest = NewType("Digest", str)
_FORM = re.compile(r"sha256:[0-9a-f]{64}")


def digest_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """Name bytes by their SHA-256."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_json(value: object) -> Digest:
    """Name a JSON value by the SHA-256 of its canonical form (RFC 8785)."""
    return digest_bytes(canonical_json(value))


def parse_digest(text: str) -> Digest:
    """Return `text` as a digest, or refuse with `InvalidInput`."""
    if not _FORM.fullmatch(text):
        raise InvalidInput(
            f"{text[:90]!r} is not a digest",
            code="bad_digest",
            hint="a digest is `sha256:` and 64 lower-case hex digits",
        )
    return Digest(text)


def short(digest: str, length: int = 12) -> str:
    """Shorten a digest for people; never for machines."""
    return digest.removeprefix("sha256:")[:length]
