"""Files of an app as JSON: what `tetrad release compose` sends, and what the API makes of it."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tetrad.code import FolderSource, GitState, MemorySource, list_code, read_git
from tetrad.kernel import InvalidInput
from tetrad.releases._compose import ReleaseLimits
from tetrad.releases._declaration import FILE, Declaration, parse_declaration
from tetrad.releases.errors import BadDeclaration, DeclarationError, UploadTooLarge

ABSENT = "absent"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FileBody(_Strict):
    """One file; its path is relative to the folder of `tetrad.yaml`, its content is base64."""

    path: Annotated[str, Field(max_length=1024)]
    content: str
    executable: bool = False


class GitBody(_Strict):
    """Where the code stands in its repository; `patch` is base64 and holds what is not committed."""

    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    tree: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    dirty: bool = False
    patch: str = ""


class ReleaseBody(_Strict):
    """An app's folder, to be composed into a release; with `ref` that ref is moved to it.

    `expected` is where the ref points now (a digest), or `absent`: the move happens only if that is still so. `locked`
    is the content of `tetrad.lock`: where a part resolves to anything else, nothing is kept and 409 names the part.
    """

    files: Annotated[list[FileBody], Field(min_length=1, max_length=20_000)]
    git: GitBody | None = None
    reason: Annotated[str, Field(max_length=4000)] = ""
    expected_outcome: Annotated[str, Field(max_length=4000)] = ""
    ref: Annotated[str | None, Field(max_length=63)] = None
    expected: Annotated[str | None, Field(max_length=71)] = None
    locked: dict[str, Any] | None = None


def unpack(body: ReleaseBody, limits: ReleaseLimits) -> tuple[MemorySource, GitState | None]:
    """Return the files that were sent, checked; refuse what is twice there, too much, or no base64."""
    if len(body.files) > limits.max_upload_files:
        raise UploadTooLarge(f"{len(body.files)} files were sent", hint=f"at most {limits.max_upload_files}")
    files: dict[str, tuple[bytes, bool]] = {}
    total = 0
    for file in body.files:
        if file.path in files:
            raise InvalidInput(f"the file {file.path!r} was sent twice", hint="send it once")
        data = _decoded(file.content, file.path)
        total += len(data)
        if total > limits.max_upload_bytes:
            raise UploadTooLarge(
                f"the files have more than {limits.max_upload_bytes} bytes",
                hint="list what is no code in .tetradignore; import large data with `tetrad dataset import`",
            )
        files[file.path] = (data, file.executable)
    git = body.git
    state = GitState(git.commit, git.tree, git.dirty, _decoded(git.patch, "the patch")) if git else None
    return MemorySource(files), state


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{what} is no base64", hint="encode the file's bytes, with padding") from None


def pack(source: FolderSource, limits: ReleaseLimits, *, git: bool = True) -> tuple[Declaration, dict[str, Any]]:
    """Return what to send for a folder: its declaration, its code, the files that the declaration names."""
    text = source.read(FILE, max_bytes=limits.max_upload_bytes)
    if text is None:
        raise InvalidInput(
            f"{str(source.root)!r} has no {FILE}",
            hint="name the app's folder, or write one that begins with app: my-app",
        )
    declaration = parse_declaration(text)
    below = source.below(declaration.code.path)
    listed, ignore = list_code(below, max_files=limits.max_upload_files)
    prefix = "" if declaration.code.path == "." else declaration.code.path + "/"
    wanted = {prefix + file.path: file.executable for file in listed}
    lines = {part.file: part.line for part in declaration.data if part.file}
    lines |= {part.file: part.line for part in declaration.prompt if part.file}
    for path in (FILE, *lines):
        wanted.setdefault(path, False)
    files: list[dict[str, Any]] = []
    total = 0
    for path, executable in sorted(wanted.items()):
        data = source.read(path, max_bytes=limits.max_upload_bytes)
        if data is None:
            error = DeclarationError(lines.get(path, 1), 1, f"the file {path!r} is not there")
            raise BadDeclaration([error], hint=f"paths are relative to the folder of {FILE}")
        total += len(data)
        if total > limits.max_upload_bytes:
            raise UploadTooLarge(
                f"the files of {str(source.root)!r} have more than {limits.max_upload_bytes} bytes",
                hint="list what is no code in .tetradignore; import large data with `tetrad dataset import`",
            )
        files.append({"path": path, "content": base64.b64encode(data).decode("ascii"), "executable": executable})
    body: dict[str, Any] = {"files": files}
    state = read_git(below.root, [file.path for file in listed], ignore) if git else None
    if state is not None:
        patch = base64.b64encode(state.patch).decode("ascii")
        body["git"] = {"commit": state.commit, "tree": state.tree, "dirty": state.dirty, "patch": patch}
    return declaration, body
