"""What a translator is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from tetrad.serving.ports import ModelCall, Outcome


class EventTranslator(Protocol):
    """A stream of server-sent events, said in another protocol as it comes."""

    @property
    def done(self) -> bool:
        """Tell whether everything that the client's stream must hold has been returned."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the upstream's stream, torn anywhere; return whole events for the client, or nothing yet.

        Raises `TetradError` for what cannot be read, and for an event or an answer past its limit.
        """
        ...

    def end(self) -> bytes:
        """Return what is left to say when the upstream's stream is over.

        Raises `StreamBroken` where the stream ended before the answer did.
        """
        ...


class Translation(Protocol):
    """One request in the words of its upstream, and what says the answer in the words of its client.

    `call` is what the upstream is asked; `dropped` names the fields of the client's request that it does not hold,
    because the upstream's protocol cannot say them; once an answer was said `whole`, also what the client's protocol
    cannot say of it. No method does I/O or raises anything but `TetradError`.
    """

    call: ModelCall
    dropped: tuple[str, ...]

    def whole(self, body: bytes) -> bytes:
        """Return a good answer that is no stream; raises `BadAnswer` for what is none."""
        ...

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        """Return status and body of an upstream's error, for the client."""
        ...

    def events(self) -> EventTranslator:
        """Return what translates the answer's stream; asked for once."""
        ...

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return what became of the answer, its output and finish reasons as the client got them."""
        ...


Translator: TypeAlias = "Callable[[ModelCall, bool], Translation]"
"""Says a call to an upstream of another protocol.

The flag asks for strictness: with it, what the other protocol cannot say is refused with `RequestRefused` (400), naming
the field; without it, it is left out and listed in `Translation.dropped`. What would change the meaning of the answer
so that the client could not use it (`n` above 1, audio as output) is left out or refused in the same way. A request
that is malformed by its own protocol is refused in both cases.
"""
