"""What upstreams of Responses get to read: the items of an input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from tetrad.serving.translation._saying import Losses

Piece: TypeAlias = "tuple[str, dict[str, Any]]"
"""A part of what an assistant said, or an item of its own, with its path in the client's request."""

_PARTS = ("output_text", "refusal")


def message(role: str, content: str | list[dict[str, Any]]) -> dict[str, Any]:
    """Return the item of a message."""
    return {"type": "message", "role": role, "content": content}


def text(said: str) -> dict[str, Any]:
    """Return a part that is read."""
    return {"type": "input_text", "text": said}


def image(url: str, detail: str = "auto") -> dict[str, Any]:
    """Return a picture, by its address or as a `data:` URL."""
    return {"type": "input_image", "image_url": url, "detail": detail}


def spoken(said: str) -> dict[str, Any]:
    """Return a part that the assistant said."""
    return {"type": "output_text", "text": said, "annotations": []}


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Return the item of a call."""
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def result(call_id: str, output: str | list[dict[str, Any]]) -> dict[str, Any]:
    """Return the item of a call's result."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def turn(pieces: Iterable[Piece], losses: Losses) -> list[dict[str, Any]]:
    """Return what an assistant said in one turn; parts that stand next to each other are one message.

    A thought that nothing follows is lost: it is refused without what it led to, as where an answer was cut off.
    """
    items: list[dict[str, Any]] = []
    waiting: list[Piece] = []
    for path, piece in pieces:
        if piece["type"] == "reasoning":
            waiting.append((path, piece))
            continue
        items += [thought for _, thought in waiting]
        joined = not waiting and items and items[-1]["type"] == "message"
        waiting = []
        if piece["type"] not in _PARTS:
            items.append(piece)
        elif joined:
            items[-1]["content"].append(piece)
        else:
            items.append(message("assistant", [piece]))
    for path, _ in waiting:
        losses.lose(path)
    return items
