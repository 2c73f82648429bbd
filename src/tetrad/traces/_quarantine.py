"""What could not be read or stored, kept for a person to look at."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

log = logging.getLogger(__name__)
_MIB = 1024 * 1024


class Quarantine:
    """A folder of pieces of spool, each under its place and the reason. Bounded: past `max_bytes` only counted."""

    def __init__(self, folder: Path, max_bytes: int = 64 * _MIB) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._used = sum(path.stat().st_size for path in folder.glob("*.bad")) if folder.is_dir() else 0

    def keep(self, place: str, reason: str, data: bytes | memoryview) -> bool:
        """Keep a piece; tell whether there was room. The same piece of the same place is kept once."""
        path = self._folder / f"{place}.{reason}.bad"
        with self._lock:
            if path.exists():
                return True
            if self._used + len(data) > self._max_bytes:
                log.error("quarantine is full: %s (%s, %d bytes) was dropped", place, reason, len(data))
                return False
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.write_bytes(data)
            except OSError as error:
                log.error("quarantine cannot be written (%s): %s (%s) was dropped", error, place, reason)  # noqa: TRY400
                return False
            self._used += len(data)
        log.warning("%s could not be read (%s) and is kept as %s", place, reason, path.name)
        return True
