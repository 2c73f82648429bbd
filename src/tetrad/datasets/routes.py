"""The datasets' part of the API, below `/api/v1/projects/{project}`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from tetrad.datasets._model import DatasetDiff, DatasetVersion, Row, RowChange
from tetrad.datasets._service import Datasets
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, cut_page, decode_cursor, encode_cursor, requires
from tetrad.registry import Version

Project = Annotated[str, Path(max_length=63)]
Name = Annotated[str, Path(max_length=63)]
SemVerQuery = Annotated[str | None, Query(max_length=64, description="A version number; the newest without it")]
Text = Annotated[str, Query(max_length=4000)]


class DatasetListed(BaseModel):
    """A dataset by its newest version."""

    name: str
    semver: str
    digest: str
    rows: int
    size: int
    created_at: datetime
    created_by: str
    reason: str

    @classmethod
    def of(cls, version: Version) -> DatasetListed:
        return cls(
            name=version.name,
            semver=version.semver,
            digest=version.digest,
            rows=version.meta["rows"],
            size=version.meta["size"],
            created_at=version.created_at,
            created_by=version.author_name or version.author,
            reason=version.reason,
        )


class DatasetView(BaseModel):
    """A version of a dataset. `digest` says which rows, `order` in which order, `schema_digest` of what shape."""

    name: str
    semver: str
    digest: str
    order: str
    schema_digest: str
    json_schema: dict[str, Any]
    rows: int
    size: int
    created_at: datetime
    created_by: str
    reason: str
    expected_outcome: str

    @classmethod
    def of(cls, version: DatasetVersion) -> DatasetView:
        return cls(
            name=version.name,
            semver=version.semver,
            digest=version.digest,
            order=version.order,
            schema_digest=version.schema_digest,
            json_schema=dict(version.schema),
            rows=version.rows,
            size=version.size,
            created_at=version.created_at,
            created_by=version.author_name or version.author,
            reason=version.reason,
            expected_outcome=version.expected_outcome,
        )


class RowView(BaseModel):
    """A row: its key, its content's digest, its content."""

    key: str
    digest: str
    value: dict[str, Any]

    @classmethod
    def of(cls, row: Row) -> RowView:
        return cls(key=row.key, digest=row.digest, value=dict(row.value))


class FieldChangeView(BaseModel):
    """One field that differs; `path` is a JSON pointer. `in_old` and `in_new` tell an absent field from a null."""

    path: str
    old: Any = None
    new: Any = None
    in_old: bool
    in_new: bool


class RowChangeView(BaseModel):
    """One row that differs."""

    key: str
    change: Literal["added", "removed", "changed", "moved"]
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    fields: list[FieldChangeView]

    @classmethod
    def of(cls, change: RowChange) -> RowChangeView:
        return cls(
            key=change.key,
            change=change.change,
            old=dict(change.old) if change.old is not None else None,
            new=dict(change.new) if change.new is not None else None,
            fields=[
                FieldChangeView(
                    path=field.path,
                    old=None if field.old is msgspec.UNSET else field.old,
                    new=None if field.new is msgspec.UNSET else field.new,
                    in_old=field.old is not msgspec.UNSET,
                    in_new=field.new is not msgspec.UNSET,
                )
                for field in change.fields
            ],
        )


class DiffView(BaseModel):
    """What changed between two versions: counts of all rows, one page of them."""

    added: int
    removed: int
    changed: int
    moved: int
    items: list[RowChangeView]
    next_cursor: str | None


def router(datasets: Datasets) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["datasets"], dependencies=[requires("control")])
    _reading(routes, datasets)

    @routes.post(
        "/datasets/{name}/versions",
        operation_id="import_dataset",
        status_code=201,
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
        },
    )
    async def import_dataset(
        project: Project,
        name: Name,
        request: Request,
        actor: CurrentPrincipal,
        key: Annotated[str | None, Query(max_length=128, description="The field that names rows")] = None,
        semver: SemVerQuery = None,
        reason: Text = "",
        expected_outcome: Text = "",
    ) -> DatasetView:
        """Make a version of the JSON Lines in the body. All lines are checked before the first is kept."""
        body = await request.body()  # the guard limits its size

        def work() -> DatasetVersion:
            return datasets.import_jsonl(
                project,
                name,
                body,
                actor=actor,
                key=key,
                semver=semver,
                reason=reason,
                expected_outcome=expected_outcome,
            )

        return DatasetView.of(await run_in_threadpool(work))

    return routes


def _reading(routes: APIRouter, datasets: Datasets) -> None:
    @routes.get("/datasets", operation_id="list_datasets")
    def list_datasets(project: Project, page: PageParams) -> Page[DatasetListed]:
        """List the datasets of a project by their newest versions, in the order of names."""
        listing = f"datasets {project}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        found = [DatasetListed.of(each) for each in datasets.names(project, limit=page.limit + 1, after=after)]
        return cut_page(listing, page, found, lambda view: view.name)

    @routes.get("/datasets/{name}", operation_id="get_dataset")
    def get_dataset(project: Project, name: Name, version: SemVerQuery = None) -> DatasetView:
        """Show a version of a dataset, with the schema that all its rows fulfil."""
        return DatasetView.of(datasets.version(project, name, version))

    @routes.get("/datasets/{name}/versions", operation_id="list_dataset_versions")
    def list_dataset_versions(project: Project, name: Name, page: PageParams) -> Page[DatasetListed]:
        """List the versions of a dataset, newest first."""
        listing = f"dataset versions {project} {name}"
        position = decode_cursor(listing, page.cursor, [int])[0] if page.cursor else None
        before = position if isinstance(position, int) else None
        found = datasets.versions(project, name, limit=page.limit + 1, before=before)
        items = found[: page.limit]
        more = len(found) > page.limit
        return Page(
            items=[DatasetListed.of(each) for each in items],
            next_cursor=encode_cursor(listing, [items[-1].seq]) if more else None,
        )

    @routes.get("/datasets/{name}/rows", operation_id="list_dataset_rows")
    def list_dataset_rows(project: Project, name: Name, page: PageParams, version: SemVerQuery = None) -> Page[RowView]:
        """List the rows of a version, in their order."""
        chosen = datasets.version(project, name, version)
        listing = f"rows {project} {name} {chosen.digest} {chosen.order}"
        position = decode_cursor(listing, page.cursor, [int])[0] if page.cursor else 0
        found = datasets.rows(chosen, limit=page.limit + 1, after=position if isinstance(position, int) else 0)
        items = found[: page.limit]
        more = len(found) > page.limit
        return Page(
            items=[RowView.of(row) for row in items],
            next_cursor=encode_cursor(listing, [items[-1].position]) if more else None,
        )

    @routes.get("/datasets/{name}/diff", operation_id="diff_dataset")
    def diff_dataset(
        project: Project,
        name: Name,
        page: PageParams,
        old: Annotated[str, Query(alias="from", max_length=64)],
        new: Annotated[str, Query(alias="to", max_length=64)],
    ) -> DiffView:
        """Tell two versions of a dataset apart, row by row and field by field."""
        listing = f"diff {project} {name} {old} {new}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        return _diff_view(datasets.diff(project, name, old, new, limit=page.limit, after=after), listing)


def _diff_view(diff: DatasetDiff, listing: str) -> DiffView:
    return DiffView(
        added=diff.added,
        removed=diff.removed,
        changed=diff.changed,
        moved=diff.moved,
        items=[RowChangeView.of(item) for item in diff.items],
        next_cursor=encode_cursor(listing, [diff.next_key]) if diff.next_key is not None else None,
    )
