"""What a server says, with its name in all that must find its way back to it. Pure rules."""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec

from tetrad.tools._names import combined_uri
from tetrad.tools._resources import SUBSCRIPTIONS
from tetrad.tools._rpc import MAX_ID_BYTES, Fields, Message
from tetrad.tools.errors import BadMessage, ServerBroken

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_LINK, _EMBEDDED = "resource_link", "resource"
_fields = msgspec.json.Decoder(Fields)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_texts = msgspec.json.Decoder(list[str])
_encode = msgspec.json.encode


def owned(said: Message, server: str) -> Message:
    """Return what a server says on its own with its name in what the client will answer by, and in addresses."""
    params = said.params
    if said.kind == "request":
        try:
            meta = _fields.decode(params["_meta"]) if params and "_meta" in params else {}
        except (msgspec.MsgspecError, RecursionError):
            raise ServerBroken("a request of the MCP server's cannot be read") from None
        if params is not None and "progressToken" in meta:
            meta["progressToken"] = _with_name(meta["progressToken"], server)
            params = {**params, "_meta": msgspec.Raw(_encode(meta))}
        return msgspec.structs.replace(said, id=_with_name(said.id, server), params=params)
    if not params:
        return said
    if said.method == "notifications/cancelled" and "requestId" in params:
        params = {**params, "requestId": _with_name(params["requestId"], server)}
    elif said.method == "notifications/resources/updated":
        params = _addressed(params, server)
    elif said.method == ACKNOWLEDGED and "notifications" in params:
        params = {**params, "notifications": msgspec.Raw(_encode(_honoured(params["notifications"], server)))}
    return msgspec.structs.replace(said, params=params)


def addressed(method: str, result: msgspec.Raw, server: str) -> msgspec.Raw:
    """Return a result with the server's name in the addresses of its resources; without a method, go by its form.

    What cannot be read is left as it is: it leads nowhere.
    """
    wanted = {"resources/read": "contents", "tools/call": "content", "prompts/get": "messages"}
    places = [wanted[method]] if method in wanted else [] if method else list(wanted.values())
    if not places:
        return result
    try:
        fields = _fields.decode(result)
        for place in places:
            if place in fields:
                fields[place] = _changed(fields[place], lambda raw, place=place: _item(place, raw, server))  # type: ignore[misc]
    except (msgspec.MsgspecError, RecursionError):
        return result
    return msgspec.Raw(_encode(fields))


def _item(place: str, raw: msgspec.Raw, server: str) -> msgspec.Raw:
    if place == "content":
        return _block(raw, server)
    item = _fields.decode(raw)
    if place == "contents":
        return msgspec.Raw(_encode(_addressed(item, server)))
    if "content" in item:
        item["content"] = _block(item["content"], server)
    return msgspec.Raw(_encode(item))


def _block(raw: msgspec.Raw, server: str) -> msgspec.Raw:
    """Return a block of content with its address, if it links or holds a resource."""
    fields = _fields.decode(raw)
    kind = _text.decode(fields["type"]) if "type" in fields else ""
    if kind == _LINK:
        return msgspec.Raw(_encode(_addressed(fields, server)))
    if kind == _EMBEDDED and "resource" in fields:
        inner = _addressed(_fields.decode(fields["resource"]), server)
        return msgspec.Raw(_encode({**fields, "resource": msgspec.Raw(_encode(inner))}))
    return raw


def _addressed(fields: Fields, server: str) -> Fields:
    if "uri" not in fields:
        return fields
    try:
        return {**fields, "uri": msgspec.Raw(_encode(combined_uri(server, _text.decode(fields["uri"]))))}
    except msgspec.MsgspecError:
        return fields


def _changed(raws: msgspec.Raw, change: Callable[[msgspec.Raw], msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(_encode([change(each) for each in _raws.decode(raws)]))


def _honoured(raw: msgspec.Raw, server: str) -> Fields:
    try:
        fields = _fields.decode(raw)
        uris = _texts.decode(fields[SUBSCRIPTIONS]) if SUBSCRIPTIONS in fields else []
    except (msgspec.MsgspecError, RecursionError):
        raise ServerBroken("what the MCP server says of subscriptions cannot be read") from None
    if uris:
        fields[SUBSCRIPTIONS] = msgspec.Raw(_encode([combined_uri(server, uri) for uri in uris]))
    return fields


def acknowledged(one: Fields, other: Fields) -> Fields:
    """Return what two servers honour together, each as `notifications` of what acknowledges a subscription."""
    merged = {**one, **other}
    for name in one.keys() & other.keys():
        if name == SUBSCRIPTIONS:
            merged[name] = msgspec.Raw(_encode([*_texts.decode(one[name]), *_texts.decode(other[name])]))
        elif bytes(one[name]) == b"true":
            merged[name] = one[name]
    return merged


def header(name: str) -> bytes:
    """Return a name as MCP lets it stand in a header: what is more than plain characters is encoded."""
    if name.isascii() and name.isprintable() and name == name.strip() and not name.startswith("=?"):
        return name.encode("ascii")
    return b"=?base64?%b?=" % base64.b64encode(name.encode())


def _with_name(identity: msgspec.Raw, server: str) -> msgspec.Raw:
    named = _encode(f"{server}:{bytes(identity).decode()}")
    if len(named) > MAX_ID_BYTES:
        raise ServerBroken("an id of the MCP server is too long")
    return msgspec.Raw(named)


def unnamed(identity: msgspec.Raw) -> tuple[str, msgspec.Raw]:
    """Return server and own id of one that has a server's name; raises `BadMessage` for all else."""
    try:
        server, found, own = _text.decode(identity).partition(":")
        msgspec.json.decode(own.encode())
    except (msgspec.MsgspecError, UnicodeEncodeError):
        found = ""
    if not found:
        raise BadMessage("the message answers nothing that a server asked here")
    return server, msgspec.Raw(own.encode())
