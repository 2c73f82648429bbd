"""What Git knows about a folder: commit, tree, and a patch of what is not committed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tetrad.code._ignore import Ignore
from tetrad.code._model import GitState
from tetrad.code.errors import GitFailed

TIMEOUT_S = 30.0
MAX_PATCH_BYTES = 16 * 1024 * 1024
# A repository's own settings must not run programs or change what a patch looks like.
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false")
_DIFF = (
    "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--binary", "--full-index", "--unified=3",
    "--diff-algorithm=myers", "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short",
)  # fmt: skip


def read_git(folder: Path, files: Sequence[str], ignore: Ignore, *, timeout_s: float = TIMEOUT_S) -> GitState | None:
    """Return where the folder stands, or None where it is in no repository, has no commit, or there is no Git.

    `files` are the snapshot's paths: what `ignore` leaves out never makes it dirty, files that Git does not know do.
    The patch applies with `git apply` at the repository's root. Nothing is written into the repository.
    """
    if shutil.which("git") is None:
        return None
    top = _git(folder, ["rev-parse", "--show-toplevel"], timeout_s, (0, 128))
    if top is None:
        return None
    commit = _git(folder, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], timeout_s, (0, 1))
    if commit is None:
        return None
    prefix = (_git(folder, ["rev-parse", "--show-prefix"], timeout_s) or b"").decode().strip().rstrip("/")
    tree = _git(folder, ["rev-parse", "--verify", "--quiet", f"HEAD:{prefix}"], timeout_s, (0, 1))
    if tree is None:  # the folder is not in the last commit at all
        return None
    known = _names(_git(folder, ["ls-tree", "-r", "-z", "--name-only", "HEAD", "."], timeout_s))
    changed = _names(_git(folder, ["diff", "--name-only", "-z", "--relative", "HEAD", "--", "."], timeout_s))
    tracked = sorted(path for path in changed if not ignore.excludes(path))
    untracked = sorted(set(files) - known - set(tracked))
    patch = b""
    if tracked:
        patch += _git(folder, [*_DIFF, "HEAD", "--", *_literal(tracked)], timeout_s) or b""
    inner = f"{prefix}/" if prefix else ""
    added = [*_DIFF, f"--src-prefix=a/{inner}", f"--dst-prefix=b/{inner}", "--no-index", "--", "/dev/null"]
    for path in untracked:
        patch += _git(folder, [*added, path], timeout_s, (0, 1), keep=True) or b""
        if len(patch) > MAX_PATCH_BYTES:
            raise GitFailed(
                f"the uncommitted changes make a patch of more than {MAX_PATCH_BYTES} bytes",
                hint="commit them, or list what is no code in .tetradignore",
            )
    return GitState(commit.decode().strip(), tree.decode().strip(), bool(tracked or untracked), patch)


def _literal(paths: Sequence[str]) -> list[str]:
    return [f":(literal){path}" for path in paths]


def _names(output: bytes | None) -> set[str]:
    return {name.decode("utf-8", "surrogateescape") for name in (output or b"").split(b"\0") if name}


def _git(
    folder: Path, arguments: Sequence[str], timeout_s: float, allowed: tuple[int, ...] = (0,), *, keep: bool = False
) -> bytes | None:
    """Run Git; return its output, or None when it ended with another allowed status than 0 (unless `keep`)."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise GitFailed(f"git {arguments[0]} took longer than {timeout_s:g} s", hint="try again") from None
    except OSError as error:
        raise GitFailed(f"git cannot be run: {error.strerror}", hint="check the installation of Git") from None
    if done.returncode not in allowed:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitFailed(f"git {arguments[0]} failed: {said[-1] if said else done.returncode}", hint="run `git status`")
    return done.stdout if done.returncode == 0 or keep else None
