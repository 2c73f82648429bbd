"""Keep DBOS to what we tell it."""

from __future__ import annotations

import os


def forget_dbos_environment() -> None:
    """Drop the variables that would steer DBOS or connect it to its vendor's cloud; call before importing it."""
    for name in [name for name in os.environ if name.startswith("DBOS_")]:
        del os.environ[name]
