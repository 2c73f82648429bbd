"""Limits as a layer of the pipeline: bound per route table, free of cost where nothing limits a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tetrad.limits._estimate import is_long
from tetrad.limits._gate import Counted, Gate, Part, counted_as, payable
from tetrad.limits._tries import Tries, is_tried
from tetrad.serving import STEP, Dispatch, Exchange, KeyEntry, LimitRule, Route, RouteTable
from tetrad.serving.ports import Answer, ModelCall

_UPSTREAMS = (b"x-ratelimit-", b"anthropic-ratelimit-")


class LimitLayer:
    """Count every call in the limits and budgets that concern it; see `tetrad.serving.Layer`."""

    def __init__(self, gate: Gate, *, rules_changed: Callable[[tuple[LimitRule, ...]], None] = lambda _: None) -> None:
        self._gate = gate
        self._rules_changed = rules_changed
        self._rules: dict[str, tuple[LimitRule, ...]] = {}

    settles = True
    """What lines of a provider's own batches cost is told with their answers."""

    def quote(self, exchange: Exchange, route: Route, call: ModelCall) -> list[tuple[str, str, int]]:
        """Return what a call may cost of hard budgets: rule, instance, amount. Raises `PriceUnknown`."""
        key = exchange.key
        if key is None:
            return []
        rules = [rule for rule in self._rules.get(key.project, ()) if rule.measure == "money" and rule.hard]
        return self._gate.quote(buckets(rules, key, exchange, self._gate.parts(route, call)), exchange)

    def bind(self, table: RouteTable, following: Dispatch) -> Dispatch:
        """Return `following` itself where the table limits nobody."""
        self._rules_changed(table.limits)
        by_project: dict[str, tuple[LimitRule, ...]] = {}
        for rule in table.limits:
            by_project[rule.project] = (*by_project.get(rule.project, ()), rule)
        self._rules = by_project
        if not table.limits:
            return following
        gate = self._gate
        of_models = {
            project: tuple(rule for rule in rules if rule.subject == "model") for project, rules in by_project.items()
        }

        async def limited(exchange: Exchange, route: Route, call: ModelCall) -> Answer:
            key = exchange.key
            if key is None:
                return await following(exchange, route, call)
            rules = by_project.get(key.project)
            if rules is None:
                return await following(exchange, route, call)
            parts = await gate.parts_of_long(route, call) if is_long(call) else gate.parts(route, call)
            counted = buckets(rules, key, exchange, parts)
            tried = any(is_tried(part.route) for part in parts)
            if not counted and not (tried and of_models[key.project]):
                return await following(exchange, route, call)
            if key.batch and STEP in exchange.headers:  # it was paid for; control counts what it cost, once
                exchange.on_done.append(gate.told(counted, parts))
                return await following(exchange, route, call)
            hold = await gate.enter(counted, parts, exchange)
            exchange.on_done.append(hold.settle)
            route = payable(route, counted)
            if tried:
                tries = Tries(gate, of_models[key.project], counted, key)
                exchange.on_done.append(tries.settle)
                await tries.reserve(route, parts, exchange, call)
                answer = await following(exchange, tries.tolled(route, parts), call)
                headers = hold.headers(exchange.operation.dialect, tries.newest)
            else:
                headers = hold.headers(exchange.operation.dialect)
                answer = await following(exchange, route, call)
            if headers:
                theirs = [each for each in answer.headers if not each[0].startswith(_UPSTREAMS)]
                answer.headers = [*theirs, *headers]
            return answer

        return limited


def buckets(rules: Iterable[LimitRule], key: KeyEntry, exchange: Exchange, parts: Sequence[Part]) -> list[Counted]:
    """Return the buckets in which an exchange counts; in those of models with the parts that call them only."""
    found: list[Counted] = []
    for rule in rules:
        if rule.subject != "model":
            instance = counted_as(rule, key, exchange, parts[-1].route.model)
            if instance is not None:
                found.append(Counted(rule, instance, parts))
            continue
        of: dict[str, list[Part]] = {}
        for part in parts:
            if is_tried(part.route):  # counted when a target of it is called
                continue
            instance = counted_as(rule, key, exchange, part.route.model)
            if instance is not None:
                of.setdefault(instance, []).append(part)
        found += [Counted(rule, instance, counting) for instance, counting in of.items()]
    return found
