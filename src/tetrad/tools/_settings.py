"""What tools can be told."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable

COMMANDS = Setting(
    "mcp_commands",
    str,
    "",
    "Programs that may be run as MCP servers, as the first words of their commands, separated by semicolons; "
    "empty: none.",
)
LIST_S = Setting(
    "mcp_list_s", float, 20.0, "Seconds for an MCP server to show its tools to control.", minimum=0.1, maximum=600
)

SETTINGS = SettingsTable("MCP servers", (COMMANDS, LIST_S))
