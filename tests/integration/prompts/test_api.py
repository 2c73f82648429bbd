"""The API and the commands of prompts, through the guard."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.identity import ADMIN, ORIGIN, caller, make_app, make_identity
from support.routes import holes
from support.sync_app import SyncApp
from support.tetrads import wire
from tetrad.kernel import Conflict
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli._app import run
from tetrad.prompts.routes import router

P = "/api/v1/projects/default/prompts"
HEAD = "---\nname: support-answer\ndescription: Answers.\nvariables: {q: string}\n---\n"
TEXT = HEAD + "# system\n\nBe kind.\n\n# user\n\n{{q}}\n"


def made(database: Database) -> tuple[Any, Any, str]:
    identity = make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, project, project)
    app = make_app(identity, router(wire(database, audit=identity.audit).prompts))
    return app, identity, identity.keys.create(ADMIN, "default", "ann", ["control"]).secret


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app, _, key = made(database)
    async with caller(app, key) as client:
        yield client


async def test_no_route_lets_in_whom_it_must_not(database: Database) -> None:
    app, identity, _ = made(database)
    assert await holes(app, identity) == []


async def test_an_editor_checks_commits_compares_and_renders(http: httpx.AsyncClient) -> None:
    path = f"{P}/support-answer"
    first = await http.post(f"{path}/versions", json={"text": TEXT, "reason": "new", "expected": ""})
    assert first.status_code == 201, first.text
    version = first.json()["prompt"]["version"]
    assert (version["semver"], version["created_by"], version["reason"]) == ("1.0.0", "ann", "new")
    again = await http.post(f"{path}/versions", json={"text": TEXT})
    assert (again.status_code, again.json()["new"]) == (200, False)
    edited = TEXT.replace("{q: string}", "{q: string, tone: string}").replace("kind", "{{tone}}")
    checked = (await http.post(f"{path}/check", json={"text": edited})).json()
    assert (checked["least"], checked["floor"]["level"]) == ("2.0.0", "major")
    assert checked["diff"]["messages"][0]["lines"] == [
        {"mark": "-", "text": "Be kind."}, {"mark": "+", "text": "Be {{tone}}."},
    ]  # fmt: skip
    preview = await http.post(f"{path}/render", json={"text": edited, "variables": {"q": "Why?", "tone": "brief"}})
    assert preview.json()["messages"][0] == {"role": "system", "content": "Be brief."}
    missing = await http.post(f"{path}/render", json={"text": edited, "variables": {"q": "Why?"}})
    assert (missing.status_code, missing.json()["code"]) == (400, "prompt_variables")
    assert "'tone'" in missing.json()["detail"]
    broken = await http.post(f"{path}/check", json={"text": TEXT.replace("{{q}}", "{{x}}")})
    assert broken.json()["detail"].startswith("support-answer.md:12: ")
    stale = await http.post(f"{path}/versions", json={"text": edited, "expected": ""})
    assert (stale.status_code, stale.json()["code"]) == (409, "prompt_moved")
    low = await http.post(f"{path}/versions", json={"text": edited, "semver": "1.0.1"})
    assert (low.status_code, low.json()["code"]) == (422, "version_too_low")
    done = await http.post(f"{path}/versions", json={"text": edited, "expected": version["digest"]})
    assert done.json()["prompt"]["version"]["semver"] == "2.0.0"
    listed = (await http.get(P)).json()["items"]
    assert [(each["version"]["name"], each["version"]["semver"]) for each in listed] == [("support-answer", "2.0.0")]
    versions = (await http.get(f"{path}/versions?limit=1")).json()
    assert (versions["items"][0]["semver"], bool(versions["next_cursor"])) == ("2.0.0", True)
    assert (await http.get(f"{path}?version=^1")).json()["text"] == (await http.get(f"{path}?version=1.0.0")).json()[
        "text"
    ]
    diff = (await http.get(f"{path}/diff?from=1.0.0")).json()
    assert {each["path"] for each in diff["fields"]} == {"variables.tone"}


async def test_labels_need_to_know_where_they_point(http: httpx.AsyncClient) -> None:
    path = f"{P}/support-answer"
    await http.post(f"{path}/versions", json={"text": TEXT})
    blind = await http.put(f"{path}/labels/live", json={"version": "1.0.0"})
    assert blind.status_code == 428
    made = await http.put(f"{path}/labels/live", json={"version": "1.0.0"}, headers={"if-none-match": "*"})
    assert made.json()["label"] == "live"
    assert (await http.get(f"{path}?label=live")).json()["version"]["semver"] == "1.0.0"
    assert (await http.get(f"{path}?label=nope")).status_code == 404
    assert (await http.get(f"{path}?label=live&version=1.0.0")).status_code == 400
    assert [each["label"] for each in (await http.get(f"{path}/labels")).json()["items"]] == ["live"]


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    app, _, key = made(database)
    monkeypatch.setattr(ApiClient, "from_environment", lambda: ApiClient(ORIGIN, key, transport=SyncApp(app)))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_the_commands_do_what_the_api_does(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "support-answer.md"
    file.write_text(TEXT)
    assert command("prompt", "commit", str(file), "-m", "new")[1].startswith("support-answer@1.0.0  ")
    file.write_text(TEXT.replace("kind", "brief"))
    assert "at least 1.0.1" in command("prompt", "commit", str(file), "--check")[1]
    command("prompt", "commit", str(file))
    assert "- Be kind.\n+ Be brief." in command("prompt", "diff", "support-answer", "1.0.0")[1]
    code, out, _ = command("prompt", "render", "support-answer", "--var", "q=Why?", "--version", "^1")
    assert (code, "# user\n\nWhy?" in out) == (0, True)
    code, _, err = command("prompt", "render", "support-answer")
    assert (code, "'q'" in err) == (2, True)
    assert "Be brief." in command("prompt", "show", "support-answer")[1]
    assert "1.0.0" in command("prompt", "versions", "support-answer")[1]
    assert "live" in command("prompt", "label", "support-answer", "live", "1.0.0")[1]
    assert "Be kind." in command("prompt", "show", "support-answer", "--label", "live")[1]
    assert json.loads(command("prompt", "list", "--json")[1])[0]["version"]["semver"] == "1.0.1"
    out = tmp_path / "out.prompty"
    assert command("prompt", "export", "support-answer", "--format", "prompty", "--to", str(out))[0] == 0
    assert command("prompt", "export", "support-answer", "--to", str(out))[0] == 2
    assert command("prompt", "import", str(out))[1].startswith("support-answer@1.0.1  ")


def test_a_folder_is_synced_by_command(command: Any, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(TEXT)
    assert command("prompt", "sync", str(tmp_path), "--dry-run")[1].startswith("push")
    assert command("prompt", "sync", str(tmp_path))[0] == 0
    assert command("prompt", "sync", str(tmp_path))[1] == "in step\n"
    other = tmp_path / "other"
    other.mkdir()
    command("prompt", "sync", str(other))
    (other / "support-answer.md").write_text(TEXT.replace("kind", "brief"))
    command("prompt", "sync", str(other))
    (tmp_path / "a.md").write_text(TEXT.replace("kind", "long"))
    code, out, err = command("prompt", "sync", str(tmp_path))
    assert (code, out.startswith("conflict")) == (1, True)
    assert "Be long.\n=======\nBe brief." in err
    assert (tmp_path / "a.md.conflict").exists()


async def test_the_list_is_searched_sorted_and_paged_both_ways(http: httpx.AsyncClient) -> None:
    for name in ("pears", "apples", "grapes"):
        text = TEXT.replace("support-answer", name)
        assert (await http.post(f"{P}/{name}/versions", json={"text": text})).status_code == 201

    async def names(**params: str | int) -> list[str]:
        listed: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await http.get(P, params={**params, "limit": 1, "cursor": cursor})).json()
            listed += [item["version"]["name"] for item in page["items"]]
            cursor = page["next_cursor"]
        return listed

    assert await names() == ["apples", "grapes", "pears"]
    assert await names(sort="-name") == ["pears", "grapes", "apples"]
    assert sorted(await names(sort="created")) == ["apples", "grapes", "pears"]
    assert await names(q="APP") == ["apples"]
    assert await names(q="%") == []
    refused = await http.get(P, params={"sort": "colour"})
    assert refused.status_code == 400
