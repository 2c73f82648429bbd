"""Files and batches over HTTP: for gateways in the words of the clients' protocols, and for workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, BinaryIO

import msgspec
from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from tetrad.batches._model import BatchError, Carriage, LineAnswer
from tetrad.batches._multipart import FormReader
from tetrad.batches._service import Batches
from tetrad.batches._shown import batch_object, file_object, message_batch_object
from tetrad.batches.errors import BadBatch, BadFile
from tetrad.kit.http import requires

_PIECE = 256 * 1024
_ID = "^[A-Za-z0-9_-]{1,64}$"
Identity = Annotated[str, Path(pattern=_ID)]
Project = Annotated[str, Header(alias="x-tetrad-project", max_length=63)]
KeyId = Annotated[str, Header(alias="x-tetrad-key-id", max_length=128)]
Origin = Annotated[str, Header(alias="x-tetrad-origin", max_length=300)]
After = Annotated[str, Query(max_length=64)]
_encode = msgspec.json.encode


class _Expiry(msgspec.Struct, frozen=True):
    anchor: str
    seconds: int


class _Create(msgspec.Struct, frozen=True):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: _Expiry | None = None


class _Request(msgspec.Struct, frozen=True):
    custom_id: str
    params: msgspec.Raw


class _CreateMessages(msgspec.Struct, frozen=True):
    requests: list[_Request]


class _Answers(msgspec.Struct, frozen=True):
    answers: list[LineAnswer]


class _Finish(msgspec.Struct, frozen=True):
    problem: BatchError | None = None


def file_router(service: Batches) -> APIRouter:
    """Return the routes of files, for gateways: they tell whose request it is."""
    routes = APIRouter(prefix="/internal/v1/data/files", tags=["batches"], dependencies=[requires("internal")])

    @routes.post("", operation_id="upload_file")
    async def upload_file(request: Request, project: Project, key_id: KeyId) -> Response:
        """Keep the file of a form; it goes to the disk as it comes."""
        with service.draft() as draft:
            form = FormReader(request.headers.get("content-type", ""), draft, service.limits.file_bytes)  # type: ignore[arg-type] # a binary file
            async for piece in request.stream():
                await run_in_threadpool(form.feed, piece)
            form.finish()
            kept = await run_in_threadpool(
                service.keep_file,
                project,
                form.filename or "file",
                form.fields.get("purpose", ""),
                draft,
                key_id=key_id,
                keep_s=_expiry(form.fields),
            )
        return _json(file_object(kept))

    @routes.get("", operation_id="list_files")
    def list_files(
        project: Project,
        purpose: Annotated[str, Query(max_length=32)] = "",
        after: After = "",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
    ) -> Response:
        """Return a page of files, by age."""
        found, more = service.files(project, purpose=purpose, after=after, limit=limit, newest_first=order == "desc")
        return _json(_listed([file_object(file) for file in found], more))

    @routes.get("/{identity}", operation_id="get_file")
    def get_file(identity: Identity, project: Project) -> Response:
        """Return what is known of a file."""
        return _json(file_object(service.file(project, identity)))

    @routes.get("/{identity}/content", operation_id="get_file_content")
    def get_file_content(identity: Identity, project: Project) -> Response:
        """Return the bytes of a file."""
        return _bytes(service.content(service.file(project, identity)), "application/octet-stream")

    @routes.delete("/{identity}", operation_id="delete_file")
    def delete_file(identity: Identity, project: Project) -> Response:
        """Forget a file."""
        service.drop_file(project, identity)
        return _json({"id": identity, "object": "file", "deleted": True})

    return routes


def batch_router(service: Batches) -> APIRouter:
    """Return the routes of batches in OpenAI's words, for gateways."""
    routes = APIRouter(prefix="/internal/v1/data/batches", tags=["batches"], dependencies=[requires("internal")])

    @routes.post("", operation_id="create_batch")
    async def create_batch(request: Request, project: Project, key_id: KeyId) -> Response:
        """Begin a batch of the requests in a file."""
        wanted = _decoded(await request.body(), _Create)
        expiry = wanted.output_expires_after
        if expiry is not None and expiry.anchor != "created_at":
            raise BadBatch(f"{expiry.anchor[:40]!r} is no anchor of an expiry", hint="created_at")
        batch = await run_in_threadpool(
            service.create,
            project,
            key_id,
            wanted.input_file_id,
            wanted.endpoint,
            wanted.completion_window,
            metadata=wanted.metadata,
            output_keep_s=None if expiry is None else expiry.seconds,
        )
        return _json(batch_object(batch))

    @routes.get("", operation_id="list_openai_batches")
    def list_openai_batches(
        project: Project, after: After = "", limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> Response:
        """Return a page of batches, the newest first."""
        found, more = service.batches(project, protocol="openai", before=after, limit=limit)
        return _json(_listed([batch_object(batch) for batch in found], more))

    @routes.get("/{identity}", operation_id="get_openai_batch")
    def get_openai_batch(identity: Identity, project: Project) -> Response:
        """Return a batch."""
        return _json(batch_object(service.batch(project, identity, "openai")))

    @routes.post("/{identity}/cancel", operation_id="cancel_openai_batch")
    def cancel_openai_batch(identity: Identity, project: Project) -> Response:
        """Stop a batch; calls that are under way end."""
        return _json(batch_object(service.cancel(project, identity, "openai")))

    return routes


def message_batch_router(service: Batches) -> APIRouter:
    """Return the routes of batches in Anthropic's words, for gateways."""
    prefix = "/internal/v1/data/messages/batches"
    routes = APIRouter(prefix=prefix, tags=["batches"], dependencies=[requires("internal")])

    @routes.post("", operation_id="create_message_batch")
    async def create_message_batch(request: Request, project: Project, key_id: KeyId, origin: Origin = "") -> Response:
        """Begin a batch of the requests in the body."""
        wanted = _decoded(await request.body(), _CreateMessages)
        calls = [(each.custom_id, each.params) for each in wanted.requests]
        return _json(
            message_batch_object(await run_in_threadpool(service.create_messages, project, key_id, calls), origin)
        )

    @routes.get("", operation_id="list_message_batches")
    def list_message_batches(
        project: Project,
        origin: Origin = "",
        before_id: After = "",
        after_id: After = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    ) -> Response:
        """Return a page of batches, the newest first; `after_id` goes on to older ones."""
        found, more = service.batches(project, protocol="anthropic", before=after_id, after=before_id, limit=limit)
        return _json({
            "data": [message_batch_object(batch, origin) for batch in found],
            "has_more": more,
            "first_id": found[0].id if found else None,
            "last_id": found[-1].id if found else None,
        })  # fmt: skip

    @routes.get("/{identity}", operation_id="get_message_batch")
    def get_message_batch(identity: Identity, project: Project, origin: Origin = "") -> Response:
        """Return a batch."""
        return _json(message_batch_object(service.batch(project, identity, "anthropic"), origin))

    @routes.post("/{identity}/cancel", operation_id="cancel_message_batch")
    def cancel_message_batch(identity: Identity, project: Project, origin: Origin = "") -> Response:
        """Stop a batch; calls that are under way end."""
        return _json(message_batch_object(service.cancel(project, identity, "anthropic"), origin))

    @routes.get("/{identity}/results", operation_id="get_message_batch_results")
    def get_message_batch_results(identity: Identity, project: Project) -> Response:
        """Return the results of a batch that has ended, one a line."""
        return _bytes(service.results(service.batch(project, identity, "anthropic")), "application/x-jsonl")

    @routes.delete("/{identity}", operation_id="delete_message_batch")
    def delete_message_batch(identity: Identity, project: Project) -> Response:
        """Forget a batch that has ended."""
        service.remove(project, identity, "anthropic")
        return _json({"id": identity, "type": "message_batch_deleted"})

    return routes


def work_router(service: Batches) -> APIRouter:
    """Return the routes by which workers do batches; only our own processes may call them."""
    routes = APIRouter(prefix="/internal/v1/batches", tags=["batches"], dependencies=[requires("internal")])

    @routes.post("/tend", operation_id="tend_batches")
    def tend_batches() -> dict[str, int]:
        """See to it that every open batch is worked on, and forget what has expired."""
        return service.tend()

    @routes.get("/{identity}", operation_id="get_batch_work")
    def get_batch_work(identity: Identity) -> Response:
        """Return what a worker must know of a batch now."""
        return _json(service.work(identity))

    @routes.post("/{identity}/validate", operation_id="validate_batch")
    def validate_batch(identity: Identity) -> Response:
        """Read the input of a batch; again, it changes nothing."""
        return _json(service.validate(identity))

    @routes.get("/{identity}/lines", operation_id="list_batch_lines")
    def list_batch_lines(
        identity: Identity,
        after: Annotated[int, Query(ge=-1)] = -1,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """Return calls that nobody has answered."""
        return _json(service.lines(identity, after, limit))

    @routes.post("/{identity}/answers", operation_id="answer_batch_lines")
    async def answer_batch_lines(identity: Identity, request: Request) -> Response:
        """Keep answers; again, it changes nothing."""
        given = _decoded(await request.body(), _Answers)
        return _json(await run_in_threadpool(service.answer, identity, given.answers))

    @routes.post("/{identity}/carriage", operation_id="carry_batch")
    async def carry_batch(identity: Identity, request: Request) -> Response:
        """Note how a batch is done, and set aside what it may cost; again, it changes nothing."""
        wanted = _decoded(await request.body(), Carriage)
        return _json(await run_in_threadpool(service.carry, identity, wanted))

    @routes.post("/{identity}/finish", operation_id="finish_batch")
    async def finish_batch(identity: Identity, request: Request) -> Response:
        """Write the results of a batch and end it; again, it changes nothing."""
        given = _decoded(await request.body(), _Finish)
        return _json(batch_object(await run_in_threadpool(service.finish, identity, given.problem)))

    return routes


def all_routers(service: Batches) -> list[APIRouter]:
    """Return the routers for clients and workers; people's is `tetrad.batches._record_routes.record_router`."""
    makers: tuple[Callable[[Batches], APIRouter], ...] = (
        file_router, batch_router, message_batch_router, work_router,
    )  # fmt: skip
    return [make(service) for make in makers]


def _expiry(fields: dict[str, str]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or seconds is None or not seconds.isdecimal() or len(seconds) > 12:
        raise BadFile("expires_after cannot be read", hint='send {"anchor": "created_at", "seconds": 3600}')
    return int(seconds)


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadBatch(f"the body cannot be read: {error}", hint="see docs/how-to/run-a-batch.md") from None


def _listed(data: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "has_more": more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _json(value: Any) -> Response:
    return Response(_encode(value), media_type="application/json")


def _bytes(source: BinaryIO, kind: str) -> Response:
    def pieces() -> Iterator[bytes]:
        with source:
            while piece := source.read(_PIECE):
                yield piece

    return StreamingResponse(pieces(), media_type=kind)
