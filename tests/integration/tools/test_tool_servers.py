"""MCP servers as people register, read and approve them: kept on both databases, over the API and the commands."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from support.identity import ADMIN, INTERNAL_TOKEN, caller, make_app, make_identity
from support.sync_app import SyncApp
from tetrad.identity import Identity
from tetrad.kernel import Conflict, FixedClock, SystemClock, TetradError, digest_json
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli._app import run
from tetrad.serving import GatewayHealth, ServerRest
from tetrad.serving._route_directory import RouteHealth
from tetrad.tools import ToolServerSpec
from tetrad.tools._model import MAX_TOOLS_KEPT
from tetrad.tools._service import ToolServers
from tetrad.tools._store import SqlToolServerStore
from tetrad.tools.errors import ToolMoved
from tetrad.tools.ports import Listing, SeenTool
from tetrad.tools.routes import router

P = "/api/v1/projects/default/mcp-servers"
SPEC = {"url": "https://mcp.example.com/mcp", "headers": {"Authorization": "Bearer {token}"}}

REST = ServerRest("default", "files", "tools/list", "resting", 1, 4.0, 6.0, "tool_server_timeout", "it hangs")


def seen(name: str, description: str = "good", **more: Any) -> SeenTool:
    definition = {"name": name, "description": description, **more}
    return SeenTool(name, digest_json(definition), json.dumps(definition))


class Shows:
    """A lister that shows what a test says."""

    def __init__(self) -> None:
        self.tools = [seen("add"), seen("read")]

    def __call__(self, _spec: ToolServerSpec) -> Listing:
        return Listing("small 1.0", "2026-07-28", self.tools, [], 1.0)


class World:
    def __init__(self, database: Database, clock: FixedClock | SystemClock) -> None:
        self.identity: Identity = make_identity(database, clock=clock)
        for project in ("default", "elsewhere"):
            with contextlib.suppress(Conflict):
                self.identity.projects.create(ADMIN, project, project)
        self.identity.secrets.put(ADMIN, "default", "token", "s3cr3t-value")
        self.shows = Shows()
        self.changes = 0
        self.servers = ToolServers(
            SqlToolServerStore(database, clock),
            clock,
            lister=lambda _route_of: self.shows,
            reveal=self.identity.secrets.reveal,
            commands="uvx",
            audit=self.identity.audit.record,
            on_change=self.changed,
        )
        self.health = RouteHealth(clock)
        self.app = make_app(self.identity, router(self.servers, self.health.rests))

    def changed(self) -> None:
        self.changes += 1

    def key(self, scope: str, project: str = "default") -> str:
        return self.identity.keys.create(ADMIN, project, scope, [scope]).secret

    def audited(self) -> list[str]:
        return [entry.event.action for entry in self.identity.audit.list("default")]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def world(database: Database, clock: FixedClock) -> World:
    return World(database, clock)


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(world.app, world.key("admin")) as client:
        yield client


async def test_a_server_is_registered_read_approved_withdrawn_and_removed(
    world: World, admin: httpx.AsyncClient
) -> None:
    made = await admin.put(f"{P}/files", json=SPEC)
    assert made.status_code == 200, made.text
    assert made.json()["headers"] == {"Authorization": "Bearer {token}"}
    listing = (await admin.post(f"{P}/files/refresh")).json()
    assert (listing["server"], listing["protocol"]) == ("small 1.0", "2026-07-28")
    assert {tool["name"]: tool["state"] for tool in listing["tools"]} == {"add": "new", "read": "new"}

    review = [{"name": tool["name"], "digest": tool["digest"]} for tool in listing["tools"] if tool["name"] == "add"]
    approved = (await admin.post(f"{P}/files/approve", json={"tools": review})).json()["items"]
    assert [(tool["name"], tool["state"]) for tool in approved] == [("add", "approved"), ("read", "new")]
    assert approved[0]["approved_by"].startswith("key_")
    assert (await admin.post(f"{P}/files/approve", json={"tools": review})).status_code == 200  # again: the same
    (registered,) = world.servers.registered()
    assert (registered.pins, registered.changed) == ({"add": review[0]["digest"]}, ())
    route = world.servers.route(registered)
    assert route.headers == (("Authorization", "Bearer s3cr3t-value"),)

    listed = (await admin.get(P)).json()["items"]
    assert (listed[0]["tools"], listed[0]["problem"]) == ({"approved": 1, "new": 1}, "")
    for answer in (made, await admin.get(P), await admin.get(f"{P}/files"), await admin.get(f"{P}/files/tools")):
        assert "s3cr3t" not in answer.text
    withdrawn = (await admin.post(f"{P}/files/withdraw", json={"tools": ["add", "unknown"]})).json()["items"]
    assert withdrawn[0]["state"] == "new"
    assert world.servers.registered()[0].pins == {}
    assert (await admin.delete(f"{P}/files")).status_code == 204
    assert (await admin.get(f"{P}/files/tools")).status_code == 404
    await admin.put(f"{P}/files", json=SPEC)
    assert (await admin.get(f"{P}/files/tools")).json()["items"] == []
    assert {"tool_server.put", "tool.approve", "tool.withdraw", "tool_server.delete"} <= set(world.audited())


async def test_only_what_was_read_is_approved(world: World, admin: httpx.AsyncClient) -> None:
    await admin.put(f"{P}/files", json=SPEC)
    before = (await admin.post(f"{P}/files/refresh")).json()["tools"]
    world.shows.tools = [seen("add", "evil"), seen("read")]
    await admin.post(f"{P}/files/refresh")
    both = {"tools": [{"name": tool["name"], "digest": tool["digest"]} for tool in before]}
    refused = await admin.post(f"{P}/files/approve", json=both)
    assert (refused.status_code, refused.json()["code"]) == (409, "tool_changed")
    assert world.servers.registered()[0].pins == {}  # all or none
    unknown = {"tools": [{"name": "nope", "digest": before[0]["digest"]}]}
    assert (await admin.post(f"{P}/files/approve", json=unknown)).status_code == 404


async def test_a_changed_definition_is_an_alert_with_a_diff_until_it_is_approved(
    world: World, admin: httpx.AsyncClient
) -> None:
    world.servers.put(ADMIN, ToolServerSpec(name="files", project="default", url="https://x/mcp"))
    world.servers.refresh(ADMIN, "default", "files")
    world.servers.approve(ADMIN, "default", "files", {"add": seen("add").digest, "read": seen("read").digest})
    changes = world.changes
    async with caller(world.app, INTERNAL_TOKEN) as gateway:
        evil = {"name": "add", "description": "evil"}
        body = [
            {"project": "default", "server": "files", "tool": "add", "digest": "sha256:" + "0" * 64, "definition": evil}
        ]
        elsewhere = [{**body[0], "project": "elsewhere"}]
        for told in (body, body, elsewhere):
            assert (await gateway.post("/internal/v1/tool-sightings", json=told)).status_code == 204
    assert world.changes == changes + 1  # told twice, and of a server that is not there: one change
    assert world.audited().count("tool.changed") == 1
    assert world.servers.registered()[0].changed == ("add",)
    tools = {tool["name"]: tool for tool in (await admin.get(f"{P}/files/tools")).json()["items"]}
    assert tools["add"]["state"] == "changed"
    assert tools["add"]["digest"] == digest_json(evil)  # by our own reckoning
    assert '-  "description": "good",' in tools["add"]["diff"]
    assert '+  "description": "evil",' in tools["add"]["diff"]
    world.servers.approve(ADMIN, "default", "files", {"add": digest_json(evil)})
    assert world.servers.registered()[0].changed == ()


def test_a_server_that_flaps_or_shows_ever_new_names_makes_no_storm(world: World, clock: FixedClock) -> None:
    world.servers.put(ADMIN, ToolServerSpec(name="files", project="default", url="https://x/mcp"))
    world.servers.refresh(ADMIN, "default", "files")
    world.servers.approve(ADMIN, "default", "files", {"add": seen("add").digest})
    changes = world.changes
    for number in range(10):
        world.servers.note([("default", "files", seen("add", f"evil {number}"))])
        world.servers.note([("default", "files", seen("add"))])
    assert world.changes == changes + 1
    assert world.servers.registered()[0].changed == ("add",)
    clock.advance(timedelta(seconds=61))
    world.servers.note([("default", "files", seen("add"))])
    assert world.servers.registered()[0].changed == ()
    for start in range(0, MAX_TOOLS_KEPT + 200, 100):
        world.servers.note([("default", "files", seen(f"tool{number}")) for number in range(start, start + 100)])
    assert len(world.servers.tools("default", "files")) == MAX_TOOLS_KEPT


def test_what_is_shown_no_more_is_gone_and_its_approval_waits(world: World) -> None:
    world.servers.put(ADMIN, ToolServerSpec(name="files", project="default", url="https://x/mcp"))
    world.servers.refresh(ADMIN, "default", "files")
    world.servers.approve(ADMIN, "default", "files", {"add": seen("add").digest})
    world.shows.tools = []
    world.servers.refresh(ADMIN, "default", "files")
    assert [(tool.name, tool.state) for tool in world.servers.tools("default", "files")] == [("add", "gone")]
    world.shows.tools = [seen("add", "other")]
    world.servers.refresh(ADMIN, "default", "files")
    assert world.servers.registered()[0].changed == ("add",)
    with pytest.raises(ToolMoved):
        world.servers.approve(ADMIN, "default", "files", {"add": seen("add").digest})


async def test_scopes_and_projects_are_held(world: World, admin: httpx.AsyncClient) -> None:
    await admin.put(f"{P}/files", json=SPEC)
    async with (
        caller(world.app, world.key("control")) as viewer,
        caller(world.app, world.key("admin", "elsewhere")) as other,
    ):
        assert (await viewer.get(f"{P}/files")).status_code == 200
        for method, path in (("PUT", "/files"), ("DELETE", "/files"), ("POST", "/files/refresh")):
            assert (await viewer.request(method, P + path, json=SPEC)).status_code == 403
        assert (await viewer.post("/internal/v1/tool-sightings", json=[])).status_code == 403
        assert (await other.get(f"{P}/files")).status_code in (403, 404)
        assert (await other.get("/api/v1/projects/elsewhere/mcp-servers/files")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"url": "x"}, {"url": "https://x", "command": ["y"]}, {"url": "https://x", "headers": {"X-Token": "plain"}},
     {"url": "https://x", "allow": []}, {"url": "https://x", "more": 1}],
)  # fmt: skip
async def test_what_cannot_be_registered_is_refused(admin: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await admin.put(f"{P}/files", json=body)).status_code in (400, 422)


async def test_a_command_that_may_not_run_and_a_secret_that_is_gone_are_told(admin: httpx.AsyncClient) -> None:
    found = (await admin.put(f"{P}/one", json={"command": ["/bin/sh", "-c", "true"]})).json()
    assert "mcp_commands" in found["problem"]
    found = (await admin.put(f"{P}/two", json={**SPEC, "headers": {"X-Key": "{nope}"}})).json()
    assert "nope" in found["problem"]


@pytest.fixture
def present(database: Database) -> World:
    """Return a world whose clock is the machine's, as commands have no other."""
    return World(database, SystemClock())


@pytest.fixture
def command(
    present: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    secret = present.key("admin")

    def call(*arguments: str) -> tuple[int, str, str]:
        api = ApiClient("http://127.0.0.1:8401", secret, transport=SyncApp(present.app))
        monkeypatch.setattr(ApiClient, "from_environment", lambda *_: api)
        code = run(list(arguments))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


async def test_a_server_that_rests_at_gateways_is_told_over_the_api(
    world: World, admin: httpx.AsyncClient, clock: FixedClock
) -> None:
    for name in ("files", "well"):
        assert (await admin.put(f"{P}/{name}", json=SPEC)).json()["rests"] == []
    world.health.note("w1", GatewayHealth(rests=(REST,)))
    (told,) = (await admin.get(f"{P}/files")).json()["rests"]
    assert (told["method"], told["state"], told["workers"], told["reason"]) == ("tools/list", "resting", 1, REST.reason)
    assert datetime.fromisoformat(told["since"]) == clock.now() - timedelta(seconds=4)
    assert datetime.fromisoformat(told["next_probe_at"]) == clock.now() + timedelta(seconds=6)
    listed = (await admin.get(P, params={"sort": "-rests"})).json()["items"]
    assert [(each["name"], len(each["rests"])) for each in listed] == [("files", 1), ("well", 0)]


def test_the_commands_register_show_and_approve(command: Callable[..., tuple[int, str, str]], present: World) -> None:
    code, out, err = command(
        "mcp", "add", "files", "--url", "https://mcp.example.com/mcp", "--header", "Authorization=Bearer {token}",
        "--allow", "a*", "--key", "key_1=add", "--team", "t",
    )  # fmt: skip
    assert (code, "small 1.0" in out, "tetrad mcp approve files" in err) == (0, True, True)
    assert "new, not allowed" in out
    code, out, _ = command("mcp", "approve", "files", "add", "--yes")
    assert (code, '+  "description": "good",' in out, "approved" in out) == (0, True, True)
    assert command("mcp", "approve", "files", "nope", "--yes")[0] != 0
    code, out, _ = command("mcp", "show", "files")
    assert "Bearer {token}" in out
    assert "key key_1: add, team t: *" in out
    present.health.note("w1", GatewayHealth(rests=(REST,)))
    for words in (("list",), ("show", "files")):
        told = " ".join(command("mcp", *words)[1].split())
        assert "tools/list since" in told
        assert "asked again" in told
    assert command("mcp", "set", "files", "--on-change", "alert", "--everybody")[0] == 0
    found = json.loads(command("mcp", "list", "--json")[1])
    assert (found[0]["on_change"], found[0]["access"], found[0]["allow"]) == ("alert", [], ["a*"])
    assert "approved" in command("mcp", "tools", "files")[1]
    assert "small 1.0" in command("mcp", "test", "files")[1]
    assert command("mcp", "withdraw", "files", "add")[0] == 0
    assert command("mcp", "remove", "files")[1] == "removed files\n"
    assert command("mcp", "add", "x", "--command", "'open")[0] != 0


async def test_only_administrators_of_the_installation_open_private_addresses(
    world: World, admin: httpx.AsyncClient
) -> None:
    inner = {"url": "http://10.1.2.3:9000/mcp"}
    for body in (inner, {**inner, "internal": True}, {"url": "http://169.254.169.254/mcp"}):
        assert (await admin.put(f"{P}/files", json=body)).status_code == 403
    spec = ToolServerSpec(name="files", project="default", url=inner["url"])
    assert world.servers.put(ADMIN, spec).internal
    with pytest.raises(TetradError, match=r"169\.254"):
        world.servers.put(ADMIN, ToolServerSpec(name="files", project="default", url="http://169.254.169.254/mcp"))
    changed = await admin.put(f"{P}/files", json={**inner, "allow": ["read_*"]})
    assert (changed.status_code, changed.json()["internal"]) == (200, True)  # as it was, where it was
    assert (await admin.put(f"{P}/files", json={"url": "http://10.1.2.4:9000/mcp"})).status_code == 403
    (registered,) = world.servers.registered()
    route = world.servers.route(registered)
    assert (route.egress, route.internal) == ("public", True)


def test_an_administrator_takes_a_private_place_back(world: World) -> None:
    def put(internal: bool | None) -> bool | None:
        spec = ToolServerSpec(name="files", project="default", url="http://files.example:9000/mcp", internal=internal)
        return world.servers.put(ADMIN, spec).internal

    assert [put(True), put(None), put(False), put(None)] == [True, True, False, False]
