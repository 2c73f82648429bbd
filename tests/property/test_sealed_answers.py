"""What lies in a server of shared answers opens as what was put there, or not at all."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from tetrad.adapters.answers_redis import EntryBroken, Sealer
from tetrad.kit.seal import Keyring, new_seal_key, seal

MOST = 100_000
KEY = b"k" * 32
OURS = Sealer(Keyring(KEY), most_bytes=MOST)
names = st.text(st.characters(codec="ascii"), min_size=1, max_size=70)


@given(names, st.binary(max_size=5000))
@example("a", b"")
@example("a", b"x" * MOST)
def test_a_box_opens_as_what_was_put_into_it(name: str, data: bytes) -> None:
    box = OURS.close(name, data)
    assert OURS.open(name, box) == data
    assert Sealer(Keyring(KEY), most_bytes=MOST).open(name, box) == data, "another gateway of the installation"


@given(names, st.binary(min_size=1, max_size=300), st.data())
def test_a_box_with_any_other_byte_does_not_open(name: str, data: bytes, draw: st.DataObject) -> None:
    box = bytearray(OURS.close(name, data))
    box[draw.draw(st.integers(0, len(box) - 1))] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(EntryBroken):
        OURS.open(name, bytes(box))


@given(names, st.binary(max_size=300), st.data())
def test_a_box_that_is_cut_or_longer_does_not_open(name: str, data: bytes, draw: st.DataObject) -> None:
    box = OURS.close(name, data)
    cut = box[: draw.draw(st.integers(0, len(box) - 1))]
    for other in (cut, box + draw.draw(st.binary(min_size=1, max_size=40))):
        with pytest.raises(EntryBroken):
            OURS.open(name, other)


@given(names, st.binary(max_size=300))
def test_garbage_does_not_open(name: str, garbage: bytes) -> None:
    with pytest.raises(EntryBroken):
        OURS.open(name, garbage)


@given(names, names, st.binary(max_size=300))
def test_a_box_opens_under_its_own_name_only_and_for_its_own_installation(name: str, other: str, data: bytes) -> None:
    box = OURS.close(name, data)
    theirs = Sealer(Keyring(new_seal_key()), most_bytes=MOST)
    with pytest.raises(EntryBroken):
        theirs.open(name, box)
    assert theirs.name(name) != OURS.name(name)
    if other != name:
        assert OURS.name(other) != OURS.name(name)
        with pytest.raises(EntryBroken):
            OURS.open(other, box)


def test_whoever_has_the_installations_key_for_other_purposes_made_no_answer() -> None:
    packed = zstandard.ZstdCompressor().compress(b"planted")
    for key in (KEY, Keyring(KEY).derived(b"anything").primary):
        with pytest.raises(EntryBroken):
            OURS.open("a", seal(key, packed))


def test_a_name_tells_nothing_of_what_it_names() -> None:
    assert OURS.name("a" * 64) not in (b"a" * 64, b"61" * 32)
    assert len(OURS.name("a")) == len(OURS.name("a" * 200)) == 64


def test_what_is_larger_than_a_gateway_keeps_is_not_unpacked() -> None:
    box = OURS.close("a", b"x" * (MOST + 1))
    assert len(box) < 200
    with pytest.raises(EntryBroken, match="larger than this gateway keeps"):
        OURS.open("a", box)


def test_a_new_primary_key_leaves_all_earlier_answers_behind() -> None:
    ring = Keyring(KEY)
    sealer = Sealer(ring, most_bytes=MOST)
    before, box = sealer.name("a"), sealer.close("a", b"x")
    ring._hold(new_seal_key(), [KEY])
    assert sealer.name("a") != before
    with pytest.raises(EntryBroken):
        sealer.open("a", box)
    assert sealer.open("a", sealer.close("a", b"x")) == b"x"
