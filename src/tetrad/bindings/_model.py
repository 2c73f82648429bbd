"""A binding: what the logical names of a release mean in one environment. Frozen values and pure rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tetrad.kernel import Digest, digest_json

KIND = "binding"
SCHEMA: Literal["tetrad.binding/1"] = "tetrad.binding/1"
SECTIONS = ("providers", "indexes", "tools", "mcp_servers")
TOOL_TIMEOUT_S = 30.0


class ProviderBinding(msgspec.Struct, frozen=True):
    """Who answers for a logical provider: a configured provider, or an engine of this installation.

    `models` maps logical models to what they are called there; one that is not in it keeps its name. `secret` is the
    name of a secret to use instead of the provider's own. `max_concurrency` is how many calls one gateway worker makes
    at once in this environment; 0 asks for no limit beyond the provider's.
    """

    provider: str = ""
    engine: str = ""
    models: Mapping[str, str] = {}
    secret: str = ""
    max_concurrency: int = 0


class IndexBinding(msgspec.Struct, frozen=True):
    """Where a logical index is: by the name of one that is kept here, or at an address."""

    index: str = ""
    url: str = ""
    secret: str = ""
    timeout_s: float = TOOL_TIMEOUT_S


class ToolBinding(msgspec.Struct, frozen=True):
    """Where a tool answers; `secret` names what it is called with."""

    url: str
    secret: str = ""
    timeout_s: float = TOOL_TIMEOUT_S


class McpServerBinding(msgspec.Struct, frozen=True):
    """Which MCP server a logical name means: a registered one of the project, or an address.

    What clients call of a registered one goes through the gateway, by its approvals and lists.
    """

    server: str = ""
    url: str = ""
    secret: str = ""
    timeout_s: float = TOOL_TIMEOUT_S


class Binding(msgspec.Struct, frozen=True):
    """What the logical names of releases mean in an environment.

    A name that is in none of its sections means itself. `inherit` is for what one app has of its own: it says that
    the environment's binding holds for the app too, and nothing else may stand beside it.
    """

    providers: Mapping[str, ProviderBinding] = {}
    indexes: Mapping[str, IndexBinding] = {}
    tools: Mapping[str, ToolBinding] = {}
    mcp_servers: Mapping[str, McpServerBinding] = {}
    inherit: bool = False

    def document(self) -> dict[str, Any]:
        """Return the JSON value whose canonical form is the artifact: no defaults, so equal bindings are equal."""
        found: dict[str, Any] = _plain(self)
        return {"schema": SCHEMA, **found}

    @property
    def digest(self) -> Digest:
        """The digest of the artifact: the order in which the author wrote its names does not matter."""
        return digest_json(self.document())

    def secrets(self) -> dict[tuple[str, ...], str]:
        """Return the names of secrets by the place where each is named."""
        return {
            (section, name, "secret"): entry.secret
            for section in SECTIONS
            for name, entry in getattr(self, section).items()
            if entry.secret
        }


def _plain(value: Any) -> Any:
    """Return a value as JSON without what equals its default, however it was written."""
    if isinstance(value, msgspec.Struct):
        kept = {}
        for field in msgspec.structs.fields(value):
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            if (given := getattr(value, field.name)) != default:
                kept[field.name] = _plain(given)
        return kept
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value


class Target(msgspec.Struct, frozen=True):
    """Who answers for a release's model: `logical` provider, then provider or engine, and the model's name there.

    `model` is empty where an engine is named whose one model it is.
    """

    logical: str
    provider: str = ""
    engine: str = ""
    model: str = ""
    secret: str = ""
    max_concurrency: int = 0


def target_of(binding: Binding, model: str) -> Target | None:
    """Return who answers for a model such as `openai/gpt-5-mini`; None where the name means itself.

    What stands before the first `/` is the logical provider; a name without one is both provider and model.
    """
    logical, _, rest = model.partition("/")
    entry = binding.providers.get(logical)
    if entry is None:
        return None
    named = entry.models.get(rest or logical, "")
    if not named and entry.provider:
        named = rest or logical
    return Target(logical, entry.provider, entry.engine, named, entry.secret, entry.max_concurrency)
