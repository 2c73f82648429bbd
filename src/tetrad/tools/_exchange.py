"""One request to an MCP server and everything that became of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tetrad.serving import Exchange, Operation

OPERATION = Operation("execute_tool", "/mcp", "chat", input="arguments")
"""Its kind means nothing: no model is asked. The name is that of OpenTelemetry's operation."""
EXECUTE_TOOL = "execute_tool"
OTHER = "mcp"


class ToolExchange(Exchange):
    """An exchange with an MCP server. `tool` is there for calls of tools only; only those become spans."""

    __slots__ = (
        "arguments",
        "digest",
        "identity",
        "is_stream",
        "method",
        "output",
        "path",
        "protocol",
        "rpc",
        "server",
        "tool",
        "tool_failed",
        "unanswered",
    )

    def __init__(self, method: str, path: str, headers: Mapping[bytes, bytes], start_ns: int) -> None:
        super().__init__(OPERATION, headers, start_ns)
        self.method = method
        self.path = path
        self.server = ""
        self.rpc = ""
        self.tool = ""
        self.digest = ""
        self.identity = msgspec.Raw(b"")
        self.arguments = b""
        self.output = b""
        self.protocol = ""
        self.tool_failed = False
        self.unanswered = False
        """Whether the server left a call to be answered by another stream."""
        self.is_stream = False
        """Whether it waits for what the server says on its own, for as long as the client wants."""

    @property
    def kind(self) -> str:  # type: ignore[override] # a request for a model is always of a `Kind`, this is none
        """What metrics and spans call it."""
        return EXECUTE_TOOL if self.tool else OTHER
