"""Which files are no part of the code: built-in rules and `.tetradignore`.

The syntax is the part of gitignore(5) that two implementations cannot read differently: one pattern a line, `#`
comments, `!` takes a file back (never below an ignored folder), a trailing `/` means folders only, a `/` elsewhere
anchors the pattern to the root, `*` and `?` stay within one name, `[a-z]` and `[!a-z]` are classes, `**` stands for any
number of folders, and the last pattern that matches decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tetrad.code.errors import BadCode

IGNORE_FILE = ".tetradignore"
BUILT_IN = (".git", "__pycache__/", "*.pyc", ".venv/", "node_modules/", ".DS_Store", "tetrad.lock")
MAX_PATTERNS = 1000
MAX_PATTERN_CHARS = 1000


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    take_back: bool
    folders_only: bool


@dataclass(frozen=True, slots=True)
class Ignore:
    """Compiled rules, in the order in which they are read."""

    rules: tuple[_Rule, ...]

    def matches(self, path: str, *, folder: bool) -> bool:
        """Tell whether one path (`a/b.py`, no trailing slash) is left out by itself, its parents not considered."""
        ignored = False
        for rule in self.rules:
            if (folder or not rule.folders_only) and rule.pattern.fullmatch(path):
                ignored = not rule.take_back
        return ignored

    def excludes(self, path: str) -> bool:
        """Tell whether a file is left out, by itself or with one of its folders."""
        parts = path.split("/")
        folders = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        return any(self.matches(folder, folder=True) for folder in folders) or self.matches(path, folder=False)


def parse_ignore(text: str = "", *, where: str = IGNORE_FILE) -> Ignore:
    """Compile the built-in rules and those of a `.tetradignore`; refuse a bad pattern with its line."""
    lines = text.removeprefix("\ufeff").split("\n")
    if len(lines) > MAX_PATTERNS:
        raise BadCode(f"{where} has {len(lines)} lines", hint=f"at most {MAX_PATTERNS}")
    rules = [_compile(pattern, "built-in rules", 0) for pattern in BUILT_IN]
    for number, line in enumerate(lines, 1):
        pattern = line.rstrip(" \t\r")
        if pattern and not pattern.startswith("#"):
            rules.append(_compile(pattern, where, number))
    return Ignore(tuple(rules))


def _compile(pattern: str, where: str, line: int) -> _Rule:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise BadCode(f"{where}:{line}: a pattern of {len(pattern)} characters", hint=f"at most {MAX_PATTERN_CHARS}")
    take_back = pattern.startswith("!")
    body = pattern.removeprefix("!")
    folders_only = body.endswith("/")
    body = body.rstrip("/")
    anchored = "/" in body
    body = body.removeprefix("/")
    if not body or "//" in body or "\\" in body:
        raise BadCode(f"{where}:{line}: {pattern!r} is no pattern", hint="write src/*.txt, build/ or !keep.txt")
    segments = body.split("/")
    if not anchored:
        segments = ["**", *segments]
    return _Rule(re.compile(_expression(segments)), take_back, folders_only)


def _expression(segments: list[str]) -> str:
    """Translate a path of patterns. What stands between two `**` is matched where it first fits, and never again.

    That is enough, since `**` takes whatever lies between; it also keeps matching linear (atomic groups), so that no
    pattern can hang the one who reads it.
    """
    runs: list[list[str]] = [[]]
    for index, segment in enumerate(segments):
        if segment != "**":
            runs[-1].append(_segment(segment))
        elif index == 0 or segments[index - 1] != "**":  # two in a row are one
            runs.append([])
    first, *rest = runs
    if not rest:
        return "/".join(first)
    *middle, last = rest
    out = "".join(f"{name}/" for name in first)
    out += "".join(f"(?>(?:[^/]+/)*?{'/'.join(run)}/)" for run in middle)
    return out + "(?:[^/]+/)*" + ("/".join(last) or "[^/]+")


def _segment(text: str) -> str:
    """Translate one name; as in `_expression`, what stands between two `*` is matched where it first fits."""
    pieces: list[str] = [""]
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "*":
            pieces.append("")
        elif character == "?":
            pieces[-1] += "[^/]"
        elif character == "[" and (end := text.find("]", position + 1)) > 0:
            body = text[position:end]
            negated = body.startswith("!")
            escaped = re.sub(r"([\[\]\\^&~|])", r"\\\1", body.removeprefix("!"))
            pieces[-1] += ("[^/" if negated else "[") + escaped + "]"
            position = end + 1
        else:
            pieces[-1] += re.escape(character)
    first, *rest = pieces
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle if piece) + "[^/]*" + last
