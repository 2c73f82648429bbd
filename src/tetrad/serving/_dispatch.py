"""From a route to an answer: which models are tried, in what order, and the record of each try."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import msgspec

from tetrad.kernel import MOST_TOKENS, Clock, DoubtfulUsage, TetradError
from tetrad.serving._body import seen
from tetrad.serving._exchange import Attempt, Exchange
from tetrad.serving._model import ModelEntry, RouteTable, Upstream
from tetrad.serving._pricing import Pricer
from tetrad.serving._route_plan import plan_of_one
from tetrad.serving.ports import Answer, BatchEndpoint, Handler, ModelCall, Outcome

if TYPE_CHECKING:
    from tetrad.serving._attempts import Runner
    from tetrad.serving._routing import Route

TIMEOUT_HEADER = b"x-tetrad-timeout-ms"
Dispatch: TypeAlias = "Callable[[Exchange, Route, ModelCall], Awaitable[Answer]]"
"""Answers an exchange's call. The attempt that the answer belongs to is the last of `exchange.attempts`."""


class Layer(Protocol):
    """Something that every exchange passes between its route and the dispatch: limits, a cache, a guard.

    Layers are bound once per route table: one that has nothing to do by a table returns `following` and costs nothing
    per request. What must happen when the exchange is over goes into `exchange.on_done`.
    """

    def bind(self, table: RouteTable, following: Dispatch) -> Dispatch:
        """Return what to call instead of `following` while this table is in force."""
        ...


class BoundModel(NamedTuple):
    """A model, its upstream, its price, and what to call."""

    entry: ModelEntry
    upstream: Upstream
    pricer: Pricer | None
    handler: Handler
    lines: BatchEndpoint | None = None
    """What takes lines of batches, where the upstream has batches."""


class Dispatcher:
    """Call the route's model once, or as its plan says where it has one; `runner` runs plans."""

    def __init__(self, clock: Clock, runner: Runner) -> None:
        self._clock = clock
        self._runner = runner

    def __call__(self, exchange: Exchange, route: Route, call: ModelCall) -> Awaitable[Answer]:
        """Return the answer of the route's model, good or bad; see `Dispatch`."""
        plan = route.plan
        if plan is None:
            if TIMEOUT_HEADER not in exchange.headers:
                return attempt(exchange, route.model, call, self._clock)
            plan = plan_of_one(route.model)
        return self._runner.run(exchange, plan, call)


async def attempt(exchange: Exchange, model: BoundModel, call: ModelCall, clock: Clock, reason: str = "") -> Answer:
    """Call a model once, and note the attempt; where there is no answer the attempt is settled before the error."""
    sent = seen(call.fields, call.operation)
    made = Attempt(model.entry, model.upstream, sent, clock.now_ns(), model.pricer)
    if reason:
        made.reason = reason
    exchange.attempts.append(made)
    try:
        answer = await model.handler(call.asking(model.entry.upstream_model))
    except TetradError as error:
        made.error_type, made.error_message = error.code, error.message
        settle(exchange, made, None, clock.now_ns())
        raise
    except asyncio.CancelledError:
        made.error_type = "cancelled"
        settle(exchange, made, None, clock.now_ns())
        raise
    made.status = exchange.status = answer.status
    return answer


def settle(exchange: Exchange, made: Attempt, answer: Answer | None, now_ns: int) -> None:
    """Write down how an attempt ended: once, whoever comes first."""
    if made.end_ns:
        return
    made.end_ns = now_ns
    if answer is None:
        return
    made.status = answer.status
    outcome = made.outcome = _believed(answer.outcome())
    if outcome.error_type and not made.error_type:
        made.error_type, made.error_message = outcome.error_type, outcome.error_message
    if made.error_type and not exchange.error_type:
        exchange.error_type = made.error_type
    if made.pricer is not None and outcome.usage is not None and outcome.priced:
        made.cost, made.currency = made.pricer.cost(outcome.usage), made.pricer.currency
    elif made.pricer is not None and outcome.units:
        made.cost, made.currency = made.pricer.cost_of(outcome.usage, outcome.units), made.pricer.currency


def _believed(outcome: Outcome) -> Outcome:
    """Return an outcome without counts that cannot be: what they cost is not known, neither a gift nor a fortune."""
    usage, units = outcome.usage, outcome.units
    told = not units or all(0 <= count <= MOST_TOKENS for count in units.values())
    if told and (usage is None or usage.plausible):
        return outcome
    if told and isinstance(usage, DoubtfulUsage) and usage.possible:
        return msgspec.structs.replace(outcome, attributes={**outcome.attributes, "tetrad.usage.contradictory": "true"})
    attributes = {**outcome.attributes, "tetrad.usage.implausible": "true"}
    return msgspec.structs.replace(outcome, usage=None, units={}, priced=True, attributes=attributes)
