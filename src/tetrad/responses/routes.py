"""Kept responses over HTTP, for gateways: clients speak to them in OpenAI's protocol."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from tetrad.kit.http import requires
from tetrad.responses._model import ID, KeptResponse
from tetrad.responses._service import Responses
from tetrad.responses.errors import BadResponse

Identity = Annotated[str, Path(max_length=128, pattern=f"^{ID.pattern}$")]
Project = Annotated[str, Query(max_length=63)]
_encode = msgspec.json.encode


def router(service: Responses) -> APIRouter:
    """Return the routes; only our own processes may call them."""
    routes = APIRouter(prefix="/internal/v1/responses", tags=["responses"], dependencies=[requires("internal")])

    @routes.put("/{identity}", operation_id="keep_response", status_code=204)
    async def keep_response(identity: Identity, request: Request) -> None:
        """Keep a response, with what it answers; again, it changes nothing."""
        try:
            kept = msgspec.json.decode(await request.body(), type=KeptResponse)
        except msgspec.MsgspecError as error:
            raise BadResponse(f"the body is no response to keep: {error}") from None
        if kept.id != identity:
            raise BadResponse(f"the body is of the response {kept.id[:80]!r}, the URL of {identity!r}")
        await run_in_threadpool(service.keep, kept)

    @routes.get("/{identity}", operation_id="get_kept_response")
    def get_kept_response(identity: Identity, project: Project) -> Response:
        """Return the response, as it was answered."""
        return _json(bytes(service.get(project, identity).response))

    @routes.get("/{identity}/conversation", operation_id="get_conversation")
    def get_conversation(identity: Identity, project: Project) -> Response:
        """Return everything that was said up to and with a response."""
        return _json(_encode(service.conversation(project, identity)))

    @routes.get("/{identity}/input_items", operation_id="list_input_items")
    def list_input_items(
        identity: Identity,
        project: Project,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str, Query(max_length=200)] = "",
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
    ) -> Response:
        """Return a page of what a response was an answer to."""
        page = service.input_items(project, identity, limit=limit, after=after, newest_first=order == "desc")
        return _json(_encode(page))

    @routes.delete("/{identity}", operation_id="delete_kept_response", status_code=204)
    def delete_kept_response(identity: Identity, project: Project) -> None:
        """Forget a response."""
        service.drop(project, identity)

    return routes


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
