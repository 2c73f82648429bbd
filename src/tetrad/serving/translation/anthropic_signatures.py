"""What Anthropic signs of a model's thoughts, on its way through clients of Responses.

They get a block of thinking as an item of reasoning and send its `encrypted_content` back unread. That holds the whole
block, since many clients send no other field of the item back and Anthropic wants it as it was. It names its maker,
the only one who gets it back. It is not secret, and who forges one gains nothing: Anthropic checks its signature. The
digest in it tells what was cut or changed on the way from what was made, before it costs a call.
"""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

import msgspec

from tetrad.serving.translation._sealing import damaged, seal, unseal
from tetrad.serving.translation.google_signatures import Extra

ANTHROPIC_SIGNED = "tetrad.anthropic."
MAX_THOUGHTS = 1024
"""Of one answer."""


class Thought(msgspec.Struct, frozen=True, omit_defaults=True):
    """A block of thinking, as Anthropic said it; `maker` is who made it, see `maker_of`."""

    maker: str
    type: Literal["thinking", "redacted_thinking"]
    thinking: str = ""
    signature: str = ""
    data: str = ""

    def block(self) -> dict[str, Any]:
        """Return it as it goes back."""
        if self.type == "redacted_thinking":
            return {"type": self.type, "data": self.data}
        return {"type": self.type, "thinking": self.thinking, "signature": self.signature}


class SignedBlock(msgspec.Struct, frozen=True):
    """An entry of `extra_content.anthropic.blocks`; see `messages_answers`."""

    type: str = ""
    chars: int = 0
    signature: str = ""
    data: str = ""
    after_chars: int = 0
    after_calls: int = 0


_thoughts = msgspec.json.Decoder(Thought)
_blocks = msgspec.json.Decoder(list[SignedBlock] | None)


def maker_of(provider: str, model: str) -> str:
    """Return who makes thoughts: a provider, by its name for telemetry, and a model, by the provider's name for it."""
    return f"{provider}/{model}"


def signed_blocks(extra: Extra | None) -> list[SignedBlock]:
    """Return the blocks that our own translation names in `extra_content`; raises `msgspec.MsgspecError` for others."""
    said = bytes(extra.anthropic.blocks) if extra is not None and extra.anthropic is not None else b""
    return (_blocks.decode(said) or []) if said else []


def seal_thought(maker: str, block: SignedBlock, text: str) -> str:
    """Return a block as clients carry it; empty where nothing of it is signed. `text` is what was thought."""
    if block.type == "redacted_thinking":
        thought = Thought(maker, "redacted_thinking", data=block.data)
    elif block.signature:
        thought = Thought(maker, "thinking", text, block.signature)
    else:
        return ""
    return seal(ANTHROPIC_SIGNED, thought)


def is_sealed_thought(data: Any) -> TypeGuard[str]:
    """Tell whether it is, or was, what `seal_thought` made."""
    return isinstance(data, str) and data.startswith(ANTHROPIC_SIGNED)


def read_thought(data: str) -> Thought | None:
    """Return what `seal_thought` sealed; None for what is not, or is no longer."""
    return unseal(ANTHROPIC_SIGNED, data, _thoughts)


def open_thought(data: str, path: str) -> Thought:
    """Return what `seal_thought` sealed; raises `RequestRefused` where it is not what it was."""
    thought = read_thought(data)
    if thought is None:
        raise damaged(path)
    return thought
