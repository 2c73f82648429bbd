"""Roles that AWS STS gives: to who shows a token, and to who signs with another credential.

Sources: "AssumeRole", "AssumeRoleWithWebIdentity" (docs.aws.amazon.com/STS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from tetrad.adapters.providers._aws import AwsCredential, Signed
from tetrad.adapters.providers._identity import (
    Cloud,
    Ended,
    NoIdentity,
    is_word,
    read_file,
    refused,
    unread,
    variable,
)
from tetrad.kernel import Clock
from tetrad.kit.egress import is_loopback
from tetrad.kit.upstream import parse_address
from tetrad.serving import Upstream

WHAT = "AWS STS"
_FORM = "application/x-www-form-urlencoded"
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_SESSION = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_FOUND = re.compile(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration)>\s*([^<\s]+)\s*</")
_LIFE_S = range(900, 43_201)


class Sts:
    """Asks the STS of a region, or the one that AWS_ENDPOINT_URL_STS names."""

    def __init__(self, cloud: Cloud, clock: Clock, region: str, environ: Mapping[str, str]) -> None:
        self._cloud, self._clock, self._environ = cloud, clock, environ
        self._region = variable(environ, "AWS_REGION", "AWS_DEFAULT_REGION") or region

    async def web_identity(self, role: str, session: str, token_file: str, named: str) -> Ended[AwsCredential]:
        """Return the credential of a role that trusts the token in a file, which `named` names."""
        url = self._url()
        form = {
            "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": role,
            "RoleSessionName": _session(session), "WebIdentityToken": await read_file(token_file, named),
        }  # fmt: skip
        headers = (("content-type", _FORM), ("accept", "application/xml"))
        hint = "check that the role trusts the token, and that both are of one account"
        return await self._ask(url, headers, urlencode(form).encode(), hint)

    async def assume(
        self, by: AwsCredential, role: str, session: str, external_id: str = "", life_s: str = ""
    ) -> Ended[AwsCredential]:
        """Return the credential of a role that trusts whose credential is `by`."""
        url = self._url()
        form = {
            "Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": role, "RoleSessionName": _session(session),
        }  # fmt: skip
        if external_id:
            form["ExternalId"] = external_id
        if life_s:
            if not (life_s.isascii() and life_s.isdecimal() and len(life_s) < 6 and int(life_s) in _LIFE_S):
                raise NoIdentity("duration_seconds of an AWS profile is none", hint="a whole number of 900 to 43200")
            form["DurationSeconds"] = life_s
        body = urlencode(form).encode()
        address = parse_address("{0.scheme}://{0.netloc}".format(parts := urlsplit(url)))
        signer = Signed(Upstream(WHAT, url, options={"region": self._region}), self._clock, "sts", by)
        signed = {"host": address.authority, "content-type": _FORM}
        now = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        added = signer.sign("POST", parts.path or "/", signed, body, now)
        return await self._ask(
            url, (("content-type", _FORM), ("accept", "application/xml"), *added), body,
            "check that the role trusts the source of its profile, which must be allowed sts:AssumeRole",
        )  # fmt: skip

    def _url(self) -> str:
        url = aws_url(self._environ, "sts", "sts", self._region)
        if urlsplit(url).query:
            raise NoIdentity("AWS_ENDPOINT_URL_STS has a query", hint="an address such as https://sts.example.com")
        return url if urlsplit(url).path else f"{url}/"

    async def _ask(
        self, url: str, headers: tuple[tuple[str, str], ...], body: bytes, hint: str
    ) -> Ended[AwsCredential]:
        said = await self._cloud.ask("POST", url, headers, body, what=WHAT)
        if said.status != 200:
            raise refused(WHAT, said.status, hint)
        found = dict(_FOUND.findall(said.body.decode("utf-8", "replace")))
        words = (found.get(name, "") for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"))
        return timed_credential(*words, what=WHAT)


def aws_url(environ: Mapping[str, str], service: str, host: str, region: str) -> str:
    """Return where a service of AWS is: in a region, or where the environment says; raises `NoIdentity`."""
    if not _REGION.fullmatch(region):
        raise NoIdentity("the AWS region is none", hint="set AWS_REGION, such as eu-west-1")
    suffix = ".cn" if region.startswith("cn-") else ""
    name = f"AWS_ENDPOINT_URL_{service.upper()}"
    url = variable(environ, name) or f"https://{host}.{region}.amazonaws.com{suffix}"
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
    except ValueError:
        safe = False
    if not safe:
        raise NoIdentity(f"{name} is no https", hint="tokens are not sent without TLS")
    return url


def timed_credential(key: str, secret: str, token: str, ends: str, *, what: str) -> Ended[AwsCredential]:
    """Return what a service said as a credential with its end; raises `NoIdentity` for what is none."""
    try:
        end = datetime.fromisoformat(ends)
        end_ns = int(end.timestamp()) * 10**9
    except (ValueError, OverflowError):
        raise unread(what) from None
    if end.tzinfo is None or not all(map(is_word, (key, secret, token))):
        raise unread(what)
    return AwsCredential(key, secret, token), end_ns


def _session(name: str) -> str:
    name = name or "tetrad"
    if not _SESSION.fullmatch(name):
        raise NoIdentity(
            "the name of a session with an AWS role is none",
            hint="AWS_ROLE_SESSION_NAME or role_session_name: 2 to 64 of A-Z a-z 0-9 _+=,.@-",
        )
    return name
