"""Blocks of thinking, put back to where they stood among the texts and calls of their message."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

Placed: TypeAlias = "tuple[int, int, dict[str, Any]]"
"""A block, after so many characters of the message's texts and so many of its calls."""


def placed(thoughts: list[Placed], texts: list[dict[str, Any]], calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all blocks of a message of Messages: the texts before the calls, but for what a thought stands behind.

    A text is cut in two where a thought stands within it. Places past the end are at the end: a client that shortened
    the message loses no thought by it.
    """
    said: list[dict[str, Any]] = []
    told, called = _Texts(texts), 0
    for after_chars, after_calls, thought in thoughts:
        said += told.up_to(after_chars)
        said += calls[called:after_calls]
        called = max(called, after_calls)
        said.append(thought)
    return [*said, *told.up_to(sys.maxsize), *calls[called:]]


class _Texts:
    """Blocks of text that are told piece by piece, each character once."""

    def __init__(self, texts: list[dict[str, Any]]) -> None:
        self._left = deque(texts)
        self._chars = self._at = 0

    def up_to(self, end: int) -> Iterator[dict[str, Any]]:
        while self._left and self._chars < end:
            block = self._left[0]
            piece = block["text"][self._at : self._at + end - self._chars]
            self._chars += len(piece)
            self._at += len(piece)
            if self._at < len(block["text"]):
                yield {"type": "text", "text": piece}  # a mark for the cache is of the whole text's end
            else:
                self._left.popleft()
                self._at = 0
                yield {**block, "text": piece}
