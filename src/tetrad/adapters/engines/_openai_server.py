"""What all engines have in common that speak the OpenAI protocol: probes over HTTP."""

from __future__ import annotations

import time
from typing import Any

import httpx
import msgspec

from tetrad.serving import EngineEndpoint, EngineFailed

_MAX_ANSWER = 4_000_000


class OpenAIServer:
    """Probes of one OpenAI-compatible server at `endpoint`; times are bounded, proxies of the environment unused."""

    def __init__(self, endpoint: EngineEndpoint, *, health_path: str = "/health", timeout_s: float = 5.0) -> None:
        self.endpoint = endpoint
        self.root = endpoint.base_url.removesuffix("/v1")
        self._health = health_path
        headers = {"authorization": f"Bearer {endpoint.secret}"} if endpoint.secret else {}
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout_s, trust_env=False)

    async def healthy(self) -> bool:
        """Tell whether it answers 200 on its health path."""
        if self._http.is_closed:
            return False
        try:
            answer = await self._http.get(self.root + self._health)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    async def served_names(self) -> tuple[str, ...]:
        """Return what it lists under `/v1/models`."""
        found = msgspec.json.decode(await self._get("/v1/models"))
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
        """End the connections."""
        await self._http.aclose()

    def _check_open(self) -> None:
        if self._http.is_closed:
            raise EngineFailed("it was stopped")

    async def _get(self, path: str) -> bytes:
        self._check_open()
        try:
            answer = await self._http.get(self.root + path)
        except httpx.TransportError as error:
            raise EngineFailed(f"it does not answer ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise EngineFailed(f"{path} answered {answer.status_code}")
        if len(answer.content) > _MAX_ANSWER:
            raise EngineFailed(f"{path} answered more than {_MAX_ANSWER} bytes")
        return answer.content

    async def _post(self, path: str, body: object, deadline_s: float) -> tuple[float, Any]:
        self._check_open()
        began = time.monotonic()
        try:
            answer = await self._http.post(self.root + path, json=body, timeout=deadline_s)
        except httpx.TimeoutException:
            raise EngineFailed(f"it did not answer within {deadline_s:g} s") from None
        except httpx.TransportError as error:
            raise EngineFailed(f"it does not answer ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise EngineFailed(f"{path} answered {answer.status_code}: {answer.text[:200]}")
        return time.monotonic() - began, msgspec.json.decode(answer.content)
