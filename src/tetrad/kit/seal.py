"""Seal bytes so that only holders of the key can read or change them: AES-256-GCM (NIST SP 800-38D).

A sealed box is `version(1) ‖ key id(4) ‖ nonce(12) ‖ ciphertext ‖ tag(16)`; the first five bytes are authenticated too.
Nonces are random, so one key is good for 2^32 boxes (SP 800-38D §8.3): ours seal route tables and provider secrets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tetrad.kernel import InvalidInput, TetradError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
OVERHEAD_BYTES = 1 + 4 + 12 + 16
_VERSION = 1
_MAX_KEY_FILE_BYTES = 16_384


class SealBroken(TetradError):
    """The box is damaged, was sealed for another purpose, or with a key that we do not hold."""

    code = "seal_broken"
    status = 500


class BadSealKey(InvalidInput):
    """The key, or the file of keys, is not one of ours."""

    code = "bad_seal_key"


def new_seal_key() -> bytes:
    """Return a fresh random key."""
    return os.urandom(KEY_BYTES)


def seal_key_id(key: bytes) -> bytes:
    """Name a key in four bytes that tell nothing about it."""
    return hashlib.sha256(b"tetrad seal key id\x00" + _checked(key)).digest()[:4]


def seal(key: bytes, data: bytes, aad: bytes = b"") -> bytes:
    """Encrypt and authenticate `data`; `aad` is authenticated, not stored, and must be given again to unseal."""
    head = bytes((_VERSION,)) + seal_key_id(key)
    nonce = os.urandom(12)
    return head + nonce + _cipher(key).encrypt(nonce, data, head + aad)


def unseal(key: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
    """Return what was sealed, or raise `SealBroken`: never part of it, never something else."""
    return Keyring(key).unseal(sealed, aad)


class Keyring:
    """A primary key that seals, and older keys that still unseal.

    To rotate: put the new key in front, reseal what `is_current` denies, drop the old key.
    """

    def __init__(self, primary: bytes, older: Iterable[bytes] = ()) -> None:
        self.primary = _checked(primary)
        self._keys = {seal_key_id(key): key for key in (*older, primary)}

    def __repr__(self) -> str:
        return f"Keyring({len(self._keys)} keys)"

    def seal(self, data: bytes, aad: bytes = b"") -> bytes:
        """Seal with the primary key."""
        return seal(self.primary, data, aad)

    def unseal(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """Unseal with whichever of our keys it was sealed with."""
        from cryptography.exceptions import InvalidTag

        box = bytes(sealed)
        if len(box) < OVERHEAD_BYTES:
            raise SealBroken(f"a sealed box of {len(box)} bytes is cut short", hint="restore it, or make it again")
        if box[0] != _VERSION:
            raise SealBroken(
                f"a sealed box has version {box[0]}; this release reads version {_VERSION}",
                hint="it is damaged, or a newer Tetrad wrote it",
            )
        key = self._keys.get(box[1:5])
        if key is None:
            raise SealBroken(
                f"a sealed box needs the key {box[1:5].hex()}, which is not on the ring",
                hint="restore the file keys/seal.key that belonged to this data, or seal the data again",
            )
        try:
            return _cipher(key).decrypt(box[5:17], box[17:], box[:5] + aad)
        except InvalidTag:
            raise SealBroken(
                "a sealed box was changed, or was sealed for another purpose", hint="restore it, or make it again"
            ) from None

    def derived(self, purpose: bytes) -> Keyring:
        """Return keys made from these for one purpose (HMAC-SHA-256, the expand step of HKDF, RFC 5869 §2.3).

        What many strangers can have sealed, such as the ids of sessions, so uses up no boxes of our own keys.
        """
        primary = _for_purpose(self.primary, purpose)
        older = (_for_purpose(key, purpose) for key in self._keys.values() if key != self.primary)
        return Keyring(primary, older)

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether a box was sealed with the primary key; reseal it where not."""
        return bytes(sealed[1:5]) == seal_key_id(self.primary)


def _for_purpose(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, purpose + b"\x01", "sha256").digest()


def load_keyring(path: Path, *, create: bool = True) -> Keyring:
    """Read a file of keys (base64, one per line, the primary first, `#` comments); make one when absent.

    The file is 0600 in a folder of 0700 and appears whole or not at all, so that processes which race agree on one
    key. Raises `BadSealKey` for what cannot be read.
    """
    if create and not path.exists():
        write_new_file(path, base64.b64encode(new_seal_key()) + b"\n")
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_KEY_FILE_BYTES).decode("ascii")
    except FileNotFoundError:
        raise BadSealKey(f"{str(path)!r} is missing", hint="start the control plane once, which makes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSealKey(f"{str(path)!r} cannot be read: {error}", hint="restore it from a backup") from None
    lines = [line.strip() for line in text.splitlines()]
    keys = [_parsed(line, path) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise BadSealKey(f"{str(path)!r} holds no key", hint="restore it from a backup")
    return Keyring(keys[0], keys[1:])


def write_new_file(path: Path, data: bytes) -> bool:
    """Write a private file whole, unless one is there already; tell whether this call made it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # fails where another process was first; rename would overwrite its key
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _parsed(line: str, path: Path) -> bytes:
    try:
        return _checked(base64.b64decode(line, validate=True))
    except (binascii.Error, ValueError, BadSealKey):
        raise BadSealKey(f"{str(path)!r} holds a line that is no key", hint="restore it from a backup") from None


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise BadSealKey(f"a sealing key has {KEY_BYTES} bytes, this one {len(key)}", hint="make one with new_seal_key")
    return bytes(key)


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
