"""Sealed boxes open for the right key and purpose only."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tetrad.kit.seal import BadSealKey, Keyring, SealBroken, load_keyring, new_seal_key, seal, unseal, write_new_file

KEY = bytes(range(32))


def test_a_box_opens_with_its_key_and_purpose() -> None:
    sealed = seal(KEY, b"hello", b"purpose")
    assert unseal(KEY, sealed, b"purpose") == b"hello"
    assert b"hello" not in sealed
    assert seal(KEY, b"hello", b"purpose") != sealed


def test_a_box_of_another_key_names_the_key_that_it_needs() -> None:
    with pytest.raises(SealBroken, match="not on the ring") as refusal:
        unseal(new_seal_key(), seal(KEY, b"x"))
    assert "seal.key" in refusal.value.hint


def test_another_purpose_is_refused() -> None:
    with pytest.raises(SealBroken, match="another purpose"):
        unseal(KEY, seal(KEY, b"x", b"a"), b"b")


def test_a_change_of_any_byte_is_noticed() -> None:
    sealed = seal(KEY, b"hello", b"purpose")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            unseal(KEY, bytes(changed), b"purpose")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            unseal(KEY, sealed[:length], b"purpose")


def test_older_keys_open_and_the_primary_seals() -> None:
    old, new = new_seal_key(), new_seal_key()
    ring = Keyring(new, [old])
    before = seal(old, b"x")
    assert ring.unseal(before) == b"x"
    assert not ring.is_current(before)
    assert ring.is_current(ring.seal(b"x"))
    assert unseal(new, ring.seal(b"x")) == b"x"


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(BadSealKey, match="32 bytes"):
        seal(b"short", b"x")


def test_a_keyring_file_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "seal.key"
    sealed = load_keyring(path).seal(b"x")
    assert load_keyring(path, create=False).unseal(sealed) == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["seal.key"]


def test_a_file_may_hold_older_keys_and_comments(tmp_path: Path) -> None:
    old, new, path = new_seal_key(), new_seal_key(), tmp_path / "seal.key"
    path.write_bytes(b"# rotated\n" + base64.b64encode(new) + b"\n\n" + base64.b64encode(old) + b"\n")
    ring = load_keyring(path)
    assert ring.primary == new
    assert ring.unseal(seal(old, b"x")) == b"x"


@pytest.mark.parametrize("text", [b"", b"# nothing", b"not base64!", base64.b64encode(b"short"), b"\xff"])
def test_a_damaged_file_is_told_and_never_overwritten(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "seal.key"
    path.write_bytes(text)
    with pytest.raises(BadSealKey, match=r"seal\.key"):
        load_keyring(path)
    assert path.read_bytes() == text


def test_a_missing_file_is_told_when_it_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadSealKey, match="missing"):
        load_keyring(tmp_path / "seal.key", create=False)


def test_of_writers_that_race_one_makes_the_file(tmp_path: Path) -> None:
    path, start, made = tmp_path / "k", threading.Barrier(8), []

    def write(number: int) -> None:
        start.wait(30)
        made.append(write_new_file(path, str(number).encode()))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(made) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["k"]


def test_importing_it_is_light() -> None:
    code = "import sys, tetrad.kit.seal, tetrad.identity; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sqlalchemy", "fastapi", "pydantic", "cryptography", "httpx"} & set(loaded)
