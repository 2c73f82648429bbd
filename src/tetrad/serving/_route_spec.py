"""Routes: one name for several models, and what happens when one of them does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from tetrad.serving.errors import BadRoute

Strategy = Literal["order", "weighted", "least-busy", "latency", "cost"]
Affinity = Literal["none", "session", "unit", "prompt"]
FallbackKind = Literal["error", "rate_limit", "context_window", "content_policy"]

MAX_TARGETS = 32
MAX_ATTEMPTS = 8
MAX_ALIASES = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,126}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,263}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RESERVED = ("app:", "release:")
_TAKEN = frozenset(("health", "app", "release"))


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which requests a target may answer: those whose label is one of these. Empty: all.

    A request without the label is not one of them, so that what nobody labelled never goes to a target that wants to
    know.
    """

    segments: tuple[str, ...] = ()
    sensitivities: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()


class RouteTarget(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model of a route: always a model, never another route, so a route may hide a model and still call it.

    Targets of a lower `priority` come first. `weight` counts where the strategy is `weighted` or `least-busy`, and for
    affinity. With `max_in_flight` the next target gets what comes while so many calls of this one are under way in a
    gateway worker; 0 is no limit.
    """

    model: str
    weight: int = 1
    priority: int = 0
    when: Condition = Condition()
    max_in_flight: int = 0


class Fallbacks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which models take over, by what went wrong; after the route's own targets, in this order."""

    error: tuple[RouteTarget, ...] = ()
    rate_limit: tuple[RouteTarget, ...] = ()
    context_window: tuple[RouteTarget, ...] = ()
    content_policy: tuple[RouteTarget, ...] = ()


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often a call is made again, on the same target, and how much more traffic that may make.

    Pauses double from `first_pause_s` to `longest_pause_s`, each a random part of that (full jitter). An upstream that
    asks for a longer pause than the longest is not waited for. `budget_percent` bounds retries to that part of
    requests, in a worker, after a burst of ten.
    """

    retries: int = 1
    budget_percent: float = 20.0
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0


class Deadlines(msgspec.Struct, frozen=True, omit_defaults=True):
    """Seconds; 0 leaves what the provider says. `total_s` covers all attempts and pauses of a request together.

    `first_token_s` bounds one attempt until the first content of a stream, or until the whole of another answer.
    """

    connect_s: float = 0.0
    first_token_s: float = 0.0
    idle_s: float = 0.0
    total_s: float = 0.0


class HedgePolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Ask the next target too, where the first content of a stream takes longer than it does for 95 of 100.

    Nothing is hedged before `min_samples` first tokens of a target are known, sooner than `min_wait_s`, or past
    `budget_percent` of requests.
    """

    enabled: bool = False
    budget_percent: float = 2.0
    min_samples: int = 20
    min_wait_s: float = 0.1


class BreakerPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a target is left alone: so many failures in a row, or that part of at least `min_calls` in a window.

    After `open_s`, doubled each time up to `longest_open_s`, one call at a time tries it.
    """

    consecutive: int = 5
    ratio: float = 0.5
    min_calls: int = 20
    window_s: float = 30.0
    open_s: float = 5.0
    longest_open_s: float = 120.0


class ModelRoute(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A name that clients and releases use like a model's; it holds no secret.

    `aliases` are more names for it. `affinity` sends what belongs together to the same target as long as that answers:
    a session, a unit, or everything that begins with the same system message (whose prompt is in the target's cache).
    """

    name: str
    project: str
    targets: tuple[RouteTarget, ...]
    strategy: Strategy = "order"
    affinity: Affinity = "none"
    aliases: tuple[str, ...] = ()
    fallbacks: Fallbacks = Fallbacks()
    retry: RetryPolicy = RetryPolicy()
    deadlines: Deadlines = Deadlines()
    hedge: HedgePolicy = HedgePolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    max_attempts: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """All names that mean this route."""
        return (self.name, *self.aliases)

    def models(self) -> tuple[str, ...]:
        """Return every model that it may call, each once."""
        fallbacks = self.fallbacks
        every = (
            *self.targets,
            *fallbacks.error,
            *fallbacks.rate_limit,
            *fallbacks.context_window,
            *fallbacks.content_policy,
        )
        return tuple(dict.fromkeys(target.model for target in every))


def check_route(route: ModelRoute) -> ModelRoute:
    """Return the route, or raise `BadRoute` naming the field and what is allowed."""
    if not _NAME.fullmatch(route.name) or route.name in _TAKEN:
        raise BadRoute(
            f"{route.name[:80]!r} cannot name a route",
            hint=f"a-z, 0-9, `.`, `_` and `-`, at most 63; not {', '.join(sorted(_TAKEN))}",
        )
    if len(route.aliases) > MAX_ALIASES or len(set(route.names)) != len(route.names):
        raise BadRoute("the aliases are too many, or say a name twice", hint=f"at most {MAX_ALIASES}, each once")
    for alias in route.aliases:
        if not _ALIAS.fullmatch(alias) or alias.startswith(_RESERVED):
            raise BadRoute(f"{alias[:80]!r} cannot be an alias", hint="such as gpt-5 or openai/gpt-5")
    if not 1 <= len(route.targets) <= MAX_TARGETS:
        raise BadRoute(f"the route has {len(route.targets)} targets", hint=f"give 1 to {MAX_TARGETS}")
    if len({target.model for target in route.targets}) != len(route.targets):
        raise BadRoute("a model is a target twice", hint="name each once; weights tell how much it gets")
    fallbacks = route.fallbacks
    for listed in (fallbacks.error, fallbacks.rate_limit, fallbacks.context_window, fallbacks.content_policy):
        if len(listed) > MAX_TARGETS:
            raise BadRoute(f"{len(listed)} fallbacks of one kind", hint=f"give at most {MAX_TARGETS}")
        _check_targets(listed)
    _check_targets(route.targets)
    _check_numbers(route)
    return route


def _check_targets(targets: Iterable[RouteTarget]) -> None:
    for target in targets:
        if not _MODEL.fullmatch(target.model) or target.model.startswith(_RESERVED):
            raise BadRoute(f"{target.model[:80]!r} cannot name a model", hint="such as openai/gpt-5-mini")
        if not 0 <= target.weight <= 1_000_000 or not 0 <= target.priority <= 1000:
            raise BadRoute(
                f"the weight or priority of {target.model!r} is out of range", hint="0 to 1000000; 0 to 1000"
            )
        if not 0 <= target.max_in_flight <= 100_000:
            raise BadRoute(f"max_in_flight of {target.model!r} is out of range", hint="0 (no limit) to 100000")
        for labels in (target.when.segments, target.when.sensitivities, target.when.regions):
            if len(labels) > 64 or not all(_LABEL.fullmatch(each) for each in labels):
                raise BadRoute(f"a condition of {target.model!r} is no list of labels", hint="such as public, eu-west")


def _check_numbers(route: ModelRoute) -> None:
    retry, deadlines, hedge, breaker = route.retry, route.deadlines, route.hedge, route.breaker
    fields: tuple[tuple[str, float, float, float], ...] = (
        ("max_attempts", route.max_attempts, 1, MAX_ATTEMPTS),
        ("retry.retries", retry.retries, 0, MAX_ATTEMPTS),
        ("retry.budget_percent", retry.budget_percent, 0, 100),
        ("retry.first_pause_s", retry.first_pause_s, 0, 60),
        ("retry.longest_pause_s", retry.longest_pause_s, retry.first_pause_s, 300),
        ("deadlines.connect_s", deadlines.connect_s, 0, 86_400),
        ("deadlines.first_token_s", deadlines.first_token_s, 0, 86_400),
        ("deadlines.idle_s", deadlines.idle_s, 0, 86_400),
        ("deadlines.total_s", deadlines.total_s, 0, 86_400),
        ("hedge.budget_percent", hedge.budget_percent, 0, 2),
        ("hedge.min_samples", hedge.min_samples, 5, 1000),
        ("hedge.min_wait_s", hedge.min_wait_s, 0.001, 600),
        ("breaker.consecutive", breaker.consecutive, 1, 1000),
        ("breaker.ratio", breaker.ratio, 0.01, 1),
        ("breaker.min_calls", breaker.min_calls, 1, 100_000),
        ("breaker.window_s", breaker.window_s, 0.1, 3600),
        ("breaker.open_s", breaker.open_s, 0.1, 3600),
        ("breaker.longest_open_s", breaker.longest_open_s, breaker.open_s, 86_400),
    )
    for name, value, least, most in fields:
        if not least <= value <= most:
            raise BadRoute(f"{name} is {value:g}", hint=f"{least:g} to {most:g}")
