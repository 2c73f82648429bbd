"""A snapshot of code: files by digest, and where they came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tetrad.code.errors import BadPath
from tetrad.kernel import Digest, digest_json

TREE_SCHEMA = "tetrad.code.tree/1"
CODE_SCHEMA = "tetrad.code/1"
MAX_PATH_BYTES = 1024


class CodeFile(msgspec.Struct, frozen=True):
    """One file: its path below the root with `/`, its content's digest, its owner's execute bit, its bytes."""

    path: str
    digest: Digest
    executable: bool
    size: int


class GitState(msgspec.Struct, frozen=True):
    """Where a folder stands in its repository: the commit, the Git id of the folder's tree, uncommitted changes."""

    commit: str
    tree: str
    dirty: bool = False
    patch: bytes = b""


class CodeSnapshot(msgspec.Struct, frozen=True):
    """Code that is stored: `digest` names all of this, `tree` only the files, which a running program can compute."""

    digest: Digest
    tree: Digest
    files: tuple[CodeFile, ...]
    commit: str = ""
    git_tree: str = ""
    dirty: bool = False
    patch: Digest | None = None
    lock: Digest | None = None
    runtime: Mapping[str, str] = {}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def check_path(path: str) -> str:
    """Return a relative POSIX path that stays inside its folder on every system, or refuse with `BadPath`."""
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        raise BadPath(f"the path {path!r} is not UTF-8", hint="rename the file") from None
    if not path or size > MAX_PATH_BYTES:
        raise BadPath(f"a path of {size} bytes", hint=f"1 to {MAX_PATH_BYTES} bytes")
    if path.startswith("/") or "\\" in path or (len(path) > 1 and path[1] == ":"):
        raise BadPath(f"{path!r} is not a relative path with `/`", hint="write src/app.py")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise BadPath(f"{path!r} does not stay inside its folder", hint="write src/app.py, without `..`")
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise BadPath(f"{path!r} holds a control character", hint="rename the file")
    return path


def tree_digest(files: Iterable[CodeFile]) -> Digest:
    """Name a set of files by their paths, contents and execute bits; the same on every machine.

    SHA-256 of the RFC 8785 form of `{"files": [{"digest", "executable", "path"}, …], "schema": "tetrad.code.tree/1"}`,
    the files in the code point order of their paths. `tetrad_sdk` computes the same in the running program.
    """
    ordered = sorted(files, key=lambda file: file.path)
    return digest_json(
        {
            "schema": TREE_SCHEMA,
            "files": [{"path": f.path, "digest": f.digest, "executable": f.executable} for f in ordered],
        }
    )


def code_document(
    files: Iterable[CodeFile],
    *,
    commit: str = "",
    git_tree: str = "",
    patch: Digest | None = None,
    lock: Digest | None = None,
    runtime: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the JSON document whose canonical bytes are the code artifact; absent things are left out."""
    ordered = sorted(files, key=lambda file: file.path)
    document: dict[str, Any] = {
        "schema": CODE_SCHEMA,
        "tree": tree_digest(ordered),
        "files": [{"path": f.path, "digest": f.digest, "executable": f.executable, "size": f.size} for f in ordered],
        "patch": patch,
    }
    if commit:
        document["git"] = {"commit": commit, "tree": git_tree}
    if lock:
        document["lock"] = lock
    if runtime:
        document["runtime"] = dict(runtime)
    return document
