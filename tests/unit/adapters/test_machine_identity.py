"""Credentials that a cloud tells its machine: found in order, fetched once, renewed in time, not used past the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.fake_metadata import ROLE, FakeMetadata
from support.raw_server import RawServer, answering, raw_server
from support.wait import async_wait_until
from tetrad.adapters.providers import _aws_identity
from tetrad.adapters.providers._aws import AwsCredential
from tetrad.adapters.providers._aws_identity import AwsChain
from tetrad.adapters.providers._identity import Kept, NoIdentity
from tetrad.adapters.providers._token_identity import AzureIdentity, GoogleMetadata, MachineToken
from tetrad.adapters.providers.azure import AzureProvider
from tetrad.adapters.providers.bedrock import BedrockProvider
from tetrad.adapters.providers.gemini import GeminiProvider
from tetrad.adapters.providers.invocations import InvocationsProvider
from tetrad.kernel import FixedClock, InvalidInput, TetradError
from tetrad.kit.upstream import Client, parse_address
from tetrad.serving import Upstream
from tetrad.serving._failures import classify_error

ADDRESS = parse_address("https://h")
IMDS = f"/latest/meta-data/iam/security-credentials/{ROLE}"
GOOGLE = "/computeMetadata/v1/instance/service-accounts/default/token"


async def test_the_environment_comes_first_and_asks_nobody(client: Client) -> None:
    said = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://x"}
    found, _ = await AwsChain(client, "eu-west-1", said).fetch()
    assert found == AwsCredential("AKIA", "s", "")
    with pytest.raises(NoIdentity, match="no pair"):
        await AwsChain(client, "eu-west-1", {"AWS_ACCESS_KEY_ID": "AKIA"}).fetch()


async def test_a_web_identity_becomes_a_role(
    client: Client, server: RawServer, cloud: FakeMetadata, clock: FixedClock, token_file: Path
) -> None:
    said = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file), "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
        "AWS_ENDPOINT_URL_STS": f"{server.url}/sts", "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/creds",
    }  # fmt: skip
    found, end_ns = await AwsChain(client, "eu-west-1", said).fetch()
    assert found == AwsCredential("ASIA1", "secret/1+=", "session/1+=")
    assert end_ns == clock.now_ns() + 3600 * 10**9
    assert cloud.asked[0][3]["RoleArn"] == ["arn:aws:iam::1:role/r"]
    await asyncio.to_thread(token_file.write_text, "another")  # read anew; what fails gives way to nobody else
    with pytest.raises(NoIdentity, match="AWS STS gives no credential"):
        await AwsChain(client, "eu-west-1", said).fetch()
    assert cloud.count("/creds") == 0
    with pytest.raises(NoIdentity, match="is no https"):
        await AwsChain(client, "x", {**said, "AWS_ENDPOINT_URL_STS": "http://sts.example"}).fetch()


async def test_a_container_is_asked_with_its_token(
    client: Client, server: RawServer, cloud: FakeMetadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pod"
    file.write_text("pod-token")
    said = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "old",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
    }  # fmt: skip
    assert (await AwsChain(client, "r", said).fetch())[0].access_key_id == "ASIA1"
    assert cloud.asked[0][2]["authorization"] == "pod-token"
    monkeypatch.setattr(_aws_identity, "CONTAINER", server.url)
    relative = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/abc"}
    assert (await AwsChain(client, "r", relative).fetch())[0].access_key_id == "ASIA2"


@pytest.mark.parametrize(
    "url",
    ["http://evil.example/creds", "http://169.254.169.254/creds", "http://10.0.0.1/", "ftp://localhost/", "x", ""],
)
async def test_a_container_address_without_tls_must_be_a_known_one(client: Client, url: str) -> None:
    said = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.raises(NoIdentity, match=r"without TLS|switched off"):
        await AwsChain(client, "r", said).fetch()
    with pytest.raises(NoIdentity, match="is no path"):
        await AwsChain(client, "r", {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "@evil.example/"}).fetch()


async def test_an_instance_is_asked_by_the_second_version_only(
    client: Client, server: RawServer, cloud: FakeMetadata
) -> None:
    said = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}
    assert (await AwsChain(client, "r", said).fetch())[0] == AwsCredential("ASIA1", "secret/1+=", "session/1+=")
    assert [each[0] for each in cloud.asked] == ["PUT", "GET", "GET"]
    cloud.lies["/latest/api/token"] = 403, b""
    with pytest.raises(NoIdentity, match="gives no credential \\(403\\)"):
        await AwsChain(client, "r", said).fetch()
    assert len(cloud.asked) == 4


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/latest/api/token", 200, b"two words"),
        ("/latest/meta-data/iam/security-credentials/", 200, b"../../user-data"),
        ("/latest/meta-data/iam/security-credentials/", 404, b""),
        (IMDS, 200, b"<html>"),
        (IMDS, 200, b'{"Code":"AssumeRoleUnauthorizedAccess"}'),
        (IMDS, 200, b'{"AccessKeyId":"A","SecretAccessKey":"B","Token":"C"}'),
        (IMDS, 200, b'{"AccessKeyId":"A","SecretAccessKey":"B","Token":"C","Expiration":"2099-01-01T00:00:00"}'),
        (IMDS, 200, b'{"AccessKeyId":"\\r\\nb","SecretAccessKey":"B","Token":"C","Expiration":"2099-01-01T00:00:00Z"}'),
        (IMDS, 200, b"x" * 70_000),
        (IMDS, 302, b""),
    ],
)  # fmt: skip
async def test_a_service_that_lies_is_an_error_that_quotes_nothing(
    client: Client, server: RawServer, cloud: FakeMetadata, path: str, status: int, body: bytes
) -> None:
    cloud.lies[path] = status, body
    with pytest.raises(NoIdentity) as caught:
        await AwsChain(client, "r", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}).fetch()
    assert caught.value.hint
    assert not body or body.decode() not in caught.value.message
    assert classify_error(caught.value) == "unavailable"


async def test_a_service_that_is_absent_is_an_error_that_says_what_to_check(client: Client) -> None:
    with pytest.raises(NoIdentity) as caught:
        await AwsChain(client, "r", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}).fetch()
    assert "upstream_unreachable" in caught.value.message
    assert "hop limit" in caught.value.hint


async def test_a_service_that_is_slow_is_given_up(
    client: Client, server: RawServer, cloud: FakeMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tetrad.adapters.providers import _identity
    from tetrad.kit.upstream import Timeouts

    monkeypatch.setattr(_identity, "TIMEOUTS", Timeouts(5.0, 0.05, 0.05, 0.05))
    cloud.held = asyncio.Event()
    with pytest.raises(NoIdentity, match="upstream_timeout"):
        await AwsChain(client, "r", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}).fetch()
    cloud.held.set()


async def test_all_calls_wait_for_one_fetch_and_a_cancelled_one_stops_no_other(
    client: Client, server: RawServer, cloud: FakeMetadata, clock: FixedClock
) -> None:
    source = GoogleMetadata(client, clock, "scope", {"GCE_METADATA_HOST": server.url[7:]})
    kept = Kept(source.fetch, clock, "the upstream 'up'")
    cloud.held = asyncio.Event()
    calls = [asyncio.create_task(kept.get()) for _ in range(20)]
    await async_wait_until(lambda: cloud.count(GOOGLE) == 1)
    calls[0].cancel()
    cloud.held.set()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == ["ya29.1"] * 19
    assert cloud.count(GOOGLE) == 1


async def test_a_token_is_renewed_while_it_holds_and_never_used_past_its_end(
    client: Client, server: RawServer, cloud: FakeMetadata, clock: FixedClock
) -> None:
    source = GoogleMetadata(client, clock, "scope", {"GCE_METADATA_HOST": server.url[7:]})
    kept = Kept(source.fetch, clock, "the upstream 'up'")
    assert await kept.get() == "ya29.1"
    clock.advance(3290)
    assert await kept.get() == "ya29.1"
    assert cloud.count(GOOGLE) == 1
    clock.advance(20)  # within five minutes of its end: nobody waits for the next one
    assert await kept.get() == "ya29.1"
    await async_wait_until(lambda: kept._found is not None and kept._found[0] == "ya29.2")
    assert await kept.get() == "ya29.2"
    clock.advance(3310)
    cloud.lies[GOOGLE] = 503, b""
    assert await kept.get() == "ya29.2", "a renewal that fails takes nothing away"
    await async_wait_until(lambda: kept._failed is not None)
    clock.advance(280)
    with pytest.raises(NoIdentity, match=r"cannot be called as this machine: .*\(503\)"):
        await kept.get()
    asked = cloud.count(GOOGLE)
    with pytest.raises(NoIdentity):
        await kept.get()
    assert cloud.count(GOOGLE) == asked, "a service that is gone is not asked by every call"
    clock.advance(1)
    del cloud.lies[GOOGLE]
    assert await kept.get() == "ya29.3"


async def test_what_has_ended_already_is_not_used(
    client: Client, server: RawServer, cloud: FakeMetadata, clock: FixedClock
) -> None:
    cloud.life_s = 10
    chain = AwsChain(client, "r", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url})
    with pytest.raises(NoIdentity, match="has ended already"):
        await Kept(chain.fetch, clock, "the upstream 'up'").get()


async def test_calls_are_signed_by_the_credential_of_the_moment(
    client: Client, server: RawServer, cloud: FakeMetadata, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/creds")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    upstream = Upstream("up", "https://bedrock.example", adapter="bedrock", auth="aws-machine", egress="public")
    provider = BedrockProvider(client, clock)
    login = provider.endpoint(upstream)._login
    assert provider.endpoint(upstream)._login is login, "what is known outlives route tables"
    lines = (await login.lines("POST", ADDRESS, "/", b"{}")).decode()
    assert "Credential=ASIA1/" in lines
    assert "/eu-west-3/bedrock/aws4_request" in lines
    assert "x-amz-security-token: session/1+=" in lines
    clock.advance(3700)
    lines = (await login.lines("POST", ADDRESS, "/", b"{}")).decode()
    assert "Credential=ASIA2/" in lines
    assert set(login.secrets) == {b"secret/1+=", b"session/1+=", b"secret/2+=", b"session/2+="}
    login.forget()  # type: ignore[attr-defined]
    await login.lines("POST", ADDRESS, "/", b"{}")
    assert cloud.count("/creds") == 2, "one that is that new is not asked for again"
    clock.advance(40)
    login.forget()  # type: ignore[attr-defined]
    assert b"ASIA3/" in await login.lines("POST", ADDRESS, "/", b"{}")
    other = InvocationsProvider(client, clock).endpoint(
        Upstream("sm", "https://runtime.example", adapter="invocations", auth="aws-machine", egress="public")
    )
    assert b"/sagemaker/aws4_request" in await other._login.lines("POST", ADDRESS, "/", b"{}")


@pytest.mark.parametrize(
    ("said", "token", "headers"),
    [
        ({"AZURE_POD_IDENTITY_AUTHORITY_HOST": "{url}"}, "imds.1", {"metadata": "true"}),
        ({"IDENTITY_ENDPOINT": "{url}/msi", "IDENTITY_HEADER": "proof"}, "app.1", {"x-identity-header": "proof"}),
        (
            {
                "AZURE_FEDERATED_TOKEN_FILE": "{file}", "AZURE_TENANT_ID": "tenant-1", "AZURE_CLIENT_ID": "c1",
                "AZURE_AUTHORITY_HOST": "{url}/",
            },
            "entra.1",
            {},
        ),
    ],
)  # fmt: skip
async def test_azure_is_asked_as_its_environment_says(
    client: Client, server: RawServer, cloud: FakeMetadata, clock: FixedClock, token_file: Path,
    said: dict[str, str], token: str, headers: dict[str, str],
) -> None:  # fmt: skip
    environ = {name: value.format(url=server.url, file=token_file) for name, value in said.items()}
    source = AzureIdentity(client, clock, "https://cognitiveservices.azure.com", "c1", environ)
    assert await source.fetch() == (token, clock.now_ns() + 3600 * 10**9)
    _, path, sent, form = cloud.asked[0]
    assert headers.items() <= sent.items()
    assert form["client_id"] == ["c1"]
    cloud.lies[path] = 200, b'{"access_token":"a b","expires_in":"60"}'
    with pytest.raises(NoIdentity, match="cannot be read"):
        await source.fetch()
    cloud.lies[path] = 200, b'{"access_token":"t","expires_in":"Infinity"}'
    with pytest.raises(NoIdentity, match="cannot be read"):
        await source.fetch()


async def test_a_token_goes_out_as_a_header_and_is_known_as_a_secret(
    client: Client, server: RawServer, clock: FixedClock
) -> None:
    source = GoogleMetadata(client, clock, "s", {"GCE_METADATA_HOST": server.url[7:]})
    login = MachineToken(Upstream("up", "https://h"), source.fetch, clock)
    assert await login.lines("POST", ADDRESS, "/", b"") == b"authorization: Bearer ya29.1\r\n"
    assert login.secrets == (b"ya29.1",)
    login.close()


async def test_who_answers_in_place_of_google_is_not_believed(client: Client, clock: FixedClock) -> None:
    said = b'HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{"access_token":"mine"}'
    async with raw_server(answering(said)) as other:
        for host, what in ((other.url[7:], "cannot be read"), (f"{other.url[7:]}/msi?", "no host")):
            source = GoogleMetadata(client, clock, "s", {"GCE_METADATA_HOST": host})
            with pytest.raises(NoIdentity, match=what):
                await source.fetch()


@pytest.mark.parametrize(
    ("more", "what"), [({"secret": "key"}, "is given one"), ({"base_url": "http://llm.example"}, "without TLS")]
)
@pytest.mark.parametrize(
    ("make", "auth"),
    [(BedrockProvider, "aws-machine"), (GeminiProvider, "google-machine"), (AzureProvider, "azure-machine")],
)
def test_the_machine_is_not_mixed_with_a_key_and_not_sent_in_the_clear(
    make: type, auth: str, more: dict[str, str], what: str
) -> None:
    upstream = Upstream(**{"name": "up", "base_url": "https://h", "auth": auth, "egress": "public", **more})
    with pytest.raises(InvalidInput, match=what):
        make(Client(), FixedClock()).endpoint(upstream)


async def test_no_provider_reaches_the_metadata_service_for_all_that(client: Client, clock: FixedClock) -> None:
    provider = GeminiProvider(client, clock)
    for url in ("http://169.254.169.254/v1", "http://metadata.google.internal/v1"):
        with pytest.raises(TetradError):
            provider.endpoint(Upstream("up", url, adapter="gemini", egress="public", internal=True))
