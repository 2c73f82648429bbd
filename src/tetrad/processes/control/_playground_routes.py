"""The playground's part of the API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from tetrad.kernel import Forbidden
from tetrad.kit.http import CurrentPrincipal, requires
from tetrad.processes.control._playground import Asked, Playground

Project = Annotated[str, Path(max_length=63)]


class PlaygroundPrompt(BaseModel):
    """A prompt file as it stands in an editor; nothing of it is kept."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=128)]
    text: Annotated[str, Field(max_length=1 << 20)]


class PlaygroundBody(BaseModel):
    """A call to try: `model` as gateways take it (`app:NAME@REF` or a model), and what to ask of it."""

    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, Field(min_length=1, max_length=256)]
    prompt: PlaygroundPrompt | None = Field(None, description="In the place of the prompt that the release pins")
    variables: dict[str, Any] = Field(default_factory=dict, max_length=200)
    messages: list[dict[str, Any]] = Field(default_factory=list, max_length=200)
    params: dict[str, Any] = Field(default_factory=dict, max_length=30, description="Such as max_tokens")


def playground_router(playground: Playground) -> APIRouter:
    """Return the one route."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["playground"])

    # A run changes nothing that others see, so that reviewers, who may only read, can look at what they judge.
    @routes.post(
        "/playground",
        dependencies=[requires("review", readers=True)],
        operation_id="run_playground",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {}},
                "description": "event `start` (trace_id, model, messages), chunks of the OpenAI protocol, or `problem`",
            }
        },
    )
    async def run_playground(project: Project, body: PlaygroundBody, actor: CurrentPrincipal) -> StreamingResponse:
        """Answer with a model, through a gateway, and stream what comes; an edited prompt need not be committed."""
        asked = Asked(
            model=body.model,
            name=body.prompt.name if body.prompt else "",
            text=body.prompt.text if body.prompt else None,
            variables=body.variables,
            messages=body.messages,
            params=body.params,
        )
        if asked.pinned and actor.kind == "key" and "pin" not in actor.scopes:
            raise Forbidden(
                "calling a release by its digest needs the scope `pin`",
                hint="call the app by name, or use a key with that scope",
                code="missing_scope",
            )
        prepared = await run_in_threadpool(playground.prepare, project, asked)

        async def events() -> AsyncGenerator[bytes]:
            async with aclosing(playground.run(project, prepared, user=actor.name or actor.id)) as pieces:
                async for piece in pieces:
                    yield piece

        return StreamingResponse(
            events(),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return routes
