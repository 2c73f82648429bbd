"""A small MCP server of the official SDK: over HTTP as a program with a port, or over stdio.

Usage: `python mcp_server.py PORT` or `python mcp_server.py stdio`. Its tool `mutate` changes another's definition.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    CallToolResult,
    Completion,
    CompletionArgument,
    EmbeddedResource,
    EmptyResult,
    ResourceLink,
    ResourceTemplateReference,
    SubscribeRequestParams,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel


class Answer(BaseModel):
    """What a user answers."""

    text: str


server = MCPServer("small", instructions="Use `add` for sums.")
SUBSCRIBED: set[str] = set()
STARTED = {"slow": 0, "cancelled": 0}


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ValueError(why)


@server.tool()
async def count(to: int, ctx: Context) -> int:
    """Count, and tell of every step."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to, f"at {number}")
    return to


@server.tool()
async def slow(seconds: float) -> str:
    """Take long."""
    STARTED["slow"] += 1
    try:
        await asyncio.sleep(seconds)
    except BaseException:
        STARTED["cancelled"] += 1
        raise
    return "done"


@server.tool()
def stats() -> dict[str, int]:
    """Tell what became of slow calls."""
    return STARTED


@server.tool()
def environment(name: str) -> str:
    """Tell a variable of the environment."""
    return os.environ.get(name, "")


@server.tool()
def headers(ctx: Context) -> dict[str, str]:
    """Tell the headers of the request."""
    return {name.lower(): value for name, value in (ctx.headers or {}).items()}


@server.tool()
def mutate(description: str) -> str:
    """Change what `add` says of itself."""

    def add(a: int, b: int) -> int:
        return a + b

    server.remove_tool("add")
    server.add_tool(add, description=description)
    return "changed"


@server.tool()
async def announce(ctx: Context) -> str:
    """Say that the list of tools has changed, to whoever hears of it in either revision."""
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "said"


@server.tool()
async def ask(question: str, ctx: Context) -> str:
    """Ask the client's user."""
    given = await ctx.elicit(question, Answer)
    return given.data.text if given.action == "accept" else given.action


@server.tool()
def die() -> str:
    """End the process."""
    os._exit(3)


@server.tool()
def hang() -> str:
    """Block the whole server."""
    time.sleep(600)
    return ""


@server.tool()
async def touch(uri: str, ctx: Context) -> str:
    """Say that a resource has changed, to whoever subscribed to it in either revision."""
    await ctx.notify_resource_updated(uri)
    if uri in SUBSCRIBED:
        await ctx.session.send_resource_updated(uri)
    return "touched"


@server.tool()
def link(uri: str) -> CallToolResult:
    """Return a link to a resource, and a resource as it is."""
    inside = TextResourceContents(uri=uri, text="inside")
    return CallToolResult(
        content=[ResourceLink(type="resource_link", uri=uri, name="linked"), EmbeddedResource(resource=inside)]
    )


@server.resource("note://one")
def note() -> str:
    """Return a note."""
    return "a note"


@server.resource("memo://{name}")
def memo(name: str) -> str:
    """Return a memo."""
    return f"{os.getpid()}: {name}"


@server.prompt()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello {name}"


@server.completion()
async def complete(ref: Any, argument: CompletionArgument, context: Any) -> Completion:
    """Complete a name with what it is a name of."""
    of = ref.uri if isinstance(ref, ResourceTemplateReference) else ref.name
    return Completion(values=[f"{argument.value}-{of}"])


async def subscribe(_context: Any, params: SubscribeRequestParams) -> EmptyResult:
    """Note who wants to hear of a resource (MCP up to 2025-11-25)."""
    SUBSCRIBED.add(params.uri)
    return EmptyResult()


async def unsubscribe(_context: Any, params: UnsubscribeRequestParams) -> EmptyResult:
    """Forget who wanted to hear of a resource."""
    SUBSCRIBED.discard(params.uri)
    return EmptyResult()


server._lowlevel_server.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
server._lowlevel_server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        if mark := os.environ.get("MARK"):
            with Path(mark).open("a") as marks:
                marks.write(f"{os.getpid()}\n")
        server.run("stdio")
    else:
        import uvicorn

        uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
