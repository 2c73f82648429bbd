"""How much and how long a call may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; each bound stands alone, and `total_s` covers everything from the wait for a connection on.

    `first_byte_s` runs until the head of the answer is there, `idle_s` between two pieces of its body. Time in which
    the consumer does not read is not held against the upstream.
    """

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and counts past which a call fails instead of taking more memory.

    `head_bytes` bounds everything that is not body (status line, headers, 1xx answers, chunk extensions, trailers)
    between two pieces of body. Reading pauses above `high_water_bytes` of body that nobody has taken yet and goes on
    below a quarter of it.
    """

    max_connections: int = 512
    max_waiting: int = 1024
    head_bytes: int = 65_536
    headers: int = 128
    body_bytes: int = 4 * 1024 * 1024 * 1024
    high_water_bytes: int = 262_144
    keep_alive_s: float = 60.0
