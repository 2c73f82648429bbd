"""Limits of calls that go to no model: tools of MCP servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from tetrad.limits._gate import Gate
from tetrad.limits._layer import buckets
from tetrad.serving import BoundModel, Exchange, LimitRule, Route, RouteTable
from tetrad.serving.ports import ModelCall

TOOL = "mcp:"
"""How the names of tools begin where limits name models: `mcp:SERVER/TOOL`, and `mcp:SERVER` for all else of it."""


Who = Literal["all", "caller", "server"]


class ToolLimits:
    """Count requests of MCP servers in the limits of requests and of calls at once; tools cost no tokens of ours.

    A rule for models concerns a tool only where its pattern begins with `mcp:`, so that what limits every model alike
    says nothing of tools. A request to several servers counts once as its caller's (`caller`), whose limits are all
    but those of models, and once as each server's (`server`).
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def bind(self, table: RouteTable) -> Callable[[Exchange, BoundModel, Who], Awaitable[None]] | None:
        """Return what sets aside what a request uses, or refuses it; None where nothing is limited."""
        by_project: dict[str, tuple[LimitRule, ...]] = {}
        for rule in table.limits:
            concerns = rule.subject != "model" or rule.name.startswith(TOOL)
            if rule.measure in ("requests", "concurrency") and concerns:
                by_project[rule.project] = (*by_project.get(rule.project, ()), rule)
        if not by_project:
            return None
        gate = self._gate

        async def enter(exchange: Exchange, model: BoundModel, who: Who) -> None:
            key = exchange.key
            if key is None:
                return
            rules = [
                rule
                for rule in by_project.get(key.project, ())
                if who == "all" or (rule.subject == "model") == (who == "server")
            ]
            parts = gate.parts(Route(model), ModelCall(exchange.operation, {}))
            counted = buckets(rules, key, exchange, parts)
            if counted:
                hold = await gate.enter(counted, parts, exchange)
                exchange.on_done.append(hold.settle)

        return enter
