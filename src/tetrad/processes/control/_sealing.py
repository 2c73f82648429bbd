"""The key that seals: found at a start, and rotated while everything runs."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tetrad.identity._store import SqlIdentityStore
from tetrad.kernel import Conflict, Principal
from tetrad.kit.home import SEAL_KEY, Home, write_private
from tetrad.kit.http import CurrentPrincipal, requires
from tetrad.kit.seal import BadSealKey, FileKeyring, Keyring, SealBroken, keyring_text, new_seal_key
from tetrad.kit.settings import Settings
from tetrad.registry._evidence_store import SqlEvidenceStore
from tetrad.serving import ROUTE_TABLE_AAD

log = logging.getLogger(__name__)


class SealKeyLost(BadSealKey):
    """Secrets are there, and the key that sealed them is not."""

    code = "seal_key_lost"


def opened_keyring(settings: Settings, home: Home, identity: SqlIdentityStore, evidence: SqlEvidenceStore) -> Keyring:
    """Return the ring that seals; a new key is only made where nothing was sealed yet.

    Raises `SealKeyLost` where a key is missing, or is another one, beside data that was sealed: a new key would make
    every secret unreadable without a word.
    """
    with identity.read() as rows:
        boxes = [sealed for _, sealed in rows.sealed_secrets()]
    boxes += [sealed for _, _, sealed in evidence.every_key()]
    path = home.seal_key(settings)
    if boxes and not settings.get(SEAL_KEY) and not path.exists():
        raise SealKeyLost(
            f"{str(path)!r} is missing, and {len(boxes)} secrets and keys in the database are sealed with it",
            hint="restore it from a backup; to give them up, delete the rows of provider_secrets and signing_keys",
        )
    ring = home.keyring(settings, create=True)
    unopened = sum(not ring.opens(box) for box in boxes)
    if boxes and unopened == len(boxes):
        raise SealKeyLost(
            f"the sealing key opens none of the {len(boxes)} secrets and keys in the database",
            hint="restore the key that belongs to this database; older keys may stand behind the newest",
        )
    if unopened:
        log.error("%d of %d secrets and keys were sealed with a key that is not here", unopened, len(boxes))
    return ring


class Sealed(Protocol):
    """Something that keeps sealed boxes."""

    def boxes(self) -> Sequence[bytes]:
        """Return them all, as they are kept."""
        ...


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did. While `left` boxes need an older key, that key stays; `why` says what is to be done."""

    made: bool
    resealed: int
    left: int
    done: bool
    why: str = ""


class KeyRotation:
    """Put a new key in front, seal everything with it, and only then drop the old one.

    May be killed anywhere, and called again: a ring of several keys is a rotation that is not over, and goes on. All
    processes read on through the file, with old keys and new.
    """

    def __init__(
        self,
        keyring: Keyring,
        stores: Sequence[tuple[Sealed, Callable[[Principal], int]]],
        *,
        route_table: Path,
        changed: Callable[[], None],
        audit: Callable[..., None],
    ) -> None:
        self._keyring = keyring
        self._stores = stores
        self._route_table = route_table
        self._changed = changed
        self._audit = audit

    def rotate(self, actor: Principal) -> Rotated:
        """Rotate, or go on with a rotation; raises `Conflict` while another one is under way."""
        ring = self._keyring
        if not isinstance(ring, FileKeyring):
            resealed = self._reseal(actor)
            left = self._left()
            why = "" if left else "take the older keys out of TETRAD_SEAL_KEY, and start again"
            return Rotated(False, resealed, left, not ring.older and not left, _unreadable(left) or why)
        with _alone(ring.path):
            made = not ring.older
            if made:
                self._write(ring.path, (new_seal_key(), ring.primary))
                self._audit(actor, "seal_key.rotated", "", None)
            resealed = self._reseal(actor)
            left = self._left()
            if not left:
                self._write(ring.path, (ring.primary,))
            return Rotated(made, resealed, left, not left, _unreadable(left))

    def _write(self, path: Path, keys: Sequence[bytes]) -> None:
        write_private(path, keyring_text(keys))
        self._changed()  # gateways get a table that is sealed with the key in front

    def _reseal(self, actor: Principal) -> int:
        done = sum(reseal(actor) for _, reseal in self._stores)
        try:
            table = self._route_table.read_bytes()
            if not self._keyring.is_current(table):
                # the gateways' copy: without it they could not start while control is away
                plain = self._keyring.unseal(table, ROUTE_TABLE_AAD)
                write_private(self._route_table, self._keyring.seal(plain, ROUTE_TABLE_AAD))
                done += 1
        except (FileNotFoundError, SealBroken):
            pass  # none is here, or it is no good to anybody: the next table takes its place
        return done

    def _left(self) -> int:
        return sum(not self._keyring.is_current(box) for store, _ in self._stores for box in store.boxes())


def _unreadable(left: int) -> str:
    if not left:
        return ""
    return f"{left} were sealed with a key that is not here: restore that key behind the others, or set them again"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("the sealing key is being rotated", hint="wait for it to end") from None
        yield
    finally:
        os.close(descriptor)


class RotatedView(BaseModel):
    """What a rotation of the sealing key did."""

    made: bool = Field(description="A new key was made; else a rotation that had begun went on")
    resealed: int = Field(description="Secrets, signing keys and route tables that were sealed anew")
    left: int = Field(description="Those that need an older key still, which therefore stays")
    done: bool = Field(description="The old key is gone")
    why: str = Field(description="What is to be done where it is not")


def sealing_router(rotation: KeyRotation) -> APIRouter:
    """Return the one route."""
    routes = APIRouter(tags=["identity"])

    @routes.post(
        "/api/v1/seal-key/rotation",
        dependencies=[requires("admin", everywhere=True)],
        operation_id="rotate_seal_key",
    )
    def rotate_seal_key(actor: CurrentPrincipal) -> RotatedView:
        """Seal everything with a new key; again after a failure, it goes on where it was."""
        done = rotation.rotate(actor)
        return RotatedView(made=done.made, resealed=done.resealed, left=done.left, done=done.done, why=done.why)

    return routes
