"""What keys, teams, apps, models and users used of models, from spans; and which models have no price."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from tetrad.identity import Identity, KeySearch
from tetrad.kit.http import Page, requires
from tetrad.traces import Traces, Used
from tetrad.traces.routes import parse_time

_DAY_NS = 86_400 * 10**9
_MOST = 1000
_KEYS_A_PAGE = 500
_Time = Annotated[str | None, Query(max_length=40, description="RFC 3339, or nanoseconds since the epoch")]


class SpentView(BaseModel):
    """Exact decimal text of one currency."""

    amount: str
    currency: str


class UsageView(BaseModel):
    """What one of them used. `calls_without_cost` are not in `costs`.

    Of these nobody knows what `answers_without_cost` cost; the others failed and told of nothing that they used.
    Calls that broke off have a cost where their use and its price are known.
    """

    name: str
    title: str
    calls: int
    errors: int
    calls_without_cost: int
    answers_without_cost: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    costs: list[SpentView]


def usage_router(traces: Traces, identity: Identity) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["limits"])

    @routes.get("/usage", dependencies=[requires("control")], operation_id="get_usage")
    def get_usage(
        project: str,
        by: Literal["key", "team", "app", "model", "user", "release"] = "model",
        from_: Annotated[_Time, Query(alias="from")] = None,
        to: _Time = None,
    ) -> Page[UsageView]:
        """Add up the calls of models in a window (by default the last day); those with most calls first, 1000 at most.

        A team's calls are those of the keys that are in it now.
        """
        window = traces.window(parse_time(from_, "from"), parse_time(to, "to"))
        if by != "key" and by != "team":
            return Page(items=[_view(each, "") for each in traces.used(project, window, by, limit=_MOST)])
        used = traces.used(project, window, "key", limit=_MOST)
        keys = _keys(identity, project)
        if by == "key":
            return Page(items=[_view(each, keys.get(each.name, ("", ""))[0]) for each in used])
        teams: dict[str, list[UsageView]] = {}
        for each in used:
            teams.setdefault(keys.get(each.name, ("", ""))[1], []).append(_view(each, ""))
        found = [_sum(name, parts) for name, parts in teams.items()]
        return Page(items=sorted(found, key=lambda view: (-view.calls, view.name)))

    @routes.get("/unpriced-models", dependencies=[requires("control")], operation_id="list_unpriced_models")
    def list_unpriced_models(project: str) -> Page[UsageView]:
        """List the models that were called in the last day and whose price is not known for some of these calls."""
        window = traces.window(None, None)
        window = traces.window(window.to_ns - _DAY_NS, window.to_ns)
        used = traces.used(project, window, "model", limit=_MOST)
        return Page(items=[_view(each, "") for each in used if each.answers_without_cost])

    return routes


def names_of_keys(identity: Identity, project: str, ids: Sequence[str]) -> dict[str, str]:
    """Return what keys of a project are called, by their ids; those that are not there are left out."""
    found: dict[str, str] = {}
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), _KEYS_A_PAGE):
        search = KeySearch(ids=tuple(wanted[start : start + _KEYS_A_PAGE]))
        found |= {key.id: key.name for key in identity.keys.find(project, search, limit=_KEYS_A_PAGE)}
    return found


def _keys(identity: Identity, project: str) -> dict[str, tuple[str, str]]:
    """Return (name, team) of a project's keys by id."""
    found: dict[str, tuple[str, str]] = {}
    before = None
    while page := identity.keys.list(project, before=before, limit=_KEYS_A_PAGE):
        found |= {key.id: (key.name, key.team) for key in page}
        before = page[-1].id
    return found


def _view(used: Used, title: str) -> UsageView:
    tokens = used.tokens
    return UsageView(
        name=used.name,
        title=title or used.name,
        calls=used.calls,
        errors=used.errors,
        calls_without_cost=used.calls_without_cost,
        answers_without_cost=used.answers_without_cost,
        input_tokens=tokens.input,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        output_tokens=tokens.output,
        reasoning_tokens=tokens.reasoning,
        costs=[SpentView(amount=cost.amount, currency=cost.currency) for cost in used.costs],
    )


_COUNTS = (
    "calls", "errors", "calls_without_cost", "answers_without_cost", "input_tokens", "cache_read_tokens",
    "cache_write_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip


def _sum(name: str, parts: Iterable[UsageView]) -> UsageView:
    parts = list(parts)
    costs: dict[str, Decimal] = {}
    for part in parts:
        for cost in part.costs:
            costs[cost.currency] = costs.get(cost.currency, Decimal(0)) + Decimal(cost.amount)
    return UsageView(
        name=name,
        title=name or "no team",
        **{count: sum(getattr(part, count) for part in parts) for count in _COUNTS},
        costs=[SpentView(amount=f"{amount:f}", currency=currency) for currency, amount in sorted(costs.items())],
    )
