"""What is fuzzed for long elsewhere, here for a moment: bent seeds, on every Python."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fuzzing import TARGETS, seeds

WORDS = (b"\r\n", b"\n\n", b"\0", b"null", b"{", b"]", b'"', b"-1e999", b"\xff", b"data:", b'"x":', b"[[", b"1e400")
SEEDS = {target: seeds(target) for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS)
def test_no_seed_breaks_a_promise(target: str) -> None:
    for seed in SEEDS[target]:
        TARGETS[target](seed)


@pytest.mark.parametrize("target", TARGETS)
@given(place=st.integers(0, 10_000), dice=st.randoms(use_true_random=False), other=st.integers(0, 10_000))
def test_no_bent_seed_breaks_a_promise(target: str, place: int, dice: random.Random, other: int) -> None:
    known = SEEDS[target]
    TARGETS[target](bent(known[place % len(known)], known[other % len(known)], dice))


def bent(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """Return bytes with a few changes in them."""
    made = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at, size = dice.randint(0, len(made)), dice.randint(1, 12)
        kind = dice.randint(0, 4)
        if kind == 0:
            del made[at : at + size]
        elif kind == 1:
            made[at:at] = dice.choice(
                [b"\r\n", b"\n\n", b"\0", b"null", b"{", b"]", b'"', b"-1e999", b"\xff", b"data:"]
            )
        elif kind == 2:
            made[at:at] = made[at : at + size]
        elif kind == 3 and made:
            made[min(at, len(made) - 1)] = dice.randint(0, 255)
        else:
            start = dice.randint(0, len(other))
            made[at:at] = other[start : start + size * 8]
    return bytes(made)
