"""Tokens of Google by the file that GOOGLE_APPLICATION_CREDENTIALS names, of every kind that needs no person.

The file is the gateway's, yet it often comes from somebody else, and says where tokens are fetched: over TLS, and only
where the egress policy (0019) lets calls go. The exception is `credential_source.url`, which is a service of the
machine more often than not.
Sources: AIP-4110, AIP-4117 (google.aip.dev/auth: external accounts), RFC 8693, "Method: generateAccessToken" (IAM
Service Account Credentials API), "Using OAuth 2.0 for Web Server Applications" (developers.google.com/identity).
"""

from __future__ import annotations

import asyncio
import base64
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from tetrad.adapters.providers._google import SCOPE, TOKEN_URL, ServiceAccount, grant, read_key
from tetrad.adapters.providers._identity import (
    MAX_FILE,
    Cloud,
    Ended,
    NoIdentity,
    Said,
    is_word,
    read_bounded,
    refused,
    token_in,
    unread,
)
from tetrad.kernel import UNREADABLE, Clock
from tetrad.kit.egress import OWN, Reach, is_loopback
from tetrad.kit.upstream import Client

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
KINDS = ("service_account", "authorized_user", "external_account", "impersonated_service_account")
_STS, _IAM, _OAUTH = "Google's token exchange", "Google's service accounts", "Google's sign-in"
_MACHINE_HOST = "169.254.169.254"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_PROJECT = re.compile(r"[a-z0-9:.-]{1,100}")
_FORM = (("content-type", "application/x-www-form-urlencoded"),)
_LIFE_S = range(600, 43_201)


class _Format(msgspec.Struct, frozen=True):
    type: str = "text"
    subject_token_field_name: str = ""


class _Source(msgspec.Struct, frozen=True):
    file: str = ""
    url: str = ""
    headers: dict[str, str] = {}
    format: _Format = _Format()
    environment_id: str = ""
    executable: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None


class _Impersonation(msgspec.Struct, frozen=True):
    token_lifetime_seconds: int = 3600


class _External(msgspec.Struct, frozen=True):
    audience: str
    subject_token_type: str
    token_url: str
    credential_source: _Source
    service_account_impersonation_url: str = ""
    service_account_impersonation: _Impersonation = _Impersonation()
    client_id: str = ""
    client_secret: str = ""
    workforce_pool_user_project: str = ""


class _User(msgspec.Struct, frozen=True):
    client_id: str
    client_secret: str
    refresh_token: str
    token_uri: str = TOKEN_URL


class _Impersonated(msgspec.Struct, frozen=True):
    service_account_impersonation_url: str
    source_credentials: dict[str, Any]
    delegates: list[str] = []


class _Given(msgspec.Struct, frozen=True, rename="camel"):
    access_token: str
    expire_time: str


class GoogleFile:
    """Fetches tokens as a file says, which is read anew each time. `project` pays for calls with the last of them."""

    def __init__(self, client: Client, clock: Clock, scope: str, reach: Reach) -> None:
        self._cloud, self._clock, self._scope, self._reach = Cloud(client), clock, scope, reach
        self.project = ""

    async def fetch(self, path: str) -> Ended[str]:
        """Return a token and when it ends; raises `NoIdentity`."""
        try:
            said = msgspec.json.decode(await asyncio.to_thread(read_bounded, Path(path), MAX_FILE), type=dict[str, Any])
        except (*UNREADABLE, OSError, ValueError):
            raise NoIdentity(
                f"the file that {VARIABLE} names cannot be read",
                hint=f"a JSON file of at most {MAX_FILE:,} bytes that the gateway's user may read",
            ) from None
        project = said.get("quota_project_id", "")
        if project and not (isinstance(project, str) and _PROJECT.fullmatch(project)):
            raise _lacks("quota_project_id")
        found = await self._token(said, self._scope)
        self.project = project
        return found

    async def _token(self, said: dict[str, Any], scope: str, *, inner: bool = False) -> Ended[str]:
        kind = said.get("type")
        try:
            if kind == "service_account":
                return await self._service_account(msgspec.convert(said, ServiceAccount), scope)
            if kind == "authorized_user":
                return await self._user(msgspec.convert(said, _User))
            if kind == "external_account":
                return await self._external(msgspec.convert(said, _External), scope)
            if kind == "impersonated_service_account" and not inner:
                other = msgspec.convert(said, _Impersonated)
                by, _ = await self._token(other.source_credentials, SCOPE, inner=True)
                return await self._impersonate(by, other.service_account_impersonation_url, scope, other.delegates)
        except msgspec.ValidationError:
            raise _lacks(kind) from None
        raise NoIdentity(
            f"the file that {VARIABLE} names is of a kind that is not known here",
            hint=f"one of {', '.join(KINDS)}",
        )

    async def _service_account(self, account: ServiceAccount, scope: str) -> Ended[str]:
        try:
            key = read_key(account.private_key)
        except (ValueError, TypeError):
            raise _lacks("private_key") from None
        form = grant(account, key, scope, self._clock.now_ns() // 1_000_000_000)
        said = await self._ask("POST", account.token_uri, _FORM, form, what=_OAUTH, field="token_uri")
        return self._read(said, _OAUTH, "check that the key of the service account is still one of its keys")

    async def _user(self, user: _User) -> Ended[str]:
        form = {
            "grant_type": "refresh_token", "client_id": user.client_id, "client_secret": user.client_secret,
            "refresh_token": user.refresh_token,
        }  # fmt: skip
        said = await self._ask("POST", user.token_uri, _FORM, urlencode(form).encode(), what=_OAUTH, field="token_uri")
        return self._read(
            said, _OAUTH, "run `gcloud auth application-default login` again; unattended, use another kind"
        )

    async def _external(self, account: _External, scope: str) -> Ended[str]:
        to = account.service_account_impersonation_url
        form = {
            "grant_type": _EXCHANGE, "audience": account.audience, "requested_token_type": _ACCESS,
            "scope": SCOPE if to else scope, "subject_token_type": account.subject_token_type,
            "subject_token": await self._subject(account.credential_source),
        }  # fmt: skip
        headers: tuple[tuple[str, str], ...] = _FORM
        if account.client_id:
            pair = base64.b64encode(f"{account.client_id}:{account.client_secret}".encode()).decode()
            headers = (*_FORM, ("authorization", f"Basic {pair}"))
        elif account.workforce_pool_user_project:
            form["options"] = msgspec.json.encode({"userProject": account.workforce_pool_user_project}).decode()
        body = urlencode(form).encode()
        said = await self._ask("POST", account.token_url, headers, body, what=_STS, field="token_url")
        found = self._read(said, _STS, "check that the pool's provider trusts the token, and its audience")
        if not to:
            return found
        life_s = account.service_account_impersonation.token_lifetime_seconds
        if life_s not in _LIFE_S:
            raise _lacks("token_lifetime_seconds")
        return await self._impersonate(found[0], to, scope, [], life_s)

    async def _subject(self, source: _Source) -> str:
        """Return the token that another identity provider gave, from its file or its URL."""
        if source.environment_id or source.executable is not None or source.certificate is not None:
            raise NoIdentity(
                f"the file that {VARIABLE} names takes its token from AWS, a program or a certificate",
                hint="make the configuration with a credential source that is a file or a URL",
            )
        if source.file:
            try:
                data = await asyncio.to_thread(read_bounded, Path(source.file), MAX_FILE)
            except (OSError, ValueError):
                raise NoIdentity(
                    f"the token that the file of {VARIABLE} names cannot be read",
                    hint="check credential_source.file, and that the gateway's user may read it",
                ) from None
        elif source.url:
            what = "what credential_source.url names"
            said = await self._ask(
                "GET", source.url, tuple(source.headers.items()), what=what, field="credential_source.url", near=True
            )
            if said.status != 200:
                raise refused(what, said.status, "check the URL and its headers")
            data = said.body
        else:
            raise _lacks("credential_source")
        return _subject_in(data, source.format)

    async def _impersonate(self, by: str, url: str, scope: str, delegates: list[str], life_s: int = 3600) -> Ended[str]:
        body = {"scope": scope.split(), "lifetime": f"{life_s}s", **({"delegates": delegates} if delegates else {})}
        headers = (("content-type", "application/json"), ("authorization", f"Bearer {by}"))
        said = await self._ask(
            "POST", url, headers, msgspec.json.encode(body), what=_IAM, field="service_account_impersonation_url"
        )
        if said.status != 200:
            raise refused(_IAM, said.status, "give who impersonates roles/iam.serviceAccountTokenCreator there")
        try:
            given = msgspec.json.decode(said.body, type=_Given)
            end = datetime.fromisoformat(given.expire_time)
            end_ns = int(end.timestamp()) * 10**9
        except (*UNREADABLE, ValueError, OverflowError):
            raise unread(_IAM) from None
        if end.tzinfo is None or not is_word(given.access_token):
            raise unread(_IAM)
        return given.access_token, end_ns

    async def _ask(
        self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes = b"", *,
        what: str, field: str, near: bool = False,
    ) -> Said:  # fmt: skip
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            raise _lacks(field) from None
        own = is_loopback(host) or (near and host == _MACHINE_HOST)
        if parts.scheme != "https" and not (own and parts.scheme == "http"):
            raise NoIdentity(
                f"{field} of the file that {VARIABLE} names is no https", hint="tokens are not sent without TLS"
            )
        return await self._cloud.ask(method, url, headers, body, what=what, reach=OWN if own else self._reach)

    def _read(self, said: Said, what: str, hint: str) -> Ended[str]:
        if said.status != 200:
            raise refused(what, said.status, hint)
        return token_in(said, self._clock, what)


def _subject_in(data: bytes, form: _Format) -> str:
    text: Any
    try:
        text = data.decode()
        if form.type == "json":
            text = msgspec.json.decode(text, type=dict[str, Any]).get(form.subject_token_field_name, "")
        elif form.type != "text":
            raise _lacks("credential_source.format")
    except UNREADABLE:
        text = ""
    if not isinstance(text, str) or not text.strip():
        raise NoIdentity(
            f"where the file of {VARIABLE} looks for a token is none",
            hint="check credential_source and its format (text, or json with subject_token_field_name)",
        )
    return text.strip()


def _lacks(field: object) -> NoIdentity:
    return NoIdentity(
        f"the file that {VARIABLE} names is not complete, or has something else in it",
        hint=f"check `{str(field)[:60]}`; make the file anew with gcloud",
    )
