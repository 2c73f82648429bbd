"""Files that GOOGLE_APPLICATION_CREDENTIALS names: federation, impersonation, accounts; nobody quotes a secret."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.fake_metadata import FakeMetadata
from support.raw_server import RawServer
from support.wait import async_wait_until
from tetrad.adapters.providers._google import SCOPE
from tetrad.adapters.providers._identity import MAX_FILE, Kept, NoIdentity
from tetrad.adapters.providers._token_identity import GoogleMachine, MachineToken
from tetrad.kernel import FixedClock
from tetrad.kit.egress import Reach, parse_egress
from tetrad.kit.upstream import Client, parse_address
from tetrad.serving import Upstream

BOT = "/google/v1/projects/-/serviceAccounts/bot@p.iam.gserviceaccount.com:generateAccessToken"
JWT = "urn:ietf:params:oauth:token-type:jwt"
Machine = Callable[..., GoogleMachine]


def say(file: Path, text: str) -> None:
    file.write_text(text, "utf-8", "surrogatepass")


def forget(file: Path) -> None:
    file.unlink()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "credentials.json"


@pytest.fixture
def machine(file: Path, server: RawServer, clock: FixedClock, client: Client) -> Machine:
    def make(said: dict[str, Any], egress: str = "public") -> GoogleMachine:
        say(file, json.dumps(said))
        environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "GCE_METADATA_HOST": server.url[7:]}
        return GoogleMachine(client, clock, SCOPE, Reach(parse_egress(egress)), environ)

    return make


def external(server: RawServer, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "external_account", "audience": "//iam/pool", "subject_token_type": JWT,
        "token_url": f"{server.url}/google/exchange", "credential_source": source, **more,
    }  # fmt: skip


async def test_a_token_in_a_file_is_exchanged_and_read_anew_each_time(
    machine: Machine, server: RawServer, cloud: FakeMetadata, clock: FixedClock, token_file: Path
) -> None:
    found = machine(external(server, {"file": str(token_file)}))
    assert await found.fetch() == ("federated.1", clock.now_ns() + 3600 * 10**9)
    form = cloud.asked[0][3]
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:token-exchange"]
    assert (form["subject_token_type"], form["scope"]) == ([JWT], [SCOPE])
    say(token_file, "another")
    with pytest.raises(NoIdentity, match="token exchange gives no credential \\(400\\)") as caught:
        await found.fetch()
    assert "audience" in caught.value.hint
    assert cloud.count("/computeMetadata/v1/instance/service-accounts/default/token") == 0, "nobody else is asked"


async def test_a_token_in_json_is_taken_from_its_field(machine: Machine, server: RawServer, token_file: Path) -> None:
    say(token_file, '{"id_token": "web-token", "other": 1}')
    form = {"type": "json", "subject_token_field_name": "id_token"}
    found = machine(external(server, {"file": str(token_file), "format": form}))
    assert (await found.fetch())[0] == "federated.1"
    for said in ('{"other": 1}', '{"id_token": 1}', "web-token", ""):
        say(token_file, said)
        with pytest.raises(NoIdentity, match="looks for a token is none"):
            await found.fetch()


async def test_a_token_at_a_url_is_fetched_with_its_headers_and_becomes_a_service_account(
    machine: Machine, server: RawServer, cloud: FakeMetadata, clock: FixedClock
) -> None:
    source = {
        "url": f"{server.url}/google/subject?audience=x", "headers": {"Authorization": "proof"},
        "format": {"type": "json", "subject_token_field_name": "value"},
    }  # fmt: skip
    more = {
        "service_account_impersonation_url": f"{server.url}{BOT}",
        "service_account_impersonation": {"token_lifetime_seconds": 1800}, "client_id": "me", "client_secret": "hush",
    }  # fmt: skip
    found = machine(external(server, source, **more))
    assert await found.fetch() == ("impersonated.2", clock.now_ns() + 3600 * 10**9)
    assert [each[1] for each in cloud.asked] == ["/google/subject", "/google/exchange", BOT]
    assert cloud.asked[1][2]["authorization"] == f"Basic {base64.b64encode(b'me:hush').decode()}"
    assert cloud.asked[2][2]["authorization"] == "Bearer federated.1"
    assert json.loads(cloud.bodies[2]) == {"scope": [SCOPE], "lifetime": "1800s"}
    cloud.lies["/google/subject"] = 500, b"hush"
    with pytest.raises(NoIdentity, match=r"what credential_source.url names gives no credential \(500\)"):
        await found.fetch()


async def test_a_person_lends_a_service_account_by_way_of_delegates(
    machine: Machine, server: RawServer, cloud: FakeMetadata
) -> None:
    person = {
        "type": "authorized_user", "client_id": "c", "client_secret": "hush", "refresh_token": "refresh",
        "token_uri": f"{server.url}/google/oauth",
    }  # fmt: skip
    found = machine({**person, "quota_project_id": "payer-1"})
    login = MachineToken(Upstream("up", "https://h"), found.fetch, FixedClock(), found.project)
    lines = await login.lines("POST", parse_address("https://h"), "/", b"")
    assert lines == b"authorization: Bearer oauth.1\r\nx-goog-user-project: payer-1\r\n"
    lent = {
        "type": "impersonated_service_account", "source_credentials": person, "delegates": ["d1"],
        "service_account_impersonation_url": f"{server.url}{BOT}",
    }  # fmt: skip
    found = machine(lent)
    assert (await found.fetch())[0] == "impersonated.3"
    assert json.loads(cloud.bodies[-1])["delegates"] == ["d1"]
    assert found.project() == ""
    for inner in ({**lent}, {**person, "refresh_token": "ended"}, {"type": "authorized_user"}):
        with pytest.raises(NoIdentity) as caught:
            await machine({**lent, "source_credentials": inner}).fetch()
        assert "hush" not in caught.value.message + caught.value.hint


async def test_a_service_account_signs_its_own_statement(
    machine: Machine, server: RawServer, cloud: FakeMetadata
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {
        "type": "service_account", "client_email": "bot@p", "private_key": pem,
        "token_uri": f"{server.url}/google/oauth",
    }  # fmt: skip
    assert (await machine(account).fetch())[0] == "oauth.1"
    claims = cloud.asked[0][3]["assertion"][0].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["iss"] == "bot@p"
    with pytest.raises(NoIdentity, match="not complete") as caught:
        await machine({**account, "private_key": "hush"}).fetch()
    assert "private_key" in caught.value.hint
    assert "hush" not in caught.value.message + caught.value.hint


async def test_addresses_in_the_file_are_asked_by_the_rules_of_egress_and_over_tls(
    machine: Machine, server: RawServer, token_file: Path
) -> None:
    source = {"file": str(token_file)}
    for url, what in (
        ("http://sts.example/v1/token", "token_url of the file .* is no https"),
        ("https://10.0.0.9/v1/token", "egress_refused"),
        ("https://169.254.169.254/v1/token", "egress_refused"),
        ("https://metadata.google.internal/v1/token", "egress_refused"),
        ("https://[::1", "not complete"),
        ("file:///etc/passwd", "is no https"),
    ):
        with pytest.raises(NoIdentity, match=what) as caught:
            await machine(external(server, source, token_url=url)).fetch()
        assert "TETRAD_EGRESS_ALLOW" in caught.value.hint or what != "egress_refused"
    with pytest.raises(NoIdentity, match="egress_refused"):
        await machine(
            external(server, source, token_url="https://sts.googleapis.com/v1/token"),
            "api.openai.com",
        ).fetch()
    for url in ("http://10.0.0.9/token", "http://metadata.google.internal/token", "http://stranger.example/"):
        with pytest.raises(NoIdentity, match=r"credential_source\.url of the file .* is no https"):
            await machine(external(server, {"url": url})).fetch()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"type": "gdch_service_account"}, "of a kind that is not known"),
        ({"type": None}, "of a kind that is not known"),
        ({"type": ["external_account"]}, "of a kind that is not known"),
        ({"audience": 1}, "not complete"),
        ({"quota_project_id": "a\r\nb"}, "not complete"),
        ({"credential_source": {}}, "not complete"),
        ({"credential_source": {"file": "/nonexistent"}}, "cannot be read"),
        ({"credential_source": {"file": "/dev/zero"}}, "cannot be read"),
        ({"credential_source": {"environment_id": "aws1"}}, "AWS, a program or a certificate"),
        ({"credential_source": {"executable": {"command": "hush"}}}, "AWS, a program or a certificate"),
        ({"service_account_impersonation_url": "https://h", "service_account_impersonation":
          {"token_lifetime_seconds": 1}}, "not complete"),
        ({"service_account_impersonation_url": "http://h"}, "is no https"),
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_used_says_why_and_what_to_do(
    machine: Machine, server: RawServer, token_file: Path, change: dict[str, Any], what: str
) -> None:
    with pytest.raises(NoIdentity, match=what) as caught:
        await machine(external(server, {"file": str(token_file)}, **change)).fetch()
    assert caught.value.hint
    assert "hush" not in caught.value.message + caught.value.hint


async def test_hostile_files_are_refused_and_hold_nobody_up(machine: Machine, file: Path) -> None:
    found = machine({})
    forget(file)
    with pytest.raises(NoIdentity, match="cannot be read"):
        await found.fetch()
    os.mkfifo(file)
    for said in (None, "[]", "\ud800", "[" * 60_000, '{"type": "' + "x" * MAX_FILE):
        if said is not None:
            forget(file)
            say(file, said)
        with pytest.raises(NoIdentity, match="cannot be read"):
            await found.fetch()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/google/exchange", b"<html>hush"),
        ("/google/exchange", b'{"access_token":"hush hush","expires_in":60}'),
        ("/google/exchange", b'{"access_token":"hush"}'),
        ("/google/exchange", b"x" * 70_000),
        (BOT, b'{"accessToken":"hush","expireTime":"soon"}'),
        (BOT, b'{"accessToken":"hush","expireTime":"2099-01-01T00:00:00"}'),
        (BOT, b'{"accessToken":"hush\\r\\nx: y","expireTime":"2099-01-01T00:00:00Z"}'),
    ],
)
async def test_a_service_that_lies_is_an_error_that_quotes_nothing(
    machine: Machine, server: RawServer, cloud: FakeMetadata, token_file: Path, path: str, body: bytes
) -> None:
    cloud.lies[path] = 200, body
    url = f"{server.url}{BOT}"
    with pytest.raises(NoIdentity) as caught:
        await machine(external(server, {"file": str(token_file)}, service_account_impersonation_url=url)).fetch()
    assert caught.value.hint
    assert "hush" not in caught.value.message + caught.value.hint


async def test_tokens_are_renewed_while_they_hold_and_a_slow_service_holds_up_nobody_who_has_one(
    machine: Machine, server: RawServer, cloud: FakeMetadata, clock: FixedClock, token_file: Path
) -> None:
    kept = Kept(machine(external(server, {"file": str(token_file)})).fetch, clock, "the upstream 'up'")
    assert await kept.get() == "federated.1"
    clock.advance(3310)
    cloud.held = asyncio.Event()
    assert await kept.get() == "federated.1"
    await async_wait_until(lambda: cloud.count("/google/exchange") == 2)
    assert await kept.get() == "federated.1"
    cloud.held.set()
    await async_wait_until(lambda: kept._found is not None and kept._found[0] == "federated.2")
