"""Name a folder of code by the digest that its release pins."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tetrad_sdk._errors import BadFolder

SCHEMA = "tetrad.code.tree/1"
IGNORE_FILE = ".tetradignore"
ALWAYS_IGNORED = (".git", "__pycache__/", "*.pyc", ".venv/", "node_modules/", ".DS_Store", "tetrad.lock")
MAX_FILES = 20_000
MAX_BYTES = 512 * 1024 * 1024


def code_digest(folder: str | os.PathLike[str]) -> str:
    """Return the digest of a folder's code, `sha256:…`: the same on every machine, and in the release's manifest.

    It is the SHA-256 of the RFC 8785 JSON `{"files": [{"digest", "executable", "path"}, …], "schema":
    "tetrad.code.tree/1"}`: every regular file that is not ignored, by its path with `/`, in the code point order of
    paths. Ignored are `.git`, `__pycache__/`, `*.pyc`, `.venv/`, `node_modules/`, `.DS_Store`, `tetrad.lock`, and the
    patterns of `.tetradignore` in the folder. Raises `BadFolder` for symbolic links, special files and unreadable
    files. Reads every file: call it once, at start.
    """
    root = Path(folder)
    if not root.is_dir():
        raise BadFolder(f"{str(root)!r} is no folder", hint="name the folder of the app's code")
    files: list[dict[str, object]] = []
    total = 0
    for path, entry in _walk(root, "", _rules(root)):
        total += entry.stat(follow_symlinks=False).st_size
        if len(files) >= MAX_FILES or total > MAX_BYTES:
            raise BadFolder(
                f"{str(root)!r} holds more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes",
                hint=f"list what is no code in {IGNORE_FILE}",
            )
        files.append({"digest": _file_digest(entry.path), "executable": _executable(entry), "path": path})
    files.sort(key=lambda file: str(file["path"]))
    tree = json.dumps({"files": files, "schema": SCHEMA}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return "sha256:" + hashlib.sha256(tree.encode()).hexdigest()


def _executable(entry: os.DirEntry[str]) -> bool:
    return bool(entry.stat(follow_symlinks=False).st_mode & stat.S_IXUSR)


def _file_digest(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a scandir entry gives text
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadFolder(f"{path!r} cannot be read: {error.strerror}", hint="correct its permissions") from None


def _walk(root: Path, below: str, rules: list[_Rule]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = list(os.scandir(root / below))
    except OSError as error:
        raise BadFolder(f"the folder {below or '.'!r} cannot be read: {error.strerror}") from None
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        # What a link leads to is unknown, so a pattern for folders leaves it out too.
        if _ignored(path, rules, folder=is_folder) or (entry.is_symlink() and _ignored(path, rules, folder=True)):
            continue
        if not _is_portable(entry.name):
            raise BadFolder(f"the file name {path!r} cannot be the same on every machine", hint="rename it")
        if is_folder:
            yield from _walk(root, path, rules)
        elif entry.is_file(follow_symlinks=False):
            yield path, entry
        else:
            kind = "a symbolic link" if entry.is_symlink() else "no regular file"
            raise BadFolder(f"{path!r} is {kind}", hint=f"list it in {IGNORE_FILE}, or put a copy in its place")


def _is_portable(name: str) -> bool:
    if "\\" in name or any(ord(character) < 32 or ord(character) == 127 for character in name):
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    take_back: bool
    folders_only: bool


def _ignored(path: str, rules: list[_Rule], *, folder: bool) -> bool:
    """The last rule that matches decides; a file below an ignored folder is never reached."""
    for rule in reversed(rules):
        if (folder or not rule.folders_only) and rule.pattern.fullmatch(path):
            return not rule.take_back
    return False


def _rules(root: Path) -> list[_Rule]:
    lines: list[str] = []
    own = root / IGNORE_FILE
    if own.is_file() and not own.is_symlink():
        try:
            lines = own.read_bytes().decode("utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadFolder(f"{IGNORE_FILE} cannot be read: {error}") from None
    patterns = [(0, pattern) for pattern in ALWAYS_IGNORED]
    for number, line in enumerate(lines, 1):
        pattern = line.rstrip(" \t\r")
        if pattern and not pattern.startswith("#"):
            patterns.append((number, pattern))
    return [_rule(pattern, number) for number, pattern in patterns]


def _rule(pattern: str, line: int) -> _Rule:
    body = pattern.removeprefix("!").rstrip("/")
    anchored = "/" in body
    names = body.removeprefix("/").split("/")
    if "\\" in body or not all(names):
        raise BadFolder(f"{IGNORE_FILE}:{line}: {pattern!r} is no pattern", hint="write src/*.txt, build/ or !keep.txt")
    if not anchored:
        names = ["**", *names]
    expression = ""
    for index, name in enumerate(names):
        last = index == len(names) - 1
        if name == "**":
            expression += "(?:[^/]+/)*" + ("[^/]+" if last else "")
        else:
            expression += _glob(name) + ("" if last else "/")
    return _Rule(re.compile(expression), pattern.startswith("!"), pattern.endswith("/"))


def _glob(name: str) -> str:
    """Turn one name of a pattern into a regular expression: `*`, `?`, `[a-z]`, `[!a-z]`."""
    expression, position = "", 0
    while position < len(name):
        character = name[position]
        position += 1
        end = name.find("]", position + 1) if character == "[" else -1
        if end > 0:
            members = re.sub(r"([\[\]\\^&~|])", r"\\\1", name[position:end].removeprefix("!"))
            expression += ("[^/" if name[position] == "!" else "[") + members + "]"
            position = end + 1
        elif character == "*":
            expression += "" if expression.endswith("[^/]*") else "[^/]*"
        else:
            expression += "[^/]" if character == "?" else re.escape(character)
    return expression
