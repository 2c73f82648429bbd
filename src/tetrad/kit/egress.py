"""Where connections may go that somebody configured: pure rules over names and addresses; `kit.upstream` enforces them.

A name is judged twice: as it is written, when it is configured, and by every address that it resolves to, each time a
connection is made, because what a name resolves to is its owner's choice (DNS rebinding). The special ranges are those
of the IANA registries (RFC 6890) and of the metadata services of AWS, Azure, Google, Alibaba, Oracle and Scaleway.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from tetrad.kernel import Forbidden, InvalidInput
from tetrad.kit.settings import BadSettings, Setting, SettingsTable

AddressKind = Literal["public", "inner", "never"]
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

PUBLIC = "public"
MAX_RULES = 256
MAX_CA_BYTES = 256 * 1024
_NAME_RULE = re.compile(r"[a-z0-9*?_.-]{1,253}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_INNER_NAMES = ("localhost", "local", "internal", "intranet", "lan", "corp", "home.arpa", "svc", "test")
_METADATA_NAMES = frozenset(
    ("metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal")
)
_NEVER: tuple[IpNetwork, ...] = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
        "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
        "::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::/32", "fd00:42::/32",
    )
)  # fmt: skip
_INNER: tuple[IpNetwork, ...] = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "3fff::/20", "5f00::/16")))
"""What IANA says is not reachable from everywhere, and `ipaddress` of older Pythons does not know."""
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_CARRYING = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
"""Translators make IPv4 of the last 32 bits: RFC 6052, RFC 8215, RFC 7915."""
_ISATAP = frozenset((0x00005EFE, 0x02005EFE))
_LOOPBACK = ipaddress.IPv6Address("::1")

EGRESS_ALLOW = Setting(
    "egress_allow",
    str,
    PUBLIC,
    "Where providers may be: `public` (the internet), networks (`10.2.0.0/16`) and names (`*.svc.cluster.local`); "
    "commas between. What an administrator of the installation configures as internal is allowed besides",
)
SETTINGS = SettingsTable("Egress", (EGRESS_ALLOW,))


class EgressRefused(Forbidden):
    """No connection may go there."""

    code = "egress_refused"


@dataclass(frozen=True, slots=True)
class Egress:
    """What is allowed besides what an administrator configured by hand; made by `parse_egress`."""

    public: bool = True
    networks: tuple[IpNetwork, ...] = ()
    names: tuple[str, ...] = ()
    text: str = PUBLIC

    def names_host(self, host: str) -> bool:
        """Tell whether a rule names the host."""
        return any(fnmatchcase(host, pattern) for pattern in self.names)


@lru_cache(maxsize=64)
def parse_egress(text: str) -> Egress:
    """Read the setting `egress_allow`; raises `BadSettings` naming the entry that is none."""
    networks: list[IpNetwork] = []
    names: list[str] = []
    entries = [entry.strip().lower() for entry in text.split(",") if entry.strip()]
    if len(entries) > MAX_RULES:
        raise BadSettings(f"egress_allow has {len(entries)} entries", hint=f"at most {MAX_RULES}")
    for entry in entries:
        if entry == PUBLIC:
            continue
        try:
            networks.append(ipaddress.ip_network(entry))
            continue
        except ValueError:
            pass
        if "/" in entry or not _NAME_RULE.fullmatch(entry) or _ends_in_number(entry):
            raise BadSettings(
                f"egress_allow has the entry {entry[:80]!r}, which is no network and no name",
                hint=f"`{PUBLIC}`, a network such as 10.2.0.0/16, or a name such as *.svc.cluster.local",
            )
        names.append(entry.rstrip("."))
    return Egress(PUBLIC in entries, tuple(networks), tuple(names), ",".join(entries))


def _key(reach: Reach) -> str:
    return sha256(f"{reach.egress.text}\x00{reach.internal}\x00{reach.own}\x00{reach.ca}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the connections of one upstream reach, and whom they believe.

    `internal`: an administrator of the installation put it inside the network, so private addresses are right. `ca`
    are PEM certificates that take the place of the system's; what they do not sign is refused. `own`: Tetrad itself put
    it on this machine, and nothing is asked. Upstreams that do not share a reach share no connections: `key` tells
    reaches apart.
    """

    egress: Egress = field(default_factory=Egress)
    internal: bool = False
    ca: str = field(default="", repr=False)
    own: bool = False
    key: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _key(self))

    def check_host(self, host: str) -> str:
        """Return a host as it may be resolved, or raise `EgressRefused` for one that can be refused by its looks.

        Refused are names and addresses of metadata services, spellings of addresses that resolvers read in more than
        one way (`127.1`, `0x7f000001`, `2130706433`, `0177.0.0.1`), and private addresses that nobody allowed.
        """
        name = host.lower().rstrip(".")
        if not name or name in _METADATA_NAMES or (_ends_in_number(name) and _address(name) is None):
            raise EgressRefused(
                f"{host[:253]!r} cannot be connected to",
                hint="write an address as 192.0.2.1 or [2001:db8::1]; metadata services are never called",
            )
        address = _address(name)
        if address is not None:
            self.check_address(address, host)
        elif not (self.internal or self.egress.networks or self.egress.names_host(name)):
            # no address that it may resolve to could be allowed, so it can be told now
            if looks_inner(name):
                raise _inner(host)
            if not self.egress.public:
                raise _closed(host)
        return name

    def check_address(self, address: IpAddress, host: str) -> None:
        """Raise `EgressRefused` where an address, which `host` is or resolves to, may not be connected to."""
        kind = address_kind(address)
        if kind == "never":
            raise EgressRefused(
                f"{host[:253]!r} is a link-local, metadata or reserved address",
                hint="these are never called, whatever is allowed",
            )
        if any(address.version == net.version and address in net for net in self.egress.networks):
            return
        if self.egress.names_host(host.lower().rstrip(".")):
            return
        if kind == "inner":
            if not self.internal:
                raise _inner(host)
        elif not self.egress.public:
            raise _closed(host)


OWN = Reach(own=True)
"""The reach of what Tetrad itself puts on this machine: its engines."""


def looks_inner(host: str) -> bool:
    """Tell whether a host is inside a network by its looks: a private address, `localhost`, `vllm`, `a.svc`."""
    name = host.lower().rstrip(".")
    address = _address(name)
    if address is not None:
        return address_kind(address) == "inner"
    return "." not in name or any(name.endswith(f".{suffix}") for suffix in _INNER_NAMES)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine by its looks: `localhost`, 127.0.0.0/8, `::1`."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def address_kind(address: IpAddress) -> AddressKind:
    """Say what an address is; one that carries another (mapped, 6to4, NAT64, ...) is no better than that one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address_kind(address.ipv4_mapped)
        for carried in _carried(address):
            kind = address_kind(carried)
            if kind != "public":
                return kind
    if any(address.version == net.version and address in net for net in _NEVER):
        return "never"
    if any(address.version == net.version and address in net for net in _INNER):
        return "inner"
    return "public" if address.is_global and not getattr(address, "is_site_local", False) else "inner"


def _carried(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    found = [address.sixtofour] if address.sixtofour is not None else []
    found += address.teredo or ()
    carries = any(address in net for net in _CARRYING) or int(address) >> 32 & 0xFFFFFFFF in _ISATAP  # RFC 5214
    if carries or (address in _COMPATIBLE and int(address) > 1):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _address(name: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _ends_in_number(name: str) -> bool:
    """Such a host is an IPv4 address to some readers (WHATWG URL, "ends in a number"), whatever its other labels."""
    return ":" not in name and _NUMBER.fullmatch(name.rsplit(".", 1)[-1]) is not None


def _inner(host: str) -> EgressRefused:
    return EgressRefused(
        f"{host[:253]!r} is inside a network, and nobody allowed it",
        hint="an administrator of the whole installation adds it, or lists it in TETRAD_EGRESS_ALLOW",
    )


def _closed(host: str) -> EgressRefused:
    return EgressRefused(
        f"{host[:253]!r} is not among the places that may be called", hint="list it in TETRAD_EGRESS_ALLOW"
    )


def check_ca(pem: str) -> None:
    """Raise `InvalidInput` for what is no bundle of PEM certificates."""
    import ssl

    if len(pem) > MAX_CA_BYTES:
        raise InvalidInput(f"a bundle of certificates has {len(pem):,} characters", hint=f"at most {MAX_CA_BYTES:,}")
    if "PRIVATE KEY" in pem:
        raise InvalidInput("a bundle of certificates holds a private key", hint="give the certificates alone")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=pem)
        if not context.cert_store_stats()["x509_ca"]:
            raise ValueError("none of them may sign others")
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput(f"it is no bundle of PEM certificates: {error}", hint="a file of CA certificates") from None
