"""AWS credentials of the machine: environment, web identity, profile, container, instance; the first that is there.

One that is configured and fails is an error: calls are never made as somebody else instead.
Sources: "AWS SDKs and Tools Reference Guide" (docs.aws.amazon.com/sdkref: standardized credential providers, container
credential provider, IMDS credential provider), "Use IMDSv2" (docs.aws.amazon.com/AWSEC2).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from tetrad.adapters.providers._aws import AwsCredential, Signed
from tetrad.adapters.providers._aws_profile import AwsProfiles
from tetrad.adapters.providers._aws_sts import Sts, timed_credential
from tetrad.adapters.providers._identity import (
    NEVER_NS,
    Cloud,
    Ended,
    Kept,
    NoIdentity,
    Said,
    as_machine,
    is_word,
    kept_login,
    read_file,
    refused,
    unread,
    variable,
)
from tetrad.adapters.providers._login import Login
from tetrad.kernel import UNREADABLE, Clock, SystemClock
from tetrad.kit.egress import is_loopback
from tetrad.kit.upstream import Address, Client
from tetrad.serving import Upstream

CONTAINER = "http://169.254.170.2"
"""Where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is (Amazon ECS)."""
INSTANCE, INSTANCE_6 = "http://169.254.169.254", "http://[fd00:ec2::254]"
_CONTAINER_HOSTS = frozenset(("169.254.170.2", "169.254.170.23", "fd00:ec2::23"))
_SESSION_S = "21600"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ROLE = re.compile(r"[\w+=,.@-]{1,128}")


class _Found(msgspec.Struct, frozen=True):
    AccessKeyId: str = ""
    SecretAccessKey: str = ""
    Token: str = ""
    Expiration: str = ""
    Code: str = "Success"


class AwsChain:
    """Finds the credential of the machine in the standard order, each time that one is needed."""

    def __init__(
        self, client: Client, region: str, environ: Mapping[str, str] = os.environ, *,
        clock: Clock | None = None, profile: str = "",
    ) -> None:  # fmt: skip
        self._cloud = Cloud(client)
        self._clock = clock or SystemClock()
        self._region = region
        self._environ = environ
        self._profile = profile
        places = {
            "Environment": self._of_environment, "Ec2InstanceMetadata": self._of_instance,
            "EcsContainer": self._of_container,
        }  # fmt: skip
        self._profiles = AwsProfiles(self._cloud, self._clock, region, environ, places)

    async def fetch(self) -> Ended[AwsCredential]:
        """Return a credential and when it ends; raises `NoIdentity`. A profile that is given is the only source."""
        if not self._profile:
            if self._said("AWS_ACCESS_KEY_ID") or self._said("AWS_SECRET_ACCESS_KEY"):
                return await self._of_environment()
            if self._said("AWS_WEB_IDENTITY_TOKEN_FILE"):
                return await self._of_web_identity()
        found = await self._profiles.fetch(self._profile or self._said("AWS_PROFILE", "AWS_DEFAULT_PROFILE"))
        if found is not None:
            return found
        if self._said("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            return await self._of_container()
        return await self._of_instance()

    def _said(self, *names: str) -> str:
        return variable(self._environ, *names)

    async def _of_environment(self) -> Ended[AwsCredential]:
        key, secret = self._said("AWS_ACCESS_KEY_ID"), self._said("AWS_SECRET_ACCESS_KEY")
        token = self._said("AWS_SESSION_TOKEN")
        if not (is_word(key) and is_word(secret) and (not token or is_word(token))):
            raise NoIdentity(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of its environment are no pair", hint="set both, or none"
            )
        return AwsCredential(key, secret, token), NEVER_NS

    async def _of_web_identity(self) -> Ended[AwsCredential]:
        role, name = self._said("AWS_ROLE_ARN"), "AWS_WEB_IDENTITY_TOKEN_FILE"
        if not role:
            raise NoIdentity(
                f"{name} is set without AWS_ROLE_ARN", hint="set both in the environment of the gateway, as EKS does"
            )
        sts = Sts(self._cloud, self._clock, self._region, self._environ)
        return await sts.web_identity(role, self._said("AWS_ROLE_SESSION_NAME"), self._said(name), name)

    async def _of_container(self) -> Ended[AwsCredential]:
        what, relative = "the container's credential service", self._said("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        if relative and not relative.startswith("/"):
            raise NoIdentity("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path", hint="it begins with /")
        if not (relative or self._said("AWS_CONTAINER_CREDENTIALS_FULL_URI")):
            raise NoIdentity(
                "this is no container that has an AWS credential",
                hint="Amazon ECS and EKS say so by AWS_CONTAINER_CREDENTIALS_…",
            )
        url = f"{CONTAINER}{relative}" if relative else self._said("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            raise NoIdentity("AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL", hint="check it") from None
        known = not relative and (host in _CONTAINER_HOSTS or is_loopback(host))
        if not (relative or parts.scheme == "https" or (parts.scheme == "http" and known)):
            raise NoIdentity(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI names a host that is not asked without TLS",
                hint="https, or a loopback address, or those of Amazon ECS and EKS",
            )
        token = self._said("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        if file := self._said("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            token = await read_file(file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        said = await self._cloud.ask("GET", url, (("authorization", token),) if token else (), what=what)
        if said.status != 200:
            raise refused(what, said.status, "check that the task or the service account has a role")
        return _read(said, what)

    async def _of_instance(self) -> Ended[AwsCredential]:
        what = "the instance metadata service (IMDSv2)"
        if self._said("AWS_EC2_METADATA_DISABLED").lower() == "true":
            raise NoIdentity(
                "its environment names no AWS credential, and the instance's is switched off",
                hint="give the gateway a role, or unset AWS_EC2_METADATA_DISABLED",
            )
        six = self._said("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").lower() == "ipv6"
        base = (self._said("AWS_EC2_METADATA_SERVICE_ENDPOINT") or (INSTANCE_6 if six else INSTANCE)).rstrip("/")
        life = (("x-aws-ec2-metadata-token-ttl-seconds", _SESSION_S),)
        said = await self._cloud.ask("PUT", f"{base}/latest/api/token", life, what=what)
        if said.status != 200:
            raise refused(what, said.status, "switch the metadata service on; version 1 of it is never asked")
        token = said.body.decode("ascii", "replace").strip()
        if not is_word(token):
            raise unread(what)
        headers = (("x-aws-ec2-metadata-token", token),)
        said = await self._cloud.ask("GET", f"{base}{_ROLES}", headers, what=what)
        if said.status != 200:
            raise refused(what, said.status, "attach an instance profile with a role")
        role = said.body.decode("utf-8", "replace").strip().partition("\n")[0].strip()
        if not _ROLE.fullmatch(role):
            raise unread(what)
        said = await self._cloud.ask("GET", f"{base}{_ROLES}{role}", headers, what=what)
        if said.status != 200:
            raise refused(what, said.status, "attach an instance profile with a role")
        return _read(said, what)


class SignedByMachine(Signed):
    """Signs every call with the credential that the machine has at that moment."""

    def __init__(self, upstream: Upstream, client: Client, clock: Clock, service: str) -> None:
        as_machine(upstream)
        super().__init__(upstream, clock, service, AwsCredential(region=variable(os.environ, *_REGIONS)))
        chain = AwsChain(client, self._region, clock=clock, profile=upstream.options.get("profile", ""))
        self._kept = Kept(chain.fetch, clock, f"the upstream {upstream.name!r}")

    async def lines(self, method: str, address: Address, target: str, body: bytes) -> bytes:
        found = await self._kept.get()
        if found != self._credential:
            self._use(found)
        return await super().lines(method, address, target, body)

    def forget(self) -> None:
        """Ask for another credential: this one was refused."""
        self._kept.forget()

    def close(self) -> None:
        """End a fetch that is under way."""
        self._kept.close()

    def _use(self, found: AwsCredential) -> None:
        before = self.secrets[-2:]  # calls that were signed with it may still be answered
        self._credential, self._key = found, ("", b"")
        now = tuple(each.encode() for each in (found.secret_access_key, found.session_token) if each)
        self.secrets = (*(each for each in before if each not in now), *now)


_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def machine_signature(upstream: Upstream, kept: dict[str, Login], client: Client, clock: Clock, service: str) -> Login:
    """Return the login that signs as the machine, the one that is `kept` where it is known."""
    as_machine(upstream)
    options = (upstream.options.get(name, "") for name in ("region", "service", "profile"))
    key = ("aws", upstream.name, upstream.base_url, service, *options)
    return kept_login(kept, key, lambda: SignedByMachine(upstream, client, clock, service))


def _read(said: Said, what: str) -> Ended[AwsCredential]:
    try:
        found = msgspec.json.decode(said.body, type=_Found)
    except UNREADABLE:
        raise unread(what) from None
    if found.Code != "Success":
        raise NoIdentity(f"{what} has no credential now", hint="check the role; the service says what is wrong with it")
    return timed_credential(found.AccessKeyId, found.SecretAccessKey, found.Token, found.Expiration, what=what)
