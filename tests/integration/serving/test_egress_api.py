"""Who may put a provider where: through the API, by project administrators and by those of the installation."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from support.identity import ADMIN, caller, make_app, make_identity
from tetrad.kernel import Conflict, FixedClock
from tetrad.kit.db import Database
from tetrad.kit.egress import parse_egress
from tetrad.serving import ProviderDirectory, ProviderProbe
from tetrad.serving._store import SqlProviderStore
from tetrad.serving.routes import provider_router

PATH = "/api/v1/projects/default/providers/acme"


class Installation:
    def __init__(self, database: Database, allow: str = "public") -> None:
        identity = make_identity(database)
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, "default", "default")
        self.store = SqlProviderStore(database, FixedClock())
        self.directory = ProviderDirectory(self.store, egress=parse_egress(allow))
        probe = ProviderProbe(identity.secrets.reveal, FixedClock(), egress=allow)
        app = make_app(identity, provider_router(self.directory, probe))
        scopes = ["control", "admin"]
        self.editor = caller(app, identity.keys.create(ADMIN, "default", "editor", scopes).secret)
        self.administrator = caller(app, identity.keys.create(ADMIN, None, "admin", scopes).secret)


@pytest.fixture
async def made(database: Database) -> AsyncIterator[Installation]:
    installation = Installation(database)
    yield installation
    await installation.editor.aclose()
    await installation.administrator.aclose()


def body(url: str, **more: Any) -> dict[str, Any]:
    return {"base_url": url, "models": [{"name": "big"}], **more}


async def put(client: httpx.AsyncClient, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
    answer = await client.put(PATH, json=body(url, **more))
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("url", "editor", "administrator"),
    [
        ("https://api.openai.com/v1", 200, 200),
        ("http://8.8.8.8/v1", 200, 200),
        ("http://127.0.0.1:8401/internal/v1", 403, 200),
        ("http://localhost:11434/v1", 403, 200),
        ("http://10.0.0.7:8000/v1", 403, 200),
        ("http://[::1]:8401", 403, 200),
        ("http://[::ffff:127.0.0.1]:8401", 403, 200),
        ("http://vllm:8000/v1", 403, 200),
        ("http://vllm.models.svc.cluster.local/v1", 403, 200),
        ("http://169.254.169.254/latest", 403, 403),
        ("http://metadata.google.internal/", 403, 403),
        ("http://[fd00:ec2::254]/", 403, 403),
        ("http://2852039166/", 403, 403),
        ("http://0x7f.1/", 403, 403),
        ("http://0.0.0.0:8401/", 403, 403),
        ("http://key@127.0.0.1/", 400, 400),
        ("http://example.com\\@127.0.0.1/", 400, 400),
        ("unix:///run/docker.sock", 400, 400),
    ],
)
async def test_a_provider_stands_where_its_author_may_put_it(
    made: Installation, url: str, editor: int, administrator: int
) -> None:
    status, said = await put(made.editor, url)
    assert status == editor, said
    if status == 403:
        assert said["code"] == "egress_refused"
        assert said["hint"]
    status, said = await put(made.administrator, url)
    assert status == administrator, said


async def test_an_editor_may_change_what_an_administrator_put_inside_but_not_move_it(made: Installation) -> None:
    inside = "http://10.0.0.7:8000/v1"
    assert (await put(made.administrator, inside))[1]["internal"] is True
    status, said = await put(made.editor, "http://10.0.0.7:8000/v2", max_connections=9)
    assert (status, said["internal"]) == (200, True)
    assert (await put(made.editor, "http://10.0.0.7:8401/v1"))[0] == 403
    assert (await put(made.editor, "http://10.0.0.8:8000/v1"))[0] == 403
    assert (await put(made.editor, "https://api.example.com", internal=True))[0] == 403


async def test_only_an_administrator_says_that_a_public_name_resolves_inside(made: Installation) -> None:
    assert (await put(made.editor, "https://llm.example.com/v1", internal=True))[0] == 403
    assert (await put(made.administrator, "https://llm.example.com/v1"))[1]["internal"] is False
    assert (await put(made.administrator, "https://llm.example.com/v1", internal=True))[1]["internal"] is True
    assert (await put(made.administrator, "https://llm.example.com/v2"))[1]["internal"] is True, "as before"
    assert (await put(made.administrator, "http://localhost:11434", internal=False))[1]["internal"] is True
    assert (await put(made.administrator, "https://llm.example.com/v1", internal=True))[1]["internal"] is True
    status, said = await put(made.editor, "https://llm.example.com/v1", internal=False)
    assert (status, said["internal"]) == (200, False)
    assert (await put(made.editor, "https://llm.example.com/v1", internal=True))[0] == 403


async def test_the_setting_opens_networks_and_names_for_editors(database: Database) -> None:
    made = Installation(database, "public,10.2.0.0/16,*.svc.cluster.local")
    for url, wanted in (
        ("http://10.2.9.9/v1", 200),
        ("http://10.3.9.9/v1", 403),
        ("http://vllm.a.svc.cluster.local/v1", 200),
        ("http://169.254.169.254/", 403),
    ):
        assert (await put(made.editor, url))[0] == wanted, url
    await made.editor.aclose()
    await made.administrator.aclose()


async def test_without_the_word_public_the_list_is_all_there_is(database: Database) -> None:
    made = Installation(database, "api.openai.com")
    assert (await put(made.editor, "https://api.openai.com/v1"))[0] == 200
    assert (await put(made.editor, "https://elsewhere.example/v1"))[0] == 403
    assert (await put(made.administrator, "https://8.8.8.8/v1"))[0] == 403
    await made.editor.aclose()
    await made.administrator.aclose()


async def test_only_administrators_of_the_installation_configure_calls_that_ask_no_policy(made: Installation) -> None:
    url, more = "https://api.example.com/v1", {"adapter": "any-llm", "options": {"provider": "deepinfra"}}
    status, said = await put(made.editor, url, **more)
    assert (status, said["code"]) == (403, "egress_refused")
    found = await made.editor.post(f"{PATH}/discover", json=body(url, **more))
    assert found.status_code == 403
    assert (await put(made.administrator, url, **more))[0] == 200
    # neither may editors change what is there: its secret, its address, its models
    assert (await put(made.editor, url, **more, secret="mine"))[0] == 403
    assert (await put(made.administrator, "http://169.254.169.254/v1", **more))[0] == 403


@pytest.mark.parametrize(
    ("auth", "adapter"),
    [("aws-machine", "bedrock"), ("aws-machine", "invocations"), ("google-machine", "gemini"),
     ("google-machine", "vertex-anthropic"), ("azure-machine", "azure"), ("azure-machine", "openai")],
)  # fmt: skip
async def test_only_administrators_of_the_installation_have_calls_made_as_the_machine(
    made: Installation, auth: str, adapter: str
) -> None:
    url, more = "https://api.example.com/v1", {"adapter": adapter, "auth": auth}
    status, said = await put(made.editor, url, **more)
    assert (status, said["code"]) == (403, "egress_refused")
    assert (await made.editor.post(f"{PATH}/discover", json=body(url, **more))).status_code == 403
    assert (await put(made.administrator, url, **more))[0] == 200
    # nor may editors move it, or send it elsewhere
    assert (await put(made.editor, "https://evil.example.com/v1", **more))[0] == 403
    assert (await put(made.administrator, "http://api.example.com/v1", **more))[0] == 400
    assert (await put(made.administrator, url, **more, secret="key"))[0] == 400
    assert (await put(made.administrator, "http://169.254.169.254/v1", **more))[0] in (400, 403)
    assert (await put(made.administrator, url, adapter="mistral", auth=auth))[0] == 400
