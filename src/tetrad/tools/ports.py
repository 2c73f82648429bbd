"""What tools need of the outside world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from tetrad.kernel import Principal
from tetrad.tools._model import StoredTool, ToolServerSpec


class SeenTool(NamedTuple):
    """A definition that a server showed; `name` is empty for the server's instructions."""

    name: str
    digest: str
    definition: str


class Listing(NamedTuple):
    """What a server said of itself and of its tools; `odd` are those that cannot be pinned, in words."""

    title: str
    protocol: str
    tools: Sequence[SeenTool]
    odd: Sequence[str]
    took_ms: float


class ToolServerStore(Protocol):
    """Keep servers and their tools, by project and name."""

    def put(self, spec: ToolServerSpec, *, most: int) -> None:
        """Insert or overwrite; raises `BadToolServer` (409) where the project would have more than `most`."""
        ...

    def drop(self, project: str, name: str) -> bool:
        """Remove with its tools; tell whether it was there."""
        ...

    def all(self, project: str | None = None) -> list[ToolServerSpec]:
        """Return the servers of a project, or of all, by project and name."""
        ...

    def tools(self, project: str | None = None, server: str | None = None) -> dict[tuple[str, str], list[StoredTool]]:
        """Return tools by (project, server), each by name."""
        ...

    def change(
        self, project: str, server: str, change: Callable[[list[StoredTool]], Sequence[StoredTool]]
    ) -> list[StoredTool] | None:
        """Overwrite what `change` returns of a server's tools, in one transaction; return them; None without server.

        A tool that has neither an approved nor a seen definition is removed.
        """
        ...


class ToolLister(Protocol):
    """Asks a server what tools it has."""

    def __call__(self, spec: ToolServerSpec) -> Listing:
        """Connect, list, leave; raises `TetradError` where the server cannot be reached or speaks no MCP. Blocks."""
        ...


class Auditor(Protocol):
    """The audit log; `tetrad.identity.Audit.record` fulfils it."""

    def __call__(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append an event; raises where it cannot."""
        ...
