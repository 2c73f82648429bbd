"""`tetrad limit`, `budget`, `team` and `key`: what people type and read, with usage from real spans."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.identity import ADMIN, make_app, make_identity
from support.spans import an_exchange, kept_traces, spool
from support.sync_app import SyncApp
from tetrad.identity import Identity
from tetrad.kernel import SystemClock
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.limits import LeaseState, Sync
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._model import UNIT
from tetrad.limits._service import Limits
from tetrad.limits._store import SqlLimitStore
from tetrad.limits.routes import router
from tetrad.processes.cli._app import run
from tetrad.processes.control._usage import usage_router

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def identity(database: Database) -> Identity:
    made = make_identity(database, clock=SystemClock())
    made.projects.create(ADMIN, "default", "Default")
    return made


@pytest.fixture
def keeper(database: Database) -> LeaseKeeper:
    return LeaseKeeper(SqlLimitStore(database), SystemClock())


@pytest.fixture
def command(
    identity: Identity,
    keeper: LeaseKeeper,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    limits = Limits(SqlLimitStore(database), SystemClock(), audit=identity.audit.record, changed=keeper.reload)
    admin = identity.keys.create(ADMIN, "default", "admin", ["admin"]).secret

    def call(*arguments: str) -> tuple[int, str, str]:
        with kept_traces(tmp_path) as kept:
            app = make_app(identity, router(limits, keeper), usage_router(kept.traces, identity))
            made = lambda *_: ApiClient("http://127.0.0.1:8401", admin, transport=SyncApp(app))  # noqa: E731
            monkeypatch.setattr(ApiClient, "from_environment", made)
            code = run(list(arguments))
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    return call


def test_limits_and_budgets_are_set_listed_and_removed(command: Command) -> None:
    assert command("limit", "set", "key", "--rpm", "60", "--tpm", "1000", "--json")[0] == 0
    code, out, _ = command("limit", "list")
    assert code == 0
    assert "60 requests a minute" in out
    assert "1,000 tokens a minute" in out
    assert "1,000 tokens" not in command("limit", "list", "--find", "requests", "--sort", "-amount")[1]
    assert command("limit", "list", "--find", "nobody")[1:] == ("", "no such limits\n")
    assert command("limit", "list", "--sort", "colour")[0] == 2
    assert command("limit", "set", "key")[0] == 2
    code, out, _ = command("budget", "set", "team", "12.50", "--name", "search", "--period", "day", "--json")
    assert code == 0
    budget = json.loads(out)[0]
    assert (budget["amount"], budget["name"], budget["period"]) == ("12.5", "search", "day")
    code, out, _ = command("budget", "show", budget["id"])
    assert code == 0
    assert "12.5 USD" in out
    code, _, err = command("budget", "set", "team", "much")
    assert code in (1, 2)
    assert "no amount of money" in err
    assert command("budget", "remove", budget["id"])[0] == 0
    assert "no budgets" in "".join(command("budget", "list")[1:])
    assert command("budget", "alerts")[0] == 0


def test_a_budget_tells_how_many_of_its_calls_had_no_price(command: Command, keeper: LeaseKeeper) -> None:
    code, out, _ = command("budget", "set", "project", "5", "--count-unknown", "--json")
    assert code == 0
    keeper.sync(Sync("slot", 1, (LeaseState(1, json.loads(out)[0]["id"], "default", want=UNIT, unknown=1204),)))
    code, out, _ = command("budget", "list")
    assert code == 0
    assert "1,204" in out


def test_usage_is_shown_by_key_team_and_model(command: Command, identity: Identity, tmp_path: Path) -> None:
    assert command("team", "set", "search", "--model", "local/*", "--label", "cost-centre=42")[0] == 0
    code, out, _ = command("key", "create", "bot", "--team", "search", "--model", "local/smol*", "--json")
    assert code == 0
    key = json.loads(out)["key"]
    with kept_traces(tmp_path) as kept:
        spans = [span for _ in range(3) for span in an_exchange(project="default", key_id=key["id"])]
        kept.traces.ingest("0", "segment", 0, spool(spans))
    for by, name in (("key", "bot"), ("team", "search"), ("model", "local/smollm2-135m")):
        code, out, _ = command("budget", "usage", "--by", by, "--json")
        (row,) = json.loads(out)
        assert (code, row["title"], row["calls"], row["costs"]) == (
            0, name, 3, [{"amount": "0.0045", "currency": "USD"}],
        )  # fmt: skip
    assert "0.0045 USD" in command("budget", "usage")[1]
    assert command("key", "change", key["id"], "--team", "", "--any-model")[0] == 0
    assert command("team", "list")[0] == 0
    assert command("team", "remove", "search")[0] == 0
    code, _, err = command("key", "change", key["id"], "--team", "search")
    assert code in (1, 2)
    assert "has no team 'search'" in err


def test_a_model_without_a_price_is_named_though_as_many_of_its_calls_broke_off(
    command: Command, identity: Identity, tmp_path: Path
) -> None:
    """Those that broke off while they had a price cost what they cost; they stand for none that nobody knows."""
    torn = [an_exchange(model="acme/a", status="error", cost="0.4") for _ in range(5)]
    unpriced = [an_exchange(model="acme/a", cost=None) for _ in range(5)]
    refused = [an_exchange(model="acme/away", status="error", cost=None, usage=None) for _ in range(2)]
    with kept_traces(tmp_path) as kept:
        kept.traces.ingest("0", "segment", 0, spool(s for each in (*torn, *unpriced, *refused) for s in each))
        secret = identity.keys.create(ADMIN, "default", "reader", ["control"]).secret
        app = SyncApp(make_app(identity, usage_router(kept.traces, identity)))
        client = ApiClient("http://127.0.0.1:8401", secret, transport=app)
        found = client.get("/api/v1/projects/default/unpriced-models")["items"]
        (team,) = client.get("/api/v1/projects/default/usage", by="team")["items"]
    assert [(each["name"], each["answers_without_cost"], each["costs"]) for each in found] == [
        ("acme/a", 5, [{"amount": "2", "currency": "USD"}])
    ]
    assert (team["calls_without_cost"], team["answers_without_cost"]) == (7, 5)
    rows = {line.split()[0]: line.split()[-1] for line in command("budget", "usage")[1].splitlines() if "acme/" in line}
    assert rows["acme/a"] == "5"
    assert rows["acme/away"] != "2", "what failed lacks no price"
