"""The models' part of the API, below `/api/v1/projects/{project}`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from tetrad.kit.http import CurrentPrincipal, Page, PageParams, cut_page, decode_cursor, requires
from tetrad.models._model import ModelPrice, ModelVersion, PriceEntry
from tetrad.models._service import Models

Project = Annotated[str, Path(max_length=63)]
SemVerQuery = Annotated[str | None, Query(max_length=64, description="A version number; the newest without it")]
Decimal = Annotated[str, Field(max_length=32, description="A decimal, per million tokens")]


class ModelPriceView(BaseModel):
    """What a model costs, decimals per million tokens. `unpriced` names charges that are not by token."""

    input: str
    output: str
    cache_read: str | None
    cache_write: str | None
    currency: str
    source: str
    valid_from: datetime | None
    valid_to: datetime | None
    tiered: bool
    unpriced: list[str]

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


class ModelView(BaseModel):
    """A version of a model. `price` is null where nobody knows it."""

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
    currency: Annotated[str, Field(min_length=3, max_length=3)] = "USD"
    valid_from: datetime | None = None
    valid_to: datetime | None = None


def router(models: Models) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["models"], dependencies=[requires("control")])

    def shown(project: str, version: ModelVersion) -> ModelView:
        return ModelView.of(version, models.price(project, version.name))

    @routes.get("/models", operation_id="list_model_versions")
    def list_model_versions(project: Project, page: PageParams) -> Page[ModelView]:
        """List the models of a project by their newest versions, in the order of names."""
        listing = f"models {project}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        found = [shown(project, version) for version in models.names(project, limit=page.limit + 1, after=after)]
        return cut_page(listing, page, found, lambda view: view.name)

    @routes.post("/models", operation_id="register_hosted_model", status_code=201)
    def register_hosted_model(project: Project, body: HostedModelBody, actor: CurrentPrincipal) -> ModelView:
        """Name a model that a provider hosts, so that releases can pin it."""
        version = models.register_hosted(
            project, body.name, provider=body.provider, model=body.model, snapshot=body.snapshot,
            immutable=body.immutable, licence=body.licence, reason=body.reason,
            expected_outcome=body.expected_outcome, actor=actor,
        )  # fmt: skip
        return shown(project, version)

    @routes.get("/models/{name:path}", operation_id="get_model_version")
    def get_model_version(
        project: Project, name: Annotated[str, Path(max_length=128)], version: SemVerQuery = None
    ) -> ModelView:
        """Show a version of a model."""
        return shown(project, models.version(project, name, version))

    _price_routes(routes, models)
    return routes


def _price_routes(routes: APIRouter, models: Models) -> None:
    @routes.get("/model-prices", operation_id="list_model_prices")
    def list_model_prices(
        project: Project, model: Annotated[str | None, Query(max_length=128)] = None
    ) -> Page[PriceEntryView]:
        """List the local price table as the project sees it."""
        return Page(items=[PriceEntryView.of(entry) for entry in models.local_prices(project, model)])

    @routes.post("/model-prices", operation_id="add_model_price", status_code=201)
    def add_model_price(project: Project, body: PriceBody, actor: CurrentPrincipal) -> PriceEntryView:
        """Add a price; where several hold at one time, the one that began last counts."""
        entry = models.set_price(
            project, body.model, input=body.input, output=body.output, cache_read=body.cache_read,
            cache_write=body.cache_write, currency=body.currency, valid_from=_aware(body.valid_from),
            valid_to=_aware(body.valid_to), actor=actor,
        )  # fmt: skip
        return PriceEntryView.of(entry)

    @routes.delete("/model-prices/{price_id}", operation_id="remove_model_price", status_code=204)
    def remove_model_price(project: Project, price_id: Annotated[str, Path(max_length=64)]) -> Response:
        """Take a price away."""
        models.remove_price(project, price_id)
        return Response(status_code=204)


def _aware(moment: datetime | None) -> datetime | None:
    from datetime import UTC

    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
