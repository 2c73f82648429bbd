"""What each try of a route's targets is counted in, when it is made: limits of models, and money of calls that overlap.

Which target answers, and how many are asked, is known only while a route is being called. So limits of models count
each try under the model that it really calls, and let the next target answer where one is at its limit. Everything
else of a call is set aside once, before its first try (`Gate.enter`); a try beside another that is or may be paid for,
such as a hedge, sets its own tokens and money aside too.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetrad.limits._gate import Counted, Gate, Hold, Part, counted_as
from tetrad.serving import Attempt, BoundModel, Exchange, KeyEntry, LimitRule, Route

_OF_EACH_CALL = frozenset(("tokens", "money"))


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
        under_way = not self.ends if self.made is None else not self.made.end_ns
        if under_way and not last:
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

    def tolled(self, route: Route, parts: Sequence[Part]) -> Route:
        """Return the route with plans that let in each try by these limits, as part of which the try counts."""
        if not route.steps and not parts[-1].step:
            return self._tolled(route, parts[-1])
        return route._replace(
            steps={part.step: self._tolled(route.steps.get(part.step, route), part) for part in parts}
        )

    def settle(self, _exchange: Exchange) -> None:
        """Count what is left."""
        for ticket in self._tickets:
            ticket.settle(last=True)
        self._tickets = []

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
        beside = sum(each.counts for each in self._tickets if each.part is part)
        held = sum(each.beside is not None for each in self._tickets if each.part is part)
        alone = Part(Route(model), part.estimate, part.step)
        ticket = _Ticket(part)
        self._tickets.append(ticket)
        try:
            ticket.own = await self._gate.enter(self._of_model(exchange, model, alone), [alone], exchange)
            if beside > held:
                shared = [Counted(each.rule, each.instance, [alone]) for each in self._shared]
                ticket.beside = await self._gate.enter(shared, [alone], exchange)
        except BaseException:
            self._tickets.remove(ticket)
            if ticket.own is not None:
                ticket.own.cancel()
            raise
        return ticket

    def _of_model(self, exchange: Exchange, model: BoundModel, alone: Part) -> list[Counted]:
        found = [(rule, counted_as(rule, self._key, exchange, model)) for rule in self._rules]
        return [Counted(rule, instance, [alone]) for rule, instance in found if instance is not None]
