"""What of a server's tools is let through: allow-lists, and definitions that are the ones that were approved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from tetrad.kernel import NotCanonical, digest_json
from tetrad.serving import KeyEntry, ToolServerRoute
from tetrad.tools.errors import ServerBroken, ToolRefused

INSTRUCTIONS = ""
"""Stands for a tool's name where the server's own instructions to models are meant: they are pinned as tools are."""
MAX_DEFINITION_BYTES = 64 * 1024
MAX_TOOLS = 500
FEWER = "let the server show fewer, or make several servers of it"
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")
_MAX_NAME = 128
_KEPT_DIGESTS = 4096
_KEPT_BYTES = 16 * 1024 * 1024
_ASK = "`tetrad mcp test` asks it"
_decode = msgspec.json.Decoder().decode
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Named(msgspec.Struct):
    name: str


_string = msgspec.json.Decoder(str)


class Seen(NamedTuple):
    """A definition that a server showed: the tool's name, its digest, and the definition as JSON."""

    name: str
    digest: str
    definition: bytes


def is_tool_name(name: str) -> bool:
    """Tell whether a name is one that MCP recommends (2025-11-25, "Tool Names"); no other is let through."""
    return 1 <= len(name) <= _MAX_NAME and _NAME_CHARS.issuperset(name)


def definition_digest(definition: Any) -> str:
    """Return the digest of a definition: of all of it, in canonical form. Raises `ServerBroken` where it has none."""
    try:
        return digest_json(definition)
    except NotCanonical as error:
        raise ServerBroken(f"a tool's definition has no canonical form: {error.message}") from None


class Digests:
    """Remember the digests of definitions by the hash of their bytes: a listing is shown oftener than it changes."""

    def __init__(self) -> None:
        self._known: dict[bytes, Seen] = {}
        self._bytes = 0

    def of(self, raw: bytes) -> Seen | None:
        """Return what a definition is; None for one that cannot be pinned: too large, unnamed, oddly named."""
        key = hashlib.sha256(raw).digest()
        found = self._known.get(key)
        if found is None:
            if len(raw) > MAX_DEFINITION_BYTES:
                return None
            try:
                definition = _decode(raw)
                name = msgspec.convert(definition, _Named).name
                if not is_tool_name(name):
                    return None
                # written anew: in what has a key twice, its digest is of the one, and a reader may go by the other
                found = Seen(name, definition_digest(definition), msgspec.json.encode(definition))
            except (msgspec.MsgspecError, ServerBroken, RecursionError):
                return None
            if len(self._known) >= _KEPT_DIGESTS or self._bytes > _KEPT_BYTES:
                self._known.clear()
                self._bytes = 0
            self._known[key] = found
            self._bytes += len(found.definition)
        return found


def patterns_of(server: ToolServerRoute, key: KeyEntry) -> tuple[str, ...] | None:
    """Return the patterns of tools that a key may use of a server; None where it may not even know of the server."""
    if server.project != key.project:
        return None
    if not server.access:
        return ("*",)
    found: list[str] = []
    for each in server.access:
        if each.name == (key.id if each.subject == "key" else key.team):
            found += each.tools
    return tuple(found) or None


class Screen:
    """The rules for one key and one server, of one route table; `drifted` are tools this worker saw changed since."""

    def __init__(
        self, server: ToolServerRoute, patterns: tuple[str, ...], digests: Digests, drifted: Mapping[str, str]
    ) -> None:
        self.server = server
        self._patterns = patterns
        self._digests = digests
        self._drifted = drifted

    def allows(self, name: str) -> bool:
        """Tell whether the lists let a tool through, whatever its definition."""
        return _matches(name, self.server.allow) and _matches(name, self._patterns)

    def check_call(self, name: str) -> str:
        """Return the digest of the approved definition of a tool that may be called; raises `ToolRefused`."""
        server = self.server
        if not is_tool_name(name) or not self.allows(name):
            raise ToolRefused(
                f"the tool {name[:80]!r} of {server.name!r} is not one that this key may call",
                hint="tools/list shows those that it may; an administrator widens the lists with `tetrad mcp set`",
            )
        pinned = server.pins.get(name, "")
        if server.on_change == "alert":
            return pinned
        if not pinned:
            raise ToolRefused(
                f"the tool {name[:80]!r} of {server.name!r} is not approved",
                hint=f"an administrator reads and approves it with `tetrad mcp approve {server.name}`",
                code="tool_not_approved",
            )
        seen = self._drifted.get(name)
        if (seen != pinned) if seen is not None else (name in server.changed):
            raise ToolRefused(
                f"the definition of the tool {name[:80]!r} of {server.name!r} has changed since it was approved",
                hint=f"an administrator reads what changed and approves it with `tetrad mcp approve {server.name}`",
                code="tool_changed",
            )
        return pinned

    def allows_resource(self, uri: str) -> bool:
        """Tell whether the server is opened for resources, and the lists let one through.

        Patterns with a `:`, which no name of a tool has, are of resources; a list without any says nothing of them.
        """
        return "resources" in self.server.serves and all(
            _matches(uri, own) for own in (_with_colon(self.server.allow), _with_colon(self._patterns)) if own
        )

    def check_resource(self, uri: str) -> None:
        """Raise `ToolRefused` for a resource that this key may not read."""
        if not self.allows_resource(uri):
            raise ToolRefused(
                f"the resource {uri[:80]!r} of {self.server.name!r} is not one that this key may read",
                hint="resources/list shows those that it may; an administrator widens the lists with `tetrad mcp set`",
            )

    def resources(self, result: bytes, field: str, address: str) -> bytes:
        """Return a list of resources, or of templates of some, without what the lists do not let through."""
        try:
            fields = _fields.decode(result)
            raws = _raws.decode(fields[field])
            fields[field] = msgspec.Raw(
                msgspec.json.encode(
                    [raw for raw in raws if self.allows_resource(_string.decode(_fields.decode(raw)[address]))]
                )
            )
        except (msgspec.MsgspecError, KeyError, RecursionError):
            raise ServerBroken("the MCP server's list of resources cannot be read", hint=_ASK) from None
        return msgspec.json.encode(fields)

    def listing(self, result: bytes) -> tuple[bytes, list[Seen]]:
        """Return the result of `tools/list` without what is not let through, and every definition that it showed."""
        try:
            fields = _fields.decode(result)
            raws = _raws.decode(fields["tools"])
        except (msgspec.MsgspecError, KeyError, RecursionError):
            raise ServerBroken("the MCP server's list of tools cannot be read", hint=_ASK) from None
        if len(raws) > MAX_TOOLS:
            raise ServerBroken(
                f"the MCP server lists {len(raws):,} tools at once; at most {MAX_TOOLS} are read", hint=FEWER
            )
        shown: list[Seen] = []
        passed: list[msgspec.Raw] = []
        for raw in raws:
            seen = self._digests.of(bytes(raw))
            if seen is None:
                continue
            shown.append(seen)
            pinned = self.server.pins.get(seen.name)
            good = pinned == seen.digest or self.server.on_change == "alert"
            if good and self.allows(seen.name):
                passed.append(msgspec.Raw(seen.definition))
        fields["tools"] = msgspec.Raw(msgspec.json.encode(passed))
        return msgspec.json.encode(fields), shown

    def greeting(self, result: bytes) -> tuple[bytes, list[Seen]]:
        """Return the result of `initialize` or `server/discover` with what is served, and the instructions it showed.

        Capabilities that are not served are taken out, and so are instructions that nobody approved.
        """
        try:
            fields = _fields.decode(result)
            capabilities = _fields.decode(fields["capabilities"]) if "capabilities" in fields else None
            text = _string.decode(fields["instructions"]) if "instructions" in fields else ""
        except (msgspec.MsgspecError, RecursionError):
            raise ServerBroken("the MCP server's greeting cannot be read", hint=_ASK) from None
        shown: list[Seen] = []
        if capabilities is not None:
            served = {*self.server.serves, "logging"}
            if served & {"resources", "prompts"}:
                served.add("completions")
            kept = {name: value for name, value in capabilities.items() if name in served}
            fields["capabilities"] = msgspec.Raw(msgspec.json.encode(kept))
        if text:
            seen = instructions(text)
            shown.append(seen)
            if self.server.on_change == "refuse" and self.server.pins.get(INSTRUCTIONS) != seen.digest:
                del fields["instructions"]
        return msgspec.json.encode(fields), shown


def instructions(text: str) -> Seen:
    """Return what a server's instructions are, as a definition."""
    cut = text[:MAX_DEFINITION_BYTES]
    return Seen(INSTRUCTIONS, definition_digest({"instructions": text}), msgspec.json.encode({"instructions": cut}))


def _with_colon(patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for each in patterns if ":" in each)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
