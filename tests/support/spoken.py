"""Endpoints of adapters, each against the fake that speaks its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from support.fake_openai import FakeOpenAI
from tetrad.kernel import SystemClock
from tetrad.kit.upstream import Client
from tetrad.serving import ProviderShelf, Upstream
from tetrad.serving.ports import Endpoint

SECRET = "secret-0123456789"


@dataclass
class Spoken:
    """How an adapter is bound. `prefix` begins the names of its models, `url` is where the fake serves it."""

    adapter: str
    fake: Callable[[], FakeOpenAI]
    _: KW_ONLY
    prefix: str = ""
    url: str = "base_url"
    fields: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def endpoint(self, upstream: FakeOpenAI) -> AsyncIterator[Endpoint]:
        """Bind the adapter to its fake, which waits a second at most."""
        shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=100_000, answer_bytes=1_000_000)
        given = {"secret": SECRET, "first_byte_timeout_s": 1.0, "idle_timeout_s": 1.0, **self.fields}
        yield shelf[self.adapter].endpoint(Upstream("up", getattr(upstream, self.url), adapter=self.adapter, **given))
        await shelf.close()
