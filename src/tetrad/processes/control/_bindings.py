"""What is installed, as bindings ask for it: providers, engines, MCP servers and the names of secrets."""

from __future__ import annotations

from collections.abc import Sequence

from tetrad.identity._service._secrets import Secrets
from tetrad.identity.errors import SecretNotFound
from tetrad.serving import ProviderDirectory
from tetrad.serving._engine_directory import EngineDirectory
from tetrad.tools import ToolServerNotFound
from tetrad.tools._service import ToolServers


class InstalledHere:
    """`tetrad.bindings.ports.Installed` over the directories of this installation."""

    def __init__(
        self, providers: ProviderDirectory, engines: EngineDirectory, tools: ToolServers, secrets: Secrets
    ) -> None:
        self._providers = providers
        self._engines = engines
        self._tools = tools
        self._secrets = secrets

    def provider_models(self, project: str, name: str) -> Sequence[str] | None:
        """Return the models that a provider of the project lists; None where the project has no such provider."""
        for spec in self._providers.all(project):
            if spec.name == name:
                return [model.name for model in spec.models]
        return None

    def engine_models(self, name: str) -> Sequence[str] | None:
        """Return the names that an engine serves; None where there is none."""
        return [entry.name for entry in self._engines.models().values() if entry.upstream == name] or None

    def mcp_server_problem(self, project: str, name: str) -> str | None:
        """Return why a registered MCP server cannot be called now, empty where it can; None where there is none."""
        try:
            return self._tools.problem(self._tools.get(project, name))
        except ToolServerNotFound:
            return None

    def has_secret(self, project: str, name: str) -> bool:
        """Tell whether the project has a secret of that name."""
        try:
            self._secrets.get(project, name)
        except SecretNotFound:
            return False
        return True
