"""Where an upstream lives: `http://host:port/prefix`, `https://…`, `unix:///path#/prefix`."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from tetrad.kit.egress import EgressRefused, Reach
from tetrad.kit.upstream._errors import BadRequest

_TARGET = re.compile(r"/[\x21-\x7e]*")
_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+")


class Origin(NamedTuple):
    """What a connection can be reused for: scheme, host and port, or the path of a Unix socket."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Address(NamedTuple):
    """An origin, the value of its `Host` header, and the path that every target begins with.

    `reach` bounds where its connections may go; None is for what Tetrad itself put there.
    """

    origin: Origin
    authority: str
    prefix: str
    reach: Reach | None = None

    def target(self, path: str) -> str:
        """Return the request target for `path`, which may carry a query."""
        target = self.prefix + path
        if not _TARGET.fullmatch(target):
            raise BadRequest(f"{target!r} cannot be a request target", hint="a path starts with / and is plain ASCII")
        return target


def parse_address(url: str, reach: Reach | None = None) -> Address:
    """Read a base URL; refuse user info, fragments, spaces and unknown schemes with `BadRequest`.

    With a `reach`, raises `EgressRefused` for hosts that are refused by their looks, and for sockets on this machine.
    """
    address = _parsed(url, reach)
    if reach is not None and not reach.own:
        if address.origin.scheme == "unix":
            raise EgressRefused(f"{url!r} is a socket on this machine", hint="use http or https")
        reach.check_host(address.origin.host)
    return address


def _parsed(url: str, reach: Reach | None) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadRequest(f"{url!r} is not a URL: {error}") from None
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/") or parts.query:
            raise BadRequest(f"{url!r} names no socket", hint="write unix:///path/to.sock#/v1")
        return Address(Origin("unix", parts.path, 0), "localhost", parts.fragment.rstrip("/"), reach)
    if parts.scheme not in ("http", "https"):
        raise BadRequest(f"{url!r} has the scheme {parts.scheme!r}", hint="use http, https or unix")
    host = parts.hostname or ""
    if parts.username is not None or parts.query or parts.fragment or not _HOST.fullmatch(host):
        raise BadRequest(f"{url!r} is no base URL", hint="write https://host:port/prefix and nothing else")
    default = 443 if parts.scheme == "https" else 80
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port in (None, default) else f"{shown}:{port}"
    return Address(Origin(parts.scheme, host, port or default), authority, parts.path.rstrip("/"), reach)
