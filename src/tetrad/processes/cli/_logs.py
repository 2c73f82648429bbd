"""Read log files from their end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

_POLL_S = 0.2


def last_lines(files: list[Path], count: int) -> list[str]:
    """Return the last lines of each file, with the file's name in front when there are several."""
    found: list[str] = []
    for path in files:
        with path.open(encoding="utf-8", errors="replace") as handle:
            found.extend(_labelled(path, line, files) for line in deque(handle, maxlen=count))
    return found


def follow_logs(files: list[Path], emit: Callable[[str], None]) -> None:
    """Emit new lines until interrupted; a file that was rotated is opened anew."""
    handles: dict[Path, IO[str]] = {path: _at_end(path) for path in files}
    while True:
        quiet = True
        for path, handle in handles.items():
            while line := handle.readline():
                quiet = False
                emit(_labelled(path, line, files))
            if path.exists() and path.stat().st_ino != _inode(handle):
                handle.close()
                handles[path] = path.open(encoding="utf-8", errors="replace")
        if quiet:
            time.sleep(_POLL_S)


def _at_end(path: Path) -> IO[str]:
    handle = path.open(encoding="utf-8", errors="replace")
    handle.seek(0, 2)
    return handle


def _inode(handle: IO[str]) -> int:
    import os

    return os.fstat(handle.fileno()).st_ino


def _labelled(path: Path, line: str, files: list[Path]) -> str:
    return f"{path.stem}: {line.rstrip()}" if len(files) > 1 else line.rstrip()
