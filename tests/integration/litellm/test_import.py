"""`tetrad import litellm`, through the API: what it makes, twice, and what it never copies."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from support.identity import ADMIN, ORIGIN, make_app, make_identity
from support.sync_app import SyncApp
from tetrad.kernel import Conflict, FixedClock
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._service import Limits
from tetrad.limits._store import SqlLimitStore
from tetrad.limits.routes import router as limit_router
from tetrad.processes.cli._app import run
from tetrad.serving import ProviderDirectory, ProviderProbe
from tetrad.serving._cache_policies import CachePolicies
from tetrad.serving._route_api import route_router
from tetrad.serving._route_directory import RouteDirectory, RouteHealth
from tetrad.serving._store import SqlCachePolicyStore, SqlProviderStore, SqlRouteStore
from tetrad.serving.routes import cache_router, provider_router

LITERAL = "sk-literal-0123456789abcdef"
FROM_ENV = "sk-env-0123456789abcdef"
CONFIG = f"""
model_list:
  - model_name: smart
    litellm_params:
      model: openai/gpt-5
      api_key: os.environ/OPENAI_KEY_OF_TEST
      rpm: 60
    model_info: {{input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}}
  - model_name: smart
    litellm_params: {{model: ollama/llama3, api_base: "http://localhost:11434"}}
  - model_name: long
    litellm_params: {{model: claude-opus-5, api_key: {LITERAL}}}
router_settings:
  num_retries: 2
  context_window_fallbacks: [{{smart: [long]}}]
  model_group_alias: {{gpt-4: smart}}
litellm_settings:
  max_budget: 12.50
  budget_duration: 30d
  cache: true
  cache_params: {{ttl: 60}}
general_settings: {{master_key: {LITERAL}}}
"""


class Here:
    def __init__(self, database: Database) -> None:
        clock = FixedClock()
        self.identity = make_identity(database)
        with contextlib.suppress(Conflict):
            self.identity.projects.create(ADMIN, "default", "default")
        self.providers = ProviderDirectory(SqlProviderStore(database, clock))
        self.routes = RouteDirectory(SqlRouteStore(database, clock))
        self.caches = CachePolicies(SqlCachePolicyStore(database, clock), clock)
        store = SqlLimitStore(database)
        self.limits = Limits(store, clock)
        self.app = make_app(
            self.identity,
            provider_router(self.providers, ProviderProbe(self.identity.secrets.reveal, clock, egress="public")),
            route_router(self.routes, RouteHealth(clock)),
            cache_router(self.caches),
            limit_router(self.limits, LeaseKeeper(store, clock)),
        )
        self.key = self.identity.keys.create(ADMIN, None, "admin", ["control", "admin"]).secret

    def state(self) -> Any:
        return (
            self.providers.all("default"),
            self.routes.all("default"),
            [
                each.rule
                for each in self.limits.rules("default", money=False) + self.limits.rules("default", money=True)
            ],
            self.caches.all(),
            [(each.name, each.version) for each in self.identity.secrets.list("default")],
        )


@pytest.fixture
def here(database: Database, monkeypatch: pytest.MonkeyPatch) -> Here:
    made = Here(database)
    monkeypatch.setattr(ApiClient, "from_environment", lambda: ApiClient(ORIGIN, made.key, transport=SyncApp(made.app)))
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_a_configuration_is_taken_over_and_again_changes_nothing(
    here: Here, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", "litellm", str(config)]) == 0
    printed = capsys.readouterr().out
    assert 'printf %s "$OPENAI_KEY_OF_TEST" | tetrad secret set OPENAI_KEY_OF_TEST' in printed
    assert "tetrad secret set anthropic-key" in printed
    assert LITERAL not in printed
    first = here.state()
    openai = here.providers.get("default", "openai")
    assert (openai.secret, openai.models[0].price.input) == ("OPENAI_KEY_OF_TEST", "1")  # type: ignore[union-attr]
    origin = openai.models[0].price_origin
    assert origin is not None
    assert (origin.source, origin.at is not None) == ("litellm", True)
    assert here.providers.get("default", "ollama").internal
    [smart] = [each for each in here.routes.all("default") if each.name == "smart"]
    assert [target.model for target in smart.targets] == ["openai/gpt-5", "ollama/llama3"]
    assert (smart.aliases, smart.retry.retries) == (("gpt-4",), 2)
    assert [target.model for target in smart.fallbacks.context_window] == ["anthropic/claude-opus-5"]
    assert here.caches.all()["default/"].ttl_s == 60
    assert run(["import", "litellm", str(config)]) == 0
    assert here.state() == first


def test_a_dry_run_calls_nobody_and_says_the_same(
    here: Here, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = here.state()
    assert run(["import", "litellm", str(config), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    after = here.state()
    monkeypatch.setattr(ApiClient, "from_environment", lambda: pytest.fail("a dry run calls nobody"))
    assert run(["import", "litellm", str(config), "--dry-run", "--json"]) == 0
    dry = json.loads(capsys.readouterr().out)
    assert (dry["steps"], dry["findings"]) == (done["steps"], done["findings"])
    assert dry["dry_run"]
    assert before != after == here.state()
    assert LITERAL not in json.dumps(dry)


def test_secrets_come_from_the_environment_where_that_is_asked_and_never_from_the_file(
    here: Here, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_KEY_OF_TEST", FROM_ENV)
    assert run(["import", "litellm", str(config), "--secrets-from-env"]) == 0
    printed = capsys.readouterr().out
    assert here.identity.secrets.reveal("default", "OPENAI_KEY_OF_TEST") == FROM_ENV
    assert [each.name for each in here.identity.secrets.list("default")] == ["OPENAI_KEY_OF_TEST"]
    assert "tetrad secret set anthropic-key" in printed
    assert "$OPENAI_KEY_OF_TEST" not in printed
    assert FROM_ENV not in printed


@pytest.mark.parametrize("text", [b"\xff\xfe", b"[]", b"a: [", b"a: &b 1"])
def test_what_is_no_configuration_is_an_error_and_no_traceback(
    here: Here, tmp_path: Path, text: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.yaml"
    path.write_bytes(text)
    assert run(["import", "litellm", str(path)]) == 2
    assert run(["import", "litellm", str(tmp_path / "absent.yaml")]) == 2
    assert "Traceback" not in capsys.readouterr().err
