"""Calls to upstreams that do not speak the client's protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import msgspec

from tetrad.kernel import Usage
from tetrad.serving._body import text_field
from tetrad.serving._estimate import estimated_tokens
from tetrad.serving._model import Upstream
from tetrad.serving._operations import CHAT, COUNT_TOKENS, MESSAGES, RESPONSES
from tetrad.serving._pumping import Put, pumped
from tetrad.serving.errors import RequestRefused
from tetrad.serving.ports import Answer, Handler, ModelCall, Outcome
from tetrad.serving.translation import Translation, find, maker_of

_THINKING = (RESPONSES, CHAT, MESSAGES)
"""Operations whose clients send back what was thought, which is its maker's alone."""
_PAUSE_EVERY = 64
"""So many pieces of a stream may say nothing before others get their turn."""


async def translated(call: ModelCall, spoken: Collection[str], upstream: Upstream, following: Handler) -> Answer:
    """Call `following`, which speaks the operations `spoken` (the best first), for a client that speaks another one.

    Endpoints do this with themselves, for every call whose operation is not theirs. Tokens are estimated where nobody
    counts them. Raises `RequestRefused` where there is no way from the one to the other, or where a strict call says
    what the other cannot.
    """
    translate = find(call.operation.name, spoken)
    if translate is None:
        if call.operation is COUNT_TOKENS:
            return _Estimate(call)
        raise RequestRefused(
            f"the upstream {upstream.name!r} cannot do {call.operation.name}: it speaks {', '.join(spoken)} only",
            param="model",
            hint="ask for a model of a provider that can",
            code="operation_not_served",
        )
    strict = call.strict if call.strict is not None else upstream.translation == "strict"
    if call.operation in _THINKING:
        # what is encrypted is for one account; what Anthropic signs, all of its accounts take
        maker = upstream.provider if call.operation is RESPONSES else upstream.name
        call = msgspec.structs.replace(call, maker=maker_of(maker, text_field(call.fields, "model")))
    translation = translate(call, strict)
    answer = await following(translation.call)
    if answer.stream:
        return _Stream(answer, translation)
    try:
        body = await answer.read()
        if answer.status >= 400:
            status, body = translation.error(answer.status, body)
        else:
            status, body = answer.status, translation.whole(body)
        return _Whole(answer, translation, status, body)
    except BaseException:
        answer.close()
        raise


class _Estimate:
    """A count of tokens by ourselves, which says of itself that it is an estimate."""

    status = 200
    stream = False
    done = True
    dropped: tuple[str, ...] = ()

    def __init__(self, call: ModelCall) -> None:
        self._tokens = estimated_tokens(call.fields)
        self.headers = [(b"content-type", b"application/json"), (b"x-tetrad-estimated", b"input_tokens")]
        self.received_ns = time.time_ns()

    async def read(self) -> bytes:
        return b'{"input_tokens":%d}' % self._tokens

    def outcome(self) -> Outcome:
        attributes = {"count_tokens.input_tokens": str(self._tokens), "count_tokens.estimated": "true"}
        return Outcome(usage=Usage(), attributes=attributes)

    def close(self) -> None:
        """Nothing is held."""


class _Whole:
    stream = False
    done = True

    def __init__(self, answer: Answer, translation: Translation, status: int, body: bytes) -> None:
        self.status = status
        self.headers = answer.headers
        self.received_ns = answer.received_ns
        self.dropped = translation.dropped
        self._answer = answer
        self._translation = translation
        self._body = body

    async def read(self) -> bytes:
        return self._body

    def outcome(self) -> Outcome:
        return self._translation.outcome(self._answer.outcome())

    def close(self) -> None:
        self._answer.close()


class _Stream:
    stream = True

    def __init__(self, answer: Answer, translation: Translation) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.received_ns = answer.received_ns
        self.dropped = translation.dropped
        self.done = False
        self._answer = answer
        self._translation = translation
        self._events = translation.events()
        self._said = b""
        """What was made of the last piece, where it came while the stream flowed."""
        self._fault: Exception | None = None

    async def read(self) -> bytes:
        if self._fault is not None:
            raise self._fault
        silent = 0
        said, self._said = self._said, b""
        while not self._events.done:
            piece = await self._answer.read()
            said = self._events.feed(piece) if piece else b""
            if self._answer.done:
                break
            if said and not self._events.done:
                return said
            silent += 1
            if not silent % _PAUSE_EVERY:
                await asyncio.sleep(0)
        self._answer.done = True  # the rest says nothing; cut off, it would take its connection with it
        said += self._events.end()
        self.done = True
        return said

    async def pump(self, put: Put) -> None:
        """Hand on what pieces say in the client's protocol; see `pumped`."""
        if self._fault is not None or self._events.done:
            return

        def take(piece: bytes) -> bool:
            try:
                said = self._events.feed(piece)
            except Exception as error:  # noqa: BLE001 - raised again by whoever reads on
                self._fault = error
                return False
            if self._events.done:
                self._said = said
                return False
            return put(said) if said else True

        await pumped(self._answer, take)

    def outcome(self) -> Outcome:
        outcome = self._translation.outcome(self._answer.outcome())
        return msgspec.structs.replace(outcome, events=getattr(self._events, "number", 0))

    def close(self) -> None:
        self._answer.close()
