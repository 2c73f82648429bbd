"""Google's tokens for service accounts: a signed statement is exchanged for a token, which is kept while it holds.

Source: "Using OAuth 2.0 for Server to Server Applications" (developers.google.com/identity), RFC 7523.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from tetrad.adapters.providers._answers import CredentialRefused
from tetrad.adapters.providers._login import Login
from tetrad.kernel import UNREADABLE, Clock, InvalidInput, TetradError
from tetrad.kit.upstream import Address, BrokenAnswer, Client, Timeouts, UpstreamFailure, parse_address
from tetrad.serving import Upstream, reach_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAX_LOGINS = 256
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_LIFE_S, _EARLY_S, _MAX_ANSWER = 3600, 120, 65_536
_TOKEN = re.compile(r"[\x21-\x7e]+")
_LOCAL = frozenset(("127.0.0.1", "::1", "localhost"))
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def google_login(upstream: Upstream, kept: dict[str, Login], client: Client, clock: Clock) -> Login:
    """Return the login of a service account, the one that is `kept` where it is known: its token outlives route tables.

    Raises `InvalidInput` for what is no service account.
    """
    where = f"{upstream.base_url} {upstream.egress} {upstream.internal}"
    said = "\n".join((upstream.name, upstream.options.get("scope", ""), where, upstream.secret))
    key = hashlib.sha256(said.encode()).hexdigest()
    found = kept.get(key)
    if found is None:
        if len(kept) >= MAX_LOGINS:
            kept.clear()
        found = kept[key] = GoogleToken(upstream, client, clock)
    return found


class ServiceAccount(msgspec.Struct, frozen=True):
    """What matters of the JSON file that Google hands out for a service account."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = TOKEN_URL


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = _LIFE_S


class GoogleToken:
    """A login with a service account. All calls wait for one exchange; a token is renewed before it ends."""

    each = True
    headers: tuple[tuple[str, str], ...] = ()
    query = ""

    def __init__(self, upstream: Upstream, client: Client, clock: Clock) -> None:
        self._name = upstream.name
        try:
            self._account = msgspec.json.decode(upstream.secret, type=ServiceAccount)
            self._key = read_key(self._account.private_key)
        except (msgspec.MsgspecError, ValueError, TypeError):
            raise InvalidInput(
                f"the secret of the upstream {upstream.name!r} is no key of a Google service account",
                hint="keep the whole JSON file as the secret",
                code="bad_credential",
            ) from None
        where = urlsplit(self._account.token_uri)
        if where.scheme != "https" and not (where.scheme == "http" and where.hostname in _LOCAL):
            raise InvalidInput(
                f"the service account of the upstream {upstream.name!r} fetches tokens without TLS",
                hint=f"its token_uri should be {TOKEN_URL}",
                code="bad_credential",
            )
        # who keeps the secret says where tokens are: what an administrator said of the upstream (that it is inside, by
        # whom its certificates are signed) was not said of another place
        near = _origin(self._account.token_uri) == _origin(upstream.base_url)
        reach = reach_of(msgspec.structs.replace(upstream, ca="", internal=upstream.internal and near))
        address = parse_address(f"{where.scheme}://{where.netloc}", reach)
        headers = [("content-type", "application/x-www-form-urlencoded")]
        self._request = client.prepare("POST", address, where.path or "/", headers)
        self._scope = upstream.options.get("scope") or SCOPE
        self._client = client
        self._clock = clock
        self._timeouts = Timeouts(upstream.connect_timeout_s, 30.0, 30.0, 30.0)
        self._lock = asyncio.Lock()
        self._token = ""
        self._until_ns = 0
        self.secrets: tuple[bytes, ...] = (self._account.private_key.encode(),)

    async def lines(self, method: str, address: Address, target: str, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's names
        if self._clock.now_ns() >= self._until_ns:
            async with self._lock:
                if self._clock.now_ns() >= self._until_ns:
                    await self._renew()
        return f"authorization: Bearer {self._token}\r\n".encode()

    def forget(self) -> None:
        """Fetch another token for the next call: this one was refused."""
        self._until_ns = 0

    async def _renew(self) -> None:
        form = grant(self._account, self._key, self._scope, self._clock.now_ns() // 1_000_000_000)
        try:
            response = await self._client.send(self._request, form, timeouts=self._timeouts, pool=f"{self._name} login")
            said = await response.read_all(_MAX_ANSWER)
        except UpstreamFailure as error:
            raise TetradError(
                f"the upstream {self._name!r} cannot be called: its tokens cannot be fetched ({error.code})",
                hint="an administrator must check the service account's token_uri",
                code=error.code,
                status=error.status,
            ) from None
        if 400 <= response.status < 500:
            raise CredentialRefused(
                f"Google gives no token for the upstream {self._name!r} ({response.status})",
                hint="an administrator must check the provider's secret",
            )
        try:
            token = msgspec.json.decode(said, type=_Token)
        except UNREADABLE:
            token = _Token("")
        if response.status >= 300 or not _TOKEN.fullmatch(token.access_token):
            raise BrokenAnswer(f"what came instead of a token for the upstream {self._name!r} cannot be read")
        self._token = token.access_token
        self.secrets = (*self.secrets[:1], token.access_token.encode())
        self._until_ns = self._clock.now_ns() + int(max(token.expires_in - _EARLY_S, 1) * 1e9)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def grant(account: ServiceAccount, key: RSAPrivateKey, scope: str, now_s: int) -> bytes:
    """Return the form that asks for a token of a service account, with a statement that its key signs."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    head = {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
    claims: dict[str, Any] = {
        "iss": account.client_email, "scope": scope, "aud": account.token_uri, "iat": now_s, "exp": now_s + _LIFE_S,
    }  # fmt: skip
    text = b".".join(_plain(msgspec.json.encode(part)) for part in (head, claims))
    statement = text + b"." + _plain(key.sign(text, PKCS1v15(), SHA256()))
    return urlencode({"grant_type": _GRANT, "assertion": statement.decode()}).encode()


def _plain(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def read_key(text: str) -> RSAPrivateKey:
    """Read the private key of a service account; raises `ValueError` or `TypeError` for what is none."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(text.encode(), None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("it is no RSA key")
    return key
