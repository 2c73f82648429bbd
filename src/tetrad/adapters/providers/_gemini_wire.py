"""What Google's generateContent says of an answer, read for the record."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from tetrad.kernel import Usage
from tetrad.serving import GeminiAnswer, read_gemini

_encode = msgspec.json.encode


class GeminiReader:
    """Put the pieces of a stream together again: parts, the reason, usage. Neighbouring texts become one."""

    def __init__(self) -> None:
        self.id = self.model = self.error_type = self.error_message = ""
        self.usage: Usage | None = None
        self.unread = 0
        self.units: dict[str, Decimal] = {}
        self._reason = ""
        self._parts: list[dict[str, Any]] = []
        self._begun = False

    def feed(self, events: bytes, *, torn: bool = False) -> None:
        """Read whole events; where the front is `torn`, what cannot be read there does not count."""
        for line in events.split(b"\n"):
            if not line.startswith(b"data:"):
                continue
            try:
                self._take(read_gemini(line[5:]), line[5:])
            except (msgspec.MsgspecError, RecursionError):
                self.unread += not torn

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why the answer ended."""
        return (self._reason,) if self._reason else ()

    @property
    def messages(self) -> bytes:
        """The answer's content in an array; b"" where there was none."""
        return _encode([{"role": "model", "parts": self._parts}]) if self._begun else b""

    def _take(self, answer: GeminiAnswer, payload: bytes) -> None:
        self.id = self.id or answer.responseId
        self.model = self.model or answer.modelVersion
        if answer.usageMetadata is not None:
            self.usage = answer.usageMetadata.usage()
        self._reason = self._reason or answer.reason
        if bytes(answer.error) not in (b"", b"null"):
            said = msgspec.json.decode(answer.error)
            self.error_type = str(said.get("status", "upstream_error")).lower() if isinstance(said, dict) else "error"
            self.error_message = str(said.get("message", "")) if isinstance(said, dict) else ""
        for candidate in answer.candidates:
            if not candidate.index:
                self._begun = True
        if not answer.candidates:
            return
        raw = msgspec.json.decode(payload)["candidates"][0].get("content") or {}
        for part in raw.get("parts") or ():
            last = self._parts[-1] if self._parts else {}
            if _plain(part) and _plain(last) and bool(last.get("thought")) == bool(part.get("thought")):
                last["text"] += part["text"]
            else:
                self._parts.append(part)


def _plain(part: dict[str, Any]) -> bool:
    return isinstance(part.get("text"), str) and set(part) <= {"text", "thought"}
