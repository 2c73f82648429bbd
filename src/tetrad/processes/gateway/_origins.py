"""Origins of web pages, as people write them in a setting and browsers send them (RFC 6454)."""

from __future__ import annotations

import re

from tetrad.kit.settings import BadSettings

_ORIGIN = re.compile(r"(https?)://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
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
    if not 0 < port < 65_536:
        raise BadSettings(f"{given[:200]!r} names no port", hint=_HINT)
    return f"{scheme}://{host}{'' if port == _USUAL_PORTS[scheme] else f':{port}'}".encode()
