"""An engine that somebody else runs and that speaks the OpenAI protocol: vLLM, SGLang, llama-server, Ollama.

Flags of the spec: `url` (ends in `/v1`), `health` (default `/health`), `key_env` (name of an environment variable of
the worker that holds its key). It is watched, never started or stopped.
"""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

from tetrad.adapters.engines._openai_server import OpenAIServer
from tetrad.serving import (
    EngineCaps,
    EngineEndpoint,
    EngineFailed,
    EngineIdentity,
    EngineMetrics,
    EngineSpec,
    EngineUnusable,
)

_FLAGS = frozenset({"url", "health", "key_env"})


class OpenAIUrlAdapter:
    """Watches servers by URL."""

    kind = "openai_url"
    caps = EngineCaps(embeddings=True)

    async def provision(self, spec: EngineSpec) -> EngineIdentity:
        """Check the URL; nothing is called yet."""
        unknown = sorted(set(spec.flags) - _FLAGS)
        if unknown:
            raise EngineUnusable(f"{unknown[0]!r} is no flag here", hint=f"known: {', '.join(sorted(_FLAGS))}")
        url = spec.flags.get("url", "")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or not url.endswith("/v1"):
            raise EngineUnusable(f"the URL {url[:100]!r} is not usable", hint="such as http://127.0.0.1:8000/v1")
        name = spec.flags.get("key_env", "")
        if name and name not in os.environ:
            raise EngineUnusable(f"the worker has no variable {name!r}", hint="set it where the worker starts")
        return EngineIdentity(self.kind, "unknown", {"url": url})

    async def start(self, spec: EngineSpec, identity: EngineIdentity) -> OpenAIUrlEngine:
        """Begin to watch it."""
        secret = os.environ.get(spec.flags.get("key_env", ""), "")
        return OpenAIUrlEngine(spec, EngineEndpoint(identity.flags["url"], secret))


class OpenAIUrlEngine:
    """A server of others: it never ends for us, it only stops answering."""

    pid: int | None = None

    def __init__(self, spec: EngineSpec, endpoint: EngineEndpoint) -> None:
        self.endpoint = endpoint
        self._spec = spec
        self._server = OpenAIServer(
            endpoint, health_path=spec.flags.get("health", "/health"), timeout_s=spec.probes.answer_s
        )
        self._looks = 0

    async def healthy(self) -> bool:
        return await self._server.healthy()

    async def served_names(self) -> tuple[str, ...]:
        return await self._server.served_names()

    async def warm(self, prompt: str, deadline_s: float) -> float:
        if "chat" in self._spec.kinds:
            return await self._server.warm_chat(self._spec.served_name, prompt, deadline_s)
        return await self._server.warm_embedding(self._spec.served_name, prompt, deadline_s)

    async def metrics(self) -> EngineMetrics:
        """Know only that it answers; its load is its owner's business."""
        if not await self._server.healthy():
            raise EngineFailed("it does not answer")
        self._looks += 1
        return EngineMetrics(progress=self._looks)

    async def ended(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def stop(self, deadline_s: float) -> None:  # noqa: ARG002 - nothing of ours to wait for
        await self._server.close()
