"""Evidence and gates through the API and the command line, as CI runners, reviewers and admins use them."""

from __future__ import annotations

import contextlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from support.evidence import ADA, CAT, PROD, Gated, signed_result, wire_gated
from support.identity import ADMIN, caller, make_app, make_identity
from support.routes import holes
from support.sync_app import SyncApp
from tetrad.identity import Identity
from tetrad.kernel import Conflict
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli._app import run
from tetrad.registry.routes import evidence_router
from tetrad.registry.routes import router as registry_router
from tetrad.releases.routes import router as releases_router

P = "/api/v1/projects/default"


@dataclass
class Site:
    """A control plane with gates."""

    gated: Gated
    identity: Identity
    app: FastAPI

    def key(self, *scopes: str) -> str:
        return self.identity.keys.create(ADMIN, "default", "ann", list(scopes)).secret


@pytest.fixture
def site(database: Database) -> Site:
    identity = make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):  # the first project may be there from the start
            identity.projects.create(ADMIN, project, project)
    gated = wire_gated(database, audit=identity.audit.record)
    routers = (
        releases_router(gated.tetrads.releases),
        evidence_router(gated.evidence, gated.policies),
        registry_router(gated.tetrads.registry),
    )
    return Site(gated, identity, make_app(identity, *routers))


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


async def test_a_runner_sends_a_result_and_reads_it_verified(site: Site) -> None:
    one = site.gated.release()
    envelope = signed_result(site.gated.ci, one, metrics={"accuracy": 0.93})
    async with caller(site.app, site.key("control")) as http:
        made = await http.post(f"{P}/evidence", json={"envelope": envelope})
        assert made.status_code == 201, made.text
        assert (made.json()["counts"], made.json()["key_name"]) == (True, "ci")
        whole = (await http.get(f"{P}/evidence/{made.json()['digest']}")).json()
        assert whole["envelope"] == envelope
        listed = (await http.get(f"{P}/evidence", params={"subject": one})).json()["items"]
        assert [each["digest"] for each in listed] == [made.json()["digest"]]
        envelope["payload"] = envelope["payload"][:-4] + "AAA="
        wrong = await http.post(f"{P}/evidence", json={"envelope": envelope})
        assert wrong.status_code in (400, 403)
        naive = await http.post(f"{P}/evidence", json={"envelope": {}, "expires_at": "2026-12-31T00:00:00"})
        assert (naive.status_code, naive.json()["code"]) == (400, "invalid_input")


async def test_pages_of_evidence_follow_one_another(site: Site) -> None:
    one = site.gated.release()
    sent = [site.gated.tested(one, n=number).row.digest for number in range(5)]
    async with caller(site.app, site.key("control")) as http:
        found, cursor = [], None
        while True:
            page = (
                await http.get(f"{P}/evidence", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
            ).json()
            found += [each["digest"] for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
    assert found == sent[::-1]


async def test_a_gate_is_set_by_admins_and_met_by_everybody_on_the_move(site: Site) -> None:
    one = site.gated.release()
    body = {"pattern": "*/production", "policy": {"suites": [{"suite": "smoke"}]}, "reason": "from today"}
    async with caller(site.app, site.key("control")) as http:
        assert (await http.put(f"{P}/gates", json=body)).status_code == 403
    async with caller(site.app, site.key("control", "admin")) as http:
        made = await http.put(f"{P}/gates", json=body)
        assert (made.status_code, made.json()["policy_version"]) == (200, "1.0.0"), made.text
        wrong = await http.put(f"{P}/gates", json={**body, "policy": {"suites": [{"suit": "smoke"}]}})
        assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_policy")
        assert "suites" in wrong.json()["detail"]
        listed = (await http.get(f"{P}/gates")).json()["items"]
        assert [(gate["pattern"], gate["problem"]) for gate in listed] == [("*/production", "")]
        asked = (await http.get(f"{P}/gates/check", params={"ref": PROD, "digest": one})).json()
        assert (asked["governed"], asked["passed"]) == (True, False)
        glass = await http.post(f"{P}/gates/break-glass", json={"ref": PROD, "digest": one, "reason": "now"})
        assert (glass.status_code, glass.json()["code"]) == (403, "glass_closed")
        site.gated.tested(one)
        assert (await http.get(f"{P}/gates/check", params={"ref": PROD, "digest": one})).json()["passed"]
        gone = await http.delete(f"{P}/gates", params={"pattern": "*/production", "reason": "enough"})
        assert gone.status_code == 204
    actions = [entry.event.action for entry in site.identity.audit.list("default")]
    assert {"gate.set", "gate.removed"} <= set(actions)


async def test_a_reviewer_who_may_only_read_approves(site: Site) -> None:
    one = site.gated.release()
    key = site.identity.keys.create(ADMIN, "default", "viewer", ["control"], read_only=True).secret
    async with caller(site.app, key) as http:
        made = await http.post(f"{P}/approvals", json={"digest": one, "comment": "good"})
        assert made.status_code == 201, made.text
        predicate = made.json()["predicate"]
        assert (predicate["decision"], predicate["approver"]["kind"], predicate["comment"]) == (
            "approve",
            "key",
            "good",
        )
        assert {part["kind"] for part in predicate["parts"]} >= {"prompt", "model", "code", "graph", "config"}
        none = await http.post(f"{P}/approvals", json={"digest": one, "parts": [{"kind": "tools"}]})
        assert none.status_code == 400


def test_a_runner_makes_its_key_and_its_result_lets_a_release_out(site: Site, command: Any, tmp_path: Path) -> None:
    one = site.gated.release()
    policy, key, public = tmp_path / "gate.yaml", tmp_path / "ci.key", tmp_path / "ci.pub"
    policy.write_text("suites:\n  - suite: smoke\n    metrics:\n      - metric: accuracy\n        min: 0.9\n")
    code, out, _ = command("gate", "set", "*/production", "--file", str(policy), "-m", "from today")
    assert (code, out.split(" asks ")[0]) == (0, "*/production")
    assert "suite smoke" in command("gate", "list")[1]
    assert json.loads(command("gate", "show", "*/production")[1])["suites"][0]["suite"] == "smoke"
    code, out, _ = command("gate", "check", PROD, one)
    assert (code, "NO  no result of the suite 'smoke'" in out) == (1, True)
    code, pem, _ = command("evidence", "new-key", str(key))
    assert code == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert command("evidence", "new-key", str(key))[0] == 1
    public.write_text(pem)
    add = ("evidence", "add", one, "--suite", "smoke", "--result", "PASSED", "--metric", "accuracy=0.95")
    code, _, err = command(*add, "--key", str(key))
    assert (code, "no key that this project trusts" in err) == (1, True)
    assert command("evidence", "trust", "runner", str(public))[0] == 0
    code, digest, err = command(*add, "--key", str(key))
    assert code == 0, err
    code, out, _ = command("evidence", "verify", digest.strip())
    assert (code, "signed by runner" in out) == (0, True)
    code, out, _ = command("gate", "check", PROD, one)
    assert (code, "would let it pass" in out) == (0, True)
    envelope = tmp_path / "envelope.json"
    envelope.write_text(json.dumps(json.loads(command("evidence", "show", digest.strip())[1])["envelope"]))
    assert command("evidence", "verify", str(envelope), "--public-key", str(public))[0] == 0
    damaged = json.loads(envelope.read_text())
    damaged["signatures"][0]["sig"] = "A" * 86 + "=="
    envelope.write_text(json.dumps(damaged))
    assert command("evidence", "verify", str(envelope), "--public-key", str(public))[0] == 1
    assert command("evidence", "revoke", digest.strip(), "-m", "by mistake")[0] == 0
    code, _, err = command("evidence", "verify", digest.strip())
    assert (code, "by mistake" in err) == (1, True)
    assert "NO: it was revoked" in command("evidence", "list", one)[1]
    known = json.loads(command("evidence", "keys", "--json")[1])
    runner = next(each["id"] for each in known if each["name"] == "runner")
    assert command("evidence", "revoke-key", runner[:12], "-m", "retired machine")[0] == 0
    assert command("evidence", "rotate")[0] == 0
    assert command(*add, "--key", str(key))[0] == 1
    assert command("gate", "remove", "*/production", "-y")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("gate", "set", "*/production", "--file", "/nonexistent.yaml"),
        ("evidence", "add"),
        ("evidence", "add", "sha256:1", "--suite", "s", "--result", "PASSED", "--key", "/nonexistent"),
        ("evidence", "verify", "nonsense"),
        ("gate", "check", PROD, "abc"),
    ],
)
def test_wrong_commands_say_what_is_wrong(command: Any, arguments: tuple[str, ...]) -> None:
    code, _, err = command(*arguments)
    assert code == 2
    assert "error:" in err


def test_an_approval_and_broken_glass_from_the_command_line(site: Site, command: Any, tmp_path: Path) -> None:
    one = site.gated.release(actor=CAT)
    policy = tmp_path / "gate.json"
    policy.write_text(json.dumps({"approvals": {"minimum": 1, "by": ["key"]}, "break_glass": {}}))
    command("gate", "set", "bot/*", "--file", str(policy))
    code, _, err = command("evidence", "approve", one, "--part", "prompt:system", "-m", "good")
    assert code == 0, err
    out = command("gate", "check", PROD, one)[1]
    assert "ok  prompt system hello is approved" in out
    assert "NO  model primary m has 0 of 1 approvals" in out
    code, out, _ = command("gate", "break-glass", PROD, one, "-m", "the model answers in Latin")
    assert (code, "may move once" in out) == (0, True)
    site.gated.tetrads.registry.move_ref("default", PROD, one, expected=None, actor=ADA)
    assert "gate.glass_broken" in [entry.event.action for entry in site.identity.audit.list("default")]


def test_an_exported_head_is_verified_from_the_command_line(
    site: Site, command: Any, tmp_path: Path, database: Database
) -> None:
    for number in range(3):
        digest = site.gated.release(str(number))
        site.gated.tetrads.registry.move_ref("default", "bot/staging", digest, expected=None, actor=ADA)
    head = tmp_path / "head.json"
    assert command("ref", "log", "--export-head", str(head))[0] == 0
    code, out, _ = command("audit", "verify", "--head", str(head))
    assert (code, "ref log: 3 moves, unchanged since move 3" in out) == (0, True)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE ref_log SET reason = 'nicer' WHERE seq = 2"))
    code, _, err = command("audit", "verify", "--head", str(head))
    assert (code, "the ref log was changed: entry 2 was changed" in err) == (1, True)
