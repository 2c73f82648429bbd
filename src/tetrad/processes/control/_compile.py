"""Put a route table together from what the slices know."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from tetrad.changes import Candidate
from tetrad.identity import KeyGrant
from tetrad.kernel import Digest, TetradError
from tetrad.models import ModelPrice
from tetrad.releases import AppRefs, ResolvedRelease
from tetrad.serving import (
    AppRoute,
    KeyEntry,
    MessageTemplate,
    ModelEntry,
    Price,
    ProviderSpec,
    ReleaseRoute,
    RouteTable,
    Upstream,
    Variable,
)

log = logging.getLogger(__name__)
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
    problems: list[str] = field(default_factory=list)


def compile_table(sources: Sources, *, version: int, made_ns: int) -> RouteTable:
    """Return a table of all that works; what does not is left out, logged and listed in `sources.problems`.

    One app whose release cannot be resolved, or one provider whose secret is gone, must not take the others down.
    """
    sources.problems.clear()
    upstreams, models = dict(sources.upstreams()), {}
    for entry in sources.models().values():
        found = sources.price("", entry.name, "", "")
        models[entry.name] = msgspec.structs.replace(entry, price=_price(found)) if found else entry
    for spec in sources.providers():
        with _tolerant(sources, f"provider {spec.name!r}"):
            _add_provider(sources, spec, upstreams, models)
    apps: dict[str, AppRoute] = {}
    releases: dict[str, ReleaseRoute] = {}
    for entry_refs in sources.apps():
        app = entry_refs.app
        wanted = dict.fromkeys([*entry_refs.refs.values(), *sources.history(app.project, app.name)])
        for digest in wanted:
            with _tolerant(sources, f"release {digest} of app {app.name!r}"):
                releases[f"{app.project}/{digest}"] = release_route(sources.resolve(app.project, digest))
        apps[f"{app.project}/{app.name}"] = AppRoute(
            project=app.project, name=app.name, refs=dict(entry_refs.refs), default_ref=app.default_ref
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
    )


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
    return KeyEntry(grant.key_id, grant.project, grant.scopes, grant.expires_ns, grant.content)


def _price(found: ModelPrice) -> Price:
    return Price(
        found.input,
        found.output,
        found.cache_read,
        found.cache_write,
        found.currency,
        max_input_tokens=min((tier.start for tier in found.tiers), default=0),
    )


def _add_provider(
    sources: Sources, spec: ProviderSpec, upstreams: dict[str, Upstream], models: dict[str, ModelEntry]
) -> None:
    secret = sources.secret(spec.project, spec.secret) if spec.secret else ""
    upstreams[spec.name] = Upstream(
        name=spec.name,
        base_url=spec.base_url.rstrip("/"),
        adapter=spec.adapter,
        provider=spec.system,
        secret=secret,
        connect_timeout_s=spec.connect_timeout_s,
        first_byte_timeout_s=spec.first_byte_timeout_s,
        idle_timeout_s=spec.idle_timeout_s,
        total_timeout_s=spec.total_timeout_s,
        max_connections=spec.max_connections,
    )
    for model in spec.models:
        name = f"{spec.name}/{model.name}"
        found = sources.price(spec.project, name, spec.system, model.name)
        models[name] = ModelEntry(
            name=name,
            upstream=spec.name,
            upstream_model=model.name,
            kinds=model.kinds,
            price=model.price or (_price(found) if found else None),
            project=spec.project,
        )


def release_route(resolved: ResolvedRelease) -> ReleaseRoute:
    """Return a release as the hot path needs it."""
    return ReleaseRoute(
        digest=resolved.digest,
        project=resolved.project,
        app=resolved.app,
        model=resolved.model,
        prompt_name=resolved.prompt_name,
        prompt_version=resolved.prompt_version,
        syntax="jinja2" if resolved.syntax == "jinja2" else "mustache",
        messages=tuple(MessageTemplate(message.role, message.text) for message in resolved.messages),
        variables=tuple(
            Variable(
                name=variable.name,
                type=variable.type,  # type: ignore[arg-type] # checked when the prompt was read
                default=msgspec.Raw(b"" if variable.required else _json.encode(variable.default)),
                description=variable.description,
            )
            for variable in resolved.variables
        ),
        examples=tuple(MessageTemplate(message.role, message.text) for message in resolved.examples),
        params={name: msgspec.Raw(_json.encode(value)) for name, value in resolved.params.items()},
        code_digest=resolved.code_digest,
    )
