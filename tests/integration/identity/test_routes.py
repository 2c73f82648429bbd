"""Identity's API on both databases: what it answers, and whom it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI

from support.identity import INTERNAL_TOKEN, ORIGIN, caller, make_app, make_identity
from support.routes import guarded_routes, holes
from tetrad.identity import Identity, read_secret_file
from tetrad.identity._store import api_keys
from tetrad.kernel import SystemClock
from tetrad.kit.db import Database
from tetrad.kit.http import encode_cursor, requires, unguarded_routes, walk_routes

BROWSER = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}


@pytest.fixture
def identity(database: Database, tmp_path: Path) -> Identity:
    made = make_identity(database, clock=SystemClock())
    made.first_start(tmp_path / "keys")
    return made


@pytest.fixture
def app(identity: Identity) -> FastAPI:
    internal = APIRouter()

    @internal.get("/internal/v1/ping", dependencies=[requires("internal")])
    def ping() -> str:
        return "pong"

    return make_app(identity, internal)


@pytest.fixture
def admin_key(identity: Identity, tmp_path: Path) -> str:
    return read_secret_file(tmp_path / "keys" / "admin.key") or ""


async def test_each_route_refuses_strangers_wrong_scopes_and_other_projects(
    app: FastAPI, identity: Identity, admin_key: str
) -> None:
    async with caller(app, admin_key) as http:
        assert (await http.post("/api/v1/projects", json={"name": "other"})).status_code == 201
    assert await holes(app, identity) == []


def test_each_route_states_a_scope_or_is_listed_as_public(app: FastAPI) -> None:
    assert unguarded_routes(app) == []
    stated = {(route.method, route.path): route.scope for route in walk_routes(app)}
    assert stated[("POST", "/api/v1/projects/{project}/keys")] == "admin"
    assert stated[("POST", "/api/v1/session")] is None
    assert len(list(guarded_routes(app))) > 20


async def test_a_key_lives_through_the_api(app: FastAPI, admin_key: str) -> None:
    keys = "/api/v1/projects/default/keys"
    async with caller(app, admin_key) as http:
        made = await http.post(keys, json={"name": "bot", "scopes": ["control"], "content": "off"})
        assert made.status_code == 201
        key, secret = made.json()["key"], made.json()["secret"]
        assert key["state"] == "active"
        assert key["ending"] == secret[-4:]
        async with caller(app, secret) as bot:
            assert (await bot.get("/api/v1/session")).json()["principal"] == {
                "id": key["id"],
                "name": "bot",
                "kind": "key",
            }
            assert (await bot.get(keys)).status_code == 403
            turned = (await http.post(f"{keys}/{key['id']}/rotate", json={"grace_s": 0})).json()
            assert turned["key"]["id"] == key["id"]
            assert (await bot.get("/api/v1/session")).status_code == 401
        async with caller(app, turned["secret"]) as bot:
            assert (await bot.get("/api/v1/session")).status_code == 200
            assert (await http.delete(f"{keys}/{key['id']}")).json()["state"] == "revoked"
            assert (await bot.get("/api/v1/session")).status_code == 401
        listed = (await http.get(keys)).json()["items"]
        assert [each["name"] for each in listed] == ["bot", "apps on this machine"]
        assert secret not in json.dumps(listed)


async def test_lists_go_on_where_the_page_before_ended(app: FastAPI, admin_key: str) -> None:
    async with caller(app, admin_key) as http:
        for number in range(5):
            await http.post("/api/v1/projects", json={"name": f"p{number}"})
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = (
                await http.get("/api/v1/projects", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
            ).json()
            names += [each["name"] for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert names == ["default", "p0", "p1", "p2", "p3", "p4"]
        audit = await http.get("/api/v1/projects/default/audit", params={"limit": 1})
        foreign = audit.json()["next_cursor"]
        for bad in (foreign, "nonsense", "x" * 900):
            refused = await http.get("/api/v1/projects", params={"cursor": bad})
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")


async def test_a_browser_signs_in_works_and_signs_out(app: FastAPI, admin_key: str) -> None:
    async with caller(app, admin_key) as http:
        link = (await http.post("/api/v1/sign-in-links")).json()
    token = link["url"].partition("/login#token=")[2]
    async with caller(app) as browser:
        entered = await browser.post("/api/v1/session", json={"token": token}, headers=BROWSER)
        assert entered.status_code == 200
        assert entered.json()["projects"][0]["name"] == "default"
        assert entered.json()["everywhere"] is True
        cookie = entered.headers["set-cookie"].lower()
        assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/", "max-age="))
        assert (await browser.get("/api/v1/session")).json()["principal"]["kind"] == "person"
        made = await browser.post("/api/v1/projects", json={"name": "web"}, headers=BROWSER)
        assert made.status_code == 201
        forged = await browser.post("/api/v1/projects", json={"name": "forged"})
        assert (forged.status_code, forged.json()["code"]) == (403, "cross_origin")
        assert (await browser.delete("/api/v1/session", headers=BROWSER)).status_code == 204
        assert (await browser.get("/api/v1/session")).status_code == 401
        again = await browser.post("/api/v1/session", json={"token": token}, headers=BROWSER)
        assert (again.status_code, again.json()["code"]) == (401, "link_used")


async def test_a_session_tells_what_somebody_may_do_in_each_of_their_projects(app: FastAPI, admin_key: str) -> None:
    """By what they may do outside of projects, the console took the admin of a project for somebody who only looks."""
    async with caller(app, admin_key) as http:
        for name in ("web", "mail"):
            assert (await http.post("/api/v1/projects", json={"name": name})).status_code == 201
        tokens = []
        for project, role in (("default", "viewer"), ("web", "editor"), ("mail", "admin")):
            asked = {"email": "ada@example.com", "role": role, "project": project}
            made = await http.post("/api/v1/sign-in-links", json=asked)
            tokens.append(made.json()["url"].partition("#token=")[2])
        mine = (await http.get("/api/v1/session")).json()
    assert {name: scopes for name, scopes, _ in told(mine)}["web"] == mine["scopes"], "a key is the same everywhere"
    async with caller(app) as browser:
        for token in tokens:
            entered = (await browser.post("/api/v1/session", json={"token": token}, headers=BROWSER)).json()
        assert told(entered) == [
            ("default", ["control"], True), ("mail", ["admin", "control", "review"], False),
            ("web", ["control", "review"], False),
        ]  # fmt: skip
        assert (entered["scopes"], entered["read_only"], entered["everywhere"]) == (["control"], True, False)
        assert told((await browser.get("/api/v1/session")).json()) == told(entered)
        for project, status in (("default", 403), ("web", 403), ("mail", 201)):
            made = await browser.post(
                f"/api/v1/projects/{project}/keys", json={"name": "k", "scopes": ["data"]}, headers=BROWSER
            )
            assert made.status_code == status, "what is told is what holds"


def told(session: dict[str, Any]) -> list[tuple[str, list[str], bool]]:
    return [(each["name"], each["scopes"], each["read_only"]) for each in session["projects"]]


async def test_a_viewer_reads_and_signs_out_and_changes_nothing(app: FastAPI, admin_key: str) -> None:
    async with caller(app, admin_key) as http:
        asked = {"email": "ada@example.com", "role": "viewer", "project": "default"}
        token = (await http.post("/api/v1/sign-in-links", json=asked)).json()["url"].partition("#token=")[2]
        await http.post("/api/v1/projects", json={"name": "other"})
    async with caller(app) as browser:
        seen = (await browser.post("/api/v1/session", json={"token": token}, headers=BROWSER)).json()
        assert (seen["read_only"], [each["name"] for each in seen["projects"]]) == (True, ["default"])
        assert seen["everywhere"] is False
        assert (await browser.get("/api/v1/projects/default/secrets")).status_code == 200
        assert (await browser.get("/api/v1/projects/other/secrets")).status_code == 404
        refused = await browser.put("/api/v1/projects/default/secrets/A", json={"value": "x"}, headers=BROWSER)
        assert refused.status_code == 403
        assert (await browser.delete("/api/v1/session", headers=BROWSER)).status_code == 204


async def test_values_of_secrets_never_come_back(app: FastAPI, admin_key: str) -> None:
    path, value = "/api/v1/projects/default/secrets/OPENAI_API_KEY", "sk-very-secret"
    async with caller(app, admin_key) as http:
        answers = [
            await http.put(path, json={"value": value}),
            await http.get(path),
            await http.get("/api/v1/projects/default/secrets"),
            await http.get("/api/v1/projects/default/audit"),
            await http.put(path, json={"value": [value]}),
            await http.put(path, json={"value": value, "valu": value}),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 400, 400]
        assert all(value not in answer.text for answer in answers)
        assert (await http.delete(path)).status_code == 204
        assert (await http.get(path)).status_code == 404


async def test_the_audit_log_is_listed_and_verified(app: FastAPI, admin_key: str) -> None:
    async with caller(app, admin_key) as http:
        entries = (await http.get("/api/v1/projects/default/audit")).json()["items"]
        assert [entry["action"] for entry in entries] == ["key.created", "project.created"]
        assert entries[0]["previous"] == entries[1]["hash"]
        found = (await http.get("/api/v1/projects/default/audit/verification")).json()
        assert (found["intact"], found["entries"], found["head"]) == (True, 2, entries[0]["hash"])
        assert (await http.get("/api/v1/audit/verification")).json()["intact"]


async def test_the_audit_log_is_filtered_by_who_what_and_when(app: FastAPI, admin_key: str) -> None:
    async with caller(app, admin_key) as http:

        async def actions(**wanted: str) -> list[str]:
            answer = await http.get("/api/v1/projects/default/audit", params=wanted)
            assert answer.status_code == 200, answer.text
            return [entry["action"] for entry in answer.json()["items"]]

        entries = (await http.get("/api/v1/projects/default/audit")).json()["items"]
        assert await actions(action="key.") == ["key.created"]
        assert await actions(actor=entries[0]["actor"]) == ["key.created", "project.created"]
        assert await actions(actor="key_nobody") == []
        assert await actions(target="DEFAULT", action="project") == ["project.created"]
        assert await actions(target="%") == []
        assert await actions(since=entries[1]["at"], until=entries[0]["at"]) == ["project.created"]
        assert await actions(until="2000-01-01T00:00:00Z") == []
        naive = await http.get("/api/v1/projects/default/audit", params={"since": "2026-01-01T00:00:00"})
        assert naive.status_code in (400, 422)
        page = await http.get("/api/v1/projects/default/audit", params={"limit": 1})
        other = await http.get(
            "/api/v1/projects/default/audit", params={"cursor": page.json()["next_cursor"], "action": "key."}
        )
        assert other.json()["code"] == "bad_cursor"


async def test_our_own_processes_come_in_with_the_internal_token_and_only_there(app: FastAPI) -> None:
    async with caller(app, INTERNAL_TOKEN) as http:
        assert (await http.get("/internal/v1/ping")).json() == "pong"
        assert (await http.get("/api/v1/projects")).status_code == 403


async def test_keys_are_sorted_filtered_and_paged_by_the_server(app: FastAPI, admin_key: str) -> None:
    keys = "/api/v1/projects/default/keys"
    async with caller(app, admin_key) as http:
        for name in ("sorted b", "sorted a", "sorted c", "else"):
            assert (await http.post(keys, json={"name": name, "scopes": ["data"]})).status_code == 201
        asked, seen = {"q": "sorted", "sort": "-name", "state": "active", "limit": 2}, []
        page = (await http.get(keys, params=asked)).json()
        while True:
            seen += [key["name"] for key in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = page["next_cursor"]
            page = (await http.get(keys, params={**asked, "cursor": cursor})).json()
        assert seen == ["sorted c", "sorted b", "sorted a"]
        for other in ({"sort": "name"}, {"q": "sorte"}, {"state": "revoked"}):
            refused = await http.get(keys, params={**asked, **other, "cursor": cursor})
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor"), other
        forged = encode_cursor("keys default '' None last_used False", ["yesterday", "key_1"])
        refused = await http.get(keys, params={"sort": "last_used", "cursor": forged})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")
        assert (await http.get(keys, params={"sort": "secret"})).status_code == 400


async def test_keys_are_named_by_their_ids_of_this_project_only(app: FastAPI, admin_key: str) -> None:
    async with caller(app, admin_key) as http:
        assert (await http.post("/api/v1/projects", json={"name": "elsewhere"})).status_code in (201, 409)
        ids = {}
        for project, name in (("default", "mine"), ("default", "more"), ("elsewhere", "theirs")):
            made = await http.post(f"/api/v1/projects/{project}/keys", json={"name": name, "scopes": ["data"]})
            assert made.status_code == 201, made.text
            ids[name] = made.json()["key"]["id"]
        keys = "/api/v1/projects/default/keys"
        found = (await http.get(keys, params={"id": [*ids.values(), "key_nobody"], "sort": "name"})).json()
        assert [key["name"] for key in found["items"]] == ["mine", "more"]
        first = (await http.get(keys, params={"id": [ids["mine"], ids["more"]], "limit": 1})).json()
        elsewhere = await http.get(keys, params={"id": [ids["mine"]], "cursor": first["next_cursor"]})
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (400, "bad_cursor")
        for wrong in (["k"] * 101, ["k" * 65]):
            assert (await http.get(keys, params={"id": wrong})).status_code == 400


async def test_five_thousand_keys_are_paged_and_found(database: Database, app: FastAPI, admin_key: str) -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    with database.write() as connection:
        rows = [
            {
                "id": f"key_{n:032x}", "project": "default", "name": f"tenant {n:04d}", "scopes": ["data"],
                "content": "full", "read_only": False, "ending": f"{n:04d}", "created_at": made + timedelta(seconds=n),
                "created_by": "ann", "models": [], "labels": {},
            }
            for n in range(5000)
        ]  # fmt: skip
        connection.execute(sa.insert(api_keys), rows)
    keys = "/api/v1/projects/default/keys"
    async with caller(app, admin_key) as http:
        seen: list[str] = []
        asked: dict[str, Any] = {"q": "tenant", "sort": "name", "limit": 200}
        while True:
            page = (await http.get(keys, params=asked)).json()
            seen += [key["name"] for key in page["items"]]
            if page["next_cursor"] is None:
                break
            asked["cursor"] = page["next_cursor"]
        assert seen == [f"tenant {n:04d}" for n in range(5000)]
        for q in ("TENANT 0017", "0017", f"key_{17:032x}"):
            found = (await http.get(keys, params={"q": q})).json()["items"]
            assert [key["name"] for key in found] == ["tenant 0017"], q


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "", "scopes": ["data"]},
        {"name": "x" * 101, "scopes": ["data"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": ["data"], "content": "all"},
        {"name": "x", "scopes": ["data"], "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "x", "scopes": ["data"], "expires_at": "2030-01-01T00:00:00"},
        {"name": "x", "scopes": ["data"], "more": 1},
        {"name": "x\u0000", "scopes": ["data"]},
        [],
        "x",
    ],
)
async def test_bad_requests_for_keys_are_refused_as_problems(app: FastAPI, admin_key: str, body: Any) -> None:
    async with caller(app, admin_key) as http:
        answer = await http.post("/api/v1/projects/default/keys", json=body)
        assert answer.status_code == 400
        assert {"type", "title", "status", "detail", "code", "hint", "request_id"} <= set(answer.json())
        assert answer.json()["hint"]


def test_the_openapi_document_tells_scopes_and_the_shape_of_errors(app: FastAPI) -> None:
    document = app.openapi()
    operation = document["paths"]["/api/v1/projects/{project}/keys"]["post"]
    assert operation["security"] == [{"key": ["admin"]}]
    assert "security" not in document["paths"]["/api/v1/session"]["post"]
    assert "422" not in operation["responses"]
    assert "application/problem+json" in operation["responses"]["default"]["content"]
    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(ids) == len(set(ids))
