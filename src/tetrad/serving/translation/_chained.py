"""Two translations, one behind the other."""

from __future__ import annotations

from tetrad.serving.errors import RequestRefused
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._kinds import EventTranslator, Translation, Translator
from tetrad.serving.translation._naming import Naming


def chained(client: ModelCall, near: Translation, far: Translator, asked: ModelCall, strict: bool) -> Chained:
    """Say `asked`, which `near` made of the client's call, once more; what gets lost is named in the client's words.

    Raises `RequestRefused` as `far` does.
    """
    naming = getattr(near, "naming", None)
    if naming is None:
        origins, placing = getattr(near, "origins", ()), getattr(near, "placing", None)
        naming = Naming(client.operation.name, asked.operation.name, client.fields, origins, near.dropped, placing)
    try:
        further = far(asked, strict)
    except RequestRefused as refused:
        raise naming.refusal(refused) from None
    return Chained(near, further, naming)


class Chained:
    """What `near` makes of a client's words, said once more by `far`; answers come back the other way."""

    def __init__(self, near: Translation, far: Translation, naming: Naming) -> None:
        self._near = near
        self._far = far
        self.call = far.call
        self.dropped = tuple(dict.fromkeys((*near.dropped, *map(naming.of, far.dropped))))

    def whole(self, body: bytes) -> bytes:
        said = self._near.whole(self._far.whole(body))
        self.dropped = tuple(dict.fromkeys((*self.dropped, *self._near.dropped)))  # what of the answer is left out, too
        return said

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

    @property
    def number(self) -> int:
        """The number of the event that comes next, in protocols that number them."""
        return getattr(self._near, "number", 0)

    def feed(self, data: bytes) -> bytes:
        said = self._far.feed(data)
        return self._near.feed(said) if said else b""

    def end(self) -> bytes:
        said = self._far.end()
        return (self._near.feed(said) if said else b"") + self._near.end()
