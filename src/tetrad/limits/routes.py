"""The API of limits and budgets, and the door through which gateways ask for leases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from tetrad.kernel import InvalidInput, TooLarge
from tetrad.kit.http import (
    CurrentPrincipal,
    Page,
    PageParams,
    cut_page,
    decode_cursor,
    encode_cursor,
    page_of_all,
    parse_sort,
    requires,
)
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._model import MAX_NAME_CHARS, SUBJECTS
from tetrad.limits._protocol import Sync
from tetrad.limits._service import Limits
from tetrad.limits._views import AlertView, BudgetBody, BudgetView, LimitBody, LimitView
from tetrad.serving import LimitSubject

SYNC_PATH = "/internal/v1/limits/leases"
MAX_SYNC_BYTES = 4 * 1024 * 1024
RuleId = Annotated[str, Path(max_length=64)]
_ORDERED_CHARS = 40
"""So much of a subject's name orders limits: a cursor holds it, whatever its letters."""
KeyNames = Callable[[str, Sequence[str]], Mapping[str, str]]
_decoder = msgspec.json.Decoder(Sync)


def _unnamed(_project: str, _ids: Sequence[str]) -> Mapping[str, str]:
    return {}


def router(limits: Limits, keeper: LeaseKeeper, key_names: KeyNames = _unnamed) -> APIRouter:
    """Return the routes; they bring their prefixes with them. `key_names` tells the names of a project's keys by id."""
    routes = APIRouter(tags=["limits"])
    _rates(routes, limits, key_names)
    _budgets(routes, limits)

    @routes.post(
        SYNC_PATH,
        dependencies=[requires("internal")],
        operation_id="sync_leases",
        response_class=Response,
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    async def sync_leases(request: Request) -> Response:
        """Take in what a gateway worker tells of its leases, and grant more."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_SYNC_BYTES:
                raise TooLarge(f"the message has more than {MAX_SYNC_BYTES:,} bytes", hint="tell fewer leases at once")
        try:
            message = _decoder.decode(bytes(body))
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"this is no message about leases: {error}", hint="are both of one version?") from None
        reply = await run_in_threadpool(keeper.sync, message)
        return Response(msgspec.json.encode(reply), media_type="application/json")

    return routes


def _rates(routes: APIRouter, limits: Limits, key_names: KeyNames) -> None:
    base = "/api/v1/projects/{project}/limits"

    @routes.get(base, dependencies=[requires("control")], operation_id="list_limits")
    def list_limits(
        project: str,
        page: PageParams,
        subject: Annotated[LimitSubject | None, Query(description="Only those of this kind of subject")] = None,
        name: Annotated[
            list[Annotated[str, Field(max_length=MAX_NAME_CHARS)]] | None,
            Query(max_length=200, description="Only those of these subjects; `*` is each of them"),
        ] = None,
        q: Annotated[
            str,
            Query(max_length=100, description="Only those that hold this in the subject, its name or what is counted"),
        ] = "",
        sort: Annotated[
            str,
            Query(
                max_length=16,
                description="`id`, `whom` (the kind of subject, then its name), `amount` (of what, then how much) or "
                "`changed`; `-` for the reverse",
            ),
        ] = "id",
    ) -> Page[LimitView]:
        """List the limits of requests, tokens and calls at once. Keys are known by their names and ids."""
        names = frozenset(name or ())
        found = [
            LimitView.of(each)
            for each in limits.rules(project, money=False)
            if (subject is None or each.rule.subject == subject) and (not names or each.rule.name in names)
        ]
        keys = [each.name for each in found if each.subject == "key" and each.name != "*"]
        called = key_names(project, keys) if keys and (q or sort.endswith("whom")) else {}

        def title(view: LimitView) -> str:
            return called.get(view.name, view.name) if view.subject == "key" else view.name

        return page_of_all(
            f"limits {project} {subject} {sorted(names)}",
            page,
            found,
            q=q,
            texts=lambda view: (
                f"each {view.subject}" if view.name == "*" else f"{view.subject} {title(view)}",
                view.name,
                "calls at once" if view.measure == "concurrency" else f"{view.measure} a minute",
            ),
            sort=sort,
            sorts={
                "id": lambda view: view.id,
                "whom": lambda view: f"{SUBJECTS.index(view.subject)} {title(view).lower()[:_ORDERED_CHARS]}",
                "amount": lambda view: f"{view.measure} {view.amount:020}",
                "changed": lambda view: view.changed_at.isoformat(),
            },
            name=lambda view: view.id,
        )

    @routes.put(base, dependencies=[requires("admin")], operation_id="put_limit")
    def put_limit(project: str, body: LimitBody, actor: CurrentPrincipal) -> LimitView:
        """Set what a subject may use, or change it; gateways know within a second."""
        return LimitView.of(limits.put(actor, body.rule(project)))

    @routes.delete(f"{base}/{{rule}}", dependencies=[requires("admin")], operation_id="delete_limit", status_code=204)
    def delete_limit(project: str, rule: RuleId, actor: CurrentPrincipal) -> None:
        """Remove a limit."""
        limits.drop(actor, project, rule)


def _budgets(routes: APIRouter, limits: Limits) -> None:
    base = "/api/v1/projects/{project}/budgets"

    @routes.get(base, dependencies=[requires("control")], operation_id="list_budgets")
    def list_budgets(
        project: str,
        page: PageParams,
        sort: Annotated[
            str | None, Query(max_length=16, description="`account` or `used` (per cent), `-` for the reverse")
        ] = None,
    ) -> Page[BudgetView]:
        """Show how budgets stand in their present periods, for each subject that has used them."""
        field, descending = parse_sort(sort, ("account", "used"), "account")
        listing = f"budgets {project} {field} {descending}"
        views = [BudgetView.of(state) for state in limits.budgets(project)]

        def place(view: BudgetView) -> tuple[float, str]:
            return (view.used_percent if field == "used" else 0.0), _place(view)

        if page.cursor:
            percent, account = decode_cursor(listing, page.cursor, [float, str])
            last = (float(percent or 0), str(account))
            views = [view for view in views if (place(view) < last if descending else place(view) > last)]
        found = sorted(views, key=place, reverse=descending)
        items = found[: page.limit]
        more = len(found) > page.limit
        return Page(items=items, next_cursor=encode_cursor(listing, place(items[-1])) if more else None)

    @routes.put(base, dependencies=[requires("admin")], operation_id="put_budget")
    def put_budget(project: str, body: BudgetBody, actor: CurrentPrincipal) -> BudgetView:
        """Set what a subject may spend, or change it; what is spent stays spent."""
        stored = limits.put(actor, body.rule(project), tuple(body.alert_at))
        return BudgetView.of(limits.budget(project, stored.rule.id)[0])

    @routes.get(f"{base}/{{rule}}", dependencies=[requires("control")], operation_id="get_budget")
    def get_budget(project: str, rule: RuleId, page: PageParams) -> Page[BudgetView]:
        """Show how a budget stands and stood, the newest period first, and how it was spent hour by hour."""
        listing = f"budget {project} {rule}"
        skip = int(str(decode_cursor(listing, page.cursor, [int])[0])) if page.cursor else 0
        states = [(number, each) for number, each in enumerate(limits.budget(project, rule), 1) if number > skip]
        cut = cut_page(listing, page, states, lambda each: each[0])
        return Page(items=[BudgetView.of(state) for _, state in cut.items], next_cursor=cut.next_cursor)

    @routes.delete(f"{base}/{{rule}}", dependencies=[requires("admin")], operation_id="delete_budget", status_code=204)
    def delete_budget(project: str, rule: RuleId, actor: CurrentPrincipal) -> None:
        """Remove a budget with its account."""
        limits.drop(actor, project, rule)

    @routes.get(
        "/api/v1/projects/{project}/budget-alerts",
        dependencies=[requires("control")],
        operation_id="list_budget_alerts",
    )
    def list_budget_alerts(project: str) -> Page[AlertView]:
        """List the newest alerts of budgets that went past a threshold; at most 200."""
        budgets = {each.rule.id: each.rule for each in limits.rules(project, money=True)}
        alerts = limits.alerts(project)  # one of a budget that went in between is not told any more
        return Page(items=[AlertView.of(each, budgets[each.rule]) for each in alerts if each.rule in budgets])


def _place(view: BudgetView) -> str:
    return f"{view.id}/{view.instance}"
