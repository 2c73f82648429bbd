"""The door of a worker: who is counted for a call, what is set aside before it, what it really used after."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from tetrad.kernel import Clock, Usage
from tetrad.limits._estimate import BYTES_PER_TOKEN, Estimate
from tetrad.limits._media import Steps, finished
from tetrad.limits._model import cost_units, money_text
from tetrad.limits._pockets import Pocket, Pockets, Refused
from tetrad.limits.errors import BudgetSpent, LimitReached, LimitsUnavailable, PriceUnknown
from tetrad.serving import Attempt, BoundModel, Exchange, KeyEntry, LimitRule, Route
from tetrad.serving.ports import ModelCall, Outcome

ESTIMATED = "tetrad.cost.estimated"

Headers = list[tuple[bytes, bytes]]


class Part(NamedTuple):
    """A call of a model that an exchange is made of: its only one, or a step of a chain."""

    route: Route
    estimate: Estimate
    step: str = ""


class Counted(NamedTuple):
    """A bucket in which an exchange counts: of a rule, as whom, and with which of its parts."""

    rule: LimitRule
    instance: str
    parts: Sequence[Part]


class Hold:
    """What is set aside for one exchange, until it is over; `parts` are all that it is made of."""

    __slots__ = ("_clock", "_parts", "_taken")

    def __init__(self, clock: Clock, parts: Sequence[Part]) -> None:
        self._clock = clock
        self._parts = parts
        self._taken: list[tuple[Pocket, int, Pockets, Sequence[Part]]] = []

    def add(self, pocket: Pocket, amount: int, pockets: Pockets, parts: Sequence[Part]) -> None:
        """Note that so much of a pocket is set aside for some parts."""
        self._taken.append((pocket, amount, pockets, parts))

    def join(self, other: Hold) -> None:
        """Take over what is set aside in another one."""
        self._taken += other._taken
        other._taken = []

    def cancel(self) -> None:
        """Give everything back: nothing was called."""
        now = self._clock.monotonic()
        for pocket, amount, pockets, _ in self._taken:
            pockets.give_back(pocket, amount, 0, now)
        self._taken = []

    def settle(self, exchange: Exchange) -> None:
        """Give back what was not used, and count what was; estimates are marked on the span of their call."""
        now, taken = self._clock.monotonic(), self._taken
        self._taken = []
        for made in exchange.attempts:
            self._complete(made, self._part_of(made))
        for pocket, amount, pockets, parts in taken:
            of = self.attempts(exchange, parts)
            self._give_back(pocket, amount, pockets, of, now, calls=len({self._part_of(made).step for made in of}))

    def settle_try(self, made: Attempt | None) -> None:
        """Settle what was set aside for one try alone; None where it was not made."""
        now, taken = self._clock.monotonic(), self._taken
        self._taken = []
        if made is not None:
            self._complete(made, self._parts[-1])
        of = [] if made is None else [made]
        for pocket, amount, pockets, _ in taken:
            self._give_back(pocket, amount, pockets, of, now, calls=len(of))

    def free_places(self) -> None:
        """Give back the places of calls at once: the call is over, whatever it will have cost."""
        now, taken = self._clock.monotonic(), self._taken
        self._taken = [each for each in taken if each[0].rule.measure != "concurrency"]
        for pocket, amount, pockets, _ in taken:
            if pocket.rule.measure == "concurrency":
                pockets.give_back(pocket, amount, 0, now)

    def _give_back(
        self, pocket: Pocket, amount: int, pockets: Pockets, of: Sequence[Attempt], now: float, *, calls: int
    ) -> None:
        measure, unknown, spent = pocket.rule.measure, 0, 0
        if measure == "money":
            spent, unknown = _spent(of, pocket.rule.currency)
        elif measure == "tokens":
            spent = sum(self._tokens(made) for made in of)
        elif measure == "requests":
            spent = min(amount, calls)
        pockets.give_back(pocket, amount, spent, now, unknown=unknown)

    def attempts(self, exchange: Exchange, parts: Sequence[Part]) -> list[Attempt]:
        """Return the attempts of an exchange that were made for some of its parts."""
        steps = {part.step for part in parts}
        return [made for made in exchange.attempts if self._part_of(made).step in steps]

    def headers(self, dialect: str, also: Hold | None = None) -> Headers:
        """Return what clients of a protocol read about their limits, here and of what else is held for them."""
        found: Headers = []
        held = [pocket for hold in (self, also) if hold is not None for pocket, *_ in hold._taken if pocket.rule.hard]
        for measure in ("requests", "tokens"):
            pockets = [pocket for pocket in held if pocket.rule.measure == measure]
            if pockets:
                tightest = min(pockets, key=lambda pocket: pocket.remaining + max(0, pocket.free))
                found += limit_headers(tightest, dialect, self._clock.now())
        return found

    def _complete(self, made: Attempt, part: Part) -> None:
        """Estimate the cost of a call that was cut off before its usage was told."""
        told = made.outcome is not None and made.outcome.usage is not None
        if told or made.cost is not None or made.pricer is None or not self.was_used(made):
            return
        made.cost, made.currency = made.pricer.cost(self._usage(made, part)), made.pricer.currency
        outcome = made.outcome or Outcome()
        made.outcome = msgspec.structs.replace(outcome, attributes={**outcome.attributes, ESTIMATED: "true"})

    def _tokens(self, made: Attempt) -> int:
        if made.outcome is not None and made.outcome.usage is not None:
            return made.outcome.usage.total
        return self._usage(made, self._part_of(made)).total if self.was_used(made) else 0

    @staticmethod
    def _usage(made: Attempt, part: Part) -> Usage:
        if made.outcome is not None and made.outcome.usage is not None:
            return made.outcome.usage
        output = -(-len(made.outcome.output) // BYTES_PER_TOKEN) if made.outcome is not None else 0
        return Usage(input=part.estimate.input, output=output)

    def _part_of(self, made: Attempt) -> Part:
        return next((part for part in self._parts if part.step == made.step), self._parts[-1])

    @staticmethod
    def was_used(made: Attempt) -> bool:
        """Tell whether an upstream may ask money for a call: it answered well, or it was left while it worked."""
        if made.outcome is not None and made.outcome.usage is not None:
            return True
        return 200 <= made.status < 300 or (not made.status and made.error_type in _LEFT)


_LEFT = frozenset({"cancelled", "upstream_timeout", "upstream_lost", "upstream_broken"})


class Gate:
    """Set aside what a call may use of every bucket that it counts in, or refuse it.

    `wake` is called when a pocket has to be asked for; a call waits `wait_s` at most for the answer. `region` is where
    requests are from that name none.
    """

    def __init__(
        self,
        pockets: Callable[[LimitRule], Pockets],
        clock: Clock,
        *,
        wake: Callable[[], None],
        wait_s: float,
        assumed_output: int,
        region: str = "",
    ) -> None:
        self._pockets = pockets
        self._clock = clock
        self._wake = wake
        self._wait_s = wait_s
        self._assumed_output = assumed_output
        self.region = region

    def now(self) -> float:
        """Return the present, as breakers know it."""
        return self._clock.monotonic()

    def parts(self, route: Route, call: ModelCall) -> list[Part]:
        """Return what an exchange is made of: the steps of a chain, or its only call.

        A step may be sent what the steps before it said, so its input is reckoned to be so much longer.
        """
        return finished(self._parts(route, call))

    async def parts_of_long(self, route: Route, call: ModelCall) -> list[Part]:
        """Return the same of a call that is long to look at, and let others have their turn meanwhile."""
        steps = self._parts(route, call)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: list[Part] = end.value
                return found
            await asyncio.sleep(0)

    def _parts(self, route: Route, call: ModelCall) -> Steps[list[Part]]:
        release = route.release.route if route.release is not None else None
        if release is None or not release.steps:
            return [Part(route, (yield from Estimate.steps(call, self._assumed_output)))]
        parts, said = [], 0
        for step in release.steps:
            # only the last step, whose answer is the answer, is asked by all that the client says
            wanted = (call.operation.input, "max_tokens")
            given = call.fields if step is release.steps[-1] else {n: v for n, v in call.fields.items() if n in wanted}
            fixed = {name: step.params[name] for name in step.fixed if name in step.params}
            own = msgspec.structs.replace(call, fields={**step.params, **given, **fixed})
            alone = yield from Estimate.steps(own, self._assumed_output)
            parts.append(Part(route.steps.get(step.step, route), Estimate(alone.input + said, alone.output), step.step))
            said += alone.output
        return parts

    async def enter(self, counted: Sequence[Counted], parts: Sequence[Part], exchange: Exchange) -> Hold:
        """Return what is set aside; raises `LimitReached`, `PriceUnknown` or `LimitsUnavailable`.

        All of a chain is set aside before its first step: it is refused while it costs nothing, never in the middle.
        """
        hold = Hold(self._clock, parts)
        try:
            for each in counted:
                await self._take(hold, each, self._amount(each, exchange), exchange)
        except BaseException:
            hold.cancel()
            raise
        return hold

    def quote(self, counted: Sequence[Counted], exchange: Exchange) -> list[tuple[str, str, int]]:
        """Return what a call may use at most of each bucket, and set nothing aside; raises `PriceUnknown`."""
        return [(each.rule.id, each.instance, self._amount(each, exchange)) for each in counted]

    def told(self, counted: Sequence[Counted], parts: Sequence[Part]) -> Callable[[Exchange], None]:
        """Return what notes, once an exchange is done, what it cost of budgets (`Exchange.spending`); none is counted.

        So is a call that was paid for elsewhere, and may be told of again after a death: whoever keeps its answer
        counts it. Calls and tokens a minute, and calls at once, are not those of a gateway then.
        """
        hold = Hold(self._clock, parts)
        budgets = [each for each in counted if each.rule.measure == "money"]

        def tell(exchange: Exchange) -> None:
            hold.settle(exchange)  # nothing is held: it estimates the cost of what was cut off
            exchange.spending = [
                (each.rule.id, each.instance, *_spent(hold.attempts(exchange, each.parts), each.rule.currency))
                for each in budgets
            ]

        return tell

    def _amount(self, counted: Counted, exchange: Exchange) -> int:
        rule, parts = counted.rule, counted.parts
        if rule.measure == "tokens":
            return sum(part.estimate.input + part.estimate.output for part in parts)
        if rule.measure == "money":
            return sum(self._price(rule, part.route, part.estimate, exchange) for part in parts)
        # steps run one after the other: a model does one of them at once, and is called for each
        return len(parts) if rule.measure == "requests" and rule.subject == "model" else 1

    @staticmethod
    def _price(rule: LimitRule, route: Route, estimate: Estimate, exchange: Exchange) -> int:
        models = [route.model] if route.plan is None else route.plan.models(exchange.kind)
        costs = [
            Decimal(cost)
            for pricer in (model.pricer for model in models)
            if pricer is not None
            and pricer.tells(rule.currency)
            and (cost := pricer.most(estimate.input, estimate.output)) is not None
        ]
        if costs:
            return cost_units(str(max(costs)))
        if _insists(rule):
            raise PriceUnknown(
                f"the price of the model {route.model.entry.name!r} in {rule.currency} is not known, and the budget of "
                f"{whose(rule, exchange.model)} counts money",
                hint="add a price (`POST /api/v1/projects/PROJECT/model-prices`), or let the budget count such calls",
            )
        return 0

    async def _take(self, hold: Hold, counted: Counted, amount: int, exchange: Exchange) -> None:
        rule, instance, parts = counted
        pockets = self._pockets(rule)
        pocket = pockets.of(rule, instance, self._clock.monotonic())
        try:
            if not pockets.try_take(pocket, amount, self._clock.monotonic(), self._clock.now_ns()):
                await self._ask(pockets, pocket, amount)
        except Refused as refused:
            raise _refusal(pocket, refused, amount, exchange, self._clock.now()) from None
        hold.add(pocket, amount, pockets, parts)

    async def _ask(self, pockets: Pockets, pocket: Pocket, amount: int) -> None:
        waiting = pockets.wait(pocket, amount)
        self._wake()
        try:
            async with asyncio.timeout(self._wait_s):
                await asyncio.shield(waiting)
        except TimeoutError:
            if not waiting.done():
                waiting.cancel()
                raise Refused(None) from None
            self._give_up(pockets, pocket, amount, waiting)
            raise Refused(None) from None
        except asyncio.CancelledError:
            self._give_up(pockets, pocket, amount, waiting)
            raise

    def _give_up(self, pockets: Pockets, pocket: Pocket, amount: int, waiting: asyncio.Future[None]) -> None:
        if not waiting.done():
            waiting.cancel()
        elif not waiting.cancelled() and waiting.exception() is None:
            pockets.give_back(pocket, amount, 0, self._clock.monotonic())


def payable(route: Route, counted: Sequence[Counted]) -> Route:
    """Return a route without the targets that budgets could not count: those which refuse what has no known price.

    What a call is set aside for is the dearest of the others, so that none of them can take more.
    """
    currencies = {each.rule.currency for each in counted if _insists(each.rule)}
    for currency in currencies:
        route = _payable(route, currency)
    return route


def _payable(route: Route, currency: str) -> Route:
    if route.steps:
        steps = {name: _payable(step, currency) for name, step in route.steps.items()}
        route = route._replace(steps=steps)
    return route if route.plan is None else route._replace(plan=route.plan.priced(currency))


def _insists(rule: LimitRule) -> bool:
    return rule.measure == "money" and rule.hard and rule.unknown == "refuse"


def counted_as(rule: LimitRule, key: KeyEntry, exchange: Exchange, model: BoundModel) -> str | None:
    """Return as whom a rule counts a call: the name of its bucket; None where the rule does not concern the call.

    A key is known by its id, which stays when its secret is rotated.
    """
    subject, name = rule.subject, rule.name
    if subject == "project":
        return ""
    if subject == "model":
        if name == "*":
            return model.entry.name
        return name if fnmatchcase(model.entry.name, name) else None
    if subject == "key":
        own = key.id
    elif subject == "team":
        own = key.team
    elif subject == "app":
        own = exchange.app
    else:
        own = exchange.user
    if not own or name not in ("*", own):
        return None
    # a client may call itself anything; what databases cannot hold is known by its hash
    return own if own.isprintable() else "sha256:" + hashlib.sha256(own.encode("utf-8", "surrogatepass")).hexdigest()


def whose(rule: LimitRule, instance: str) -> str:
    """Name whom a limit is of, for people."""
    if rule.subject == "project":
        return f"the project {rule.project!r}"
    return f"the {rule.subject} {instance!r}" if instance else f"each {rule.subject}"


def limit_headers(pocket: Pocket, dialect: str, now: datetime) -> Headers:
    """Return a limit's state by the names that a protocol's clients read: OpenAI's, or Anthropic's."""
    rule, what = pocket.rule, pocket.rule.measure
    left = max(0, min(pocket.remaining + max(0, pocket.free), rule.amount))
    reset_s = (rule.amount - left) * 60 / rule.amount if rule.amount else 3600.0
    if dialect == "anthropic":
        at = (now + timedelta(seconds=reset_s)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = f"anthropic-ratelimit-{what}-".encode()
        return [
            (name + b"limit", b"%d" % rule.amount), (name + b"remaining", b"%d" % left), (name + b"reset", at.encode())
        ]  # fmt: skip
    name = b"x-ratelimit-"
    kind = what.encode()
    return [
        (name + b"limit-" + kind, b"%d" % rule.amount),
        (name + b"remaining-" + kind, b"%d" % left),
        (name + b"reset-" + kind, _duration(reset_s)),
    ]


def _duration(seconds: float) -> bytes:
    """Write a duration as OpenAI does: `250ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return b"%dms" % round(seconds * 1000)
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return f"{rest:.3g}s".encode()
    return b"%dm%ds" % (minutes, rest)


def _refusal(pocket: Pocket, refused: Refused, amount: int, exchange: Exchange, now: datetime) -> Exception:
    rule = pocket.rule
    of = whose(rule, pocket.instance)
    if refused.retry_s is None:
        return LimitsUnavailable(
            f"the limit of {rule.measure} of {of} cannot be checked now, and this worker holds nothing of it",
            hint="the control plane does not answer; try again in a moment",
            retry_after_s=2.0,
        )
    if rule.measure == "money":
        error: LimitReached = BudgetSpent(
            f"the budget of {of} does not cover this call: of {money_text(rule.amount)} {rule.currency} "
            f"({'in all' if rule.period == 'total' else 'a ' + rule.period}) {money_text(max(0, pocket.remaining))} "
            f"are left, and it may cost {money_text(amount)}",
            hint="raise the budget, ask for fewer tokens, or wait for the next period",
            retry_after_s=refused.retry_s,
        )
    elif rule.measure == "concurrency":
        error = LimitReached(
            f"{of} has {rule.amount} calls under way, which is its limit",
            hint="wait until one is done",
            retry_after_s=max(1.0, refused.retry_s),
        )
    else:
        error = LimitReached(
            f"{of} may use {rule.amount} {rule.measure} a minute, and this call needs {amount} of which too few are "
            "left now",
            hint="try again later" if amount <= rule.amount else "the call is larger than the limit; ask for less",
            retry_after_s=refused.retry_s,
        )
    if rule.measure in ("requests", "tokens"):
        error.headers = limit_headers(pocket, exchange.operation.dialect, now)
    return error


def _spent(attempts: Sequence[Attempt], currency: str) -> tuple[int, int]:
    """Return what calls cost, and how many of them cost nobody knows what."""
    spent = unknown = 0
    for made in attempts:
        if made.cost is not None and (made.currency == currency or made.cost == "0"):
            spent += cost_units(made.cost)
        elif Hold.was_used(made):
            unknown += 1
    return spent, int(unknown > 0)
