"""An MCP server of the official SDK that asks much of who stands before it.

Usage: `python mcp_hostile.py PORT TOOLS`: besides its own tools it has so many that do nothing, `t00000` and on.
"""

from __future__ import annotations

import asyncio
import os
import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, TextContent

server = MCPServer("hostile")
CALLS = {"begun": 0, "cancelled": 0}


@server.tool()
def big(size: int) -> CallToolResult:
    """Return a text of a size."""
    return CallToolResult(content=[TextContent(type="text", text="x" * size)])


@server.tool()
async def flood(count: int, ctx: Context) -> int:
    """Tell of progress very often."""
    for number in range(1, count + 1):
        await ctx.report_progress(number, count, "y" * 1000)
    return count


@server.tool()
async def wait() -> str:
    """Never return."""
    CALLS["begun"] += 1
    try:
        await asyncio.Event().wait()
    finally:
        CALLS["cancelled"] += 1
    return ""


@server.tool()
async def last_words(ctx: Context) -> str:
    """Say half of it, and end the process."""
    await ctx.report_progress(1, 2, "half")
    os._exit(3)


@server.tool()
def stats() -> dict[str, int]:
    """Tell what became of calls that wait."""
    return CALLS


def nothing(value: str = "") -> str:
    """Do nothing."""
    return value


if __name__ == "__main__":
    import uvicorn

    tools = server._tool_manager._tools  # made one by one, ten thousand take a minute
    if int(sys.argv[2]):
        server.add_tool(nothing)
        one = tools.pop("nothing")
        tools.update(
            {name: one.model_copy(update={"name": name}) for name in map("t{:05}".format, range(int(sys.argv[2])))}
        )
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
