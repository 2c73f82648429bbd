"""Revocations, collections and erasures through the API and the command line."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from support.apps import write_app
from support.collecting import Holding, wire_collector
from support.evidence import ADA, Gated, wire_gated
from support.identity import ADMIN, caller, make_app, make_identity
from support.routes import holes
from support.sync_app import SyncApp
from tetrad.identity import Identity
from tetrad.identity._store import audit_log
from tetrad.kernel import Conflict
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli._app import run
from tetrad.registry import Live
from tetrad.registry.routes import evidence_router, revocation_router
from tetrad.registry.routes import router as registry_router
from tetrad.releases.routes import router as releases_router

P = "/api/v1/projects/default"


@dataclass
class Site:
    """A control plane with an app that serves."""

    gated: Gated
    identity: Identity
    holding: Holding
    app: FastAPI
    release: str
    weights: str
    database: Database

    def key(self, *scopes: str) -> str:
        return self.identity.keys.create(ADMIN, "default", "ann", list(scopes)).secret


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    identity = make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):  # the first project may be there from the start
            identity.projects.create(ADMIN, project, project)
    gated = wire_gated(database, audit=identity.audit.record, audit_log=identity.audit)
    weights = gated.tetrads.add_model(tmp_path)
    ensured = gated.tetrads.releases.ensure_app("default", write_app(tmp_path / "app"), actor=ADA)
    holding = Holding(deployed=[Live("bot", "production", ensured.release.digest)])
    gated.revocations.serve_from(holding)
    collector = wire_collector(gated.tetrads, holding, audit=identity.audit.record)
    app = make_app(
        identity,
        releases_router(gated.tetrads.releases),
        evidence_router(gated.evidence, gated.policies),
        registry_router(gated.tetrads.registry),
        revocation_router(gated.revocations, collector),
    )
    return Site(gated, identity, holding, app, ensured.release.digest, weights, database)


@pytest.fixture
def command(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    key = site.identity.keys.create(ADMIN, None, "root", ["control", "admin"]).secret
    made = lambda *_: ApiClient("http://127.0.0.1:8401", key, transport=SyncApp(site.app))  # noqa: E731
    monkeypatch.setattr(ApiClient, "from_environment", made)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


async def test_no_route_lets_in_whom_it_must_not(site: Site) -> None:
    assert await holes(site.app, site.identity) == []


async def test_a_revocation_through_the_api_shouts_wherever_the_release_is_shown(site: Site) -> None:
    async with caller(site.app, site.key("admin")) as http:
        impact = (await http.get(f"{P}/artifacts/{site.weights}/impact")).json()
        assert [each["digest"] for each in impact["touched"]] == [site.weights, site.release]
        assert impact["live"] == [{"app": "bot", "ref": "production", "digest": site.release}]
        assert (await http.get(f"{P}/revocations")).json()["items"] == []
        none = await http.post(f"{P}/artifacts/{site.weights}/revoke", json={"reason": ""})
        assert none.status_code == 400
        done = await http.post(f"{P}/artifacts/{site.weights}/revoke", json={"reason": "licence withdrawn"})
        assert done.status_code == 200, done.text
        assert done.json()["impact"] == impact
        shown = (await http.get(f"{P}/releases/{site.release}")).json()
        assert len(shown["revoked"]) == 1
        assert "licence withdrawn" in shown["revoked"][0]
        app = (await http.get(f"{P}/apps/bot")).json()
        assert app["refs"][0]["revoked"] == shown["revoked"]
        assert (await http.get(f"{P}/apps")).json()["items"][0]["refs"][0]["revoked"] == shown["revoked"]
        assert (await http.get(f"{P}/artifacts/{site.weights}")).json()["revoked"] != []
        refused = await http.put(
            f"{P}/apps/bot/refs/staging", json={"digest": site.release}, headers={"if-none-match": "*"}
        )
        assert (refused.status_code, refused.json()["code"]) == (403, "artifact_revoked")
        listed = (await http.get(f"{P}/revocations", params={"standing": True})).json()["items"]
        assert [each["digest"] for each in listed] == [site.weights]
        back = await http.post(f"{P}/artifacts/{site.weights}/reinstate", json={"reason": "it was renewed"})
        assert back.json()["reinstated_because"] == "it was renewed"
        again = await http.post(f"{P}/artifacts/{site.weights}/reinstate", json={"reason": "twice"})
        assert (again.status_code, again.json()["code"]) == (404, "revocation_not_found")
        assert (await http.get(f"{P}/releases/{site.release}")).json()["revoked"] == []
    actions = [entry.event.action for entry in site.identity.audit.list("default")]
    assert actions[:2] == ["artifact.reinstated", "artifact.revoked"]


async def test_pages_of_revocations_follow_one_another(site: Site) -> None:
    registry, sent = site.gated.tetrads.registry, []
    async with caller(site.app, site.key("admin")) as http:
        for number in range(5):
            digest = registry.put_document("default", "note", {"n": number}, actor=ADA).digest
            sent.append(digest)
            await http.post(f"{P}/artifacts/{digest}/revoke", json={"reason": "bad"})
        found, cursor = [], None
        while True:
            query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = (await http.get(f"{P}/revocations", params=query)).json()
            found += [each["digest"] for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
    assert found == sent[::-1]


async def test_an_erased_artifact_is_gone_for_readers(site: Site) -> None:
    prompt = next(d for d, role in site.gated.tetrads.registry.parts("default", site.release) if role == "prompt")
    async with caller(site.app, site.key("admin")) as http:
        refused = await http.post(f"{P}/artifacts/{prompt}/erase", json={"reason": "names a person"})
        assert (refused.status_code, refused.json()["code"]) == (409, "artifact_served")
        done = await http.post(f"{P}/artifacts/{prompt}/erase", json={"reason": "names a person", "force": True})
        assert done.status_code == 200, done.text
        assert done.json()["freed"]["count"] == 1
        read = await http.get(f"{P}/artifacts/{prompt}/content")
        assert (read.status_code, read.json()["code"]) == (410, "artifact_erased")
        assert "names a person" in read.json()["detail"]
        shown = (await http.get(f"{P}/artifacts/{prompt}")).json()
        assert (shown["erased_because"], shown["document"]) == ("names a person", None)


def test_the_command_line_of_somebody_who_withdraws_a_model(site: Site, command: Any) -> None:
    code, out, err = command("revoke", site.weights, "--dry-run")
    assert (code, "LIVE: bot/production" in out) == (0, True), err
    assert command("revoke", site.weights)[0] == 2
    code, out, err = command("revoke", site.weights, "-m", "licence withdrawn")
    assert (code, "LIVE: bot/production" in out) == (0, True), err
    assert "licence withdrawn" in command("revoke", "--list")[1]
    assert "BROKEN" in command("app", "show", "bot")[1]
    assert "BROKEN" in command("release", "show", "bot/production")[1]
    code, _, err = command("ref", "move", "bot/staging", "bot/production", "--create")
    assert (code, "licence withdrawn" in err) == (1, True)
    code, out, _ = command("revoke", site.weights, "--undo", "-m", "it was renewed")
    assert (code, "reinstated the model" in out) == (0, True)
    assert "reinstated: it was renewed" in command("revoke", "--list")[1]
    assert command("revoke", "nonsense", "-m", "bad")[0] == 2


def test_the_command_line_of_somebody_who_makes_room(site: Site, command: Any) -> None:
    registry = site.gated.tetrads.registry
    lonely = registry.put_document("default", "note", {"n": 1}, actor=ADA).digest
    site.gated.tetrads.clock.advance(timedelta(days=3))
    code, out, err = command("gc")
    assert (code, "nothing was taken; --run takes it" in out) == (0, True), err
    assert registry.artifact("default", lonely).erased_at is None
    explained = command("gc", "--explain", lonely)[1]
    assert "would go: nothing holds it" in explained
    assert "ref bot/production" in command("gc", "--explain", site.weights)[1]
    found = json.loads(command("gc", "--only-project", "default", "--json")[1])
    assert found["digests"] == [lonely]
    code, out, err = command("gc", "--run", "--unreferenced-versions-older-than", "1")
    assert (code, "1 files" in out) == (0, True), err
    assert registry.artifact("default", lonely).collected
    assert "went on" in command("gc", "--explain", lonely)[1]
    other = registry.put_document("default", "note", {"n": 2}, actor=ADA).digest
    code, out, err = command("erase", other, "-m", "forgotten", "-y")
    assert (code, "erased the note" in out) == (0, True), err
    assert command("erase", site.weights, "-m", "forgotten", "-y")[0] == 1


def test_the_command_line_of_somebody_who_keeps_heads_elsewhere(site: Site, command: Any, tmp_path: Path) -> None:
    head, refs = tmp_path / "audit.json", tmp_path / "refs.json"
    assert command("audit", "export-head", str(head))[0] == 0
    assert command("ref", "log", "--export-head", str(refs))[0] == 0
    code, out, err = command("audit", "verify", "--head", str(head), "--head", str(refs))
    assert (code, "audit log: unchanged since entry" in out) == (0, True), err
    assert "ref log: 1 moves, unchanged" in out
    with site.database.write() as connection:
        connection.execute(sa.update(audit_log).where(audit_log.c.project == "default").values(actor="somebody else"))
    code, _, err = command("audit", "verify", "--head", str(head))
    assert (code, "the audit log was changed" in err) == (1, True)
    for wrong in ("[]", "nonsense", "{}", "x" * 70_000):
        head.write_text(wrong, "utf-8")
        code, _, err = command("audit", "verify", "--head", str(head))
        assert code in (1, 2)
        assert "error:" in err
    assert command("audit", "verify", "--head", "/nonexistent")[0] == 2
