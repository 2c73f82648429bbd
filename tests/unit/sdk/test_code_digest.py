"""`code_digest` agrees with the golden vectors, on a real folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tetrad_sdk import BadFolder, code_digest

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/code_tree.json").read_text("utf-8"))["cases"]


def lay_out(root: Path, files: list[dict[str, Any]]) -> None:
    for file in files:
        path = root / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file["text"].encode())
        path.chmod(0o755 if file["executable"] else 0o644)


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_the_digest_is_the_one_that_releases_pin(case: dict[str, Any], tmp_path: Path) -> None:
    lay_out(tmp_path, case["files"])
    assert code_digest(tmp_path) == case["tree"]


def test_the_platform_computes_the_same_for_the_example_app() -> None:
    from tetrad.code import CodeFile, tree_digest
    from tetrad.kernel import digest_bytes

    root = Path(__file__).parents[3] / "examples/assistant"
    files = [
        CodeFile(name, digest_bytes((root / name).read_bytes()), executable=os.access(root / name, os.X_OK), size=0)
        for name in (".tetradignore", "assistant.py", "requirements.txt")
    ]
    assert code_digest(root) == tree_digest(files)


def test_content_path_and_execute_bit_each_change_the_digest(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    seen = {code_digest(tmp_path)}
    (tmp_path / "a.py").write_text("2")
    seen.add(code_digest(tmp_path))
    (tmp_path / "a.py").chmod(0o755)
    seen.add(code_digest(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    seen.add(code_digest(tmp_path))
    assert len(seen) == 4


def test_links_are_refused_unless_they_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "link").symlink_to("a.py")
    with pytest.raises(BadFolder, match="'link' is a symbolic link"):
        code_digest(tmp_path)
    (tmp_path / ".tetradignore").write_text("link\n")
    assert code_digest(tmp_path).startswith("sha256:")


@pytest.mark.parametrize("pattern", ["a\\b", "//", "/", "!", "a//b"])
def test_a_bad_pattern_is_refused_with_its_line(pattern: str, tmp_path: Path) -> None:
    (tmp_path / ".tetradignore").write_text(f"# fine\n{pattern}\n")
    with pytest.raises(BadFolder, match=":2: "):
        code_digest(tmp_path)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFolder, match="is no folder"):
        code_digest(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadFolder, match="'pipe' is no regular file"):
        code_digest(tmp_path)
    (tmp_path / "pipe").unlink()
    (tmp_path / "a\\b").write_text("")
    with pytest.raises(BadFolder, match="cannot be the same on every machine"):
        code_digest(tmp_path)
