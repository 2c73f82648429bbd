"""What both HTTP front ends share: bounds on what strangers send, and listening sockets."""

from __future__ import annotations

import re
import socket

REFUSED_HINT = "correct what sends it: the client, or a proxy in between"
"""What to do about bytes that are no request."""
MAX_HEAD_BYTES = 65_536
MAX_DISCARDED_BYTES = 256 * 1024 * 1024
FRAMING_PER_BYTE = 16
"""How many bytes of framing a byte of body may have: six around a chunk of one byte, and some patience."""
BACKLOG = 2048
ONCE = frozenset((b"host", b"authorization", b"x-api-key", b"api-key", b"content-length", b"transfer-encoding"))
"""Headers that a request may have only once: two of them could be read two ways."""

_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def without_upgrade(data: bytes) -> bytes:
    """Hide an offer to switch protocols (Java's client offers h2c), which a server may ignore (RFC 9110 §7.8).

    llhttp would take the body of such a request for the other protocol's bytes and lose it.
    """
    head, blank, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-offer:", head) + blank + rest


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket that other processes may inherit."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening
