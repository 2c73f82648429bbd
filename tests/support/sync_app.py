"""Call an ASGI app of this process from synchronous clients, such as the CLI's."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


class SyncApp(httpx.BaseTransport):
    """A transport that answers each request by running the app until it has answered."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self._app)) as client:
                return await client.request(
                    request.method, request.url, headers=request.headers, content=request.read()
                )

        answer = asyncio.run(ask())
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content, request=request)
