"""JSON-RPC messages of MCP, read as far as the gateway has to judge them and no further.

Sources: JSON-RPC 2.0; MCP 2025-11-25 and 2026-07-28, "Streamable HTTP". What is passed on is written anew from what was
read here, so that no reader behind us can find another method, id or name in it (twice the same key in an object).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tetrad.kernel import TetradError
from tetrad.tools.errors import BadMessage

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MAX_ID_BYTES = 256
MAX_NAME = 128

Kind = Literal["request", "notification", "response"]
Fields = dict[str, msgspec.Raw]
_NONE = msgspec.Raw(b"")
_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.encode


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message: a request has method and id, a notification a method, a response an id and a result or an error."""

    kind: Kind
    method: str = ""
    id: msgspec.Raw = _NONE
    params: Fields | None = None
    result: msgspec.Raw = _NONE
    error: msgspec.Raw = _NONE

    def encoded(self) -> bytes:
        """Return the message as it is passed on."""
        fields: dict[str, object] = {"jsonrpc": "2.0"}
        if bytes(self.id):
            fields["id"] = self.id
        if self.method:
            fields["method"] = self.method
        if self.params is not None:
            fields["params"] = self.params
        if bytes(self.result):
            fields["result"] = self.result
        if bytes(self.error):
            fields["error"] = self.error
        return _encode(fields)

    def text(self, name: str) -> str:
        """Return a parameter that must be a text; raises `BadMessage`."""
        try:
            return _text.decode((self.params or {})[name])
        except (KeyError, msgspec.MsgspecError):
            raise BadMessage(
                f"{self.method} names nothing in params.{name}", number=INVALID_PARAMS, hint="a text belongs there"
            ) from None


def read_message(body: bytes) -> Message:
    """Read one message; raises `BadMessage` for batches, for what is no JSON and for what is no message."""
    try:
        str(body, "utf-8")  # texts are only looked at later, and some never
        found = _fields.decode(body)
    except msgspec.ValidationError:
        batch = body.lstrip()[:1] == b"["
        raise BadMessage(
            "a batch of messages is not read" if batch else "the body is no JSON object",
            hint="send each message in a request of its own",
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadMessage(f"the body is no JSON: {error}", number=PARSE_ERROR) from None
    except RecursionError:
        raise BadMessage("the body is nested too deeply", number=PARSE_ERROR) from None
    if bytes(found.get("jsonrpc", _NONE)) != b'"2.0"':
        raise BadMessage("the body is no JSON-RPC message", hint='it has "jsonrpc": "2.0"')
    identity = _identity(found.get("id", _NONE))
    if "method" not in found:
        return _response(found, identity)
    try:
        method = _text.decode(found["method"])
    except msgspec.MsgspecError:
        raise BadMessage("the method is no text") from None
    if not 1 <= len(method) <= MAX_NAME or "result" in found or "error" in found:
        raise BadMessage("the message is neither a request nor a response")
    params = _params(found.get("params"))
    if "id" in found:
        if bytes(identity) == b"null":
            raise BadMessage("a request has an id, a text or a whole number")
        return Message("request", method, identity, params)
    return Message("notification", method, params=params)


def _response(found: Fields, identity: msgspec.Raw) -> Message:
    if ("result" in found) == ("error" in found) or not bytes(identity):
        raise BadMessage("the message is neither a request nor a response")
    return Message("response", id=identity, result=found.get("result", _NONE), error=found.get("error", _NONE))


def _params(raw: msgspec.Raw | None) -> Fields | None:
    if raw is None:
        return None
    try:
        return _fields.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        raise BadMessage("params is no object", number=INVALID_PARAMS) from None


def _identity(raw: msgspec.Raw) -> msgspec.Raw:
    data = bytes(raw)
    if not data or data == b"null":
        return raw
    whole = data.removeprefix(b"-").isdigit()
    if len(data) > MAX_ID_BYTES or not (whole or data.startswith(b'"')):
        raise BadMessage("the id is neither a text nor a whole number, or too long", hint=f"{MAX_ID_BYTES} bytes")
    return raw


def same_id(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    """Tell whether two ids are one: "1" is not 1, and how a text was escaped does not matter."""
    first, second = bytes(one), bytes(other)
    if first == second:
        return bool(first)
    if not (first.startswith(b'"') and second.startswith(b'"')):
        return False
    try:
        return _text.decode(first) == _text.decode(second)
    except msgspec.MsgspecError:
        return False


def error_message(error: TetradError, identity: msgspec.Raw | None = None) -> bytes:
    """Return the JSON-RPC answer that tells an error; what to do next is part of its words."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    number = getattr(error, "number", INTERNAL_ERROR if error.status >= 500 else INVALID_REQUEST)
    known = identity if identity is not None and bytes(identity) else None
    return _encode(
        {"jsonrpc": "2.0", "id": known, "error": {"code": number, "message": message, "data": {"code": error.code}}}
    )
