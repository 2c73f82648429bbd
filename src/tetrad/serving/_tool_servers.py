"""MCP servers as a route table names them: where they are, who may call what of them, and what was approved."""

from __future__ import annotations

from typing import Literal

import msgspec

AccessSubject = Literal["key", "team"]
OnChange = Literal["refuse", "alert"]
Surface = Literal["tools", "resources", "prompts"]


class ToolAccess(msgspec.Struct, frozen=True, gc=False):
    """Which tools of a server a key (by its id) or a team may use; patterns as of a shell."""

    subject: AccessSubject
    name: str
    tools: tuple[str, ...] = ("*",)


class ToolServerRoute(msgspec.Struct, frozen=True, kw_only=True):
    """An MCP server as the hot path needs it.

    `url` is the whole address of its endpoint; empty for one that runs as a program of ours, which then has a
    `command`. `pins` are the digests of the approved definitions by the name of the tool; the server's instructions
    have the empty name. `changed` names tools that were last seen with another definition. With `access` only those
    may call the server whom it names. `problem` says why it cannot be called at all.
    """

    name: str
    project: str
    url: str = ""
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    pins: dict[str, str] = {}
    changed: tuple[str, ...] = ()
    allow: tuple[str, ...] = ("*",)
    access: tuple[ToolAccess, ...] = ()
    on_change: OnChange = "refuse"
    serves: tuple[Surface, ...] = ("tools",)
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 60.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 600.0
    max_connections: int = 64
    egress: str | None = None
    """What `egress_allow` says; None: nothing is asked, Tetrad itself put it there."""
    internal: bool = False
    """An administrator of the whole installation put it inside the network."""
    problem: str = ""
