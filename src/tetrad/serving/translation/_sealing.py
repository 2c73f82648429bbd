"""Values that clients carry and send back unread: not secret, and told from what was cut or changed on the way."""

from __future__ import annotations

import base64
import hashlib
from typing import TypeVar

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving.errors import RequestRefused

_DIGEST_CHARS = 16
T = TypeVar("T")


def seal(prefix: str, value: msgspec.Struct) -> str:
    """Return a value as clients carry it."""
    body = msgspec.json.encode(value)
    return f"{prefix}{_digest(body)}.{base64.urlsafe_b64encode(body).decode()}"


def unseal(prefix: str, data: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Return what `seal` sealed; None for what is not, or is no longer."""
    digest, _, said = data.removeprefix(prefix).partition(".")
    try:
        body = base64.b64decode(said.encode(), altchars=b"-_", validate=True)
        return decoder.decode(body) if _digest(body) == digest else None
    except (*UNREADABLE, ValueError):
        return None


def damaged(path: str) -> RequestRefused:
    """Return the refusal of what is no longer what was answered."""
    return RequestRefused(
        f"{path} is not what was answered: it was cut or changed",
        param=path,
        hint="send what the model thought back as it came, or leave it out",
        code="bad_field",
    )


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:_DIGEST_CHARS]
