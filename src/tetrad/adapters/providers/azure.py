"""Azure OpenAI by its deployments: `/openai/deployments/NAME/...?api-version=...`, with the key in `api-key`.

Models are named by their deployments. An Azure resource's newer `/openai/v1` needs none of this: there the adapter
`openai` with the login `header` does.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from tetrad.adapters.providers._endpoint import PooledProvider, names_in
from tetrad.adapters.providers._login import AZURE_MACHINE, Login, fixed_login
from tetrad.adapters.providers._token_identity import azure_machine
from tetrad.adapters.providers.openai import OpenAIEndpoint
from tetrad.kernel import InvalidInput
from tetrad.serving import Upstream

API_VERSION = "2024-10-21"
"""The newest version of the API by deployments that Azure calls generally available, and what is asked where none is
named."""
_VERSION = re.compile(r"[A-Za-z0-9.-]{1,40}")


class AzureProvider(PooledProvider):
    """Azure OpenAI. The option `api_version` names a version of its API; the login `bearer` sends an Entra token.

    `azure-machine` sends the token of the machine's own identity.
    """

    def endpoint(self, upstream: Upstream) -> AzureEndpoint:
        if upstream.auth == AZURE_MACHINE:
            return AzureEndpoint(self, upstream, azure_machine(upstream, self.logins, self.client, self.clock))
        return AzureEndpoint(self, upstream, fixed_login(upstream, upstream.auth or "header", "api-key"))


class AzureEndpoint(OpenAIEndpoint):
    """One Azure resource."""

    by_model = True
    hint = "check that its base URL is that of an Azure OpenAI resource, without /openai"

    def __init__(self, provider: PooledProvider, upstream: Upstream, login: Login) -> None:
        self._version = upstream.options.get("api_version") or API_VERSION
        if not _VERSION.fullmatch(self._version):
            raise InvalidInput(f"{self._version[:40]!r} is no version of an API", hint=f"such as {API_VERSION}")
        super().__init__(provider, upstream, login)

    def _path(self, operation: str, model: str) -> str:
        deployment = quote(model, safe="")
        return f"/openai/deployments/{deployment}{self._paths[operation]}?api-version={self._version}"

    async def models(self) -> tuple[str, ...]:
        """Return the models that the resource can deploy: Azure lists no deployments to holders of a key."""
        listed = await self._listed(f"/openai/models?api-version={self._version}")
        return names_in(listed, "data", "id")
