"""The key files of a machine, and what the first start of an installation makes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tetrad.identity._model import (
    DEFAULT_PROJECT,
    ApiKey,
    KeySecret,
    Project,
    hash_secret,
    key_kind,
    mint_secret,
    secret_is_well_formed,
)
from tetrad.identity._service._context import Context
from tetrad.identity.errors import KeyFileUnusable
from tetrad.kernel import Principal, new_id
from tetrad.kit.home import write_private
from tetrad.kit.seal import Keyring, load_keyring, write_new_file

if TYPE_CHECKING:
    from tetrad.identity.ports import Rows

MACHINE = Principal("process:control", "process", "first start", frozenset({"admin", "control"}))
_MAX_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class MachineKeys:
    """What this machine's processes share: the ring that seals, and the token by which they know each other."""

    keyring: Keyring
    internal_token: str

    def __repr__(self) -> str:
        return "MachineKeys(hidden)"


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What a start made (and not only found). The secrets are in the files."""

    project: bool
    admin_key: ApiKey | None
    app_key: ApiKey | None
    admin_key_file: Path
    app_key_file: Path


def machine_keys(folder: Path, keyring: Keyring | None = None) -> MachineKeys:
    """Read `seal.key` and `internal.token` in the folder `keys`, making what is missing; safe when processes race.

    A `keyring` that is kept elsewhere takes the place of `seal.key`.
    """
    if keyring is None:
        keyring = load_keyring(folder / "seal.key")
    path = folder / "internal.token"
    if not path.exists():
        write_new_file(path, (mint_secret("internal") + "\n").encode())
    token = read_secret_file(path)
    if token is None:
        raise KeyFileUnusable(f"{str(path)!r} vanished", hint="start again")
    return MachineKeys(keyring, token)


def read_secret_file(path: Path) -> str | None:
    """Return the secret in a file, None when there is no file; raise `KeyFileUnusable` when it holds something else."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileUnusable(f"{str(path)!r} cannot be read: {error}", hint="correct its permissions") from None
    if not secret_is_well_formed(text):
        raise KeyFileUnusable(
            f"{str(path)!r} holds no key of Tetrad's", hint="delete the file; a start makes a new one"
        )
    return text


class Machine:
    """The files `admin.key` and `app.key` of one machine."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._folder: Path | None = None

    def first_start(self, folder: Path) -> FirstStart:
        """Make what is missing: the project `default`, an admin key and a data key, each also as a 0600 file.

        Every start may call this. A file that is there stays; its key is registered when the database does not know it
        (a restored or shared file, or a start that was killed half-way), and is left alone when it was revoked.
        """
        self._folder = folder
        admin_file, app_file = folder / "admin.key", folder / "app.key"
        with _locked(folder), self._context.store.write() as rows:
            now = self._context.clock.now()
            project = rows.add_project(Project(DEFAULT_PROJECT, "Default", now))
            if project:
                self._context.note(rows, MACHINE, "project.created", DEFAULT_PROJECT, DEFAULT_PROJECT, title="Default")
            admin = self._ensure(rows, admin_file, None, "admin key of this machine", ("control", "admin"))
            app = self._ensure(rows, app_file, DEFAULT_PROJECT, "apps on this machine", ("data",))
        if project or admin or app:
            self._context.changed()
        return FirstStart(project, admin, app, admin_file, app_file)

    def _ensure(self, rows: Rows, path: Path, project: str | None, name: str, scopes: tuple[str, ...]) -> ApiKey | None:
        secret = read_secret_file(path)
        if secret is None:
            # The file first: killed after this, the next start finds the file and registers it.
            secret = mint_secret(key_kind(scopes))
            write_private(path, secret + "\n")
        if rows.key_by_secret(hash_secret(secret)) is not None:
            return None
        if not secret.startswith(f"tetrad_{key_kind(scopes)}_"):
            raise KeyFileUnusable(
                f"{str(path)!r} holds a key of another kind", hint="delete the file; a start makes a new one"
            )
        now = self._context.clock.now()
        key = ApiKey(new_id("key"), project, name, scopes, now, MACHINE.id, ending=secret[-4:])
        rows.add_key(key, KeySecret(hash_secret(secret), key.id, now))
        self._context.note(rows, MACHINE, "key.created", key.id, project, name=name, scopes=list(scopes))
        return key

    def follow_rotation(self, key: ApiKey, secret: str) -> Path | None:
        """Write the new secret of a rotated key into this machine's file, if one holds the old; return which."""
        if self._folder is None:
            return None
        for path in (self._folder / "admin.key", self._folder / "app.key"):
            old = read_secret_file(path)
            if old is None:
                continue
            with self._context.store.read() as rows:
                found = rows.key_by_secret(hash_secret(old))
            if found is not None and found[0].id == key.id:
                write_private(path, secret + "\n")
                return path
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise KeyFileUnusable(
            f"the folder {str(folder)!r} cannot be written: {error.strerror}", hint="correct its owner and permissions"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
