"""What is still to be told of an answer whose events were not all kept: by it whoever followed has the whole of it.

Deltas go on where they were, in one piece each; then every text, part and item ends as the protocol has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

_ITEM, _PART, _SUMMARY = "response.output_item", "response.content_part", "response.reasoning_summary_part"
_INNER = {_PART: "content_index", _SUMMARY: "summary_index"}
_PART_TEXTS = {
    "output_text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "reasoning_text": ("response.reasoning_text", "text"),
    "summary_text": ("response.reasoning_summary_text", "text"),
}
_ITEM_TEXTS = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
    "mcp_call": ("response.mcp_call_arguments", "arguments"),
    "code_interpreter_call": ("response.code_interpreter_call_code", "code"),
}
_LATER = ("encrypted_content", "output", "outputs", "result", "results")
"""Fields of an item that are not there yet when it begins."""

Event = dict[str, Any]
_Name = tuple[str, int, int]
"""Of an item, a part or a text: the kind of its events, the place of the item, the place in the item or 0."""


class _Heard(msgspec.Struct, frozen=True):
    type: str
    output_index: int
    content_index: int = 0
    summary_index: int = 0
    delta: str = ""

    @property
    def name(self) -> _Name:
        kind = self.type.rpartition(".")[0]
        return kind, self.output_index, self.summary_index if "summary" in kind else self.content_index


_heard = msgspec.json.Decoder(_Heard)


class Told:
    """What was told of an answer by events that were kept."""

    def __init__(self, events: Iterable[bytes]) -> None:
        self._begun: set[_Name] = set()
        self._over: set[_Name] = set()
        self._texts: dict[_Name, str] = {}
        for raw in events:
            try:
                event = _heard.decode(raw)
            except msgspec.MsgspecError:  # of no item: how far the response is, or another word of the upstream's
                continue
            self._hear(event)

    def closing(self, output: Iterable[Any]) -> Iterator[Event]:
        """Yield the events that are missing of an answer, without numbers."""
        for place, item in enumerate(output):
            if isinstance(item, dict) and (_ITEM, place, 0) not in self._over:
                yield from self._item(place, item)

    def _hear(self, event: _Heard) -> None:
        name, what = event.name, event.type.rpartition(".")[2]
        if what == "added":
            self._begun.add(name)
        elif what == "delta":
            self._texts[name] = self._texts.get(name, "") + event.delta
        elif what == "done":
            self._over.add(name)

    def _item(self, place: int, item: dict[str, Any]) -> Iterator[Event]:
        if (_ITEM, place, 0) not in self._begun:
            yield {"type": f"{_ITEM}.added", "output_index": place, "item": _empty(item)}
        where = {"item_id": str(item.get("id") or ""), "output_index": place}
        for field, kind in (("summary", _SUMMARY), ("content", _PART)):
            parts = item.get(field)
            for number, part in enumerate(parts if isinstance(parts, list) else ()):
                if isinstance(part, dict):
                    yield from self._part((kind, place, number), where, part)
        if (known := _ITEM_TEXTS.get(str(item.get("type")))) is not None:
            more = {"name": item["name"]} if isinstance(item.get("name"), str) else {}
            yield from self._text((known[0], place, 0), where, known[1], item.get(known[1]), more)
        yield {"type": f"{_ITEM}.done", "output_index": place, "item": item}

    def _part(self, name: _Name, where: Event, part: dict[str, Any]) -> Iterator[Event]:
        if name in self._over:
            return
        kind, place, number = name
        inner = {**where, _INNER[kind]: number}
        text, field = _PART_TEXTS.get(str(part.get("type")), ("", ""))
        own = "reasoning_text" not in text  # a thought's texts have no parts around them
        if own and name not in self._begun:
            empty = {**part, **({field: ""} if field else {}), **({"annotations": []} if "annotations" in part else {})}
            yield {"type": f"{kind}.added", **inner, "part": empty}
        if text:
            more = {"logprobs": part.get("logprobs") or []} if part.get("type") == "output_text" else {}
            yield from self._text((text, place, number), inner, field, part.get(field), more)
        if own:
            yield {"type": f"{kind}.done", **inner, "part": part}

    def _text(self, name: _Name, where: Event, field: str, whole: Any, more: Event) -> Iterator[Event]:
        if name in self._over or not isinstance(whole, str):
            return
        said = self._texts.get(name, "")
        if whole.startswith(said) and len(whole) > len(said):
            logprobs: Event = {"logprobs": []} if "logprobs" in more else {}
            yield {"type": f"{name[0]}.delta", **where, "delta": whole[len(said) :], **logprobs}
        yield {"type": f"{name[0]}.done", **where, field: whole, **more}


def _empty(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as it was when it began."""
    begun = {name: value for name, value in item.items() if name not in _LATER}
    if "status" in item:
        begun["status"] = "in_progress"
    for field in ("content", "summary"):
        if isinstance(item.get(field), list):
            begun[field] = []
    known = _ITEM_TEXTS.get(str(item.get("type")))
    if known is not None and known[1] in item:
        begun[known[1]] = ""
    return begun
