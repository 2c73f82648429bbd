"""Seal bytes so that only holders of the key can read or change them: AES-256-GCM (NIST SP 800-38D).

A sealed box is `version(1) ‖ key id(4) ‖ nonce(12) ‖ ciphertext ‖ tag(16)`; the first five bytes are authenticated too.
Nonces are random, so one key is good for 2^32 boxes (SP 800-38D §8.3): ours seal route tables and provider secrets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
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
        self._hold(primary, older)

    def _hold(self, primary: bytes, older: Iterable[bytes]) -> None:
        # one assignment, so that no thread sees half of a change
        self._ring = (_checked(primary), {seal_key_id(key): key for key in (*older, primary)})

    def _follow(self) -> None:
        """Look whether the keys have changed where they are kept."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._ring[1])} keys)"

    @property
    def primary(self) -> bytes:
        """The key that seals."""
        self._follow()
        return self._ring[0]

    @property
    def older(self) -> tuple[bytes, ...]:
        """The keys that only unseal."""
        self._follow()
        primary, keys = self._ring
        return tuple(key for key in keys.values() if key != primary)

    def seal(self, data: bytes, aad: bytes = b"") -> bytes:
        """Seal with the primary key."""
        return seal(self.primary, data, aad)

    def opens(self, sealed: bytes) -> bool:
        """Tell whether a box was sealed with one of our keys."""
        self._follow()
        return bytes(sealed[1:5]) in self._ring[1]

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
        self._follow()
        key = self._ring[1].get(box[1:5])
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

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether a box was sealed with the primary key; reseal it where not."""
        return bytes(sealed[1:5]) == seal_key_id(self.primary)


class FileKeyring(Keyring):
    """A ring that follows its file: what rotates the key need not restart who uses it.

    A file that is gone or cannot be read leaves the ring as it is; the next start says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = self._stamped()
        keys = _read_keys(path)
        super().__init__(keys[0], keys[1:])

    def _follow(self) -> None:
        try:
            stamp = self._stamped()
            if stamp != self._stamp:
                keys = _read_keys(self.path)
                self._hold(keys[0], keys[1:])
                self._stamp = stamp
        except (OSError, BadSealKey):
            return

    def _stamped(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size


def parse_keyring(text: str, *, where: str) -> Keyring:
    """Read keys from a text, the primary first, with commas or white space between; raises `BadSealKey`."""
    keys = [_parsed(each, where) for each in text.replace(",", " ").split()]
    if not keys:
        raise BadSealKey(f"{where} holds no key", hint="32 bytes in base64, such as `openssl rand -base64 32` prints")
    return Keyring(keys[0], keys[1:])


def keyring_text(keys: Iterable[bytes]) -> bytes:
    """Return what a file of keys holds, the primary first."""
    return b"".join(base64.b64encode(key) + b"\n" for key in keys)


def load_keyring(path: Path, *, create: bool = True) -> FileKeyring:
    """Read a file of keys (base64, one per line, the primary first, `#` comments); make one when absent.

    The file is 0600 in a folder of 0700 and appears whole or not at all, so that processes which race agree on one
    key. Raises `BadSealKey` for what cannot be read.
    """
    if create and not path.exists():
        write_new_file(path, keyring_text([new_seal_key()]))
    return FileKeyring(path)


def _read_keys(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_KEY_FILE_BYTES).decode("ascii")
    except FileNotFoundError:
        raise BadSealKey(f"{str(path)!r} is missing", hint="start the control plane once, which makes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSealKey(f"{str(path)!r} cannot be read: {error}", hint="restore it from a backup") from None
    lines = [line.strip() for line in text.splitlines()]
    keys = [_parsed(line, repr(str(path))) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise BadSealKey(f"{str(path)!r} holds no key", hint="restore it from a backup")
    return keys


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


def _parsed(line: str, where: str) -> bytes:
    try:
        return _checked(base64.b64decode(line, validate=True))
    except (binascii.Error, ValueError, BadSealKey):
        raise BadSealKey(f"{where} holds a line that is no key", hint="restore it from a backup") from None


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise BadSealKey(f"a sealing key has {KEY_BYTES} bytes, this one {len(key)}", hint="make one with new_seal_key")
    return bytes(key)


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
