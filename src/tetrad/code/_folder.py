"""Where files come from: a folder on disk, or a set of files that someone sent."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from tetrad.code._ignore import Ignore
from tetrad.code._model import check_path
from tetrad.code.errors import BadCode, CodeTooLarge


class SourceFile(msgspec.Struct, frozen=True):
    """A file as it is listed: not yet read."""

    path: str
    executable: bool
    size: int


class Source(Protocol):
    """A set of files below one root. Paths are relative, checked, with `/`; nothing outside the root is reachable."""

    def walk(self, ignore: Ignore, *, max_files: int) -> list[SourceFile]:
        """List the files that are not ignored, in path order; refuse links and special files with `BadCode`."""
        ...

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        """Return a file's bytes, None where there is no such file; refuse longer ones with `CodeTooLarge`."""
        ...

    def below(self, path: str) -> Source:
        """Return the source of a folder below this one; `.` is this one."""
        ...


class MemorySource:
    """Files held in memory: path → (bytes, executable)."""

    def __init__(self, files: Mapping[str, tuple[bytes, bool]]) -> None:
        self._files = {check_path(path): value for path, value in files.items()}
        for path in self._files:
            parts = path.split("/")
            for depth in range(1, len(parts)):
                if (parent := "/".join(parts[:depth])) in self._files:
                    raise BadCode(f"{parent!r} is a file and the folder of {path!r}", hint="send one of them")

    def walk(self, ignore: Ignore, *, max_files: int) -> list[SourceFile]:
        found = [
            SourceFile(path, executable, len(data))
            for path, (data, executable) in sorted(self._files.items())
            if not ignore.excludes(path)
        ]
        _check_count(len(found), max_files)
        return found

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        found = self._files.get(check_path(path))
        if found is None:
            return None
        _check_size(path, len(found[0]), max_bytes)
        return found[0]

    def below(self, path: str) -> MemorySource:
        if path == ".":
            return self
        prefix = check_path(path) + "/"
        return MemorySource({p.removeprefix(prefix): value for p, value in self._files.items() if p.startswith(prefix)})


class FolderSource:
    """A folder on this machine. Symbolic links are never followed: one that is not ignored is refused."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise BadCode(f"{str(root)!r} is no folder", hint="name the folder that holds tetrad.yaml")
        self.root = root.resolve()

    def walk(self, ignore: Ignore, *, max_files: int) -> list[SourceFile]:
        found: list[SourceFile] = []
        for file in self._scan("", ignore):
            found.append(file)
            _check_count(len(found), max_files)
        return sorted(found, key=lambda file: file.path)

    def _scan(self, folder: str, ignore: Ignore) -> Iterator[SourceFile]:
        try:
            entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
        except OSError as error:
            raise BadCode(f"the folder {folder or '.'!r} cannot be read: {error.strerror}") from None
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if ignore.matches(path, folder=is_folder or entry.is_symlink()) or ignore.matches(path, folder=is_folder):
                continue
            check_path(path)
            if is_folder:
                yield from self._scan(path, ignore)
            elif entry.is_file(follow_symlinks=False):
                info = entry.stat(follow_symlinks=False)
                yield SourceFile(path, bool(info.st_mode & stat.S_IXUSR), info.st_size)
            else:
                kind = "a symbolic link" if entry.is_symlink() else "no regular file"
                raise BadCode(f"{path!r} is {kind}", hint="list it in .tetradignore, or put a copy in its place")

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        parts = check_path(path).split("/")
        # Opened folder by folder without following links, so that nothing swapped in between can lead outside.
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts[:-1]:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadCode(f"{path!r} cannot be read: {error.strerror}", hint="links are not followed") from None
        finally:
            os.close(folder)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadCode(f"{path!r} is no regular file", hint="name a file")
            data = file.read(max_bytes + 1)
        _check_size(path, len(data), max_bytes)
        return data

    def below(self, path: str) -> FolderSource:
        if path == ".":
            return self
        inner = self.root / check_path(path)
        if inner.resolve() != inner:
            raise BadCode(f"{path!r} leads through a symbolic link", hint="name a folder below the app's own")
        return FolderSource(inner)


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise CodeTooLarge(f"more than {limit} files", hint="list what is no code in .tetradignore")


def _check_size(path: str, size: int, limit: int) -> None:
    if size > limit:
        raise CodeTooLarge(
            f"{path!r} is larger than {limit} bytes", hint="list it in .tetradignore, or raise the limit"
        )
