"""The lists of several servers as one: what each has, by names and addresses that lead back to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from tetrad.tools._call import MAX_URI
from tetrad.tools._names import combined_name, combined_uri, own_name
from tetrad.tools._rpc import INVALID_PARAMS, Fields, Message
from tetrad.tools._together import Gone, Together, is_unknown_method, meta_of, result_of
from tetrad.tools.errors import BadMessage, ServerBroken

MAX_PAGES = 20
MAX_LISTED = 500
"""Of one server's tools, prompts or resources, as many as are read of it at once."""
_CACHED = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
_fields = msgspec.json.Decoder(Fields)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.encode


class _Kind(NamedTuple):
    surface: str
    field: str
    address: str = ""


LISTS = {
    "tools/list": _Kind("tools", "tools"),
    "prompts/list": _Kind("prompts", "prompts"),
    "resources/list": _Kind("resources", "resources", "uri"),
    "resources/templates/list": _Kind("resources", "resourceTemplates", "uriTemplate"),
}


class _Page(msgspec.Struct):
    named: list[msgspec.Raw]
    omitted: list[dict[str, str]]


async def list_all(together: Together, message: Message) -> dict[str, Any]:
    """Return the result of a list: what all servers list, on one page."""
    if "cursor" in (message.params or {}):
        raise BadMessage("there is one page, and no cursor", number=INVALID_PARAMS, hint="leave the cursor out")
    kind = LISTS[message.method]

    async def ask(name: str) -> _Page:
        return await _listed(together, name, message, kind)

    found, gone = await together.each(message, ask, surface=kind.surface)
    items: list[msgspec.Raw] = []
    omitted: list[dict[str, str]] = []
    size = 0
    for name, page in found.items():
        own = sum(len(bytes(each)) for each in page.named)
        if size + own > together.proxy.answer_bytes:
            told = f"all together show more than {together.proxy.answer_bytes:,} bytes; ask /mcp/{name}"
            gone.append(Gone(name, ServerBroken(told)))
            continue
        size += own
        items += page.named
        omitted += page.omitted
    return {kind.field: items, **_CACHED, **meta_of(gone, omitted)}


async def _listed(together: Together, name: str, message: Message, kind: _Kind) -> _Page:
    """Return what a server lists, by the names that are called here, and what cannot be named."""
    found: dict[str, msgspec.Raw] = {}
    omitted: list[dict[str, str]] = []
    pins = together.server(name).route.pins if kind.surface == "tools" else {}
    params = dict(message.params or {})
    for _ in range(MAX_PAGES):
        answer = await together.ask(name, msgspec.structs.replace(message, params=params))
        if kind.address and is_unknown_method(answer):
            return _Page([], [])  # who has resources need not have templates
        fields = result_of(answer)
        try:
            items = [_fields.decode(each) for each in _raws.decode(fields[kind.field])]
            names = [_text.decode(each[kind.address or "name"]) for each in items]
            cursor = _text.decode(fields["nextCursor"]) if "nextCursor" in fields else ""
        except (msgspec.MsgspecError, KeyError, RecursionError):
            raise ServerBroken(f"its list of {kind.field} cannot be read") from None
        for own, item in zip(names, items, strict=True):
            combined, why = _called(name, own, kind, pins)
            if why or combined in found:
                why = why or "it is listed twice"
                omitted.append({"server": name, "name": own[:128], "reason": why})
                continue
            found[combined] = _renamed(item, name, combined, kind)
        if len(found) + len(omitted) > MAX_LISTED:
            raise ServerBroken(f"it lists more than {MAX_LISTED} {kind.field}; ask /mcp/{name}")
        if not cursor:
            return _Page(list(found.values()), omitted)
        params["cursor"] = msgspec.Raw(_encode(cursor))
    raise ServerBroken(f"its list of {kind.field} has more than {MAX_PAGES} pages")


def _called(server: str, own: str, kind: _Kind, pins: Iterable[str]) -> tuple[str, str]:
    """Return what something is called here, and why it cannot be."""
    if kind.address:
        return combined_uri(server, own), "" if len(own) <= MAX_URI else "its address is too long"
    combined = combined_name(server, own)
    known = own_name(combined, pins) == own
    return combined, "" if known else "its name is too long, and is not approved or cannot be told from another's"


def _renamed(item: Fields, server: str, combined: str, kind: _Kind) -> msgspec.Raw:
    if not kind.address:
        return msgspec.Raw(_encode({**item, "name": combined}))
    renamed = {**item, kind.address: msgspec.Raw(_encode(combined))}
    with contextlib.suppress(KeyError, msgspec.MsgspecError):  # a name that is none stays
        renamed["name"] = msgspec.Raw(_encode(combined_name(server, _text.decode(item["name"]))))
    return msgspec.Raw(_encode(renamed))
