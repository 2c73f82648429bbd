"""Upstreams of OpenAI's protocol whose paths name the model: Azure's deployments, and `/invocations`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from support.fake_bedrock import STREAM, frame
from support.fake_openai import FakeOpenAI, Script


@dataclass
class FakePaths(FakeOpenAI):
    """Like `FakeOpenAI`; the model is that of the path. Streams come in frames where the path asks for them."""

    @property
    def script(self) -> type[Script]:
        return FramedScript if self.requests[-1].target.endswith("-response-stream") else Script

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def model_of(self, target: str, body: dict[str, Any]) -> str:
        found = re.search(r"/(?:deployments|endpoints|serving-endpoints)/([^/]+)/", target)
        return unquote(found[1]) if found else "m1"


class FramedScript(Script):
    """Server-sent events in pieces that end anywhere, each in a frame of its own, as SageMaker streams."""

    async def head(self, status: int, content_type: str) -> None:
        await super().head(status, STREAM if content_type == "text/event-stream" else content_type)

    async def chunk(self, data: bytes) -> None:
        headers = {":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}
        middle = len(data) // 2
        await super().chunk(b"".join(frame(headers, part) for part in (data[:middle], data[middle:]) if part))
