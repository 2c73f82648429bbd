"""Responses that clients come back to, and the conversations that they make."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from tetrad.kernel import uuid7

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,127}")


class KeptResponse(msgspec.Struct, frozen=True):
    """One turn: what the client sent (a JSON array of items) and the whole response (a JSON object).

    `previous` is the id of the turn before it; `upstream` answered, and `native` tells that it speaks Responses
    itself, so that it may keep this response too.
    """

    id: str
    project: str
    created_s: int
    input: msgspec.Raw
    response: msgspec.Raw
    previous: str = ""
    key_id: str = ""
    upstream: str = ""
    native: bool = False

    @property
    def size(self) -> int:
        """Bytes of what it holds."""
        return len(bytes(self.input)) + len(bytes(self.response))


class Conversation(msgspec.Struct, frozen=True):
    """Everything that was said up to and with a response: `items` is a JSON array, the oldest first."""

    items: msgspec.Raw
    upstream: str = ""
    native: bool = False


class KeptConversation(msgspec.Struct, frozen=True):
    """A conversation as an object of its own: clients name it, and each response that does adds to its items."""

    id: str
    project: str
    created_s: int
    metadata: dict[str, str] = {}


class BackgroundCall(msgspec.Struct, frozen=True):
    """What is to be called for a response in the background.

    `body` is the client's request without its input, which is kept with the response; `headers` are those that go with
    it. The app is called as its `release`, where there is one. `stream`: the answer is best asked for as a stream.
    `events`: the client follows its events.
    """

    body: msgspec.Raw
    headers: dict[str, str] = {}
    release: str = ""
    conversation: str = ""
    stream: bool = False
    events: bool = False


class BackgroundRequest(msgspec.Struct, frozen=True):
    """A response that is to be answered in the background: how it is shown until then, and what is to be called.

    Who asks again with the same `idempotency` asks for the same response, if the request has the same `fingerprint`.
    """

    kept: KeptResponse
    call: BackgroundCall
    app: str = ""
    model: str = ""
    idempotency: str = ""
    fingerprint: str = ""


class OpenResponse(msgspec.Struct, frozen=True):
    """A response in the background that has not ended; `calls` counts how often its call was begun."""

    project: str
    id: str
    key_id: str
    created_s: int
    deadline_s: int
    calls: int
    call: BackgroundCall


class BackgroundWork(msgspec.Struct, frozen=True):
    """What a worker must know to answer a response: what to send, as whom, and until when.

    It is call `number` of the response; its `events`, where they are followed, are told by that.
    """

    id: str
    secret: str
    deadline_s: int
    body: msgspec.Raw
    headers: dict[str, str] = {}
    release: str = ""
    stream: bool = False
    number: int = 1
    events: bool = False


class EventBatch(msgspec.Struct, frozen=True):
    """What a call said: its events from number `first` of that call on, each a JSON object."""

    call: int
    first: int
    events: list[msgspec.Raw]


class EventPage(msgspec.Struct, frozen=True):
    """Events of a response in their order, up to and with number `last`; `over`: none come after them."""

    events: list[msgspec.Raw]
    last: int
    over: bool


class EventLog(msgspec.Struct, frozen=True):
    """How far the events of a response are: whether there are any, what number comes next, until when they are kept."""

    kept: bool
    next_number: int
    over: bool
    until: datetime | None = None


class BackgroundRecord(msgspec.Struct, frozen=True):
    """What operators see of a response in the background: nothing of what was said."""

    id: str
    status: str
    app: str
    model: str
    key_id: str
    created_at: datetime
    ended_at: datetime | None = None
    followed: bool = False
    dropped: str = ""


class RecordSearch(msgspec.Struct, frozen=True):
    """Which of them: those of a status (`open`: not ended), those that hold a text in an id, an app or a model."""

    contains: str = ""
    status: str = ""
    oldest_first: bool = False


class BackgroundAnswer(msgspec.Struct, frozen=True):
    """How a call in the background ended: with a response (a JSON object), or with an error.

    `dropped` names the parameters that its upstream was not told.
    """

    response: msgspec.Raw = msgspec.Raw(b"null")
    upstream: str = ""
    code: str = ""
    message: str = ""
    dropped: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is a response."""
        return bytes(self.response) != b"null"


class ResponseLimits(msgspec.Struct, frozen=True):
    """What may be kept, and for how long."""

    keep_days: int = 30
    most: int = 100_000
    most_bytes: int = 16 * 2**20
    conversation_bytes: int = 32 * 2**20
    most_turns: int = 500
    most_items: int = 5000
    background_most: int = 200
    background_s: int = 3600
    event_bytes: int = 16 * 2**20
    events_s: int = 3600


class ItemPage(msgspec.Struct, frozen=True):
    """A page of items, in the words of OpenAI's protocol."""

    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


class _Output(msgspec.Struct, frozen=True):
    output: list[msgspec.Raw] = []


class _Said(msgspec.Struct, frozen=True):
    output: list[Any] = []


class ResponseError(msgspec.Struct, frozen=True):
    """Why a response failed."""

    code: str = ""
    message: str = ""


class _Erring(msgspec.Struct, frozen=True):
    error: ResponseError | None = None


class ResponseState(msgspec.Struct, frozen=True):
    """Of a response, whether it is answered in the background, and how far it is."""

    status: str | None = None
    background: bool | None = None

    @property
    def open(self) -> bool:
        """Whether it is still to be answered."""
        return self.status in ("queued", "in_progress")


_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_items = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(dict[str, Any])
_outputs = msgspec.json.Decoder(_Output)
_said = msgspec.json.Decoder(_Said)
_state = msgspec.json.Decoder(ResponseState)
_erring = msgspec.json.Decoder(_Erring)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def state_of(response: msgspec.Raw) -> ResponseState:
    """Return how far a response is."""
    return _state.decode(response)


def error_of(response: msgspec.Raw) -> ResponseError | None:
    """Return why a response failed; None where it did not."""
    return _erring.decode(response).error


def output_of(response: msgspec.Raw) -> list[Any]:
    """Return the items of an answer."""
    return _said.decode(response).output


def changed(response: msgspec.Raw, **values: Any) -> msgspec.Raw:
    """Return a response with other values in some of its fields."""
    fields = _fields.decode(response)
    fields.update({name: msgspec.Raw(msgspec.json.encode(value)) for name, value in values.items()})
    return msgspec.Raw(msgspec.json.encode(fields))


def call_body(call: BackgroundCall, items: msgspec.Raw) -> msgspec.Raw:
    """Return the whole body of a call: what the client said, with its input."""
    return msgspec.Raw(msgspec.json.encode({**_fields.decode(call.body), "input": items}))


def turn_items(kept: KeptResponse) -> list[bytes]:
    """Return what a turn added to its conversation: the client's items, then those of the answer."""
    return [bytes(item) for item in (*_items.decode(kept.input), *_outputs.decode(kept.response).output)]


def joined(items: list[bytes]) -> msgspec.Raw:
    """Return encoded items as a JSON array."""
    return msgspec.Raw(b"[" + b",".join(items) + b"]")


def new_items(items: list[msgspec.Raw]) -> list[tuple[str, bytes]]:
    """Return items as a conversation keeps them, by their ids; what has no id gets a new one.

    Raises `msgspec.MsgspecError` for what is no item.
    """
    found = []
    for raw in items:
        item: dict[str, Any] = _item.decode(raw)
        kind = str(item.get("type") or "message")
        said = item.get("id")
        identity = (
            said if isinstance(said, str) and ID.fullmatch(said) else f"{_PREFIXES.get(kind, 'item')}_{uuid7().hex}"
        )
        found.append((identity, msgspec.json.encode({**item, "type": kind, "id": identity})))
    return found


def named_items(items: list[bytes], identity: str) -> list[dict[str, Any]]:
    """Return items as the protocol lists them: each has an id and a type, each message a list of parts."""
    tail = identity.partition("_")[2] or identity
    found = []
    for number, raw in enumerate(items):
        item: dict[str, Any] = msgspec.json.decode(raw)
        item.setdefault("type", "message")
        item.setdefault("id", f"{'msg' if item['type'] == 'message' else 'item'}_{tail}i{number:04x}")
        if item["type"] == "message":
            item.setdefault("status", "completed")
        if item["type"] == "message" and isinstance(item.get("content"), str):
            kind = "output_text" if item.get("role") == "assistant" else "input_text"
            item["content"] = [{"type": kind, "text": item["content"]}]
        found.append(item)
    return found
