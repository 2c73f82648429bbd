"""The API of limits, budgets and teams: shapes, scopes, refusals."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest

from support.identity import ADMIN, INTERNAL_TOKEN, caller, make_app, make_identity
from tetrad.identity import Identity
from tetrad.kernel import Conflict, FixedClock
from tetrad.kit.db import Database
from tetrad.limits import LeaseState, Sync
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._model import UNIT
from tetrad.limits._service import Limits
from tetrad.limits._store import SqlLimitStore
from tetrad.limits.routes import SYNC_PATH, router
from tetrad.processes.control._usage import names_of_keys

P = "/api/v1/projects/default"
BUDGET = {"subject": "key", "amount": "12.50", "period": "day", "alert_at": [50]}


class Api:
    def __init__(
        self,
        admin: httpx.AsyncClient,
        viewer: httpx.AsyncClient,
        worker: httpx.AsyncClient,
        identity: Identity,
        clock: FixedClock,
    ) -> None:
        self.admin, self.viewer, self.worker = admin, viewer, worker
        self.identity, self.clock = identity, clock
        self.seq = 0

    async def put(self, path: str, body: Any) -> Any:
        answer = await self.admin.put(P + path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def sync(self, *leases: LeaseState) -> Any:
        self.seq += 1
        answer = await self.worker.post(SYNC_PATH, content=msgspec.json.encode(Sync("slot", self.seq, leases)))
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    identity, clock = make_identity(database), FixedClock()
    for project in ("default", "elsewhere"):
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, project, project)
    store = SqlLimitStore(database)
    keeper = LeaseKeeper(store, clock)
    limits = Limits(store, clock, audit=identity.audit.record, changed=keeper.reload)
    app = make_app(identity, router(limits, keeper, partial(names_of_keys, identity)))

    def key(name: str, scope: str, project: str = "default") -> str:
        return identity.keys.create(ADMIN, project, name, [scope]).secret

    async with (
        caller(app, key("admin", "admin")) as admin,
        caller(app, key("viewer", "control")) as viewer,
        caller(app, INTERNAL_TOKEN) as worker,
    ):
        yield Api(admin, viewer, worker, identity, clock)


async def test_a_budget_is_set_spent_shown_and_removed(api: Api) -> None:
    made = await api.put("/budgets", BUDGET)
    assert (made["amount"], made["spent"], made["remaining"], made["hard"]) == ("12.5", "0", "12.5", True)
    assert await api.put("/budgets", BUDGET) == made
    reply = await api.sync(LeaseState(1, made["id"], "key_a", want=9 * UNIT, need=9 * UNIT, spent=0))
    assert reply["grants"][0]["granted"] == 9 * UNIT
    await api.sync(LeaseState(1, made["id"], "key_a", want=8 * UNIT, spent=7 * UNIT + 10**6, reserved=0, unknown=2))
    (shown,) = (await api.viewer.get(f"{P}/budgets")).json()["items"]
    assert (shown["instance"], shown["spent"], shown["held"]) == ("key_a", "7.000001", "0.999999")
    assert (shown["remaining"], shown["used_percent"], shown["unknown_calls"]) == ("5.499999", 56.0, 2)
    (detail,) = (await api.viewer.get(f"{P}/budgets/{made['id']}")).json()["items"]
    assert [point["spent"] for point in detail["series"]] == ["7.000001"]
    (alert,) = (await api.viewer.get(f"{P}/budget-alerts")).json()["items"]
    assert (alert["threshold"], alert["instance"], alert["spent"]) == (50, "key_a", "7.000001")
    assert [alert[what] for what in ("subject", "name", "currency")] == [made["subject"], "*", made["currency"]]
    assert (await api.admin.delete(f"{P}/budgets/{made['id']}")).status_code == 204
    assert (await api.viewer.get(f"{P}/budgets/{made['id']}")).status_code == 404


async def test_limits_are_listed_apart_from_budgets_page_by_page(api: Api) -> None:
    await api.put("/budgets", BUDGET)
    made = [
        await api.put("/limits", {"subject": "user", "measure": measure, "amount": 5})
        for measure in ("requests", "tokens", "concurrency")
    ]
    first = (await api.viewer.get(f"{P}/limits", params={"limit": 2})).json()
    rest = (await api.viewer.get(f"{P}/limits", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert rest["next_cursor"] is None
    assert [each["id"] for each in first["items"] + rest["items"]] == sorted(each["id"] for each in made)


async def test_limits_of_some_keys_are_asked_for_by_their_names(api: Api) -> None:
    for subject, name in (("key", "*"), ("key", "key_a"), ("key", "key_b"), ("team", "key_a")):
        await api.put("/limits", {"subject": subject, "name": name, "measure": "requests", "amount": 5})
    asked: dict[str, Any] = {"subject": "key", "name": ["*", "key_a"], "limit": 1}
    first = (await api.viewer.get(f"{P}/limits", params=asked)).json()
    rest = (await api.viewer.get(f"{P}/limits", params={**asked, "cursor": first["next_cursor"]})).json()
    found = first["items"] + rest["items"]
    assert sorted((each["subject"], each["name"]) for each in found) == [("key", "*"), ("key", "key_a")]
    assert rest["next_cursor"] is None
    other = await api.viewer.get(f"{P}/limits", params={"cursor": first["next_cursor"]})
    assert (other.status_code, other.json()["code"]) == (400, "bad_cursor")


async def test_limits_are_found_by_whom_they_concern_and_by_what_they_count_and_sorted_by_the_server(api: Api) -> None:
    desk = api.identity.keys.create(ADMIN, "default", "Support Desk", ["data"]).key.id
    audit = api.identity.keys.create(ADMIN, "default", "audit", ["data"]).key.id
    rules = (("key", "*", "requests", 60), ("key", desk, "tokens", 900), ("key", audit, "tokens", 1000),
             ("team", "search", "requests", 7), ("project", "*", "concurrency", 3))  # fmt: skip
    for subject, name, measure, amount in rules:
        api.clock.advance(1)
        await api.put("/limits", {"subject": subject, "name": name, "measure": measure, "amount": amount})

    async def found(**asked: Any) -> list[int]:
        shown: list[int] = []
        while True:
            answer = await api.viewer.get(f"{P}/limits", params={**asked, "limit": 2})
            assert answer.status_code == 200, answer.text
            shown += [each["amount"] for each in answer.json()["items"]]
            if answer.json()["next_cursor"] is None:
                return shown
            asked["cursor"] = answer.json()["next_cursor"]

    assert await found(sort="whom") == [3, 7, 60, 1000, 900], "the project, teams, keys by their names"
    assert await found(sort="-whom") == [900, 1000, 60, 7, 3]
    assert await found(sort="amount") == [3, 7, 60, 900, 1000], "calls at once, requests, tokens"
    assert await found(sort="changed") == [60, 900, 1000, 7, 3]
    assert await found(sort="whom", q="DESK") == [900]
    assert await found(q=audit) == [1000]
    assert await found(sort="amount", q="tokens") == [900, 1000]
    assert await found(q="each key") == [60]
    assert await found(q="nobody") == []
    refused = await api.viewer.get(f"{P}/limits", params={"sort": "colour"})
    assert (refused.status_code, "amount" in refused.json()["hint"]) == (400, True)


async def test_a_page_of_limits_of_long_and_foreign_names_is_followed_by_the_next(api: Api) -> None:
    for number in range(3):
        await api.put(
            "/limits", {"subject": "user", "name": "🙂" * 250 + str(number), "measure": "tokens", "amount": 1}
        )
    asked: dict[str, Any] = {"sort": "whom", "limit": 1}
    seen = []
    for _ in range(3):
        page = (await api.viewer.get(f"{P}/limits", params=asked)).json()
        seen += [each["name"][-1] for each in page["items"]]
        asked["cursor"] = page["next_cursor"]
    assert (sorted(seen), asked["cursor"]) == (["0", "1", "2"], None)


@pytest.mark.parametrize("sort", ["used", "-used", "account", "-account"])
async def test_budgets_are_sorted_by_the_server_and_each_stands_on_one_page(api: Api, sort: str) -> None:
    made = await api.put("/budgets", BUDGET)
    spent = dict(enumerate((3, 1, 3, 4, 3, 2, 1)))
    await api.sync(*(LeaseState(n + 1, made["id"], f"key_{n}", want=9 * UNIT, need=9 * UNIT, spent=0) for n in spent))
    await api.sync(*(LeaseState(n + 1, made["id"], f"key_{n}", want=8 * UNIT, spent=spent[n] * UNIT) for n in spent))
    asked: dict[str, Any] = {"sort": sort, "limit": 2}
    page = (await api.viewer.get(f"{P}/budgets", params=asked)).json()
    shown, cursor = page["items"], page["next_cursor"]
    while page["next_cursor"] is not None:
        page = (await api.viewer.get(f"{P}/budgets", params={**asked, "cursor": page["next_cursor"]})).json()
        shown += page["items"]
    places = [(each["used_percent"] if "used" in sort else 0, each["instance"]) for each in shown]
    assert places == sorted(places, reverse=sort.startswith("-"))
    assert {instance for _, instance in places} == {f"key_{n}" for n in spent}
    turned = {**asked, "sort": "used" if sort != "used" else "-used", "cursor": cursor}
    other = await api.viewer.get(f"{P}/budgets", params=turned)
    assert (other.status_code, other.json()["code"]) == (400, "bad_cursor")
    assert (await api.viewer.get(f"{P}/budgets", params={"sort": "colour"})).status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/budgets", {**BUDGET, "amount": "1e9"}),
        ("/budgets", {**BUDGET, "amount": "-1"}),
        ("/budgets", {**BUDGET, "amount": "9999999999999999999"}),
        ("/budgets", {**BUDGET, "period": "minute"}),
        ("/budgets", {**BUDGET, "alert_at": [0]}),
        ("/budgets", {**BUDGET, "currency": "usd"}),
        ("/budgets", {**BUDGET, "subject": "project", "name": "default"}),
        ("/limits", {"subject": "nobody", "measure": "requests", "amount": 1}),
        ("/limits", {"subject": "key", "measure": "money", "amount": 1}),
        ("/limits", {"subject": "key", "measure": "tokens", "amount": -1}),
        ("/limits", {"subject": "key", "measure": "tokens", "amount": 10**16}),
        ("/limits", {"subject": "key", "measure": "tokens", "amount": 1, "name": ""}),
        ("/limits", {"subject": "key", "measure": "tokens", "amount": 1, "name": "a\x00b"}),
    ],
)
async def test_what_is_no_limit_is_refused_with_a_hint(api: Api, path: str, body: dict[str, Any]) -> None:
    answer = await api.admin.put(P + path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["hint"]


async def test_only_admins_set_limits_and_only_processes_ask_for_leases(api: Api) -> None:
    assert (await api.viewer.put(f"{P}/budgets", json=BUDGET)).status_code == 403
    assert (await api.admin.get("/api/v1/projects/elsewhere/budgets")).status_code == 404
    message = msgspec.json.encode(Sync("slot", 1))
    assert (await api.admin.post(SYNC_PATH, content=message)).status_code == 403
    assert (await api.worker.post(SYNC_PATH, content=b"[]")).status_code == 400
    assert (await api.worker.post(SYNC_PATH, content=b"x" * (5 * 1024 * 1024))).status_code == 413


async def test_keys_belong_to_teams_and_both_bound_what_may_be_called(api: Api) -> None:
    team = await api.put("/teams/search", {"title": "Search", "models": ["openai/*"], "labels": {"cost-centre": "42"}})
    assert (team["name"], team["models"]) == ("search", ["openai/*"])
    asked = {"name": "bot", "scopes": ["data"], "team": "search", "models": ["openai/gpt-4o*"], "labels": {"env": "x"}}
    made = await api.admin.post(f"{P}/keys", json=asked)
    assert made.status_code == 201, made.text
    key = made.json()["key"]
    assert (key["team"], key["models"], key["labels"]) == ("search", ["openai/gpt-4o*"], {"env": "x"})
    assert (await api.admin.delete(f"{P}/teams/search")).json()["code"] == "team_in_use"
    rotated = (await api.admin.post(f"{P}/keys/{key['id']}/rotate")).json()["key"]
    assert (rotated["id"], rotated["team"]) == (key["id"], "search")
    changed = await api.admin.patch(f"{P}/keys/{key['id']}", json={"team": "", "models": []})
    assert (changed.json()["team"], changed.json()["models"], changed.json()["labels"]) == ("", [], {"env": "x"})
    assert (await api.admin.delete(f"{P}/teams/search")).status_code == 204
    assert (await api.admin.post(f"{P}/keys", json=asked)).json()["code"] == "team_not_found"
    for wrong in ({"models": ["a b"]}, {"labels": {"A B": "x"}}, {"team": "No Team"}):
        assert (await api.admin.patch(f"{P}/keys/{key['id']}", json=wrong)).status_code in (400, 404)


async def test_gateways_learn_the_patterns_of_a_key_and_of_its_team(database: Database) -> None:
    identity = make_identity(database)
    identity.projects.create(ADMIN, "default", "Default")
    identity.teams.put(ADMIN, "default", "search", models=["openai/*"])
    identity.keys.create(ADMIN, "default", "bot", ["data"], team="search", models=["openai/gpt-4o*"])
    (grant,) = identity.key_entries()
    assert (grant.team, grant.models) == ("search", (("openai/gpt-4o*",), ("openai/*",)))
    identity.teams.put(ADMIN, "default", "search", models=[])
    assert identity.key_entries()[0].models == (("openai/gpt-4o*",),)


async def test_people_of_the_project_join_teams_and_leave_them(api: Api) -> None:
    await api.put("/teams/search", {})
    nobody = await api.admin.put(f"{P}/teams/search/members/ada@example.com")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "person_not_found")
    link = api.identity.people.create_link(ADMIN, email="ada@example.com", role="viewer", project="default")
    api.identity.people.sign_in(link.token)
    for _ in range(2):
        assert (await api.admin.put(f"{P}/teams/search/members/ada@example.com")).status_code == 200
    shown = (await api.viewer.get(f"{P}/teams/search/members")).json()["items"]
    assert [each["email"] for each in shown] == ["ada@example.com"]
    assert (await api.admin.delete(f"{P}/teams/search/members/ada@example.com")).status_code == 204
    assert (await api.admin.delete(f"{P}/teams/search/members/ada@example.com")).status_code == 404
