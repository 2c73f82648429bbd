"""Take snapshots of code and give them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tetrad.code._folder import Source, SourceFile
from tetrad.code._ignore import IGNORE_FILE, Ignore, parse_ignore
from tetrad.code._model import CodeFile, CodeSnapshot, GitState, code_document
from tetrad.code.errors import BadCode, CodeTooLarge
from tetrad.kernel import Digest, NotFound, Principal, digest_bytes, digest_json
from tetrad.registry import ArtifactNotFound, Registry

KIND = "code"
MAX_IGNORE_BYTES = 256 * 1024
MAX_RUNTIME_ENTRIES = 32
LOCK_FILES = (
    "uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements.txt", "package-lock.json",
    "pnpm-lock.yaml", "yarn.lock", "Cargo.lock", "go.sum",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CodeLimits:
    """What is refused as too much."""

    max_files: int = 20_000
    max_file_bytes: int = 32 << 20
    max_bytes: int = 256 << 20
    max_upload_bytes: int = 11 << 20


def list_code(source: Source, *, max_files: int = 20_000) -> tuple[list[SourceFile], Ignore]:
    """Return the files below a root that are code, and the rules that left the others out."""
    text = source.read(IGNORE_FILE, max_bytes=MAX_IGNORE_BYTES) or b""
    try:
        ignore = parse_ignore(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadCode(f"{IGNORE_FILE} is not UTF-8", hint="save it as UTF-8") from None
    return source.walk(ignore, max_files=max_files), ignore


class Code:
    """Snapshots of code as artifacts of a project."""

    def __init__(self, registry: Registry, *, limits: CodeLimits | None = None) -> None:
        self._registry = registry
        self.limits = limits or CodeLimits()

    def list_files(self, source: Source) -> tuple[list[SourceFile], Ignore]:
        """Return the files that a snapshot of `source` would hold, and the rules that left the others out."""
        return list_code(source, max_files=self.limits.max_files)

    def snapshot(
        self,
        project: str,
        source: Source,
        *,
        actor: Principal,
        git: GitState | None = None,
        lock: str | None = None,
        runtime: Mapping[str, str] | None = None,
    ) -> CodeSnapshot:
        """Keep all files of `source` that are not ignored; the same files and facts give the same digest anywhere.

        `lock` names the lock file; without it the first known one at the root is taken. `runtime` is what the app
        declares that it needs (`python: "3.11"`), never what the composing machine happens to be. Only a patch of
        uncommitted changes, not the moment of looking, enters the identity.
        """
        files, document = self._described(source, git=git, lock=lock, runtime=runtime)
        patch = document["patch"]
        if not self._known(project, digest_json(document)):
            for file in files:
                self._keep(source, file)
            if git and patch:
                self._registry.put_part(git.patch)
        parts = [(file.digest, "file") for file in files]
        if patch:
            parts.append((patch, "patch"))
        artifact = self._registry.put_document(project, KIND, document, actor=actor, parts=parts)
        return _snapshot(artifact.digest, document)

    def measure(
        self,
        source: Source,
        *,
        git: GitState | None = None,
        lock: str | None = None,
        runtime: Mapping[str, str] | None = None,
    ) -> CodeSnapshot:
        """Return the snapshot that `snapshot` would keep, keeping nothing."""
        _, document = self._described(source, git=git, lock=lock, runtime=runtime)
        return _snapshot(digest_json(document), document)

    def _described(
        self, source: Source, *, git: GitState | None, lock: str | None, runtime: Mapping[str, str] | None
    ) -> tuple[list[CodeFile], dict[str, Any]]:
        listed, _ = self.list_files(source)
        files = self._digested(source, listed)
        by_path = {file.path: file for file in files}
        document = code_document(
            files,
            commit=git.commit if git else "",
            git_tree=git.tree if git else "",
            patch=digest_bytes(git.patch) if git and git.dirty else None,
            lock=self._lock(source, by_path, lock),
            runtime=_checked_runtime(runtime or {}),
        )
        return files, document

    def get(self, project: str, digest: str) -> CodeSnapshot:
        """Return a snapshot of the project, or raise `ArtifactNotFound`."""
        artifact = self._registry.artifact(project, digest)
        if artifact.kind != KIND:
            raise ArtifactNotFound(f"{digest} is a {artifact.kind}, not code", hint="check the digest")
        return _snapshot(artifact.digest, self._registry.document(project, digest))

    def read_file(self, project: str, digest: str, path: str) -> bytes:
        """Return the bytes of one file of a snapshot."""
        for file in self.get(project, digest).files:
            if file.path == path:
                return self._registry.read(project, file.digest, max_bytes=self.limits.max_file_bytes)
        raise NotFound(f"the code {digest} has no file {path!r}", hint="list its files")

    def _digested(self, source: Source, listed: list[SourceFile]) -> list[CodeFile]:
        files: list[CodeFile] = []
        total = 0
        for entry in listed:
            data = source.read(entry.path, max_bytes=self.limits.max_file_bytes)
            if data is None:
                raise BadCode(f"{entry.path!r} vanished while the folder was read", hint="try again")
            total += len(data)
            if total > self.limits.max_bytes:
                raise CodeTooLarge(
                    f"the code has more than {self.limits.max_bytes} bytes",
                    hint=f"list what is no code in {IGNORE_FILE}",
                )
            files.append(CodeFile(entry.path, digest_bytes(data), entry.executable, len(data)))
        return files

    def _keep(self, source: Source, file: CodeFile) -> None:
        data = source.read(file.path, max_bytes=self.limits.max_file_bytes)
        if data is None or digest_bytes(data) != file.digest:
            raise BadCode(f"{file.path!r} changed while the folder was read", hint="try again")
        self._registry.put_part(data)

    def _known(self, project: str, digest: Digest) -> bool:
        return self._registry.touch(project, digest)

    def _lock(self, source: Source, files: Mapping[str, CodeFile], named: str | None) -> Digest | None:
        if named is None:
            found = next((name for name in LOCK_FILES if name in files), None)
            return files[found].digest if found else None
        if named in files:
            return files[named].digest
        if source.read(named, max_bytes=self.limits.max_file_bytes) is None:
            raise BadCode(f"the lock file {named!r} is not there", hint="correct code.lock in tetrad.yaml")
        raise BadCode(f"the lock file {named!r} is ignored", hint=f"take it back in {IGNORE_FILE}: !{named}")


def _checked_runtime(runtime: Mapping[str, str]) -> dict[str, str]:
    if len(runtime) > MAX_RUNTIME_ENTRIES:
        raise BadCode(f"a runtime of {len(runtime)} entries", hint=f"at most {MAX_RUNTIME_ENTRIES}")
    return dict(runtime)


def _snapshot(digest: Digest, document: Mapping[str, Any]) -> CodeSnapshot:
    git = document.get("git") or {}
    patch, lock = document["patch"], document.get("lock")
    return CodeSnapshot(
        digest=digest,
        tree=Digest(document["tree"]),
        files=tuple(CodeFile(**file) for file in document["files"]),
        commit=git.get("commit", ""),
        git_tree=git.get("tree", ""),
        dirty=patch is not None,
        patch=Digest(patch) if patch else None,
        lock=Digest(lock) if lock else None,
        runtime=document.get("runtime") or {},
    )
