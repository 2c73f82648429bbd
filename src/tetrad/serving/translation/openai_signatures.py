"""Reasoning of upstreams that speak Responses, on its way through clients that have no word for it.

Clients of Messages get it as the signature of a block of thinking (its `data`, where nothing was told aloud), clients
of chat completions in `extra_content.openai.blocks`. What they send back unread holds the item's `encrypted_content`
and its maker, the only one who gets it back; what was thought aloud, or its summary, is the text beside it. Like what
Anthropic signs (see `anthropic_signatures`), it is not secret, and who forges one gains nothing.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import msgspec

from tetrad.serving.translation._sealing import damaged, seal, unseal

OPENAI_SEALED = "tetrad.openai."
BETWEEN = "\n\n"
"""What stands between the parts of a summary, in the one text that clients of other protocols get."""


class Reasoning(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item of reasoning without its text, whose parts are so many `chars` long.

    `maker` is who made it: an upstream, by its name, since no other account can read it, and a model. `aloud`: the text
    is what was thought, no summary.
    """

    maker: str
    id: str = ""
    encrypted_content: str = ""
    chars: tuple[int, ...] = ()
    aloud: bool = False

    @property
    def length(self) -> int:
        """How long the text is that belongs to it."""
        return sum(self.chars) + len(self.between) * max(len(self.chars) - 1, 0)

    @property
    def between(self) -> str:
        """What stands between the parts of its text."""
        return "" if self.aloud else BETWEEN

    def item(self, text: str) -> dict[str, Any]:
        """Return it as it goes back to its maker; a text that is not its own any more is one part."""
        parts = [text] if text else []
        if len(text) == self.length:
            parts, at = [], 0
            for count in self.chars:
                parts.append(text[at : at + count])
                at += count + len(self.between)
        said: dict[str, Any] = {"type": "reasoning"}
        if self.id:
            said["id"] = self.id
        said["summary"] = [] if self.aloud else [{"type": "summary_text", "text": part} for part in parts]
        if self.aloud:
            said["content"] = [{"type": "reasoning_text", "text": part} for part in parts]
        if self.encrypted_content:
            said["encrypted_content"] = self.encrypted_content
        return said

    def sealed(self) -> str:
        """Return it as clients carry it; empty where its maker could make nothing of it."""
        return seal(OPENAI_SEALED, self) if self.encrypted_content or self.aloud else ""


_reasoning = msgspec.json.Decoder(Reasoning)


def is_sealed_reasoning(data: Any) -> TypeGuard[str]:
    """Tell whether it is, or was, what `Reasoning.sealed` made."""
    return isinstance(data, str) and data.startswith(OPENAI_SEALED)


def open_reasoning(data: str, path: str) -> Reasoning:
    """Return what was sealed; raises `RequestRefused` where it is not what it was."""
    found = unseal(OPENAI_SEALED, data, _reasoning)
    if found is None or any(count < 0 for count in found.chars):
        raise damaged(path)
    return found
