"""Greet several servers as one: what they offer together, in a revision that all of them speak."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Container, Mapping
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
_KNOWN = frozenset(("2024-11-05", "2025-03-26", "2025-06-18", _LEGACY))
_REVISION = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
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


class _Beginning:
    """The sessions that one `initialize` begins. Those that its client is not given are ended, however late they come.

    A server that is asked to begin one may do so after nobody waits for its answer any more. So it is heard out, as
    nobody else ever learns the id by which the session is ended.
    """

    def __init__(self, together: Together, message: Message) -> None:
        self._together = together
        self._message = message
        self._parts: dict[str, Part] = {}
        self._is_over = False
        self._asked = _asked(message)

    async def ask(self, name: str) -> _Greeting:
        """Begin a session with a server; who waits for that no longer leaves it to be ended."""
        task = asyncio.get_running_loop().create_task(self._begin(name))
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            self._together.proxy.hear_late(task, self._together.server(name).pool)
            raise
        return task.result()

    def given(self, name: str) -> str:
        """Return the id of a server's session; empty where it has none."""
        return self._parts[name].given

    def close(self, kept: Container[str]) -> None:
        """End all sessions but those that the client is given, now and later."""
        self._is_over = True
        for name in [name for name in self._parts if name not in kept]:
            self._end(self._parts.pop(name))

    async def _begin(self, name: str) -> _Greeting:
        part = self._together.part(name, self._message)
        try:
            greeting = _greeting(await self._together.heard(part, self._message))
            if greeting.protocolVersion not in {*_KNOWN, self._asked}:
                # the oldest of all servers is what the client is told to speak, and it may go away for that
                raise ServerBroken(f"it speaks the revision {greeting.protocolVersion[:40]!r}, which is none of MCP")
            return greeting
        finally:
            if self._is_over:
                self._end(part)
            else:
                self._parts[name] = part

    def _end(self, part: Part) -> None:
        if part.given:
            server = self._together.server(part.name).pool
            self._together.proxy.leave(self._together.end_session(part.name, part.given), server)


async def initialize_all(together: Together, message: Message) -> tuple[dict[str, Any], bytes]:
    """Begin a session with each server; return the result of all, and the id that holds their sessions, sealed."""
    together.sessions = None
    sessions, key = together.proxy.sessions, together.key
    beginning, found = _Beginning(together, message), dict[str, _Greeting]()
    try:
        answers, gone = await together.each(message, beginning.ask)
        begun = {
            session_name(name, together.server(name)): (beginning.given(name), each.protocolVersion)
            for name, each in answers.items()
        }
        sealed = sessions.seal_many(key.project, key.id, begun)
        while len(sealed) > MOST_COMBINED:  # whose id is the longest takes the place of others
            name = max(answers, key=lambda each: len(beginning.given(each)))
            del answers[name], begun[session_name(name, together.server(name))]
            gone.append(Gone(name, ServerBroken(f"the session holds no more servers; ask /mcp/{name}")))
            sealed = sessions.seal_many(key.project, key.id, begun)
        found = answers
    finally:
        beginning.close(found)
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


def _asked(message: Message) -> str:
    """Return the revision that a client wants to speak; empty where it says none that could be one."""
    try:
        said = message.text("protocolVersion")
    except BadMessage:
        return ""
    return said if _REVISION.fullmatch(said) else ""


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
