"""MCP servers that are programs: run as children, spoken to over stdio, offered to gateways on a socket.

It is started only where the setting `mcp_commands` lists programs; see docs/decisions/0020-mcp-servers.md.
"""

from __future__ import annotations


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code (78: settings are wrong)."""
    from tetrad.processes.tools._command import main as command

    return command(arguments)


__all__ = ["main"]
