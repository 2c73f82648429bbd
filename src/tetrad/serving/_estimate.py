"""An estimate of how many tokens a request has, for upstreams that do not count."""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving.errors import RequestRefused

BYTES_PER_TOKEN = 3.5
"""Of English text as UTF-8, with the tokenizers of current models; other scripts have more bytes and more tokens."""
IMAGE_TOKENS = 1600
"""A picture of the largest size that Anthropic does not scale down (platform.claude.com, "Vision")."""
PART_TOKENS = 4
"""What the frame of a message, a block or a tool costs."""
_MEDIA = frozenset(("image", "document"))


def estimated_tokens(fields: dict[str, msgspec.Raw]) -> int:
    """Return about how many input tokens a request in Anthropic's words has; raises `RequestRefused` for bad JSON."""
    try:
        parts = [msgspec.json.decode(fields[name]) for name in ("system", "messages", "tools") if name in fields]
    except UNREADABLE as error:
        raise RequestRefused(f"the request cannot be read: {error}", code="malformed_json") from None
    size, extra = _weigh(parts)
    return round(size / BYTES_PER_TOKEN) + extra


def _weigh(root: Any) -> tuple[int, int]:
    """Return bytes of text, and tokens of what is no text."""
    size = extra = 0
    rest = [root]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            size += len(value.encode("utf-8", "replace"))
        elif isinstance(value, list):
            rest += value
        elif isinstance(value, dict):
            extra += PART_TOKENS
            if value.get("type") in _MEDIA and isinstance(value.get("source"), dict):
                extra += IMAGE_TOKENS
                rest += [each for name, each in value.items() if name != "source"]
            else:
                rest += value.values()
                size += sum(map(len, value))
        elif value is not None:
            size += len(str(value))
    return size, extra
