"""The models' part of the API, below `/api/v1/projects/{project}`."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from tetrad.kernel import UNITS, Digest, parse_digest, precondition_required
from tetrad.kit.http import (
    CurrentPrincipal,
    Expected,
    Page,
    PageParams,
    cut_page,
    decode_cursor,
    parse_sort,
    requires,
)
from tetrad.models._body import BodyReader
from tetrad.models._licences import spdx_id
from tetrad.models._model import AdapterFacts, Derivation, ModelPrice, ModelVersion, PriceEntry
from tetrad.models._origin import MAX_INPUTS, Origin
from tetrad.models._prices import SOURCE
from tetrad.models._service import LOCAL, Models
from tetrad.models.errors import BadPrice
from tetrad.registry import Activity, Edge, Ref

Project = Annotated[str, Path(max_length=63)]
LabelQuery = Annotated[
    str | None, Query(max_length=64, description="A version number or an alias; the newest without it")
]
ModelQuery = Annotated[str, Query(min_length=1, max_length=128, description="The model's name")]
_READ_AHEAD = 1 << 20
_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
Decimal = Annotated[str, Field(max_length=32, description="A decimal, per million tokens")]
Part = Annotated[str, Field(max_length=32, description="What part of it a call costs in the provider's own batches")]
RESERVED_SOURCES = (LOCAL, SOURCE)
UNITS_SAID = (
    "What else has a price: audio_input, audio_output, image_input, image_output and reasoning tokens and characters "
    "by the million, image, request, search_unit and second each"
)


class ModelPriceView(BaseModel):
    """What a model costs, decimals per million tokens. `unpriced` names charges that are not counted."""

    input: str
    output: str
    cache_read: str | None
    cache_write: str | None
    currency: str
    source: str = Field(
        description="Who says so: `manual`, `local` (it runs here), `genai-prices` (the public list), or what it was "
        "imported from"
    )
    valid_from: datetime | None
    valid_to: datetime | None
    tiered: bool
    unpriced: list[str]
    units: dict[str, str] = Field(description=UNITS_SAID)
    batch: str | None = Field(description="What part of it a call costs in the provider's own batches")

    @classmethod
    def of(cls, price: ModelPrice) -> ModelPriceView:
        return cls(
            input=price.input,
            output=price.output,
            cache_read=price.cache_read,
            cache_write=price.cache_write,
            currency=price.currency,
            source=price.source,
            valid_from=price.valid_from,
            valid_to=price.valid_to,
            tiered=bool(price.tiers),
            unpriced=list(price.unpriced),
            units=price.units,
            batch=price.batch,
        )


class PriceEntryView(BaseModel):
    """A line of the local price table; `everywhere` tells that it holds in every project."""

    id: str
    model: str
    everywhere: bool
    price: ModelPriceView
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, entry: PriceEntry) -> PriceEntryView:
        return cls(
            id=entry.id,
            model=entry.model,
            everywhere=entry.project == "",
            price=ModelPriceView.of(entry.price),
            created_at=entry.created_at,
            created_by=entry.created_by,
        )


class WeightsFileView(BaseModel):
    """One file of a model's weights."""

    path: str
    digest: str
    size: int


class AdapterView(BaseModel):
    """What an adapter says of itself; `base_model` is the name that its trainer gave the base.

    `checked` tells by what it was compared with its base: `shapes`, `architecture`, empty for nothing.
    """

    type: str
    rank: int
    alpha: float
    targets: list[str]
    base_model: str
    checked: str

    @classmethod
    def of(cls, facts: AdapterFacts) -> AdapterView:
        return cls(
            type=facts.type,
            rank=facts.rank,
            alpha=facts.alpha,
            targets=list(facts.targets),
            base_model=facts.base_model,
            checked=facts.checked,
        )


class ModelView(BaseModel):
    """A version of a model. `price` is null where nobody knows it; `licence_id` is SPDX's name, or `unknown`.

    `reproduction_cap` is the best level at which its answers can be had again (`R2`: statistically), null for no cap;
    `wants_canary` tells that what answers may change unseen. `pickled` weights run code of their maker when loaded.
    """

    name: str
    semver: str
    digest: str
    kind: str
    size_bytes: int | None
    format: str
    architecture: str
    parameters: int
    quantisation: str
    context_length: int
    licence: str
    licence_id: str
    dtypes: dict[str, int]
    config: str | None
    pickled: bool
    adapter: AdapterView | None
    reproduction_cap: str | None
    wants_canary: bool
    tokenizer: str | None
    chat_template: str | None
    base: str | None
    derivation: str
    provider: str
    provider_model: str
    snapshot: str
    immutable: bool
    files: list[WeightsFileView]
    source: dict[str, Any]
    created_at: datetime
    created_by: str
    reason: str
    price: ModelPriceView | None

    @classmethod
    def of(cls, version: ModelVersion, price: ModelPrice | None) -> ModelView:
        record, facts = version.record, version.record.facts
        return cls(
            name=version.name,
            semver=version.semver,
            digest=record.digest,
            kind=record.kind,
            size_bytes=None if record.kind == "provider" else record.size,
            format=facts.format,
            architecture=facts.architecture,
            parameters=facts.parameters,
            quantisation=facts.quantisation,
            context_length=facts.context_length,
            licence=version.licence,
            licence_id=spdx_id(version.licence),
            dtypes=dict(facts.dtypes),
            config=facts.config,
            pickled=facts.pickled,
            adapter=None if facts.adapter is None else AdapterView.of(facts.adapter),
            reproduction_cap=record.reproduction_cap or None,
            wants_canary=record.wants_canary,
            tokenizer=facts.tokenizer,
            chat_template=facts.chat_template,
            base=record.base,
            derivation=record.derivation,
            provider=record.provider,
            provider_model=record.provider_model,
            snapshot=record.snapshot,
            immutable=record.immutable,
            files=[WeightsFileView(path=file.path, digest=file.digest, size=file.size) for file in record.files],
            source=dict(version.source),
            created_at=version.created_at,
            created_by=version.author_name or version.author,
            reason=version.reason,
            price=None if price is None else ModelPriceView.of(price),
        )


class ModelAliasView(BaseModel):
    """An alias of a model, and the digest that it points to. A governed one moves only through its gate."""

    alias: str
    digest: str
    revision: int
    moved_at: datetime
    moved_by: str
    governed: bool

    @classmethod
    def of(cls, ref: Ref) -> ModelAliasView:
        return cls(
            alias=ref.name.rsplit("/", 1)[-1],
            digest=ref.digest,
            revision=ref.revision,
            moved_at=ref.moved_at,
            moved_by=ref.moved_by_name or ref.moved_by,
            governed=ref.governed,
        )


class ModelOriginView(BaseModel):
    """The activity that a model came out of; `inputs` are what it was made from."""

    id: str
    kind: str
    at: datetime
    params: dict[str, Any]
    environment: dict[str, Any]
    inputs: list[ModelInputView]

    @classmethod
    def of(cls, activity: Activity) -> ModelOriginView:
        return cls(
            id=activity.id,
            kind=activity.kind,
            at=activity.started_at,
            params=dict(activity.params),
            environment=dict(activity.environment),
            inputs=[
                ModelInputView(digest=edge.digest, role=edge.role, policy=edge.policy)
                for edge in activity.edges
                if edge.direction == "in"
            ],
        )


class ModelInputView(BaseModel):
    """An artifact that a model was made from; `policy` says what its change means for the model."""

    digest: str
    role: str
    policy: str


class ModelDetailView(ModelView):
    """A version of a model, the aliases that point to it now, and where it came from."""

    aliases: list[str]
    origin: ModelOriginView | None


class ModelAliasBody(BaseModel):
    """Which version an alias is to point to: a number or another alias; the newest where it is empty."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[str, Field(max_length=64)] = ""
    reason: Annotated[str, Field(max_length=4000)] = ""


class MissingFilesBody(BaseModel):
    """Digests of files that are about to be sent."""

    model_config = ConfigDict(extra="forbid")

    digests: Annotated[list[Annotated[str, Field(max_length=71)]], Field(min_length=1, max_length=10_000)]


class MissingFilesView(BaseModel):
    """The files that the project has not; the others need not be sent."""

    missing: list[str]


class ReceivedFileView(BaseModel):
    """A file that was kept. It belongs to no model before an import names it."""

    digest: str
    size: int


class ModelInputBody(BaseModel):
    """An artifact of the project that a model was made from, such as the dataset that it was trained on."""

    model_config = ConfigDict(extra="forbid")

    digest: Annotated[str, Field(max_length=71)]
    role: Annotated[str, Field(max_length=64)] = "data"
    policy: Literal["rebuild", "revalidate", "reevaluate", "none"] = "rebuild"


class ImportModelBody(BaseModel):
    """A model of files that were sent, by path. `base` names a model as `NAME@VERSION`, `NAME@alias` or a digest."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=128)]
    kind: Literal["weights", "adapter"] = "weights"
    files: Annotated[dict[str, Annotated[str, Field(max_length=71)]], Field(min_length=1, max_length=10_000)]
    licence: Annotated[str, Field(max_length=128)] = ""
    base: Annotated[str, Field(max_length=200)] = ""
    derivation: Derivation = "none"
    inputs: Annotated[list[ModelInputBody], Field(max_length=MAX_INPUTS)] = []
    params: dict[str, Any] = {}
    seeds: dict[str, int] = {}
    metrics: dict[str, float] = {}
    environment: dict[str, Any] = {}
    source: dict[str, Any] = {}
    allow_pickle: bool = False
    semver: Annotated[str | None, Field(max_length=64)] = None
    reason: Annotated[str, Field(max_length=4000)] = ""
    expected_outcome: Annotated[str, Field(max_length=4000)] = ""

    def origin(self, base: Digest | None) -> Origin:
        edges = tuple(Edge(parse_digest(each.digest), "in", each.role, each.policy) for each in self.inputs)
        return Origin(base, self.derivation, edges, self.params, self.seeds, self.metrics, self.environment)


class HostedModelBody(BaseModel):
    """A model that a provider hosts, under the name that this project gives it."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=128)]
    provider: Annotated[str, Field(min_length=1, max_length=64)]
    model: Annotated[str, Field(min_length=1, max_length=256)]
    snapshot: Annotated[str, Field(max_length=64)] = ""
    immutable: bool = False
    licence: Annotated[str, Field(max_length=128)] = ""
    reason: Annotated[str, Field(max_length=4000)] = ""
    expected_outcome: Annotated[str, Field(max_length=4000)] = ""


class PriceBody(BaseModel):
    """A line for the local price table, which goes before every public list."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(max_length=128)]
    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    units: dict[Annotated[str, Field(max_length=32)], Annotated[str, Field(max_length=32)]] = Field(
        default={}, max_length=len(UNITS), description=UNITS_SAID
    )
    batch: Part | None = None
    currency: Annotated[str, Field(min_length=3, max_length=3)] = "USD"
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    source: Annotated[
        str,
        Field(
            max_length=40,
            pattern=r"^[a-z0-9][a-z0-9._-]*$",
            description="`manual`: somebody set it; else what it was imported from, such as `litellm`",
        ),
    ] = "manual"


def router(models: Models) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["models"], dependencies=[requires("control")])

    def shown(project: str, version: ModelVersion) -> ModelView:
        return ModelView.of(version, models.price(project, version.name))

    @routes.get("/models", operation_id="list_model_versions")
    def list_model_versions(
        project: Project,
        page: PageParams,
        q: Annotated[str, Query(max_length=128, description="Only names that hold this")] = "",
        sort: Annotated[str | None, Query(max_length=16, description="`name`, or `-name` for the reverse")] = None,
    ) -> Page[ModelView]:
        """List the models of a project by their newest versions, in the order of names."""
        _, backwards = parse_sort(sort, ("name",), "name")
        listing = f"models {project} {q} {backwards}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        found = models.names(project, limit=page.limit + 1, after=after, contains=q, backwards=backwards)
        return cut_page(listing, page, [shown(project, version) for version in found], lambda view: view.name)

    @routes.post("/models", operation_id="register_hosted_model", status_code=201)
    def register_hosted_model(project: Project, body: HostedModelBody, actor: CurrentPrincipal) -> ModelView:
        """Name a model that a provider hosts, so that releases can pin it."""
        version = models.register_hosted(
            project, body.name, provider=body.provider, model=body.model, snapshot=body.snapshot,
            immutable=body.immutable, licence=body.licence, reason=body.reason,
            expected_outcome=body.expected_outcome, actor=actor,
        )  # fmt: skip
        return shown(project, version)

    @routes.get("/model-versions", operation_id="list_versions_of_model")
    def list_versions_of_model(project: Project, page: PageParams, model: ModelQuery) -> Page[ModelView]:
        """List the versions of a model, newest first."""
        listing = f"model {project} {model}"
        before = decode_cursor(listing, page.cursor, [int])[0] if page.cursor else None
        found = models.versions(
            project, model, limit=page.limit + 1, before=before if isinstance(before, int) else None
        )
        cut = cut_page(listing, page, found, lambda each: each[0])
        return Page(items=[shown(project, version) for _, version in cut.items], next_cursor=cut.next_cursor)

    @routes.get("/models/{name:path}", operation_id="get_model_version")
    def get_model_version(
        project: Project, name: Annotated[str, Path(max_length=128)], version: LabelQuery = None
    ) -> ModelDetailView:
        """Show a version of a model, by number or alias."""
        found = models.version(project, name, version)
        origin = models.made_by(project, found.digest)
        return ModelDetailView(
            **dict(shown(project, found)),
            aliases=[
                ref.name.rsplit("/", 1)[-1] for ref in models.aliases(project, name) if ref.digest == found.digest
            ],
            origin=None if origin is None else ModelOriginView.of(origin),
        )

    _alias_routes(routes, models)
    _import_routes(routes, models)
    _price_routes(routes, models)
    return routes


def _import_routes(routes: APIRouter, models: Models) -> None:
    @routes.post("/missing-model-files", operation_id="find_missing_model_files")
    def find_missing_model_files(project: Project, body: MissingFilesBody) -> MissingFilesView:
        """Say which files have yet to be sent, so that an import that was stopped goes on where it was."""
        return MissingFilesView(missing=[str(digest) for digest in models.missing_files(project, body.digests)])

    @routes.post("/model-files", operation_id="send_model_file", status_code=201, openapi_extra=_FILE)
    async def send_model_file(
        project: Project,
        request: Request,
        actor: CurrentPrincipal,
        digest: Annotated[str, Query(max_length=71, description="The SHA-256 of the body, as `sha256:` and hex")],
    ) -> ReceivedFileView:
        """Keep the file in the body for an import; other bytes than the digest names are refused."""
        body = io.BufferedReader(BodyReader(request.stream()), _READ_AHEAD)
        kept = await run_in_threadpool(models.receive_file, project, body, digest, actor=actor)
        return ReceivedFileView(digest=kept.digest, size=kept.size)

    @routes.post("/model-imports", operation_id="import_model", status_code=201)
    def import_model(project: Project, body: ImportModelBody, actor: CurrentPrincipal) -> ModelView:
        """Make a version of files that were sent; the same again is the version that is there."""
        base = models.find(project, body.base).digest if body.base else None
        version = models.import_files(
            project, body.name, body.files, actor=actor, kind=body.kind, licence=body.licence,
            origin=body.origin(base), source=body.source, allow_pickle=body.allow_pickle, semver=body.semver,
            reason=body.reason, expected_outcome=body.expected_outcome,
        )  # fmt: skip
        return ModelView.of(version, models.price(project, version.name))


def _alias_routes(routes: APIRouter, models: Models) -> None:
    # A model's name has slashes, so it stands in the query and not in the path.
    @routes.get("/model-aliases", operation_id="list_model_aliases")
    def list_model_aliases(project: Project, model: ModelQuery) -> Page[ModelAliasView]:
        """List the aliases of a model, in the order of names."""
        return Page(items=[ModelAliasView.of(ref) for ref in models.aliases(project, model)])

    @routes.put("/model-aliases/{alias}", operation_id="move_model_alias")
    def move_model_alias(
        project: Project,
        alias: Annotated[str, Path(max_length=63)],
        model: ModelQuery,
        body: ModelAliasBody,
        actor: CurrentPrincipal,
        response: Response,
        seen: Expected,
    ) -> ModelAliasView:
        """Point an alias to a version, if it still points where the caller saw it (409 with the digest of now else)."""
        seen.required(f"the alias {alias!r}", new="alias")
        moved = models.move_alias(
            project, model, alias, body.version, actor=actor, reason=body.reason, create=seen.create,
            expected=seen.digest,
        )  # fmt: skip
        response.headers["etag"] = f'"{moved.digest}"'
        return ModelAliasView.of(moved)

    @routes.delete("/model-aliases/{alias}", operation_id="delete_model_alias", status_code=204)
    def delete_model_alias(
        project: Project,
        alias: Annotated[str, Path(max_length=63)],
        model: ModelQuery,
        actor: CurrentPrincipal,
        seen: Expected,
        reason: Annotated[str, Query(max_length=4000)] = "",
    ) -> Response:
        """Take an alias away for good, if it still points where the caller saw it (409 with the digest of now else)."""
        if seen.digest is None:
            raise precondition_required(f"the alias {alias!r}")
        models.delete_alias(project, model, alias, actor=actor, reason=reason, expected=seen.digest)
        return Response(status_code=204)


def _price_routes(routes: APIRouter, models: Models) -> None:
    @routes.get("/model-prices", operation_id="list_model_prices")
    def list_model_prices(
        project: Project, model: Annotated[str | None, Query(max_length=128)] = None
    ) -> Page[PriceEntryView]:
        """List the local price table as the project sees it."""
        return Page(items=[PriceEntryView.of(entry) for entry in models.local_prices(project, model)])

    @routes.post("/model-prices", dependencies=[requires("admin")], operation_id="add_model_price", status_code=201)
    def add_model_price(project: Project, body: PriceBody, actor: CurrentPrincipal) -> PriceEntryView:
        """Add a price; where several hold at one time, the one that began last counts."""
        if body.source in RESERVED_SOURCES:
            raise BadPrice(
                f"nobody imports a price from {body.source!r}: Tetrad says so of what it knows itself",
                hint="leave `source` out where somebody sets it, or name what it is imported from, such as litellm",
            )
        entry = models.set_price(
            project, body.model, input=body.input, output=body.output, cache_read=body.cache_read,
            cache_write=body.cache_write, units=body.units, batch=body.batch, currency=body.currency,
            valid_from=_aware(body.valid_from), valid_to=_aware(body.valid_to), source=body.source, actor=actor,
        )  # fmt: skip
        return PriceEntryView.of(entry)

    @routes.delete(
        "/model-prices/{price_id}", dependencies=[requires("admin")], operation_id="remove_model_price", status_code=204
    )
    def remove_model_price(
        project: Project, price_id: Annotated[str, Path(max_length=64)], actor: CurrentPrincipal
    ) -> Response:
        """Take a price away; what holds then counts again."""
        models.remove_price(project, price_id, actor=actor)
        return Response(status_code=204)


def _aware(moment: datetime | None) -> datetime | None:
    from datetime import UTC

    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
