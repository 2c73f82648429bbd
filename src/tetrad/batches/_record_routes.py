"""The API by which people look after batches."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from tetrad.batches._model import Batch, BatchFile, BatchSearch, FileRole, Protocol, Status, Way
from tetrad.batches._records import BatchRecords
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, decode_cursor, encode_cursor, parse_sort, requires

Identity = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,64}$")]


class BatchErrorView(BaseModel):
    """Why a batch, or a line of its input, cannot be done."""

    code: str
    message: str
    line: int | None
    param: str | None


class BatchView(BaseModel):
    """A batch as people see it; times are seconds since the epoch."""

    id: str
    protocol: Protocol
    endpoint: str
    status: Status
    key_id: str
    created_at: int
    expires_at: int
    times: dict[str, int]
    total: int
    completed: int
    failed: int
    input_file: str
    output_file: str
    error_file: str
    metadata: dict[str, str] | None
    errors: list[BatchErrorView]
    way: Way = Field(description="How its lines are done: `calls`, `native` (the provider's own batch), or not decided")
    why: str = Field(description="Why its lines are calls")
    provider: str = Field(description="The provider whose batch it is")
    provider_batch: str = Field(description="Its id there")
    models: list[str] = Field(description="What its lines ask for, 50 at most; empty until they were read")

    @classmethod
    def of(cls, batch: Batch) -> BatchView:
        """Render a batch."""
        return cls(
            id=batch.id,
            protocol=batch.protocol,
            endpoint=batch.endpoint,
            status=batch.status,
            key_id=batch.key_id,
            created_at=batch.created_s,
            expires_at=batch.expires_s,
            times=batch.times,
            total=batch.total,
            completed=batch.completed,
            failed=batch.failed,
            input_file=batch.input_file,
            output_file=batch.output_file,
            error_file=batch.error_file,
            metadata=batch.metadata,
            way=batch.carriage.way,
            why=batch.carriage.why,
            provider=batch.carriage.provider,
            provider_batch=batch.carriage.batch,
            models=list(batch.models),
            errors=[BatchErrorView(code=e.code, message=e.message, line=e.line, param=e.param) for e in batch.errors],
        )


class BatchFileView(BaseModel):
    """A file of a batch, without its content; times are seconds since the epoch."""

    role: FileRole
    id: str
    name: str | None = Field(description="Null where the file is gone: it was deleted, or has expired")
    size: int | None = Field(description="Bytes")
    expires_at: int | None


class BatchDetailView(BatchView):
    """A batch with what is known of its files."""

    window: str = Field(description="The completion window that was asked for")
    files: list[BatchFileView]

    @classmethod
    def whole(cls, batch: Batch, files: list[BatchFile]) -> BatchDetailView:
        """Render a batch with its files."""
        views = [
            BatchFileView(role=each.role, id=each.id, name=each.name, size=each.size, expires_at=each.expires_s)
            for each in files
        ]
        return cls(**dict(BatchView.of(batch)), window=batch.window, files=views)


def record_router(records: BatchRecords) -> APIRouter:
    """Return the routes by which people look at batches, and cancel them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}/batches", tags=["batches"])

    @routes.get("", dependencies=[requires("control")], operation_id="list_batches")
    def list_batches(
        project: str,
        page: PageParams,
        q: Annotated[
            str,
            Query(
                max_length=100,
                description="Only those that hold this in an id, a model, a key's id or what their lines call, "
                "or are done by a provider, or have an id there, that begins so",
            ),
        ] = "",
        status: Annotated[
            Status | Literal["open"] | None, Query(description="Only those of this status; `open`: not over")
        ] = None,
        model: Annotated[str, Query(max_length=300, description="Only those with lines that ask for this model")] = "",
        key: Annotated[str, Query(max_length=128, description="Only those that the key of this id made")] = "",
        sort: Annotated[str, Query(max_length=16, description="`created`, or `-created` for the newest first")] = (
            "-created"
        ),
    ) -> Page[BatchView]:
        """List the batches of a project, the newest first without `sort`."""
        _, newest_first = parse_sort(sort, ("created",), "-created")
        search = BatchSearch(q, status or "", model, key, oldest_first=not newest_first)
        listing = f"batches {project} {q!r} {status} {model!r} {key!r} {newest_first}"
        after = None
        if page.cursor:
            at, identity = decode_cursor(listing, page.cursor, [int, str])
            after = int(str(at)), str(identity)
        found = records.search(project, search, after, page.limit + 1)
        items, last = found[: page.limit], found[page.limit - 1] if len(found) > page.limit else None
        return Page(
            items=[BatchView.of(batch) for batch in items],
            next_cursor=None if last is None else encode_cursor(listing, [last.created_s, last.id]),
        )

    @routes.get("/{identity}", dependencies=[requires("control")], operation_id="get_batch")
    def get_batch(project: str, identity: Identity) -> BatchDetailView:
        """Return a batch with its counts, times and errors, and the names and sizes of its files."""
        return BatchDetailView.whole(*records.get(project, identity))

    @routes.post("/{identity}/cancel", dependencies=[requires("control")], operation_id="cancel_batch")
    def cancel_batch(project: str, identity: Identity, actor: CurrentPrincipal) -> BatchDetailView:
        """Stop a batch, which the audit log tells of; calls that are under way end, and what was answered is kept."""
        return BatchDetailView.whole(*records.cancel(actor, project, identity))

    return routes
