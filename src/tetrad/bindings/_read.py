"""Read a binding from JSON or from a file, and refuse it with every place that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from tetrad.bindings._model import (
    SCHEMA,
    SECTIONS,
    TOOL_TIMEOUT_S,
    Binding,
    IndexBinding,
    McpServerBinding,
    ProviderBinding,
    ToolBinding,
)
from tetrad.bindings._secrets import looks_like_secret
from tetrad.bindings.errors import BadBinding, Problem
from tetrad.kernel import TetradError, canonical_json
from tetrad.kit.plain_yaml import PlainYaml, parse_yaml

MAX_BYTES: Final = 64 * 1024
MAX_ENTRIES: Final = 200
MAX_MODELS: Final = 500
MAX_URL_CHARS: Final = 2_000
MAX_CONCURRENCY: Final = 100_000
MAX_TIMEOUT_S: Final = 3_600
MAX_PROBLEMS: Final = 50

_LOGICAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ENGINE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MCP_SERVER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_INDEX = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_SECRET = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,127}")
Path = tuple[str, ...]


def read_binding(value: object) -> Binding:
    """Read a binding from a JSON value; raises `BadBinding` with every place that is wrong and what to write."""
    reader = _Reader()
    found = reader.binding(value)
    if reader.problems:
        raise BadBinding(reader.problems)
    return found


def read_binding_file(text: str, *, where: str) -> Binding:
    """Read a binding from YAML or JSON; raises `BadYaml`, or `BadBinding` that names file, line and field."""
    parsed = parse_yaml(text, where=where, max_bytes=MAX_BYTES)
    try:
        return read_binding(parsed.value)
    except BadBinding as error:
        lines = [_line(where, parsed, problem) for problem in error.problems]
        raise BadBinding(error.problems, lines=lines) from None


def _line(where: str, parsed: PlainYaml, problem: Problem) -> str:
    return f"{where}:{parsed.line(*problem.path)}: {problem.label()}: {problem.message}"


class _Reader:
    """Notes every problem with its place; what it returns counts only where there was none."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def fail(self, path: Path, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(path, message))

    def binding(self, value: object) -> Binding:
        try:
            size = len(canonical_json(value))
        except TetradError as error:
            self.fail((), error.message)
            return Binding()
        if size > MAX_BYTES:
            self.fail((), f"it has {size:,} bytes of JSON, at most {MAX_BYTES:,}")
            return Binding()
        fields = self.fields(value, (), ("schema", "inherit", *SECTIONS))
        if fields.get("schema", SCHEMA) != SCHEMA:
            self.fail(("schema",), f"write {SCHEMA}")
        inherit = fields.get("inherit", False)
        if not isinstance(inherit, bool):
            self.fail(("inherit",), "write true or false")
            inherit = False
        if inherit and (set(fields) & set(SECTIONS)):
            self.fail(("inherit",), "nothing else may stand beside it: the environment's binding holds as a whole")
        return Binding(
            self.section(fields, "providers", self.provider),
            self.section(fields, "indexes", self.index),
            self.section(fields, "tools", self.tool),
            self.section(fields, "mcp_servers", self.mcp_server),
            inherit,
        )

    def section(self, top: Mapping[str, Any], name: str, read: Callable[[object, Path], Any]) -> dict[str, Any]:
        """Read a section: entries by logical name, none where it is absent or empty."""
        value = top.get(name)
        if value is None:
            return {}
        entries = self.fields(value, (name,), None)
        if len(entries) > MAX_ENTRIES:
            self.fail((name,), f"it has {len(entries)} entries, at most {MAX_ENTRIES}")
            return {}
        found = {}
        for logical, entry in entries.items():
            path = (name, logical)
            if not _LOGICAL.fullmatch(logical):
                self.fail(path, "a logical name has letters, digits, `.`, `_`, `-`; at most 63")
            elif looks_like_secret(logical):
                self.fail((name,), "a name looks like a secret; keep secrets with `tetrad secret set`")
            else:
                found[logical] = read(entry, path)
        return found

    def provider(self, value: object, path: Path) -> ProviderBinding:
        fields = self.fields(value, path, ("provider", "engine", "models", "secret", "max_concurrency"))
        provider = self.text(fields, path, "provider", _PROVIDER, "the name of a configured provider")
        engine = self.text(fields, path, "engine", _ENGINE, "the name of an engine")
        secret = self.text(fields, path, "secret", _SECRET, "the name of a secret, not the secret itself")
        if bool("provider" in fields) == bool("engine" in fields):
            self.fail(path, "name a provider or an engine, one of them")
        if "engine" in fields and "secret" in fields:
            self.fail((*path, "secret"), "an engine has a key of its own; leave it out")
        models: dict[str, str] = {}
        given = self.fields(fields["models"], (*path, "models"), None) if "models" in fields else {}
        if len(given) > MAX_MODELS:
            self.fail((*path, "models"), f"it has {len(given)} models, at most {MAX_MODELS}")
            given = {}
        for logical in given:
            if not _MODEL.fullmatch(logical) or looks_like_secret(logical):
                self.fail((*path, "models"), f"{logical[:40]!r} cannot name a model, such as gpt-5-mini")
                continue
            models[logical] = self.text(given, (*path, "models"), logical, _MODEL, "the name of a model")
        return ProviderBinding(provider, engine, models, secret, self.concurrency(fields, path))

    def concurrency(self, fields: Mapping[str, Any], path: Path) -> int:
        if "max_concurrency" not in fields:
            return 0
        value = fields["max_concurrency"]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_CONCURRENCY:
            self.fail((*path, "max_concurrency"), f"write a whole number from 1 to {MAX_CONCURRENCY}")
            return 0
        return value

    def index(self, value: object, path: Path) -> IndexBinding:
        fields = self.fields(value, path, ("index", "url", "secret", "timeout_s"))
        if bool("index" in fields) == bool("url" in fields):
            self.fail(path, "name an index or its url, one of them")
        if "index" in fields and set(fields) - {"index"}:
            self.fail(path, "secret and timeout_s belong to a url")
        return IndexBinding(
            self.text(fields, path, "index", _INDEX, "the name of an index"),
            self.url(fields, path) if "url" in fields else "",
            self.text(fields, path, "secret", _SECRET, "the name of a secret, not the secret itself"),
            self.timeout(fields, path),
        )

    def tool(self, value: object, path: Path) -> ToolBinding:
        fields = self.fields(value, path, ("url", "secret", "timeout_s"))
        if "url" not in fields:
            self.fail(path, "name its url, such as https://tools.example.com/search")
        return ToolBinding(
            self.url(fields, path) if "url" in fields else "",
            self.text(fields, path, "secret", _SECRET, "the name of a secret, not the secret itself"),
            self.timeout(fields, path),
        )

    def mcp_server(self, value: object, path: Path) -> McpServerBinding:
        fields = self.fields(value, path, ("server", "url", "secret", "timeout_s"))
        if bool("server" in fields) == bool("url" in fields):
            self.fail(path, "name a registered MCP server or its url, one of them")
        if "server" in fields and {"secret", "timeout_s"} & set(fields):
            self.fail(path, "secret and timeout_s belong to a url; a registered MCP server has its own")
        if "server" in fields and not _MCP_SERVER.fullmatch(path[-1]):
            self.fail(path, "clients call it by this name at /mcp/NAME: a-z, digits and `-`, at most 63")
        return McpServerBinding(
            self.text(fields, path, "server", _MCP_SERVER, "the name of a registered MCP server"),
            self.url(fields, path) if "url" in fields else "",
            self.text(fields, path, "secret", _SECRET, "the name of a secret, not the secret itself"),
            self.timeout(fields, path),
        )

    def url(self, fields: Mapping[str, Any], path: Path) -> str:
        text, place = fields["url"], (*path, "url")
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_URL_CHARS or not text.isprintable() or " " in text:
            self.fail(place, f"write an address of at most {MAX_URL_CHARS} characters")
            return ""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            self.fail(place, "this is no URL; write one such as https://tools.example.com/search")
            return ""
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            self.fail(place, "write an http or https address")
        elif parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            self.fail(place, "an address has no credentials, query or fragment; keep a key with `tetrad secret set`")
        elif looks_like_secret(text, address=True):
            self.fail(place, "it seems to hold a secret; keep that with `tetrad secret set` and name it in `secret`")
        else:
            return text
        return ""

    def timeout(self, fields: Mapping[str, Any], path: Path) -> float:
        value = fields.get("timeout_s", TOOL_TIMEOUT_S)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_TIMEOUT_S:
            self.fail((*path, "timeout_s"), f"write seconds, more than 0, at most {MAX_TIMEOUT_S}")
            return TOOL_TIMEOUT_S
        return float(value)

    def text(self, fields: Mapping[str, Any], path: Path, name: str, form: re.Pattern[str], what: str) -> str:
        """Return a text of a form, empty where it is absent. What looks like a secret is never quoted."""
        if name not in fields:
            return ""
        value, place = fields[name], (*path, name)
        if isinstance(value, str) and looks_like_secret(value):
            self.fail(place, "this looks like a secret; keep it with `tetrad secret set` and write its name")
        elif not isinstance(value, str) or not form.fullmatch(value):
            self.fail(place, f"write {what}")
        else:
            return value
        return ""

    def fields(self, value: object, path: Path, known: tuple[str, ...] | None) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.fail(path, "write a mapping of names")
            return {}
        for name in value:
            if known is not None and name not in known:
                shown = "a field" if looks_like_secret(str(name)) else repr(str(name)[:40])
                self.fail(path, f"{shown} is not known here; it has {', '.join(known)}")
        return {str(name): entry for name, entry in value.items() if known is None or name in known}
