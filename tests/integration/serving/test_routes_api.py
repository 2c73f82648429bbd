"""The API and the commands of routes, through the guard."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.identity import ADMIN, INTERNAL_TOKEN, ORIGIN, caller, make_app, make_identity
from support.routes import holes
from support.sync_app import SyncApp
from tetrad.kernel import Conflict, FixedClock
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli._app import run
from tetrad.serving import ProviderDirectory, ProviderProbe
from tetrad.serving._route_api import gateway_health_router, route_router
from tetrad.serving._route_directory import RouteDirectory, RouteHealth
from tetrad.serving._store import SqlProviderStore, SqlRouteStore
from tetrad.serving.routes import provider_router

P = "/api/v1/projects/default/routes"
TOLD = {
    "targets": [
        {
            "route": "default/smart", "model": "acme/big", "state": "open", "in_flight": 1, "cooling": False,
            "first_token_s": None, "counts": {"timeout": 4},
        }
    ],
    "keys": {"acme": {"ready": 1, "cooling": 0, "retired": 1}},
}  # fmt: skip


def made(database: Database) -> tuple[Any, Any, str]:
    identity = make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, project, project)
    health = RouteHealth(FixedClock())
    routes = RouteDirectory(SqlRouteStore(database, FixedClock()))
    providers = ProviderDirectory(SqlProviderStore(database, FixedClock()))
    app = make_app(
        identity,
        route_router(routes, health),
        gateway_health_router(health, providers, identity.keys.note_use),
        provider_router(providers, ProviderProbe(identity.secrets.reveal, FixedClock())),
    )
    return app, identity, identity.keys.create(ADMIN, "default", "ann", ["control", "admin"]).secret


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app, _, key = made(database)
    async with caller(app, key) as client:
        yield client


async def test_no_route_lets_in_whom_it_must_not(database: Database) -> None:
    app, identity, _ = made(database)
    assert await holes(app, identity) == []


async def test_a_route_is_put_read_changed_and_removed(http: httpx.AsyncClient) -> None:
    body = {
        "targets": [{"model": "acme/big", "when": {"regions": ["eu"]}}],
        "strategy": "latency",
        "aliases": ["gpt-9"],
    }
    made = await http.put(f"{P}/smart", json=body)
    assert made.status_code == 200, made.text
    assert made.json()["targets"][0]["when"]["regions"] == ["eu"]
    assert (await http.get(f"{P}/smart")).json() == made.json() == (await http.get(P)).json()["items"][0]
    again = {name: value for name, value in made.json().items() if name != "name"}
    assert (await http.put(f"{P}/smart", json=again)).json() == made.json()
    assert (await http.put(f"{P}/other", json={**body, "aliases": ["smart"]})).status_code == 409
    assert (await http.delete(f"{P}/smart")).status_code == 204
    assert (await http.delete(f"{P}/smart")).json()["code"] == "route_not_found"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"targets": []},
        {"targets": [{"model": "a"}], "strategy": "luck"},
        {"targets": [{"model": "a"}], "surprise": 1},
        {"targets": [{"model": "a", "weight": -1}]},
        {"targets": [{"model": "a"}] * 33},
        {"targets": [{"model": "a"}], "deadlines": {"total_s": "soon"}},
    ],
)
async def test_what_cannot_be_a_route_is_refused(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await http.put(f"{P}/smart", json=body)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_console_sees_what_gateways_tell(database: Database) -> None:
    app, _, key = made(database)
    async with caller(app, INTERNAL_TOKEN) as gateway, caller(app, key) as person:
        sent = await gateway.put("/internal/v1/gateways/host-0/health", json=TOLD)
        assert sent.status_code == 204, sent.text
        assert (await gateway.put("/internal/v1/gateways/host-1/health", json={"targets": [{}]})).status_code == 400
        (found,) = (await person.get(f"{P}/health")).json()["items"]
        path = "/api/v1/projects/default/providers/acme"
        assert (await person.get(f"{path}/health")).json()["code"] == "provider_not_found"
        body = {"base_url": "https://acme.example/v1", "models": [{"name": "big"}], "secret": "a", "secrets": ["b"]}
        assert (await person.put(path, json=body)).json()["secrets"] == ["b"]
        health = (await person.get(f"{path}/health")).json()
        assert (health["keys_ready"], health["keys_retired"], health["limit"]) == (1, 1, 0)
    assert (found["route"], found["open"], found["workers"], found["outcomes"]) == ("smart", 1, 1, {"timeout": 4})


async def test_the_console_sees_how_the_server_of_shared_answers_does(database: Database) -> None:
    app, identity, _ = made(database)
    key = identity.keys.create(ADMIN, None, "all", ["control", "admin"]).secret
    path = "/api/v1/projects/default/cache-server"
    up = {"state": "up", "counts": {"found": 3, "absent": 1, "stored": 2}}
    full = {"state": "read_only", "why": "OOM command not allowed", "counts": {"found": 1, "failed": 1, "dropped": 4}}
    async with caller(app, INTERNAL_TOKEN) as gateway, caller(app, key) as person:
        assert (await person.get(path)).json()["state"] == "none"

        async def tell(worker: str, answers: object) -> int:
            sent = await gateway.put(f"/internal/v1/gateways/{worker}/health", json={**TOLD, "answers": answers})
            return sent.status_code

        assert [await tell("host-0", up), await tell("host-1", full), await tell("host-2", None)] == [204] * 3
        assert (await person.get(path)).json() == {
            "workers": 2, "state": "read_only", "why": "OOM command not allowed", "found": 4, "absent": 1, "passed": 0,
            "stored": 2, "dropped": 4, "failed": 1, "broken": 0,
        }  # fmt: skip
        assert await tell("host-1", {"state": "asleep"}) == 400
        assert await tell("host-1", {"counts": {str(number): 1 for number in range(101)}}) == 413
        assert (await gateway.get(path)).status_code in (401, 403)
        assert (await person.get("/api/v1/projects/nowhere/cache-server")).status_code == 404


async def test_what_the_server_of_shared_answers_said_and_did_for_others_is_for_admins_of_the_installation(
    database: Database,
) -> None:
    app, identity, key = made(database)
    path = "/api/v1/projects/default/cache-server"
    down = {"state": "down", "why": "10.1.2.3:6379 does not answer", "counts": {"found": 3}}
    many = ("found", "absent", "passed", "stored", "dropped", "failed", "broken")
    general = {"workers": 1, "state": "down", "why": "it does not answer", **dict.fromkeys(many)}

    async def told(**shown: str) -> Any:
        async with caller(app) as http:
            return (await http.get(path, headers=shown)).json()

    def person(email: str, *roles: tuple[str, str | None]) -> dict[str, str]:
        for role, project in roles:
            link = identity.people.create_link(ADMIN, email=email, name="Ada", role=role, project=project)
            token = identity.people.sign_in(link.token).token
        return {"cookie": f"{identity.policy.cookie_name}={token}"}

    async with caller(app, INTERNAL_TOKEN) as gateway:
        assert (await gateway.put("/internal/v1/gateways/w/health", json={**TOLD, "answers": down})).status_code == 204
    all_admin = identity.keys.create(ADMIN, None, "root", ["admin"]).secret
    assert await told(authorization=f"Bearer {key}") == general, "an admin of one project"
    assert await told(**person("a@example.com", ("viewer", "default"))) == general
    assert await told(**person("b@example.com", ("viewer", None), ("admin", "default"))) == general, "not of all"
    for whole in (
        await told(authorization=f"Bearer {all_admin}"),
        await told(**person("c@example.com", ("admin", None), ("viewer", "default"))),
    ):
        assert (whole["why"], whole["found"], whole["absent"]) == ("10.1.2.3:6379 does not answer", 3, 0)


async def through(http: httpx.AsyncClient, path: str, **asked: Any) -> list[str]:
    """Go through a list two at a time; return the names."""
    names: list[str] = []
    page = (await http.get(path, params={"limit": 2, **asked})).json()
    while True:
        names += [each.get("name") or each["app"] for each in page["items"]]
        if page["next_cursor"] is None:
            return names
        page = (await http.get(path, params={"limit": 2, **asked, "cursor": page["next_cursor"]})).json()


async def test_routes_and_providers_are_sorted_found_and_paged(http: httpx.AsyncClient) -> None:
    for number, name in enumerate(("delta", "alpha", "charlie", "bravo", "echo")):
        targets = [{"model": f"acme/{name}-{at}"} for at in range(number % 3 + 1)]
        assert (
            await http.put(f"{P}/{name}", json={"targets": targets, "aliases": [f"also-{name}"]})
        ).status_code == 200
        body = {"base_url": f"https://{name}.example/v1", "models": [{"name": f"m{at}"} for at in range(number + 1)]}
        assert (await http.put(f"/api/v1/projects/default/providers/p-{name}", json=body)).status_code == 200
    assert await through(http, P) == ["alpha", "bravo", "charlie", "delta", "echo"]
    assert await through(http, P, sort="-targets") == ["charlie", "echo", "alpha", "delta", "bravo"]
    assert await through(http, P, q="ALSO-c") == ["charlie"]
    assert await through(http, P, q="delta-0") == ["delta"]
    providers = "/api/v1/projects/default/providers"
    assert await through(http, providers, sort="-models") == ["p-echo", "p-bravo", "p-charlie", "p-alpha", "p-delta"]
    assert await through(http, providers, q="bravo.example") == ["p-bravo"]
    first = (await http.get(providers, params={"limit": 2, "sort": "models"})).json()
    for other in ({"sort": "-models"}, {"sort": "models", "q": "a"}):
        refused = await http.get(providers, params={**other, "cursor": first["next_cursor"]})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")
    refused = await http.get(providers, params={"sort": "weight"})
    assert (refused.status_code, "adapter, models, name" in refused.json()["hint"]) == (400, True)


async def test_what_gateways_tell_of_keys_is_when_they_were_last_used(database: Database) -> None:
    app, identity, _ = made(database)
    key = identity.keys.create(ADMIN, "default", "bot", ["data"]).key.id

    def last_used() -> datetime | None:
        return next(each.last_used_at for each in identity.keys.list("default", limit=50) if each.id == key)

    path, now_ns = "/internal/v1/gateways/host-0/health", time.time_ns()
    async with caller(app, INTERNAL_TOKEN) as gateway:

        async def tell(**uses: int) -> int:
            return (await gateway.put(path, json={**TOLD, "uses": uses})).status_code

        assert last_used() is None
        assert await tell(**{key: now_ns - 10**9, "key_of_nobody": now_ns}) == 204
        seen = last_used()
        assert seen is not None
        assert abs(seen.timestamp() - (now_ns / 1e9 - 1)) < 0.01
        assert await tell(**{key: now_ns - 10**12}) == 204
        assert last_used() == seen, "an older use, told late, takes nothing back"
        assert await tell(**{key: 2**62}) == 204
        ahead = last_used()
        assert ahead is not None
        assert seen < ahead <= datetime.now(UTC), "a clock that runs ahead does not tell the future"
        assert await tell(**{key: -1}) == 204
        assert await tell(**{f"k{number}": now_ns for number in range(1_001)}) == 413
        assert (await gateway.put(path, json={"uses": {key: "now"}})).status_code == 400
        assert last_used() == ahead


@pytest.fixture
def tetrad(database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command as a person would; return its status and what it printed."""
    app, _, key = made(database)
    monkeypatch.setattr(ApiClient, "from_environment", lambda: ApiClient(ORIGIN, key, transport=SyncApp(app)))

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_the_commands_set_show_list_and_remove(tetrad: Any, tmp_path: Path) -> None:
    status, out, err = tetrad(
        "route", "set", "smart", "-t", "local/m", "-t", "acme/big=3", "--strategy", "weighted", "--alias", "gpt-9",
        "--fallback", "context_window=acme/long", "--timeout", "30", "--hedge", "--json",
    )  # fmt: skip
    assert status == 0, err
    (route,) = json.loads(out)
    assert [target["weight"] for target in route["targets"]] == [1, 3]
    assert route["fallbacks"]["context_window"][0]["model"] == "acme/long"
    assert (route["deadlines"]["total_s"], route["hedge"]["enabled"]) == (30, True)
    shown = tetrad("route", "show", "smart")[1]
    file = tmp_path / "route.yaml"
    file.write_text(shown)
    assert tetrad("route", "set", "copy", "--file", str(file))[0] == 1, "its alias is taken"
    file.write_text(shown.replace("gpt-9", "gpt-10"))
    assert tetrad("route", "set", "copy", "--file", str(file))[0] == 0
    assert "acme/big=3" in tetrad("route", "list")[1]
    assert [each["name"] for each in json.loads(tetrad("route", "list", "--sort", "-name", "--json")[1])] == [
        "smart", "copy",
    ]  # fmt: skip
    assert [each["name"] for each in json.loads(tetrad("route", "list", "--find", "gpt-9", "--json")[1])] == ["smart"]
    assert tetrad("route", "list", "--sort", "luck")[0] == 2
    given = ["--base-url", "https://acme.example/v1", "-m", "big", "--secret", "a", "--secret", "b"]
    assert tetrad("provider", "set", "acme", *given, "--max-concurrency", "5")[0] == 0
    assert "a, b" in tetrad("provider", "list")[1]
    assert "no limit" in tetrad("provider", "health", "acme")[1]
    assert "no gateway has told" in tetrad("route", "health")[2]
    assert tetrad("route", "remove", "smart")[0] == 0
    assert tetrad("route", "remove", "smart")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-t", "a=heavy"], "no whole number"),
        (["-t", "a", "--fallback", "luck=b"], "no KIND=MODEL"),
        (["-t", "a", "--file", "x.yaml"], "--file says everything"),
        (["--file", "not/there.yaml"], "cannot be read"),
        ([], "0 targets"),
    ],
)
def test_a_command_that_cannot_be_says_why(tetrad: Any, arguments: list[str], told: str) -> None:
    status, _, err = tetrad("route", "set", "smart", *arguments)
    assert status == 2
    assert told in err
