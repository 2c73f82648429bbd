"""Keep the memory of processes that hold secrets off the disk."""

from __future__ import annotations

import contextlib
import resource


def forbid_core_dumps() -> None:
    """Let a crash leave no core file: it would hold every key in the clear. Children inherit this."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    with contextlib.suppress(OSError, ValueError):  # where it may not be changed, the machine's owner decided
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
