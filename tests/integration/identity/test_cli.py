"""The commands for keys, projects, secrets and the audit log, against a control plane that really listens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from typer import Typer
from typer.testing import CliRunner

from support.identity import make_app, make_identity
from support.wait import wait_until
from tetrad.identity import Identity, cli
from tetrad.identity.errors import KeyRefused
from tetrad.kernel import InvalidInput, SystemClock, TetradError
from tetrad.kit.api_client import ControlUnreachable
from tetrad.kit.db import Database

Run = Callable[..., str]


@pytest.fixture
def identity(database: Database, tetrad_home: Path) -> Identity:
    made = make_identity(database, clock=SystemClock())
    made.first_start(tetrad_home / "keys")
    return made


@pytest.fixture
def control(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = uvicorn.Server(
        uvicorn.Config(make_app(identity), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, what="control to listen")
        port = server.servers[0].sockets[0].getsockname()[1]
        monkeypatch.setenv("TETRAD_CONTROL_PORT", str(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def run(control: str) -> Run:
    def invoke(app: Typer, *arguments: str, stdin: str = "") -> str:
        result = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def test_keys_are_found_by_name_by_what_is_known_of_a_secret_and_by_state(run: Run) -> None:
    secrets = {name: run(cli.keys, "create", name).strip() for name in ("support bot", "Support desk", "nightly")}
    whole = run(cli.keys, "create", "the supporter", "--scope", "admin", "--all-projects").strip()

    def found(*asked: str) -> list[str]:
        return [key["name"] for key in json.loads(run(cli.keys, "list", "--json", *asked))]

    assert found("--find", "SUPPORT", "--sort", "name") == ["Support desk", "support bot"]
    assert found("--find", "SUPPORT", "-n", "1") == ["Support desk"], "the newest first"
    assert found("--find", secrets["nightly"][-4:]) == ["nightly"]
    nightly = json.loads(run(cli.keys, "list", "--json", "--find", "nightly"))[0]["id"]
    assert found("--find", nightly) == ["nightly"]
    run(cli.keys, "revoke", nightly, "--yes")
    assert found("--state", "revoked") == ["nightly"]
    assert found("--state", "active", "--find", "night") == []
    assert found("--all-projects", "--find", "supp") == ["the supporter"]
    assert found("--all-projects", "--find", whole[-4:]) == ["the supporter"]
    nothing = CliRunner().invoke(cli.keys, ["list", "--find", "nobody"])
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no such keys" in nothing.stderr


def test_a_key_is_made_listed_rotated_and_revoked(run: Run, identity: Identity) -> None:
    secret = run(cli.keys, "create", "support bot", "--expires-in", "90d").strip()
    key = identity.keys.recognise(secret)
    assert (key.name, key.scopes) == ("support bot", ("data",))
    listed = run(cli.keys, "list")
    assert key.id[:8] in listed
    assert secret not in listed
    turned = json.loads(run(cli.keys, "rotate", key.id, "--grace", "0s", "--json"))
    assert turned["key"]["id"] == key.id
    with pytest.raises(KeyRefused):
        identity.keys.recognise(secret)
    assert "revoked" in run(cli.keys, "revoke", key.id, "--yes")
    with pytest.raises(KeyRefused):
        identity.keys.recognise(turned["secret"])
    assert json.loads(run(cli.keys, "list", "--json"))[0]["state"] == "revoked"


def test_rotating_the_admin_key_keeps_the_cli_signed_in(run: Run, identity: Identity, tetrad_home: Path) -> None:
    admin = identity.keys.list(None)[0]
    answer = json.loads(run(cli.keys, "rotate", admin.id, "--all-projects", "--grace", "0s", "--json"))
    assert answer["file"] == str(tetrad_home / "keys" / "admin.key")
    assert json.loads(run(cli.keys, "list", "--all-projects", "--json"))[0]["id"] == admin.id


def test_revoking_asks_first(run: Run, identity: Identity) -> None:
    key = identity.keys.list("default")[0]
    result = CliRunner().invoke(cli.keys, ["revoke", key.id], input="n\n")
    assert result.exit_code == 1
    assert identity.keys.list("default")[0].revoked_at is None


def test_projects_are_made_and_listed(run: Run) -> None:
    run(cli.projects, "create", "support", "--title", "Support")
    assert [each["title"] for each in json.loads(run(cli.projects, "list", "--json"))] == ["Default", "Support"]
    assert "support" in run(cli.projects, "list")


def test_a_secret_is_read_from_standard_input_and_never_shown(run: Run, identity: Identity) -> None:
    out = run(cli.secrets, "set", "OPENAI_API_KEY", stdin="sk-very-secret\n")
    assert identity.secrets.reveal("default", "OPENAI_API_KEY") == "sk-very-secret"
    assert "sk-very-secret" not in out + run(cli.secrets, "list") + run(cli.secrets, "list", "--json")
    run(cli.secrets, "delete", "OPENAI_API_KEY", "--yes")
    assert json.loads(run(cli.secrets, "list", "--json")) == []


def test_an_empty_secret_is_refused(run: Run) -> None:
    with pytest.raises(InvalidInput, match="no value"):
        run(cli.secrets, "set", "A", stdin="\n")


def test_the_audit_log_is_listed_and_verified(run: Run, database: Database) -> None:
    from tetrad.identity._store import audit_log

    assert "key.created" in run(cli.audit, "list")
    assert json.loads(run(cli.audit, "list", "--json"))[0]["seq"] == 2
    assert "2 entries, unchanged" in run(cli.audit, "verify")
    assert json.loads(run(cli.audit, "verify", "--all-projects", "--json"))["intact"]
    with database.write() as connection:
        connection.execute(audit_log.update().values(actor="key_mallory"))
    with pytest.raises(TetradError, match="was changed: at entry 1"):
        run(cli.audit, "verify")


def test_names_of_others_do_not_steer_the_terminal(run: Run) -> None:
    run(cli.projects, "create", "evil", "--title", "[red]x[/red]")
    assert "[red]x[/red]" in run(cli.projects, "list")


@pytest.mark.parametrize("text", ["", "1w", "h", "-1h", "1.5h", "99999999d"])
def test_durations_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no duration"):
        cli._duration(text)


def test_without_control_the_way_out_is_told(tetrad_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.ports import free_port

    monkeypatch.setenv("TETRAD_CONTROL_PORT", str(free_port()))
    monkeypatch.setenv("TETRAD_API_KEY", "tetrad_admin_x")
    with pytest.raises(ControlUnreachable, match="does not answer"):
        CliRunner().invoke(cli.keys, ["list"], catch_exceptions=False)
