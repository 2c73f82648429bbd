"""The `tetrad` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; end with 0 (done), 1 (failed), 2 (used wrongly) or 130 (interrupted)."""
    from tetrad.processes.cli._app import run

    sys.exit(run(sys.argv[1:]))


__all__ = ["main"]
