"""What can go wrong with MCP servers and their tools."""

from __future__ import annotations

from tetrad.kernel import Conflict, Forbidden, InvalidInput, NotFound, TetradError, Unavailable


class BadToolServer(InvalidInput):
    """An MCP server cannot be described that way."""

    code = "bad_tool_server"


class ToolServerNotFound(NotFound):
    """The project has no MCP server of that name, or none that the key may call; the same words for both."""

    code = "tool_server_not_found"


class ToolNotFound(NotFound):
    """The server has no tool of that name, or was never seen with one."""

    code = "tool_not_found"


class ToolMoved(Conflict):
    """A tool's definition is not the one that was reviewed."""

    code = "tool_changed"


class BadMessage(InvalidInput):
    """What a client sent is no message of MCP; `number` is the JSON-RPC error code that says so."""

    code = "bad_message"
    next_step = "correct the message: MCP's specification says what it may hold"

    def __init__(self, message: str, *, number: int = -32600, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint, status=status)
        self.number = number


class ToolRefused(InvalidInput):
    """A call that this server's rules do not let through."""

    code = "tool_refused"
    number = -32602


class AccessEnded(Forbidden):
    """A stream was open when its key was revoked or lost the server."""

    code = "access_ended"


class MethodRefused(InvalidInput):
    """A method of MCP that is not passed on here."""

    code = "method_not_served"
    status = 404
    number = -32601


class SessionUnknown(NotFound):
    """No session of this key has that id: it is another key's, another server's, damaged, or ended."""

    code = "session_not_found"
    next_step = "begin a new session"


class ServerBroken(Unavailable):
    """An MCP server answered what is no MCP."""

    code = "tool_server_broken"
    status = 502
    next_step = "check that what runs at its URL is an MCP server, and its log; then try again"


class ServerRefused(TetradError):
    """An MCP server refused us, not the client: its address or the secret it is called with is wrong."""

    code = "tool_server_refused"
    status = 502
    next_step = "ask who set up the MCP server: its URL or its secret is wrong"
