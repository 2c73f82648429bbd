"""The datasets' part of the API, below `/api/v1/projects/{project}`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from typing import IO, Annotated, Any, BinaryIO, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from tetrad.datasets._formats import CsvForm, Format, csv_lines
from tetrad.datasets._model import ROLES, DatasetDiff, DatasetVersion, Row, RowChange
from tetrad.datasets._reader import ChangeKind
from tetrad.datasets._scratch import batches
from tetrad.datasets._service import Datasets, PushedRow
from tetrad.datasets._sources import check_provenance
from tetrad.datasets._steps import split_steps
from tetrad.kernel import InvalidInput, parse_json
from tetrad.kit.http import (
    CurrentPrincipal,
    Page,
    PageParams,
    cursor_time,
    cut_page,
    decode_cursor,
    encode_cursor,
    parse_sort,
    requires,
)
from tetrad.registry import Version

Project = Annotated[str, Path(max_length=63)]
Name = Annotated[str, Path(max_length=63)]
SemVerQuery = Annotated[str | None, Query(max_length=64, description="A version number; the newest without it")]
Text = Annotated[str, Query(max_length=4000)]
OtherQuery = Annotated[str, Query(max_length=63, description="Another dataset, which `to` is a version of")]
SemVerBody = Annotated[str | None, Field(max_length=64, description="A version number; the newest without it")]
BodyText = Annotated[str, Field(max_length=4000)]
_SPOOL_BYTES = 1 << 20
_SENT_ROWS = 200
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FILE: dict[str, Any] = {"requestBody": {"required": True, "content": _BYTES}}
_OPTIONAL_FILE: dict[str, Any] = {"requestBody": {"required": False, "content": _BYTES}}
_PUSH: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["idempotency_key"],
                    "additionalProperties": False,
                    "properties": {
                        "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 128},
                        "rows": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["value"],
                                "properties": {"key": {"type": "string"}, "value": {"type": "object"}},
                            },
                        },
                        "remove": {"type": "array", "items": {"type": "string"}},
                        "reason": {"type": "string", "maxLength": 4000},
                    },
                }
            }
        },
    }
}


class _Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    idempotency_key: str
    rows: tuple[PushedRow, ...] = ()
    remove: tuple[str, ...] = ()
    reason: str = ""


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
    role: str

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
            role=version.meta.get("role", ""),
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
    role: str
    declared_schema: str

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
            role=version.role,
            declared_schema=version.declared,
        )


class RowView(BaseModel):
    """A row: its key, its content's digest, its content, and what side columns say of it."""

    key: str
    digest: str
    value: dict[str, Any]
    columns: dict[str, Any]

    @classmethod
    def of(cls, row: Row, columns: Mapping[str, Any]) -> RowView:
        return cls(key=row.key, digest=row.digest, value=dict(row.value), columns=dict(columns))


class RowFieldChangeView(BaseModel):
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
    fields: list[RowFieldChangeView]

    @classmethod
    def of(cls, change: RowChange) -> RowChangeView:
        return cls(
            key=change.key,
            change=change.change,
            old=dict(change.old) if change.old is not None else None,
            new=dict(change.new) if change.new is not None else None,
            fields=[
                RowFieldChangeView(
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


class PartsIn(BaseModel):
    """How a version is divided: names of parts and their shares of one."""

    version: SemVerBody = None
    parts: dict[Annotated[str, Field(max_length=63)], float]
    salt: str = Field(default="", max_length=200, description="Another salt makes another split")
    by: str = Field(default="", max_length=500, description="A path whose value keeps rows together, such as /user")
    reason: BodyText = ""


class DeriveIn(BaseModel):
    """What a version is made of: another version, and the steps that are done to its rows."""

    source: str = Field(max_length=63, description="The dataset that is read")
    version: SemVerBody = None
    steps: list[dict[str, Any]] = Field(max_length=20)
    role: str = Field(default="", max_length=32)
    reason: BodyText = ""
    expected_outcome: BodyText = ""


class RebuiltView(BaseModel):
    """What was made again, and whether it is the same."""

    name: str
    semver: str
    how: str
    verified: bool
    stored_sound: bool
    digest: str
    rebuilt_digest: str
    order: str
    rebuilt_order: str
    schema_digest: str
    rebuilt_schema: str


class ColumnIn(BaseModel):
    """What a side column says of rows, by their keys."""

    version: SemVerBody = None
    values: dict[str, Any] = Field(max_length=100_000)


class ColumnOut(BaseModel):
    """How many rows something was said of."""

    column: str
    rows: int


def router(datasets: Datasets) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["datasets"], dependencies=[requires("control")])
    _reading(routes, datasets)
    _streaming(routes, datasets)
    _uploading(routes, datasets)
    _making(routes, datasets)
    return routes


def _uploading(routes: APIRouter, datasets: Datasets) -> None:
    @routes.post("/datasets/{name}/versions", operation_id="import_dataset", status_code=201, openapi_extra=_FILE)
    async def import_dataset(
        project: Project,
        name: Name,
        request: Request,
        actor: CurrentPrincipal,
        form: Annotated[Format, Query(alias="format", description="How the file is written")] = "jsonl",
        key: Annotated[str | None, Query(max_length=128, description="The field that names rows")] = None,
        role: Annotated[str, Query(max_length=32)] = "",
        schema: Annotated[str, Query(max_length=16_000, description="JSON Schema that all rows fulfil")] = "",
        provenance: Annotated[str, Query(max_length=64_000, description="Where the file is from, as JSON")] = "",
        delimiter: Annotated[str | None, Query(max_length=1, description="CSV: found out without it")] = None,
        header: Annotated[bool, Query(description="CSV: the first line names columns")] = True,
        typed: Annotated[bool, Query(description="CSV: columns whose cells all are numbers become numbers")] = True,
        semver: SemVerQuery = None,
        reason: Text = "",
        expected_outcome: Text = "",
    ) -> DatasetView:
        """Make a version of the file in the body. All rows are checked before the first is kept."""
        csv = CsvForm(delimiter=delimiter, header=header, typed=typed) if form == "csv" else None
        declared = _object(schema, "the schema") if schema else None
        origin = check_provenance(provenance) if provenance else None
        with tempfile.TemporaryFile() as file:
            await _spool(request, file)

            def work() -> DatasetVersion:
                return datasets.import_file(
                    project, name, file, form=form, actor=actor, key=key, csv=csv, schema=declared, role=role,
                    provenance=origin, semver=semver, reason=reason, expected_outcome=expected_outcome,
                )  # fmt: skip

            return DatasetView.of(await run_in_threadpool(work))

    @routes.post("/datasets/{name}/rebuild", operation_id="rebuild_dataset", openapi_extra=_OPTIONAL_FILE)
    async def rebuild_dataset(
        project: Project, name: Name, request: Request, version: SemVerQuery = None
    ) -> RebuiltView:
        """Make a version again from what it was made of, and compare. An import needs its file as the body."""
        with tempfile.TemporaryFile() as file:
            size = await _spool(request, file)
            return await run_in_threadpool(_rebuilt, datasets, project, name, version, file if size else None)

    @routes.post("/datasets/{name}/rows", operation_id="push_rows", status_code=201, openapi_extra=_PUSH)
    async def push_rows(project: Project, name: Name, request: Request, actor: CurrentPrincipal) -> DatasetView:
        """Append rows to the newest version, or put them in the places of rows with their keys, as a new version."""
        body = _object(await request.body(), "the body")  # strictly: a key that stands twice is refused
        try:
            batch = msgspec.convert(body, _Batch)
        except msgspec.ValidationError as error:
            raise InvalidInput(
                f"the body is no batch of rows: {error}", hint="see push_rows in /openapi.json"
            ) from None
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"the body has a lone surrogate: {error.object[error.start : error.end]!a}",
                hint="send whole characters",
            ) from None

        def work() -> DatasetVersion:
            return datasets.push(
                project, name, batch.rows, actor=actor, idempotency_key=batch.idempotency_key, remove=batch.remove,
                reason=batch.reason,
            )  # fmt: skip

        return DatasetView.of(await run_in_threadpool(work))


def _making(routes: APIRouter, datasets: Datasets) -> None:
    @routes.post("/datasets/{name}/derive", operation_id="derive_dataset", status_code=201)
    def derive_dataset(project: Project, name: Name, body: DeriveIn, actor: CurrentPrincipal) -> DatasetView:
        """Make a version of what filter, split, dedupe and map make of another; the steps stand in the lineage."""
        source = datasets.version(project, body.source, body.version)
        return DatasetView.of(
            datasets.derive(
                project, source, name, body.steps, actor=actor, role=body.role, reason=body.reason,
                expected_outcome=body.expected_outcome,
            )
        )  # fmt: skip

    @routes.post("/datasets/{name}/split", operation_id="split_dataset", status_code=201)
    def split_dataset(project: Project, name: Name, body: PartsIn, actor: CurrentPrincipal) -> list[DatasetView]:
        """Divide a version into datasets named `<name>-<part>`: each row by its key, the same way every time."""
        source = datasets.version(project, name, body.version)
        steps = split_steps(body.parts, salt=body.salt, by=body.by)
        return [
            DatasetView.of(
                datasets.derive(
                    project, source, f"{name}-{part}", [step], actor=actor, reason=body.reason,
                    role=part if part in ROLES else "",
                )
            )
            for part, step in steps.items()
        ]  # fmt: skip

    @routes.put("/datasets/{name}/columns/{column}", operation_id="set_dataset_column")
    def set_dataset_column(
        project: Project, name: Name, column: Name, body: ColumnIn, actor: CurrentPrincipal
    ) -> ColumnOut:
        """Say something of rows beside them: a score, a label. Rows and digests stay as they are."""
        chosen = datasets.version(project, name, body.version)
        return ColumnOut(column=column, rows=datasets.set_column(chosen, column, body.values, actor=actor))


def _streaming(routes: APIRouter, datasets: Datasets) -> None:
    @routes.get("/datasets/{name}/export", operation_id="export_dataset", response_class=StreamingResponse)
    def export_dataset(
        project: Project,
        name: Name,
        version: SemVerQuery = None,
        form: Annotated[Literal["jsonl", "csv"], Query(alias="format")] = "jsonl",
    ) -> StreamingResponse:
        """Send all rows of a version, in their order, as JSON Lines or CSV."""
        chosen = datasets.version(project, name, version)
        lines = datasets.all_lines(chosen)
        if form == "csv":
            return StreamingResponse(csv_lines(lines, chosen.schema), media_type="text/csv; charset=utf-8")
        joined = (b"\n".join(part) + b"\n" for part in batches(lines, _SENT_ROWS))
        return StreamingResponse(joined, media_type="application/x-ndjson")

    @routes.get("/datasets/{name}/changes", operation_id="stream_dataset_changes", response_class=StreamingResponse)
    def stream_dataset_changes(
        project: Project,
        name: Name,
        old: Annotated[str, Query(alias="from", max_length=64)],
        new: Annotated[str, Query(alias="to", max_length=64)],
        of: OtherQuery = "",
    ) -> StreamingResponse:
        """Send every row that differs between two versions, as JSON Lines of what `diff_dataset` pages through."""
        datasets.version(project, name, old)
        datasets.version(project, of or name, new)
        changes = datasets.all_changes(project, name, old, new, of=of)
        lines = (RowChangeView.of(each).model_dump_json().encode() for each in changes)
        joined = (b"\n".join(part) + b"\n" for part in batches(lines, _SENT_ROWS))
        return StreamingResponse(joined, media_type="application/x-ndjson")


def _rebuilt(datasets: Datasets, project: str, name: str, semver: str | None, source: BinaryIO | None) -> RebuiltView:
    found = datasets.rebuild(project, name, semver, source=source)
    sound = datasets.verify(datasets.version(project, name, found.semver))
    facts = {field: getattr(found, field) for field in found.__struct_fields__}
    return RebuiltView(**facts, verified=found.verified, stored_sound=sound)


async def _spool(request: Request, file: IO[bytes]) -> int:
    """Write the body to a file without a name; the guard limits its size."""
    waiting: list[bytes] = []
    size = held = 0
    async for chunk in request.stream():
        waiting.append(chunk)
        held += len(chunk)
        if held >= _SPOOL_BYTES:
            await run_in_threadpool(file.write, b"".join(waiting))
            size, held = size + held, 0
            waiting.clear()
    await run_in_threadpool(file.write, b"".join(waiting))
    file.seek(0)
    return size + held


def _object(text: str | bytes, where: str) -> dict[str, Any]:
    value = parse_json(text, where=where)
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is not a JSON object")
    return value


def _reading(routes: APIRouter, datasets: Datasets) -> None:
    @routes.get("/datasets", operation_id="list_datasets")
    def list_datasets(
        project: Project,
        page: PageParams,
        q: Annotated[str, Query(max_length=63, description="Only names that hold this")] = "",
        sort: Annotated[
            str | None, Query(max_length=16, description="`name` or `created`, `-` for the reverse")
        ] = None,
    ) -> Page[DatasetListed]:
        """List the datasets of a project by their newest versions, in the order of names without `sort`."""
        field, descending = parse_sort(sort, ("name", "created"), "name")
        listing = f"datasets {project} {q} {field} {descending}"
        if field == "name":
            after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
            found = datasets.names(project, limit=page.limit + 1, after=after, contains=q, backwards=descending)
            return cut_page(listing, page, [DatasetListed.of(each) for each in found], lambda view: view.name)
        place = decode_cursor(listing, page.cursor, [str, str]) if page.cursor else None
        found = datasets.lately(
            project, limit=page.limit + 1, contains=q, newest=descending,
            after=(cursor_time(place[0]), str(place[1])) if place else None,
        )  # fmt: skip
        items = [DatasetListed.of(each) for each in found[: page.limit]]
        more = len(found) > page.limit
        position = [items[-1].created_at.isoformat(), items[-1].name] if more else []
        return Page(items=items, next_cursor=encode_cursor(listing, position) if more else None)

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
    def list_dataset_rows(
        project: Project,
        name: Name,
        page: PageParams,
        version: SemVerQuery = None,
        q: Annotated[str, Query(max_length=200, description="Only rows that hold this text")] = "",
        key: Annotated[str | None, Query(max_length=256, description="Only the row with this key")] = None,
    ) -> Page[RowView]:
        """List the rows of a version, in their order, with what side columns say of them.

        With `q` a page may hold fewer rows than `limit`, even none, and still not be the last. With `key` there is one
        row or none.
        """
        chosen = datasets.version(project, name, version)
        listing = f"rows {project} {name} {chosen.digest} {chosen.order} {q}"
        position = decode_cursor(listing, page.cursor, [int])[0] if page.cursor else 0
        after = position if isinstance(position, int) else 0
        behind: int | None = None
        if key is not None:
            one = datasets.row(chosen, key)
            items = [] if one is None else [one]
        elif q:
            items, behind = datasets.matching(chosen, q, limit=page.limit, after=after)
        else:
            found = datasets.rows(chosen, limit=page.limit + 1, after=after)
            items = found[: page.limit]
            behind = items[-1].position if len(found) > page.limit else None
        said = datasets.columns(project, items)
        return Page(
            items=[RowView.of(row, said.get(row.digest, {})) for row in items],
            next_cursor=None if behind is None else encode_cursor(listing, [behind]),
        )

    @routes.get("/datasets/{name}/diff", operation_id="diff_dataset")
    def diff_dataset(
        project: Project,
        name: Name,
        page: PageParams,
        old: Annotated[str, Query(alias="from", max_length=64)],
        new: Annotated[str, Query(alias="to", max_length=64)],
        of: OtherQuery = "",
        change: Annotated[ChangeKind | None, Query(description="Only rows of this kind; counts are of all")] = None,
    ) -> DiffView:
        """Tell two versions apart, row by row and field by field; `to` may be a version of another dataset."""
        listing = f"diff {project} {name} {old} {new} {of} {change}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        diff = datasets.diff(project, name, old, new, limit=page.limit, after=after, of=of, change=change)
        return _diff_view(diff, listing)


def _diff_view(diff: DatasetDiff, listing: str) -> DiffView:
    return DiffView(
        added=diff.added,
        removed=diff.removed,
        changed=diff.changed,
        moved=diff.moved,
        items=[RowChangeView.of(item) for item in diff.items],
        next_cursor=encode_cursor(listing, [diff.next_key]) if diff.next_key is not None else None,
    )
