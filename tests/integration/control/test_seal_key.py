"""The key that seals: rotated, killed in the middle of that, lost, and taken from the environment."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

import pytest

from support.identity import ADMIN, make_identity
from tetrad.identity._store import SqlIdentityStore
from tetrad.kernel import Conflict, FixedClock
from tetrad.kit.blobs import LocalBlobs
from tetrad.kit.db import Database
from tetrad.kit.home import SETTINGS, Home
from tetrad.kit.seal import BadSealKey, FileKeyring, Keyring, SealBroken, load_keyring, new_seal_key, parse_keyring
from tetrad.kit.settings import BadSettings, Settings, load_settings
from tetrad.processes.control import _sealing
from tetrad.processes.control._sealing import KeyRotation, SealKeyLost, opened_keyring
from tetrad.registry import Evidence
from tetrad.registry._evidence_store import SqlEvidenceStore
from tetrad.registry._store import SqlRegistryStore
from tetrad.serving import ROUTE_TABLE_AAD

VALUES = {"one": "sk-first", "two": "sk-second"}


class Here:
    def __init__(self, database: Database, root: Path, **environ: str) -> None:
        self.database, self.home = database, Home(root)
        self.settings = settings_of(root, **environ)
        self.identity_store, self.evidence_store = SqlIdentityStore(database), SqlEvidenceStore(database)
        self.ring = self.opened()
        self.identity = make_identity(database, keyring=self.ring)
        self.evidence = Evidence(
            self.evidence_store, SqlRegistryStore(database), LocalBlobs(root / "blobs"), self.ring, FixedClock()
        )
        self.published: list[None] = []

    def opened(self) -> Keyring:
        return opened_keyring(self.settings, self.home, self.identity_store, self.evidence_store)

    def fill(self) -> None:
        with contextlib.suppress(Conflict):
            self.identity.projects.create(ADMIN, "default", "default")
        for name, value in VALUES.items():
            self.identity.secrets.put(ADMIN, "default", name, value)
        self.evidence.first_start(ADMIN)
        self.home.route_table.parent.mkdir(parents=True, exist_ok=True)
        self.home.route_table.write_bytes(self.ring.seal(b"{}", ROUTE_TABLE_AAD))

    def rotation(self) -> KeyRotation:
        return KeyRotation(
            self.ring,
            [(self.identity.secrets, self.identity.secrets.reseal), (self.evidence, lambda _: self.evidence.reseal())],
            route_table=self.home.route_table,
            changed=lambda: self.published.append(None),
            audit=self.identity.audit.record,
        )

    def readable(self) -> bool:
        """Whether a process that starts now reads everything."""
        fresh = Here(self.database, self.home.root)
        values = {name: fresh.identity.secrets.reveal("default", name) for name in VALUES}
        signs = any(key.private for key in fresh.evidence.keys(None))
        return (
            values == VALUES
            and signs
            and fresh.ring.unseal(self.home.route_table.read_bytes(), ROUTE_TABLE_AAD) == b"{}"
        )


def settings_of(root: Path, **environ: str) -> Settings:
    return load_settings([SETTINGS], environ={"TETRAD_HOME": str(root), **environ})


@pytest.fixture
def here(database: Database, tmp_path: Path) -> Here:
    made = Here(database, tmp_path)
    made.fill()
    return made


def test_a_rotation_seals_everything_anew_and_drops_the_old_key(here: Here) -> None:
    old = here.ring.primary
    done = here.rotation().rotate(ADMIN)
    assert (done.made, done.resealed, done.left, done.done) == (True, 4, 0, True)
    assert here.ring.primary != old
    assert here.ring.older == ()
    assert here.readable()
    assert here.published
    assert not any(Keyring(old).opens(box) for box in [*here.identity.secrets.boxes(), *here.evidence.boxes()])
    assert here.home.seal_key(here.settings).stat().st_mode & 0o777 == 0o600


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(6))
def test_a_rotation_that_is_killed_anywhere_loses_nothing_and_goes_on(
    here: Here, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step that changes something may be the last one that happened."""
    old, steps = here.ring.primary, iter(range(100))

    def dying(act: Any) -> Any:
        def run(*arguments: Any) -> Any:
            if next(steps) == moment:
                raise Killed
            return act(*arguments)

        return run

    with monkeypatch.context() as patched:
        patched.setattr(_sealing, "write_private", dying(_sealing.write_private))
        patched.setattr(here.identity.secrets, "reseal", dying(here.identity.secrets.reseal))
        patched.setattr(here.evidence, "reseal", dying(here.evidence.reseal))
        patched.setattr(here.identity.audit, "record", dying(here.identity.audit.record))
        with pytest.raises(Killed):
            here.rotation().rotate(ADMIN)
    assert here.readable()
    again = Here(here.database, here.home.root)
    assert again.rotation().rotate(ADMIN).done
    assert again.ring.older == ()
    assert again.ring.primary != old
    assert here.readable()


def test_processes_that_run_follow_without_a_restart(here: Here) -> None:
    other = Here(here.database, here.home.root)
    here.rotation().rotate(ADMIN)
    other.identity.secrets.put(ADMIN, "default", "three", "sk-third")
    assert other.identity.secrets.reveal("default", "one") == "sk-first"
    assert here.identity.secrets.reveal("default", "three") == "sk-third"


def test_what_nobody_can_open_keeps_the_old_key_and_is_told(here: Here) -> None:
    stranger = make_identity(here.database, keyring=Keyring(new_seal_key()))
    stranger.secrets.put(ADMIN, "default", "lost", "x")
    done = here.rotation().rotate(ADMIN)
    assert (done.done, done.left) == (False, 1)
    assert "restore" in done.why
    assert here.readable()
    here.identity.secrets.put(ADMIN, "default", "lost", "y")
    again = here.rotation().rotate(ADMIN)
    assert (again.made, again.done) == (False, True)


def test_one_rotation_at_a_time(here: Here) -> None:
    assert isinstance(here.ring, FileKeyring)
    with _sealing._alone(here.ring.path), pytest.raises(Conflict):
        here.rotation().rotate(ADMIN)


def test_a_missing_key_beside_sealed_data_is_an_error_and_no_new_key(here: Here) -> None:
    path = here.home.seal_key(here.settings)
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(SealKeyLost, match="missing"):
        here.opened()
    assert not path.exists()
    path.write_text(base64.b64encode(new_seal_key()).decode())
    with pytest.raises(SealKeyLost, match="none of the"):
        here.opened()
    path.write_bytes(kept)
    assert here.readable()


def test_the_key_may_come_from_the_environment(here: Here, tmp_path: Path) -> None:
    first = base64.b64encode(here.ring.primary).decode()
    second = base64.b64encode(new_seal_key()).decode()
    there = Here(here.database, tmp_path, TETRAD_SEAL_KEY=first)
    assert there.identity.secrets.reveal("default", "one") == "sk-first"
    both = Here(here.database, tmp_path, TETRAD_SEAL_KEY=f"{second},{first}")
    done = both.rotation().rotate(ADMIN)
    assert (done.made, done.done, done.left) == (False, False, 0)
    assert "TETRAD_SEAL_KEY" in done.why
    alone = Here(here.database, tmp_path, TETRAD_SEAL_KEY=second)
    assert alone.identity.secrets.reveal("default", "two") == "sk-second"
    with pytest.raises(SealKeyLost):
        Here(here.database, tmp_path, TETRAD_SEAL_KEY=base64.b64encode(new_seal_key()).decode())


def test_the_key_may_be_in_a_file_of_the_owners_choice(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "mounted" / "key"
    with pytest.raises(BadSealKey, match="missing"):
        Here(database, tmp_path, TETRAD_SEAL_KEY_FILE=str(path))
    load_keyring(path)
    assert Here(database, tmp_path, TETRAD_SEAL_KEY_FILE=str(path)).ring.primary == load_keyring(path).primary
    with pytest.raises(BadSettings, match="both"):
        Here(database, tmp_path, TETRAD_SEAL_KEY_FILE=str(path), TETRAD_SEAL_KEY="x")


@pytest.mark.parametrize("text", ["short", "%%%", "a" * 43, ","])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadSealKey) as refused:
        parse_keyring(text, where="TETRAD_SEAL_KEY")
    assert text not in refused.value.message or text == ","


def test_a_ring_keeps_its_keys_while_its_file_is_away(tmp_path: Path) -> None:
    ring = load_keyring(tmp_path / "seal.key")
    box = ring.seal(b"x")
    (tmp_path / "seal.key").unlink()
    assert ring.unseal(box) == b"x"
    (tmp_path / "seal.key").write_text("nonsense")
    assert ring.unseal(box) == b"x"
    with pytest.raises(SealBroken):
        ring.unseal(Keyring(new_seal_key()).seal(b"x"))
    assert base64.b64encode(ring.primary).decode() not in repr(ring)
