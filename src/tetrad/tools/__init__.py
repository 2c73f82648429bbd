"""MCP servers and their tools: registered, approved, called through the gateway."""

from tetrad.tools._absences import Absences
from tetrad.tools._exchange import ToolExchange
from tetrad.tools._model import RegisteredServer, StoredTool, ToolServerSpec, check_server, command_digest, may_run
from tetrad.tools._proxy import COMBINED, PREFIX, Limiter, Sightings, ToolProxy, ToolRecorder
from tetrad.tools._rpc import Message, error_message, read_message, same_id
from tetrad.tools._screen import Seen
from tetrad.tools._sessions import Sessions
from tetrad.tools._sse import Event, EventReader
from tetrad.tools.errors import (
    BadMessage,
    BadToolServer,
    ServerBroken,
    SessionUnknown,
    ToolMoved,
    ToolNotFound,
    ToolServerNotFound,
)

__all__ = [
    "COMBINED",
    "PREFIX",
    "Absences",
    "BadMessage",
    "BadToolServer",
    "Event",
    "EventReader",
    "Limiter",
    "Message",
    "RegisteredServer",
    "Seen",
    "ServerBroken",
    "SessionUnknown",
    "Sessions",
    "Sightings",
    "StoredTool",
    "ToolExchange",
    "ToolMoved",
    "ToolNotFound",
    "ToolProxy",
    "ToolRecorder",
    "ToolServerNotFound",
    "ToolServerSpec",
    "check_server",
    "command_digest",
    "error_message",
    "may_run",
    "read_message",
    "same_id",
]
