"""One request to an MCP server and everything that became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from tetrad.serving import BindingRoute, Exchange, Operation

Who = Literal["all", "caller", "server"]

OPERATION = Operation("execute_tool", "/mcp", "chat", input="arguments")
"""Its kind means nothing: no model is asked. The name is that of OpenTelemetry's operation."""
EXECUTE_TOOL = "execute_tool"
OTHER = "mcp"


class ToolExchange(Exchange):
    """An exchange with an MCP server. `tool`, `prompt` or `resource` is there where it is for one of them."""

    __slots__ = (
        "arguments",
        "bound",
        "counts",
        "digest",
        "identity",
        "is_stream",
        "left_out",
        "method",
        "output",
        "path",
        "prompt",
        "protocol",
        "resource",
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
        self.prompt = ""
        self.resource = ""
        self.counts: Who = "all"
        """In whose limits it counts: a part of a request to several servers only in those of its server."""
        self.digest = ""
        self.identity = msgspec.Raw(b"")
        self.bound: BindingRoute | None = None
        """What names of servers mean in the environment that the client calls for, if it says one."""
        self.arguments = b""
        self.output = b""
        self.protocol = ""
        self.tool_failed = False
        self.unanswered = False
        """Whether the server left a call to be answered by another stream."""
        self.is_stream = False
        """Whether it waits for what the server says on its own, for as long as the client wants."""
        self.left_out: tuple[str, ...] = ()
        """Servers that were to take part in the answer and did not, for a fault of theirs."""

    @property
    def is_call(self) -> bool:
        """Whether it is for one tool, prompt or resource: those become spans."""
        return bool(self.tool or self.prompt or self.resource)

    @property
    def is_told(self) -> bool:
        """Whether it becomes a span: a call, and what had to do without servers."""
        return self.is_call or bool(self.left_out)

    @property
    def kind(self) -> str:  # type: ignore[override] # a request for a model is always of a `Kind`, this is none
        """What metrics and spans call it."""
        return EXECUTE_TOOL if self.tool else OTHER
