"""The items of a response, and how a message of chat completions becomes them."""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.serving.translation.anthropic_signatures import seal_thought, signed_blocks
from tetrad.serving.translation.google_signatures import Extra, google_signature, sealed

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Function(msgspec.Struct, frozen=True):
    """The function of a call, or what a chunk adds to it."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct, frozen=True):
    """A call of a tool, or what a chunk adds to it."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: Extra | None = None


class Message(msgspec.Struct, frozen=True):
    """A message of an answer, or what a chunk adds to it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None
    extra_content: Extra | None = None

    @property
    def thought(self) -> str:
        """What the model thought; servers disagree on the field's name."""
        return self.reasoning_content or self.reasoning or ""


def items_of(
    message: Message, identity: str, reason: str | None, logprobs: list[Any], maker: str | None
) -> list[dict[str, Any]]:
    """Return the items that a message is. `maker` is whose thoughts are sealed; None where nobody's are."""
    return _Items(message, identity, reason, logprobs).made(maker)


class _Items:
    """Items in the making: what was said of the message, up to some character of its text and some call."""

    def __init__(self, message: Message, identity: str, reason: str | None, logprobs: list[Any]) -> None:
        self._message = message
        self._tail = identity.removeprefix("resp_")
        self._status = "incomplete" if reason in INCOMPLETE else "completed"
        self._logprobs = logprobs
        self._items: list[dict[str, Any]] = []
        self._chars = self._calls = 0

    def made(self, maker: str | None) -> list[dict[str, Any]]:
        message, items, tail = self._message, self._items, self._tail
        thought = self._thoughts(maker) if maker is not None else message.thought
        if thought:
            items.append(reasoning(f"rs_{tail}", thought))
        text = (message.content or "")[self._chars :]
        if text or message.refusal or not (message.tool_calls or items):
            parts = [text_part(text, self._logprobs)] if text or not message.refusal else []
            if message.refusal:
                parts.append({"type": "refusal", "refusal": message.refusal})
            items.append(said_item(f"msg_{tail}", parts, self._status))
        if signature := google_signature(message.extra_content):
            items.append(signed(f"rs_{tail}ff", "text", signature))
        self._call_up_to(None)
        return items

    def _thoughts(self, maker: str) -> str:
        """Say the thoughts that are told one by one, each where it stood; return what else was thought."""
        message, at = self._message, 0
        for block in signed_blocks(message.extra_content):
            text = (message.content or "")[self._chars : block.after_chars]
            if text:
                self._chars += len(text)
                self._items.append(said_item(self._identity("msg"), [text_part(text)], "completed"))
            self._call_up_to(block.after_calls)
            thought = message.thought[at : at + block.chars]
            at += len(thought)
            self._items.append(sealed_reasoning(self._identity("rs"), thought, seal_thought(maker, block, thought)))
        return message.thought[at:]

    def _identity(self, prefix: str) -> str:
        return f"{prefix}_{self._tail}p{len(self._items):02x}"

    def _call_up_to(self, end: int | None) -> None:
        for call in (self._message.tool_calls or [])[self._calls : end]:
            number, function = f"{self._tail}{self._calls:02x}", call.function or Function()
            if signature := google_signature(call.extra_content):
                self._items.append(signed(f"rs_{number}", "call", signature))
            call_id, arguments = call.id or f"call_{number}", function.arguments or ""
            self._items.append(called(f"fc_{number}", call_id, function.name or "", arguments, "completed"))
            self._calls += 1


def reasoning(identity: str, text: str, status: str = "completed") -> dict[str, Any]:
    """Return an item of reasoning."""
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": identity, "type": "reasoning", "summary": [], "content": content, "status": status}


def sealed_reasoning(identity: str, text: str, seal: str) -> dict[str, Any]:
    """Return an item of reasoning with what clients send back unread, where there is something."""
    item = reasoning(identity, text)
    return {**item, "encrypted_content": seal} if seal else item


def signed(identity: str, what: str, signature: str) -> dict[str, Any]:
    """Return what clients send back unread: the signature of a call stands before it, that of a text behind it."""
    return sealed_reasoning(identity, "", sealed(what, signature))


def said_item(identity: str, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """Return a message's item."""
    return {"id": identity, "type": "message", "status": status, "role": "assistant", "content": parts}


def called(identity: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    """Return the item of a call."""
    return {
        "id": identity,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def text_part(text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    """Return a part of a message that is a text."""
    return {"type": "output_text", "annotations": [], "logprobs": logprobs or [], "text": text}
