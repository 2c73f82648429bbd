"""What Git says of a folder, and the patch of what it has not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tetrad.code import FolderSource, GitFailed, GitState, list_code, read_git

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs Git")


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, check=True, input=stdin)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "app" / "prompts").mkdir(parents=True)
    (root / "app" / "a.py").write_text("one\n")
    (root / "app" / "gone.py").write_text("gone\n")
    (root / "app" / "prompts" / "p.md").write_text("p\n")
    (root / "app" / ".tetradignore").write_text("prompts/\n")
    (root / "elsewhere.txt").write_text("x\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def state_of(folder: Path) -> GitState | None:
    listed, ignore = list_code(FolderSource(folder))
    return read_git(folder, [file.path for file in listed], ignore)


def test_a_clean_folder_names_its_commit_and_its_own_tree(repository: Path) -> None:
    state = state_of(repository / "app")
    assert state is not None
    assert (state.commit, state.dirty, state.patch) == (git(repository, "rev-parse", "HEAD"), False, b"")
    assert state.tree == git(repository, "rev-parse", "HEAD:app")


def test_what_is_no_code_does_not_make_it_dirty(repository: Path) -> None:
    (repository / "elsewhere.txt").write_text("changed\n")
    (repository / "app" / "prompts" / "p.md").write_text("changed\n")
    (repository / "app" / "prompts" / "new.md").write_text("new\n")
    state = state_of(repository / "app")
    assert state is not None
    assert not state.dirty


def test_the_patch_makes_the_committed_folder_the_one_that_was_seen(repository: Path, tmp_path: Path) -> None:
    app = repository / "app"
    (app / "a.py").write_text("two\n")
    (app / "gone.py").unlink()
    (app / "new file.py").write_text("new\n")
    (app / "-odd.bin").write_bytes(b"\0\1\2")
    (app / "sub").mkdir()
    (app / "sub" / "ü.py").write_text("umlaut\n")
    state = state_of(app)
    assert state is not None
    assert state.dirty
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    git(clone, "apply", "--binary", stdin=state.patch)
    seen, _ = list_code(FolderSource(app))
    made, _ = list_code(FolderSource(clone / "app"))
    assert seen == made
    assert all(
        FolderSource(app).read(file.path, max_bytes=99) == FolderSource(clone / "app").read(file.path, max_bytes=99)
        for file in seen
    )


def test_the_same_changes_make_the_same_patch_whatever_the_settings(repository: Path) -> None:
    (repository / "app" / "a.py").write_text("two\n")
    first = state_of(repository / "app")
    settings = {"noprefix": "true", "external": "/bin/false", "algorithm": "patience", "mnemonicPrefix": "true"}
    for name, value in settings.items():
        git(repository, "config", f"diff.{name}", value)
    git(repository, "config", "color.ui", "always")
    git(repository, "config", "core.abbrev", "8")
    assert state_of(repository / "app") == first


def test_a_repository_cannot_make_us_run_its_programs(repository: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {trap}\n")
    script.chmod(0o755)
    for name in ("core.fsmonitor", "diff.external", "diff.x.command", "diff.x.textconv", "core.pager"):
        git(repository, "config", name, str(script))
    (repository / "app" / ".gitattributes").write_text("*.py diff=x\n")
    (repository / "app" / "a.py").write_text("two\n")
    state = state_of(repository / "app")
    assert state is not None
    assert state.dirty
    assert not trap.exists()


def test_no_repository_and_no_commit_are_no_state(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    assert state_of(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert state_of(tmp_path) is None


def test_a_broken_repository_is_an_error_that_says_so(repository: Path) -> None:
    (repository / ".git" / "index").write_bytes(b"garbage")
    with pytest.raises(GitFailed) as caught:
        state_of(repository / "app")
    assert caught.value.hint
