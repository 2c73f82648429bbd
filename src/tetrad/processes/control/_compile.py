"""Put a route table together from what the slices know."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from tetrad.bindings import BindingSet, Bound, McpServerBinding, Target, target_of
from tetrad.changes import Candidate
from tetrad.identity import KeyGrant
from tetrad.kernel import Digest, TetradError
from tetrad.kit.egress import PUBLIC
from tetrad.models import PUBLIC_LIST, ModelPrice
from tetrad.releases import AppRefs, Message, ResolvedRelease, ResolvedStep, ResolvedVariable, refuse_unservable
from tetrad.serving import (
    AppRoute,
    BindingRoute,
    BindingTarget,
    BoundToolServer,
    CachePolicy,
    KeyEntry,
    LimitRule,
    MessageTemplate,
    ModelEntry,
    ModelRoute,
    Price,
    ProviderSpec,
    ReleaseRoute,
    RouteTable,
    Tier,
    ToolServerRoute,
    Upstream,
    Variable,
    upstream_of,
)

log = logging.getLogger(__name__)
_HOUR_IN_CACHE = {"anthropic": 2}
"""What an hour in the cache costs, as a multiple of fresh input, by the provider's own list (platform.claude.com/docs,
"Prompt caching"): the public price list knows the usual time only."""
_IN_BATCHES = {"openai": "0.5", "anthropic": "0.5"}
"""What part of its price a call costs in the provider's own batches, by their own lists (platform.openai.com/docs,
"Batch API"; platform.claude.com/docs, "Batch processing"), for prices of the public list, which does not know it."""
OF_OUR_OWN = Price("0", "0")
"""What an engine's answers cost where nobody says otherwise: nobody sends a bill for them."""
_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Sources:
    """Where each part of a table comes from; every function may be called again and again, from one thread."""

    grants: Callable[[], Iterable[KeyGrant]]
    upstreams: Callable[[], dict[str, Upstream]]
    models: Callable[[], dict[str, ModelEntry]]
    providers: Callable[[], Iterable[ProviderSpec]]
    secret: Callable[[str, str], str]
    price: Callable[[str, str, str, str], ModelPrice | None]
    apps: Callable[[], Iterable[AppRefs]]
    history: Callable[[str, str], Iterable[Digest]]
    resolve: Callable[[str, Digest], ResolvedRelease]
    candidates: Callable[[], Iterable[Candidate]]
    resolve_candidate: Callable[[Candidate], ResolvedRelease]
    own_prices: Callable[[], Mapping[tuple[str, str], ModelPrice]] = dict
    limits: Callable[[], Iterable[LimitRule]] = tuple
    bindings: Callable[[str], BindingSet] = lambda _project: BindingSet()
    routes: Callable[[], Iterable[ModelRoute]] = lambda: ()
    caches: Callable[[], dict[str, CachePolicy]] = dict
    tool_servers: Callable[[], Iterable[ToolServerRoute]] = lambda: ()
    problems: list[str] = field(default_factory=list)
    egress: str = PUBLIC


def compile_table(sources: Sources, *, version: int, made_ns: int) -> RouteTable:
    """Return a table of all that works; what does not is left out, logged and listed in `sources.problems`.

    One app whose release cannot be resolved, or one provider whose secret is gone, must not take the others down.
    """
    sources.problems.clear()
    upstreams, models = dict(sources.upstreams()), {}
    for entry in sources.models().values():
        found = sources.price("", entry.name, "", "")
        models[entry.name] = msgspec.structs.replace(entry, price=_price(found) if found else OF_OUR_OWN)
    prices = {
        f"{project}/{name}": _price(each) for (project, name), each in sources.own_prices().items() if name in models
    }
    for spec in sources.providers():
        with _tolerant(sources, f"provider {spec.name!r}"):
            _add_provider(sources, spec, upstreams, models)
    apps: dict[str, AppRoute] = {}
    releases: dict[str, ReleaseRoute] = {}
    tool_servers = _tool_servers(sources)
    binder = _Binder(sources, models, tool_servers)
    for entry_refs in sources.apps():
        app = entry_refs.app
        wanted = dict.fromkeys([*entry_refs.refs.values(), *sources.history(app.project, app.name)])
        for digest in wanted:
            with _tolerant(sources, f"release {digest} of app {app.name!r}"):
                releases[f"{app.project}/{digest}"] = release_route(sources.resolve(app.project, digest))
        routed = {digest: releases.get(f"{app.project}/{digest}") for digest in wanted}
        known = {digest: _models_of(release) for digest, release in routed.items() if release is not None}
        apps[f"{app.project}/{app.name}"] = AppRoute(
            project=app.project,
            name=app.name,
            refs=dict(entry_refs.refs),
            default_ref=app.default_ref,
            bindings=binder.bind(entry_refs, known),
        )
    for each in sources.candidates():
        if f"{each.project}/{each.digest}" not in releases:
            with _tolerant(sources, f"the candidate of change request #{each.number} of project {each.project!r}"):
                releases[f"{each.project}/{each.digest}"] = release_route(sources.resolve_candidate(each))
    return RouteTable(
        version=version,
        made_ns=made_ns,
        keys={grant.hash: _key(grant) for grant in sources.grants() if grant.project},
        upstreams=upstreams,
        models=models,
        apps=apps,
        releases=releases,
        bindings=binder.routes(),
        limits=tuple(sources.limits()),
        routes=_routes(sources, models),
        caches=sources.caches(),
        tool_servers=tool_servers,
        prices=prices,
    )


class _Binder:
    """Resolve what the models of apps are bound to. What is broken is told where it is used, and takes nothing else."""

    def __init__(
        self, sources: Sources, models: Mapping[str, ModelEntry], tool_servers: Mapping[str, ToolServerRoute]
    ) -> None:
        self._sources = sources
        self._models = models
        self._tool_servers = tool_servers
        self._sets: dict[str, BindingSet] = {}
        self._bound: dict[str, Bound] = {}
        self._targets: dict[str, dict[str, BindingTarget]] = {}

    def bind(self, entry: AppRefs, models: Mapping[Digest, tuple[str, ...]]) -> dict[str, str]:
        """Return which binding holds for each of an app's refs; `models` are those of its releases, by digest.

        What the default ref is bound by holds for pinned releases too, whether the ref is there or not.
        """
        app, found = entry.app, {}
        if app.project not in self._sets:
            self._sets[app.project] = self._sources.bindings(app.project)
        for ref in dict.fromkeys([*entry.refs, app.default_ref]):
            bound = self._sets[app.project].effective(ref, app.name)
            if bound is None:
                continue
            found[ref] = bound.ref
            path = f"{app.project}/{bound.ref}"
            self._bound[path] = bound
            targets = self._targets.setdefault(path, {})
            for model in {each: None for found_there in models.values() for each in found_there}:
                target = target_of(bound.binding, model) if bound.binding is not None else None
                if target is not None and model not in targets:
                    targets[model] = self._resolved(app.project, path, target)
            for model in models.get(entry.refs.get(ref, Digest("")), ("",)):
                self._note(entry, ref, bound, targets.get(model))
        return found

    def routes(self) -> dict[str, BindingRoute]:
        """Return the bindings that are used, by `project/ref`."""
        return {
            path: BindingRoute(
                bound.ref,
                bound.digest,
                self._targets[path],
                bound.problem,
                self._servers(path.partition("/")[0], bound),
            )
            for path, bound in self._bound.items()
        }

    def _servers(self, project: str, bound: Bound) -> dict[str, BoundToolServer]:
        entries = bound.binding.mcp_servers if bound.binding is not None else {}
        found = {name: self._server(project, entry) for name, entry in entries.items()}
        for name, entry in entries.items():
            if entry.server and found[name].problem:
                said = f"the binding {bound.ref!r} of {project!r} is broken: MCP server {name}: {found[name].problem}"
                self._sources.problems.append(said)
                log.error("%s", said)
        return found

    def _server(self, project: str, entry: McpServerBinding) -> BoundToolServer:
        if not entry.server:
            return BoundToolServer(problem="it is bound to an address, and gateways pass on registered servers only")
        if f"{project}/{entry.server}" not in self._tool_servers:
            return BoundToolServer(problem=f"it is bound to the MCP server {entry.server!r}, which is gone")
        return BoundToolServer(entry.server)

    def _note(self, entry: AppRefs, ref: str, bound: Bound, target: BindingTarget | None) -> None:
        why = bound.problem or (target.problem if target is not None else "")
        if why:
            said = f"{entry.app.name}/{ref} of {entry.app.project!r}: its binding {bound.ref!r} is broken: {why}"
            self._sources.problems.append(said)
            log.error("%s", said)

    def _resolved(self, project: str, path: str, target: Target) -> BindingTarget:
        model, problem = self._model(project, target)
        secret = ""
        if target.secret and not problem:
            try:
                secret = self._sources.secret(project, target.secret)
            except TetradError as error:
                problem = error.message
        return BindingTarget(
            model=model,
            secret=secret,
            max_concurrency=target.max_concurrency,
            capacity=f"{path}:{target.logical}" if target.max_concurrency else "",
            problem=problem,
        )

    def _model(self, project: str, target: Target) -> tuple[str, str]:
        """Return the model that is meant, or why there is none."""
        if target.provider:
            name = f"{target.provider}/{target.model}"
            entry = self._models.get(name)
            if entry is not None and entry.project == project and entry.upstream == target.provider:
                return name, ""
            return "", f"the provider {target.provider!r} is gone, or has no model {target.model!r}"
        served = [
            entry.name for entry in self._models.values() if entry.upstream == target.engine and not entry.project
        ]
        if not served:
            return "", f"there is no engine {target.engine!r}"
        if target.model:
            return (target.model, "") if target.model in served else ("", f"{target.engine!r} has no {target.model!r}")
        return (served[0], "") if len(served) == 1 else ("", f"{target.engine!r} serves several models; name one")


class _tolerant:  # noqa: N801 - reads as a clause of `with`
    def __init__(self, sources: Sources, what: str) -> None:
        self._sources, self._what = sources, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, TetradError):
            return False
        self._sources.problems.append(f"{self._what}: {error.message}")
        log.error("%s is left out of the route table: %s", self._what, error.message)
        return True


def _key(grant: KeyGrant) -> KeyEntry:
    return KeyEntry(
        grant.key_id,
        grant.project,
        grant.scopes,
        grant.expires_ns,
        grant.content,
        grant.team,
        grant.models,
        grant.priority,
        grant.batch,
        grant.background,
    )


def _price(found: ModelPrice, system: str = "") -> Price:
    hour = found.cache_write is not None and system in _HOUR_IN_CACHE
    return Price(
        found.input,
        found.output,
        found.cache_read,
        found.cache_write,
        found.currency,
        tiers=tuple(
            Tier(tier.start, tier.input, tier.output, tier.cache_read, tier.cache_write) for tier in found.tiers
        ),
        units=found.units,
        batch=_IN_BATCHES.get(system) if found.source == PUBLIC_LIST else found.batch,
        cache_write_1h=format(Decimal(found.input) * _HOUR_IN_CACHE[system], "f") if hour else None,
    )


def _add_provider(
    sources: Sources, spec: ProviderSpec, upstreams: dict[str, Upstream], models: dict[str, ModelEntry]
) -> None:
    secret = sources.secret(spec.project, spec.secret) if spec.secret else ""
    upstreams[spec.name] = upstream_of(spec, secret, tuple(_more_secrets(sources, spec)), egress=sources.egress)
    for model in spec.models:
        name = f"{spec.name}/{model.name}"
        found = sources.price(spec.project, name, spec.system, model.name)
        models[name] = ModelEntry(
            name=name,
            upstream=spec.name,
            upstream_model=model.deployment or model.name,
            kinds=model.kinds,
            price=model.price or (_price(found, spec.system) if found else None),
            project=spec.project,
        )


def _more_secrets(sources: Sources, spec: ProviderSpec) -> Iterable[str]:
    """One key that is gone must not take a provider that has others."""
    for name in spec.secrets:
        with _tolerant(sources, f"secret {name!r} of provider {spec.name!r}"):
            yield sources.secret(spec.project, name)


def _routes(sources: Sources, models: Mapping[str, ModelEntry]) -> dict[str, ModelRoute]:
    """Return the routes by `project/name`; a model that is not there is told, and gateways pass it over."""
    found = {}
    for route in sources.routes():
        found[f"{route.project}/{route.name}"] = route
        for name in route.models():
            entry = models.get(name)
            if entry is None or entry.project not in ("", route.project):
                said = f"route {route.name!r} of {route.project!r} names the model {name!r}, which is not there"
                sources.problems.append(said)
                log.warning("%s", said)
    return found


def _tool_servers(sources: Sources) -> dict[str, ToolServerRoute]:
    found = {}
    for server in sources.tool_servers():
        found[f"{server.project}/{server.name}"] = server
        if server.problem:
            said = f"the MCP server {server.name!r} of {server.project!r} cannot be called: {server.problem}"
            sources.problems.append(said)
            log.error("%s", said)
    return found


def release_route(resolved: ResolvedRelease) -> ReleaseRoute:
    """Return a release as gateways route by it; refuse one that nothing here can serve."""
    refuse_unservable(resolved)
    return ReleaseRoute(
        digest=resolved.digest,
        project=resolved.project,
        app=resolved.app,
        model=resolved.model,
        prompt_name=resolved.prompt_name,
        prompt_version=resolved.prompt_version,
        syntax="jinja2" if resolved.syntax == "jinja2" else "mustache",
        messages=_templates(resolved.messages),
        variables=_variables(resolved.variables),
        examples=_templates(resolved.examples),
        params={} if resolved.steps else _params(resolved.params),
        code_digest=resolved.code_digest,
        output=resolved.on_violation,  # type: ignore[arg-type] # checked when the prompt was read
        repair=resolved.repair,
        steps=tuple(_step(resolved, step) for step in resolved.steps),
    )


def _step(resolved: ResolvedRelease, step: ResolvedStep) -> ReleaseRoute:
    return ReleaseRoute(
        digest=resolved.digest,
        project=resolved.project,
        app=resolved.app,
        model=step.model,
        prompt_name=step.prompt_name,
        prompt_version=step.prompt_version,
        syntax="jinja2" if step.syntax == "jinja2" else "mustache",
        messages=_templates(step.messages),
        variables=_variables(step.variables),
        examples=_templates(step.examples),
        params=_params(step.params),
        output=step.on_violation,  # type: ignore[arg-type] # checked when the prompt was read
        repair=step.repair,
        step=step.name,
        inputs=dict(step.inputs),
    )


def _models_of(release: ReleaseRoute) -> tuple[str, ...]:
    """Return the models that a release calls, the primary one first, and those of its steps."""
    return tuple(dict.fromkeys((release.model, *(step.model for step in release.steps))))


def _templates(messages: Iterable[Message]) -> tuple[MessageTemplate, ...]:
    return tuple(MessageTemplate(message.role, message.text) for message in messages)


def _variables(variables: Iterable[ResolvedVariable]) -> tuple[Variable, ...]:
    return tuple(
        Variable(
            name=variable.name,
            type=variable.type,  # type: ignore[arg-type] # checked when the prompt was read
            default=msgspec.Raw(b"" if variable.required else _json.encode(variable.default)),
            description=variable.description,
        )
        for variable in variables
    )


def _params(params: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(_json.encode(value)) for name, value in params.items()}
