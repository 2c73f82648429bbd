"""Greet several servers as one: what they offer together, in a revision that all of them speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tetrad.kernel import NotFound
from tetrad.serving import RequestRefused
from tetrad.tools._part import Part
from tetrad.tools._rpc import Fields, Message
from tetrad.tools._sessions import MOST_COMBINED
from tetrad.tools._together import Gone, Together, meta_of, result_of, session_name
from tetrad.tools.errors import BadMessage, MethodRefused, ServerBroken

_LEGACY = "2025-11-25"
_OFFERED = ("tools", "prompts", "resources", "completions", "logging")
_FLAGS = ("listChanged", "subscribe")
_INFO = {"name": "tetrad", "version": "1"}
_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)


class _Greeting(msgspec.Struct):
    protocolVersion: str = ""  # noqa: N815 - as MCP spells it
    supportedVersions: list[str] = []  # noqa: N815
    capabilities: dict[str, dict[str, Any]] = {}
    instructions: str = ""


async def initialize_all(together: Together, message: Message) -> tuple[dict[str, Any], bytes]:
    """Begin a session with each server; return the result of all, and the id that holds their sessions, sealed."""
    together.sessions = None
    parts: dict[str, Part] = {}
    sessions, key = together.proxy.sessions, together.key

    async def ask(name: str) -> _Greeting:
        part = parts[name] = together.part(name, message)
        return _greeting(await together.heard(part, message))

    found, gone = await together.each(message, ask)
    begun = {
        session_name(name, together.server(name)): (parts[name].given, each.protocolVersion[:10])
        for name, each in found.items()
    }
    sealed = sessions.seal_many(key.project, key.id, begun)
    while len(sealed) > MOST_COMBINED:
        begun.popitem()
        name, _ = found.popitem()
        gone.append(Gone(name, ServerBroken(f"the session holds no more servers; ask /mcp/{name}")))
        sealed = sessions.seal_many(key.project, key.id, begun)
    version = min((each.protocolVersion for each in found.values()), default=_LEGACY)
    return {"protocolVersion": version, **_merged(found), "serverInfo": _INFO, **meta_of(gone)}, sealed


async def discover_all(together: Together, message: Message) -> dict[str, Any]:
    """Return what servers say of themselves without a session; raises `MethodRefused` where not all can."""

    async def ask(name: str) -> _Greeting | None:
        try:
            answer = await together.ask(name, message)
        except (BadMessage, NotFound, RequestRefused):
            return None
        return None if bytes(answer.error) else _greeting(answer)

    found, gone = await together.each(message, ask)
    spoken: list[str] | None = None
    for each in found.values():
        versions = each.supportedVersions if each is not None else []
        spoken = versions if spoken is None else [version for version in spoken if version in versions]
    if spoken is not None and not spoken:
        raise MethodRefused(
            "not all MCP servers here speak a revision that has server/discover", hint="begin with `initialize`"
        )
    meta = meta_of(gone)
    meta.setdefault("_meta", {})["io.modelcontextprotocol/serverInfo"] = _INFO
    cached = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    return {"supportedVersions": spoken or [_version_of(message)], **_merged(found), **cached, **meta}


def _greeting(answer: Message) -> _Greeting:
    result_of(answer)
    try:
        return msgspec.json.decode(answer.result, type=_Greeting)
    except (msgspec.MsgspecError, RecursionError):
        raise ServerBroken("its greeting cannot be read") from None


def _merged(found: Mapping[str, _Greeting]) -> dict[str, Any]:
    """Return what is offered where at least one server offers it, and their instructions, each under its name."""
    capabilities: dict[str, dict[str, bool]] = {}
    for each in found.values():
        for name in _OFFERED:
            if name in each.capabilities:
                one = capabilities.setdefault(name, {})
                one.update({flag: True for flag in _FLAGS if each.capabilities[name].get(flag) is True})
    told = "\n\n".join(f"{name}: {each.instructions}" for name, each in found.items() if each.instructions)
    return {"capabilities": capabilities, **({"instructions": told} if told else {})}


def _version_of(message: Message) -> str:
    try:
        meta = _fields.decode((message.params or {})["_meta"])
        return _text.decode(meta["io.modelcontextprotocol/protocolVersion"])[:10]
    except (KeyError, msgspec.MsgspecError, RecursionError):
        return "2026-07-28"
