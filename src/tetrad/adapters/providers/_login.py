"""How a provider knows whose call it is: a header, a part of the query, a signature, or a token that is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote

from tetrad.kernel import InvalidInput
from tetrad.kit.upstream import Address
from tetrad.serving import Upstream

SIGNED, GOOGLE = "sigv4", "google"
AWS_MACHINE, GOOGLE_MACHINE, AZURE_MACHINE = "aws-machine", "google-machine", "azure-machine"
"""As the machine that the gateway runs on: its cloud says the credential, and no secret of ours is used."""


class Login(Protocol):
    """What authorises calls to one upstream.

    `headers` and `query` go out with every call; `secrets` are never shown to anybody. Where `each` is true, `lines`
    returns more header lines for one call.
    """

    headers: tuple[tuple[str, str], ...]
    query: str
    secrets: tuple[bytes, ...]
    each: bool

    async def lines(self, method: str, address: Address, target: str, body: bytes) -> bytes:
        """Return header lines, each ended; raises `TetradError` where there are none to be had."""
        ...


class Fixed:
    """The same words with every call."""

    each = False

    def __init__(self, secret: str, *, headers: Mapping[str, str] | None = None, query: str = "") -> None:
        self.headers = tuple((headers or {}).items())
        self.query = query
        self.secrets: tuple[bytes, ...] = (secret.encode(),) if secret else ()

    async def lines(self, method: str, address: Address, target: str, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's names
        return b""


def fixed_login(upstream: Upstream, kind: str, header: str = "") -> Fixed:
    """Return the login that sends an upstream's secret as it is.

    `kind` is `bearer`, `header` (whose name the option `header` gives, else `header` here), `query` (the option
    `query`, else `key`) or `none`. Raises `InvalidInput` for another one.
    """
    secret, options = upstream.secret, upstream.options
    if kind == "none" or not secret:
        return Fixed("")
    if kind == "bearer":
        return Fixed(secret, headers={"authorization": f"Bearer {secret}"})
    if kind == "header":
        return Fixed(secret, headers={options.get("header") or header or "api-key": secret})
    if kind == "query":
        login = Fixed(secret, query=f"{quote(options.get('query', 'key'), safe='')}={quote(secret, safe='')}")
        login.secrets = (*login.secrets, quote(secret, safe="").encode())
        return login
    raise InvalidInput(
        f"the upstream {upstream.name!r} is to be called with the login {kind!r}, which its adapter does not know",
        hint="bearer, header, query or none",
        code="bad_login",
    )
