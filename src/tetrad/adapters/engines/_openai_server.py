"""What all engines have in common that speak the OpenAI protocol: probes over HTTP."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tetrad.kit.upstream import Client, Timeouts, UpstreamFailure, parse_address
from tetrad.serving import EngineEndpoint, EngineFailed

_MAX_ANSWER = 4_000_000


class OpenAIServer:
    """Probes of one OpenAI-compatible server at `endpoint`; times and sizes are bounded."""

    def __init__(self, endpoint: EngineEndpoint, *, health_path: str = "/health", timeout_s: float = 5.0) -> None:
        self.endpoint = endpoint
        self._address = parse_address(endpoint.base_url.removesuffix("/v1"))
        self._health = health_path
        self._headers = [("authorization", f"Bearer {endpoint.secret}")] if endpoint.secret else []
        self._timeout_s = timeout_s
        self._client: Client | None = Client()

    async def healthy(self) -> bool:
        """Tell whether it answers 200 on its health path."""
        try:
            status, _ = await self._send("GET", self._health, b"", self._timeout_s)
        except EngineFailed:
            return False
        return status == 200

    async def served_names(self) -> tuple[str, ...]:
        """Return what it lists under `/v1/models`."""
        found = _json(await self._get("/v1/models"), "its list of models")
        try:
            return tuple(str(model["id"]) for model in found["data"])
        except (KeyError, TypeError):
            raise EngineFailed("its list of models is malformed") from None

    async def warm_chat(self, model: str, prompt: str, deadline_s: float) -> float:
        """Ask for one token; return the seconds it took."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 1, "temperature": 0}
        took_s, answer = await self._post("/v1/chat/completions", body, deadline_s)
        if not answer.get("choices") or not answer.get("usage", {}).get("completion_tokens"):
            raise EngineFailed("its first answer has no token")
        return took_s

    async def warm_embedding(self, model: str, prompt: str, deadline_s: float) -> float:
        """Ask for one vector; return the seconds it took."""
        took_s, answer = await self._post("/v1/embeddings", {"model": model, "input": prompt}, deadline_s)
        if not answer.get("data") or not answer["data"][0].get("embedding"):
            raise EngineFailed("its first answer has no vector")
        return took_s

    async def text(self, path: str) -> str:
        """Return the text of a path."""
        return (await self._get(path)).decode("utf-8", "replace")

    async def close(self) -> None:
        """End the connections; later calls fail."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _get(self, path: str) -> bytes:
        status, body = await self._send("GET", path, b"", self._timeout_s)
        if status != 200:
            raise EngineFailed(f"{path} answered {status}")
        return body

    async def _post(self, path: str, body: object, deadline_s: float) -> tuple[float, Any]:
        began = time.monotonic()
        status, answer = await self._send("POST", path, msgspec.json.encode(body), deadline_s)
        if status != 200:
            raise EngineFailed(f"{path} answered {status}: {answer[:200].decode('utf-8', 'replace')}")
        found = _json(answer, f"its answer on {path}")
        if not isinstance(found, dict):
            raise EngineFailed(f"its answer on {path} is malformed")
        return time.monotonic() - began, found

    async def _send(self, method: str, path: str, body: bytes, deadline_s: float) -> tuple[int, bytes]:
        if self._client is None:
            raise EngineFailed("it was stopped")
        headers = [*self._headers, ("content-type", "application/json")] if body else self._headers
        request = Client.prepare(method, self._address, path, headers)
        bounds = Timeouts(
            connect_s=min(5.0, deadline_s), first_byte_s=deadline_s, idle_s=deadline_s, total_s=deadline_s
        )
        try:
            response = await self._client.send(request, body, timeouts=bounds)
            return response.status, await response.read_all(_MAX_ANSWER)
        except UpstreamFailure as error:
            raise EngineFailed(f"it does not answer: {error.message}") from None


def _json(body: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise EngineFailed(f"{what} is malformed") from None
