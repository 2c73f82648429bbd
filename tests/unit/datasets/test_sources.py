"""Folders, DVC pointers and references to commits: what is found, and what may not be reached."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tetrad.datasets import BadSource, hub_reference, read_folder, read_pointer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_reference_names_a_commit_and_no_branch() -> None:
    told = hub_reference(f"hf://datasets/org/name@{COMMIT}/data/train.jsonl")
    assert told == {"hf": {"repo": "org/name", "commit": COMMIT, "path": "data/train.jsonl"}}
    for text in ("hf://org/name@main", f"hf://org/name@{COMMIT}/../x", "https://example.com", f"hf://a/b/c@{COMMIT}"):
        with pytest.raises(BadSource):
            hub_reference(text)


def test_a_folder_is_read_as_its_card_says(tmp_path: Path) -> None:
    for name in ("data/a.jsonl", "data/b.jsonl", "test/c.jsonl", "other.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*.jsonl\n"
    (tmp_path / "README.md").write_text(card + "  - split: test\n    path: [test/c.jsonl]\n---\n# Card\n")
    found = read_folder(tmp_path)
    assert [file.name for file in found.files] == ["data/a.jsonl", "data/b.jsonl"]
    listed = found.provenance["folder"]["files"]
    assert listed[0] == {"path": "data/a.jsonl", "sha256": hashlib.sha256(b"{}\n").hexdigest()}
    assert [file.name for file in read_folder(tmp_path, split="test").files] == ["test/c.jsonl"]
    with pytest.raises(BadSource, match="configuration"):
        read_folder(tmp_path, config="missing")


def test_a_folder_without_a_card_is_read_by_names(tmp_path: Path) -> None:
    for name in ("train-00000.jsonl", "validation.jsonl", "dataset_infos.json"):
        (tmp_path / name).write_text("{}")
    assert [file.name for file in read_folder(tmp_path).files] == ["train-00000.jsonl"]
    assert [file.name for file in read_folder(tmp_path, split="validation").files] == ["validation.jsonl"]
    with pytest.raises(BadSource, match="no data files"):
        read_folder(tmp_path, split="test")


@pytest.mark.parametrize("pattern", ["../secret.jsonl", "/etc/passwd", "https://example.com/x.jsonl", "data/../../x"])
def test_a_card_cannot_reach_out_of_its_folder(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "secret.jsonl").write_text("{}")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: d\n  data_files: '{pattern}'\n---\n")
    with pytest.raises(BadSource, match="out of"):
        read_folder(folder)


def test_a_link_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text("{}")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(BadSource, match="outside"):
        read_folder(folder)


def test_a_pointer_is_followed_to_data_that_has_its_digest(tmp_path: Path) -> None:
    data = b'{"a": 1}\n'
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    (tmp_path / "rows.jsonl").write_bytes(data)
    (tmp_path / "rows.jsonl.dvc").write_text(
        f"outs:\n- md5: {md5}\n  size: {len(data)}\n  hash: md5\n  path: rows.jsonl\n"
    )
    file, told = read_pointer(tmp_path / "rows.jsonl.dvc")
    assert (file.path.read_bytes(), file.form) == (data, "jsonl")
    assert told == {"dvc": {"pointer": "rows.jsonl.dvc", "path": "rows.jsonl", "md5": md5, "size": len(data)}}
    lock = f"schema: '2.0'\nstages:\n  one:\n    cmd: x\n    outs:\n    - path: rows.jsonl\n      md5: {md5}\n"
    (tmp_path / "dvc.lock").write_text(lock)
    assert read_pointer(tmp_path / "dvc.lock", "rows.jsonl")[1]["dvc"]["md5"] == md5
    (tmp_path / "rows.jsonl").write_bytes(b"other")
    with pytest.raises(BadSource, match="is not what"):
        read_pointer(tmp_path / "rows.jsonl.dvc")
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(BadSource, match="not here"):
        read_pointer(tmp_path / "rows.jsonl.dvc")
    cache = tmp_path / ".dvc/cache/files/md5" / md5[:2]
    cache.mkdir(parents=True)
    (cache / md5[2:]).write_bytes(data)
    assert read_pointer(tmp_path / "rows.jsonl.dvc")[0].path.read_bytes() == data


@pytest.mark.parametrize(
    "text", ["outs:\n- path: ../x\n  md5: " + "0" * 32, "outs: []\n", "a: [", "outs:\n- path: d\n  md5: abc.dir\n"]
)
def test_a_pointer_to_nothing_of_its_folder_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.dvc").write_text(text)
    with pytest.raises(BadSource):
        read_pointer(tmp_path / "x.dvc")
