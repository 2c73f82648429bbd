"""The API of change requests: who may do what, shapes, pages, refusals."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.changes import CALMER, ONE_PERSON, Site, wire_changes
from support.evidence import CAT
from support.identity import ADMIN, caller, make_app, make_identity
from tetrad.changes.routes import router
from tetrad.kernel import Conflict
from tetrad.kit.db import Database

C = "/api/v1/projects/default/change-requests"
BODY = {
    "app": "bot", "ref": "production", "title": "Calmer",
    "parts": [{"part": "prompt.system", "content": CALMER}, {"part": "sampling.temperature", "value": 0.1}],
}  # fmt: skip


@dataclass
class Api:
    site: Site
    editor: httpx.AsyncClient
    expert: httpx.AsyncClient
    other: httpx.AsyncClient
    stranger: httpx.AsyncClient

    async def opened(self, **more: Any) -> dict[str, Any]:
        answer = await self.editor.post(C, json={**BODY, **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[Api]:
    site, identity = wire_changes(database, tmp_path), make_identity(database)
    for project in ("default", "elsewhere"):
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, project, project)
    app = make_app(identity, router(site.changes))

    def key(name: str, project: str = "default", scope: str = "control", *, read_only: bool = False) -> str:
        return identity.keys.create(ADMIN, project, name, [scope], read_only=read_only).secret

    async with (
        caller(app, key("editor")) as editor,
        caller(app, key("expert", read_only=True)) as expert,
        caller(app, key("other")) as other,
        caller(app, key("stranger", "elsewhere")) as stranger,
    ):
        yield Api(site, editor, expert, other, stranger)


async def test_the_whole_way_by_the_api(api: Api) -> None:
    api.site.gated.policies.set(
        "default", "bot/production", {**ONE_PERSON, "approvals": {"minimum": 1, "by": ["key"]}}, actor=CAT
    )
    made = await api.opened(description="**not** markup", expected_outcome="fewer complaints")
    assert (made["number"], made["state"], made["parts"]) == (1, "open", ["prompt.system", "sampling.temperature"])
    assert made["patch"][0]["content"] == CALMER
    assert {part["label"] for part in made["changed"]} == {"graph answer", "prompt system bot-system"}
    assert set(made["allowed"]) == {"comment", "edit", "push", "rebase", "withdraw", "close", "merge"}
    diff = (await api.expert.get(f"{C}/1/diff")).json()
    assert any("calm" in word["text"] for word in diff["prompt"][0]["messages"][0]["hunks"][0]["words"])
    said = await api.expert.post(
        f"{C}/1/comments",
        json={"body": "<b>why</b>", "anchor": {"part": "prompt.system", "digest": diff["prompt"][0]["new"]["digest"],
              "message": 1, "line": 1}},
    )  # fmt: skip
    assert said.status_code == 201, said.text
    thread = said.json()
    assert (thread["comments"][0]["body"], thread["anchor"]["place"]) == ("<b>why</b>", "current")
    checks = (await api.editor.get(f"{C}/1/checks")).json()
    assert (checks["mergeable"], checks["governed"]) == (False, True)
    early = await api.editor.post(f"{C}/1/merge", json={"expected_candidate": made["candidate"]})
    assert (early.status_code, early.json()["code"]) == (403, "gate_refused")
    judged = await api.expert.post(f"{C}/1/reviews", json={"decision": "approve", "revision": 1, "comment": "ok"})
    assert judged.status_code == 200, judged.text
    shown = judged.json()
    assert (shown["state"], shown["reviews"][0]["role"], shown["reviews"][0]["standing"]) == (
        "approved", "reviewer", "all",
    )  # fmt: skip
    assert shown["changed"][0]["approved_by"] == ["expert"]
    read_only = await api.expert.post(f"{C}/1/merge", json={"expected_candidate": made["candidate"]})
    assert (read_only.status_code, read_only.json()["code"]) == (403, "read_only")
    done = await api.other.post(f"{C}/1/merge", json={"expected_candidate": made["candidate"], "reason": "go"})
    assert done.status_code == 200, done.text
    assert (done.json()["state"], done.json()["merged"]["by"], done.json()["merged"]["to"]) == (
        "merged", "other", made["candidate"],
    )  # fmt: skip
    assert done.headers["etag"] == f'"{made["candidate"]}"'
    events = (await api.editor.get(f"{C}/1/events", params={"limit": 2})).json()
    assert [each["kind"] for each in events["items"]] == ["merged", "approved"]
    rest = (await api.editor.get(f"{C}/1/events", params={"cursor": events["next_cursor"]})).json()
    assert [each["kind"] for each in rest["items"]] == ["commented", "opened"]


async def test_an_expert_drafts_with_the_text_of_a_file_and_reads_errors_with_lines(api: Api) -> None:
    wrong = await api.expert.post(
        C, json={**BODY, "draft": True, "parts": [{"part": "prompt.system", "content": "# system\n\nHi {{x}}\n"}]}
    )
    assert wrong.status_code == 400, wrong.text
    assert wrong.json()["detail"].startswith("bot-system.md:3:")
    made = await api.expert.post(C, json={**BODY, "draft": True, "key": "one"})
    assert made.json()["state"] == "draft"
    assert (await api.expert.post(C, json={**BODY, "draft": True, "key": "one"})).json() == made.json()
    pushed = await api.expert.post(
        f"{C}/1/push", json={"parts": [{"part": "sampling.seed", "value": 3}], "expected_revision": 1}
    )
    assert (pushed.json()["revision"], pushed.json()["state"]) == (2, "draft")
    proposed = await api.expert.post(f"{C}/1/propose")
    assert (proposed.status_code, proposed.json()["state"]) == (200, "open")


async def test_others_requests_and_projects_are_closed(api: Api) -> None:
    await api.opened()
    for path in ("", "/1", "/1/diff", "/1/checks", "/1/comments", "/1/events", "/1/rebase"):
        assert (await api.stranger.get(C + path)).status_code == 404
    elsewhere = C.replace("default", "elsewhere")
    assert (await api.stranger.get(f"{elsewhere}/1")).json()["code"] == "change_not_found"
    assert (await api.stranger.get(elsewhere)).json()["items"] == []
    refused = await api.expert.post(
        f"{C}/1/push", json={"parts": [{"part": "sampling.seed", "value": 3}], "expected_revision": 1}
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "not_yours")
    own = await api.editor.post(f"{C}/1/reviews", json={"decision": "approve", "revision": 1})
    assert (own.status_code, own.json()["code"]) == (403, "self_approval")


@pytest.mark.parametrize(
    "part",
    [
        {"part": "prompt.system"},
        {"part": "prompt.system", "value": "a@1.0.0", "content": "x"},
        {"part": "prompt.system", "content": "x", "remove": True},
        {"part": "nonsense", "value": "x"},
        {"part": "sampling.model", "value": "x"},
        {"part": "prompt.system/" + "x" * 200, "value": "y"},
        {"part": "data.fewshot", "value": 7},
    ],
)
async def test_a_part_that_says_nothing_or_two_things_is_refused(api: Api, part: dict[str, Any]) -> None:
    answer = await api.editor.post(C, json={**BODY, "parts": [part]})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["hint"]
    assert (await api.editor.get(C)).json()["items"] == []


async def test_conflicts_tell_both_sides_and_the_current_digest(api: Api) -> None:
    one = await api.opened()
    await api.opened(parts=[{"part": "sampling.temperature", "value": 0.9}])
    won = await api.editor.post(f"{C}/1/merge", json={"expected_candidate": one["candidate"]})
    assert won.status_code == 200, won.text
    two = (await api.editor.get(f"{C}/2")).json()
    assert (two["behind"], two["ref_digest"]) == (True, one["candidate"])
    lost = await api.editor.post(f"{C}/2/merge", json={"expected_candidate": two["candidate"]})
    assert (lost.status_code, lost.json()["code"]) == (409, "change_behind")
    assert one["candidate"] in lost.json()["detail"]
    plan = (await api.editor.get(f"{C}/2/rebase")).json()
    assert (plan["conflicts"], plan["parts"][0]["theirs"]) == (["sampling.temperature"], "0.1")
    refused = await api.editor.post(f"{C}/2/rebase", json={"expected_revision": 1})
    assert (refused.status_code, refused.json()["code"]) == (409, "rebase_conflict")
    assert refused.json()["errors"][0]["loc"] == ["sampling.temperature"]
    done = await api.editor.post(
        f"{C}/2/rebase",
        json={"expected_revision": 1, "resolutions": [{"part": "sampling.temperature", "value": 0.9}]},
    )
    assert (done.status_code, done.json()["behind"]) == (200, False), done.text


async def test_lists_are_filtered_and_paged(api: Api) -> None:
    for number in range(3):
        await api.opened(parts=[{"part": "sampling.seed", "value": number}])
    await api.editor.post(f"{C}/2/close", json={"reason": "no"})
    page = (await api.editor.get(C, params={"limit": 2})).json()
    assert [each["number"] for each in page["items"]] == [3, 2]
    rest = (await api.editor.get(C, params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [each["number"] for each in rest["items"]] == [1]
    closed = (await api.editor.get(C, params={"state": ["closed", "merged"]})).json()
    assert [each["number"] for each in closed["items"]] == [2]
    assert (await api.editor.get(C, params={"app": "nobody"})).json()["items"] == []
    assert (await api.editor.get(C, params={"state": "strange"})).status_code == 400
