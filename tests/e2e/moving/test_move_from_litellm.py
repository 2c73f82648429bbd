"""Somebody moves here from LiteLLM: one command, then calls; later the sealing key is rotated under them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from support.fake_openai import FakeOpenAI
from support.product import Product, environ_of
from support.wait import wait_until

SECRET = "sk-moved-0123456789/abcdef+ghij"
VARIABLE = "UPSTREAM_KEY_OF_THE_MOVE"


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def moved(product: Product, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Product:
    config = tmp_path_factory.mktemp("litellm") / "config.yaml"
    config.write_text(
        f"""
model_list:
  - model_name: Smart Model
    litellm_params:
      model: openai/m1
      api_base: {upstream.base_url}
      api_key: os.environ/{VARIABLE}
    model_info: {{input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}}
  - model_name: shaky
    litellm_params: {{model: openai/error:500, api_base: "{upstream.base_url}", api_key: os.environ/{VARIABLE}}}
router_settings:
  num_retries: 1
  fallbacks: [{{shaky: [Smart Model]}}]
  model_group_alias: {{gpt-4: Smart Model}}
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "tetrad", "import", "litellm", str(config), "--secrets-from-env", "--json"],
        env={**os.environ, **product.environment, VARIABLE: SECRET},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["secrets_to_set"] == []
    assert SECRET not in done.stdout + done.stderr
    return product


@pytest.fixture
def client(moved: Product) -> Iterator[openai.OpenAI]:
    env = environ_of(moved)
    with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=0) as made:
        wait_until(lambda: "gpt-4" in {model.id for model in made.models.list()}, what="the route at the gateway")
        yield made


def asked(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])
    return answer.choices[0].message.content or ""


@pytest.mark.parametrize("model", ["smart-model", "gpt-4", "shaky", "openai/m1"])
def test_clients_keep_the_names_that_they_know(client: openai.OpenAI, upstream: FakeOpenAI, model: str) -> None:
    assert asked(client, model) == "Hello world."
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {SECRET}"


def test_the_sealing_key_is_rotated_while_calls_go_on(
    moved: Product, client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    before = (moved.home / "keys" / "seal.key").read_text()
    done = json.loads(moved.cli("secret", "rotate-key", "--json").stdout)
    assert (done["made"], done["done"], done["left"]) == (True, True, 0)
    after = (moved.home / "keys" / "seal.key").read_text()
    assert len(after.split()) == 1
    assert after != before
    version = moved.control("GET", "/api/v1/projects/default/secrets").json()["items"]
    assert VARIABLE in {each["name"] for each in version}
    assert asked(client, "gpt-4") == "Hello world."
    put = moved.cli("provider", "set", "after", "--base-url", upstream.base_url, "--secret", VARIABLE, "--model", "m1")
    assert put.returncode == 0
    wait_until(
        lambda: "after/m1" in {model.id for model in client.models.list()}, what="a table sealed with the new key"
    )
    assert asked(client, "after/m1") == "Hello world."
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {SECRET}"


def test_the_providers_key_is_nowhere_but_in_what_is_sealed(moved: Product, client: openai.OpenAI) -> None:
    for model in ("smart-model", "shaky"):
        asked(client, model)
    with pytest.raises(openai.APIError):
        asked(client, "openai/error:500")
    refused = moved.control("PUT", "/api/v1/projects/default/secrets/bad name", json={"value": SECRET})
    assert refused.status_code == 400
    answers = [
        moved.control("GET", path).content
        for path in (
            "/api/v1/projects/default/providers", "/api/v1/projects/default/secrets", "/api/v1/projects/default/routes",
            "/api/v1/projects/default/audit", "/api/v1/projects/default/traces", "/metrics", "/api/v1/audit",
        )
    ]  # fmt: skip
    places = [(str(path), path.read_bytes()) for path in moved.home.rglob("*") if path.is_file() and _plain(path)]
    places += [(f"answer {number}", data) for number, data in enumerate([*answers, refused.content])]
    assert any("logs" in name for name, _ in places)
    for form in _forms(SECRET):
        assert [name for name, data in places if form in data] == []


def _plain(path: Path) -> bool:
    return path.parent.name != "keys" and not path.name.endswith(".sealed")


def _forms(secret: str) -> set[bytes]:
    raw = secret.encode()
    found = {raw, urllib.parse.quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode()}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        found.add(coded[4 if offset else 0 : -2].encode())
    return found
