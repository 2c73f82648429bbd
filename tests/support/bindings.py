"""Bindings for tests: what is installed, as a plain value, and services on a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tetrad.bindings import Bindings
from tetrad.registry import Registry


@dataclass
class FakeInstalled:
    """`tetrad.bindings.ports.Installed` of what a test says is there."""

    providers: dict[str, Sequence[str]] = field(default_factory=lambda: {"us": ["gpt"], "eu": ["gpt", "gpt-eu"]})
    engines: dict[str, Sequence[str]] = field(default_factory=lambda: {"smollm2": ["local/smollm2-135m"]})
    mcp_servers: dict[str, str] = field(default_factory=lambda: {"files-eu": "", "files-us": ""})
    secrets: set[str] = field(default_factory=lambda: {"SEARCH_KEY", "EU_KEY"})

    def provider_models(self, project: str, name: str) -> Sequence[str] | None:
        return self.providers.get(name) if project == "default" else None

    def engine_models(self, name: str) -> Sequence[str] | None:
        return self.engines.get(name)

    def mcp_server_problem(self, project: str, name: str) -> str | None:
        return self.mcp_servers.get(name) if project == "default" else None

    def has_secret(self, project: str, name: str) -> bool:
        return project == "default" and name in self.secrets


def make_bindings(registry: Registry, installed: FakeInstalled | None = None) -> Bindings:
    """Wire the service as the control process does."""
    return Bindings(registry, installed or FakeInstalled())


def document(provider: str = "us", **entry: Any) -> dict[str, Any]:
    """Return a small binding: the logical provider `llm` is a configured one."""
    return {"schema": "tetrad.binding/1", "providers": {"llm": {"provider": provider, **entry}}}
