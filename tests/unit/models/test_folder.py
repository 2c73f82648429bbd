"""Folders and archives of models: what is chosen, what is left out and said, what is refused."""

from __future__ import annotations

import io
import stat
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from support.weights import gguf, hub_folder, safetensors
from tetrad.models._folder import ArchiveLimits, card_licence, find_files, opened_model, unpack
from tetrad.models._origin import check_file_path
from tetrad.models.errors import BadModel

LIMITS = ArchiveLimits(max_files=20, max_bytes=1 << 20, max_ratio=200)


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_hub_folder_is_its_weights_and_what_stands_beside_them(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "m")
    (folder / "modeling.py").write_text("print()")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.safetensors").write_bytes(b"no")
    found = find_files(folder, LIMITS)
    assert sorted(found.files) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert found.licence == "apache-2.0"
    assert any("pytorch_model.bin is left out" in note for note in found.notes)
    assert any("modeling.py is code" in note for note in found.notes)


def test_several_models_in_one_folder_are_not_guessed_at(tmp_path: Path) -> None:
    for name in ("q4.gguf", "q8.gguf"):
        (tmp_path / name).write_bytes(gguf())
    with pytest.raises(BadModel, match="2 models in GGUF"):
        find_files(tmp_path, LIMITS)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadModel, match="no weights"):
        find_files(tmp_path, LIMITS)
    with pytest.raises(BadModel, match="is not there"), opened_model(tmp_path / "none", LIMITS):
        pass
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BadModel, match="neither"), opened_model(tmp_path / "notes.txt", LIMITS):
        pass


def test_links_into_the_hubs_cache_are_followed_and_others_refused(tmp_path: Path) -> None:
    (tmp_path / "cache" / "blobs").mkdir(parents=True)
    blob = tmp_path / "cache" / "blobs" / "0123"
    blob.write_bytes(safetensors({"a": ("F32", (1,))}))
    snapshot = tmp_path / "cache" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    assert list(find_files(snapshot, LIMITS).files) == ["model.safetensors"]
    secret = tmp_path / "secret"
    secret.write_text("s")
    (snapshot / "config.json").symlink_to(secret)
    with pytest.raises(BadModel, match="leads out"):
        find_files(snapshot, LIMITS)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ('---\nlicense: "cc-by-4.0"\ntags:\n- a\n---\n', "cc-by-4.0"),
        ("---\nlicense: other\nlicense_name: my-own\n---\n", "my-own"),
        ("---\nlicense: apache-2.0 # as it says\nweird: &a [*a]\n---\n", "apache-2.0"),
        ("---\nlicense: [a, b]\n---\n", ""),
        ("license: mit\n", ""),
        ("", ""),
    ],
)
def test_a_card_names_its_licence_in_the_front_matter(tmp_path: Path, card: str, licence: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(card)
    assert card_licence(path) == licence


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_the_folder_that_is_in_it(tmp_path: Path, kind: str) -> None:
    folder = hub_folder(tmp_path / "m")
    archive = tmp_path / f"m.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for path in folder.iterdir():
                out.write(path, f"m/{path.name}")
    else:
        with tarfile.open(archive, "w:gz") as out_tar:
            out_tar.add(folder, "m")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with opened_model(archive, LIMITS, scratch=scratch) as found:
        assert found.files.keys() == find_files(folder, LIMITS).files.keys()
        assert found.files["config.json"].read_bytes() == (folder / "config.json").read_bytes()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../out", "a\\b", "a//b", "n" * 300, "a/b/c/d/e"])
def test_paths_that_lead_out_of_an_archive_are_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BadModel, match="no path"):
        unpack(tar(tmp_path / "a.tar.gz", (tarfile.TarInfo(name), b"x")), target, LIMITS)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(BadModel, match="no path"):
        unpack(tmp_path / "a.zip", target, LIMITS)
    assert list(target.iterdir()) == []


def test_links_and_devices_in_archives_are_refused(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("model.safetensors")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(BadModel, match=r"no regular file|damaged"):
            unpack(tar(tmp_path / "a.tar.gz", (info, b"")), tmp_path, LIMITS)
    link = zipfile.ZipInfo("model.safetensors")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(link, "/etc/passwd")
    with pytest.raises(BadModel, match="no regular file"):
        unpack(tmp_path / "a.zip", tmp_path, LIMITS)


def test_what_becomes_too_large_or_too_many_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("model.safetensors", b"\0" * (2 << 20))
    with pytest.raises(BadModel, match="becomes larger"):
        unpack(tmp_path / "bomb.zip", tmp_path, LIMITS)
    (tmp_path / "model.safetensors").unlink()
    tight = ArchiveLimits(max_files=20, max_bytes=1 << 30, max_ratio=2)
    with zipfile.ZipFile(tmp_path / "ratio.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("model.safetensors", b"\0" * (3 << 20))
    with pytest.raises(BadModel, match="becomes larger"):
        unpack(tmp_path / "ratio.zip", tmp_path, tight)
    many = tar(tmp_path / "many.tar.gz", *((tarfile.TarInfo(f"f{number}"), b"") for number in range(30)))
    with pytest.raises(BadModel, match="too many files"):
        unpack(many, tmp_path, ArchiveLimits(max_files=2))


def test_a_damaged_archive_is_said(tmp_path: Path) -> None:
    archive = tmp_path / "m.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("model.safetensors", b"x" * 1000)
    data = bytearray(archive.read_bytes())
    data[100] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(BadModel, match="damaged"):
        unpack(archive, tmp_path / "out", LIMITS)
    whole = tar(tmp_path / "m.tar.gz", (tarfile.TarInfo("a"), b"x" * 100_000)).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadModel, match=r"damaged|neither"):
        unpack(tmp_path / "cut.tar.gz", tmp_path / "out2", LIMITS)


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_is_there_twice_or_as_a_folder_too_is_refused(
    tmp_path: Path, kind: str, names: tuple[str, str]
) -> None:
    archive = tmp_path / f"m.{kind}"
    if kind == "tar":
        tar(archive, *((tarfile.TarInfo(name), b"x") for name in names))
    else:
        with zipfile.ZipFile(archive, "w") as out, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of duplicates, and writes them
            for name in names:
                out.writestr(name, b"x")
    with pytest.raises(BadModel, match="twice"):
        unpack(archive, tmp_path / "out", LIMITS)


@pytest.mark.parametrize("mode", ["zip", "w:gz", "w:bz2", "w:xz", "w"])
def test_no_flipped_byte_of_an_archive_is_anything_but_a_refusal(tmp_path: Path, mode: str) -> None:
    content = bytes(range(256)) * 8
    archive = tmp_path / "m"
    if mode == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("model.safetensors", content)
    else:
        with tarfile.open(archive, mode) as out_tar:  # type: ignore[call-overload]
            info = tarfile.TarInfo("model.safetensors")
            info.size = len(content)
            out_tar.addfile(info, io.BytesIO(content))
    whole = archive.read_bytes()
    refused = 0
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        try:
            with opened_model(archive, LIMITS, scratch=tmp_path):
                pass
        except BadModel:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    "path",
    ["", "/", "../x", "a/../x", "./x", "a//b", "/etc/x", "a\\b", "a\0b", "a\nb", " x", "a" * 300, "a/b/c/d/e/f/g/h/i"],
)
def test_the_path_of_a_file_that_is_sent_stays_below_its_model(path: str) -> None:
    with pytest.raises(BadModel, match="no path"):
        check_file_path(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("first", [True, False])
def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, kind: bytes, first: bool) -> None:
    header, member = tarfile.TarInfo("x"), tarfile.TarInfo("model.onnx")
    header.type, header.size, member.size = kind, 1 << 40, 512  # nothing of it need be there to be asked for
    blocks = [member.tobuf(tarfile.GNU_FORMAT) + b"x" * 512, header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 512]
    (tmp_path / "m.tar").write_bytes(b"".join(reversed(blocks) if first else blocks) + b"\0" * 1024)
    with pytest.raises(BadModel, match="a header of"):
        unpack(tmp_path / "m.tar", tmp_path / "out", LIMITS)
    with pytest.raises(BadModel, match="a header of"), opened_model(tmp_path / "m.tar", LIMITS, scratch=tmp_path):
        pass
