"""Where in the input of Responses the messages stood that were made of it, asked for only where something gets lost."""

from __future__ import annotations

import re
from typing import Any

from tetrad.serving.translation._saying import Losses
from tetrad.serving.translation.responses_to_chat import Signer, Talk, talked

_PIECE = re.compile(r"\.(?:content|tool_calls)\[\d+\]|\.(?:reasoning_content|extra_content)(?![a-z_])")
_WORDS = (
    (re.compile(r"\.image_url\.url\b"), ".image_url"),
    (re.compile(r"\.image_url\.detail\b"), ".detail"),
    (re.compile(r"\.file(?:\.|$)(\w*)"), lambda found: f".{found[1]}" if found[1] else ""),
    (re.compile(r"\.function\.(name|arguments)\b"), r".\1"),
    (re.compile(r"\.function$|\.blocks\b.*"), ""),
    (re.compile(r"^\.id$|^\.tool_call_id$"), ".call_id"),
)
"""Fields of parts and calls, in the words of Responses."""


class Places:
    """Names for paths of the messages that `body` became."""

    def __init__(self, body: dict[str, Any], signer: Signer, maker: str) -> None:
        self._asked = body, signer, maker
        self._places: list[dict[str, str]] | None = None

    def __call__(self, number: int, rest: str) -> str:
        """Return the item, or what of it, that a message is, or what of one; `input` where that cannot be told."""
        if self._places is None:
            body, signer, maker = self._asked
            talk = _Noted(Losses(strict=False), signer, maker)
            talked(talk, body)
            self._places = talk.places
        if number >= len(self._places):
            return "input"
        place = self._places[number]
        piece = _PIECE.match(rest)
        if piece is not None and piece[0] in place:
            return place[piece[0]] + _in_words(rest[piece.end() :])
        if ".output" in place:
            rest = re.sub(r"^\.content\b", ".output", rest)
        return place[""] + _in_words(rest)


class _Noted(Talk):
    """A talk that notes which item each message, each part and each call was."""

    def __init__(self, losses: Losses, signer: Signer, maker: str) -> None:
        super().__init__(losses, signer, maker)
        self._noted: dict[int, dict[str, str]] = {}

    @property
    def places(self) -> list[dict[str, str]]:
        """By message: the paths of its pieces, and its own under an empty name."""
        return [self._noted[id(message)] for message in self.finished()]

    def say(self, role: str, content: Any) -> None:
        super().say(role, content)
        self._noted[id(self._messages[-1])] = {"": "instructions" if role == "system" else "input"}

    def take(self, item: dict[str, Any], path: str) -> None:
        known, turn = len(self._messages), self._turn
        before = len(_parts(turn)) if turn is not None else 0
        super().take(item, path)
        if len(self._messages) > known:
            self._noted[id(self._messages[-1])] = {"": path}
            before = 0
        elif self._turn is None or self._turn is not turn:
            return
        place = self._noted[id(self._messages[-1])]
        kind = item.get("type", "message")
        if kind == "function_call":
            place[f".tool_calls[{len(self._messages[-1]['tool_calls']) - 1}]"] = path
        elif kind == "reasoning":
            place[".reasoning_content"] = place[".extra_content"] = path
        else:
            field = "output" if kind == "function_call_output" else "content"
            if field == "output":
                place[".output"] = path
            self._note_parts(item.get(field), f"{path}.{field}", place, before)

    def _note_parts(self, given: Any, path: str, place: dict[str, str], before: int) -> None:
        if not isinstance(given, list):
            return
        made = [number for number, part in enumerate(given) if self._part(part, path)]
        if len(_parts(self._messages[-1])) == before + len(made):
            for at, number in enumerate(made, start=before):
                place[f".content[{at}]"] = f"{path}[{number}]"


def _parts(message: dict[str, Any]) -> list[Any]:
    content = message["content"]
    return content if isinstance(content, list) else [content] if content is not None else []


def _in_words(rest: str) -> str:
    for pattern, word in _WORDS:
        rest = pattern.sub(word, rest, count=1)
    return rest
