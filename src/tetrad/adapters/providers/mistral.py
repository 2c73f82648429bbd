"""Mistral: OpenAI's paths and answers, and a dialect that refuses what it does not know."""

from __future__ import annotations

import msgspec

from tetrad.adapters.providers._answers import Coming
from tetrad.adapters.providers._endpoint import PooledProvider
from tetrad.adapters.providers._login import Login, fixed_login
from tetrad.adapters.providers._openai_wire import StreamReader
from tetrad.adapters.providers.openai import ChatStream, OpenAIEndpoint
from tetrad.kernel import UNREADABLE
from tetrad.kit.upstream import Response
from tetrad.serving import Upstream, said_plainly
from tetrad.serving.ports import Answer, ModelCall

_PATHS = {"mistral": "/chat/completions", "embeddings": "/embeddings"}


class _Refused(msgspec.Struct, frozen=True):
    message: str
    type: str = ""


class MistralProvider(PooledProvider):
    """Mistral's own API; its models elsewhere are called by the protocol of where they are."""

    def endpoint(self, upstream: Upstream) -> MistralEndpoint:
        return MistralEndpoint(self, upstream, fixed_login(upstream, upstream.auth or "bearer"))


class MistralEndpoint(OpenAIEndpoint):
    """One upstream that speaks Mistral's dialect."""

    hint = "check that its base URL is https://api.mistral.ai/v1"

    def __init__(self, provider: PooledProvider, upstream: Upstream, login: Login) -> None:
        super().__init__(provider, upstream, login)
        media = {name: path for name, path in self._paths.items() if name == "moderations"}
        self._paths = {**_PATHS, **media}
        self._requests = {name: self._prepared(name, "") for name in self._paths}

    def _stream(self, call: ModelCall, response: Coming) -> Answer:  # noqa: ARG002 - all streams are alike
        return self._covering(_Stream(self._provider, response, strip=False))

    def _read_error(self, body: bytes, response: Response) -> tuple[str, str] | None:
        """Errors of requests are told as OpenAI tells them by some of Mistral's servers, and flat by others."""
        try:
            said = msgspec.json.decode(body, type=_Refused)
        except UNREADABLE:
            return super()._read_error(body, response)
        return said.type, said.message

    def _corrected(self, status: int, code: str, message: str, body: bytes) -> tuple[int, str, bytes]:
        if b'"error":{' in body.replace(b" ", b""):
            return status, code, body
        told = {"message": message, "type": "invalid_request_error" if status < 500 else "server_error", "code": code}
        return status, code, msgspec.json.encode({"error": {**told, "param": None}})


class _Stream(ChatStream):
    def _reader(self) -> _Reader:
        return _Reader()


class _Reader(StreamReader):
    """Thoughts are among the parts of the content."""

    def feed(self, events: bytes, *, torn: bool = False) -> None:
        if b'"thinking"' in events:
            events = b"\n".join(map(_plain, events.split(b"\n")))
        super().feed(events, torn=torn)


def _plain(line: bytes) -> bytes:
    if not line.startswith(b"data:"):
        return line
    try:
        return b"data: " + said_plainly(line[5:])
    except UNREADABLE:
        return line
