"""A route made ready for requests: its targets bound, and what is known of each of them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from tetrad.kernel import Overloaded, TetradError, Unavailable
from tetrad.serving._breaker import CLOSED, Breaker, Budget, after, called, may_call, state_of
from tetrad.serving._choosing import Facts, PeakEwma, Seen, blended_price, fits, prompt_affinity, ranked
from tetrad.serving._failures import TREATMENTS, FailureKind
from tetrad.serving._model import Kind
from tetrad.serving._route_spec import (
    BreakerPolicy,
    FallbackKind,
    Fallbacks,
    ModelRoute,
    RetryPolicy,
    RouteTarget,
)
from tetrad.serving._tool_server_rests import ServerRest
from tetrad.serving.errors import NoTarget

if TYPE_CHECKING:
    from tetrad.serving._dispatch import BoundModel
    from tetrad.serving._exchange import Attempt, Exchange
    from tetrad.serving._key_pool import KeyPool
    from tetrad.serving.ports import ModelCall

MAX_REPORTED = 20_000
COOL_S = 5.0
LONGEST_COOL_S = 60.0
LONGEST_DEMOTION_S = 5.0
_LOAD_AWARE = frozenset(("latency", "least-busy"))
"""Strategies that would send everything to a target that fails at once, because it seems quick and idle."""
_FACTS = (("segment", b"x-tetrad-segment"), ("sensitivity", b"x-tetrad-sensitivity"), ("region", b"x-tetrad-region"))


class Ticket(Protocol):
    """What a try was let in with."""

    def ended(self, made: Attempt | None, *, goes_on: bool) -> None:
        """Take in what became of the try: its attempt, and whether that has an answer which is still to be read."""
        ...


Toll: TypeAlias = "Callable[[Exchange, BoundModel], Awaitable[Ticket]]"
"""Lets in one try of one model before it is made; raises `TetradError` where it may not be made."""


class Health:
    """What a gateway worker knows of one target of one route. It outlives route tables."""

    __slots__ = ("breaker", "cool_until", "counts", "failing_until", "first_token", "in_flight", "whole")

    def __init__(self) -> None:
        self.breaker: Breaker = CLOSED
        self.first_token = PeakEwma()
        self.whole = PeakEwma()
        self.in_flight = 0
        self.cool_until = 0.0
        self.failing_until = 0.0
        self.counts: dict[str, int] = {}

    def begin(self, now: float) -> None:
        """Count a call that is being made."""
        self.in_flight += 1
        self.breaker = called(self.breaker, now)

    def answered(self, kind: FailureKind | None, now: float, policy: BreakerPolicy, asked_s: float | None) -> None:
        """Take in how a call went; None is well."""
        name = kind or "ok"
        self.counts[name] = self.counts.get(name, 0) + 1
        verdict = True if kind is None else (False if TREATMENTS[kind].counts else None)
        self.breaker = after(self.breaker, verdict, now, policy)
        if verdict is False:
            self.failing_until = now + min(0.25 * 2.0 ** min(self.breaker.in_a_row, 8), LONGEST_DEMOTION_S)
        if kind in ("rate_limit", "quota"):
            self.cool_until = now + min(COOL_S if asked_s is None else asked_s, LONGEST_COOL_S)
        elif kind is None:
            self.cool_until = self.failing_until = 0.0

    def latency_s(self, now: float, *, stream: bool) -> float:
        """Return how long it usually takes to the first content of a stream, or to another answer; 0: not known."""
        return (self.first_token if stream else self.whole).value(now)

    def kept_back(self, now: float, policy: BreakerPolicy) -> None:
        """Take in that a call that was begun was not made: a limit of ours refused it."""
        self.in_flight -= 1
        self.counts["own_limit"] = self.counts.get("own_limit", 0) + 1
        self.breaker = after(self.breaker, None, now, policy)

    def given_up(self, now: float, policy: BreakerPolicy) -> None:
        """Take in that a call was cancelled before it told anything."""
        self.counts["given_up"] = self.counts.get("given_up", 0) + 1
        self.breaker = after(self.breaker, None, now, policy)


class RouteState:
    """What outlives tables of one route: its budgets, and the health of its targets by model."""

    def __init__(self, spec: ModelRoute) -> None:
        self.retry = spec.retry
        self.hedge = spec.hedge
        self.retries = Budget(spec.retry.budget_percent)
        self.hedges = Budget(spec.hedge.budget_percent, burst=1.0)
        self.health: dict[str, Health] = {}

    def follow(self, spec: ModelRoute) -> RouteState:
        """Go on with a changed route: changed budgets begin anew, targets that are gone are forgotten."""
        if spec.retry != self.retry:
            self.retry, self.retries = spec.retry, Budget(spec.retry.budget_percent)
        if spec.hedge != self.hedge:
            self.hedge, self.hedges = spec.hedge, Budget(spec.hedge.budget_percent, burst=1.0)
        models = spec.models()
        self.health = {name: each for name, each in self.health.items() if name in models}
        return self

    def of(self, model: str) -> Health:
        """Return the health of a target, made where it is new."""
        return self.health.setdefault(model, Health())


class Target:
    """One bound target."""

    __slots__ = ("health", "keys", "model", "price", "spec")

    def __init__(self, spec: RouteTarget, model: BoundModel, health: Health, keys: KeyPool | None = None) -> None:
        self.spec = spec
        self.model = model
        self.health = health
        self.keys = keys
        self.price: Decimal | None = blended_price(model.entry.price)


class Plan:
    """A route's targets, bound; `name` is empty for a model that stands for itself."""

    def __init__(
        self,
        spec: ModelRoute,
        bind: Callable[[RouteTarget], Target | None],
        state: RouteState,
        *,
        name: str | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name if name is None else name
        self.state = state
        self.targets = [target for each in spec.targets if (target := bind(each)) is not None]
        lists: Fallbacks = spec.fallbacks
        self.fallbacks: dict[FallbackKind, list[Target]] = {
            "error": self._bound(lists.error, bind),
            "rate_limit": self._bound(lists.rate_limit, bind),
            "context_window": self._bound(lists.context_window, bind),
            "content_policy": self._bound(lists.content_policy, bind),
        }
        self.deadlines = spec.deadlines
        self.toll: Toll | None = None
        self._affine = spec.affinity
        self._priced: dict[str, Plan] = {}

    def models(self, kind: Kind) -> list[BoundModel]:
        """Return every model that may be called for what is asked, fallbacks too; the first of the targets is first."""
        every = chain(self.targets, *self.fallbacks.values())
        return [target.model for target in every if kind in target.model.entry.kinds]

    def priced(self, currency: str) -> Plan:
        """Return the plan without the targets whose price in a currency is not known; itself where all have one."""
        found = self._priced.get(currency)
        if found is None:
            found = copy(self)
            found.targets = _priced(self.targets, currency)
            found.fallbacks = {kind: _priced(listed, currency) for kind, listed in self.fallbacks.items()}
            found._priced = {}
            if (found.targets, found.fallbacks) == (self.targets, self.fallbacks):
                found = self
            self._priced[currency] = found
        return found

    def tolled(self, toll: Toll) -> Plan:
        """Return the plan for one exchange, each of whose tries is let in by `toll`."""
        found = copy(self)
        found.toll = toll
        return found

    @staticmethod
    def _bound(listed: Sequence[RouteTarget], bind: Callable[[RouteTarget], Target | None]) -> list[Target]:
        return [target for each in listed if (target := bind(each)) is not None]

    def facts(self, exchange: Exchange, call: ModelCall, region: str = "") -> Facts:
        """Return what conditions and affinity ask about a request; headers win over the request's extension."""
        said = {}
        for name, header in _FACTS:
            given = exchange.headers.get(header)
            said[name] = given.decode("utf-8", "replace") if given else getattr(exchange.labels, name, "")
        affinity = ""
        if self._affine == "session":
            affinity = exchange.session
        elif self._affine == "unit":
            affinity = exchange.unit
        elif self._affine == "prompt":
            affinity = prompt_affinity(bytes(call.fields.get(call.operation.input, b"")))
        return Facts(said["segment"], said["sensitivity"], said["region"] or region, affinity)

    def first(self, kind: Kind) -> BoundModel | None:
        """Return the model of the first target that does what is asked."""
        return next((target.model for target in self.targets if kind in target.model.entry.kinds), None)

    def passed_on_to(self, facts: Facts, kind: Kind, now: float) -> list[BoundModel]:
        """Return the models that a request is passed on to from one that has too much to do, and from which it comes.

        Those that must be left alone now come last.
        """
        targets = sorted(self.targets, key=lambda target: target.spec.priority)
        fitting = [each for each in (*targets, *self.fallbacks["rate_limit"]) if suits(each, facts, kind)]
        fitting.sort(key=lambda target: not is_ready(target, now))
        return list({each.model.entry.name: each.model for each in fitting}.values())

    def candidates(
        self, facts: Facts, kind: Kind, now: float, rng: random.Random, *, stream: bool = False
    ) -> list[Target]:
        """Return the targets in the order in which they are tried, without those that must be left alone now.

        Those that asked for a pause come last. Raises `TetradError` where none may answer.
        """
        fitting = [target for target in self.targets if suits(target, facts, kind)]
        if not fitting:
            raise NoTarget(
                f"no target of the route {self.name!r} may answer this request",
                hint="its labels (segment, sensitivity, region) fit no target; see `tetrad route show`",
            )
        seen = [
            Seen(target.health.in_flight, target.health.latency_s(now, stream=stream), target.price)
            for target in fitting
        ]
        order = ranked([target.spec for target in fitting], self.spec.strategy, seen, facts.affinity, rng)
        ready = [fitting[place] for place in order if is_ready(fitting[place], now)]
        ready += [
            each for each in self.fallbacks["error"] if not ready and suits(each, facts, kind) and is_ready(each, now)
        ]
        if not ready:
            raise self._nobody(fitting, now)
        if len(ready) > 1:
            load_aware = self.spec.strategy in _LOAD_AWARE
            ready.sort(
                key=lambda target: target.health.cool_until > now or (load_aware and target.health.failing_until > now)
            )
        return ready

    def _nobody(self, fitting: Sequence[Target], now: float) -> TetradError:
        full = [target for target in fitting if may_call(target.health.breaker, now)]
        if full:
            return Overloaded(
                f"every target of the route {self.name!r} has as many calls under way as it may have",
                hint="try again in a moment, or raise max_in_flight",
                code="route_at_capacity",
                retry_after_s=1.0,
            )
        pause = min(max(target.health.breaker.open_until - now, 0.0) for target in fitting)
        return Unavailable(
            f"every target of the route {self.name!r} has failed and is being left alone",
            hint="try again later; `tetrad route health` shows why",
            code="no_target_ready",
            retry_after_s=max(pause, 1.0),
        )

    def health(self, now: float) -> list[TargetHealth]:
        """Tell how every target does that was called."""
        return [
            TargetHealth(
                route=f"{self.spec.project}/{self.name}",
                model=model,
                state=state_of(health.breaker, now),
                in_flight=health.in_flight,
                cooling=health.cool_until > now,
                first_token_s=health.first_token.quantile(0.5, 1),
                counts=dict(health.counts),
            )
            for model, health in self.state.health.items()
            if health.counts or health.in_flight
        ]


class TargetHealth(msgspec.Struct, frozen=True):
    """How one target does, as one gateway worker sees it; `counts` is by kind of outcome since it began."""

    route: str
    model: str
    state: str
    in_flight: int
    cooling: bool
    first_token_s: float | None
    counts: dict[str, int]


class AnswersState(msgspec.Struct, frozen=True):
    """How a server of shared answers does, as one worker sees it, and what became of its reads and writes.

    `why` says what the server answered, or did not, where it is not `up`. Reads `found` an answer or it was `absent`;
    `passed` were not made or given up, since the server rests or the worker was too busy. Writes are `stored` or
    `dropped`. `failed` is about both; `broken` entries were not made by this installation.
    """

    state: Literal["untried", "up", "read_only", "down"] = "untried"
    why: str = ""
    counts: dict[str, int] = {}


class GatewayHealth(msgspec.Struct, frozen=True):
    """What one gateway worker tells of routes' targets, providers' keys and gates, MCP servers, and clients' keys."""

    targets: tuple[TargetHealth, ...] = ()
    keys: dict[str, dict[str, int]] = {}
    gates: dict[str, dict[str, float]] = {}
    uses: dict[str, int] = {}
    """Keys of clients, by id, that were used since control last heard of them: when, in nanoseconds."""
    answers: AnswersState | None = None
    """How the server does that gateways share answers in, where there is one."""
    rests: tuple[ServerRest, ...] = ()
    """MCP servers that rest."""


def _priced(targets: Sequence[Target], currency: str) -> list[Target]:
    return [each for each in targets if each.model.pricer is not None and each.model.pricer.tells(currency)]


def suits(target: Target, facts: Facts, kind: Kind) -> bool:
    """Tell whether a target may answer a request, whatever its health."""
    return kind in target.model.entry.kinds and fits(target.spec.when, facts)


def is_ready(target: Target, now: float) -> bool:
    """Tell whether a target may be called now."""
    limit = target.spec.max_in_flight
    return may_call(target.health.breaker, now) and (not limit or target.health.in_flight < limit)


_ALONE = RetryPolicy(retries=0, budget_percent=0.0)


def plan_of_one(model: BoundModel, state: RouteState | None = None, keys: KeyPool | None = None) -> Plan:
    """Return the plan by which a model stands for itself: no retries, and a breaker that never opens."""
    target = RouteTarget(model.entry.name)
    spec = alone(model.entry.name, model.entry.project)
    kept = state or RouteState(spec)
    return Plan(spec, lambda _each: Target(target, model, kept.of(model.entry.name), keys), kept, name="")


def alone(model: str, project: str) -> ModelRoute:
    """Return the route by which a model stands for itself."""
    return ModelRoute(
        name=model,
        project=project,
        targets=(RouteTarget(model),),
        retry=_ALONE,
        breaker=BreakerPolicy(consecutive=1_000_000_000, ratio=2.0),
    )
