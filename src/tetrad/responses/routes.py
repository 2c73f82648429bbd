"""Kept responses over HTTP, for gateways: clients speak to them in OpenAI's protocol."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from tetrad.kit.http import (
    CurrentPrincipal,
    Page,
    PageParams,
    cursor_time,
    decode_cursor,
    encode_cursor,
    parse_sort,
    requires,
)
from tetrad.responses._background import Background
from tetrad.responses._model import (
    ID,
    BackgroundAnswer,
    BackgroundRecord,
    BackgroundRequest,
    EventBatch,
    EventPage,
    KeptConversation,
    KeptResponse,
    RecordSearch,
    ResponseError,
)
from tetrad.responses._records import Records
from tetrad.responses._service import Responses
from tetrad.responses.errors import BadResponse

Identity = Annotated[str, Path(max_length=128, pattern=f"^{ID.pattern}$")]
Project = Annotated[str, Query(max_length=63)]
Named = Annotated[str, Path(max_length=63)]
InProject = Annotated[str, Header(alias="x-tetrad-project", max_length=63)]
RecordStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
_encode = msgspec.json.encode
DROPPED = "x-tetrad-dropped"
_LOOK_S = 1.0
"""So often somebody who waits for events looks again: another process of control rings no bell here."""


def router(service: Responses, background: Background) -> APIRouter:
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
        """Return the response, as it was answered, or as far as it is."""
        background.lapse(project, identity)
        found = service.get(project, identity)
        dropped = background.dropped(project, identity)
        return _json(bytes(found.response), {DROPPED: dropped} if dropped else None)

    @routes.get("/{identity}/conversation", operation_id="get_conversation")
    def get_conversation(identity: Identity, project: Project) -> Response:
        """Return everything that was said up to and with a response."""
        background.lapse(project, identity)
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

    @routes.get("/{identity}/events", operation_id="list_response_events")
    async def list_response_events(
        identity: Identity,
        project: Project,
        after: Annotated[int, Query(ge=-1, le=2**53)] = -1,
        wait_s: Annotated[float, Query(ge=0, le=30)] = 0.0,
    ) -> Response:
        """Return the next events after a number; where there are none yet, wait so long for some."""
        return _json(_encode(await _next_events(background, project, identity, after, wait_s)))

    @routes.post("/{identity}/cancel", operation_id="cancel_response")
    def cancel_response(identity: Identity, project: Project) -> Response:
        """End a response in the background; one that has ended stays as it is."""
        background.lapse(project, identity)
        return _json(bytes(background.cancel(project, identity).response))

    @routes.delete("/{identity}", operation_id="delete_kept_response", status_code=204)
    def delete_kept_response(identity: Identity, project: Project) -> None:
        """Forget a response."""
        service.drop(project, identity)

    return routes


def background_router(service: Background) -> APIRouter:
    """Return the routes by which responses in the background are begun and answered, for our own processes."""
    routes = APIRouter(prefix="/internal/v1/background", tags=["responses"], dependencies=[requires("internal")])
    one = "/{project}/{identity}"

    @routes.post("", operation_id="begin_response")
    async def begin_response(request: Request) -> Response:
        """Have a response answered in the background."""
        asked = _decoded(await request.body(), BackgroundRequest)
        return _json(bytes((await run_in_threadpool(service.begin, asked)).response))

    @routes.post("/tend", operation_id="tend_responses")
    def tend_responses() -> dict[str, int]:
        """See to it that somebody works on all that are under way."""
        return service.tend()

    @routes.get(one, operation_id="look_at_response", status_code=204)
    def look_at_response(project: Named, identity: Identity) -> None:
        """Tell whether a response is still to be answered: 404 where it is not."""
        service.look(project, identity)

    @routes.post(one + "/take", operation_id="take_response")
    def take_response(project: Named, identity: Identity) -> Response:
        """Return what to call for a response; it is in progress from now on."""
        return _json(_encode(service.take(project, identity)))

    @routes.post(one + "/events", operation_id="add_response_events", status_code=204)
    async def add_response_events(project: Named, identity: Identity, request: Request) -> None:
        """Add what a call said to the events of its response; again, it changes nothing."""
        batch = _decoded(await request.body(), EventBatch)
        await run_in_threadpool(service.say, project, identity, batch)

    @routes.post(one + "/finish", operation_id="finish_response", status_code=204)
    async def finish_response(project: Named, identity: Identity, request: Request) -> None:
        """End a response by what was answered; again, it changes nothing."""
        answer = _decoded(await request.body(), BackgroundAnswer)
        await run_in_threadpool(service.finish, project, identity, answer)

    return routes


async def _next_events(background: Background, project: str, identity: str, after: int, wait_s: float) -> EventPage:
    until = time.monotonic() + wait_s
    with background.bells.heard(project, identity) as bell:
        while True:
            bell.clear()
            page = await run_in_threadpool(background.events, project, identity, after)
            left_s = until - time.monotonic()
            if page.events or page.over or left_s <= 0:
                return page
            try:
                async with asyncio.timeout(min(left_s, _LOOK_S)):
                    await bell.wait()
            except TimeoutError:
                continue


class ResponseErrorView(BaseModel):
    """Why a response failed."""

    code: str
    message: str


class BackgroundResponseView(BaseModel):
    """A response in the background, without what was said in it.

    `dropped` names the parameters that its upstream was not told.
    """

    id: str
    status: RecordStatus
    app: str
    model: str
    key_id: str
    created_at: datetime
    ended_at: datetime | None
    streamed: bool
    dropped: str
    error: ResponseErrorView | None = None

    @classmethod
    def of(cls, record: BackgroundRecord, error: ResponseError | None = None) -> BackgroundResponseView:
        """Return what is shown of one."""
        return cls(
            id=record.id,
            status=record.status,  # type: ignore[arg-type]  # what was stored is one of them
            app=record.app,
            model=record.model,
            key_id=record.key_id,
            created_at=record.created_at,
            ended_at=record.ended_at,
            streamed=record.followed,
            dropped=record.dropped,
            error=None if error is None else ResponseErrorView(code=error.code, message=error.message),
        )


def record_router(records: Records) -> APIRouter:
    """Return the routes by which operators look at responses in the background, and end them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}/responses", tags=["responses"])

    @routes.get("", dependencies=[requires("control")], operation_id="list_background_responses")
    def list_background_responses(
        project: str,
        page: PageParams,
        q: Annotated[
            str, Query(max_length=100, description="Only those that hold this in an id, an app, a model or a key's id")
        ] = "",
        status: Annotated[
            RecordStatus | Literal["open"] | None, Query(description="Only those of this status; `open`: not ended")
        ] = None,
        sort: Annotated[str, Query(max_length=16, description="`created`, or `-created` for the newest first")] = (
            "-created"
        ),
    ) -> Page[BackgroundResponseView]:
        """List the responses in the background that a project keeps, the newest first without `sort`."""
        _, newest_first = parse_sort(sort, ("created",), "-created")
        listing = f"responses {project} {q!r} {status} {newest_first}"
        after = None
        if page.cursor:
            at, identity = decode_cursor(listing, page.cursor, [str, str])
            after = cursor_time(at), str(identity)
        search = RecordSearch(q, status or "", oldest_first=not newest_first)
        found = records.search(project, search, after, page.limit + 1)
        items, last = found[: page.limit], found[page.limit - 1] if len(found) > page.limit else None
        return Page(
            items=[BackgroundResponseView.of(each) for each in items],
            next_cursor=None if last is None else encode_cursor(listing, [last.created_at.isoformat(), last.id]),
        )

    @routes.get("/{identity}", dependencies=[requires("control")], operation_id="get_background_response")
    def get_background_response(project: str, identity: Identity) -> BackgroundResponseView:
        """Return who asked for a response, and what became of it."""
        return BackgroundResponseView.of(*records.get(project, identity))

    @routes.post("/{identity}/cancel", dependencies=[requires("control")], operation_id="cancel_background_response")
    def cancel_background_response(project: str, identity: Identity, actor: CurrentPrincipal) -> BackgroundResponseView:
        """End a response, which the audit log tells of; one that has ended stays as it is."""
        return BackgroundResponseView.of(*records.cancel(actor, project, identity))

    return routes


class _Begin(msgspec.Struct, frozen=True):
    metadata: dict[str, str] | None = None
    items: list[msgspec.Raw] | None = None


class _Items(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]


def conversation_router(service: Responses) -> APIRouter:
    """Return the routes of conversations that clients name, for gateways: in OpenAI's words but for the last two."""
    routes = APIRouter(prefix="/internal/v1", tags=["responses"], dependencies=[requires("internal")])
    base = "/data/conversations"

    @routes.post(base, operation_id="create_conversation")
    async def create_conversation(request: Request, project: InProject) -> Response:
        """Make a conversation, with its first items."""
        wanted = _decoded(await request.body(), _Begin)
        made = await run_in_threadpool(service.begin, project, wanted.metadata or {}, wanted.items or [])
        return _json(_shown(made))

    @routes.get(base + "/{identity}", operation_id="get_kept_conversation")
    def get_kept_conversation(identity: Identity, project: InProject) -> Response:
        """Return what is known of a conversation."""
        return _json(_shown(service.talk(project, identity)))

    @routes.post(base + "/{identity}", operation_id="update_conversation")
    async def update_conversation(identity: Identity, request: Request, project: InProject) -> Response:
        """Give a conversation other metadata."""
        wanted = _decoded(await request.body(), _Begin)
        return _json(_shown(await run_in_threadpool(service.rename, project, identity, wanted.metadata or {})))

    @routes.delete(base + "/{identity}", operation_id="delete_conversation")
    def delete_conversation(identity: Identity, project: InProject) -> Response:
        """Forget a conversation with its items."""
        service.end_talk(project, identity)
        return _json(_encode({"id": identity, "object": "conversation.deleted", "deleted": True}))

    @routes.post(base + "/{identity}/items", operation_id="create_conversation_items")
    async def create_conversation_items(identity: Identity, request: Request, project: InProject) -> Response:
        """Add items to a conversation."""
        given = _decoded(await request.body(), _Items)
        return _json(_encode(await run_in_threadpool(service.add, project, identity, given.items)))

    @routes.get(base + "/{identity}/items", operation_id="list_conversation_items")
    def list_conversation_items(
        identity: Identity,
        project: InProject,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str, Query(max_length=200)] = "",
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
    ) -> Response:
        """Return a page of a conversation's items."""
        page = service.items(project, identity, limit=limit, after=after, newest_first=order == "desc")
        return _json(_encode(page))

    @routes.get(base + "/{identity}/items/{item}", operation_id="get_conversation_item")
    def get_conversation_item(identity: Identity, item: Identity, project: InProject) -> Response:
        """Return an item of a conversation."""
        return _json(service.item(project, identity, item))

    @routes.delete(base + "/{identity}/items/{item}", operation_id="delete_conversation_item")
    def delete_conversation_item(identity: Identity, item: Identity, project: InProject) -> Response:
        """Forget an item of a conversation."""
        return _json(_shown(service.drop_item(project, identity, item)))

    @routes.get("/conversations/{identity}", operation_id="get_said")
    def get_said(identity: Identity, project: Project) -> Response:
        """Return everything that a conversation holds."""
        return _json(_encode(service.said(project, identity)))

    @routes.put("/conversations/{identity}/turns/{response}", operation_id="extend_conversation", status_code=204)
    async def extend_conversation(identity: Identity, response: Identity, project: Project, request: Request) -> None:
        """Add what a response added; again, it changes nothing."""
        given = _decoded(await request.body(), _Items)
        await run_in_threadpool(service.extend, project, identity, response, given.items)

    return routes


def _shown(kept: KeptConversation) -> bytes:
    return _encode({"id": kept.id, "object": "conversation", "created_at": kept.created_s, "metadata": kept.metadata})


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadResponse(f"the body cannot be read: {error}", hint="see docs/how-to/use-responses.md") from None


def _json(body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, media_type="application/json", headers=headers)
