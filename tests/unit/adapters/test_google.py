"""Tokens of Google's service accounts: signed, fetched once, kept, renewed, and shown to nobody."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from support.raw_server import RawServer, raw_server, read_request
from tetrad.adapters.providers._google import SCOPE, GoogleToken
from tetrad.kernel import InvalidInput, TetradError
from tetrad.kit.egress import EgressRefused
from tetrad.kit.upstream import Client, parse_address
from tetrad.serving import Upstream

KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000

    def now_ns(self) -> int:
        return self.now_s * 1_000_000_000


class Office:
    """Hands out tokens; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.status, self.body = 200, b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            self.asked.append(parse_qs(body.decode()))
            said = self.body or json.dumps({"access_token": f"ya29.{len(self.asked)}", "expires_in": 3599}).encode()
            head = f"HTTP/1.1 {self.status} Said\r\ncontent-length: {len(said)}\r\n\r\n"
            writer.write(head.encode() + said)
            await writer.drain()


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
async def server(office: Office) -> AsyncIterator[RawServer]:
    async with raw_server(office) as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    await client.close()


def login(server: RawServer, client: Client, clock: Clock) -> GoogleToken:
    account = {
        "type": "service_account", "client_email": "bot@p.iam.gserviceaccount.com", "private_key_id": "k1",
        "private_key": PEM, "token_uri": f"{server.url}/token",
    }  # fmt: skip
    return GoogleToken(Upstream("vertex", "http://h", secret=json.dumps(account)), client, clock)  # type: ignore[arg-type]


ADDRESS = parse_address("https://h")


async def test_a_statement_is_signed_and_its_token_is_kept_until_it_ends(
    server: RawServer, office: Office, client: Client
) -> None:
    clock = Clock()
    made = login(server, client, clock)
    lines = await asyncio.gather(*(made.lines("POST", ADDRESS, "/", b"") for _ in range(20)))
    assert set(lines) == {b"authorization: Bearer ya29.1\r\n"}
    assert len(office.asked) == 1
    assert office.asked[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    text, _, signature = office.asked[0]["assertion"][0].rpartition(".")
    KEY.public_key().verify(_bytes(signature), text.encode(), PKCS1v15(), SHA256())
    head, claims = (json.loads(_bytes(part)) for part in text.split("."))
    assert head == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert claims == {
        "iss": "bot@p.iam.gserviceaccount.com", "scope": SCOPE, "aud": f"{server.url}/token",
        "iat": clock.now_s, "exp": clock.now_s + 3600,
    }  # fmt: skip
    assert b"ya29.1" in made.secrets
    clock.now_s += 3500  # within two minutes of its end
    assert await made.lines("POST", ADDRESS, "/", b"") == b"authorization: Bearer ya29.2\r\n"
    made.forget()
    assert await made.lines("POST", ADDRESS, "/", b"") == b"authorization: Bearer ya29.3\r\n"


async def test_a_new_route_table_needs_no_new_token(server: RawServer, office: Office, client: Client) -> None:
    from tetrad.adapters.providers.gemini import GeminiProvider

    account = {"client_email": "x", "private_key": PEM, "token_uri": f"{server.url}/token"}
    upstream = Upstream("vertex", "http://h", auth="google", secret=json.dumps(account))
    provider = GeminiProvider(client, Clock())  # type: ignore[arg-type]
    logins = [provider.endpoint(upstream)._login for _ in range(3)]
    for each in logins:
        await each.lines("POST", ADDRESS, "/", b"")
    assert len(office.asked) == 1
    other = provider.endpoint(Upstream("other", "http://h", auth="google", secret=json.dumps(account)))
    assert other._login is not logins[0]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, b'{"error":"invalid_grant"}', "upstream_credential_refused"),
        (200, b"<html>", "upstream_broken"),
        (200, b'{"access_token":"a\\r\\nb: c"}', "upstream_broken"),
        (503, b"{}", "upstream_broken"),
    ],
)
async def test_no_token_is_an_error_that_shows_no_key(
    server: RawServer, office: Office, client: Client, status: int, body: bytes, code: str
) -> None:
    office.status, office.body = status, body
    with pytest.raises(TetradError) as caught:
        await login(server, client, Clock()).lines("POST", ADDRESS, "/", b"")
    assert caught.value.code == code
    assert "PRIVATE" not in caught.value.message


@pytest.mark.parametrize(
    "account",
    [
        "not json",
        "{}",
        json.dumps({"client_email": "x", "private_key": "no key"}),
        json.dumps({"client_email": "x", "private_key": PEM, "token_uri": "http://evil.example/token"}),
    ],
)
async def test_what_is_no_service_account_is_refused_when_it_is_bound(client: Client, account: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        GoogleToken(Upstream("vertex", "http://h", secret=account), client, Clock())  # type: ignore[arg-type]
    assert caught.value.code == "bad_credential"
    assert "PRIVATE" not in caught.value.message


@pytest.mark.parametrize(
    "token_uri",
    ["http://127.0.0.1:8401/internal/v1/work", "https://10.0.0.8/token", "https://vllm:8000/x", "https://10.0.0.7:1/"],
)
async def test_who_keeps_the_secret_of_an_internal_provider_reaches_nothing_else_inside(
    client: Client, token_uri: str
) -> None:
    account = json.dumps({"client_email": "x", "private_key": PEM, "token_uri": token_uri})
    inside = Upstream("vertex", "https://10.0.0.7/v1", secret=account, egress="public", internal=True)
    with pytest.raises(EgressRefused):
        GoogleToken(inside, client, Clock())  # type: ignore[arg-type]
    own = json.dumps({"client_email": "x", "private_key": PEM, "token_uri": "https://10.0.0.7/token"})
    assert GoogleToken(msgspec.structs.replace(inside, secret=own), client, Clock())  # type: ignore[arg-type]


async def test_a_login_that_is_kept_reaches_no_further_than_its_provider_does_now(client: Client) -> None:
    from tetrad.adapters.providers.gemini import GeminiProvider

    account = json.dumps({"client_email": "x", "private_key": PEM, "token_uri": "https://10.0.0.7/token"})
    inside = Upstream("vertex", "https://10.0.0.7/v1", auth="google", secret=account, egress="public", internal=True)
    provider = GeminiProvider(client, Clock())  # type: ignore[arg-type]
    provider.endpoint(inside)
    with pytest.raises(EgressRefused):
        provider.endpoint(msgspec.structs.replace(inside, base_url="https://aiplatform.googleapis.com/v1"))


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
