"""Anthropic's models on Google's Vertex AI: Anthropic's protocol, Google's paths and logins.

The base URL goes on to the publisher: `.../v1/projects/P/locations/L/publishers/anthropic`. The model is in the path,
the version in the body (platform.claude.com/docs, "Claude on Vertex AI").
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from tetrad.adapters.providers._endpoint import Head, PooledProvider, model_of
from tetrad.adapters.providers._google import google_login
from tetrad.adapters.providers._login import GOOGLE, GOOGLE_MACHINE, Login, fixed_login
from tetrad.adapters.providers._token_identity import google_machine
from tetrad.adapters.providers.anthropic import AnthropicEndpoint
from tetrad.serving import Upstream
from tetrad.serving.ports import ModelCall

VERSION = "vertex-2023-10-16"
_JSON = ("content-type", "application/json")


class VertexAnthropicProvider(PooledProvider):
    """Anthropic's models on Vertex, with a service account, or with the login `bearer` and a token."""

    def endpoint(self, upstream: Upstream) -> VertexAnthropicEndpoint:
        login: Login
        kind = upstream.auth or GOOGLE
        if kind == GOOGLE:
            login = google_login(upstream, self.logins, self.client, self.clock)
        elif kind == GOOGLE_MACHINE:
            login = google_machine(upstream, self.logins, self.client, self.clock)
        else:
            login = fixed_login(upstream, kind)
        return VertexAnthropicEndpoint(self, upstream, login)


class VertexAnthropicEndpoint(AnthropicEndpoint):
    """Anthropic's models of one project and location."""

    hint = "check that its base URL is that of Vertex up to publishers/anthropic"

    def _at(self, call: ModelCall) -> Head:
        counts = call.operation.name == "count_tokens"
        model = "count-tokens" if counts else quote(model_of(call), safe="@")
        verb = "streamRawPredict" if call.stream else "rawPredict"
        # the version is said in the body; betas are said as Anthropic takes them
        betas = [(name, value) for name, value in self._asked(call.headers) if name == "anthropic-beta"]
        return self._head(f"/models/{model}:{verb}", (_JSON, *betas))

    def _body(self, call: ModelCall, fields: dict[str, msgspec.Raw]) -> bytes:
        if call.operation.name == "count_tokens":
            return msgspec.json.encode(fields)
        body = {name: raw for name, raw in fields.items() if name != "model"}
        body["anthropic_version"] = msgspec.Raw(msgspec.json.encode(VERSION))
        return msgspec.json.encode(body)
