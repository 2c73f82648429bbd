"""What each try of a route's targets is counted in, when it is made: limits of models, and money of calls that overlap.

Which target answers, and how many are asked, is known only while a route is being called. So limits of models count
each try under the model that it really calls, and let the next target answer where one is at its limit. Everything
else of a call is set aside once, before its first try (`Gate.enter`); a try beside another that is or may be paid for,
such as a hedge, sets its own tokens and money aside too.

A chain is refused before its first step or not at all: one try of each step whose model is a route is set aside then,
at a target that has room. Which target answers is still chosen in the step's turn; the one that was set aside for is
let in when others are not, and is given back when another is.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetrad.kernel import TetradError
from tetrad.limits._gate import Counted, Gate, Hold, Part, counted_as
from tetrad.serving import Attempt, BoundModel, Exchange, KeyEntry, LimitRule, Route
from tetrad.serving.ports import ModelCall

_OF_EACH_CALL = frozenset(("tokens", "money"))


_Bucket = tuple[str, str]
"""A rule and whom it counts."""


def is_tried(route: Route) -> bool:
    """Tell whether calls of a route are counted by their tries; a model that stands for itself is called once."""
    return route.plan is not None and bool(route.plan.name)


class _Ticket:
    """What is set aside for one try; `beside` is of limits that the call as a whole settles."""

    __slots__ = ("beside", "ends", "made", "own", "part")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.own: Hold | None = None
        self.beside: Hold | None = None
        self.made: Attempt | None = None
        self.ends = False

    @property
    def is_under_way(self) -> bool:
        """Whether the try is still being made, or its answer is still being read."""
        return not self.ends if self.made is None else not self.made.end_ns

    @property
    def counts(self) -> bool:
        """Whether this try is or may be paid for."""
        if self.made is None:
            return not self.ends
        return not self.made.end_ns or Hold.was_used(self.made)

    def ended(self, made: Attempt | None, *, goes_on: bool) -> None:
        """Take in what became of the try; see `tetrad.serving.Ticket`."""
        self.made, self.ends = made, not goes_on
        if self.ends:
            if self.own is not None:
                self.own.free_places()
            self.settle()

    def settle(self, *, last: bool = False) -> None:
        """Count what the try used, once that is known."""
        if self.is_under_way and not last:
            return
        own, self.own = self.own, None
        if own is not None:
            own.settle_try(self.made)
        if self.beside is not None and (last or not self.counts):
            self.beside.cancel()
            self.beside = None


class Tries:
    """The tries of one exchange: `rules` are those of models, `counted` is what the whole exchange counts in."""

    def __init__(self, gate: Gate, rules: Sequence[LimitRule], counted: Sequence[Counted], key: KeyEntry) -> None:
        self._gate = gate
        self._rules = rules
        self._shared = [each for each in counted if each.rule.measure in _OF_EACH_CALL]
        self._key = key
        self._tickets: list[_Ticket] = []
        self._steps: list[str] = []
        self._reserved: dict[tuple[str, str], Hold] = {}
        # steps run one after the other: a place that is held for one of them is that of all, and of one try at once
        self._held: dict[_Bucket, Hold] = {}
        self._needs: dict[str, set[_Bucket]] = {}
        self._places: dict[_Bucket, _Ticket | None] = {
            _bucket(each): None for each in counted if _is_place(each) and each.rule.subject == "model"
        }

    def tolled(self, route: Route, parts: Sequence[Part]) -> Route:
        """Return the route with plans that let in each try by these limits, as part of which the try counts."""
        if not route.steps and not parts[-1].step:
            return self._tolled(route, parts[-1])
        return route._replace(
            steps={part.step: self._tolled(route.steps.get(part.step, route), part) for part in parts}
        )

    async def reserve(self, route: Route, parts: Sequence[Part], exchange: Exchange, call: ModelCall) -> None:
        """Set one try of each step of a chain aside whose model is a route; raises `TetradError` where none is left.

        It is not held for longer than until the step has its try, at that target or at another.
        """
        self._steps = [part.step for part in parts]
        if not self._rules:
            return
        for part in parts:
            own = route.steps.get(part.step, route)
            if part.step and is_tried(own):
                await self._reserve_any(own, part, exchange, call)

    async def _reserve_any(self, route: Route, part: Part, exchange: Exchange, call: ModelCall) -> None:
        plan, refused = route.plan, None
        if plan is None:
            return
        facts = plan.facts(exchange, call, self._gate.region)
        for model in plan.passed_on_to(facts, exchange.kind, self._gate.now()):
            try:
                await self._reserve(part, model, exchange)
            except TetradError as error:
                refused = error
            else:
                return
        if refused is not None:
            refused.message = f"the step {part.step!r}: {refused.message}"
            raise refused

    async def _reserve(self, part: Part, model: BoundModel, exchange: Exchange) -> None:
        alone = Part(Route(model), part.estimate, part.step)
        counted = self._of_model(exchange, model, alone)
        hold = await self._gate.enter([each for each in counted if not _is_place(each)], [alone], exchange)
        places = {_bucket(each): each for each in counted if _is_place(each)}
        try:
            for bucket, place in places.items():
                if bucket not in self._places:
                    self._held[bucket] = await self._gate.enter([place], [alone], exchange)
                    self._places[bucket] = None
        except BaseException:
            hold.cancel()
            self._free_places()
            raise
        self._needs[part.step] = {*places}
        self._reserved[part.step, model.entry.name] = hold

    def settle(self, _exchange: Exchange) -> None:
        """Count what is left, and give back what was set aside for nothing."""
        for ticket in self._tickets:
            ticket.settle(last=True)
        for hold in (*self._reserved.values(), *self._held.values()):
            hold.cancel()
        self._tickets, self._held, self._reserved, self._needs = [], {}, {}, {}

    @property
    def newest(self) -> Hold | None:
        """What is held for the try that answers."""
        return next((ticket.own for ticket in reversed(self._tickets) if ticket.own is not None), None)

    def _tolled(self, route: Route, part: Part) -> Route:
        if route.plan is None or not is_tried(route):
            return route

        async def toll(exchange: Exchange, model: BoundModel) -> _Ticket:
            return await self._let_in(part, exchange, model)

        return route._replace(plan=route.plan.tolled(toll))

    async def _let_in(self, part: Part, exchange: Exchange, model: BoundModel) -> _Ticket:
        for each in self._tickets:  # a step of a chain that is over holds no place
            each.settle()
        self._forget_steps_before(part.step)
        beside = sum(each.counts for each in self._tickets if each.part is part)
        held = sum(each.beside is not None for each in self._tickets if each.part is part)
        alone = Part(Route(model), part.estimate, part.step)
        ticket = _Ticket(part)
        self._tickets.append(ticket)
        reserved = self._reserved.pop((part.step, model.entry.name), None)
        try:
            counted = [each for each in self._of_model(exchange, model, alone) if not self._is_held(each, ticket)]
            if reserved is not None:
                counted = [each for each in counted if _is_place(each)]
            ticket.own = await self._gate.enter(counted, [alone], exchange)
            if reserved is not None:
                ticket.own.join(reserved)
            if beside > held:
                shared = [Counted(each.rule, each.instance, [alone]) for each in self._shared]
                ticket.beside = await self._gate.enter(shared, [alone], exchange)
        except BaseException:
            self._tickets.remove(ticket)
            ticket.ends = True
            for hold in (ticket.own, reserved):
                if hold is not None:
                    hold.cancel()
            raise
        if reserved is None:
            self._give_back(part.step)
        return ticket

    def _is_held(self, counted: Counted, ticket: _Ticket) -> bool:
        """Tell whether a bucket is one of places that are held for all steps, and give the place to the try."""
        bucket = _bucket(counted)
        if bucket not in self._places:
            return False
        user = self._places[bucket]
        if user is not None and user.is_under_way:
            return False
        self._places[bucket] = ticket
        return True

    def _forget_steps_before(self, step: str) -> None:
        if self._held or self._needs:
            for over in self._steps[: self._steps.index(step)]:
                self._give_back(over)
            self._free_places()

    def _give_back(self, step: str) -> None:
        """Give back what was set aside for a step that is over, or is tried at another target."""
        if self._needs.pop(step, None) is None:
            return
        for name in [name for name in self._reserved if name[0] == step]:
            self._reserved.pop(name).cancel()
        self._free_places()

    def _free_places(self) -> None:
        needed = set[_Bucket]().union(*self._needs.values())
        for bucket in [bucket for bucket in self._held if bucket not in needed]:
            user = self._places[bucket]
            if user is None or not user.is_under_way:
                self._held.pop(bucket).cancel()
                del self._places[bucket]

    def _of_model(self, exchange: Exchange, model: BoundModel, alone: Part) -> list[Counted]:
        found = [(rule, counted_as(rule, self._key, exchange, model)) for rule in self._rules]
        return [Counted(rule, instance, [alone]) for rule, instance in found if instance is not None]


def _is_place(counted: Counted) -> bool:
    return counted.rule.measure == "concurrency"


def _bucket(counted: Counted) -> _Bucket:
    return counted.rule.id, counted.instance
