"""The description of an API at `/openapi.json`: made once, when somebody asks, while other requests are answered."""

from __future__ import annotations

import asyncio
import json

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

OPENAPI_URL = "/openapi.json"


class _Description:
    """The document's bytes. All who ask while it is made wait for the same one; a failure is not kept."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._made = b""
        self._making: asyncio.Task[None] | None = None

    async def get(self, _request: Request) -> Response:
        if not self._made:
            if self._making is None or self._making.done():
                self._making = asyncio.create_task(asyncio.to_thread(self._make))
            await asyncio.shield(self._making)  # who leaves does not end it for the others
        return Response(self._made, media_type="application/json")

    def _make(self) -> None:
        self._made = json.dumps(self._app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()
        self._app.openapi_schema = None  # its objects take many times the room of its bytes


def serve_description(app: FastAPI) -> None:
    """Answer `/openapi.json` for an app that was made with `openapi_url=None`.

    FastAPI's own route makes the document in the event loop: for a large API that is seconds in which nobody is
    answered.
    """
    app.add_route(OPENAPI_URL, _Description(app).get, methods=["GET"], include_in_schema=False)
