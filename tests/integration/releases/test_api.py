"""The API and the commands of apps, releases, refs, datasets, models and artifacts, through the guard."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from support.apps import FILES, YAML, write_app
from support.identity import ADMIN, caller, make_app, make_identity
from support.routes import holes
from support.sync_app import SyncApp
from support.tetrads import EXAMPLE, SYSTEM, Tetrads, wire
from tetrad.code.routes import router as code_router
from tetrad.datasets.routes import router as datasets_router
from tetrad.identity import Identity
from tetrad.kernel import Conflict
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.models.routes import router as models_router
from tetrad.processes.cli._app import run
from tetrad.registry.routes import router as registry_router
from tetrad.releases.routes import router as releases_router

P = "/api/v1/projects/default"


@dataclass
class Site:
    """A control plane with the tetrad's routes, and a client that may use them."""

    tetrads: Tetrads
    identity: Identity
    app: FastAPI
    http: httpx.AsyncClient
    key: str


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    tetrads, identity = wire(database), make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):  # the first project may be there from the start
            identity.projects.create(ADMIN, project, project)
    routers = (
        releases_router(tetrads.releases), registry_router(tetrads.registry), code_router(tetrads.code),
        datasets_router(tetrads.datasets), models_router(tetrads.models),
    )  # fmt: skip
    app = make_app(identity, *routers)
    key = identity.keys.create(ADMIN, "default", "ann", ["control"]).secret
    tetrads.add_model(tmp_path)
    async with caller(app, key) as http:
        yield Site(tetrads, identity, app, http, key)


def body(files: dict[str, str] = FILES, **more: Any) -> dict[str, Any]:
    sent = [{"path": path, "content": base64.b64encode(text.encode()).decode()} for path, text in files.items()]
    return {"files": sent, **more}


async def test_no_route_lets_in_whom_it_must_not(site: Site) -> None:
    assert await holes(site.app, site.identity) == []


async def test_files_that_were_sent_become_a_release_and_a_ref(site: Site) -> None:
    made = await site.http.post(f"{P}/releases", json=body(ref="production", expected="absent", reason="first"))
    assert made.status_code == 201, made.text
    digest = made.json()["digest"]
    again = await site.http.post(f"{P}/releases", json=body())
    assert (again.status_code, again.json()["digest"], again.json()["new"]) == (200, digest, False)
    app = (await site.http.get(f"{P}/apps/bot")).json()
    assert [(ref["name"], ref["digest"], ref["moved_by"]) for ref in app["refs"]] == [("production", digest, "ann")]
    move = app["history"][0]
    assert (move["from"], move["to"], move["by"], move["reason"], move["ref"]) == (
        None,
        digest,
        "ann",
        "first",
        "production",
    )
    listed = (await site.http.get(f"{P}/apps")).json()
    assert [each["name"] for each in listed["items"]] == ["bot"]
    releases = (await site.http.get(f"{P}/apps/bot/releases")).json()["items"]
    assert [(each["digest"], each["refs"], each["created_by"]) for each in releases] == [
        (digest, ["production"], "ann")
    ]


async def test_a_release_shows_all_its_parts(site: Site) -> None:
    digest = site.tetrads.releases.ensure_app("default", EXAMPLE, actor=SYSTEM).ref.digest
    shown = (await site.http.get(f"{P}/releases/{digest}")).json()
    assert shown["manifest"] == site.tetrads.registry.document("default", digest)
    assert (shown["app"], shown["refs"], shown["params"]["max_tokens"]) == ("assistant", ["production"], 160)
    (prompt,), (data,), (model,), (code,) = shown["prompt"], shown["data"], shown["model"], shown["code"]
    assert prompt["messages"][0]["role"] == "system"
    assert {variable["name"] for variable in prompt["variables"]} == {"product_name", "tone", "max_sentences"}
    assert (data["role"], data["rows"], len(data["preview"])) == ("fewshot", 6, 6)
    assert (model["name"], model["kind"], model["licence"]) == ("local/smollm2-135m", "weights", "Apache-2.0")
    assert "assistant.py" in {file["path"] for file in code["files"]}
    file = await site.http.get(f"{P}/code/{code['digest']}/files/assistant.py")
    assert file.content == (EXAMPLE / "assistant.py").read_bytes()
    assert (file.headers["content-type"], file.headers["content-disposition"]) == (
        "application/octet-stream",
        "attachment",
    )
    assert (await site.http.get(f"{P}/code/{code['digest']}/files/../../etc/passwd")).status_code == 404
    artifact = (await site.http.get(f"{P}/artifacts/{prompt['digest']}")).json()
    assert (artifact["kind"], artifact["document"]["schema"]) == ("prompt", "tetrad.prompt/1")
    content = await site.http.get(f"{P}/artifacts/{prompt['digest']}/content")
    assert json.loads(content.content) == artifact["document"]
    lineage = (await site.http.get(f"{P}/artifacts/{digest}/lineage")).json()
    assert lineage["activities"][0]["kind"] == "compose"


async def test_a_ref_moves_by_compare_and_swap_over_http(site: Site) -> None:
    one = (await site.http.post(f"{P}/releases", json=body())).json()["digest"]
    two = (await site.http.post(f"{P}/releases", json=body({**FILES, "bot.py": "2"}))).json()["digest"]
    path = f"{P}/apps/bot/refs/production"
    blind = await site.http.put(path, json={"digest": one})
    assert (blind.status_code, blind.json()["code"]) == (428, "precondition_required")
    made = await site.http.put(path, json={"digest": one}, headers={"if-none-match": "*"})
    assert (made.status_code, made.headers["etag"]) == (200, f'"{one}"')
    assert (await site.http.put(path, json={"digest": two}, headers={"if-none-match": "*"})).status_code == 409
    stale = await site.http.put(path, json={"digest": two}, headers={"if-match": f'"{two}"'})
    assert (stale.status_code, stale.json()["code"]) == (409, "ref_moved")
    etag = (await site.http.get(path)).headers["etag"]
    moved = await site.http.put(path, json={"digest": two, "reason": "better"}, headers={"if-match": etag})
    assert moved.json()["digest"] == two
    assert (await site.http.put(path, json={"digest": two}, headers={"if-match": "rubbish"})).json()[
        "code"
    ] == "bad_digest"
    history = (await site.http.get(f"{P}/apps/bot/history", params={"ref": "production", "limit": 1})).json()
    assert [move["to"] for move in history["items"]] == [two]
    rest = await site.http.get(
        f"{P}/apps/bot/history", params={"ref": "production", "limit": 1, "cursor": history["next_cursor"]}
    )
    assert [move["to"] for move in rest.json()["items"]] == [one]
    check = (await site.http.get(f"{P}/refs/log/check")).json()
    assert (check["sound"], check["entries"]) == (True, 2)
    at = history["items"][0]["at"]
    for wanted, places in {"ann": [2, 1], history["items"][0]["by_id"]: [2, 1], "bob": []}.items():
        moves = (await site.http.get(f"{P}/refs/log", params={"actor": wanted})).json()
        assert [move["sequence"] for move in moves["items"]] == places
    assert len((await site.http.get(f"{P}/refs/log", params={"since": at, "ref": "bot/"})).json()["items"]) == 2
    assert (await site.http.get(f"{P}/refs/log", params={"until": at})).json()["items"] == []


@pytest.mark.parametrize(
    ("sent", "status", "code", "says"),
    [
        ({"files": []}, 400, "invalid_input", ""),
        ({"files": [{"path": "tetrad.yaml", "content": "%%%"}]}, 400, "invalid_input", "no base64"),
        ({"files": [{"path": "../x", "content": ""}]}, 422, "bad_path", "inside its folder"),
        ({"files": [{"path": "a", "content": ""}] * 2}, 400, "invalid_input", "sent twice"),
        ({"files": [{"path": "a", "content": ""}]}, 422, "bad_code", "no tetrad.yaml"),
        (body({**FILES, "tetrad.yaml": "app: A"}), 422, "bad_declaration", "tetrad.yaml:1:6"),
        (body(ref="production"), 400, "invalid_input", "where the ref points"),
        (body(ref="production", expected="latest"), 400, "bad_digest", ""),
        (body(surprise=1), 400, "invalid_input", ""),
        (body(git={"commit": "HEAD", "tree": "x"}), 400, "invalid_input", ""),
    ],
)
async def test_what_cannot_be_composed_is_refused_with_a_reason(
    site: Site, sent: dict, status: int, code: str, says: str
) -> None:
    answer = await site.http.post(f"{P}/releases", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert says in answer.json()["detail"]
    assert (await site.http.get(f"{P}/apps")).json()["items"] == []


async def test_too_many_files_and_bytes_are_refused(site: Site) -> None:
    many = {f"f{n}": "" for n in range(5001)}
    assert (await site.http.post(f"{P}/releases", json=body({**FILES, **many}))).json()["code"] == "upload_too_large"
    big = {"a": "x" * (6 << 20), "b": "x" * (6 << 20)}
    answer = await site.http.post(f"{P}/releases", json=body({**FILES, **big}))
    assert answer.status_code == 413


async def test_datasets_are_imported_paged_and_told_apart(site: Site) -> None:
    path = f"{P}/datasets/cases"
    rows = [{"id": n, "q": f"q{n}"} for n in range(5)]
    for change in ({}, {"q": "other"}):
        data = "\n".join(json.dumps({**row, **(change if row["id"] == 3 else {})}) for row in rows)
        made = await site.http.post(f"{path}/versions", content=data, params={"key": "id", "reason": "why"})
        assert made.status_code == 201, made.text
    assert (made.json()["semver"], made.json()["rows"], made.json()["created_by"]) == ("1.1.0", 5, "ann")
    assert made.json()["json_schema"]["required"] == ["id", "q"]
    assert [each["semver"] for each in (await site.http.get(f"{path}/versions")).json()["items"]] == ["1.1.0", "1.0.0"]
    seen, cursor = [], None
    while True:
        params = {"limit": 2, "version": "1.0.0"} | ({"cursor": cursor} if cursor else {})
        page = (await site.http.get(f"{path}/rows", params=params)).json()
        seen += [row["value"]["q"] for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [row["q"] for row in rows]
    diff = (await site.http.get(f"{path}/diff", params={"from": "1.0.0", "to": "1.1.0"})).json()
    assert (diff["changed"], diff["added"], diff["items"][0]["key"]) == (1, 0, "3")
    field = diff["items"][0]["fields"][0]
    assert (field["path"], field["old"], field["new"], field["in_old"]) == ("/q", "q3", "other", True)
    bad = await site.http.post(f"{path}/versions", content='{"id": 1}\nx\n', params={"key": "id"})
    assert (bad.status_code, bad.json()["code"]) == (422, "bad_rows")
    assert "line 2" in bad.json()["detail"]
    assert (await site.http.get(f"{P}/datasets/none")).json()["code"] == "dataset_not_found"
    assert [each["name"] for each in (await site.http.get(f"{P}/datasets")).json()["items"]] == ["cases"]


async def test_models_and_prices_over_http(site: Site) -> None:
    hosted = {"name": "openai/mini", "provider": "openai", "model": "gpt-4o-mini", "snapshot": "2024-07-18"}
    made = await site.http.post(f"{P}/models", json=hosted)
    assert (made.status_code, made.json()["price"]["input"], made.json()["immutable"]) == (201, "0.15", False)
    listed = (await site.http.get(f"{P}/models")).json()["items"]
    assert [(each["name"], each["price"]["source"]) for each in listed] == [
        ("local/smollm2-135m", "local"), ("openai/mini", "genai-prices"),
    ]  # fmt: skip
    assert (await site.http.get(f"{P}/models/local/smollm2-135m")).json()["size_bytes"] == len(b"weights")
    assert (await site.http.get(f"{P}/models/none")).json()["code"] == "model_not_found"
    mine = {"model": "openai/mini", "input": "1", "output": "2"}
    refused = await site.http.post(f"{P}/model-prices", json=mine)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing"), "budgets are counted by prices"
    key = site.identity.keys.create(ADMIN, "default", "boss", ["control", "admin"]).secret
    async with caller(site.app, key) as boss:
        await prices_over_http(site, boss, mine)


async def prices_over_http(site: Site, boss: httpx.AsyncClient, mine: dict[str, str]) -> None:
    price = await boss.post(f"{P}/model-prices", json=mine)
    assert price.status_code == 201
    assert (await site.http.delete(f"{P}/model-prices/{price.json()['id']}")).status_code == 403
    assert (await site.http.get(f"{P}/models/openai/mini")).json()["price"]["source"] == "manual"
    bad = await boss.post(f"{P}/model-prices", json={"model": "openai/mini", "input": "-1", "output": "2"})
    assert bad.json()["code"] == "bad_price"
    for wrong in ({"units": {"pixel": "1"}}, {"units": {"image": "1E999999999"}}, {"batch": "50"}):
        bad = await boss.post(f"{P}/model-prices", json={"model": "m", "input": "1", "output": "2", **wrong})
        assert (bad.status_code, bad.json()["code"]) == (422, "bad_price")
    units = {"image": "0.04", "audio_input": "40"}
    made = await boss.post(f"{P}/model-prices", json={"model": "m", "input": "0", "output": "0", "units": units})
    assert made.json()["price"]["units"] == units
    assert (await site.http.get(f"{P}/model-prices?model=m")).json()["items"] == [made.json()]
    assert (await boss.delete(f"{P}/model-prices/{price.json()['id']}")).status_code == 204
    sheet = {"model": "m", "input": "3", "output": "4", "source": "price-sheet"}
    imported = await boss.post(f"{P}/model-prices", json=sheet)
    assert (imported.status_code, imported.json()["price"]["source"]) == (201, "price-sheet")
    for source, status in (("local", 422), ("genai-prices", 422), ("Price Sheet", 400), ("", 400), ("x" * 41, 400)):
        assert (await boss.post(f"{P}/model-prices", json={**sheet, "source": source})).status_code == status, source


async def test_a_digest_opens_nothing_in_another_project(site: Site) -> None:
    digest = (await site.http.post(f"{P}/releases", json=body())).json()["digest"]
    manifest = site.tetrads.registry.document("default", digest)
    key = site.identity.keys.create(ADMIN, "other", "eve", ["control"]).secret
    other = "/api/v1/projects/other"
    async with caller(site.app, key) as eve:
        for path in (
            f"releases/{digest}", f"artifacts/{digest}", f"artifacts/{digest}/content", f"artifacts/{digest}/lineage",
            f"code/{manifest['code']['digest']}", f"artifacts/{manifest['model'][0]['digest']}/content", "apps/bot",
            f"artifacts/{manifest['prompt'][0]['digest']}", "datasets/bot-shots", "datasets/bot-shots/rows",
        ):  # fmt: skip
            assert (await eve.get(f"{other}/{path}")).status_code == 404, path
            assert (await eve.get(f"{P}/{path}")).status_code == 404, path
        assert (await eve.get(f"{other}/refs")).json()["items"] == []


async def test_a_price_is_seen_and_taken_away_in_its_own_project_only(site: Site) -> None:
    boss = site.identity.keys.create(ADMIN, "default", "boss", ["control", "admin"]).secret
    async with caller(site.app, boss) as owner:
        made = await owner.post(f"{P}/model-prices", json={"model": "m", "input": "1", "output": "2"})
    price, other = made.json()["id"], "/api/v1/projects/other"
    key = site.identity.keys.create(ADMIN, "other", "mallory", ["control", "admin"]).secret
    async with caller(site.app, key) as mallory:
        (shared,) = (await mallory.get(f"{other}/model-prices")).json()["items"]
        assert shared["everywhere"], "what holds in every project is seen in each"
        for project in (other, P):
            for taken in (price, shared["id"]):
                assert (await mallory.delete(f"{project}/model-prices/{taken}")).status_code == 404
        cheap = {"model": "m", "input": "0", "output": "0"}
        assert (await mallory.post(f"{P}/model-prices", json=cheap)).status_code == 404
        assert (await mallory.post(f"{other}/model-prices", json=cheap)).status_code == 201
    assert (await site.http.get(f"{P}/model-prices?model=m")).json()["items"] == [made.json()]


# -- commands


@pytest.fixture
def command(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    tetrads, identity = wire(database), make_identity(database)
    with contextlib.suppress(Conflict):  # the first project may be there from the start
        identity.projects.create(ADMIN, "default", "default")
    routers = (
        releases_router(tetrads.releases), registry_router(tetrads.registry), datasets_router(tetrads.datasets),
        models_router(tetrads.models),
    )  # fmt: skip
    app = make_app(identity, *routers)
    tetrads.add_model(tmp_path)
    key = identity.keys.create(ADMIN, "default", "ann", ["control"]).secret
    made = lambda *_: ApiClient("http://127.0.0.1:8401", key, transport=SyncApp(app))  # noqa: E731
    monkeypatch.setattr(ApiClient, "from_environment", made)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_an_app_is_composed_shown_and_rolled_back_from_the_command_line(command: Any, tmp_path: Path) -> None:
    folder = write_app(tmp_path / "app")
    code, out, err = command("release", "compose", str(folder), "--ref", "production", "-m", "first", "--no-git")
    assert (code, err) == (0, "a new release\nbot/production → " + out[7:19] + "\n")
    one = out.strip()
    (folder / "bot.py").write_text("2")
    code, out, _ = command("release", "compose", str(folder), "--ref", "production", "--no-git", "--json")
    two = json.loads(out)["digest"]
    assert (code, json.loads(out)["ref"]["digest"]) == (0, two)
    assert two != one
    code, out, _ = command("app", "list", "--json")
    assert json.loads(out)[0]["refs"][0]["digest"] == two
    code, out, _ = command("ref", "move", "bot/production", one[7:20], "-m", "rolled back")
    assert (code, out) == (0, f"bot/production → {one[7:19]}\n")
    code, out, _ = command("ref", "log", "bot/production", "--json")
    assert [entry["reason"] for entry in json.loads(out)] == ["rolled back", "", "first"]
    code, out, _ = command("ref", "log", "--check")
    assert out.startswith("sound: 3 moves")
    code, out, _ = command("release", "show", "bot/production")
    assert out.startswith(one)
    assert "bot-system" in out
    for arguments in (("app", "show", "bot"), ("release", "list", "bot"), ("ref", "list"), ("app", "list")):
        code, out, _ = command(*arguments)
        assert (code, one[7:19] in out) == (0, True), arguments
    code, out, _ = command("model", "list")
    assert "local/smollm2-135m" in out
    code, out, _ = command("model", "show", "local/smollm2-135m", "--json")
    assert json.loads(out)["price"]["source"] == "local"
    code, out, _ = command("dataset", "show", "bot-shots")
    assert "bot-shots@1.0.0: 1 rows" in out


def test_commands_say_what_is_wrong_and_end_with_an_error(command: Any, tmp_path: Path) -> None:
    broken = write_app(tmp_path / "broken", tetrad_DOT_yaml=YAML.replace("app: bot", "app: Bot"))
    code, _, err = command("release", "compose", str(broken))
    assert code != 0
    assert "tetrad.yaml:1:6" in err
    for arguments, says in (
        (("release", "compose", str(tmp_path)), "has no tetrad.yaml"),
        (("release", "compose", str(tmp_path / "none")), "is no folder"),
        (("app", "show", "none"), "has no app 'none'"),
        (("ref", "move", "bot", "x"), "is no ref"),
        (("dataset", "import", "d", str(tmp_path / "none")), "cannot be read"),
        (("release", "show", "xyz"), "is no digest"),
    ):
        code, _, err = command(*arguments)
        assert code != 0, arguments
        assert says in err, (arguments, err)
        assert "hint:" in err


def test_a_dataset_is_imported_and_told_apart_from_the_command_line(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 1, "q": "a"}\n{"id": 2, "q": "b"}\n')
    assert command("dataset", "import", "d", str(file), "--key", "id")[1].startswith("d@1.0.0: 2 rows")
    file.write_text('{"id": 1, "q": "a"}\n{"id": 2, "q": "c"}\n')
    command("dataset", "import", "d", str(file), "--key", "id")
    code, out, _ = command("dataset", "diff", "d", "1.0.0", "1.1.0")
    assert (code, out) == (0, '0 added, 0 removed, 1 changed, 0 moved\n~ 2\n    /q: "b" → "c"\n')
    assert "1.1.0" in command("dataset", "versions", "d")[1]
    assert "d" in command("dataset", "list")[1]
    file.write_text("{")
    code, _, err = command("dataset", "import", "d", str(file))
    assert (code != 0, "line 1" in err) == (True, True)
