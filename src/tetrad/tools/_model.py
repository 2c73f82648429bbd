"""MCP servers as a project registers them, and their tools as people approve them. Pure rules."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from tetrad.kernel import TetradError
from tetrad.serving.ports import OnChange, Surface, ToolAccess, ToolServerRoute
from tetrad.tools.errors import BadToolServer

MAX_SERVERS = 200
MAX_TOOLS_KEPT = 1000
"""Of one server, with those that are gone: a server that shows ever new names fills no disk."""
MAX_PATTERNS = 100
MAX_ACCESS = 500
MAX_HEADERS = 32
MAX_COMMAND = 64
MAX_CHARS = 2000
MAX_DIFF_LINES = 400
SURFACES: tuple[Surface, ...] = ("tools", "resources", "prompts")
ToolState = Literal["approved", "changed", "new", "gone"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PATTERN = re.compile(r"[A-Za-z0-9_./*?\[\]:@%+~{}-]{1,128}")
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SECRET = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9._-]{0,99})\}")
_TELLING = re.compile(r"(?i)authorization|cookie|token|secret|password|passwd|credential|api[-_]?key|^key$")
_OURS = frozenset(
    ("accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host", "last-event-id",
     "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id", "te", "trailer", "traceparent", "tracestate",
     "transfer-encoding", "upgrade")
)  # fmt: skip
_UNSAFE_ENV = re.compile(r"(?i)LD_|DYLD_|PYTHON|NODE_OPTIONS|TETRAD_")


class ToolServerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach an MCP server, and who may call what of it.

    Either `url` is the whole address of its endpoint, or `command` a program that speaks MCP over stdio. Values of
    `headers` and `env` may name secrets of the project in braces: `Bearer {github-token}`. A tool may be called where a
    pattern of `allow` matches its name, its definition is approved, and `access`, if anything stands there, names the
    key or its team with a pattern for it. Patterns with a `:` are of the addresses of resources.
    """

    name: str
    project: str
    url: str = ""
    command: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    env: dict[str, str] = {}
    allow: tuple[str, ...] = ("*",)
    access: tuple[ToolAccess, ...] = ()
    on_change: OnChange = "refuse"
    serves: tuple[Surface, ...] = ("tools",)
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 60.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 600.0
    max_connections: int = 64
    internal: bool | None = None
    """Whether it may be at a private address; administrators of the whole installation decide that. None: as it was,
    where it was."""

    def secrets(self) -> list[str]:
        """Return the names of the secrets that it is called with."""
        found = [name for value in (*self.headers.values(), *self.env.values()) for name in _SECRET.findall(value)]
        return sorted(set(found))


def check_server(spec: ToolServerSpec) -> ToolServerSpec:
    """Return the spec, or raise `BadToolServer` naming the field and what is allowed."""
    if not _NAME.fullmatch(spec.name):
        raise BadToolServer(f"{spec.name[:80]!r} cannot name an MCP server", hint="a-z, 0-9 and `-`, at most 63")
    if bool(spec.url) == bool(spec.command):
        raise BadToolServer("an MCP server has a url or a command", hint="give one of them")
    if spec.url:
        _check_url(spec.url)
        _check_values("headers", spec.headers, _HEADER)
        if spec.env:
            raise BadToolServer("env belongs to a command", hint="what a server over HTTP needs goes into headers")
    else:
        _check_command(spec)
    for patterns in (spec.allow, *(each.tools for each in spec.access)):
        if not 1 <= len(patterns) <= MAX_PATTERNS or not all(_PATTERN.fullmatch(each) for each in patterns):
            raise BadToolServer(
                "a list of tools has patterns that are none", hint=f"such as read_* ; 1 to {MAX_PATTERNS} of them"
            )
    if len(spec.access) > MAX_ACCESS or not all(1 <= len(each.name) <= 100 for each in spec.access):
        raise BadToolServer("access names too many keys and teams, or one without a name", hint=f"up to {MAX_ACCESS}")
    if not spec.serves or not set(spec.serves) <= set(SURFACES) or len(set(spec.serves)) != len(spec.serves):
        raise BadToolServer("serves lists what is passed on, each once", hint=f"of {', '.join(SURFACES)}")
    limits = (spec.connect_timeout_s, spec.first_byte_timeout_s, spec.idle_timeout_s, spec.total_timeout_s)
    if not all(0 < limit <= 86_400 for limit in limits) or not 1 <= spec.max_connections <= 10_000:
        raise BadToolServer("a limit is out of range", hint="timeouts: up to 86400 s; max_connections: 1 to 10000")
    return spec


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadToolServer(f"{text[:100]!r} is no URL", hint="such as https://mcp.example.com/mcp") from None
    plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= MAX_CHARS
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not plain:
        raise BadToolServer(f"{text[:100]!r} is no HTTP address", hint="such as https://mcp.example.com/mcp")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadToolServer(
            "the address has credentials, a query or a fragment", hint="keep what is secret with `tetrad secret set`"
        )


def _check_command(spec: ToolServerSpec) -> None:
    if spec.headers:
        raise BadToolServer("headers belong to a url", hint="what a program needs goes into env")
    fits = all(1 <= len(each) <= MAX_CHARS and "\0" not in each for each in spec.command)
    if len(spec.command) > MAX_COMMAND or not fits:
        raise BadToolServer("the command is too long", hint=f"up to {MAX_COMMAND} words of {MAX_CHARS} characters")
    _check_values("env", spec.env, _VARIABLE)
    for name in spec.env:
        if _UNSAFE_ENV.match(name):
            raise BadToolServer(f"the variable {name!r} changes what a program is", hint="leave it out")


def _check_values(field: str, given: Mapping[str, str], form: re.Pattern[str]) -> None:
    if len(given) > MAX_HEADERS or len({name.lower() for name in given}) != len(given):
        raise BadToolServer(f"{field} has too many entries, or one twice", hint=f"up to {MAX_HEADERS}")
    for name, value in given.items():
        if not form.fullmatch(name) or (field == "headers" and name.lower() in _OURS):
            raise BadToolServer(
                f"{name[:80]!r} cannot be set in {field}", hint="the gateway sets its own headers itself"
            )
        if not 1 <= len(value) <= MAX_CHARS or not value.isprintable() or not value.isascii():
            raise BadToolServer(f"the value of {name!r} in {field} is empty, too long or not printable ASCII")
        if _TELLING.search(name) and not _SECRET.search(value):
            raise BadToolServer(
                f"{name!r} in {field} looks like a secret, and none is named",
                hint=f"keep it with `tetrad secret set NAME` and write {{NAME}}, such as {name}='Bearer {{NAME}}'",
            )


def may_run(command: Iterable[str], allowed: str) -> bool:
    """Tell whether the setting `mcp_commands` lets a command run: it begins, word by word, with one of its entries."""
    words = list(command)
    for entry in allowed.split(";"):
        wanted = entry.split()
        if wanted and words[: len(wanted)] == wanted:
            return True
    return False


def command_digest(route: ToolServerRoute) -> str:
    """Return what tells one command, with its variables, from another; it tells nothing of their secrets."""
    return hashlib.sha256(msgspec.json.encode((route.command, route.env))).hexdigest()


class StoredTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool of a server: what was approved, and what was last seen. `pinned` and `seen` are definitions as JSON."""

    name: str
    pinned_digest: str = ""
    pinned: str = ""
    approved_at: datetime | None = None
    approved_by: str = ""
    seen_digest: str = ""
    seen: str = ""
    seen_at: datetime | None = None

    @property
    def state(self) -> ToolState:
        """How it stands: only what is approved may be called where changes are refused."""
        if not self.seen_digest:
            return "gone"
        if not self.pinned_digest:
            return "new"
        return "approved" if self.pinned_digest == self.seen_digest else "changed"


def definition_diff(tool: StoredTool) -> list[str]:
    """Return what changed since the approval, line by line; of a tool that is new, all of it."""
    before, after = _lines(tool.pinned), _lines(tool.seen)
    lines = list(difflib.unified_diff(before, after, "approved", "now", lineterm=""))
    return lines[:MAX_DIFF_LINES] + (["…"] if len(lines) > MAX_DIFF_LINES else [])


def _lines(document: str) -> list[str]:
    if not document:
        return []
    lines = []
    for line in json.dumps(json.loads(document), indent=2, ensure_ascii=False, sort_keys=True).splitlines():
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
        lines += [shown[start : start + 400] for start in range(0, max(len(shown), 1), 400)]
    return lines


class RegisteredServer(msgspec.Struct, frozen=True):
    """A server with the digests that are approved, and the tools that were last seen with others."""

    spec: ToolServerSpec
    pins: dict[str, str]
    changed: tuple[str, ...]


def server_route(
    server: RegisteredServer, reveal: Callable[[str, str], str], allowed: str, egress: str | None = None
) -> ToolServerRoute:
    """Return what gateways need; where a secret is gone or the command may not run, with the problem."""
    spec, problem = server.spec, ""
    headers: list[tuple[str, str]] = []
    env: list[tuple[str, str]] = []
    try:
        headers = [(name, _filled(value, spec.project, reveal)) for name, value in spec.headers.items()]
        env = [(name, _filled(value, spec.project, reveal)) for name, value in spec.env.items()]
    except TetradError as error:
        problem, headers, env = error.message, [], []
    if spec.command and not may_run(spec.command, allowed):
        problem = f"the program {spec.command[0]!r} may not be run: the setting mcp_commands does not list it"
    return ToolServerRoute(
        name=spec.name,
        project=spec.project,
        url=spec.url,
        command=spec.command,
        env=tuple(env),
        headers=tuple(headers),
        pins=server.pins,
        changed=server.changed,
        allow=spec.allow,
        access=spec.access,
        on_change=spec.on_change,
        serves=spec.serves,
        connect_timeout_s=spec.connect_timeout_s,
        first_byte_timeout_s=spec.first_byte_timeout_s,
        idle_timeout_s=spec.idle_timeout_s,
        total_timeout_s=spec.total_timeout_s,
        max_connections=spec.max_connections,
        egress=None if spec.command else egress,
        internal=bool(spec.internal),
        problem=problem,
    )


def _filled(value: str, project: str, reveal: Callable[[str, str], str]) -> str:
    filled = _SECRET.sub(lambda match: reveal(project, match[1]).strip("\r\n"), value)
    if any(c in filled for c in "\r\n\0"):
        raise BadToolServer("a secret has more than one line, and cannot be sent")
    return filled


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether one of the patterns, as of a shell, is of a tool's name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def plain(spec: ToolServerSpec) -> dict[str, Any]:
    """Return a spec as plain data; it holds the names of secrets, never one."""
    found: dict[str, Any] = msgspec.to_builtins(spec)
    return found
