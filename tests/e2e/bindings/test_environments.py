"""The example app answers from another provider where its environment is bound so, and comes back by one command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from support.fake_openai import FakeOpenAI
from support.mcp_wire import META, mcp_server, rpc, text_of
from support.mcp_wire import client as mcp_client
from support.product import Product, environ_of
from support.wait import wait_until

BOUND = "providers:\n  local:\n    provider: bound\n    models: {smollm2-135m: m1}\n    secret: bound-key\n"
MESSAGES: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def upstream(product: Product) -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        subprocess.run(
            [sys.executable, "-m", "tetrad", "secret", "set", "bound-key"], env=product.environment,
            input="the-key-of-this-environment", text=True, check=True, timeout=60, capture_output=True,
        )  # fmt: skip
        product.cli("provider", "set", "bound", "--base-url", fake.base_url, "--model", "m1")
        yield fake


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    env = environ_of(product)
    with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=0) as made:
        yield made


def asked(client: openai.OpenAI) -> Any:
    return client.chat.completions.with_raw_response.create(model="app:assistant", messages=MESSAGES, max_tokens=4)


def test_an_environment_is_bound_told_by_every_span_and_rolled_back(
    product: Product, upstream: FakeOpenAI, client: openai.OpenAI, tmp_path: Path
) -> None:
    file, empty = tmp_path / "bound.yaml", tmp_path / "empty.yaml"
    file.write_text(BOUND)
    empty.write_text("schema: tetrad.binding/1\n")
    product.cli("binding", "check", "--file", str(file))
    product.cli("binding", "put", str(empty), "--env", "production", "-m", "names mean themselves")
    product.cli("binding", "put", str(file), "--env", "production", "-m", "elsewhere")
    first, second = (each["to"] for each in reversed(history(product)))
    raw = wait_until(
        lambda: (answer := asked(client)).headers.get("x-tetrad-binding") == second and answer, what="the binding"
    )
    request = upstream.requests[-1]
    assert (request.body["model"], request.headers["authorization"]) == ("m1", "Bearer the-key-of-this-environment")
    trace = wait_until(lambda: of_binding(product, second), timeout_s=20, what="a trace by its binding")
    assert trace["release"] == raw.headers["x-tetrad-release"]
    detail = product.control("GET", f"/api/v1/projects/default/traces/{trace['trace_id']}").json()
    assert {span["binding"] for span in detail["spans"]} == {second}
    product.cli("binding", "rollback", "--env", "production", "-m", "back home")
    home = wait_until(
        lambda: (answer := asked(client)).headers.get("x-tetrad-binding") == first and answer, what="the way back"
    )
    assert home.headers["x-tetrad-release"] == raw.headers["x-tetrad-release"], "the release is the same throughout"
    assert len(upstream.requests) == len([seen for seen in upstream.requests if seen.body["model"] == "m1"])


def test_a_binding_to_what_is_gone_closes_its_ref_and_control_names_it(
    product: Product, upstream: FakeOpenAI, client: openai.OpenAI, tmp_path: Path
) -> None:
    file = tmp_path / "bound.yaml"
    file.write_text(BOUND)
    product.cli("binding", "put", str(file), "--env", "production")
    product.cli("provider", "remove", "bound")

    def refused() -> openai.APIStatusError | None:
        try:
            asked(client)
        except openai.APIStatusError as error:
            return error
        return None

    error = wait_until(refused, what="the broken binding to be refused")
    assert (error.status_code, "binding_broken" in error.response.text) == (503, True)
    assert client.chat.completions.create(model="local/smollm2-135m", messages=MESSAGES, max_tokens=4).choices
    status = product.control("GET", "/api/v1/status").json()
    assert any("bindings/production" in problem for problem in status["route_table"]["problems"])
    done = product.cli("binding", "check", "--env", "production", check=False)
    assert (done.returncode, "providers.local.provider" in done.stderr) == (1, True)
    product.cli("binding", "rollback", "--env", "production")
    wait_until(lambda: refused() is None, what="the app to answer again")


def history(product: Product) -> list[dict[str, Any]]:
    return list(json.loads(product.cli("binding", "history", "--env", "production", "--json").stdout))


def of_binding(product: Product, digest: str) -> dict[str, Any] | None:
    found = json.loads(product.cli("trace", "list", "--binding", digest, "--json").stdout)
    return dict(found[0]) if found else None


MCP = "mcp_servers:\n  files: {server: files-%s}\n"


async def test_an_app_reaches_the_mcp_server_that_its_environment_binds(product: Product, tmp_path: Path) -> None:
    key = environ_of(product)["OPENAI_API_KEY"]
    file = tmp_path / "servers.yaml"
    file.write_text(MCP % "eu")
    refused = product.cli("binding", "check", "--file", str(file), check=False)
    assert refused.returncode != 0
    assert "no MCP server 'files-eu'" in refused.stdout + refused.stderr
    with mcp_server() as eu, mcp_server() as us:
        for name, server in (("files-eu", eu), ("files-us", us)):
            product.cli(
                "mcp", "add", name, "--url", server.url, "--approve", "--serves", "tools", "--serves", "resources"
            )
        product.cli("binding", "put", str(file), "--env", "production", "-m", "files in Europe")

        def answers() -> str | None:
            headers = {"x-tetrad-app": "assistant", "mcp-name": "mcp+files+memo://x"}
            body = {"uri": "mcp+files+memo://x", "_meta": META}
            said = rpc(f"{product.gateway_url}/mcp", "resources/read", body, key=key, headers=headers)[2]
            return str(said["result"]["contents"][0]["text"]) if "result" in said else None

        first = wait_until(answers, what="the bound server", timeout_s=60)
        async with mcp_client(f"{product.gateway_url}/mcp", key, **{"x-tetrad-app": "assistant"}) as mcp:
            names = {tool.name.split("__")[0] for tool in (await mcp.list_tools()).tools}
            assert names == {"files", "files-us"}
            assert text_of(await mcp.call_tool("files__add", {"a": 1, "b": 2})) == "3"
        file.write_text(MCP % "us")
        product.cli("binding", "put", str(file), "--env", "production", "-m", "files in the US")
        wait_until(lambda: (now := answers()) is not None and now != first, what="the other server", timeout_s=60)
        shown = product.cli("binding", "diff", "production@1.0.0", "production").stdout
        product.cli("mcp", "remove", "files-us")
        wait_until(lambda: answers() is None, what="the end of the server", timeout_s=60)
        told = product.cli("binding", "check", "--env", "production", check=False)
        assert "no MCP server 'files-us'" in told.stdout + told.stderr
    assert "MCP server files" in shown
