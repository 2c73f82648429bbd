"""Code as JSON: what `tetrad code snapshot` sends, and what the API makes of it."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tetrad.code._folder import FolderSource, MemorySource
from tetrad.code._git import read_git
from tetrad.code._ignore import IGNORE_FILE
from tetrad.code._model import GitState
from tetrad.code._service import CodeLimits, list_code
from tetrad.code.errors import BadCode, CodeTooLarge


class CodeFileBody(BaseModel):
    """One file; its path is relative to the folder, its content is base64."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(max_length=1024)]
    content: str
    executable: bool = False


class CodeGitBody(BaseModel):
    """Where the folder stands in its repository; `patch` is base64 and holds what is not committed."""

    model_config = ConfigDict(extra="forbid")

    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    tree: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    dirty: bool = False
    patch: str = ""


class CodeBody(BaseModel):
    """A folder of code: all its files, where it stands in Git, its lock file, what it runs on."""

    model_config = ConfigDict(extra="forbid")

    files: Annotated[list[CodeFileBody], Field(max_length=20_000)]
    git: CodeGitBody | None = None
    lock: Annotated[str | None, Field(max_length=1024)] = None
    runtime: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=32)] = {}


def unpack_code(body: CodeBody, limits: CodeLimits) -> tuple[MemorySource, GitState | None]:
    """Return the files that were sent, checked; refuse what is twice there, too much, or no base64."""
    files: dict[str, tuple[bytes, bool]] = {}
    total = 0
    for file in body.files:
        if file.path in files:
            raise BadCode(f"the file {file.path!r} was sent twice", hint="send it once")
        data = _decoded(file.content, file.path)
        total += len(data)
        _check_total(total, limits)
        files[file.path] = (data, file.executable)
    git = body.git
    if git is None:
        return MemorySource(files), None
    patch = _decoded(git.patch, "the patch")
    if patch and not git.dirty:
        raise BadCode("a patch of a folder that is not dirty", hint="say `dirty`, or leave the patch out")
    return MemorySource(files), GitState(git.commit, git.tree, git.dirty, patch)


def pack_code(
    source: FolderSource, limits: CodeLimits, *, git: bool, lock: str | None, runtime: dict[str, str]
) -> dict[str, Any]:
    """Return what to send for a folder: its files that are not ignored, and what Git knows of it."""
    listed, ignore = list_code(source, max_files=limits.max_files)
    names = [file.path for file in listed]
    sent = {file.path: file.executable for file in listed}
    if source.read(IGNORE_FILE, max_bytes=limits.max_file_bytes) is not None:
        sent.setdefault(IGNORE_FILE, False)  # it may list itself; the other side needs its rules all the same
    files: list[dict[str, Any]] = []
    total = 0
    for path, executable in sorted(sent.items()):
        data = source.read(path, max_bytes=limits.max_file_bytes)
        if data is None:
            raise BadCode(f"{path!r} vanished while the folder was read", hint="try again")
        total += len(data)
        _check_total(total, limits)
        files.append({"path": path, "content": base64.b64encode(data).decode("ascii"), "executable": executable})
    body: dict[str, Any] = {"files": files, "lock": lock, "runtime": runtime}
    state = read_git(source.root, names, ignore) if git else None
    if state is not None:
        patch = base64.b64encode(state.patch).decode("ascii")
        body["git"] = {"commit": state.commit, "tree": state.tree, "dirty": state.dirty, "patch": patch}
    return body


def _check_total(total: int, limits: CodeLimits) -> None:
    if total > limits.max_upload_bytes:
        raise CodeTooLarge(
            f"the files have more than {limits.max_upload_bytes} bytes",
            hint=f"list what is no code in {IGNORE_FILE}",
        )


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadCode(f"{what} is no base64", hint="encode the file's bytes, with padding") from None
