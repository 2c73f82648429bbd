"""A route table made ready: prompts compiled, upstreams bound, names resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import NamedTuple, cast

import msgspec

from tetrad.kernel import (
    Clock,
    Forbidden,
    MissingExtra,
    NotFound,
    SystemClock,
    TetradError,
    Unauthenticated,
    Unavailable,
)
from tetrad.serving._capacity import Capacity
from tetrad.serving._dispatch import BoundModel
from tetrad.serving._gate import Gate, GatePolicy
from tetrad.serving._key_pool import KeyPool
from tetrad.serving._key_uses import KeyUses
from tetrad.serving._model import (
    AppRoute,
    BindingRoute,
    BindingTarget,
    KeyEntry,
    Kind,
    ModelEntry,
    Price,
    ReleaseRoute,
    RouteTable,
    Upstream,
)
from tetrad.serving._prompting import CompiledRelease, house_compiler
from tetrad.serving._providers import MACHINE_AUTHS
from tetrad.serving._route_plan import MAX_REPORTED, GatewayHealth, Plan, RouteState, Target, alone, plan_of_one
from tetrad.serving._route_spec import ModelRoute, RouteTarget
from tetrad.serving._unit_pricing import pricer_of
from tetrad.serving.errors import BadRouteTable, BindingBroken, RequestRefused
from tetrad.serving.ports import Answer, BatchEndpoint, Handler, ModelCall, PromptCompiler, Provider, Stage

APP = "app:"
RELEASE = "release:"
_MAX_ASKED = 4096
"""So many headers of clients that were let in are known without hashing them again, until the next table comes."""


class ModelNotFound(NotFound):
    """No model, app or release of that name is visible to the key."""

    code = "model_not_found"
    next_step = "GET /v1/models lists what this key may call"
    param = "model"


def may_name(key: KeyEntry, name: str) -> bool:
    """Tell whether a key may name that model, app or release; an app's ref belongs to the app."""
    app = name.partition("@")[0] if name.startswith(APP) else name
    return all(
        any(fnmatchcase(name, pattern) or fnmatchcase(app, pattern) for pattern in patterns) for patterns in key.models
    )


class Route(NamedTuple):
    """Where a request goes, as which release, and by which binding."""

    model: BoundModel
    release: CompiledRelease | None = None
    app: str = ""
    ref: str = ""
    binding: str = ""
    plan: Plan | None = None
    """How it is called, where that is not once: `model` is then the first of the plan's targets."""
    steps: Mapping[str, Route] = {}
    """Where the steps of a chain go that have a model of their own."""


class BrokenRoute(BindingBroken):
    """A request whose release is known, and whose model is bound to something that is not there."""

    release: CompiledRelease
    app = ""
    ref = ""
    binding = ""


class CompiledTable:
    """An immutable route table, ready for requests. `problems` says what of it cannot be used, and why."""

    def __init__(
        self,
        table: RouteTable,
        providers: Mapping[str, Provider],
        stages: Sequence[Stage] = (),
        compiler: PromptCompiler = house_compiler,
        previous: CompiledTable | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.table = table
        self.problems: dict[str, str] = {}
        self._keys = table.keys
        self._asked: dict[bytes, KeyEntry] = {}
        self.key_uses: KeyUses = previous.key_uses if previous else KeyUses()
        self._clock = clock or SystemClock()
        self._models: dict[str, BoundModel] = {}
        self._pools: dict[str, KeyPool] = {}
        self._old_pools = previous._pools if previous else {}
        self._gates: dict[str, Gate] = {}
        self._old_gates = previous._gates if previous else {}
        self._states: dict[str, RouteState] = {}
        self._plans: dict[str, Plan] = {}
        self._releases: dict[tuple[str, str], CompiledRelease] = {}
        for entry in table.models.values():
            self._try(f"model {entry.name}", partial(self._bind, entry, providers, stages))
        self._own_priced: dict[tuple[str, str], BoundModel] = {}
        for path, price in table.prices.items():
            self._try(f"price {path}", partial(self._price, path, price))
        for release in table.releases.values():
            name = release.project, release.digest  # projects with equal releases share the digest
            known = previous._releases.get(name) if previous else None
            if known is not None and known.route == release:
                self._releases[name] = known  # immutable, so compiled once in its life
            else:
                self._try(f"release {release.project}/{release.digest}", partial(self._compile, release, compiler))
        for path, spec in table.routes.items():
            self._try(f"route {path}", partial(self._plan, spec, providers, stages, previous))
        self._capacities = self._kept_capacities(previous)
        self._targets: dict[tuple[str, str], BoundModel | str] = {}
        for path, binding in table.bindings.items():
            for model, target in binding.targets.items():
                project = path.partition("/")[0]
                self._targets[path, model] = self._target(project, target, providers, stages)
        self._routes: dict[str, dict[str, Route]] = {path: self._routes_of(app) for path, app in table.apps.items()}

    def authenticate(self, headers: Mapping[bytes, bytes], now_ns: int) -> KeyEntry:
        """Return the key that a request was made with; raises `Unauthenticated` or `Forbidden`."""
        authorization = headers.get(b"authorization")
        known = None if authorization is None else self._asked.get(authorization)
        if known is not None and (not known.expires_ns or known.expires_ns > now_ns):
            self.key_uses.note(known.id, now_ns)
            return known
        key = self.holder(headers, now_ns)
        if authorization is not None:
            if len(self._asked) >= _MAX_ASKED:
                self._asked.clear()
            self._asked[authorization] = key
        self.key_uses.note(key.id, now_ns)
        return key

    def holder(self, headers: Mapping[bytes, bytes], now_ns: int) -> KeyEntry:
        """Return the key that headers hold, as `authenticate` does, without counting that as a use of it."""
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(b" ")
            if scheme.lower() != b"bearer" or not secret:
                raise Unauthenticated(
                    "the Authorization header is not `Bearer <key>`", hint="send a Tetrad key", code="invalid_api_key"
                )
            secret = secret.strip()
        else:
            secret = (headers.get(b"x-api-key") or headers.get(b"api-key", b"")).strip()
            if not secret:
                raise Unauthenticated(
                    "the request has no API key", hint="send `Authorization: Bearer <key>`", code="missing_api_key"
                )
        key = self._keys.get(hashlib.sha256(secret).hexdigest())
        if key is None:
            raise Unauthenticated(
                "the API key is not known",
                hint="it may be mistyped, revoked or of another installation; `tetrad env` exports one that works",
                code="invalid_api_key",
            )
        if key.expires_ns and key.expires_ns <= now_ns:
            raise Unauthenticated("the API key has expired", hint="ask for a new one", code="expired_api_key")
        if "data" not in key.scopes:
            raise Forbidden(
                "the API key may not call models: it lacks the scope `data`",
                hint="use a key made with that scope",
                code="missing_scope",
            )
        return key

    def resolve(self, key: KeyEntry, name: str, kind: Kind, release: str = "") -> Route:
        """Find what a client means by `model`; raises `TetradError` saying what is wrong with it.

        An app is called as the `release` that was settled on before, where one is given, wherever its refs point now.
        """
        if key.models and not may_name(key, name):
            raise Forbidden(
                f"the API key may not call {name[:200]!r}",
                hint="GET /v1/models lists what this key may call",
                code="model_not_allowed",
            )
        if name.startswith(APP):
            route = self._app(key, name, release)
        elif name.startswith(RELEASE):
            route = self._pinned(key, name.removeprefix(RELEASE))
        else:
            route = self._named(key.project, name)
        if route.plan is not None and kind not in route.model.entry.kinds:
            route = route._replace(model=route.plan.first(kind) or route.model)
        if kind not in route.model.entry.kinds:
            raise RequestRefused(
                f"the model {name!r} does not do {kind}",
                param="model",
                hint=f"it does {' and '.join(route.model.entry.kinds)}",
                code="wrong_kind_of_model",
            )
        return route

    def batch_model(self, project: str, name: str) -> BoundModel:
        """Return a model whose provider takes batches; raises `TetradError` where it is gone, or takes none."""
        model = self._model(project, name)
        if model.lines is None:
            raise Unavailable(
                f"the provider of the model {name!r} takes no batches any more",
                hint="`tetrad provider set NAME --batches` says what it takes",
                code="batches_not_taken",
            )
        return model

    def names(self, key: KeyEntry) -> list[tuple[str, str, int]]:
        """List (name, owner, time made in seconds) of everything that a key may name as `model`."""
        prefix = key.project + "/"
        apps = [
            (APP + app.name, key.project, self.table.made_ns // 1_000_000_000)
            for path, app in sorted(self.table.apps.items())
            if path.startswith(prefix)
        ]
        models = [
            (
                name,
                self.table.upstreams[entry.upstream].provider if entry.upstream in self.table.upstreams else "",
                entry.created_s,
            )
            for name, entry in sorted(self.table.models.items())
            if entry.project in ("", key.project)
        ]
        routes = [
            (name, key.project, self.table.made_ns // 1_000_000_000)
            for path, plan in sorted(self._plans.items())
            if plan.name and path.startswith(prefix)
            for name in (path.removeprefix(prefix),)
        ]
        taken = {name for name, _, _ in routes}
        found = apps + routes + [model for model in models if model[0] not in taken]
        return [each for each in found if may_name(key, each[0])] if key.models else found

    def release(self, project: str, digest: str) -> ReleaseRoute | None:
        """Return a release of a project; None where the table has none that can be served."""
        found = self._releases.get((project, digest))
        return found.route if found is not None else None

    def health(self) -> GatewayHealth:
        """Tell how the targets of all routes do as far as this worker has called them, and the keys of providers."""
        now = self._clock.monotonic()
        plans = dict.fromkeys(plan for plan in self._plans.values() if plan.name)
        return GatewayHealth(
            tuple(islice((each for plan in plans for each in plan.health(now)), MAX_REPORTED)),
            {name: pool.counts() for name, pool in self._pools.items()},
            {name: gate.counts() for name, gate in self._gates.items()},
        )

    def _app(self, key: KeyEntry, name: str, release: str) -> Route:
        app_name, _, ref = name.removeprefix(APP).partition("@")
        app = self.table.apps.get(f"{key.project}/{app_name}")
        if app is None:
            raise ModelNotFound(
                f"the project {key.project!r} has no app {app_name!r}",
                hint="GET /v1/models lists what this key may call",
            )
        if ref.startswith("sha256:"):
            route = self._pinned(key, ref)
            if route.app != app_name:
                raise ModelNotFound(f"{ref} is no release of the app {app_name!r}")
            return route
        ref = ref or app.default_ref
        if release:
            return self._route(app.project, release, app_name, ref, app.bindings.get(ref, ""))
        ready = self._routes[f"{key.project}/{app_name}"].get(ref)
        if ready is not None:
            return ready
        digest = app.refs.get(ref)
        if digest is None:
            known = ", ".join(sorted(app.refs)) or "none yet"
            raise ModelNotFound(f"the app {app_name!r} has no ref {ref!r}", hint=f"its refs: {known}")
        return self._route(app.project, digest, app_name, ref, app.bindings.get(ref, ""))

    def _pinned(self, key: KeyEntry, digest: str) -> Route:
        if "pin" not in key.scopes:
            raise Forbidden(
                "calling a release by its digest needs the scope `pin`",
                hint="call the app by name, or use a key with that scope",
                code="missing_scope",
            )
        release = self._releases.get((key.project, digest))
        if release is None and f"release {key.project}/{digest}" not in self.problems:  # a digest alone grants nothing
            raise ModelNotFound(f"the project {key.project!r} has no routed release {digest[:80]!r}")
        name = release.route.app if release else ""
        app = self.table.apps.get(f"{key.project}/{name}")
        return self._route(key.project, digest, name, "", app.bindings.get(app.default_ref, "") if app else "")

    def _routes_of(self, app: AppRoute) -> dict[str, Route]:
        """Resolve what works of an app's refs once; the rest says at each request why it does not."""
        found: dict[str, Route] = {}
        for ref, digest in app.refs.items():
            try:
                found[ref] = self._route(app.project, digest, app.name, ref, app.bindings.get(ref, ""))
            except TetradError:  # asked again where somebody calls it
                continue
        return found

    def _route(self, project: str, digest: str, app: str, ref: str, bound_by: str) -> Route:
        release = self._releases.get((project, digest))
        if release is None:
            why = self.problems.get(f"release {project}/{digest}", "it is not in the route table")
            raise Unavailable(
                f"the release {digest} of {app!r} cannot be served: {why}",
                hint="make a release that is whole; `tetrad status` names those that are broken",
                code="release_unusable",
            )
        route = self._placed(project, release, release.route.model, app, ref, bound_by)
        others = {step.step: step.model for step in release.route.steps if step.model != release.route.model}
        if not others:
            return route
        steps = {step: self._placed(project, release, model, app, ref, bound_by) for step, model in others.items()}
        return route._replace(steps=steps)

    def _placed(self, project: str, release: CompiledRelease, model: str, app: str, ref: str, bound_by: str) -> Route:
        """Return where one model of a release leads, by the binding that holds."""
        if not bound_by:
            return self._named(project, model)._replace(release=release, app=app, ref=ref)
        path = f"{project}/{bound_by}"
        binding = self.table.bindings.get(path)
        target = self._targets.get((path, model))
        why = f"{bound_by} is not in the route table" if binding is None else binding.problem
        if isinstance(target, BoundModel) and not why:
            return Route(target, release, app, ref, binding.digest if binding else "")
        if target is None and not why and binding is not None:
            named = self._named(project, model)
            return named._replace(release=release, app=app, ref=ref, binding=binding.digest)
        raise self._broken(release, app, ref, bound_by, binding, why or str(target))

    @staticmethod
    def _broken(
        release: CompiledRelease, app: str, ref: str, bound_by: str, binding: BindingRoute | None, why: str
    ) -> BrokenRoute:
        error = BrokenRoute(
            f"the app {app!r} cannot be served: its binding {bound_by!r} is broken: {why}",
            hint="`tetrad binding check` tells more; put a good one, or roll it back",
        )
        error.release, error.app, error.ref = release, app, ref
        error.binding = binding.digest if binding else ""
        return error

    def _kept_capacities(self, previous: CompiledTable | None) -> dict[str, Capacity]:
        """Go on counting with what the last table counted, as far as this one still names it."""
        if previous is None:
            return {}
        named = {target.capacity for binding in self.table.bindings.values() for target in binding.targets.values()}
        return {name: each for name, each in previous._capacities.items() if name in named}

    def _target(
        self, project: str, target: BindingTarget, providers: Mapping[str, Provider], stages: Sequence[Stage]
    ) -> BoundModel | str:
        """Return the model that a target names, with what the target says instead; or why there is none."""
        base = self._own_priced.get((project, target.model)) or self._models.get(target.model)
        if target.problem or base is None:
            name = f"model {target.model}"
            return target.problem or self.problems.get(name, f"the {name!r} is not in the route table")
        if target.secret and base.upstream.auth in MACHINE_AUTHS:
            return f"{base.upstream.name!r} is called as the machine that the gateway runs on, by no secret"
        if target.secret:
            upstream = msgspec.structs.replace(base.upstream, secret=target.secret, secrets=())
            try:
                base = self._made(base.entry, upstream, providers, stages)
            except TetradError as error:
                return error.message
        if target.max_concurrency:
            capacity = self._capacities.setdefault(target.capacity, Capacity(target.capacity, target.max_concurrency))
            capacity.limit = target.max_concurrency
            base = base._replace(handler=capacity.bind(base.handler))
        return base

    def _named(self, project: str, name: str) -> Route:
        """Return where a name leads: a route of the project, which hides a model of that name, or a model."""
        path = f"{project}/{name}"
        plan = self._plans.get(path)
        if plan is not None:
            return Route(plan.targets[0].model, plan=plan)
        if why := self.problems.get(f"route {path}"):
            raise Unavailable(
                f"the route {name!r} cannot be served: {why}",
                hint="`tetrad route set` names other models for it",
                code="route_unusable",
            )
        model = self._model(project, name)
        return Route(model, plan=self._plans.get(f"/{name}")) if model.upstream.secrets else Route(model)

    def _plan(
        self,
        spec: ModelRoute,
        providers: Mapping[str, Provider],
        stages: Sequence[Stage],
        previous: CompiledTable | None,
    ) -> None:
        path = f"{spec.project}/{spec.name}"
        kept = previous._states.get(path) if previous else None
        state = self._states[path] = kept.follow(spec) if kept else RouteState(spec)

        def bind(target: RouteTarget) -> Target | None:
            try:
                model = self._timed(self._model(spec.project, target.model), spec, providers, stages)
            except TetradError as error:
                self.problems[f"target {target.model!r} of route {path}"] = error.message
                return None
            return Target(target, model, state.of(target.model), self._pools.get(model.upstream.name))

        plan = Plan(spec, bind, state)
        if not plan.targets:
            raise BadRouteTable("none of its targets is in the route table")
        for name in spec.names:
            if self._plans.setdefault(f"{spec.project}/{name}", plan) is not plan:
                self.problems[f"alias {name!r} of route {path}"] = "another route has that name"

    def _timed(
        self, base: BoundModel, spec: ModelRoute, providers: Mapping[str, Provider], stages: Sequence[Stage]
    ) -> BoundModel:
        """Return a model whose calls keep the route's own deadlines."""
        limits = spec.deadlines
        if not limits.connect_s and not limits.idle_s:
            return base
        upstream = msgspec.structs.replace(
            base.upstream,
            connect_timeout_s=limits.connect_s or base.upstream.connect_timeout_s,
            idle_timeout_s=limits.idle_s or base.upstream.idle_timeout_s,
        )
        return self._made(base.entry, upstream, providers, stages)

    def _model(self, project: str, name: str) -> BoundModel:
        model = self._models.get(name)
        if self._own_priced:
            model = self._own_priced.get((project, name), model)
        if model is not None and model.entry.project in ("", project):
            return model
        if model is None and (why := self.problems.get(f"model {name}")):
            raise Unavailable(
                f"the model {name!r} cannot be served: {why}",
                hint="`tetrad provider test` asks its provider, `tetrad status` shows engines",
                code="model_unusable",
            )
        raise ModelNotFound(
            f"the model {name[:200]!r} does not exist", hint="GET /v1/models lists what this key may call"
        )

    def _bind(self, entry: ModelEntry, providers: Mapping[str, Provider], stages: Sequence[Stage]) -> None:
        upstream = self.table.upstreams.get(entry.upstream)
        if upstream is None:
            raise BadRouteTable(f"it names the upstream {entry.upstream!r}, which is not in the table")
        self._models[entry.name] = model = self._made(entry, upstream, providers, stages)
        if upstream.secrets:
            spec = alone(entry.name, "")
            state = self._states[f"/{entry.name}"] = RouteState(spec)
            self._plans[f"/{entry.name}"] = plan_of_one(model, state, self._pools[upstream.name])

    def _price(self, path: str, price: Price) -> None:
        """Let a model that is of every project cost what one project says; it is called by the same handler."""
        project, _, name = path.partition("/")
        model = self._models.get(name)
        if model is not None and not model.entry.project:
            entry = msgspec.structs.replace(model.entry, price=price)
            self._own_priced[project, name] = model._replace(entry=entry, pricer=pricer_of(price))

    def _made(
        self, entry: ModelEntry, upstream: Upstream, providers: Mapping[str, Provider], stages: Sequence[Stage]
    ) -> BoundModel:
        provider = providers.get(upstream.adapter)
        if provider is None:
            raise BadRouteTable(f"nothing here speaks the protocol {upstream.adapter!r}")
        handler: Handler = self._caller(provider, upstream) if upstream.base_url else _nowhere
        lines = None
        if upstream.batches and not upstream.secrets:
            endpoint = provider.endpoint(upstream)
            lines = cast("BatchEndpoint", endpoint) if hasattr(endpoint, "rendered") else None
        if upstream.max_concurrency:
            handler = self._gate(upstream).bind(handler)
        for stage in reversed(stages):
            handler = stage.bind(entry, upstream, handler)
        pricer = pricer_of(entry.price) if entry.price is not None else None
        return BoundModel(entry, upstream, pricer, handler, lines)

    def _caller(self, provider: Provider, upstream: Upstream) -> Handler:
        secrets = tuple(dict.fromkeys(each for each in (upstream.secret, *upstream.secrets) if each))
        if not upstream.secrets:
            return provider.endpoint(upstream).call
        pool = self._pools.get(upstream.name)
        if pool is None:
            pool = self._old_pools.get(upstream.name) or KeyPool(upstream.name, self._clock)
            pool.hold(secrets)
            self._pools[upstream.name] = pool
        one = [msgspec.structs.replace(upstream, secret=secret, secrets=()) for secret in secrets]
        return pool.bind([provider.endpoint(each).call for each in one], secrets)

    def _gate(self, upstream: Upstream) -> Gate:
        """All models of an upstream share its places, whatever secret or deadline they are called with."""
        policy = GatePolicy(upstream.max_concurrency, upstream.max_queue, upstream.queue_target_s)
        gate = self._gates.get(upstream.name)
        if gate is None:
            gate = self._old_gates.get(upstream.name) or Gate(upstream.name, policy, self._clock)
            gate.follow(policy)
            self._gates[upstream.name] = gate
        return gate

    def _compile(self, release: ReleaseRoute, compiler: PromptCompiler) -> None:
        self._releases[release.project, release.digest] = CompiledRelease(release, compiler)

    def _try(self, what: str, make: Callable[[], None]) -> None:
        """One broken entry must not take the rest of the table with it."""
        try:
            make()
        except TetradError as error:
            told = f"{error.message}: {error.hint}" if isinstance(error, MissingExtra) else error.message
            self.problems[what] = told


async def _nowhere(_call: ModelCall) -> Answer:
    raise Unavailable(
        "the model has no address yet: its engine is being started",
        hint="try again in a moment; `tetrad status` shows the engine",
        code="upstream_not_ready",
        retry_after_s=2,
    )
