"""MCP servers and their tools: registered, approved, called through the gateway."""

from tetrad.tools._exchange import ToolExchange
from tetrad.tools._proxy import PREFIX, Limiter, Sightings, ToolProxy, ToolRecorder
from tetrad.tools._screen import Seen
from tetrad.tools._sessions import Sessions

__all__ = ["PREFIX", "Limiter", "Seen", "Sessions", "Sightings", "ToolExchange", "ToolProxy", "ToolRecorder"]
