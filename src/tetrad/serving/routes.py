"""Serving's part of the API: engines and routable models; and what the worker calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from tetrad.kernel import InvalidInput, Principal
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, Search, page_of_all, requires
from tetrad.serving._cache_policies import CachePolicies
from tetrad.serving._engine_directory import EngineDirectory, EngineStatus
from tetrad.serving._engines import EngineReport, EngineSpec
from tetrad.serving._model import SEMANTIC_THRESHOLD, CachePolicy, ModelEntry, RouteTable
from tetrad.serving._presets import PRESETS
from tetrad.serving._probe import ProviderProbe
from tetrad.serving._providers import ProviderDirectory, ProviderSpec

EngineName = Annotated[str, Path(max_length=63)]


class IdentityView(BaseModel):
    """The exact engine: its build and the flags that it runs with."""

    kind: str
    build: str
    flags: dict[str, str]


class LoadView(BaseModel):
    """What the engine was doing when it was last looked at."""

    running: int
    waiting: int
    tokens_in: int
    tokens_out: int


class EngineView(BaseModel):
    """An engine: what is wanted, and what is there."""

    name: str
    kind: str
    model: str = Field(description="Digest of the weights")
    models: list[str] = Field(description="Names by which clients ask for it")
    kinds: list[str]
    ctx: int
    slots: int
    max_queue: int
    state: str
    reason: str
    pid: int | None
    restarts: int
    rss_bytes: int
    first_token_s: float | None
    identity: IdentityView | None
    load: LoadView | None
    reported_at: datetime | None
    silent: bool = Field(description="The worker has not reported it for 30 s")

    @classmethod
    def of(cls, status: EngineStatus) -> EngineView:
        """Render a status; the endpoint's secret has no field to go to."""
        spec, report = status.spec, status.report
        metrics = report.metrics
        identity = report.identity
        return cls(
            name=spec.name,
            kind=spec.kind,
            model=spec.model,
            models=[spec.served_name],
            kinds=list(spec.kinds),
            ctx=spec.ctx,
            slots=spec.slots,
            max_queue=spec.max_queue,
            state=report.state,
            reason=report.reason,
            pid=report.pid,
            restarts=report.restarts,
            rss_bytes=report.rss_bytes,
            first_token_s=report.first_token_s,
            identity=IdentityView(kind=identity.kind, build=identity.build, flags=identity.flags) if identity else None,
            load=LoadView(
                running=metrics.running,
                waiting=metrics.waiting,
                tokens_in=metrics.tokens_in,
                tokens_out=metrics.tokens_out,
            )
            if metrics
            else None,
            reported_at=status.reported_at,
            silent=status.silent,
        )


class PriceView(BaseModel):
    """Decimal texts per million tokens."""

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None
    currency: str = "USD"
    batch: str | None = Field(default=None, description="What part of it a call costs in the provider's own batches")
    units: dict[str, str] = Field(
        default={},
        description="What else has a price: audio_input, audio_output, image_input, image_output and reasoning tokens "
        "and characters by the million, image, request, search_unit and second each",
    )


class RoutedModelView(BaseModel):
    """A model that clients may name."""

    name: str
    kinds: list[str]
    upstream: str
    state: str
    digest: str
    price: PriceView | None = Field(
        description="What it costs the project that is asked for, which may have a price of its own for an engine's "
        "models; else what it costs everybody"
    )


class EngineBody(BaseModel):
    """What is wanted of an engine; see `EngineSpec`."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(max_length=40)
    model: str = Field(max_length=71)
    served_name: str = Field(max_length=127)
    kinds: list[str] = Field(default=["chat"], max_length=8)
    ctx: int = 2048
    slots: int = 2
    max_queue: int = 64
    threads: int = 0
    sleep_s: int = 0
    drain_s: float = 20.0
    flags: dict[str, str] = {}


class DesiredEngines(BaseModel):
    """What should run; `epoch` changes when control has forgotten earlier reports."""

    epoch: str
    engines: list[dict[str, Any]]


def router(
    directory: EngineDirectory,
    table: Callable[[], RouteTable | None] = lambda: None,
    project_of: Callable[[str], str | None] = lambda _upstream: None,
) -> APIRouter:
    """Return the routes, with their prefixes.

    `table` lends the newest route table; `project_of` names the project that an upstream belongs to, None for those
    of every project.
    """
    routes = APIRouter(tags=["serving"])

    @routes.get("/api/v1/engines", dependencies=[requires("control")], operation_id="list_engines")
    def list_engines() -> Page[EngineView]:
        """Return all engines of this installation."""
        return Page(items=[EngineView.of(status) for status in directory.engines()])

    @routes.get("/api/v1/engines/{name}", dependencies=[requires("control")], operation_id="get_engine")
    def get_engine(name: EngineName) -> EngineView:
        """Return one engine."""
        return EngineView.of(directory.engine(name))

    @routes.put("/api/v1/engines/{name}", dependencies=[requires("admin", everywhere=True)], operation_id="put_engine")
    def put_engine(name: EngineName, body: EngineBody) -> EngineView:
        """Ask for an engine, or for another shape of it; a changed one is drained and started again."""
        directory.want(_converted({**body.model_dump(), "name": name}, EngineSpec))
        return EngineView.of(directory.engine(name))

    @routes.delete(
        "/api/v1/engines/{name}",
        dependencies=[requires("admin", everywhere=True)],
        operation_id="delete_engine",
        status_code=204,
    )
    def delete_engine(name: EngineName) -> None:
        """Let an engine be drained and stopped."""
        directory.unwant(name)

    @routes.get("/api/v1/models", dependencies=[requires("control")], operation_id="list_routed_models")
    def list_routed_models(
        actor: CurrentPrincipal, project: Annotated[str | None, Query(max_length=63)] = None
    ) -> Page[RoutedModelView]:
        """Return the models that clients may name, of engines and of the projects that the caller may enter."""
        now = table()
        payer = project if project is not None and actor.may_enter(project) else ""
        found = now or RouteTable(version=0, made_ns=0, models=directory.models(), upstreams=directory.upstreams())
        return Page(
            items=[
                _routed(model, found, payer)
                for _, model in sorted(found.models.items())
                if _visible(project_of(model.upstream), project, actor)
            ]
        )

    @routes.get("/internal/v1/engines", dependencies=[requires("internal")], operation_id="desired_engines")
    def desired_engines() -> DesiredEngines:
        """Tell the worker what should run."""
        return DesiredEngines(
            epoch=directory.epoch, engines=[msgspec.to_builtins(spec) for spec in directory.desired()]
        )

    @routes.put(
        "/internal/v1/engines/{name}",
        dependencies=[requires("internal")],
        operation_id="report_engine",
        status_code=204,
    )
    def report_engine(name: EngineName, body: dict[str, Any]) -> None:
        """Take the worker's report of one engine."""
        directory.note(_converted({**body, "name": name}, EngineReport))

    return routes


class PriceOriginView(BaseModel):
    """Whence a price in a provider's form comes; of `at` and `by` nothing is believed that is sent."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        default="", max_length=40, description="What it was imported from, such as litellm; empty: set by hand"
    )
    at: datetime | None = Field(default=None, description="Since when it counts")
    by: str = Field(default="", max_length=128)


class ProviderModelView(BaseModel):
    """A model of a provider; clients ask for `PROVIDER/NAME`."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    kinds: list[str] = Field(default=["chat"], max_length=8)
    price: PriceView | None = None
    deployment: str = Field(default="", max_length=200, description="What the provider calls it, where not by `name`")
    price_origin: PriceOriginView | None = Field(
        default=None, description="Whence its price comes; a price that is sent again as it was keeps what is known"
    )


class ProviderBody(BaseModel):
    """How to reach a provider; see `ProviderSpec`."""

    model_config = ConfigDict(extra="forbid")

    base_url: str = Field(max_length=2000)
    models: list[ProviderModelView] = Field(max_length=500)
    adapter: str = Field(
        default="openai", max_length=40, description="The protocol that it speaks, such as openai, anthropic"
    )
    system: str = Field(default="openai", max_length=63, description="Value of `gen_ai.provider.name` on spans")
    secret: str = Field(default="", max_length=100, description="Name of a secret of the project")
    secrets: list[str] = Field(default=[], max_length=31, description="Names of more keys of the same provider")
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 600.0
    max_connections: int = 512
    operations: list[str] = Field(
        default=[],
        max_length=8,
        description="What it speaks natively, of chat, responses, completions and embeddings; the rest is translated. "
        "Empty: everything where it is OpenAI itself, else chat and embeddings",
    )
    translation: str = Field(
        default="lossy",
        max_length=10,
        description="What its protocol cannot say: `lossy` leaves it out, `strict` refuses",
    )
    max_concurrency: int = Field(default=0, description="Calls of one gateway worker at once; 0: no limit")
    max_queue: int = Field(default=64, description="Calls that wait for a place")
    queue_target_s: float = Field(default=1.0, description="Waiting longer than this for long refuses more with 429")
    auth: str = Field(
        default="",
        max_length=20,
        description="How the secret is used: bearer, header, query, sigv4, google, none; aws-machine, google-machine, "
        "azure-machine: without one, as the machine of the gateway; empty: as usual",
    )
    options: dict[str, str] = Field(default={}, max_length=16, description="What the adapter needs besides")

    internal: bool | None = Field(
        default=None,
        description="Whether it may be at a private address, which administrators of the whole installation decide; "
        "left out: as before, else by the look of the host that such an administrator names",
    )
    ca: str = Field(
        default="",
        max_length=262_144,
        description="PEM certificates that sign its own, in place of the system's",
    )
    batches: str = Field(
        default="",
        max_length=10,
        description="Whether batches are handed over to its own batch API: `native`, or made as `calls`; empty: "
        "handed over to OpenAI and Anthropic themselves",
    )


class DiscoverBody(ProviderBody):
    """How to reach a provider whose models are not known yet."""

    models: list[ProviderModelView] = Field(default=[], max_length=500)


class ListedModelView(BaseModel):
    """A model that a provider lists."""

    name: str


class ProviderCheckView(BaseModel):
    """One thing that was tried with a provider."""

    what: str
    works: bool
    seconds: float
    detail: str


class PresetView(BaseModel):
    """What is known of a provider beforehand."""

    name: str
    title: str
    base_url: str = Field(description="With {places} that are to be given")
    adapter: str
    system: str
    auth: str
    secret: str = Field(description="What the secret holds; empty where none is needed")
    options: dict[str, str]
    operations: list[str]
    places: list[str]
    local: bool
    note: str


class ProviderView(ProviderBody):
    """A provider of a project."""

    name: str

    @classmethod
    def of(cls, spec: ProviderSpec) -> ProviderView:
        """Render a spec; it holds the secret's name, never the secret."""
        known = msgspec.to_builtins(spec)
        known.pop("project")
        for model in known["models"]:
            if model["price"] is not None:
                model["price"].pop("max_input_tokens")
                model["price"].pop("tiers")
                model["price"].pop("cache_write_1h")
        return cls(**known)


def preset_router() -> APIRouter:
    """Return the route of what is known of providers."""
    routes = APIRouter(tags=["serving"])

    @routes.get("/api/v1/provider-presets", dependencies=[requires("control")], operation_id="list_provider_presets")
    def list_presets() -> Page[PresetView]:
        """Return the providers whose addresses and logins are known."""
        return Page(
            items=[
                PresetView(
                    name=each.name,
                    title=each.title,
                    base_url=each.base_url,
                    adapter=each.adapter,
                    system=each.system,
                    auth=each.auth,
                    secret="" if each.local else each.holds,
                    options=each.options,
                    operations=list(each.operations),
                    places=list(each.places),
                    local=each.local,
                    note=each.note,
                )
                for each in PRESETS.values()
            ]
        )

    return routes


def provider_router(directory: ProviderDirectory, probe: ProviderProbe) -> APIRouter:
    """Return the routes of providers, with their prefix."""
    routes = APIRouter(prefix="/api/v1/projects/{project}/providers", tags=["serving"])

    @routes.get("", dependencies=[requires("control")], operation_id="list_providers")
    def list_providers(
        project: str,
        page: PageParams,
        q: Search = "",
        sort: Annotated[
            str, Query(max_length=16, description="`name`, `adapter` or `models` (how many), `-` for the reverse")
        ] = "name",
    ) -> Page[ProviderView]:
        """List the providers of a project; `q` looks in their names, addresses and models."""
        found = (ProviderView.of(spec) for spec in directory.all(project))
        return page_of_all(
            f"providers {project}", page, found,
            q=q, texts=lambda each: (each.name, each.base_url, *(model.name for model in each.models)),
            sort=sort, name=lambda each: each.name,
            sorts={
                "name": lambda each: each.name, "adapter": lambda each: each.adapter,
                "models": lambda each: len(each.models),
            },
        )  # fmt: skip

    @routes.get("/{name}", dependencies=[requires("control")], operation_id="get_provider")
    def get_provider(project: str, name: EngineName) -> ProviderView:
        """Return one provider."""
        return ProviderView.of(directory.get(project, name))

    @routes.put("/{name}", dependencies=[requires("admin")], operation_id="put_provider")
    def put_provider(project: str, name: EngineName, body: ProviderBody, actor: CurrentPrincipal) -> ProviderView:
        """Add a provider, or change it; gateways know within a second."""
        spec = _converted({**body.model_dump(), "name": name, "project": project}, ProviderSpec)
        return ProviderView.of(directory.put(spec, everywhere=actor.projects is None, by=actor.id))

    @routes.get("/{name}/models", dependencies=[requires("admin")], operation_id="list_provider_models")
    async def list_provider_models(project: str, name: EngineName) -> Page[ListedModelView]:
        """Ask a provider which models it has; the control plane makes the call, with the provider's secret."""
        spec = await run_in_threadpool(directory.get, project, name)
        return Page(items=[ListedModelView(name=each) for each in await probe.models(spec)])

    @routes.post("/{name}/discover", dependencies=[requires("admin")], operation_id="discover_provider_models")
    async def discover_provider_models(
        project: str, name: EngineName, body: DiscoverBody, actor: CurrentPrincipal
    ) -> Page[ListedModelView]:
        """Ask a provider that is described here, and not kept, which models it has."""
        given = {**body.model_dump(), "name": name, "project": project}
        given["models"] = given["models"] or [{"name": "unknown"}]
        found = _converted(given, ProviderSpec)
        spec = await run_in_threadpool(directory.checked, found, everywhere=actor.projects is None)
        return Page(items=[ListedModelView(name=each) for each in await probe.models(spec)])

    @routes.post("/{name}/test", dependencies=[requires("admin")], operation_id="test_provider")
    async def test_provider(
        project: str, name: EngineName, model: Annotated[str, Query(max_length=200)] = ""
    ) -> Page[ProviderCheckView]:
        """Call a provider, once for each thing that it may be asked for; the calls cost what such calls cost."""
        spec = await run_in_threadpool(directory.get, project, name)
        return Page(items=[ProviderCheckView(**msgspec.to_builtins(each)) for each in await probe.test(spec, model)])

    @routes.delete("/{name}", dependencies=[requires("admin")], operation_id="delete_provider", status_code=204)
    def delete_provider(project: str, name: EngineName) -> None:
        """Remove a provider; calls in flight end as they would have."""
        directory.drop(project, name)

    return routes


class CacheBody(BaseModel):
    """How answers are cached; see `CachePolicy`."""

    model_config = ConfigDict(extra="forbid")

    use: Literal["always", "asked", "never"] = Field(default="asked", description="Whose answers are cached")
    ttl_s: int = Field(default=3600, description="Seconds for which an answer is kept")
    tools: bool = Field(default=False, description="Whether answers that call tools are kept")
    shared_by: Literal["project", "user", "unit"] = Field(default="project", description="Who may get whose answers")
    semantic: Literal["off", "cold", "any"] = Field(
        default="off", description="Whether similar questions get one answer; `cold`: where temperature is at most 0.2"
    )
    threshold: float = Field(default=SEMANTIC_THRESHOLD, description="Cosine from which questions are similar")


class CacheView(CacheBody):
    """The policy of an app; `-` stands for calls of no app, and of apps without a policy of their own."""

    app: str

    @classmethod
    def of(cls, app: str, policy: CachePolicy) -> CacheView:
        """Render a policy."""
        known = msgspec.to_builtins(policy)
        known.pop("generation")
        return cls(app=app, **known)


class ClearedView(BaseModel):
    """Whose policy it was under which nothing is cached any more: an app's, or that of other calls (`-`)."""

    app: str


def cache_router(policies: CachePolicies) -> APIRouter:
    """Return the routes of cache policies, with their prefix."""
    routes = APIRouter(prefix="/api/v1/projects/{project}/caches", tags=["serving"])

    @routes.get("", dependencies=[requires("control")], operation_id="list_caches")
    def list_caches(
        project: str,
        page: PageParams,
        q: Search = "",
        sort: Annotated[
            str, Query(max_length=16, description="`app` or `ttl` (how long answers are kept), `-` for the reverse")
        ] = "app",
    ) -> Page[CacheView]:
        """List how the answers of a project are cached; `q` looks in the names of apps, and in `all other calls`."""
        found = (CacheView.of(app, policy) for app, policy in policies.of_project(project).items())
        return page_of_all(
            f"caches {project}", page, found,
            q=q, texts=lambda each: ("all other calls" if each.app == "-" else each.app,),
            sort=sort, name=lambda each: each.app, sorts={"app": lambda each: each.app, "ttl": lambda each: each.ttl_s},
        )  # fmt: skip

    @routes.put("/{app}", dependencies=[requires("admin")], operation_id="put_cache")
    def put_cache(project: str, app: EngineName, body: CacheBody) -> CacheView:
        """Say how the answers of an app are cached; gateways know within a second."""
        return CacheView.of(app, policies.put(project, app, _converted(body.model_dump(), CachePolicy)))

    @routes.delete("/{app}", dependencies=[requires("admin")], operation_id="delete_cache", status_code=204)
    def delete_cache(project: str, app: EngineName) -> None:
        """Take an app's policy away; that of the project's other calls holds, and nothing is cached under it."""
        policies.drop(project, app)

    @routes.post("/{app}/clear", dependencies=[requires("control")], operation_id="clear_cache")
    def clear_cache(project: str, app: EngineName) -> ClearedView:
        """Make what was cached under an app's policy unreachable, in every gateway."""
        return ClearedView(app=policies.clear(project, app))

    return routes


def _routed(model: ModelEntry, table: RouteTable, payer: str) -> RoutedModelView:
    upstream = table.upstreams.get(model.upstream)
    price = model.price if model.project else table.prices.get(f"{payer}/{model.name}", model.price)
    return RoutedModelView(
        name=model.name,
        kinds=list(model.kinds),
        upstream=model.upstream,
        state=upstream.state if upstream else "failed",
        digest=model.digest,
        price=PriceView(
            input=price.input,
            output=price.output,
            cache_read=price.cache_read,
            cache_write=price.cache_write,
            currency=price.currency,
            batch=price.batch,
            units=price.units,
        )
        if price
        else None,
    )


def _visible(owner: str | None, asked: str | None, actor: Principal) -> bool:
    if owner is None:
        return True
    return actor.may_enter(owner) and asked in (None, owner)


def _converted(data: dict[str, Any], kind: Any) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{error}", hint="see the OpenAPI description") from None
