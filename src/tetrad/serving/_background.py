"""Responses in the background, at a gateway: what is told of one that is begun, and what its call comes with.

The call is made by our own worker, with a key of its own that stands for the client's. What it says in these headers
holds for such keys alone.
"""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

import msgspec

from tetrad.kernel import uuid7
from tetrad.serving._body import Fields, flag_field, read_fields
from tetrad.serving._exchange import Exchange
from tetrad.serving._model import KeyEntry
from tetrad.serving._routing import Route
from tetrad.serving.errors import RequestRefused
from tetrad.serving.ports import Deferred, Following, Outcome, Turn

RESPONSE = b"x-tetrad-background"
"""The header of a call that names the response which it answers."""
RELEASE = b"x-tetrad-background-release"
"""The header of a call that names the release which the response was begun with."""
ANSWERED_BY = b"x-tetrad-background-upstream"
IDEMPOTENCY = b"idempotency-key"
_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
_OURS = b"x-tetrad-"
_LEFT_OUT = frozenset((RESPONSE, RELEASE, b"x-tetrad-batch-step", b"x-tetrad-model"))
_ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "parallel_tool_calls", "prompt",
    "reasoning", "service_tier", "temperature", "text", "tool_choice", "tools", "top_p", "truncation", "user",
)  # fmt: skip
_UNSAID = {
    "instructions": b"null", "max_output_tokens": b"null", "metadata": b"{}", "parallel_tool_calls": b"true",
    "temperature": b"null", "text": b'{"format":{"type":"text"}}', "tool_choice": b'"auto"', "tools": b"[]",
    "top_p": b"null", "truncation": b'"disabled"', "user": b"null",
}  # fmt: skip


def settled_release(exchange: Exchange) -> str:
    """Return the release that a call in the background was begun with; empty for every other call."""
    key = exchange.key
    return exchange.headers.get(RELEASE, b"").decode("latin-1") if key is not None and key.background else ""


def refuse_deferral(fields: Fields, key: KeyEntry | None) -> None:
    """Refuse to answer in the background what cannot be come back to."""
    if key is not None and key.batch:
        raise RequestRefused(
            "a line of a batch is not answered in the background",
            param="background",
            hint="leave 'background' out: nobody waits for a batch",
            code="background_not_served",
        )
    said = fields.get("store")
    if said is not None and bytes(said) != b"null" and not flag_field(fields, "store"):
        raise RequestRefused(
            "a response in the background has to be stored, or nobody could come back to it",
            param="store",
            hint="leave 'store' out, or leave 'background' out",
            code="background_not_stored",
        )
    if key is not None and key.content != "full":
        raise RequestRefused(
            f"nothing may be kept of the key {key.id!r}, so nothing is answered in the background",
            param="background",
            hint="use a key whose content policy is `full`, or leave 'background' out",
            code="background_not_stored",
            status=403,
        )


def deferred(exchange: Exchange, route: Route, key: KeyEntry, own: bytes, previous: str, conversation: str) -> Deferred:
    """Return what is to be answered later, and how it is shown until then."""
    identity = f"resp_{uuid7().hex}"
    idempotency, fingerprint = _idempotency(exchange)
    said = read_fields(exchange.body)
    shown: Fields = {
        "id": msgspec.Raw(msgspec.json.encode(identity)),
        "object": msgspec.Raw(b'"response"'),
        "created_at": msgspec.Raw(b"%d" % int(time.time())),
        "status": msgspec.Raw(b'"queued"'),
        "background": msgspec.Raw(b"true"),
        "store": msgspec.Raw(b"true"),
        "output": msgspec.Raw(b"[]"),
        "previous_response_id": _told(previous or None),
        "conversation": _told({"id": conversation} if conversation else None),
    }
    for name in ("error", "incomplete_details", "usage"):
        shown[name] = msgspec.Raw(b"null")
    for name in _ECHOED:
        if name in said:
            shown[name] = said[name]
        elif name in _UNSAID:
            shown[name] = msgspec.Raw(_UNSAID[name])
    events = flag_field(said, "stream")
    for name in ("background", "stream", "stream_options", "input"):
        said.pop(name, None)
    release = route.release.route if route.release is not None else None
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in exchange.headers.items()
        if name.startswith(_OURS) and name not in _LEFT_OUT
    }
    headers["traceparent"] = f"00-{exchange.trace_id}-{exchange.span_id}-01"
    return Deferred(
        id=identity,
        turn=Turn(key.project, key.id, "", False, msgspec.Raw(own), previous),
        shown=msgspec.json.encode(shown),
        body=msgspec.Raw(msgspec.json.encode(said)),
        headers=headers,
        release="" if release is None else release.digest,
        conversation=conversation,
        # a stream tells sooner that it breaks, and a long one is no idle one; what is promised of its shape is mended
        # only where the answer is whole
        stream=events or release is None or release.output == "off",
        events=events,
        app=exchange.app,
        model=exchange.model,
        idempotency=idempotency,
        fingerprint=fingerprint,
    )


class Begun:
    """The answer to a request that will be answered later."""

    status = 200
    stream = False
    done = True
    dropped: tuple[str, ...] = ()

    def __init__(self, body: bytes, *, again: bool = False) -> None:
        self.headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json"), *_replayed(again)]
        self.received_ns = time.time_ns()
        self._body = body

    async def read(self) -> bytes:
        return self._body

    def outcome(self) -> Outcome:
        return Outcome()

    def close(self) -> None:
        return None


class Followed:
    """The answer to a request that is answered in the background, and whose events the client follows from here on."""

    status = 200
    stream = True
    dropped: tuple[str, ...] = ()

    def __init__(self, events: Following) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.received_ns = time.time_ns()
        self.done = False
        self._events = events

    def of(self, identity: str, *, again: bool) -> Followed:
        """Follow this response; `again`: it was begun before."""
        self._events.response = identity
        self.headers.extend(_replayed(again))
        return self

    async def read(self) -> bytes:
        piece = await self._events.read()
        self.done = not piece
        return piece

    def outcome(self) -> Outcome:
        return Outcome()

    def close(self) -> None:
        self._events.close()


def _replayed(again: bool) -> list[tuple[bytes, bytes]]:
    return [(b"idempotent-replayed", b"true")] if again else []


def _idempotency(exchange: Exchange) -> tuple[str, str]:
    """Return what is kept of a request by which it is known again: its key, hashed, and a digest of its body."""
    said = exchange.headers.get(IDEMPOTENCY)
    if said is None:
        return "", ""
    if not _KEY.fullmatch(said):
        raise RequestRefused(
            "the Idempotency-Key is not readable",
            param="Idempotency-Key",
            hint="1 to 255 printable ASCII characters, such as a UUID",
            code="bad_field",
        )
    body = msgspec.json.encode(msgspec.json.decode(exchange.body), order="deterministic")
    return hashlib.sha256(said).hexdigest(), hashlib.sha256(body).hexdigest()


def _told(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
