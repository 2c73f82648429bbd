"""Assign units to variants so that raising a weight never moves anyone back."""

from __future__ import annotations

import hashlib

WHOLE = 1_000_000


def bucket(unit: str, salt: str) -> int:
    """Place a unit in [0, 1,000,000): the first 64 bits of sha256(salt ‖ 0x1f ‖ unit), scaled."""
    head = hashlib.sha256(salt.encode() + b"\x1f" + unit.encode()).digest()[:8]
    return (int.from_bytes(head, "big") * WHOLE) >> 64


def assign(unit: str, salt: str, weight_ppm: int) -> bool:
    """Tell whether a unit belongs to the candidate that holds `weight_ppm` millionths of the traffic."""
    return bucket(unit, salt) < weight_ppm
