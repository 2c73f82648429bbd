"""Origins of web pages, as people write them in a setting and browsers send them (RFC 6454)."""

from __future__ import annotations

import ipaddress
import re

from tetrad.kit.settings import BadSettings

_ORIGIN = re.compile(r"(https?)://([a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_USUAL_PORTS = {"http": 80, "https": 443}
_HINT = "name origins as browsers send them, such as https://app.example.com, separated by commas"


def origins_of(listed: str) -> frozenset[bytes]:
    """Return the origins of a list, as browsers send them: in small letters, without the port that a scheme has anyway.

    Raises `BadSettings` for what is none, and for what would let any page in.
    """
    return frozenset(_origin(each.strip()) for each in listed.split(",") if each.strip())


def _origin(given: str) -> bytes:
    said = given.lower()
    if said in ("*", "null"):
        raise BadSettings(f"{given!r} would let any page in", hint=_HINT)
    found = _ORIGIN.fullmatch(said)
    if found is None:
        raise BadSettings(f"{given[:200]!r} is no origin of a page", hint=_HINT)
    scheme, host, port = found[1], found[2], int(found[3] or _USUAL_PORTS[found[1]])
    if host.startswith("["):
        host = _compressed(host, given)
    if not 0 < port < 65_536:
        raise BadSettings(f"{given[:200]!r} names no port", hint=_HINT)
    return f"{scheme}://{host}{'' if port == _USUAL_PORTS[scheme] else f':{port}'}".encode()


def _compressed(host: str, given: str) -> str:
    """Return an address of IPv6 as browsers send it: with the longest run of zeros left out, and never with dots."""
    try:
        address = ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        raise BadSettings(f"{given[:200]!r} holds no address of IPv6", hint=_HINT) from None
    if address.ipv4_mapped is None:
        return f"[{address.compressed}]"
    high, low = divmod(int(address.ipv4_mapped), 1 << 16)  # newer Pythons write these with dots
    return f"[::ffff:{high:x}:{low:x}]"
