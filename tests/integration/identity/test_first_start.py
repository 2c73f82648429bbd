"""The first start on both databases: idempotent, safe when processes race or die half-way."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from support.identity import ADMIN, make_identity
from tetrad.identity import machine_keys, read_secret_file
from tetrad.identity.errors import KeyFileUnusable, KeyRefused
from tetrad.kit.db import Database

PROGRAM = """
import sys, pathlib
from tetrad.identity import Identity, machine_keys
from tetrad.identity._store import SqlIdentityStore
from tetrad.kit.db import open_database
folder = pathlib.Path(sys.argv[2])
keys = machine_keys(folder)
made = Identity(SqlIdentityStore(open_database(sys.argv[1])), keys.keyring).first_start(folder)
print(int(made.project), int(made.admin_key is not None), int(made.app_key is not None), keys.internal_token)
"""


def test_it_makes_a_project_and_two_keys_that_work(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    identity = make_identity(database)
    made = identity.first_start(folder)
    admin, app = (read_secret_file(folder / name) for name in ("admin.key", "app.key"))
    assert made.project
    assert admin is not None
    assert app is not None
    found = identity.keys.recognise(admin)
    assert (found.project, found.scopes) == (None, ("control", "admin"))
    found = identity.keys.recognise(app)
    assert (found.project, found.scopes) == ("default", ("data",))
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {entry.project for entry in identity.key_entries() if "data" in entry.scopes} == {"default"}


def test_a_second_start_makes_nothing(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    make_identity(database).first_start(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    identity = make_identity(database)
    again = identity.first_start(folder)
    assert (again.project, again.admin_key, again.app_key) == (False, None, None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(identity.keys.list(None)) == 1


def test_of_processes_that_race_one_makes_each_thing(database_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, database_url, str(tmp_path / "keys")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [child.communicate(timeout=100) for child in children]
    rows = [out.split() for out, _ in outputs]
    assert all(len(row) == 4 for row in rows), outputs
    assert [sum(int(row[column]) for row in rows) for column in range(3)] == [1, 1, 1]
    assert len({row[3] for row in rows}) == 1


def test_a_file_that_the_database_does_not_know_is_registered(database: Database, tmp_path: Path) -> None:
    from tetrad.identity._model import mint_secret

    secret = mint_secret("admin")
    (tmp_path / "admin.key").write_text(secret + "\n")
    identity = make_identity(database)
    made = identity.first_start(tmp_path)
    assert made.admin_key is not None
    assert identity.keys.recognise(secret).id == made.admin_key.id


def test_a_revoked_key_stays_revoked(database: Database, tmp_path: Path) -> None:
    identity = make_identity(database)
    made = identity.first_start(tmp_path)
    assert made.app_key is not None
    secret = read_secret_file(tmp_path / "app.key") or ""
    identity.keys.revoke(ADMIN, "default", made.app_key.id)
    assert make_identity(database).first_start(tmp_path).app_key is None
    with pytest.raises(KeyRefused):
        identity.keys.recognise(secret)


def test_a_deleted_file_is_made_anew(database: Database, tmp_path: Path) -> None:
    identity = make_identity(database)
    identity.first_start(tmp_path)
    (tmp_path / "app.key").unlink()
    assert identity.first_start(tmp_path).app_key is not None
    assert identity.keys.recognise(read_secret_file(tmp_path / "app.key") or "").project == "default"


@pytest.mark.parametrize("text", [b"", b"hello", b"\xff\xfe", b"tetrad_admin_" + b"A" * 49])
def test_a_damaged_file_is_told_and_left_alone(database: Database, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "admin.key").write_bytes(text)
    with pytest.raises(KeyFileUnusable, match=r"admin\.key"):
        make_identity(database).first_start(tmp_path)
    assert (tmp_path / "admin.key").read_bytes() == text


def test_a_key_in_the_wrong_file_gains_nothing(database: Database, tmp_path: Path) -> None:
    from tetrad.identity._model import mint_secret

    (tmp_path / "admin.key").write_text(mint_secret("data"))
    with pytest.raises(KeyFileUnusable, match="another kind"):
        make_identity(database).first_start(tmp_path)


def test_the_file_follows_a_rotation_of_its_key(database: Database, tmp_path: Path) -> None:
    identity = make_identity(database)
    made = identity.first_start(tmp_path)
    assert made.app_key is not None
    issued, file = identity.rotate_key(ADMIN, "default", made.app_key.id)
    assert file == tmp_path / "app.key"
    assert read_secret_file(tmp_path / "app.key") == issued.secret
    other = identity.keys.create(ADMIN, "default", "other", ["data"]).key
    assert identity.rotate_key(ADMIN, "default", other.id)[1] is None


def test_machine_keys_stay_the_same(tmp_path: Path) -> None:
    first, second = machine_keys(tmp_path / "keys"), machine_keys(tmp_path / "keys")
    assert first.internal_token == second.internal_token
    assert second.keyring.unseal(first.keyring.seal(b"x")) == b"x"
    assert first.internal_token not in repr(first)
