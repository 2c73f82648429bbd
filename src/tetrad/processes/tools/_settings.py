"""What the process of MCP servers can be told."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable

SESSIONS = Setting(
    "mcp_sessions", int, 16, "Sessions, each a process, that one MCP server of a command may have.", minimum=1
)
IDLE_S = Setting(
    "mcp_idle_s", float, 600.0, "Seconds without a request after which the process of a session is ended.", minimum=1
)
CALL_S = Setting(
    "mcp_call_s", float, 300.0, "Seconds for a program to answer a request; then its process is ended.", minimum=0.1
)
LINE_BYTES = Setting(
    "mcp_line_bytes",
    int,
    8 * 1024 * 1024,
    "Largest message of a program, in bytes; then its process is ended.",
    minimum=1024,
    maximum=256 * 1024 * 1024,
)

SETTINGS = SettingsTable("Programs as MCP servers", (SESSIONS, IDLE_S, CALL_S, LINE_BYTES))
