"""Folders and what they try to smuggle in."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tetrad.code import BadCode, BadPath, CodeTooLarge, FolderSource, MemorySource, list_code, parse_ignore

NOTHING = parse_ignore()


def test_files_are_listed_in_path_order_with_their_execute_bit(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "run.sh").write_text("x")
    (tmp_path / "pkg" / "run.sh").chmod(0o755)
    (tmp_path / "pkg.py").write_text("yy")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "pkg.pyc").write_text("z")
    listed, _ = list_code(FolderSource(tmp_path))
    assert [(f.path, f.executable, f.size) for f in listed] == [("pkg.py", False, 2), ("pkg/run.sh", True, 1)]


@pytest.mark.parametrize("target", ["/etc/passwd", "inside.txt", "missing", "."])
def test_a_symbolic_link_is_refused_unless_it_is_ignored(tmp_path: Path, target: str) -> None:
    (tmp_path / "inside.txt").write_text("x")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(BadCode, match="'link' is a symbolic link"):
        list_code(FolderSource(tmp_path))
    (tmp_path / ".tetradignore").write_text("link\n")
    listed, _ = list_code(FolderSource(tmp_path))
    assert [file.path for file in listed] == [".tetradignore", "inside.txt"]


def test_nothing_outside_the_folder_can_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("k")
    root = tmp_path / "app"
    root.mkdir()
    (root / "folder").symlink_to(secret)
    (root / "file").symlink_to(secret / "key")
    source = FolderSource(root)
    for path in ("../secret/key", "/etc/passwd", "a/../../secret/key", "folder\\key", "C:/x", "a\0b", "a//b", ""):
        with pytest.raises(BadPath):
            source.read(path, max_bytes=100)
    for path in ("folder/key", "file"):
        with pytest.raises(BadCode):
            source.read(path, max_bytes=100)
    with pytest.raises(BadCode, match="symbolic link"):
        source.below("folder")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadCode, match="'pipe' is no regular file"):
        list_code(FolderSource(tmp_path))
    with pytest.raises(BadCode, match="no regular file"):
        FolderSource(tmp_path).read("pipe", max_bytes=10)
    with socket.socket(socket.AF_UNIX) as listening:
        (tmp_path / "pipe").unlink()
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(BadCode, match="'s' is no regular file"):
            list_code(FolderSource(tmp_path))


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.py")).write_text("x")
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(BadPath, match="not UTF-8"):
        list_code(FolderSource(tmp_path))


def test_limits_say_what_to_do(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.py").write_text("x" * 10)
    with pytest.raises(CodeTooLarge) as caught:
        FolderSource(tmp_path).walk(NOTHING, max_files=4)
    assert ".tetradignore" in caught.value.hint
    with pytest.raises(CodeTooLarge):
        FolderSource(tmp_path).read("1.py", max_bytes=9)
    assert FolderSource(tmp_path).read("1.py", max_bytes=10) == b"x" * 10
    assert FolderSource(tmp_path).read("6.py", max_bytes=10) is None


def test_files_that_were_sent_cannot_leave_their_folder() -> None:
    for path in ("../x", "/x", "a/./b", "a\\b"):
        with pytest.raises(BadPath):
            MemorySource({path: (b"", False)})
    with pytest.raises(BadCode, match="is a file and the folder"):
        MemorySource({"a": (b"", False), "a/b": (b"", False)})


def test_a_folder_below_is_its_own_root() -> None:
    source = MemorySource({"src/a.py": (b"1", False), "srcs/b.py": (b"2", False), "src/deep/c.py": (b"3", True)})
    assert [file.path for file in source.below("src").walk(NOTHING, max_files=10)] == ["a.py", "deep/c.py"]
