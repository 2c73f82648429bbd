"""Which protocols can be said in which others."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from importlib import import_module

from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._kinds import EventTranslator, Translation, Translator

TRANSLATORS: dict[tuple[str, str], str] = {
    ("chat", "messages"): "tetrad.serving.translation.chat_to_messages:translate",
    ("messages", "chat"): "tetrad.serving.translation.messages_to_chat:translate",
}
"""By (operation of the client, operation of the upstream): `module:function` of a `Translator`, imported when it is
first needed. Operations are those of `tetrad.serving.OPERATIONS`, by name."""

_PIVOT = "chat"
_found: dict[tuple[str, str], Translator] = {}


def find(operation: str, spoken: Collection[str]) -> Translator | None:
    """Return what says `operation` in one of the operations that an upstream speaks, the first that can be reached.

    Direct translators win over two that meet at `chat`. None where there is no way.
    """
    for target in spoken:
        if (direct := _load(operation, target)) is not None:
            return direct
    for target in spoken:
        near, far = _load(operation, _PIVOT), _load(_PIVOT, target)
        if near is not None and far is not None:
            return partial(_chain, near, far)
    return None


def _load(operation: str, target: str) -> Translator | None:
    pair = operation, target
    if pair not in _found:
        place = TRANSLATORS.get(pair)
        if place is None:
            return None
        module, _, name = place.partition(":")
        _found[pair] = getattr(import_module(module), name)
    return _found[pair]


def _chain(near: Translator, far: Translator, call: ModelCall, strict: bool) -> Translation:
    first = near(call, strict)
    return _Chained(first, far(first.call, strict))


class _Chained:
    """Two translations, one behind the other."""

    def __init__(self, near: Translation, far: Translation) -> None:
        self._near = near
        self._far = far
        self.call = far.call
        self.dropped = tuple(dict.fromkeys((*near.dropped, *far.dropped)))

    def whole(self, body: bytes) -> bytes:
        return self._near.whole(self._far.whole(body))

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        return self._near.error(*self._far.error(status, body))

    def events(self) -> EventTranslator:
        return _ChainedEvents(self._near.events(), self._far.events())

    def outcome(self, outcome: Outcome) -> Outcome:
        return self._near.outcome(self._far.outcome(outcome))


class _ChainedEvents:
    def __init__(self, near: EventTranslator, far: EventTranslator) -> None:
        self._near = near
        self._far = far

    @property
    def done(self) -> bool:
        return self._near.done

    def feed(self, data: bytes) -> bytes:
        said = self._far.feed(data)
        return self._near.feed(said) if said else b""

    def end(self) -> bytes:
        said = self._far.end()
        return (self._near.feed(said) if said else b"") + self._near.end()
