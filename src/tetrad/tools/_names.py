"""What tools, prompts and resources are called where those of several servers stand together. Pure rules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

SEPARATOR = "__"
MAX_COMBINED_NAME = 128
"""As long as MCP lets a tool's name be (2025-11-25, "Tool Names")."""
_MARK = 12
SCHEME = "mcp+"
"""How addresses of resources begin where those of several servers stand together."""


def combined_name(server: str, name: str) -> str:
    """Return `server__name`; one that is too long is cut, and ends with a hash of all of it.

    No name of a server has a `_`, so the first `__` is always ours, and no two servers can clash.
    """
    whole = f"{server}{SEPARATOR}{name}"
    if len(whole) <= MAX_COMBINED_NAME:
        return whole
    mark = hashlib.sha256(name.encode()).hexdigest()[:_MARK]
    return f"{whole[: MAX_COMBINED_NAME - _MARK - 1]}-{mark}"


def split_name(combined: str) -> tuple[str, str]:
    """Return server and name of one that was not cut; the server is empty where there is none."""
    server, separator, name = combined.partition(SEPARATOR)
    return (server, name) if separator else ("", combined)


def own_name(combined: str, known: Iterable[str]) -> str:
    """Return what the server itself calls it; a name that may have been cut is looked for among the known ones."""
    server, name = split_name(combined)
    if len(combined) < MAX_COMBINED_NAME:
        return name
    found = [each for each in known if combined_name(server, each) == combined]
    return name if name in found or not found else min(found)


def combined_uri(server: str, uri: str) -> str:
    """Return `mcp+server+uri`, which is a URI where the server's own is one; a template stays a template.

    No name of a server has a `+`, so the second `+` is always ours, and no two servers can clash.
    """
    return f"{SCHEME}{server}+{uri}"


def split_uri(combined: str) -> tuple[str, str]:
    """Return server and the server's own address; the server is empty where there is none."""
    server, found, uri = combined.removeprefix(SCHEME).partition("+")
    return (server, uri) if found and combined.startswith(SCHEME) else ("", combined)
