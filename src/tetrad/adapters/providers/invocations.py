"""Servers that take chat completions at a path of each model's own: Databricks serving endpoints, Amazon SageMaker.

The option `path` names it, `{model}` standing for the model. Where the login is `sigv4` or
`aws-machine` the path is SageMaker's, and its streams come in Amazon's event stream, each message a piece of the
server-sent events of the container.
"""

from __future__ import annotations

from urllib.parse import quote

from tetrad.adapters.providers._aws import Frame, Signed
from tetrad.adapters.providers._aws_identity import machine_signature
from tetrad.adapters.providers._aws_stream import Unframed, event_stream_failed
from tetrad.adapters.providers._endpoint import Head, PooledProvider
from tetrad.adapters.providers._login import AWS_MACHINE, SIGNED, Login, fixed_login
from tetrad.adapters.providers.openai import OpenAIEndpoint
from tetrad.kernel import InvalidInput
from tetrad.kit.upstream import Response
from tetrad.serving import Upstream
from tetrad.serving.ports import Answer, ModelCall

DATABRICKS, SAGEMAKER = "/serving-endpoints/{model}/invocations", "/endpoints/{model}/invocations"
_OPERATIONS = ("chat", "completions", "embeddings")


class InvocationsProvider(PooledProvider):
    """Upstreams that are called at `/.../MODEL/invocations`."""

    def endpoint(self, upstream: Upstream) -> InvocationsEndpoint:
        login: Login
        if upstream.auth == AWS_MACHINE:
            login = machine_signature(upstream, self.logins, self.client, self.clock, "sagemaker")
        elif upstream.auth == SIGNED:
            login = Signed(upstream, self.clock, "sagemaker")
        else:
            login = fixed_login(upstream, upstream.auth or "bearer")
        return InvocationsEndpoint(self, upstream, login)


class InvocationsEndpoint(OpenAIEndpoint):
    """One workspace, or the endpoints of one region."""

    by_model = True
    hint = "check that its base URL and path are those of servers that speak OpenAI's chat completions"

    def __init__(self, provider: PooledProvider, upstream: Upstream, login: Login) -> None:
        self._framed = upstream.auth in (SIGNED, AWS_MACHINE)
        self._template = upstream.options.get("path") or (SAGEMAKER if self._framed else DATABRICKS)
        if "{model}" not in self._template or not self._template.startswith("/"):
            raise InvalidInput(f"the path {self._template[:100]!r} names no model", hint="such as /models/{model}")
        super().__init__(provider, upstream, login)
        self._paths = {name: self._template for name in _OPERATIONS if name in upstream.operations}

    def _path(self, operation: str, model: str) -> str:  # noqa: ARG002 - one path for all
        return self._template.replace("{model}", quote(model, safe=""))

    def _streamed(self, call: ModelCall, head: Head) -> Head:
        if not (self._framed and call.stream):
            return head
        path = head.target.removeprefix(self._address.prefix)
        return self._head(f"{path}-response-stream")

    def _framed_stream(self, call: ModelCall, response: Response) -> Answer:
        return self._stream(call, Unframed(response, _piece))


def _piece(frame: Frame) -> bytes:
    if frame.headers.get(":message-type", "event") != "event":
        raise event_stream_failed(frame)
    return frame.payload
