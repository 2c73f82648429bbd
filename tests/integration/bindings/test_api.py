"""The API and the commands of bindings, through the guard."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.bindings import document, make_bindings
from support.identity import ADMIN, ORIGIN, caller, make_app, make_identity
from support.routes import holes
from support.sync_app import SyncApp
from support.tetrads import wire
from tetrad.bindings.routes import router
from tetrad.kernel import Conflict
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli._app import run

P = "/api/v1/projects/default"
US = "providers:\n  llm: {provider: us}\n"
EU = "providers:\n  llm:\n    provider: eu\n    models: {gpt: gpt-eu}\n    max_concurrency: 4\n"


def made(database: Database) -> tuple[Any, Any, str]:
    identity = make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, project, project)
    app = make_app(identity, router(make_bindings(wire(database).registry)))
    return app, identity, identity.keys.create(ADMIN, "default", "ann", ["control"]).secret


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app, _, key = made(database)
    async with caller(app, key) as client:
        yield client


async def test_no_route_lets_in_whom_it_must_not(database: Database) -> None:
    app, identity, _ = made(database)
    assert await holes(app, identity) == []


async def test_a_binding_is_put_changed_and_rolled_back(http: httpx.AsyncClient) -> None:
    path = f"{P}/bindings/production"
    body = {"binding": document("us"), "reason": "first"}
    unsaid = await http.put(path, json=body)
    assert (unsaid.status_code, unsaid.json()["code"]) == (428, "precondition_required")
    first = await http.put(path, json=body, headers={"if-none-match": "*"})
    assert first.status_code == 200, first.text
    one = first.json()["binding"]
    assert (one["ref"], one["env"], one["app"], one["version"]) == ("bindings/production", "production", "", "1.0.0")
    assert (one["moved_by"], one["reason"], one["counts"]["providers"]) == ("ann", "first", 1)
    assert first.headers["etag"] == f'"{one["digest"]}"'
    stale = await http.put(path, json=body, headers={"if-none-match": "*"})
    assert (stale.status_code, stale.json()["code"]) == (409, "ref_moved")
    odd = await http.put(path, json=body, headers={"if-none-match": "x"})
    assert odd.status_code == 400
    changed = await http.put(path, json={"binding": document("eu")}, headers={"if-match": first.headers["etag"]})
    assert (changed.json()["moved"], changed.json()["binding"]["version"]) == (True, "1.1.0")
    same = await http.put(path, json={"binding": document("eu")}, headers={"if-match": changed.headers["etag"]})
    assert (same.status_code, same.json()["moved"]) == (200, False)
    shown = (await http.get(path)).json()
    assert shown["document"] == {"schema": "tetrad.binding/1", "providers": {"llm": {"provider": "eu"}}}
    diff = (await http.get(f"{P}/binding-diff?from=production@1.0.0&to=production")).json()
    assert diff["changes"][0]["text"] == "provider llm moved from provider us to provider eu"
    back = (await http.post(f"{path}/rollback", json={"reason": "slow"})).json()
    assert (back["to"], back["reason"]) == (one["digest"], "rollback: slow")
    empty = await http.post(f"{path}/rollback", json={})
    assert (empty.status_code, empty.json()["code"]) == (409, "nothing_to_roll_back")
    history = (await http.get(f"{path}/history?limit=2")).json()
    assert [each["version"] for each in history["items"]] == ["1.0.0", "1.1.0"]
    rest = (await http.get(f"{path}/history", params={"limit": 2, "cursor": history["next_cursor"]})).json()
    assert ([each["from"] for each in rest["items"]], rest["next_cursor"]) == ([None], None)


async def test_lists_come_in_pages_and_apps_have_their_own(http: httpx.AsyncClient) -> None:
    new = {"if-none-match": "*"}
    for env, app in (("production", ""), ("production", "bot"), ("staging", "")):
        answer = await http.put(
            f"{P}/bindings/{env}", params={"app": app}, json={"binding": document("us")}, headers=new
        )
        assert answer.status_code == 200, answer.text
    first = (await http.get(f"{P}/bindings?limit=2")).json()
    rest = (await http.get(f"{P}/bindings", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [(each["env"], each["app"]) for each in first["items"] + rest["items"]] == [
        ("production", ""), ("production", "bot"), ("staging", ""),
    ]  # fmt: skip
    path = f"{P}/bindings/production"
    assert (await http.get(path, params={"app": "bot"})).json()["app"] == "bot"
    assert (await http.get(path, params={"app": "cat"})).json()["app"] == ""
    own = await http.get(path, params={"app": "cat", "own": True})
    assert (own.status_code, own.json()["code"]) == (404, "binding_not_found")
    assert (await http.get(f"{path}/check", params={"app": "bot"})).json()["ok"] is True
    assert (await http.get(f"{P}/bindings?cursor=x")).status_code == 400
    assert (await http.get(f"{P}/bindings/none")).json()["code"] == "binding_not_found"
    assert (await http.get(f"{P}/bindings/NONE")).json()["code"] == "bad_name"


async def test_what_is_wrong_is_told_field_by_field(http: httpx.AsyncClient) -> None:
    bad = {"providers": {"llm": {"provider": "none"}}, "tools": {"t": {"url": "https://x.example", "secret": "GONE"}}}
    answer = await http.put(f"{P}/bindings/production", json={"binding": bad}, headers={"if-none-match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_binding")
    assert [each["loc"] for each in answer.json()["errors"]] == [
        ["providers", "llm", "provider"], ["tools", "t", "secret"],
    ]  # fmt: skip
    draft = (await http.post(f"{P}/binding-check", json={"binding": bad})).json()
    assert (draft["ok"], len(draft["problems"])) == (False, 2)
    odd = await http.post(f"{P}/binding-check", json={"binding": {"providers": 3}})
    assert odd.json()["errors"][0]["loc"] == ["providers"]
    assert (await http.get(f"{P}/bindings")).json()["items"] == []


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    app, _, key = made(database)
    monkeypatch.setattr(ApiClient, "from_environment", lambda: ApiClient(ORIGIN, key, transport=SyncApp(app)))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["binding", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_the_commands_do_what_the_api_does(command: Any, tmp_path: Path) -> None:
    us, eu = tmp_path / "us.yaml", tmp_path / "eu.yaml"
    us.write_text(US)
    eu.write_text(EU)
    assert "no bindings" in command("list")[2]
    code, out, err = command("put", str(us), "--env", "production", "-m", "go")
    assert (code, out.split(" (")[0]) == (0, "bindings/production@1.0.0"), err
    assert "was in force already" in command("put", str(us), "--env", "production")[1]
    assert command("put", str(eu), "--env", "production")[0] == 0
    assert command("put", str(eu), "--env", "production", "--expected", "absent")[0] == 1
    assert "production" in command("list")[1]
    shown = command("show")
    assert "provider: eu" in shown[1]
    (tmp_path / "again.yaml").write_text(shown[1])
    assert "was in force already" in command("put", str(tmp_path / "again.yaml"), "--env", "production")[1]
    told = command("diff", "production@1.0.0", "production")[1].splitlines()
    assert told[0] == "~ provider llm moved from provider us to provider eu"
    assert command("diff", "production", "production")[1] == "nothing changed\n"
    assert command("check")[1] == "bindings/production: every name resolves\n"
    assert "is back at 1.0.0" in command("rollback", "--env", "production", "-m", "slow")[1]
    assert "rollback: slow" in command("history")[1]
    assert command("put", str(eu), "--env", "production", "--app", "bot")[0] == 0
    assert json.loads(command("show", "--app", "bot", "--json")[1])["ref"] == "bindings/production/bot"
    assert [each["app"] for each in json.loads(command("list", "--json")[1])] == ["", "bot"]


def test_what_is_wrong_is_told_with_its_line(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("providers:\n  llm:\n    provider: us\n    secret: sk-proj-Ab12Cd34Ef56Gh78\n")
    code, _, err = command("put", str(file), "--env", "production")
    assert code == 1
    assert f"{file}:4: providers.llm.secret: this looks like a secret" in err
    assert "Ab12" not in err
    file.write_text("providers:\n  llm: {provider: none}\n")
    code, out, err = command("check", "--file", str(file))
    assert (code, "providers.llm.provider" in err, "not every name" in out) == (1, True, True)
    assert command("put", str(tmp_path / "gone.yaml"), "--env", "production")[0] == 2
    file.write_text("a: " + "b" * 70_000)
    assert "65,536" in command("put", str(file), "--env", "production")[2]
    assert command("show", "--env", "none")[0] == 1
