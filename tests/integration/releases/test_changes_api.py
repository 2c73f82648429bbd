"""The API and the commands of derived releases, differences, locks, rollbacks and snapshots of code."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.apps import FILES, YAML
from support.identity import ADMIN, caller, make_app, make_identity
from support.tetrads import Tetrads, wire
from tetrad.code.routes import router as code_router
from tetrad.kernel import Conflict
from tetrad.kit.db import Database
from tetrad.releases.ports import CodeSighting
from tetrad.releases.routes import router as releases_router

P = "/api/v1/projects/default"


class Seen:
    """What callers announced, as a test says."""

    def __init__(self) -> None:
        self.trees: list[str] = []

    def announced(self, project: str, app: str, *, last_s: int) -> Sequence[CodeSighting]:
        assert (project, app, last_s) == ("default", "bot", 900)
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return [CodeSighting(tree, "key_1", "web", 3, at) for tree in self.trees]


@dataclass
class Site:
    tetrads: Tetrads
    http: httpx.AsyncClient
    seen: Seen

    async def compose(self, files: dict[str, str] = FILES, **more: Any) -> dict[str, Any]:
        sent = [{"path": path, "content": base64.b64encode(text.encode()).decode()} for path, text in files.items()]
        answer = await self.http.post(f"{P}/releases", json={"files": sent, **more})
        assert answer.is_success, answer.text
        return dict(answer.json())


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    tetrads, identity, seen = wire(database), make_identity(database), Seen()
    with contextlib.suppress(Conflict):  # the first project may be there from the start
        identity.projects.create(ADMIN, "default", "default")
    app = make_app(identity, releases_router(tetrads.releases, seen), code_router(tetrads.code))
    tetrads.add_model(tmp_path)
    async with caller(app, identity.keys.create(ADMIN, "default", "ann", ["control"]).secret) as http:
        yield Site(tetrads, http, seen)


async def test_a_derived_release_is_seen_before_it_is_made(site: Site) -> None:
    made = await site.compose(ref="production", expected="absent")
    wanted = {"from": "bot/production", "set": {"sampling.seed": 7}}
    seen = await site.http.post(f"{P}/releases/derive/preview", json=wanted)
    assert seen.status_code == 200, seen.text
    assert [change["path"] for change in seen.json()["diff"]["sampling"]] == ["/seed"]
    assert seen.json()["diff"]["old"]["digest"] == made["digest"]
    assert (await site.http.get(f"{P}/releases/{seen.json()['digest']}")).status_code == 404  # nothing was kept
    derived = await site.http.post(f"{P}/releases/derive", json=wanted)
    assert derived.json()["digest"] == seen.json()["digest"]
    same = (await site.http.post(f"{P}/releases/derive/preview", json={"from": made["digest"], "set": {}})).json()
    assert (same["digest"], same["diff"]["same"]) == (made["digest"], True)
    wrong = await site.http.post(
        f"{P}/releases/derive/preview", json={"from": made["digest"], "set": {"prompt.system": "bot-system@3.0.0"}}
    )
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_part")


async def test_a_derived_release_is_made_moved_to_told_apart_and_rolled_back(site: Site) -> None:
    first = await site.compose(ref="production", expected="absent")
    made = await site.http.post(
        f"{P}/releases/derive",
        json={"from": "bot/production", "set": {"sampling.temperature": 0.1}, "reason": "calmer", "ref": "production",
              "expected": first["digest"]},
    )  # fmt: skip
    assert made.status_code == 201, made.text
    assert made.json()["ref"]["digest"] == made.json()["digest"] != first["digest"]
    diff = (
        await site.http.get(f"{P}/release-diff", params={"from": "bot/production@1", "to": "bot/production"})
    ).json()
    assert diff["summary"] == ["sampling temperature: 0.5 → 0.1"]
    assert diff["sampling"] == [{"path": "/temperature", "change": "changed", "old": 0.5, "new": 0.1}]
    assert (diff["old"]["digest"], diff["same"], diff["code"]) == (first["digest"], False, None)
    done = await site.http.post(f"{P}/apps/bot/refs/production/rollback", json={"reason": "too calm"})
    assert done.status_code == 200, done.text
    assert (done.json()["to"], done.json()["ref"]["digest"]) == (first["digest"], first["digest"])
    assert done.headers["etag"] == f'"{first["digest"]}"'
    app = (await site.http.get(f"{P}/apps/bot")).json()
    assert (app["history"][0]["reason"], app["history"][0]["by"]) == ("rollback: too calm", "ann")
    again = await site.http.post(f"{P}/apps/bot/refs/production/rollback", json={})
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_roll_back")


async def test_refusals_say_what_is_wrong_and_what_is_there(site: Site) -> None:
    await site.compose(ref="production", expected="absent")
    wrong = await site.http.post(
        f"{P}/releases/derive", json={"from": "bot/production", "set": {"prompt.system": "bot-system@3.0.0"}}
    )
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_part")
    assert wrong.json()["hint"] == "versions of bot-system are 1.0.0"
    unsure = await site.http.post(f"{P}/releases/derive", json={"from": "bot/production", "set": {}, "ref": "x"})
    assert unsure.status_code == 400
    lost = await site.http.get(f"{P}/release-diff", params={"from": "bot/production@7", "to": "bot/production"})
    assert (lost.status_code, lost.json()["code"]) == (404, "ref_not_found")
    other = await site.compose({**FILES, "bot.py": "print('other')\n"})
    never = await site.http.post(f"{P}/apps/bot/refs/production/rollback", json={"to": other["digest"]})
    assert (never.status_code, never.json()["code"]) == (409, "never_had")
    moved = await site.http.post(f"{P}/apps/bot/refs/production/rollback", json={"expected": other["digest"]})
    assert moved.status_code == 409


async def test_a_lock_of_the_answer_holds_and_drift_is_refused_with_the_part(site: Site) -> None:
    made = await site.compose()
    assert (await site.compose(locked=made["lock"]))["new"] is False
    sent = [
        {"path": path, "content": base64.b64encode(text.encode()).decode()}
        for path, text in {**FILES, "tetrad.yaml": YAML.replace("0.5", "0.6")}.items()
    ]
    refused = await site.http.post(f"{P}/releases", json={"files": sent, "locked": made["lock"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "lock_drift")
    assert "sampling temperature: 0.5 is locked, 0.6 is there" in refused.json()["detail"]
    broken = await site.http.post(f"{P}/releases", json={"files": sent, "locked": {"schema": "x"}})
    assert (broken.status_code, broken.json()["code"]) == (422, "bad_lock")


async def test_dirty_code_is_named_wherever_its_release_shows(site: Site) -> None:
    clean = await site.compose(ref="production", expected="absent")
    git = {"commit": "a" * 40, "tree": "b" * 40, "dirty": True, "patch": base64.b64encode(b"diff").decode()}
    dirty = await site.compose({**FILES, "bot.py": "print('wip')\n"}, git=git)
    assert (clean["dirty"], dirty["dirty"]) == (False, True)
    assert any("not committed" in note for note in dirty["notes"])
    listed = (await site.http.get(f"{P}/apps/bot/releases")).json()["items"]
    assert {each["digest"]: each["dirty"] for each in listed} == {clean["digest"]: False, dirty["digest"]: True}
    shown = (await site.http.get(f"{P}/releases/{dirty['digest']}", params={"rows": 0})).json()
    assert (shown["dirty"], shown["code"][0]["dirty"]) == (True, True)
    diff = (await site.http.get(f"{P}/release-diff", params={"from": clean["digest"], "to": dirty["digest"]})).json()
    assert (diff["old"]["dirty"], diff["new"]["dirty"], diff["code"]["new"]["dirty"]) == (False, True, True)
    assert any("in no commit" in line for line in diff["summary"])
    derived = await site.http.post(f"{P}/releases/derive", json={"from": dirty["digest"], "set": {"sampling.seed": 1}})
    assert derived.json()["dirty"]
    assert any("not committed" in note for note in derived.json()["notes"])
    forced = await site.http.post(
        f"{P}/apps/bot/refs/production/rollback", json={"to": dirty["digest"], "force": True, "reason": "hot fix"}
    )
    assert (forced.json()["dirty"], forced.json()["forced"]) == (True, True)


async def test_callers_that_announce_other_code_are_told(site: Site) -> None:
    made = await site.compose(ref="production", expected="absent")
    tree = made["manifest"]["code"]["tree"]
    site.seen.trees = [tree, "sha256:" + "0" * 64]
    found = (await site.http.get(f"{P}/apps/bot/refs/production/code")).json()
    assert (found["tree"], [each["matches"] for each in found["announced"]]) == (tree, [True, False])


async def test_a_snapshot_of_code_keeps_files_commit_patch_lock_and_runtime(site: Site) -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    body = {
        "files": [
            {"path": "app.py", "content": encoded("print(1)\n"), "executable": True},
            {"path": "uv.lock", "content": encoded("version = 1\n")},
            {"path": "notes.txt", "content": encoded("no code")},
            {"path": ".tetradignore", "content": encoded("notes.txt\n")},
        ],
        "git": {"commit": "a" * 40, "tree": "b" * 40, "dirty": True, "patch": encoded("the patch")},
        "runtime": {"python": "3.11"},
    }
    made = await site.http.post(f"{P}/code", json=body)
    assert made.status_code == 201, made.text
    code = made.json()
    assert [file["path"] for file in code["files"]] == [".tetradignore", "app.py", "uv.lock"]
    assert (code["dirty"], code["commit"], code["runtime"]) == (True, "a" * 40, {"python": "3.11"})
    lock = next(file["digest"] for file in code["files"] if file["path"] == "uv.lock")
    assert code["lock"] == lock
    assert site.tetrads.registry.read("default", code["patch"]) == b"the patch"
    assert (await site.http.post(f"{P}/code", json=body)).json()["digest"] == code["digest"]
    for bad in (
        {**body, "files": [*body["files"], body["files"][0]]},  # type: ignore[misc]
        {**body, "files": [{"path": "../x", "content": ""}]},
        {**body, "files": [{"path": "x", "content": "%%"}]},
        {**body, "lock": "poetry.lock"},
    ):
        refused = await site.http.post(f"{P}/code", json=bad)
        assert refused.status_code == 422, refused.text
