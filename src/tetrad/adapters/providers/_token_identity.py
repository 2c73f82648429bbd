"""Tokens of the machine: Google's metadata server, and Azure's managed and workload identities.

Sources: "Authenticate workloads to Google Cloud APIs using service accounts" (cloud.google.com/compute/docs, metadata
server, which GKE's workload identity speaks too); "How to use managed identities ... to acquire an access token"
(learn.microsoft.com, IMDS and App Service), "Microsoft identity platform and the OAuth 2.0 client credentials flow",
third case (a federated credential), RFC 7523.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from tetrad.adapters.providers._google import SCOPE
from tetrad.adapters.providers._google_file import VARIABLE, GoogleFile
from tetrad.adapters.providers._identity import (
    Cloud,
    Ended,
    Kept,
    NoIdentity,
    Said,
    as_machine,
    kept_login,
    read_file,
    refused,
    token_in,
    unread,
    variable,
)
from tetrad.adapters.providers._login import Login
from tetrad.kernel import Clock
from tetrad.kit.egress import Reach, is_loopback
from tetrad.kit.upstream import Address, Client
from tetrad.serving import Upstream, reach_of

METADATA = "169.254.169.254"
RESOURCE = "https://cognitiveservices.azure.com"
AUTHORITY = "https://login.microsoftonline.com"
_HOST = re.compile(r"[A-Za-z0-9.\[\]:-]{1,253}")
_FORM = (("content-type", "application/x-www-form-urlencoded"),)


class MachineToken:
    """A login with the token that the machine has at that moment."""

    each = True
    headers: tuple[tuple[str, str], ...] = ()
    query = ""

    def __init__(
        self, upstream: Upstream, fetch: Callable[[], Awaitable[Ended[str]]], clock: Clock,
        project: Callable[[], str] = str,
    ) -> None:  # fmt: skip
        self._project = project
        self._kept = Kept(fetch, clock, f"the upstream {upstream.name!r}")
        self.secrets: tuple[bytes, ...] = ()

    async def lines(self, method: str, address: Address, target: str, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's names
        token = (await self._kept.get()).encode()
        if token not in self.secrets:
            self.secrets = (*self.secrets[-1:], token)  # calls with the one before may still be answered
        project = self._project()
        pays = b"x-goog-user-project: " + project.encode() + b"\r\n" if project else b""
        return b"authorization: Bearer " + token + b"\r\n" + pays

    def forget(self) -> None:
        """Ask for another token: this one was refused."""
        self._kept.forget()

    def close(self) -> None:
        """End a fetch that is under way."""
        self._kept.close()


def google_machine(upstream: Upstream, kept: dict[str, Login], client: Client, clock: Clock) -> Login:
    """Return the login that the machine, or the pod, has at Google: by GOOGLE_APPLICATION_CREDENTIALS, else its own."""
    as_machine(upstream)
    scope = upstream.options.get("scope") or SCOPE
    reach = reach_of(msgspec.structs.replace(upstream, ca="", internal=False))
    source = GoogleMachine(client, clock, scope, reach)
    return kept_login(
        kept, ("google", upstream.name, scope, reach.key),
        lambda: MachineToken(upstream, source.fetch, clock, source.project),
    )  # fmt: skip


def azure_machine(upstream: Upstream, kept: dict[str, Login], client: Client, clock: Clock) -> Login:
    """Return the login of the managed or the workload identity that the machine, or the pod, has at Azure.

    The option `audience` names what the token is for, `client_id` which identity where there are several.
    """
    as_machine(upstream)
    resource = upstream.options.get("audience") or RESOURCE
    client_id = upstream.options.get("client_id", "")
    source = AzureIdentity(client, clock, resource, client_id)
    key = ("azure", upstream.name, resource, client_id)
    return kept_login(kept, key, lambda: MachineToken(upstream, source.fetch, clock))


class GoogleMachine:
    """The file that GOOGLE_APPLICATION_CREDENTIALS names, where it names one; else the metadata server."""

    def __init__(
        self, client: Client, clock: Clock, scope: str, reach: Reach, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._environ = environ
        self._file = GoogleFile(client, clock, scope, reach)
        self._metadata = GoogleMetadata(client, clock, scope, environ)

    async def fetch(self) -> Ended[str]:
        """Return a token and when it ends; raises `NoIdentity`."""
        path = variable(self._environ, VARIABLE)
        return await (self._file.fetch(path) if path else self._metadata.fetch())

    def project(self) -> str:
        """Return the project that pays for calls with the token that was fetched last, as its file says; or nothing."""
        return self._file.project


class GoogleMetadata:
    """Asks Google's metadata server."""

    def __init__(self, client: Client, clock: Clock, scope: str, environ: Mapping[str, str] = os.environ) -> None:
        self._cloud, self._clock, self._scope, self._environ = Cloud(client), clock, scope, environ

    async def fetch(self) -> Ended[str]:
        """Return a token and when it ends; raises `NoIdentity`."""
        what = "Google's metadata server"
        host = variable(self._environ, "GCE_METADATA_HOST") or METADATA
        if not _HOST.fullmatch(host):
            raise NoIdentity("GCE_METADATA_HOST is no host", hint="check it, or unset it")
        url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        said = await self._cloud.ask(
            "GET", f"{url}?{urlencode({'scopes': self._scope})}", (("metadata-flavor", "Google"),), what=what
        )
        if said.response.header(b"metadata-flavor") != b"Google":
            raise unread(what)  # somebody else answers at that address
        if said.status != 200:
            raise refused(what, said.status, "give the machine, or the pod's service account, a service account")
        return token_in(said, self._clock, what)


class AzureIdentity:
    """Asks for a token in the way that the environment names: a federated token, App Service, or else the machine."""

    def __init__(
        self, client: Client, clock: Clock, resource: str, client_id: str, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._cloud, self._clock, self._environ = Cloud(client), clock, environ
        self._resource, self._client_id = resource, client_id

    async def fetch(self) -> Ended[str]:
        """Return a token and when it ends; raises `NoIdentity`."""
        if self._said("AZURE_FEDERATED_TOKEN_FILE"):
            return await self._federated()
        query = {"resource": self._resource}
        if self._client_id:
            query["client_id"] = self._client_id
        if self._said("IDENTITY_ENDPOINT") and self._said("IDENTITY_HEADER"):
            what, url = "the identity endpoint", self._said("IDENTITY_ENDPOINT")
            query["api-version"], headers = "2019-08-01", (("x-identity-header", self._said("IDENTITY_HEADER")),)
        else:
            host = self._said("AZURE_POD_IDENTITY_AUTHORITY_HOST").rstrip("/") or f"http://{METADATA}"
            what, url = "Azure's metadata service", f"{host}/metadata/identity/oauth2/token"
            query["api-version"], headers = "2018-02-01", (("metadata", "true"),)
        said = await self._cloud.ask("GET", f"{url}?{urlencode(query)}", headers, what=what)
        return self._token(
            said, what, "give the machine a managed identity; --option client_id=... where it has several"
        )

    async def _federated(self) -> Ended[str]:
        what, tenant = "Microsoft Entra", self._said("AZURE_TENANT_ID")
        client_id = self._client_id or self._said("AZURE_CLIENT_ID")
        authority = (self._said("AZURE_AUTHORITY_HOST") or AUTHORITY).rstrip("/")
        parts = urlsplit(authority)
        if not tenant or not client_id:
            raise NoIdentity(
                "AZURE_FEDERATED_TOKEN_FILE is set without AZURE_TENANT_ID or AZURE_CLIENT_ID",
                hint="set them in the environment of the gateway, as AKS does",
            )
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise NoIdentity("AZURE_AUTHORITY_HOST is no https", hint="tokens are not sent without TLS")
        form = {
            "grant_type": "client_credentials", "client_id": client_id, "scope": f"{self._resource}/.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": await read_file(self._said("AZURE_FEDERATED_TOKEN_FILE"), "AZURE_FEDERATED_TOKEN_FILE"),
        }  # fmt: skip
        url = f"{authority}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        said = await self._cloud.ask("POST", url, _FORM, urlencode(form).encode(), what=what)
        return self._token(said, what, "check that the identity trusts the pod's service account")

    def _said(self, *names: str) -> str:
        return variable(self._environ, *names)

    def _token(self, said: Said, what: str, hint: str) -> Ended[str]:
        if said.status != 200:
            raise refused(what, said.status, hint)
        return token_in(said, self._clock, what)
