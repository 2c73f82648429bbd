"""What bindings ask of others: what is installed, so that names can be checked before they are bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Installed(Protocol):
    """What a project can reach now. Every method may be called from any thread and does no network I/O."""

    def provider_models(self, project: str, name: str) -> Sequence[str] | None:
        """Return the models that a provider of the project lists; None where the project has no such provider."""
        ...

    def engine_models(self, name: str) -> Sequence[str] | None:
        """Return the names that an engine of this installation serves; None where there is no such engine."""
        ...

    def mcp_server_problem(self, project: str, name: str) -> str | None:
        """Return why a registered MCP server of the project cannot be called now, empty where it can.

        None where the project has no such server. It is not asked itself.
        """
        ...

    def has_secret(self, project: str, name: str) -> bool:
        """Tell whether the project has a secret of that name; its value is never read."""
        ...
