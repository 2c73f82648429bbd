"""Sign-ins that `aws sso login` leaves in `~/.aws/sso/cache`: used while they hold, renewed before they end.

Sources: "IAM Identity Center credential provider" (docs.aws.amazon.com/sdkref: which sign-ins are renewed, and when);
"GetRoleCredentials" (docs.aws.amazon.com/singlesignon, portal API); "CreateToken" (the same, OIDC API); botocore's
`SSOTokenProvider` (what is written back).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from tetrad.adapters.providers._aws import AwsCredential
from tetrad.adapters.providers._aws_files import aws_folder
from tetrad.adapters.providers._aws_sts import aws_url, timed_credential
from tetrad.adapters.providers._identity import (
    MAX_FILE,
    Cloud,
    Ended,
    NoIdentity,
    is_word,
    read_bounded,
    refused,
    unread,
)
from tetrad.kernel import UNREADABLE, Clock
from tetrad.kit.home import write_private

log = logging.getLogger(__name__)
EARLY_NS = 900 * 10**9
"""So long before its end a sign-in is renewed, as AWS's SDKs do."""
LOCK_S = 15.0
"""So long a renewal waits for another one. Who holds the lock longer is stopped: then it is renewed regardless."""
_PORTAL, _OIDC = "AWS IAM Identity Center", "the sign-in service of AWS IAM Identity Center"
_unsaved: dict[Path, tuple[str, dict[str, Any]]] = {}
"""What could not be written, by file, with the token in the file that it stands for; for all upstreams."""
_JSON = (("content-type", "application/json"), ("accept", "application/json"))


class _SignIn(msgspec.Struct, frozen=True, rename="camel"):
    """What `aws sso login` leaves; what is needed to renew it is there for an `sso-session` only."""

    access_token: str
    expires_at: str
    refresh_token: str = ""
    client_id: str = ""
    client_secret: str = ""
    registration_expires_at: str = ""

    @property
    def end_ns(self) -> int:
        return _moment_ns(self.expires_at)

    @property
    def renewable(self) -> bool:
        return bool(self.refresh_token and self.client_id and self.client_secret and self.registration_expires_at)


class _Renewed(msgspec.Struct, frozen=True, rename="camel"):
    access_token: str
    expires_in: int
    refresh_token: str = ""


class _Role(msgspec.Struct, frozen=True, rename="camel"):
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: int


class _Portal(msgspec.Struct, frozen=True, rename="camel"):
    role_credentials: _Role


class AwsSignIns:
    """Turns the sign-in of a profile into the credential of its role."""

    def __init__(self, cloud: Cloud, clock: Clock, environ: Mapping[str, str]) -> None:
        self._cloud, self._clock, self._environ = cloud, clock, environ

    async def credential(self, said: Mapping[str, str], session: str, profile: str) -> Ended[AwsCredential]:
        """Return the credential of the role that a profile names; `said` is what it and its session say.

        Raises `NoIdentity`.
        """
        account, role, region = (said.get(f"sso_{each}", "") for each in ("account_id", "role_name", "region"))
        start = said.get("sso_start_url", "")
        if not (account and role and region and start):
            raise NoIdentity(
                f"the AWS profile {profile[:64]!r} does not say all of its sign-in",
                hint="sso_account_id and sso_role_name; sso_start_url and sso_region, there or in [sso-session]",
            )
        token = await self._token(session or start, profile, region if session else "")
        url = aws_url(self._environ, "sso", "portal.sso", region).rstrip("/")
        query = urlencode({"role_name": role, "account_id": account})
        headers = (("x-amz-sso_bearer_token", token), ("accept", "application/json"))
        answer = await self._cloud.ask("GET", f"{url}/federation/credentials?{query}", headers, what=_PORTAL)
        if answer.status != 200:
            raise refused(_PORTAL, answer.status, f"{_again(profile)}; check sso_account_id and sso_role_name")
        try:
            found = msgspec.json.decode(answer.body, type=_Portal).role_credentials
            ends = datetime.fromtimestamp(found.expiration / 1000, UTC).isoformat()
        except (*UNREADABLE, ValueError, OverflowError, OSError):
            raise unread(_PORTAL) from None
        return timed_credential(found.access_key_id, found.secret_access_key, found.session_token, ends, what=_PORTAL)

    async def _token(self, of: str, profile: str, region: str) -> str:
        """Return the token of a sign-in; one that ends soon is renewed where a region is given."""
        found, _ = await self._read(of, profile)
        if region and self._ends_soon(found) and found.renewable:
            try:
                async with self._alone():
                    found, kept = await self._read(of, profile)  # another process may have renewed it meanwhile
                    if self._ends_soon(found):
                        found = await self._renewed(found, kept, of, profile, region)
            except NoIdentity:
                found, _ = await self._read(of, profile)  # one that takes no part in the lock was faster, such as a CLI
                if not self._holds(found):
                    raise
        if not self._holds(found):
            raise _ended(profile)
        return found.access_token

    def _holds(self, found: _SignIn) -> bool:
        return found.end_ns > self._clock.now_ns()

    def _ends_soon(self, found: _SignIn) -> bool:
        return found.end_ns - EARLY_NS <= self._clock.now_ns()

    async def _renewed(
        self, found: _SignIn, kept: dict[str, Any], of: str, profile: str, region: str
    ) -> _SignIn:  # fmt: skip
        if not found.renewable:
            raise _ended(profile)
        if _moment_ns(found.registration_expires_at) <= self._clock.now_ns():
            raise NoIdentity(
                f"the sign-in of the AWS profile {profile[:64]!r} cannot be renewed: its registration has ended",
                hint=_again(profile),
            )
        url = aws_url(self._environ, "sso_oidc", "oidc", region)
        body = {
            "grantType": "refresh_token", "refreshToken": found.refresh_token,
            "clientId": found.client_id, "clientSecret": found.client_secret,
        }  # fmt: skip
        target = url if urlsplit(url).path.endswith("/token") else f"{url.rstrip('/')}/token"
        said = await self._cloud.ask("POST", target, _JSON, msgspec.json.encode(body), what=_OIDC)
        if 400 <= said.status < 500 and said.status != 429:
            raise NoIdentity(
                f"the sign-in of the AWS profile {profile[:64]!r} has ended: it is not renewed ({said.status})",
                hint=_again(profile),
            )
        if said.status != 200:
            raise refused(_OIDC, said.status, f"it is tried again; if that lasts, {_again(profile)}")
        try:
            given = msgspec.json.decode(said.body, type=_Renewed)
            end = datetime.fromtimestamp(self._clock.now_ns() // 10**9 + given.expires_in, UTC)
        except (*UNREADABLE, ValueError, OverflowError, OSError):
            raise unread(_OIDC) from None
        if not is_word(given.access_token) or given.expires_in <= 0:
            raise unread(_OIDC)
        new = {
            **kept, "accessToken": given.access_token, "expiresAt": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "refreshToken": given.refresh_token or found.refresh_token,
        }  # fmt: skip
        await self._save(of, new)
        return msgspec.convert(new, _SignIn)

    async def _save(self, of: str, new: dict[str, Any]) -> None:
        """Write a sign-in back. Where that fails it is kept here, since what the file holds is used up."""
        path = self._path(of)
        if path is None:
            return
        try:
            in_file = _decoded(await asyncio.to_thread(read_bounded, path, MAX_FILE))[0].access_token
        except (*UNREADABLE, OSError, ValueError):
            in_file = ""
        try:
            await asyncio.to_thread(_write, path, msgspec.json.encode(new))
            _unsaved.pop(path, None)
        except OSError as error:
            _unsaved[path] = in_file, new
            log.warning(
                "a renewed sign-in cannot be written to %s (%s): it is kept until this process ends, and then "
                "`aws sso login` is needed; let the gateway's user write there",
                path, error.strerror,
            )  # fmt: skip

    async def _read(self, of: str, profile: str) -> tuple[_SignIn, dict[str, Any]]:
        """Return a sign-in, and all that its file holds."""
        path = self._path(of)
        try:
            if path is None:
                raise FileNotFoundError
            found, kept = _decoded(await asyncio.to_thread(read_bounded, path, MAX_FILE))
        except (*UNREADABLE, OSError, ValueError):
            raise NoIdentity(
                f"nobody is signed in for the AWS profile {profile[:64]!r}", hint=_again(profile)
            ) from None
        before, renewed = _unsaved.get(path, ("", {}))
        if renewed and before == found.access_token:
            return msgspec.convert(renewed, _SignIn), renewed
        if not is_word(found.access_token):
            raise _ended(profile)
        return found, kept

    def _path(self, of: str) -> Path | None:
        name = hashlib.sha1(of.encode(), usedforsecurity=False).hexdigest()
        return aws_folder(self._environ, "sso", "cache", f"{name}.json")

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep other gateway processes of this user from renewing: a token for renewal is good for once."""
        folder = aws_folder(self._environ, "sso", "cache")
        try:
            handle = os.open(folder or "", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            yield  # where nothing can be looked into there is nothing to renew either
            return
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOCK_S):
                    while not _locked(handle):  # noqa: ASYNC110 - other processes have no event to wait for
                        await asyncio.sleep(0.05)
            yield
        finally:
            os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _decoded(data: bytes) -> tuple[_SignIn, dict[str, Any]]:
    """Return what a file of the cache holds; raises `ValueError` or one of `UNREADABLE`."""
    kept = msgspec.json.decode(data, type=dict[str, Any])
    found = msgspec.convert(kept, _SignIn)
    if found.end_ns < 0:
        raise ValueError("it does not say when it ends")
    return found, kept


def _write(path: Path, data: bytes) -> None:
    write_private(path.resolve(), data)


def _moment_ns(text: str) -> int:
    """Return a moment as Amazon's tools write it, -1 for what is none."""
    try:
        moment = datetime.fromisoformat(text.replace("UTC", "+00:00"))
        return int(moment.timestamp() * 1e9) if moment.tzinfo is not None else -1
    except (ValueError, OverflowError):
        return -1


def _ended(profile: str) -> NoIdentity:
    return NoIdentity(f"the sign-in of the AWS profile {profile[:64]!r} has ended", hint=_again(profile))


def _again(profile: str) -> str:
    return f"run `aws sso login --profile {shlex.quote(profile[:64])}` as the gateway's user; unattended, use a role"
