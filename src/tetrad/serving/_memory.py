"""Conversations that go on: what was said before is put before a request, what is answered is kept.

State is kept elsewhere (`Memory`), so a gateway needs it only for requests that name a response before theirs. A
request that does not is answered without it, and its answer says that it was not stored.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable

import msgspec

from tetrad.kernel import TetradError
from tetrad.serving._background import ANSWERED_BY, RESPONSE, Begun, Followed, deferred, refuse_deferral
from tetrad.serving._body import Fields, flag_field, items_field, read_fields, take_extension, text_field
from tetrad.serving._dispatch import Dispatch
from tetrad.serving._exchange import Exchange
from tetrad.serving._model import RouteTable, Upstream
from tetrad.serving._operations import RESPONSES
from tetrad.serving._routing import Route
from tetrad.serving.errors import RequestRefused
from tetrad.serving.ports import Answer, Deferred, Memory, ModelCall, Outcome, Remembered, Turn
from tetrad.serving.translation import is_sealed_thought, maker_of, read_thought

log = logging.getLogger(__name__)

_PREVIOUS = "previous_response_id"
_BLANK = re.compile(rb"\r?\n\r?\n")
_TOLD = frozenset(
    ("response.created", "response.queued", "response.in_progress", "response.completed", "response.incomplete",
     "response.failed")
)  # fmt: skip
_KEPT = frozenset(("response.completed", "response.incomplete"))
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.encode
_NULL, _TRUE, _FALSE = msgspec.Raw(b"null"), msgspec.Raw(b"true"), msgspec.Raw(b"false")


class Remembering:
    """The layer (see `tetrad.serving.Layer`) that makes Responses stateful."""

    settles = True
    """Answers of lines that a provider's batch did are kept too."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def bind(self, table: RouteTable, following: Dispatch) -> Dispatch:  # noqa: ARG002 - it holds by every table
        def dispatch(exchange: Exchange, route: Route, call: ModelCall) -> Awaitable[Answer]:
            if call.operation is not RESPONSES:
                return following(exchange, route, call)
            return self._dispatch(following, exchange, route, call)

        return dispatch

    async def _dispatch(self, following: Dispatch, exchange: Exchange, route: Route, call: ModelCall) -> Answer:
        fields, key = call.fields, exchange.key
        if key is not None and key.background:
            exchange.background = exchange.headers.get(RESPONSE, b"").decode("latin-1")
        later = flag_field(fields, "background")
        if later:
            refuse_deferral(fields, key)
        said = fields.get("store")
        wanted = said is None or bytes(said) == b"null" or flag_field(fields, "store")
        wanted = wanted and key is not None and key.content == "full"
        conversation = _conversation(fields)
        before = fields.get(_PREVIOUS)
        previous = "" if before is None or bytes(before) == b"null" else text_field(fields, _PREVIOUS)
        if conversation and previous:
            raise RequestRefused(
                "a request goes on from a response or belongs to a conversation, not both",
                param="conversation",
                hint="leave 'previous_response_id' out",
            )
        if conversation and key is not None and key.content != "full":
            raise RequestRefused(
                f"nothing may be kept of the key {key.id!r}, so it adds to no conversation",
                param="conversation",
                hint="use a key whose content policy is `full`",
                status=403,
            )
        if key is None or not (wanted or previous or conversation):
            return await following(exchange, route, call)
        exchange.goes_on = bool(previous or conversation)
        own = items_field(read_fields(exchange.body), "input")
        if later:
            return await self._later(exchange, deferred(exchange, route, key, own, previous, conversation))
        lost = False
        if previous:
            found = await self._memory.recall(key.project, previous)
            if not _goes_on_there(found, route):
                call, lost = _going_on(exchange, route, call, found, own)
                _refuse_losses(lost, call, route.model.upstream, _PREVIOUS)
        if conversation:
            found = await self._memory.recall_kept(key.project, conversation)
            call, lost = _going_on(exchange, route, call, found, own)
            _refuse_losses(lost, call, route.model.upstream, "conversation")
        answer = await following(exchange, route, call)
        if answer.status >= 400:
            return answer
        upstream = exchange.attempts[-1].upstream if exchange.attempts else route.model.upstream
        if key.background:  # whoever had it called keeps the answer, under the id that was given before
            answer.headers = [*answer.headers, (ANSWERED_BY, upstream.name.encode())]
            return answer
        turn = Turn(key.project, key.id, upstream.name, _native(upstream), msgspec.Raw(own), previous)
        dropped = (f"{'conversation' if conversation else _PREVIOUS}.reasoning",) if lost else ()
        return _Remembered(answer, self._memory, turn, wanted, conversation, dropped)

    async def _later(self, exchange: Exchange, asked: Deferred) -> Answer:
        """Have a request answered later; what it goes on from is looked at now."""
        if asked.turn.previous:
            await self._memory.recall(asked.turn.project, asked.turn.previous)
        if asked.conversation:
            await self._memory.recall_kept(asked.turn.project, asked.conversation)
        followed = Followed(self._memory.follow(asked.turn.project, asked.id)) if asked.events else None
        try:
            shown = await self._memory.begin(asked)
        except BaseException:
            if followed is not None:
                followed.close()
            raise
        exchange.background = identity = _shown.decode(shown).id  # another than asked, if it was asked before
        again = identity != asked.id
        return Begun(shown, again=again) if followed is None else followed.of(identity, again=again)


def _conversation(fields: Fields) -> str:
    """Return the id of the conversation that a request belongs to: a text, or an object with an `id`."""
    raw = fields.get("conversation")
    if raw is None or bytes(raw) == b"null":
        return ""
    try:
        said = _named.decode(raw)
    except msgspec.MsgspecError:
        said = ""
    identity = said if isinstance(said, str) else said.id
    if not identity:
        raise RequestRefused(
            "the field 'conversation' names no conversation", param="conversation", hint='its id, or {"id": …}'
        )
    return identity


def _native(upstream: Upstream) -> bool:
    return RESPONSES.name in upstream.operations and upstream.adapter == "openai"


def _goes_on_there(found: Remembered, route: Route) -> bool:
    """Tell whether the upstream keeps the response itself, and nothing of ours has to stand before it again."""
    upstream = route.model.upstream
    return found.native and found.upstream == upstream.name and _native(upstream) and route.release is None


def _refuse_losses(lost: bool, call: ModelCall, upstream: Upstream, param: str) -> None:
    strict = call.strict if call.strict is not None else upstream.translation == "strict"
    if lost and strict:
        raise RequestRefused(
            f"what is stored of {param!r} holds thoughts that {upstream.name!r} did not make, and cannot be told",
            param=param,
            hint="go on with the model that answered before, or send the header x-tetrad-translation: lossy",
            code="cannot_translate",
        )


def _going_on(
    exchange: Exchange, route: Route, call: ModelCall, found: Remembered, own: bytes
) -> tuple[ModelCall, bool]:
    """Return the call with the whole conversation as its input, and the release's prompt, if any, around that.

    Tells too whether thoughts were left out, because they are another upstream's.
    """
    stored = [bytes(item) for item in _items.decode(found.items)]
    upstream = route.model.upstream
    maker, here = maker_of(upstream.provider, route.model.entry.upstream_model), found.upstream == upstream.name
    before = [item for each in stored if (item := _readable(each, maker, here=here))]
    items = b"[" + b",".join([*before, *(bytes(item) for item in _items.decode(own))]) + b"]"
    unsaid = call.unsaid
    if route.release is None:
        fields = {**call.fields, "input": msgspec.Raw(items)}
    else:
        fields = read_fields(exchange.body)
        take_extension(fields)
        fields["input"] = msgspec.Raw(items)
        _, unsaid = route.release.put(RESPONSES, fields, exchange.variables)
    fields.pop(_PREVIOUS, None)
    fields.pop("conversation", None)
    return msgspec.structs.replace(call, fields=fields, unsaid=unsaid), len(before) < len(stored)


def _readable(item: bytes, maker: str, *, here: bool) -> bytes:
    """Return an item as an upstream can read it, which is another one than answered before unless it is `here`.

    Another one gets no ids that it never gave, and no sealed thoughts but those that it made itself.
    """
    if here and b"tetrad." not in item:
        return item
    fields = _object.decode(item)
    if bytes(fields.get("type", b"")) == b'"reasoning"':
        sealed = msgspec.json.decode(fields.get("encrypted_content", _NULL))
        thought = read_thought(sealed) if is_sealed_thought(sealed) else None
        if (thought.maker != maker) if thought is not None else (not here or is_sealed_thought(sealed)):
            return b""
    if here:
        return item
    fields.pop("id", None)
    fields.pop("status", None)
    return _encode(fields)


class _Named(msgspec.Struct, frozen=True):
    id: str = ""


_named = msgspec.json.Decoder(_Named | str)
_shown = msgspec.json.Decoder(_Named)


class _Remembered:
    """An answer that is kept before its end is shown, so that whoever has it can go on from it."""

    def __init__(
        self, answer: Answer, memory: Memory, turn: Turn, wanted: bool, conversation: str, dropped: tuple[str, ...]
    ) -> None:
        self._conversation = conversation
        self.status = answer.status
        self.headers = answer.headers
        self.stream = answer.stream
        self.received_ns = answer.received_ns
        self.dropped = (*answer.dropped, *dropped)
        self._answer = answer
        self._memory = memory
        self._turn = turn
        self._wanted = wanted
        self.done = False

    async def read(self) -> bytes:
        piece = await self._answer.read()
        self.done = self._answer.done
        if self.stream:
            return await self._events(piece) if b'"response"' in piece else piece
        try:
            response = _object.decode(piece)
        except msgspec.MsgspecError:
            return piece
        return await self._told(response, ended=bytes(response.get("status", b"")) != b'"failed"')

    def outcome(self) -> Outcome:
        return self._answer.outcome()

    def close(self) -> None:
        self._answer.close()

    async def _events(self, piece: bytes) -> bytes:
        said, start = [], 0
        for match in _BLANK.finditer(piece):
            said.append(await self._event(piece[start : match.end()]))
            start = match.end()
        said.append(piece[start:])
        return b"".join(said)

    async def _event(self, event: bytes) -> bytes:
        lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
        try:
            body = _object.decode(b"\n".join(lines))
            kind = _text.decode(body["type"])
            if kind not in _TOLD:
                return event
            response = _object.decode(body["response"])
        except (msgspec.MsgspecError, KeyError):
            return event
        body["response"] = msgspec.Raw(await self._told(response, ended=kind in _KEPT))
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), _encode(body))

    async def _told(self, response: Fields, *, ended: bool) -> bytes:
        """Return the response with what we know of it; kept, once it has ended."""
        turn = self._turn
        response[_PREVIOUS] = msgspec.Raw(_encode(turn.previous)) if turn.previous else _NULL
        response["store"] = _TRUE if self._wanted else _FALSE
        if self._conversation:
            added = not ended or await self._extended(response)
            response["conversation"] = msgspec.Raw(_encode({"id": self._conversation})) if added else _NULL
        body = _encode(response)
        if not (ended and self._wanted):
            return body
        try:
            await self._memory.keep(turn, _text.decode(response["id"]), body)
        except (TetradError, msgspec.MsgspecError, KeyError) as error:
            log.warning("a response of project %r was answered and not stored: %s", turn.project, error)
            response["store"] = _FALSE
            return _encode(response)
        return body

    async def _extended(self, response: Fields) -> bool:
        """Add the turn to its conversation; tell whether it is there."""
        try:
            output = _items.decode(response.get("output", msgspec.Raw(b"[]")))
            items = [*_items.decode(self._turn.input), *output]
            identity = _text.decode(response["id"])
            await self._memory.extend(self._turn.project, self._conversation, identity, items)
        except (TetradError, msgspec.MsgspecError, KeyError) as error:
            log.warning("a response of project %r is missing in its conversation: %s", self._turn.project, error)
            return False
        return True
