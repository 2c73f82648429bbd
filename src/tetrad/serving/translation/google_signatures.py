"""What Google signs of a model's thoughts, on its way through clients that have no word for it.

Chat completions have a place: `extra_content.google.thought_signature`, of a call or of the message. Clients of
Messages get it as `redacted_thinking`, clients of Responses as the `encrypted_content` of an item of reasoning; both
send it back unread. It begins with `GOOGLE_SIGNED`, and goes to nobody but Google.
"""

from __future__ import annotations

from typing import Any

import msgspec

GOOGLE_SIGNED = "tetrad.google."


class Anthropic(msgspec.Struct, frozen=True):
    """What Anthropic signed."""

    signature: str | None = None
    blocks: msgspec.Raw = msgspec.Raw(b"")
    """Read by those only who know that we have written it; see `anthropic_signatures`."""


class Google(msgspec.Struct, frozen=True):
    """What Google signed."""

    thought_signature: str | None = None


class Extra(msgspec.Struct, frozen=True):
    """The field `extra_content` of a message or of a call."""

    anthropic: Anthropic | None = None
    google: Google | None = None


def google_signature(extra: Extra | None) -> str:
    """Return what Google signed; empty where it signed nothing."""
    return (extra.google.thought_signature if extra and extra.google else None) or ""


def google_extra(signature: str) -> dict[str, Any]:
    """Return the `extra_content` that holds a signature."""
    return {"google": {"thought_signature": signature}}


def sealed(what: str, signature: str) -> str:
    """Return a signature as clients carry it; `what` is signed: `text` or `call`."""
    return f"{GOOGLE_SIGNED}{what}.{signature}"


def unsealed(data: Any) -> tuple[str, str] | None:
    """Return what is signed and the signature, of what `sealed` made; None for everything else."""
    if not isinstance(data, str) or not data.startswith(GOOGLE_SIGNED):
        return None
    what, _, signature = data.removeprefix(GOOGLE_SIGNED).partition(".")
    return what, signature
